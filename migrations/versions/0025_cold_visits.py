"""A report of a cold room books the visit that measures it."""

from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """When the resident expects the measuring."""
    op.execute("ALTER TABLE cold_report ADD COLUMN visit_at timestamptz")


def downgrade() -> None:
    """Forget it."""
    op.execute("ALTER TABLE cold_report DROP COLUMN visit_at")
