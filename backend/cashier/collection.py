"""银行代扣: a batch of deductions for one bank and day, drafted, approved by another, exported.

Each line is an ordinary payment order over the channel `bank`: a bill is in one open batch at
most, is not taken at the counter or online once its file is written, and is free again when the
bank has said no.  Online orders over its bills are ended at their channels before that.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import IntegrityError

from backend.base import ids
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.sealed import seal, unseal
from backend.billing.regions import below
from backend.cashier import asking, mandates
from backend.cashier import collection_rules as rules
from backend.cashier.collection_models import (
    CollectingBank,
    CollectionBatch,
    CollectionLine,
)
from backend.cashier.models import OrderItem, PaymentOrder
from backend.cashier.rules import BANK, description
from backend.people.service import Principal, audit
from payments import bank as bank_files
from payments.channel import ChannelError
from payments.flat_format import Format, Sheet, formats

log = logging.getLogger("nuan.cashier")

FILE = "collection.file"
_CANCELLABLE = ("drafted", "approved", "exporting", "exported")


@dataclass(frozen=True, slots=True)
class Choice:
    """Which bills a batch takes: due by a day; of a region, a utility, a household where given.

    `by`: one deduction a household (its oldest bills, at most 20) or a bill.
    """

    due_by: date
    region_id: int | None = None
    utility: str | None = None
    account_no: str | None = None
    by: str = "household"


def layouts(kind: str) -> dict[str, Format]:
    """The formats there are for a kind of file, the company's own among them."""
    directory: str = current_app.extensions["nuan_settings"].bank_formats_dir
    return {name: one for name, one in formats(directory).items() if one.kind == kind}


def sheet(name: str, kind: str, which: str) -> Sheet:
    """One sort of file of a named format; Problem not_found where it is no longer there."""
    found = layouts(kind).get(name)
    if found is None:
        raise Problem("not_found", f"没有文件格式 {name}。", field="format")
    return found.sheets[which]


_DUE = sa.text("""
WITH due AS (
    SELECT b.id AS bill_id, b.household_id, b.utility, b.amount_fen - b.paid_fen AS open_fen,
           m.id AS mandate_id,
           row_number() OVER (PARTITION BY b.household_id ORDER BY b.due_on, b.id) AS nth
      FROM bill b
      JOIN mandate m ON m.household_id = b.household_id AND m.cancelled_at IS NULL
       AND m.bank_id = :bank AND m.valid_from <= :day AND coalesce(m.valid_to, :day) >= :day
      JOIN household h ON h.id = b.household_id JOIN building g ON g.id = h.building_id
     WHERE b.state = 'issued' AND b.amount_fen > b.paid_fen AND b.due_on <= :due_by
       AND (CAST(:utility AS text) IS NULL OR b.utility = :utility)
       AND (CAST(:account_no AS text) IS NULL OR h.account_no = :account_no)
       AND (CAST(:regions AS bigint[]) IS NULL OR g.region_id = ANY(:regions))
       AND NOT EXISTS (SELECT 1 FROM order_item i
                       WHERE i.bill_id = b.id AND i.channel = :channel AND i.open))
SELECT bill_id, household_id, utility, open_fen, mandate_id FROM due
 WHERE nth <= :most_each OR :by = 'bill' ORDER BY household_id, nth LIMIT :most
""")


def due_bills(bank: CollectingBank, day: date, choice: Choice) -> Sequence[sa.Row[Any]]:
    """The bills a batch would take, in the order of its lines."""
    values = {
        "bank": bank.id,
        "day": day,
        "due_by": choice.due_by,
        "utility": choice.utility or None,
        "account_no": choice.account_no or None,
        "regions": below(choice.region_id) if choice.region_id else None,
        "channel": BANK,
        "by": choice.by,
        "most_each": rules.MAX_BILLS_A_LINE,
        "most": rules.MAX_LINES + 1,
    }
    return db.session.execute(_DUE, values).all()


def draft(
    bank_code: str, day: date, choice: Choice, actor: Principal, now: datetime
) -> CollectionBatch:
    """A batch over the bills that are due, with their orders; the caller commits.

    Problems: not_found, validation (a day gone by), collection_empty, collection_too_large,
    order_open where another batch takes one of the bills this very moment.
    """
    if day < business_day(now):
        raise Problem("validation", "扣款日期不能早于今天。", field="day")
    if choice.by not in ("household", "bill"):
        raise Problem("validation", field="by")
    bank = mandates.bank_by_code(bank_code, lock=True)
    bills = due_bills(bank, day, choice)
    if not bills:
        raise Problem("collection_empty")
    if len(bills) > rules.MAX_LINES:
        raise Problem("collection_too_large")
    batch = CollectionBatch(
        batch_no=rules.batch_no(bank.code, day, _of_the_day(bank, day) + 1),
        bank_id=bank.id,
        day=day,
        chosen={k: str(v) for k, v in asdict(choice).items() if v is not None},
        drafted_by=actor.id,
        drafted_at=now,
    )
    db.session.add(batch)
    db.session.flush()
    try:
        _open_lines(batch, bills, choice.by, now)
    except IntegrityError:
        db.session.rollback()
        raise Problem("order_open") from None
    audit("collection.drafted", "collection_batch", batch.batch_no, actor, now=now)
    return batch


def _of_the_day(bank: CollectingBank, day: date) -> int:
    count = sa.select(sa.func.count()).where(
        CollectionBatch.bank_id == bank.id, CollectionBatch.day == day
    )
    return int(db.session.scalar(count) or 0)


def _open_lines(
    batch: CollectionBatch, bills: Sequence[sa.Row[Any]], by: str, now: datetime
) -> None:
    """The lines with their orders and items, a set at a time."""
    key = (lambda row: row.household_id) if by == "household" else (lambda row: row.bill_id)
    groups = [list(rows) for _, rows in groupby(bills, key)]
    orders = [
        {
            "out_trade_no": ids.out_trade_no("B", now),
            "channel": BANK,
            "way": "file",
            "household_id": rows[0].household_id,
            "amount_fen": sum(row.open_fen for row in rows),
            "created_at": now,
            "expires_at": now + timedelta(days=rules.ORDER_DAYS),
        }
        for rows in groups
    ]
    insert = sa.insert(PaymentOrder).returning(PaymentOrder.id, sort_by_parameter_order=True)
    order_ids = list(db.session.scalars(insert, orders))
    items = [
        {
            "order_id": order_id,
            "bill_id": row.bill_id,
            "channel": BANK,
            "amount_fen": row.open_fen,
        }
        for order_id, rows in zip(order_ids, groups, strict=True)
        for row in rows
    ]
    db.session.execute(sa.insert(OrderItem), items)
    lines = [
        {
            "batch_id": batch.id,
            "seq": seq,
            "order_id": order_id,
            "order_no": order["out_trade_no"],
            "mandate_id": rows[0].mandate_id,
            "household_id": order["household_id"],
            "amount_fen": order["amount_fen"],
        }
        for seq, (order_id, order, rows) in enumerate(
            zip(order_ids, orders, groups, strict=True), 1
        )
    ]
    db.session.execute(sa.insert(CollectionLine), lines)


def locked(batch_no: str) -> CollectionBatch:
    """A batch, held until commit; Problem not_found."""
    query = sa.select(CollectionBatch).where(CollectionBatch.batch_no == batch_no)
    found = db.session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if found is None:
        raise Problem("not_found")
    return found


def approve(batch_no: str, actor: Principal, now: datetime) -> CollectionBatch:
    """Another person lets a drafted batch go; the caller commits.

    Problems: not_found, collection_moved_on, second_person.
    """
    batch = locked(batch_no)
    if batch.state != "drafted":
        raise Problem("collection_moved_on")
    if batch.drafted_by == actor.id:
        raise Problem("second_person", "批次须由另一位同事核准，不能自己核准。")
    batch.state, batch.approved_by, batch.approved_at = "approved", actor.id, now
    audit("collection.approved", "collection_batch", batch_no, actor, now=now)
    return batch


def export(batch_no: str, actor: Principal, now: datetime) -> CollectionBatch:
    """Write the batch's file, once: asked again it is the one already written.  Commits.

    From its first commit on nobody else takes these bills.  Then online orders over them are
    ended at their channels; a bill that was paid or changed meanwhile, or whose channel gives no
    word, is left out.  Problems: not_found, collection_moved_on, collection_empty,
    collection_unwritable (with the row; nothing is sent).
    """
    batch = locked(batch_no)
    if batch.state in ("exported", "closed"):
        return batch
    if batch.state not in ("approved", "exporting"):
        raise Problem("collection_moved_on")
    batch.state = "exporting"
    db.session.execute(_HOLD, {"batch": batch.id})
    db.session.commit()
    busy = _end_online_orders(batch.id, now)
    batch = locked(batch_no)
    if batch.state != "exporting":
        return batch
    _withdraw_changed(batch, busy)
    _write(batch, actor, now)
    db.session.commit()
    return batch


_HOLD = sa.text("""
UPDATE payment_order SET state = 'paying' WHERE state = 'created' AND id IN (
    SELECT order_id FROM collection_line WHERE batch_id = :batch AND state = 'waiting')
""")


def _end_online_orders(batch_id: int, now: datetime) -> list[int]:
    """End other orders over the batch's bills at their channels; bills nobody gave word of."""
    bills = sa.select(OrderItem.bill_id).where(
        OrderItem.order_id.in_(
            sa.select(CollectionLine.order_id).where(CollectionLine.batch_id == batch_id)
        )
    )
    holding = sa.select(OrderItem.order_id).where(
        OrderItem.bill_id.in_(bills), OrderItem.open, OrderItem.channel != BANK
    )
    busy: list[int] = []
    for number in db.session.scalars(
        sa.select(PaymentOrder.out_trade_no).where(PaymentOrder.id.in_(holding))
    ).all():
        order = asking.order_by_number(number)
        assert order is not None
        try:
            asking.ask(order, now, close=True)
        except ChannelError as error:
            log.warning("channel gave no word", extra={"order": number, "why": str(error)})
            busy += [item.bill_id for item in order.items]
    db.session.commit()
    return busy


# Lines whose bills no longer owe what the order says, or whose mandate has ended.
_CHANGED = sa.text("""
SELECT DISTINCT l.order_id FROM collection_line l
  JOIN order_item i ON i.order_id = l.order_id JOIN bill b ON b.id = i.bill_id
  JOIN mandate m ON m.id = l.mandate_id
 WHERE l.batch_id = :batch AND l.state = 'waiting'
   AND (b.state <> 'issued' OR b.amount_fen - b.paid_fen <> i.amount_fen
        OR b.id = ANY(CAST(:busy AS bigint[])) OR m.cancelled_at IS NOT NULL)
""")


def _withdraw_changed(batch: CollectionBatch, busy: Sequence[int]) -> None:
    gone = list(db.session.scalars(_CHANGED, {"batch": batch.id, "busy": list(busy)}))
    lines = sa.update(CollectionLine).where(CollectionLine.order_id.in_(gone))
    said = "导出前账单已缴或已变化"
    db.session.execute(lines.values(state="withdrawn", reason=said))
    end_orders(gone, said)


def end_orders(order_ids: Sequence[int], note: str) -> None:
    """These orders are over and hold their bills no longer."""
    values = {"ids": list(order_ids), "note": note}
    db.session.execute(_END, values)
    db.session.execute(_RELEASE, values)


_END = sa.text("""
UPDATE payment_order SET state = 'closed', note = :note
 WHERE id = ANY(CAST(:ids AS bigint[])) AND state IN ('created', 'paying')
""")
_RELEASE = sa.text("""
UPDATE order_item SET open = false WHERE order_id = ANY(CAST(:ids AS bigint[])) AND open
""")


_FILE_ROWS = sa.text("""
SELECT l.seq, l.order_no, l.amount_fen, m.contract_no, m.card_sealed, m.holder_sealed,
       h.account_no, array_agg(b.utility ORDER BY b.id) AS utilities
  FROM collection_line l JOIN mandate m ON m.id = l.mandate_id
  JOIN household h ON h.id = l.household_id
  JOIN order_item i ON i.order_id = l.order_id JOIN bill b ON b.id = i.bill_id
 WHERE l.batch_id = :batch AND l.state = 'waiting'
 GROUP BY l.batch_id, l.seq, m.id, h.id ORDER BY l.seq
""")


def _write(batch: CollectionBatch, actor: Principal, now: datetime) -> None:
    """The file of what is left, kept sealed with the hash of its bytes."""
    bank = db.session.get_one(CollectingBank, batch.bank_id)
    rows = [_file_row(row) for row in db.session.execute(_FILE_ROWS, {"batch": batch.id})]
    if not rows:
        raise Problem("collection_empty", "批次里的账单都已缴清，请作废这个批次。")
    layout = sheet(bank.format, "collection", "deduction")
    head = {"merchant": bank.merchant, "batch_no": batch.batch_no, "day": batch.day}
    try:
        data = bank_files.write(layout, head, rows)
    except ValueError as error:
        raise Problem("collection_unwritable", f"{error}。") from None
    batch.file_name = bank_files.file_name(layout, head)
    batch.file_sealed = seal(data.decode("latin-1"), FILE)
    batch.sha256 = hashlib.sha256(data).hexdigest()
    batch.state, batch.exported_by, batch.exported_at = "exported", actor.id, now
    audit(
        "collection.exported", "collection_batch", batch.batch_no, actor, now=now,
        sha256=batch.sha256, lines=len(rows),
    )  # fmt: skip


def _file_row(row: sa.Row[Any]) -> dict[str, Any]:
    return {
        "seq": row.seq,
        "order_no": row.order_no,
        "contract_no": row.contract_no,
        "card_no": unseal(row.card_sealed, mandates.CARD),
        "holder": unseal(row.holder_sealed, mandates.HOLDER),
        "amount_fen": row.amount_fen,
        "account_no": row.account_no,
        "purpose": description(row.utilities),
    }


def file_of(batch_no: str, actor: Principal, now: datetime) -> tuple[str, bytes]:
    """(name, bytes) of a batch's file, as it was written; every look is audited.

    The caller commits.  Problem not_found.
    """
    query = sa.select(CollectionBatch).where(CollectionBatch.batch_no == batch_no)
    batch = db.session.scalar(query)
    if batch is None or batch.file_sealed is None or batch.file_name is None:
        raise Problem("not_found")
    audit("collection.file_taken", "collection_batch", batch_no, actor, now=now)
    return batch.file_name, unseal(batch.file_sealed, FILE).encode("latin-1")


def cancel(batch_no: str, reason: str, actor: Principal, now: datetime) -> CollectionBatch:
    """Take a batch back; the caller commits.

    One whose file was written only by another person than who wrote it, who vouches that the bank
    never got it: a result for it is refused from then on.  Problems: not_found,
    collection_moved_on, reason_missing, second_person.
    """
    batch = locked(batch_no)
    if batch.state not in _CANCELLABLE or _answered(batch.id):
        raise Problem("collection_moved_on")
    if batch.state == "exported" and batch.exported_by == actor.id:
        raise Problem("second_person", "文件已导出的批次须由另一位同事作废。")
    _end(batch, "cancelled", reason, actor, now)
    _end_lines(batch.id, ("waiting",), "withdrawn", "批次作废")
    return batch


def close(batch_no: str, reason: str, actor: Principal, now: datetime) -> CollectionBatch:
    """End an exported batch; the caller commits.

    Lines the bank has not decided (no result, or unknown) want a reason; their bills are free
    again, and should the bank have taken the money after all, its late result is still taken.
    Problems: not_found, collection_moved_on, collection_unfinished.
    """
    batch = locked(batch_no)
    if batch.state != "exported":
        raise Problem("collection_moved_on")
    undecided = sa.select(sa.func.count()).where(
        CollectionLine.batch_id == batch.id, CollectionLine.state.in_(("waiting", "unknown"))
    )
    if db.session.scalar(undecided) and len(reason) < 2:
        raise Problem("collection_unfinished", field="reason")
    _end(batch, "closed", reason or "结果齐全", actor, now)
    _end_lines(batch.id, ("waiting", "unknown"), "unknown", reason)
    return batch


def _answered(batch_id: int) -> bool:
    query = sa.select(CollectionLine.seq).where(
        CollectionLine.batch_id == batch_id, CollectionLine.result_id.is_not(None)
    )
    return db.session.scalar(query.limit(1)) is not None


def _end(batch: CollectionBatch, state: str, reason: str, actor: Principal, now: datetime) -> None:
    if len(reason) < 2:
        raise Problem("reason_missing", field="reason")
    batch.state, batch.ended_by, batch.ended_at, batch.end_reason = state, actor.id, now, reason
    audit(f"collection.{state}", "collection_batch", batch.batch_no, actor, now=now, reason=reason)


def _end_lines(batch_id: int, states: Sequence[str], to_state: str, reason: str) -> None:
    lines = sa.update(CollectionLine).where(
        CollectionLine.batch_id == batch_id, CollectionLine.state.in_(states)
    )
    ended = db.session.scalars(
        lines.values(state=to_state, reason=reason).returning(CollectionLine.order_id)
    ).all()
    end_orders(ended, reason)
