"""Payment orders: made, asked about, ended; and the notices that say they were paid.

The order's row is committed before the channel is called, and no transaction is held while the
channel is asked, so what a crash leaves behind is always an order that can be asked about.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import selectinload

from backend.archive.service import household_for
from backend.base import ids, tasks
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.models import Bill
from backend.cashier import refunds, rules
from backend.cashier.channels import channel_for, notify_url
from backend.cashier.confirm import confirm, release
from backend.cashier.models import OrderItem, PaymentOrder, RawNotice
from backend.people.models import Resident
from payments.channel import (
    ChannelError,
    Notice,
    NoticeRejected,
    OrderRequest,
    PaymentChannel,
    PayWay,
    Reply,
    TradeState,
    TradeStatus,
)

__all__ = ["Door", "PayWay", "create_order", "receive_notice", "refresh"]

log = logging.getLogger("nuan.cashier")

MAX_NOTICE_BYTES = 64 * 1024
_HEADERS_KEPT = ("wechatpay-", "request-id", "content-type")
# An authentic notice of these kinds says nothing a repetition could change.
_NO_USE_REPEATING = ("event_unknown",)
_MONEY_MOVED = (TradeStatus.PAID, TradeStatus.REFUNDED)


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
    return order, _prepay(order, gateway, door, now)


def order_by_number(out_trade_no: str) -> PaymentOrder | None:
    """The order as the database has it now, with its bills."""
    query = sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == out_trade_no)
    query = query.options(selectinload(PaymentOrder.items))
    found: PaymentOrder | None = db.session.scalar(query.execution_options(populate_existing=True))
    return found


def order_for(resident_id: int, out_trade_no: str) -> PaymentOrder:
    """The order, if the resident looks after its household; else not_found."""
    order = order_by_number(out_trade_no)
    if order is None:
        raise Problem("not_found")
    household_for(resident_id, order.household_id)
    return order


def order_view(out_trade_no: str) -> dict[str, Any]:
    """The order as the API shows it; not_found where there is none."""
    order = order_by_number(out_trade_no)
    if order is None:
        raise Problem("not_found")
    return {
        "out_trade_no": order.out_trade_no,
        "state": order.state,
        "amount_fen": order.amount_fen,
        "bill_ids": sorted(item.bill_id for item in order.items),
        "created_at": order.created_at,
        "expires_at": order.expires_at,
        "paid_at": order.paid_at,
    }


def refresh(out_trade_no: str, now: datetime) -> PaymentOrder:
    """Ask the channel about an order that is still open, and end it when its time is over.

    Commits.  A channel that does not answer leaves the order as it is: it is asked again later.
    """
    order = order_by_number(out_trade_no)
    if order is None:
        raise Problem("not_found")
    if order.state in rules.OPEN:
        try:
            _ask(order, now, close=now >= order.expires_at)
        except ChannelError as error:
            log.warning("channel gave no word", extra={"order": out_trade_no, "why": str(error)})
    return order_by_number(out_trade_no) or order


def sweep(now: datetime) -> int:
    """Enqueue what was left behind: open orders past their time, refunds not ended; how many.

    Task chains normally see to both; this is the net below them.
    """
    overdue = sa.select(PaymentOrder.out_trade_no).where(
        PaymentOrder.state.in_(rules.OPEN), PaymentOrder.expires_at <= now
    )
    numbers = db.session.scalars(overdue.limit(1000)).all()
    for number in numbers:
        step = len(rules.ASK_AT_S)
        tasks.defer("cashier.ask_channel", once=f"ask:{number}", out_trade_no=number, step=step)
    return len(numbers) + refunds.sweep(now)


def end_open_orders(bill_ids: Sequence[int], now: datetime) -> None:
    """End every online order over these bills at its channel, or learn that it was paid; commits.

    For the counter, where the money is about to be taken: what is closed at its channel cannot be
    paid any more.  Problem order_open where the channel gives no word.
    """
    for order in _open_orders(bill_ids):
        try:
            _ask(order, now, close=True)
        except ChannelError as error:
            log.warning("channel gave no word", extra={"order": order.out_trade_no})
            detail = "该账单有一笔线上支付正在进行，渠道暂时无法连接，请勿收款，稍后再试。"
            raise Problem("order_open", detail) from error


def payable_bills(bill_ids: Sequence[int], *, lock: bool = False) -> list[sa.Row[Any]]:
    """The bills by rising id, all there and owed; held until commit where `lock`."""
    if not bill_ids:
        return []
    rows = _bills(bill_ids, lock=lock)
    _refuse(bill_ids, rows)
    return rows


def _bills(bill_ids: Sequence[int], *, lock: bool = False) -> list[sa.Row[Any]]:
    """id, household_id, utility, open_fen (what can still be paid) of the bills that exist."""
    open_fen = sa.case((Bill.state == "issued", Bill.amount_fen - Bill.paid_fen), else_=0)
    query = sa.select(Bill.id, Bill.household_id, Bill.utility, open_fen.label("open_fen"))
    query = query.where(Bill.id.in_(bill_ids)).order_by(Bill.id)
    return list(db.session.execute(query.with_for_update() if lock else query))


def _payable(resident_id: int, bill_ids: Sequence[int]) -> list[sa.Row[Any]]:
    """The bills, all of them this resident's and open; Problem otherwise."""
    rows = _bills(bill_ids)
    for household_id in sorted({row.household_id for row in rows}):
        household_for(resident_id, household_id)
    _refuse(bill_ids, rows)
    return rows


def _refuse(bill_ids: Sequence[int], rows: Sequence[sa.Row[Any]]) -> None:
    items = [rules.Item(row.id, row.household_id, row.open_fen) for row in rows]
    refused = rules.refusal(bill_ids, items)
    if refused:
        raise Problem(refused, field="bill_ids")


def _standing_order(
    resident_id: int, bill_ids: Sequence[int], door: Door, now: datetime
) -> PaymentOrder | None:
    """An open order over exactly these bills that can be handed out again; others make room."""
    rows = _payable(resident_id, bill_ids)
    amounts = {row.id: row.open_fen for row in rows}
    standing = None
    for order in _open_orders(bill_ids, door.channel):
        same = {item.bill_id: item.amount_fen for item in order.items} == amounts
        mine = order.resident_id == resident_id and order.way == door.way
        if same and mine and rules.reusable(order.expires_at, now):
            standing = order
        else:
            _make_room(order, resident_id, now)
    return standing


def _open_orders(bill_ids: Sequence[int], channel: str | None = None) -> Sequence[PaymentOrder]:
    """The open orders over any of these bills, at one channel or at all."""
    holding = sa.select(OrderItem.order_id).where(OrderItem.bill_id.in_(bill_ids), OrderItem.open)
    if channel is not None:
        holding = holding.where(OrderItem.channel == channel)
    query = sa.select(PaymentOrder).where(PaymentOrder.id.in_(holding)).order_by(PaymentOrder.id)
    return db.session.scalars(query.options(selectinload(PaymentOrder.items))).all()


def _make_room(order: PaymentOrder, resident_id: int, now: datetime) -> None:
    """End an earlier order over one of the bills, unless somebody else is just paying it."""
    if not rules.replaceable(order.resident_id, resident_id, order.created_at, now):
        raise Problem("order_open")
    try:
        _ask(order, now, close=True)
    except ChannelError as error:
        raise _unavailable(order, error) from error


def _insert_order(
    resident_id: int, bill_ids: Sequence[int], door: Door, now: datetime
) -> PaymentOrder:
    """Commit a new order and the first question about it; a rival's double tap gets the same."""
    rows = _payable(resident_id, bill_ids)
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
    if [row.open_fen for row in _bills(bill_ids)] != [row.open_fen for row in rows]:
        db.session.rollback()  # the counter held these bills, and has taken the money
        raise Problem("bill_not_payable", field="bill_ids")
    at = rules.next_ask(now, order.expires_at, 0)
    tasks.defer("cashier.ask_channel", at=at, out_trade_no=order.out_trade_no, step=0)
    db.session.commit()
    return order


def _rivals(resident_id: int, bill_ids: Sequence[int], door: Door) -> PaymentOrder:
    """The order another request of the same resident made a moment ago; else order_open."""
    for order in _open_orders(bill_ids, door.channel):
        same = {item.bill_id for item in order.items} == set(bill_ids)
        if same and (order.resident_id, order.way) == (resident_id, door.way):
            return order
    raise Problem("order_open")


def _prepay(
    order: PaymentOrder, gateway: PaymentChannel, door: Door, now: datetime
) -> dict[str, str]:
    """Open the order at the channel (again: under the same number it stays one); commits."""
    request = _request(order, door)
    db.session.commit()
    try:
        pay = gateway.create(request)
    except ChannelError as error:
        raise _not_opened(order, error, now) from error
    if not _move(order, ("created", "paying"), state="paying", prepay_id=pay.prepay_id):
        raise Problem("order_ended")
    return dict(pay.fields)


def _request(order: PaymentOrder, door: Door) -> OrderRequest:
    utilities = [row.utility for row in _bills([item.bill_id for item in order.items])]
    payer = db.session.get_one(Resident, order.resident_id)
    return OrderRequest(
        out_trade_no=order.out_trade_no,
        amount_fen=order.amount_fen,
        description=rules.description(utilities),
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
        refresh(order.out_trade_no, now)
        return Problem("bill_not_payable")
    if error.permanent:
        _end(order, note=str(error))
    return _unavailable(order, error)


def _unavailable(order: PaymentOrder, error: ChannelError) -> Problem:
    log.error("channel failed", extra={"order": order.out_trade_no, "why": str(error)})
    return Problem("channel_unavailable")


def _ask(order: PaymentOrder, now: datetime, *, close: bool) -> None:
    """Ask what became of an order and act on it; `close` ends it where it is not paid.  Commits."""
    db.session.commit()
    gateway = channel_for(order.channel)
    try:
        _act_on(order, gateway.query(order.out_trade_no), now)
        if close and order.state in rules.OPEN:
            _close(order, gateway, now)
    except ChannelError as error:
        if error.code != "order_not_found":
            raise
        if close or now - order.created_at >= rules.UNHEARD_OF:
            _end(order, note="渠道无此订单")


def _close(order: PaymentOrder, gateway: PaymentChannel, now: datetime) -> None:
    try:
        gateway.close(order.out_trade_no)
    except ChannelError as error:
        if error.code != "order_paid":
            raise
        _act_on(order, gateway.query(order.out_trade_no), now)
    else:
        _end(order)


def _act_on(order: PaymentOrder, trade: TradeState, now: datetime) -> None:
    if trade.status in _MONEY_MOVED:
        confirm(order.channel, trade, now)
        db.session.commit()
    elif trade.status in (TradeStatus.CLOSED, TradeStatus.FAILED):
        _end(order)


def _end(order: PaymentOrder, note: str | None = None) -> None:
    """Close an order of ours, unless a payment came in between."""
    if _move(order, rules.OPEN, state="closed", note=note):
        release(order.id)
        db.session.commit()


def _move(order: PaymentOrder, states: Sequence[str], **values: Any) -> bool:
    """Change an order that is still in one of `states`; commits, except where nothing changed."""
    changed = db.session.execute(
        sa.update(PaymentOrder)
        .where(PaymentOrder.id == order.id, PaymentOrder.state.in_(states))
        .values(**values)
        .execution_options(synchronize_session="fetch")
    )
    moved = bool(changed.rowcount)  # type: ignore[attr-defined]
    if moved and values["state"] != "closed":
        db.session.commit()
    return moved


def receive_notice(
    channel: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> RawNotice:
    """Store a notice as it came, then verify it, then act on it; commits.

    `outcome` is as `confirm` and `refunds.settle` say, or rejected (`detail` has the code).  An
    unexpected error leaves the notice stored as failed and is raised: the channel sends it again.
    """
    if len(body) > MAX_NOTICE_BYTES:
        raise Problem("too_large")
    gateway = channel_for(channel)
    raw = _store(RawNotice(channel=channel, received_at=now, headers=_kept(headers), body=body))
    try:
        notice = gateway.parse_notice(headers, body, now)
        raw.outcome, raw.out_trade_no = _process(gateway, notice, now)
    except NoticeRejected as rejected:
        raw.outcome, raw.detail = "rejected", rejected.code
        log.warning("notice rejected", extra={"code": rejected.code, "notice": raw.id})
    except Exception as error:
        db.session.rollback()
        _note_failure(raw.id, error)
        raise
    db.session.commit()
    return raw


def _store(raw: RawNotice) -> RawNotice:
    """Commit a notice before it is judged, without waiting for the disk.

    It outlives this process; a power cut may take it, but until it is answered the channel repeats
    it, and the commit that posts the money takes this one to the disk with it.
    """
    db.session.execute(sa.text("SET LOCAL synchronous_commit TO off"))
    db.session.add(raw)
    db.session.commit()
    return raw


def acknowledged(notice: RawNotice) -> bool:
    """Whether to answer 204, or a refusal that makes the channel repeat the notice.

    Repeating helps where our keys or settings may be behind (a rejected notice) and nowhere else:
    a repeat, a parked sum and an unknown order stay what they are, and the statement has them.
    """
    return notice.outcome != "rejected" or notice.detail in _NO_USE_REPEATING


def taken(channel: str) -> Reply:
    """What the channel wants to hear once its notice has been taken."""
    return channel_for(channel).taken


def _process(gateway: PaymentChannel, notice: Notice, now: datetime) -> tuple[str, str]:
    if notice.refund is not None:
        outcome = refunds.settle(gateway.name, notice.refund, now)
        return outcome, notice.refund.out_trade_no or notice.refund.out_refund_no
    assert notice.trade is not None
    number = notice.trade.out_trade_no
    if notice.trade.status not in _MONEY_MOVED:
        _ask_soon(number, now)
        return "not_paid", number
    if gateway.confirms_by_asking:
        return _confirm_by_asking(gateway, number, now), number
    return confirm(gateway.name, notice.trade, now), number


def _confirm_by_asking(gateway: PaymentChannel, number: str, now: datetime) -> str:
    """A notice that is only a reason to ask; where no answer comes, it is asked again soon."""
    db.session.commit()
    try:
        trade = gateway.query(number)
    except ChannelError as error:
        log.warning("channel gave no word", extra={"order": number, "why": str(error)})
        _ask_soon(number, now)
        return "ask_later"
    if trade.status in _MONEY_MOVED:
        return confirm(gateway.name, trade, now)
    _ask_soon(number, now)
    return "ask_later"


def _ask_soon(number: str, now: datetime) -> None:
    """Enqueue one more question about an order, out of its turn; by then it is committed."""
    tasks.defer("cashier.ask_channel", once=f"ask:{number}", out_trade_no=number, step=0)


def _note_failure(notice_id: int, error: Exception) -> None:
    db.session.execute(
        sa.update(RawNotice)
        .where(RawNotice.id == notice_id)
        .values(outcome="failed", detail=type(error).__name__)
    )
    db.session.commit()


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that matter for verifying it again; never cookies or authorization."""
    return {
        name.lower(): value[:1024]
        for name, value in headers.items()
        if name.lower().startswith(_HEADERS_KEPT)
    }
