"""银行代扣: a batch of deductions for one bank and day, drafted and approved by another.

Each line is an ordinary payment order over the channel `bank`: a bill is in one open batch at
most, is not taken at the counter or online once its file is written (cashier.collection_export),
and is free again when the bank has said no (collection_results) or the batch ends (collection_end).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.base import ids
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.regions import below
from backend.cashier import collection_rules as rules
from backend.cashier import mandates
from backend.cashier.collection_models import (
    CollectingBank,
    CollectionBatch,
    CollectionLine,
)
from backend.cashier.models import OrderItem, PaymentOrder
from backend.cashier.rules import BANK
from backend.people.service import Principal, audit


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
