"""The company's bank accounts: their movements imported, and what came in matched and posted.

A bank's payout of a collected batch, an acquirer's of its settlement and a payment channel's leave
their clearing account for `bank:<code>`, once a movement; what nobody knows waits for a person.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import bank_rules, books
from backend.cashier.bank_formats import sheet
from backend.cashier.bank_rules import Match, Payout
from backend.cashier.collection_models import BankAccount, BankLine, BankStatement
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.service import Draft
from backend.people.service import Principal, audit
from payments import bank as bank_files
from payments.bank import Records
from payments.statement import StatementError

PAYOUT = "payout"


def add_account(code: str, name: str, account_no: str, layout: str, since: date) -> BankAccount:
    """An account of the company; from `since` on every finance day wants its movements."""
    made = BankAccount(code=code, name=name, account_no=account_no, format=layout, since=since)
    db.session.add(made)
    db.session.flush()
    return made


def accounts() -> Sequence[BankAccount]:
    """The accounts in use."""
    query = sa.select(BankAccount).where(BankAccount.active).order_by(BankAccount.code)
    return db.session.scalars(query).all()


def take(
    code: str, name: str, data: bytes, actor: Principal, now: datetime
) -> tuple[BankStatement, bool]:
    """Take in an account's movements of a day: (they, whether they are new).

    The caller commits.  Problems: not_found, statement_broken with its rows, statement_changed
    where other movements of that day are there.
    """
    account = db.session.scalar(
        sa.select(BankAccount).where(BankAccount.code == code, BankAccount.active).with_for_update()
    )
    if account is None:
        raise Problem("not_found", "没有这个银行账户。", field="account")
    records = _read(account, data)
    day = _day(account, records, now)
    sha256 = hashlib.sha256(data).hexdigest()
    kept = statement_of(account.id, day)
    if kept is not None:
        if kept.sha256 != sha256:
            raise Problem("statement_changed", f"{day} 的流水已导入，内容不同，未覆盖。")
        return kept, False
    made = BankStatement(
        account_id=account.id,
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
    match(made.id, account, now)
    audit("bank.statement_taken", "bank_statement", made.id, actor, now=now, day=day.isoformat())
    return made, True


def statement_of(account_id: int, day: date) -> BankStatement | None:
    """An account's movements of a day, if they were imported."""
    found: BankStatement | None = db.session.scalar(
        sa.select(BankStatement).where(
            BankStatement.account_id == account_id, BankStatement.day == day
        )
    )
    return found


def _read(account: BankAccount, data: bytes) -> Records:
    try:
        return bank_files.read(sheet(account.format, "account", "statement"), data)
    except StatementError as error:
        rows = [{"line": p.line, "code": p.code, "reason": p.reason} for p in error.problems]
        raise _broken(rows) from None


def _broken(rows: list[dict[str, Any]]) -> Problem:
    shown = "；".join(f"第 {row['line']} 行：{row['reason']}" for row in rows[:5])
    return Problem(
        "statement_broken", f"流水有误，未入库（{len(rows)} 处）：{shown}", rows=rows[:20]
    )


def _day(account: BankAccount, records: Records, now: datetime) -> date:
    """The day the file is about; every row must be of it, and no serial twice or known."""
    said = records.head("account_no")
    day: date | None = records.head("day")
    if day is None and records.rows:
        day = records.rows[0][1]["booked_on"]
    if day is None or day > business_day(now):
        raise _broken([{"line": 1, "code": "time", "reason": "看不出是哪一天的流水"}])
    if said is not None and said != account.account_no:
        raise _broken([{"line": 1, "code": "account", "reason": "账号不是这个账户的"}])
    faults, seen = [], _known([row["serial"] for _, row in records.rows], account.id, day)
    for line, row in records.rows:
        if row["booked_on"] != day:
            faults.append({"line": line, "code": "time", "reason": f"不是 {day} 的流水"})
        if row["serial"] in seen:
            faults.append({"line": line, "code": "duplicate", "reason": "流水号重复"})
        if row["amount_fen"] <= 0:
            faults.append({"line": line, "code": "amount", "reason": "金额须大于 0"})
        seen.add(row["serial"])
    if faults:
        raise _broken(faults)
    return day


def _known(serials: Sequence[str], account_id: int, day: date) -> set[str]:
    """Serials that other days' movements carry."""
    query = (
        sa.select(BankLine.serial)
        .join(BankStatement, BankStatement.id == BankLine.statement_id)
        .where(BankLine.account_id == account_id, BankLine.serial.in_(serials))
        .where(BankStatement.day != day)
    )
    return set(db.session.scalars(query))


def _insert(made: BankStatement, records: Records) -> None:
    names = ("booked_on", "serial", "direction", "amount_fen", "counterparty", "summary")
    rows = [
        {
            "statement_id": made.id,
            "seq": seq,
            "account_id": made.account_id,
            **{name: row.get(name) for name in names},
        }
        for seq, (_, row) in enumerate(records.rows, 1)
    ]
    if rows:
        db.session.execute(sa.insert(BankLine), rows)


def match(statement_id: int, account: BankAccount, now: datetime) -> int:
    """Find out what the credits not known yet are, and post them: how many; the caller commits."""
    lines = db.session.scalars(
        sa.select(BankLine)
        .where(
            BankLine.statement_id == statement_id,
            BankLine.direction == "credit",
            BankLine.matched.is_(None),
        )
        .order_by(BankLine.seq)
        .with_for_update()
    ).all()
    if not lines:
        return 0
    texts = bank_rules.texts([(line.summary, line.counterparty, line.serial) for line in lines])
    tokens = sorted({number for text in texts for number in bank_rules.numbers(text)})
    payouts, deposits = payouts_by_number(tokens), _deposits(tokens)
    words = bank_rules.payout_words(current_app.extensions["nuan_settings"].payout_words)
    drafts = []
    for line, text in zip(lines, texts, strict=True):
        found = bank_rules.recognise(text, line.amount_fen, payouts, deposits, words)
        if found is None:
            continue
        line.matched, line.fee_fen = found.key, found.fee_fen
        _count(payouts, found, line.amount_fen)
        if found.channel is not None:
            drafts.append(_draft(account, line, found.channel, now))
    ledger.post_many(drafts)
    db.session.flush()
    return sum(line.matched is not None for line in lines)


def rematch(statement_id: int, actor: Principal, now: datetime) -> int:
    """Look again what the credits nobody knew are, how many are known now; the caller commits.

    What they name may have come since: a bank's result, a settlement, a deposit.
    Problem not_found.
    """
    statement = db.session.get(BankStatement, statement_id)
    if statement is None:
        raise Problem("not_found")
    account = db.session.get_one(BankAccount, statement.account_id, with_for_update=True)
    found = match(statement_id, account, now)
    audit("bank.statement_matched", "bank_statement", statement_id, actor, now=now, found=found)
    return found


def _count(payouts: dict[str, Payout], found: Match, amount_fen: int) -> None:
    """The next line of the same payout sees what this one brought."""
    for number, payout in payouts.items():
        if payout.key == found.key:
            payouts[number] = Payout(
                payout.key,
                payout.channel,
                payout.gross_fen,
                payout.fee_fen,
                payout.credited_fen + amount_fen,
                payout.charged_fen + found.fee_fen,
            )


def _draft(account: BankAccount, line: BankLine, channel: str, now: datetime) -> Draft:
    lines = [
        (chart.bank(account.code), line.amount_fen),
        (chart.fee(channel), line.fee_fen),
        (chart.clearing(channel), -line.amount_fen - line.fee_fen),
    ]
    return Draft(
        f"bankline:{account.code}:{line.serial}",
        PAYOUT,
        books.moment_on(line.booked_on, now),
        lines,
        memo=f"到账 {line.matched}",
        detail={"matched": line.matched, "serial": line.serial},
    )


# Everything somebody owes the company's accounts, by the number a movement names.
_PAYOUTS = """
SELECT p.key, p.number, p.channel, p.gross_fen, p.fee_fen, p.settled_on,
       coalesce(c.credited_fen, 0)::bigint AS credited_fen,
       coalesce(c.charged_fen, 0)::bigint AS charged_fen
  FROM (SELECT 'batch:' || b.batch_no AS key, b.batch_no AS number, 'bank' AS channel,
               sum(l.amount_fen)::bigint AS gross_fen,
               (count(*) * k.fee_per_line_fen)::bigint AS fee_fen, max(l.settled_on) AS settled_on
          FROM collection_line l JOIN collection_batch b ON b.id = l.batch_id
          JOIN collecting_bank k ON k.id = b.bank_id
         WHERE l.state = 'success' AND {batches} GROUP BY b.batch_no, k.fee_per_line_fen
        UNION ALL
        SELECT 'settlement:' || q.code || '/' || s.number, s.number, 'acquirer-' || q.code,
               sum(r.amount_fen - r.fee_fen)::bigint, 0, s.day
          FROM acquirer_settlement s JOIN acquirer q ON q.id = s.acquirer_id
          JOIN acquirer_row r ON r.settlement_id = s.id AND r.payment_id IS NOT NULL
         WHERE {settlements} GROUP BY s.id, q.code) p
  LEFT JOIN LATERAL (
    SELECT sum(x.amount_fen) AS credited_fen, sum(x.fee_fen) AS charged_fen
      FROM bank_line x WHERE x.matched = p.key) c ON true
"""


def payouts_by_number(numbers: Sequence[str]) -> dict[str, Payout]:
    """Payouts under any of these numbers."""
    query = _PAYOUTS.format(
        batches="b.batch_no = ANY(:numbers)", settlements="s.number = ANY(:numbers)"
    )
    rows = db.session.execute(sa.text(query), {"numbers": list(numbers)})
    return {row.number: _payout(row) for row in rows}


def payouts_due(day: date) -> list[Payout]:
    """Payouts that should arrive on a day (the one after they were settled) or did in part."""
    query = _PAYOUTS.format(
        batches="""b.id IN (SELECT batch_id FROM collection_line
                            WHERE settled_on = :before AND state = 'success'
                            UNION SELECT y.id FROM collection_batch y
                            JOIN bank_line x ON x.matched = 'batch:' || y.batch_no
                            WHERE x.booked_on = :day)""",
        settlements="""(s.day = :before OR EXISTS (SELECT 1 FROM bank_line x
                        WHERE x.matched = 'settlement:' || q.code || '/' || s.number
                          AND x.booked_on = :day))""",
    )
    before = date.fromordinal(day.toordinal() - 1)
    rows = db.session.execute(sa.text(query), {"day": day, "before": before})
    return [_payout(row) for row in rows if row.settled_on <= day]


def _payout(row: sa.Row[Any]) -> Payout:
    return Payout(
        row.key, row.channel, row.gross_fen, row.fee_fen, row.credited_fen, row.charged_fen
    )


_DEPOSITS = sa.text("""
SELECT deposit_reference, id, deposited_fen FROM shift
 WHERE deposit_reference = ANY(:numbers) AND deposited_fen > 0
""")


def _deposits(numbers: Sequence[str]) -> dict[str, tuple[int, int]]:
    rows = db.session.execute(_DEPOSITS, {"numbers": list(numbers)})
    return {row.deposit_reference: (row.id, row.deposited_fen) for row in rows}
