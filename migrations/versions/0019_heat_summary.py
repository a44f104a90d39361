"""What a home screen says of its heat, a row a household; filled as days close.

Revision ID: 0019
Revises: 0018
"""

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add heat_summary."""
    op.execute("""
        CREATE TABLE heat_summary (
            household_id bigint NOT NULL,
            as_of date NOT NULL,
            season_from date NOT NULL,
            season_wh bigint NOT NULL,
            month_wh bigint,
            before_wh bigint,
            year_wh bigint,
            last_wh bigint,
            recent_wh bigint NOT NULL,
            others integer NOT NULL,
            others_wh bigint NOT NULL,
            others_dm2 bigint NOT NULL,
            CONSTRAINT pk_heat_summary PRIMARY KEY (household_id),
            CONSTRAINT fk_heat_summary_household_id_household
                FOREIGN KEY (household_id) REFERENCES household (id)
        ) WITH (fillfactor = 80)
    """)


def downgrade() -> None:
    """Remove it; it can be counted anew."""
    op.execute("DROP TABLE heat_summary")
