"""The ledger's guard asks once a statement, not once a row: entries come whole.

An entry's postings are written by one statement, as `ledger.service` does; what a guard for each
row asked three times is asked once of them all.

Revision ID: 0029
Revises: 0028
"""

from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None

STATEMENTS = (
    "DROP TRIGGER entry_balanced ON entry",
    "DROP TRIGGER posting_balanced ON posting",
    "DROP TRIGGER posting_sealed ON posting",
    "DROP TRIGGER entry_month_open ON entry",
    "DROP FUNCTION nuan_entry_balanced()",
    "DROP FUNCTION nuan_posting_sealed()",
    "DROP FUNCTION nuan_month_open()",
    # Whoever posts holds his entries' months until he commits, and whoever closes one waits for
    # that.  The scalar subqueries stay lookups by index, whatever the first plan was made for.
    """
    CREATE FUNCTION nuan_entries_whole() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE wrong record;
    BEGIN
        PERFORM pg_advisory_xact_lock_shared(20045, month - DATE '2000-01-01')
           FROM (SELECT DISTINCT date_trunc('month', day)::date AS month FROM fresh ORDER BY 1) m;
        SELECT ledger_month.month INTO wrong FROM ledger_month
         WHERE state = 'closed' AND month IN (SELECT date_trunc('month', day)::date FROM fresh);
        IF FOUND THEN
            RAISE EXCEPTION 'month % is closed', wrong.month USING ERRCODE = 'NU001';
        END IF;
        SELECT id INTO wrong FROM fresh
         WHERE (SELECT count(*) FROM posting WHERE entry_id = fresh.id) < 2 LIMIT 1;
        IF FOUND THEN
            RAISE EXCEPTION 'entry % comes without its postings', wrong.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END $$
    """,
    """
    CREATE FUNCTION nuan_postings_whole() RETURNS trigger LANGUAGE plpgsql AS $$
    DECLARE wrong record;
    BEGIN
        SELECT * INTO wrong FROM (
            SELECT entry_id, total, (SELECT xact FROM entry WHERE id = entry_id)
                   IS NOT DISTINCT FROM pg_current_xact_id()::text::bigint AS ours
              FROM (SELECT entry_id, sum(amount_fen) AS total FROM fresh GROUP BY entry_id) s
        ) e WHERE total <> 0 OR NOT ours LIMIT 1;
        IF NOT FOUND THEN
            RETURN NULL;
        ELSIF NOT wrong.ours THEN
            RAISE EXCEPTION 'entry % is closed: post a new entry', wrong.entry_id
                USING ERRCODE = 'restrict_violation';
        END IF;
        RAISE EXCEPTION 'entry % does not balance: its postings add up to % fen',
            wrong.entry_id, wrong.total USING ERRCODE = 'integrity_constraint_violation';
    END $$
    """,
    """
    CREATE TRIGGER entries_whole AFTER INSERT ON entry REFERENCING NEW TABLE AS fresh
        FOR EACH STATEMENT EXECUTE FUNCTION nuan_entries_whole()
    """,
    """
    CREATE TRIGGER postings_whole AFTER INSERT ON posting REFERENCING NEW TABLE AS fresh
        FOR EACH STATEMENT EXECUTE FUNCTION nuan_postings_whole()
    """,
)


def upgrade() -> None:
    """The guards of a statement in place of those of a row."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    raise RuntimeError("the guards of 0002 and 0023 are not put back: restore a backup instead")
