"""A bank's result of a batch: taken whole or refused whole, and posted exactly once.

Whatever is refused is kept with every reason and changes nothing else.  A success is an ordinary
payment of its order; what its bills no longer owe goes into the household's balance, for a bank
gives nothing back by file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.sealed import seal
from backend.billing import service as billing
from backend.billing import wallet
from backend.cashier import books, mandates, rules
from backend.cashier.bank_formats import sheet
from backend.cashier.collection_end import end_orders
from backend.cashier.collection_export import FILE
from backend.cashier.collection_models import (
    CollectingBank,
    CollectionBatch,
    CollectionLine,
    CollectionResult,
)
from backend.cashier.collection_rules import Decided, Known, RowFault, judge
from backend.cashier.rules import BANK
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.service import Draft
from backend.people.service import Principal, audit
from payments import bank as bank_files
from payments.bank import Records
from payments.flat_format import Sheet
from payments.statement import StatementError

MAX_KEPT = 100  # faults kept of a refused file


class _Refused(Exception):
    def __init__(self, faults: Sequence[RowFault], batch_id: int | None = None) -> None:
        super().__init__(faults[0].reason)
        self.faults = faults
        self.batch_id = batch_id


def take(
    bank_code: str, name: str, data: bytes, actor: Principal, now: datetime
) -> tuple[CollectionResult, bool]:
    """Take in a result file: (the result, whether it is new).  Commits.

    The same file again is the result already taken.  Problem result_refused, with the rows, after
    the refusal has been kept; not_found for a bank there is none of.
    """
    bank = mandates.bank_by_code(bank_code, lock=True)
    sha256 = hashlib.sha256(data).hexdigest()
    kept = _taken(bank.id, sha256)
    if kept is not None:
        db.session.commit()
        return kept, False
    made = CollectionResult(
        bank_id=bank.id,
        name=name[:200],
        sha256=sha256,
        file_sealed=seal(data.decode("latin-1"), FILE),
        received_at=now,
        received_by=actor.id,
        outcome="taken",
    )
    try:
        layout = sheet(bank.format, "collection", "result")
        records = _read(layout, data)
        batch = _batch_of(bank, records)
        settled_on = _settled_on(bank, batch, records, now)
        decided = _judged(batch, layout, records)
    except _Refused as refused:
        _keep_refusal(made, refused, actor, now)
        raise Problem(
            "result_refused",
            _sentence(refused.faults),
            rows=[_shown(fault) for fault in refused.faults[:20]],
        ) from None
    _take_in(made, batch, decided, settled_on, now)
    audit(
        "collection.result_taken", "collection_batch", batch.batch_no, actor, now=now,
        sha256=sha256, success_fen=made.success_fen,
    )  # fmt: skip
    db.session.commit()
    return made, True


def _taken(bank_id: int, sha256: str) -> CollectionResult | None:
    found: CollectionResult | None = db.session.scalar(
        sa.select(CollectionResult).where(
            CollectionResult.bank_id == bank_id,
            CollectionResult.sha256 == sha256,
            CollectionResult.outcome == "taken",
        )
    )
    return found


def _read(layout: Sheet, data: bytes) -> Records:
    try:
        return bank_files.read(layout, data)
    except StatementError as error:
        raise _Refused([RowFault(p.line, p.code, p.reason) for p in error.problems]) from None


def _batch_of(bank: CollectingBank, records: Records) -> CollectionBatch:
    """The batch the file is about, by its number or by its first row; held until commit."""
    number = records.head("batch_no")
    query = sa.select(CollectionBatch).where(CollectionBatch.bank_id == bank.id)
    if number is not None:
        query = query.where(CollectionBatch.batch_no == number)
    elif records.rows:
        line = sa.select(CollectionLine.batch_id).where(
            CollectionLine.order_no == records.rows[0][1]["order_no"]
        )
        query = query.where(CollectionBatch.id.in_(line))
    else:
        raise _Refused([RowFault(1, "empty", "文件没有明细，也没有批次号")])
    batch = db.session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if batch is None:
        raise _Refused([RowFault(1, "unknown_batch", f"没有批次 {str(number or '')[:40]}")])
    if batch.state not in ("exported", "closed"):
        states = {"cancelled": "已作废"}
        said = f"批次 {batch.batch_no} {states.get(batch.state, '还没有导出')}，不能回盘"
        raise _Refused([RowFault(1, "batch_state", said)], batch.id)
    return batch


def _settled_on(
    bank: CollectingBank, batch: CollectionBatch, records: Records, now: datetime
) -> date:
    """The day the bank took the money."""
    merchant, day = records.head("merchant"), records.head("day") or business_day(now)
    if merchant is not None and merchant != bank.merchant:
        raise _Refused([RowFault(1, "merchant", "商户号不是本公司的")], batch.id)
    assert batch.exported_at is not None
    if not business_day(batch.exported_at) <= day <= business_day(now):
        said = f"扣款日期 {day} 不在导出之后、今天之前"
        raise _Refused([RowFault(1, "time", said)], batch.id)
    return day


def _judged(batch: CollectionBatch, layout: Sheet, records: Records) -> list[Decided]:
    rows = db.session.execute(
        sa.select(
            CollectionLine.order_no,
            CollectionLine.seq,
            CollectionLine.order_id,
            CollectionLine.household_id,
            CollectionLine.amount_fen,
            CollectionLine.state,
        ).where(CollectionLine.batch_id == batch.id)
    )
    known = {row.order_no: Known(*row[1:]) for row in rows}
    decided, faults = judge(records.rows, known, layout.reasons)
    if faults:
        raise _Refused(faults, batch.id)
    return decided


def _keep_refusal(
    made: CollectionResult, refused: _Refused, actor: Principal, now: datetime
) -> None:
    db.session.rollback()
    made.outcome, made.batch_id = "refused", refused.batch_id
    made.problems = {
        "count": len(refused.faults),
        "rows": [_shown(fault) for fault in refused.faults[:MAX_KEPT]],
    }
    db.session.add(made)
    db.session.flush()
    audit("collection.result_refused", "collection_result", made.id, actor, now=now)
    db.session.commit()


def _shown(fault: RowFault) -> dict[str, Any]:
    return {"line": fault.line, "code": fault.code, "reason": fault.reason}


def _sentence(faults: Sequence[RowFault]) -> str:
    shown = "；".join(f"第 {fault.line} 行：{fault.reason}" for fault in faults[:5])
    return f"结果文件有误，全部未入账（{len(faults)} 处）：{shown}"


def _take_in(
    made: CollectionResult,
    batch: CollectionBatch,
    decided: Sequence[Decided],
    settled_on: date,
    now: datetime,
) -> None:
    by = {name: [one for one in decided if one.outcome == name] for name in _STATES}
    made.batch_id = batch.id
    made.success_count, made.failed_count = len(by["success"]), len(by["failed"])
    made.unknown_count = len(by["unknown"])
    made.success_fen = sum(one.known.amount_fen for one in by["success"])
    db.session.add(made)
    db.session.flush()
    _write_lines(made.id, batch.id, decided, settled_on)
    _post(batch.batch_no, by["success"], settled_on, now)
    end_orders([one.known.order_id for one in by["failed"]], "银行代扣失败")


_STATES = ("success", "failed", "unknown")
_LINES = sa.text("""
UPDATE collection_line l SET state = p.state, code = p.code, reason = nullif(p.reason, ''),
       serial = p.serial, settled_on = :day, result_id = :result
  FROM unnest(CAST(:seqs AS integer[]), CAST(:states AS text[]), CAST(:codes AS text[]),
              CAST(:reasons AS text[]), CAST(:serials AS text[]))
       AS p(seq, state, code, reason, serial)
 WHERE l.batch_id = :batch AND l.seq = p.seq
""")


def _write_lines(
    result_id: int, batch_id: int, decided: Sequence[Decided], settled_on: date
) -> None:
    values = {
        "result": result_id,
        "batch": batch_id,
        "day": settled_on,
        "seqs": [one.known.seq for one in decided],
        "states": [one.outcome for one in decided],
        "codes": [one.code for one in decided],
        "reasons": [one.reason for one in decided],
        "serials": [one.serial for one in decided],
    }
    db.session.execute(_LINES, values)


_ITEMS = sa.text("""
SELECT o.id AS order_id, o.out_trade_no, o.household_id, o.amount_fen,
       i.bill_id, i.amount_fen AS bill_fen, b.utility
  FROM payment_order o JOIN order_item i ON i.order_id = o.id JOIN bill b ON b.id = i.bill_id
 WHERE o.id = ANY(CAST(:ids AS bigint[])) AND o.transaction_id IS NULL
 ORDER BY o.id, i.bill_id FOR UPDATE OF o
""")
_PAID = sa.text("""
UPDATE payment_order SET state = 'paid', transaction_id = out_trade_no,
       received_fen = amount_fen, paid_at = :at
 WHERE id = ANY(CAST(:ids AS bigint[])) AND transaction_id IS NULL
""")
_OVER = sa.text("UPDATE payment_order SET note = '账单已缴清，转入余额' WHERE id = ANY(:ids)")
_FREE = sa.text("UPDATE order_item SET open = false WHERE order_id = ANY(CAST(:ids AS bigint[]))")


def _post(batch_no: str, won: Sequence[Decided], settled_on: date, now: datetime) -> None:
    """Count the successes towards their bills and post each under its own key."""
    if not won:
        return
    ids = [one.known.order_id for one in won]
    rows = db.session.execute(_ITEMS, {"ids": ids}).all()
    at = books.moment_on(settled_on, now)
    applied = billing.apply_payments({row.bill_id: row.bill_fen for row in rows}, at)
    orders: dict[int, list[Any]] = {}
    for row in rows:
        orders.setdefault(row.order_id, []).append(row)
    over: dict[int, int] = {}  # order id -> household, where something was no longer owed
    ledger.post_many(_drafts(batch_no, orders, applied, at, over))
    db.session.execute(_PAID, {"ids": ids, "at": at})
    db.session.execute(_FREE, {"ids": ids})
    if over:
        db.session.execute(_OVER, {"ids": list(over)})
    for household_id in sorted(set(over.values())):
        wallet.pay_oldest(household_id, now)


def _drafts(
    batch_no: str,
    orders: dict[int, list[Any]],
    applied: set[int],
    at: datetime,
    over: dict[int, int],
) -> Iterator[Draft]:
    for order_id, rows in orders.items():
        first = rows[0]
        lines = [(chart.clearing(BANK), first.amount_fen)]
        lines += [
            (chart.receivable(row.utility, row.household_id), -row.bill_fen)
            for row in rows
            if row.bill_id in applied
        ]
        surplus_fen = sum(fen for _, fen in lines)
        if surplus_fen:
            over[order_id] = first.household_id
            lines.append((chart.wallet(first.household_id), -surplus_fen))
        yield Draft(
            rules.payment_key(BANK, first.out_trade_no),
            books.PAYMENT,
            at,
            lines,
            memo=f"银行代扣 {batch_no}",
            detail={"out_trade_no": first.out_trade_no, "batch_no": batch_no},
        )
