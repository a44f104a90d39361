"""Room in the pages of what is updated with every batch, so that no index has to follow."""

from alembic import op

revision = "0012"
down_revision = "0011"

TABLES = ("meter_state", "read_success")


def upgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} SET (fillfactor = 50)")


def downgrade() -> None:
    for table in TABLES:
        op.execute(f"ALTER TABLE {table} RESET (fillfactor)")
