"""What a difference moves: how much more than the ledger the channel has, kept with it.

Revision ID: 0033
Revises: 0032
"""

from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """The gap; of what is put aside already, what of it nobody has decided on."""
    op.execute("ALTER TABLE break ADD COLUMN gap_fen bigint NOT NULL DEFAULT 0")
    op.execute("""
        UPDATE break SET gap_fen = (CASE kind WHEN 'refund' THEN -1 ELSE 1 END)
                                   * (coalesce(theirs_fen, 0) - coalesce(ours_fen, 0))
         WHERE kind IN ('missing_here', 'missing_there', 'refund')
    """)
    op.execute("""
        UPDATE money_case SET left_fen = abs(amount_fen)
         WHERE kind = 'break' AND state = 'suspense'
    """)


def downgrade() -> None:
    """Without it."""
    op.execute("UPDATE money_case SET left_fen = NULL WHERE kind = 'break'")
    op.execute("ALTER TABLE break DROP COLUMN gap_fen")
