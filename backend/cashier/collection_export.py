"""A batch's file for the bank: written once, of what is still owed, and kept sealed.

Before that its bills are held, and online orders over them ended at their channels.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.base.sealed import seal, unseal
from backend.cashier import asking, mandates
from backend.cashier.bank_formats import sheet
from backend.cashier.collection import locked
from backend.cashier.collection_end import end_orders
from backend.cashier.collection_models import CollectingBank, CollectionBatch, CollectionLine
from backend.cashier.models import OrderItem, PaymentOrder
from backend.cashier.rules import BANK, description
from backend.people.service import Principal, audit
from payments import bank as bank_files
from payments.channel import ChannelError

log = logging.getLogger("nuan.cashier")

FILE = "collection.file"


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
