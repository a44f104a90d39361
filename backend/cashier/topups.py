"""充值: a resident puts money into the household's balance or a prepaid account, over a channel.

An order like any other, over no bill: `topup_into` says where the money goes once it has come.
A resident has one open top-up a channel and target; amounts are held to the settings' limits.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import IntegrityError

from backend.archive.models import Household
from backend.archive.rules import UTILITIES
from backend.archive.service import household_for
from backend.base import ids, tasks
from backend.base.clock import business_day, day_bounds
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.money import yuan_str
from backend.billing import ahead, overview, wallet
from backend.billing.models import Bill
from backend.cashier import channels, rules, service
from backend.cashier.models import PaymentOrder
from backend.cashier.service import Door

WALLET = "wallet"


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be topped up, in fen: at once from and to, and on one day."""

    min_fen: int
    max_fen: int
    day_fen: int


@dataclass(frozen=True, slots=True)
class Wish:
    """What a resident wants topped up: a household's wallet or prepaid utility, by how much."""

    household_id: int
    into: str
    amount_fen: int


def limits() -> Limits:
    """The company's limits."""
    settings = current_app.extensions["nuan_settings"]
    return Limits(settings.topup_min_fen, settings.topup_max_fen, settings.topup_day_fen)


def offer(household: Household, now: datetime) -> dict[str, Any]:
    """What the page shows: balances and how long they last, what is owed, what may be paid in."""
    bounds = limits()
    owed = sa.select(sa.func.coalesce(sa.func.sum(Bill.amount_fen - Bill.paid_fen), 0)).where(
        Bill.household_id == household.id, Bill.state == "issued"
    )
    left_fen = max(0, bounds.day_fen - _asked_today(household.id, now))
    return {
        "balance_fen": wallet.held_fen(household.id),
        "prepaid": overview.prepaid(household, business_day(now)),
        "due_fen": int(db.session.scalar(owed) or 0),
        "min_fen": bounds.min_fen,
        "max_fen": min(bounds.max_fen, left_fen),
        "day_left_fen": left_fen,
        "chips_fen": rules.chips(bounds.min_fen, min(bounds.max_fen, left_fen)),
        "channels": list(channels.set_up()),
    }


def create(
    resident_id: int, wish: Wish, door: Door, now: datetime
) -> tuple[PaymentOrder, dict[str, str]]:
    """An order that tops up, and what the client needs to pay it; commits.

    Asking again for the same gives the same order while it can still be paid; for another amount
    the earlier one is ended first.  Problems: not_found (a stranger's household, no such account),
    topup_amount, topup_day_limit, channel_unknown, way_unknown, channel_unavailable.
    """
    gateway = channels.channel_for(door.channel)
    if door.way not in gateway.ways:
        raise Problem("way_unknown", field="way")
    household_for(resident_id, wish.household_id)
    _refuse(wish)
    order = _standing(resident_id, wish, door, now) or _insert(resident_id, wish, door, now)
    return order, service.prepay(order, gateway, door, now)


def _refuse(wish: Wish) -> None:
    bounds = limits()
    if not bounds.min_fen <= wish.amount_fen <= bounds.max_fen:
        least, most = yuan_str(bounds.min_fen), yuan_str(bounds.max_fen)
        detail = f"每次可充值 {least} 至 {most} 元。"
        raise Problem("topup_amount", detail, field="amount_fen")
    if wish.into == WALLET:
        return
    if wish.into not in UTILITIES or ahead.locked(wish.household_id, wish.into) is None:
        raise Problem("topup_closed", field="into")


def _standing(resident_id: int, wish: Wish, door: Door, now: datetime) -> PaymentOrder | None:
    """The resident's open order of exactly this wish; one of another amount makes room."""
    order = _open(resident_id, wish, door.channel)
    if order is None:
        return None
    same = (order.amount_fen, order.way) == (wish.amount_fen, door.way)
    if same and rules.reusable(order.expires_at, now):
        return order
    service.make_room(order, resident_id, now)
    return None


def _open(resident_id: int, wish: Wish, channel: str) -> PaymentOrder | None:
    query = sa.select(PaymentOrder).where(
        PaymentOrder.household_id == wish.household_id,
        PaymentOrder.topup_into == wish.into,
        PaymentOrder.channel == channel,
        PaymentOrder.resident_id == resident_id,
        PaymentOrder.state.in_(rules.OPEN),
    )
    found: PaymentOrder | None = db.session.scalar(query)
    return found


def _insert(resident_id: int, wish: Wish, door: Door, now: datetime) -> PaymentOrder:
    """Commit a new order and the first question about it; a rival's double tap gets the same."""
    wallet.one_at_a_time(wish.household_id)  # two at once are held to one day's limit
    if _asked_today(wish.household_id, now) + wish.amount_fen > limits().day_fen:
        most = yuan_str(limits().day_fen)
        raise Problem("topup_day_limit", f"每户每天最多充值 {most} 元。", field="amount_fen")
    order = PaymentOrder(
        out_trade_no=ids.out_trade_no("N", now),
        channel=door.channel,
        way=door.way,
        household_id=wish.household_id,
        resident_id=resident_id,
        topup_into=wish.into,
        amount_fen=wish.amount_fen,
        created_at=now,
        expires_at=rules.expires_at(now),
    )
    db.session.add(order)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        rival = _open(resident_id, wish, door.channel)
        if rival is None or (rival.amount_fen, rival.way) != (wish.amount_fen, door.way):
            raise Problem("order_open") from None
        return rival
    at = rules.next_ask(now, order.expires_at, 0)
    tasks.defer("cashier.ask_channel", at=at, out_trade_no=order.out_trade_no, step=0)
    db.session.commit()
    return order


def _asked_today(household_id: int, now: datetime) -> int:
    """Fen of the household's top-ups of this business day, but for those that were never paid."""
    query = sa.select(sa.func.coalesce(sa.func.sum(PaymentOrder.amount_fen), 0)).where(
        PaymentOrder.household_id == household_id,
        PaymentOrder.topup_into.is_not(None),
        PaymentOrder.state != "closed",
        PaymentOrder.created_at >= day_bounds(business_day(now))[0],
    )
    return int(db.session.scalar(query) or 0)
