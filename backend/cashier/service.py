"""Payment orders: made, handed out again, opened at their channel.

The order's row is committed before the channel is called, and no transaction is held while the
channel is asked, so what a crash leaves behind is always an order that can be asked about.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import current_app
from sqlalchemy.exc import IntegrityError

from backend.archive.service import household_for
from backend.base import ids, tasks
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import asking, rules
from backend.cashier.channels import channel_for, notify_url
from backend.cashier.models import OrderItem, PaymentOrder
from backend.cashier.payable import bills_of, payable_by
from backend.people.models import Resident
from payments.channel import ChannelError, OrderRequest, PaymentChannel, PayWay

__all__ = ["Door", "PayWay", "create_order"]

log = logging.getLogger("nuan.cashier")


@dataclass(frozen=True, slots=True)
class Door:
    """Through which door a payer comes: channel, way, and what H5 payments have to know."""

    channel: str = "wechat"
    way: PayWay = PayWay.MINI
    client_ip: str = ""


def create_order(
    resident_id: int, bills: Sequence[int], door: Door, now: datetime
) -> tuple[PaymentOrder, dict[str, str]]:
    """An order over open bills of one household, and what the client needs to pay it; commits.

    Asking again for the same bills gives the same order while it can still be paid.  Problems:
    not_found (also for a stranger's bill), bills_not_together, bill_not_payable, order_open
    (somebody else of the household is paying), channel_unavailable (nothing was charged),
    channel_unknown, way_unknown.
    """
    gateway = channel_for(door.channel)
    if door.way not in gateway.ways:
        raise Problem("way_unknown", field="way")
    order = _standing_order(resident_id, bills, door, now)
    if order is None:
        order = _insert_order(resident_id, bills, door, now)
    return order, prepay(order, gateway, door, now)


def order_for(resident_id: int, out_trade_no: str) -> PaymentOrder:
    """The order, if the resident looks after its household; else not_found."""
    order = asking.order_by_number(out_trade_no)
    if order is None or order.household_id is None:
        raise Problem("not_found")
    household_for(resident_id, order.household_id)
    return order


def order_view(out_trade_no: str) -> dict[str, Any]:
    """The order as the API shows it; not_found where there is none."""
    order = asking.order_by_number(out_trade_no)
    if order is None:
        raise Problem("not_found")
    return {
        "out_trade_no": order.out_trade_no,
        "state": order.state,
        "amount_fen": order.amount_fen,
        "topup_into": order.topup_into,
        "bill_ids": sorted(item.bill_id for item in order.items),
        "created_at": order.created_at,
        "expires_at": order.expires_at,
        "paid_at": order.paid_at,
    }


def _standing_order(
    resident_id: int, bill_ids: Sequence[int], door: Door, now: datetime
) -> PaymentOrder | None:
    """An open order over exactly these bills that can be handed out again; others make room."""
    rows = payable_by(resident_id, bill_ids)
    amounts = {row.id: row.open_fen for row in rows}
    standing = None
    for order in asking.open_orders(bill_ids, door.channel):
        same = {item.bill_id: item.amount_fen for item in order.items} == amounts
        mine = order.resident_id == resident_id and order.way == door.way
        if same and mine and rules.reusable(order.expires_at, now):
            standing = order
        else:
            make_room(order, resident_id, now)
    return standing


def make_room(order: PaymentOrder, resident_id: int, now: datetime) -> None:
    """End an earlier order over one of the bills, unless somebody else is just paying it."""
    if not rules.replaceable(order.resident_id, resident_id, order.created_at, now):
        raise Problem("order_open")
    try:
        asking.ask(order, now, close=True)
    except ChannelError as error:
        raise _unavailable(order, error) from error


def _insert_order(
    resident_id: int, bill_ids: Sequence[int], door: Door, now: datetime
) -> PaymentOrder:
    """Commit a new order and the first question about it; a rival's double tap gets the same."""
    rows = payable_by(resident_id, bill_ids)
    order = PaymentOrder(
        out_trade_no=ids.out_trade_no("N", now),
        channel=door.channel,
        way=door.way,
        household_id=rows[0].household_id,
        resident_id=resident_id,
        amount_fen=sum(row.open_fen for row in rows),
        created_at=now,
        expires_at=rules.expires_at(now),
        items=[OrderItem(bill_id=r.id, channel=door.channel, amount_fen=r.open_fen) for r in rows],
    )
    db.session.add(order)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        return _rivals(resident_id, bill_ids, door)
    if [row.open_fen for row in bills_of(bill_ids)] != [row.open_fen for row in rows]:
        db.session.rollback()  # the counter held these bills, and has taken the money
        raise Problem("bill_not_payable", field="bill_ids")
    at = rules.next_ask(now, order.expires_at, 0)
    tasks.defer("cashier.ask_channel", at=at, out_trade_no=order.out_trade_no, step=0)
    db.session.commit()
    return order


def _rivals(resident_id: int, bill_ids: Sequence[int], door: Door) -> PaymentOrder:
    """The order another request of the same resident made a moment ago; else order_open."""
    for order in asking.open_orders(bill_ids, door.channel):
        same = {item.bill_id for item in order.items} == set(bill_ids)
        if same and (order.resident_id, order.way) == (resident_id, door.way):
            return order
    raise Problem("order_open")


def prepay(
    order: PaymentOrder, gateway: PaymentChannel, door: Door, now: datetime
) -> dict[str, str]:
    """Open the order at the channel (again: under the same number it stays one); commits."""
    request = _request(order, door)
    db.session.commit()
    try:
        pay = gateway.create(request)
    except ChannelError as error:
        raise _not_opened(order, error, now) from error
    if not asking.move(order, ("created", "paying"), state="paying", prepay_id=pay.prepay_id):
        raise Problem("order_ended")
    return dict(pay.fields)


def _request(order: PaymentOrder, door: Door) -> OrderRequest:
    if order.topup_into is not None:
        description = rules.topup_description(order.topup_into)
    else:
        rows = bills_of([item.bill_id for item in order.items])
        description = rules.description([row.utility for row in rows])
    payer = db.session.get_one(Resident, order.resident_id)
    return OrderRequest(
        out_trade_no=order.out_trade_no,
        amount_fen=order.amount_fen,
        description=description,
        payer_id=payer.openid if order.channel == "wechat" else "",
        notify_url=notify_url(order.channel),
        expires_at=order.expires_at,
        way=door.way,
        return_url=_return_url(order) if door.way is PayWay.WAP else "",
        client_ip=door.client_ip,
    )


def _return_url(order: PaymentOrder) -> str:
    """The resident's page that asks what became of the order."""
    base: str = current_app.extensions["nuan_settings"].public_url
    return f"{base.rstrip('/')}/#/pages/pay-result/index?no={order.out_trade_no}"


def _not_opened(order: PaymentOrder, error: ChannelError, now: datetime) -> Problem:
    """What the resident is told; an order the channel refuses for good does not stay open."""
    if error.code == "order_paid":
        asking.refresh(order.out_trade_no, now)
        return Problem("bill_not_payable" if order.topup_into is None else "order_ended")
    if error.permanent:
        asking.end(order, note=str(error))
    return _unavailable(order, error)


def _unavailable(order: PaymentOrder, error: ChannelError) -> Problem:
    log.error("channel failed", extra={"order": order.out_trade_no, "why": str(error)})
    return Problem("channel_unavailable")
