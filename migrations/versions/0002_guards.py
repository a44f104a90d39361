"""What no program may get past: the ledger's balance, and rows that are never changed."""

from alembic import op
from procrastinate.schema import SchemaManager

revision = "0002"
down_revision = "0001"

APPEND_ONLY = ("reading", "entry", "posting", "audit_event")

REFUSE_CHANGE = """
CREATE FUNCTION nuan_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: correct it with a new row', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$
"""

ENTRY_BALANCED = """
CREATE FUNCTION nuan_entry_balanced() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    entry_of bigint := CASE TG_TABLE_NAME WHEN 'entry' THEN (to_jsonb(NEW)->>'id')::bigint
                       ELSE (to_jsonb(NEW)->>'entry_id')::bigint END;
    total numeric;
    parts integer;
BEGIN
    SELECT coalesce(sum(amount_fen), 0), count(*) INTO total, parts
      FROM posting WHERE entry_id = entry_of;
    IF total <> 0 OR parts < 2 THEN
        RAISE EXCEPTION 'entry % does not balance: % postings add up to % fen',
            entry_of, parts, total USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
"""

# A posting may join an entry only in the transaction that made the entry.
POSTING_SEALED = """
CREATE FUNCTION nuan_posting_sealed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT 1 FROM entry WHERE id = NEW.entry_id
                   AND xact = pg_current_xact_id()::text::bigint) THEN
        RAISE EXCEPTION 'entry % is closed: post a new entry', NEW.entry_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$
"""

PARTITIONS = """
CREATE FUNCTION nuan_reading_partition(month date) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    first date := date_trunc('month', month)::date;
    name text := 'reading_p' || to_char(first, 'YYYYMM');
BEGIN
    IF to_regclass(name) IS NULL THEN
        PERFORM pg_advisory_xact_lock(hashtext('nuan_reading_partition'));
        EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF reading '
                       'FOR VALUES FROM (%L) TO (%L)', name,
                       first::timestamp AT TIME ZONE 'UTC',
                       (first + interval '1 month')::timestamp AT TIME ZONE 'UTC');
    END IF;
END $$
"""


def upgrade() -> None:
    for function in (REFUSE_CHANGE, ENTRY_BALANCED, POSTING_SEALED, PARTITIONS):
        op.execute(function)
    for table in APPEND_ONLY:
        op.execute(
            f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
            "FOR EACH ROW EXECUTE FUNCTION nuan_refuse_change()"
        )
        op.execute(
            f"CREATE TRIGGER {table}_no_truncate BEFORE TRUNCATE ON {table} "
            "FOR EACH STATEMENT EXECUTE FUNCTION nuan_refuse_change()"
        )
    for table in ("entry", "posting"):
        op.execute(
            f"CREATE CONSTRAINT TRIGGER {table}_balanced AFTER INSERT ON {table} "
            "DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nuan_entry_balanced()"
        )
    op.execute(
        "CREATE TRIGGER posting_sealed BEFORE INSERT ON posting "
        "FOR EACH ROW EXECUTE FUNCTION nuan_posting_sealed()"
    )
    # Straight through the driver: its text has % signs that are no placeholders.
    op.get_bind().connection.driver_connection.execute(SchemaManager.get_schema())


def downgrade() -> None:
    raise RuntimeError("the first migrations are not undone: restore a backup instead")
