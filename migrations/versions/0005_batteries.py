"""What feeds a meter's radio: battery voltage and charge, as its push tells them."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("meter_state", sa.Column("battery_mv", sa.Integer()))
    op.add_column("meter_state", sa.Column("battery_percent", sa.Integer()))


def downgrade() -> None:
    op.drop_column("meter_state", "battery_percent")
    op.drop_column("meter_state", "battery_mv")
