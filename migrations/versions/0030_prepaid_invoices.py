"""Invoices over prepaid deductions: which days a line stands for; who signs an issuer's papers."""

from alembic import op

revision = "0030"
down_revision = "0029"

STATEMENTS = """
ALTER TABLE paper_issuer
    ADD COLUMN drawer text NOT NULL DEFAULT '',
    ADD COLUMN payee text NOT NULL DEFAULT '',
    ADD COLUMN reviewer text NOT NULL DEFAULT '';
CREATE TABLE paper_deduction (
    paper_id bigint NOT NULL,
    seq integer NOT NULL,
    day date NOT NULL,
    household_id bigint NOT NULL,
    utility text NOT NULL,
    amount_fen bigint NOT NULL,
    CONSTRAINT pk_paper_deduction PRIMARY KEY (paper_id, seq, day),
    CONSTRAINT fk_paper_deduction_line
        FOREIGN KEY (paper_id, seq) REFERENCES paper_line (paper_id, seq),
    CONSTRAINT fk_paper_deduction_prepaid_day
        FOREIGN KEY (household_id, utility, day)
        REFERENCES prepaid_day (household_id, utility, day),
    CONSTRAINT ck_paper_deduction_not_zero CHECK (amount_fen <> 0)
);
CREATE INDEX ix_paper_deduction_day ON paper_deduction (household_id, utility, day);
CREATE CONSTRAINT TRIGGER paper_deduction_once AFTER INSERT ON paper_deduction
    FOR EACH ROW EXECUTE FUNCTION nuan_deducted_once();
CREATE CONSTRAINT TRIGGER paper_deduction_whole AFTER INSERT ON paper_deduction
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION nuan_deduction_whole();
CREATE TRIGGER paper_deduction_append_only BEFORE UPDATE OR DELETE ON paper_deduction
    FOR EACH ROW EXECUTE FUNCTION nuan_refuse_change();
CREATE TRIGGER paper_deduction_no_truncate BEFORE TRUNCATE ON paper_deduction
    FOR EACH STATEMENT EXECUTE FUNCTION nuan_refuse_change();
"""

# Of a day, invoices that count say at least nothing and at most what was deducted.
DEDUCTED_ONCE = """
CREATE FUNCTION nuan_deducted_once() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    deducted bigint;
    invoiced numeric;
BEGIN
    SELECT deduction_fen INTO deducted FROM prepaid_day
     WHERE household_id = NEW.household_id AND utility = NEW.utility AND day = NEW.day FOR UPDATE;
    SELECT coalesce(sum(d.amount_fen), 0) INTO invoiced FROM paper_deduction d
     WHERE d.household_id = NEW.household_id AND d.utility = NEW.utility AND d.day = NEW.day
       AND NOT EXISTS (SELECT 1 FROM paper_void v WHERE v.paper_id = d.paper_id);
    IF invoiced < 0 OR invoiced > greatest(0, deducted) THEN
        RAISE EXCEPTION 'deduction % % %: invoices of % fen over % fen deducted',
            NEW.household_id, NEW.utility, NEW.day, invoiced, deducted
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
"""
# A line that stands for deductions says their sum, of its own household and utility.
DEDUCTION_WHOLE = """
CREATE FUNCTION nuan_deduction_whole() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (
        SELECT 1 FROM paper_line l JOIN paper p ON p.id = l.paper_id
         WHERE l.paper_id = NEW.paper_id AND l.seq = NEW.seq AND l.bill_id IS NULL
           AND l.utility = NEW.utility AND p.household_id = NEW.household_id
           AND p.kind IN ('invoice', 'special')
           AND l.amount_fen = (SELECT sum(d.amount_fen) FROM paper_deduction d
                                WHERE d.paper_id = NEW.paper_id AND d.seq = NEW.seq)) THEN
        RAISE EXCEPTION 'line % of paper % is not the sum of its deductions', NEW.seq, NEW.paper_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    """Make the table, its guards and the signers' columns."""
    op.execute(DEDUCTED_ONCE)
    op.execute(DEDUCTION_WHOLE)
    for statement in STATEMENTS.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    """Papers that were handed out cannot be taken out of the database again."""
    raise RuntimeError("papers are not undone: restore a backup instead")
