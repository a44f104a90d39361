"""Orders to relays beside those to valves."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    valve = sa.Column("supply", sa.Text(), nullable=False, server_default="valve")
    op.add_column("meter_command", valve)
    op.execute(
        "UPDATE meter_command c SET supply = 'relay' FROM meter m "
        "WHERE m.id = c.meter_id AND m.kind = 'electricity'"
    )
    op.alter_column("meter_command", "supply", server_default=None)
    op.create_check_constraint("supply", "meter_command", "supply IN ('valve', 'relay')")


def downgrade() -> None:
    op.drop_column("meter_command", "supply")
