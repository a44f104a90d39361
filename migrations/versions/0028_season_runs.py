"""Settlements of other kinds than heat: a season's advances and its account.

Revision ID: 0028
Revises: 0027
"""

from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """A settlement's kind and due day; an item's outcome."""
    op.execute("""
        ALTER TABLE settlement
            ADD COLUMN kind text NOT NULL DEFAULT 'heat',
            ADD COLUMN due_on date,
            ADD CONSTRAINT ck_settlement_kind CHECK (kind IN ('heat', 'advance', 'season')),
            ADD CONSTRAINT ck_settlement_due_on
                CHECK ((kind = 'advance') = (due_on IS NOT NULL))
    """)
    op.execute("ALTER TABLE settlement_item ADD COLUMN outcome jsonb")


def downgrade() -> None:
    """Heat alone."""
    op.execute("ALTER TABLE settlement_item DROP COLUMN outcome")
    op.execute(
        "DELETE FROM settlement_item i USING settlement s"
        " WHERE s.id = i.settlement_id AND s.kind <> 'heat'"
    )
    op.execute("DELETE FROM settlement WHERE kind <> 'heat'")
    op.execute("ALTER TABLE settlement DROP COLUMN due_on, DROP COLUMN kind")
