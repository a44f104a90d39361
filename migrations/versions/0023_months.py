"""Months of the books: closed with their trial balance, and guarded from then on.

Revision ID: 0023
Revises: 0022
"""

from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE ledger_month (
        month date NOT NULL CONSTRAINT pk_ledger_month PRIMARY KEY,
        state text NOT NULL,
        runs integer NOT NULL DEFAULT 1,
        closed_at timestamptz NOT NULL,
        closed_by bigint NOT NULL CONSTRAINT fk_ledger_month_closed_by_staff REFERENCES staff (id),
        reason text,
        entries bigint NOT NULL,
        debit_fen bigint NOT NULL,
        sha256 text NOT NULL,
        reopen_asked_by bigint
            CONSTRAINT fk_ledger_month_reopen_asked_by_staff REFERENCES staff (id),
        reopen_asked_at timestamptz,
        reopen_reason text,
        reopened_by bigint CONSTRAINT fk_ledger_month_reopened_by_staff REFERENCES staff (id),
        reopened_at timestamptz,
        CONSTRAINT ck_ledger_month_state CHECK (state IN ('closed', 'reopened')),
        CONSTRAINT ck_ledger_month_second_person CHECK (reopened_by <> reopen_asked_by)
    )
    """,
    "CREATE INDEX ix_ledger_month_closed_by ON ledger_month (closed_by)",
    "CREATE INDEX ix_ledger_month_reopen_asked_by ON ledger_month (reopen_asked_by)",
    "CREATE INDEX ix_ledger_month_reopened_by ON ledger_month (reopened_by)",
    """
    CREATE TABLE month_balance (
        month date NOT NULL
            CONSTRAINT fk_month_balance_month_ledger_month REFERENCES ledger_month (month),
        account_id bigint NOT NULL
            CONSTRAINT fk_month_balance_account_id_account REFERENCES account (id),
        opening_fen bigint NOT NULL,
        debit_fen bigint NOT NULL,
        credit_fen bigint NOT NULL,
        closing_fen bigint NOT NULL,
        CONSTRAINT pk_month_balance PRIMARY KEY (month, account_id),
        CONSTRAINT ck_month_balance_adds_up
            CHECK (opening_fen + debit_fen - credit_fen = closing_fen)
    )
    """,
    # Whoever posts holds his entry's month until he commits, and whoever closes it waits for that.
    """
    CREATE FUNCTION nuan_month_open() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE it record;
    BEGIN
        FOR it IN SELECT DISTINCT date_trunc('month', day)::date AS month FROM fresh ORDER BY 1 LOOP
            PERFORM pg_advisory_xact_lock_shared(20045, it.month - DATE '2000-01-01');
            IF EXISTS (SELECT 1 FROM ledger_month WHERE month = it.month AND state = 'closed') THEN
                RAISE EXCEPTION 'month % is closed', it.month USING ERRCODE = 'NU001';
            END IF;
        END LOOP;
        RETURN NULL;
    END $$
    """,
    """
    CREATE TRIGGER entry_month_open AFTER INSERT ON entry REFERENCING NEW TABLE AS fresh
        FOR EACH STATEMENT EXECUTE FUNCTION nuan_month_open()
    """,
)


def upgrade() -> None:
    """Tables and the guard."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP TRIGGER entry_month_open ON entry")
    op.execute("DROP FUNCTION nuan_month_open()")
    op.drop_table("month_balance")
    op.drop_table("ledger_month")
