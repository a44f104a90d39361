"""A statement's lines are held to their statement in bulk, not line by line.

A foreign key asks once a row: of a statement of 100,000 rows that was half of what keeping it
took.  A statement trigger asks once for all the rows that came, and takes the same lock.
And a day's paid orders are found without going through all there ever were.

Revision ID: 0031
Revises: 0030
"""

from alembic import op

revision = "0031"
down_revision = "0030"
branch_labels = None
depends_on = None

_FUNCTIONS = """
CREATE FUNCTION nuan_lines_of_statement() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM 1 FROM statement s WHERE s.id IN (SELECT statement_id FROM fresh) FOR KEY SHARE;
  IF EXISTS (SELECT 1 FROM (SELECT DISTINCT statement_id FROM fresh) f
             WHERE NOT EXISTS (SELECT 1 FROM statement s WHERE s.id = f.statement_id)) THEN
    RAISE EXCEPTION 'lines of a statement that is not kept'
      USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END $$;
CREATE FUNCTION nuan_statement_has_lines() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF EXISTS (SELECT 1 FROM statement_line WHERE statement_id = OLD.id) THEN
    RAISE EXCEPTION 'statement % has lines', OLD.id USING ERRCODE = 'foreign_key_violation';
  END IF;
  RETURN NULL;
END $$;
"""
# A trigger with a transition table may watch one kind of change alone.
_TRIGGERS = """
CREATE TRIGGER statement_line_kept AFTER INSERT ON statement_line
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION nuan_lines_of_statement();
CREATE TRIGGER statement_line_moved AFTER UPDATE ON statement_line
    REFERENCING NEW TABLE AS fresh
    FOR EACH STATEMENT EXECUTE FUNCTION nuan_lines_of_statement();
CREATE TRIGGER statement_has_lines AFTER DELETE ON statement
    FOR EACH ROW EXECUTE FUNCTION nuan_statement_has_lines();
CREATE TRIGGER statement_renumbered AFTER UPDATE OF id ON statement
    FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION nuan_statement_has_lines();
"""


def upgrade() -> None:
    """Triggers instead of the key."""
    op.drop_constraint("fk_statement_line_statement_id", "statement_line", type_="foreignkey")
    op.execute(_FUNCTIONS)
    op.execute(_TRIGGERS)
    op.create_index(
        "ix_payment_order_paid_at", "payment_order", ["paid_at"], postgresql_using="brin"
    )


def downgrade() -> None:
    """The key instead of the triggers."""
    op.drop_index("ix_payment_order_paid_at", "payment_order")
    for name in ("statement_line_kept", "statement_line_moved"):
        op.execute(f"DROP TRIGGER {name} ON statement_line")
    for name in ("statement_has_lines", "statement_renumbered"):
        op.execute(f"DROP TRIGGER {name} ON statement")
    op.execute("DROP FUNCTION nuan_lines_of_statement, nuan_statement_has_lines")
    op.create_foreign_key(
        "fk_statement_line_statement_id", "statement_line", "statement", ["statement_id"], ["id"]
    )
