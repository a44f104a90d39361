"""What homes like one use, counted at night.

Revision ID: 0026
Revises: 0025
"""

from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add peer_usage."""
    op.execute("""
        CREATE TABLE peer_usage (
            region_id bigint NOT NULL,
            utility text NOT NULL,
            customer_class text NOT NULL,
            size integer NOT NULL,
            period_from date NOT NULL,
            period_to date NOT NULL,
            homes integer NOT NULL,
            low bigint NOT NULL,
            median bigint NOT NULL,
            high bigint NOT NULL,
            CONSTRAINT pk_peer_usage PRIMARY KEY
                (region_id, utility, customer_class, size, period_from, period_to),
            CONSTRAINT fk_peer_usage_region_id_region FOREIGN KEY (region_id) REFERENCES region (id)
        )
    """)


def downgrade() -> None:
    """Remove it; it can be counted anew."""
    op.execute("DROP TABLE peer_usage")
