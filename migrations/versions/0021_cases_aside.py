"""A case may stand aside (长款, 短款); what was parked before there were cases becomes one.

Revision ID: 0021
Revises: 0020
"""

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


# What was parked before there were cases waits for a person as well.
PARKED = """
INSERT INTO money_case (kind, type, reference, channel, day, amount_fen, left_fen, household_id,
                        out_trade_no, opened_at)
SELECT 'order', 'wrong_amount', o.channel || ':' || o.transaction_id, o.channel,
       (o.paid_at AT TIME ZONE 'Asia/Shanghai')::date, o.received_fen, o.received_fen,
       o.household_id, o.out_trade_no, o.paid_at
  FROM payment_order o
 WHERE o.state = 'parked' AND NOT EXISTS (SELECT 1 FROM refund r WHERE r.order_id = o.id)
ON CONFLICT DO NOTHING
"""


def upgrade() -> None:
    """Allow the state."""
    op.execute("ALTER TABLE money_case DROP CONSTRAINT ck_money_case_state")
    op.execute(
        "ALTER TABLE money_case ADD CONSTRAINT ck_money_case_state"
        " CHECK (state IN ('open', 'suspense', 'done'))"
    )
    op.execute(PARKED)


def downgrade() -> None:
    """Take it away; what stands aside is open."""
    op.execute("UPDATE money_case SET state = 'open' WHERE state = 'suspense'")
    op.execute("ALTER TABLE money_case DROP CONSTRAINT ck_money_case_state")
    op.execute(
        "ALTER TABLE money_case ADD CONSTRAINT ck_money_case_state"
        " CHECK (state IN ('open', 'done'))"
    )
