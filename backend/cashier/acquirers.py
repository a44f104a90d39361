"""收单结算: what a card acquirer settles, matched with the counter's card payments.

A row that is ours leaves `pos:<terminal>` for `clearing:acquirer-<code>`, less the acquirer's fee;
its payout reaches the bank like any other (cashier.bank_accounts).  What is not ours, or not of the
same sum, is posted nowhere and stands in the proof of the day the card was used.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime

import sqlalchemy as sa

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import books, proofs, rules
from backend.cashier.acquirer_models import Acquirer, Settlement, SettlementRow
from backend.cashier.bank_formats import sheet
from backend.cashier.matching import Difference, Sums
from backend.cashier.models import Reconciliation
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal, audit
from payments import bank as bank_files
from payments.bank import Records
from payments.statement import StatementError

SETTLEMENT = "settlement"


def add(code: str, name: str, layout: str, since: date) -> Acquirer:
    """An acquirer whose settlements are imported; the caller commits."""
    made = Acquirer(code=code, name=name, format=layout, since=since)
    db.session.add(made)
    db.session.flush()
    return made


def in_use() -> Sequence[Acquirer]:
    """The acquirers there are."""
    query = sa.select(Acquirer).where(Acquirer.active).order_by(Acquirer.code)
    return db.session.scalars(query).all()


def channel(acquirer: Acquirer) -> str:
    """Under what name its money is on its way, and its fees are kept."""
    return f"acquirer-{acquirer.code}"


def take(
    code: str, name: str, data: bytes, actor: Principal, now: datetime
) -> tuple[Settlement, bool]:
    """Take in a settlement file whole: (it, whether it is new).  The caller commits.

    Problems: not_found, statement_broken with its rows, statement_changed where another file under
    that number is there.
    """
    acquirer = db.session.scalar(
        sa.select(Acquirer).where(Acquirer.code == code, Acquirer.active).with_for_update()
    )
    if acquirer is None:
        raise Problem("not_found", "没有这家收单机构。", field="acquirer")
    records = _read(acquirer, data)
    number, day = records.head("settlement_no"), records.head("day")
    if number is None or day is None or day > business_day(now):
        raise _broken([(1, "header", "看不出结算单号和日期")])
    sha256 = hashlib.sha256(data).hexdigest()
    kept = db.session.scalar(
        sa.select(Settlement).where(
            Settlement.acquirer_id == acquirer.id, Settlement.number == number
        )
    )
    if kept is not None:
        if kept.sha256 != sha256:
            raise Problem("statement_changed", f"结算单 {number} 已导入，内容不同，未覆盖。")
        return kept, False
    made = Settlement(
        acquirer_id=acquirer.id,
        number=number,
        day=day,
        name=name[:200],
        sha256=sha256,
        file=data,
        received_at=now,
        received_by=actor.id,
        rows=len(records.rows),
    )
    db.session.add(made)
    db.session.flush()
    _insert(made, records)
    match(acquirer, now)
    audit("acquirer.settlement_taken", "settlement", made.id, actor, now=now, number=number)
    return made, True


def _read(acquirer: Acquirer, data: bytes) -> Records:
    try:
        found = bank_files.read(sheet(acquirer.format, "acquirer", "settlement"), data)
    except StatementError as error:
        raise _broken([(p.line, p.code, p.reason) for p in error.problems]) from None
    faults = [
        (line, "amount", "金额须大于 0，手续费不能为负或超过金额")
        for line, row in found.rows
        if not 0 <= row["fee_fen"] <= row["amount_fen"] or row["amount_fen"] <= 0
    ]
    if faults:
        raise _broken(faults)
    return found


def _broken(faults: Sequence[tuple[int, str, str]]) -> Problem:
    shown = "；".join(f"第 {line} 行：{reason}" for line, _, reason in faults[:5])
    rows = [{"line": line, "code": code, "reason": reason} for line, code, reason in faults[:20]]
    detail = f"结算文件有误，未入库（{len(faults)} 处）：{shown}"
    return Problem("statement_broken", detail, rows=rows)


def _insert(made: Settlement, records: Records) -> None:
    rows = [
        {
            "settlement_id": made.id,
            "seq": seq,
            "acquirer_id": made.acquirer_id,
            "terminal_no": row["terminal_no"],
            "reference": row["reference"],
            "traded_on": row.get("traded_on") or made.day,
            "amount_fen": row["amount_fen"],
            "fee_fen": row["fee_fen"],
        }
        for seq, (_, row) in enumerate(records.rows, 1)
    ]
    if rows:
        db.session.execute(sa.insert(SettlementRow), rows)


# Rows not ours yet that now are: same terminal, slip and sum, of a payment that stands and that no
# other row has; of two rows about one payment the first.
_MATCH = sa.text("""
WITH fits AS (
    SELECT DISTINCT ON (p.id) r.settlement_id, r.seq, p.id AS payment_id, t.code AS terminal
      FROM acquirer_row r JOIN acquirer a ON a.id = r.acquirer_id
      JOIN pos_terminal t ON t.code = r.terminal_no AND t.acquirer = a.code
      JOIN counter_payment p ON p.terminal_id = t.id AND p.reference = r.reference
       AND p.amount_fen = r.amount_fen AND p.slip_open
     WHERE r.acquirer_id = :acquirer AND r.payment_id IS NULL
       AND NOT EXISTS (SELECT 1 FROM acquirer_row x WHERE x.payment_id = p.id)
     ORDER BY p.id, r.settlement_id, r.seq),
done AS (
    UPDATE acquirer_row r SET payment_id = f.payment_id FROM fits f
     WHERE r.settlement_id = f.settlement_id AND r.seq = f.seq
 RETURNING r.settlement_id, r.seq, f.terminal, r.amount_fen, r.fee_fen)
SELECT d.settlement_id, s.number, s.day, d.terminal, min(d.seq) AS first,
       sum(d.amount_fen)::bigint AS amount_fen, sum(d.fee_fen)::bigint AS fee_fen
  FROM done d JOIN acquirer_settlement s ON s.id = d.settlement_id
 GROUP BY d.settlement_id, s.number, s.day, d.terminal ORDER BY d.settlement_id, d.terminal
""")


def match(acquirer: Acquirer, now: datetime) -> None:
    """Find whose the rows are and post those that are ours; the caller commits."""
    drafts = []
    for row in db.session.execute(_MATCH, {"acquirer": acquirer.id}).all():
        lines = [
            (chart.clearing(channel(acquirer)), row.amount_fen - row.fee_fen),
            (chart.fee(channel(acquirer)), row.fee_fen),
            (chart.pos(row.terminal), -row.amount_fen),
        ]
        drafts.append(
            ledger.Draft(
                f"settlement:{acquirer.code}/{row.number}:{row.first}",
                SETTLEMENT,
                books.moment_on(row.day, now),
                lines,
                memo=f"收单结算 {row.number}",
                detail={"settlement": row.number, "terminal": row.terminal},
            )
        )
    ledger.post_many(drafts)


_DIFFERENCES = sa.text("""
WITH theirs AS (
    SELECT r.*, p.amount_fen AS ours_fen, x.seq AS matched
      FROM acquirer_row r JOIN acquirer a ON a.id = r.acquirer_id
      LEFT JOIN pos_terminal t ON t.code = r.terminal_no AND t.acquirer = a.code
      LEFT JOIN counter_payment p ON p.terminal_id = t.id AND p.reference = r.reference
       AND p.slip_open
      LEFT JOIN acquirer_row x ON x.payment_id = p.id
     WHERE r.acquirer_id = :acquirer AND r.traded_on = :day)
SELECT CASE WHEN ours_fen IS NULL THEN 'missing_here' WHEN matched IS NOT NULL THEN 'duplicate'
            ELSE 'amount' END AS kind,
       terminal_no || ' ' || reference AS reference, ours_fen, amount_fen AS theirs_fen
  FROM theirs WHERE payment_id IS NULL
UNION ALL
SELECT 'fee', terminal_no || ' ' || reference, NULL, fee_fen FROM theirs
 WHERE payment_id IS NOT NULL AND fee_fen > ceil(amount_fen * CAST(:rate AS numeric))
UNION ALL
SELECT 'missing_there', t.code || ' ' || p.reference, p.amount_fen, NULL
  FROM counter_payment p JOIN pos_terminal t ON t.id = p.terminal_id
 WHERE t.acquirer = :code AND p.day = :day AND p.slip_open
   AND NOT EXISTS (SELECT 1 FROM acquirer_row x JOIN acquirer a ON a.id = x.acquirer_id
                   WHERE a.code = t.acquirer AND x.terminal_no = t.code
                     AND x.reference = p.reference)
 ORDER BY 1, 2 LIMIT 1000
""")
_SUMS = sa.text("""
SELECT (SELECT coalesce(sum(p.amount_fen), 0) FROM entry e JOIN posting p ON p.entry_id = e.id
          JOIN account a ON a.id = p.account_id JOIN pos_terminal t ON a.code = 'pos:' || t.code
         WHERE t.acquirer = :code AND e.day = :day
           AND e.business_key LIKE 'counter:%') AS ledger_fen,
       (SELECT coalesce(sum(amount_fen), 0) FROM acquirer_row
         WHERE acquirer_id = :acquirer AND traded_on = :day) AS channel_fen,
       (SELECT coalesce(sum(fee_fen), 0) FROM acquirer_row
         WHERE acquirer_id = :acquirer AND traded_on = :day) AS fee_fen,
       coalesce(sum(p.amount_fen), 0) AS orders_fen, count(p.id) AS payments
  FROM counter_payment p JOIN pos_terminal t ON t.id = p.terminal_id
 WHERE t.acquirer = :code AND p.day = :day AND p.slip_open
""")


def examine(acquirer: Acquirer, day: date, now: datetime) -> Reconciliation:
    """Match and write down what an acquirer and the counter say of the cards of a day."""
    match(acquirer, now)
    values = {
        "acquirer": acquirer.id,
        "code": acquirer.code,
        "day": day,
        "rate": rules.MAX_FEE_RATE,
    }
    row = db.session.execute(_SUMS, values).one()
    found = [Difference(*one) for one in db.session.execute(_DIFFERENCES, values)]
    sums = Sums(
        int(row.ledger_fen),
        int(row.channel_fen),
        int(row.orders_fen),
        int(row.fee_fen),
        row.payments,
        0,
    )
    return proofs.keep(f"acquirer:{acquirer.code}", day, sums, found, now)
