"""Which bills can be paid now, and with how much."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from backend.archive.service import household_for
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.models import Bill
from backend.cashier import rules
from backend.cashier.models import OrderItem, PaymentOrder

_COLLECTING = (
    sa.exists()
    .where(OrderItem.bill_id == Bill.id, OrderItem.open, OrderItem.channel == rules.BANK)
    .where(PaymentOrder.id == OrderItem.order_id, PaymentOrder.state == "paying")
)


def payable_bills(bill_ids: Sequence[int], *, lock: bool = False) -> list[sa.Row[Any]]:
    """The bills by rising id, all there and owed; held until commit where `lock`."""
    if not bill_ids:
        return []
    rows = bills_of(bill_ids, lock=lock)
    _refuse(bill_ids, rows)
    return rows


def bills_of(bill_ids: Sequence[int], *, lock: bool = False) -> list[sa.Row[Any]]:
    """id, household_id, utility, open_fen (what can still be paid) of the bills that exist.

    `collecting`: a bank has been asked for the bill and has not answered.
    """
    open_fen = sa.case((Bill.state == "issued", Bill.amount_fen - Bill.paid_fen), else_=0)
    query = sa.select(
        Bill.id,
        Bill.household_id,
        Bill.utility,
        open_fen.label("open_fen"),
        _COLLECTING.label("collecting"),
    )
    query = query.where(Bill.id.in_(bill_ids)).order_by(Bill.id)
    return list(db.session.execute(query.with_for_update(of=Bill) if lock else query))


def payable_by(resident_id: int, bill_ids: Sequence[int]) -> list[sa.Row[Any]]:
    """The bills, all of them this resident's and open; Problem otherwise."""
    rows = bills_of(bill_ids)
    for household_id in sorted({row.household_id for row in rows}):
        household_for(resident_id, household_id)
    _refuse(bill_ids, rows)
    return rows


def _refuse(bill_ids: Sequence[int], rows: Sequence[sa.Row[Any]]) -> None:
    items = [rules.Item(row.id, row.household_id, row.open_fen, row.collecting) for row in rows]
    refused = rules.refusal(bill_ids, items)
    if refused:
        raise Problem(refused, field="bill_ids")
