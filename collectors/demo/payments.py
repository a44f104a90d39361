"""The demonstration's past payments, through the sandbox's WeChat Pay: order, tap, signed notice.

Then each past day's statement is fetched and proven, and all but yesterday are closed.  Yesterday
finance has something to look into: a payment of another sum than was ordered waits to be given
back, and a row of the statement is about nobody's order.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import date, datetime, timedelta

import requests
import sqlalchemy as sa

from backend.archive.models import Binding, Building, Household
from backend.base.clock import day_start
from backend.base.db import db
from backend.billing.models import Bill
from backend.cashier import reconcile
from backend.cashier import service as cashier
from backend.people.models import Resident
from collectors.demo.history import Calendar, Say
from collectors.demo.people import PEOPLE

NOTICE_WAIT_S = 20
TIMEOUT = (3, 8)
TOO_LITTLE_FEN = 10000


def pay_first_bills(calendar: Calendar, sandbox: str, now: datetime, say: Say) -> None:
    """Pay the first period's bills of everybody who pays, on days spread up to yesterday."""
    first_from = calendar.periods[0][0]
    payers = _payers()
    for index, (household_id, resident_id, openid) in enumerate(payers):
        bills = _open_bills(household_id, first_from)
        last = index == len(payers) - 1
        if bills:
            at = _paid_at(calendar, index, len(payers))
            _pay(resident_id, bills, openid, at, sandbox, now, "parked" if last else "paid")
        if index % 6 == 5:
            say(f"历史缴费 {index + 1}/{len(payers)}")


def _payers() -> list[tuple[int, int, str]]:
    """(household, resident, openid) of everybody who pays; made-up residents for the others."""
    unpaid = {(p.building, p.flat) for p in PEOPLE if p.pays == "none"}
    rows = db.session.execute(
        sa.select(Household.id, Household.unit_no, Building.code, Resident.id, Resident.openid)
        .join(Building, Building.id == Household.building_id)
        .outerjoin(Binding, Binding.household_id == Household.id)
        .outerjoin(Resident, Resident.id == Binding.resident_id)
        .order_by(Household.id)
    ).all()
    found = []
    for household_id, unit, building, resident_id, openid in rows:
        if (building, unit) in unpaid or unit.startswith("4"):
            continue  # the fourth floors have not paid yet: the console needs something overdue
        if resident_id is None:
            resident = Resident(openid=f"demo-{building}-{unit}")
            db.session.add(resident)
            db.session.flush()
            db.session.add(Binding(resident_id=resident.id, household_id=household_id))
            resident_id, openid = resident.id, resident.openid
        found.append((household_id, resident_id, openid))
    db.session.commit()
    return found


def _open_bills(household_id: int, period_from: date) -> list[int]:
    query = sa.select(Bill.id).where(
        Bill.household_id == household_id, Bill.period_from == period_from, Bill.state == "issued"
    )
    return list(db.session.scalars(query.order_by(Bill.id)))


def _paid_at(calendar: Calendar, index: int, count: int) -> datetime:
    """Spread over the last days before today, most of them yesterday's neighbours."""
    back = 1 + (count - 1 - index) * 6 // count
    return day_start(calendar.today - timedelta(days=back)) + timedelta(hours=9, minutes=11 * index)


def _pay(
    resident_id: int,
    bills: Sequence[int],
    openid: str,
    paid_at: datetime,
    sandbox: str,
    now: datetime,
    becomes: str,
) -> None:
    """Order, tap pay in the sandbox, and wait for what the notice makes of the order."""
    order, client_pay = cashier.create_order(resident_id, bills, cashier.Door(), now)
    if becomes == "parked":
        _order(sandbox, "payment", "wrong_amount", order.out_trade_no, amount_fen=TOO_LITTLE_FEN)
    tap = {**client_pay, "openid": openid, "paid_at": paid_at.isoformat()}
    answer = requests.post(f"{sandbox}/sandbox/wechat/pay", json=tap, timeout=TIMEOUT)
    answer.raise_for_status()
    deadline = time.monotonic() + NOTICE_WAIT_S
    while time.monotonic() < deadline:
        db.session.rollback()
        if cashier.order_view(order.out_trade_no)["state"] == becomes:
            return
        time.sleep(0.02)
    raise RuntimeError(f"no notice came for order {order.out_trade_no} in {NOTICE_WAIT_S} s")


def prove_past_days(calendar: Calendar, sandbox: str, now: datetime, say: Say) -> None:
    """Fetch every past day's statement and reconcile it; close all days before yesterday."""
    days = [calendar.today - timedelta(days=back) for back in range(6, 0, -1)]
    _order(sandbox, "statement", "extra_row", days[-1].isoformat())
    for day in days:
        _order(sandbox, "statement", "publish", day.isoformat())  # now, whatever the hour
        reconcile.fetch_statement("wechat", day, now)
        reconcile.reconcile("wechat", day, now)
        if day != days[-1]:
            reconcile.close_day(day, None, None, now)
        db.session.commit()
        say(f"对账 {day}")


def _order(sandbox: str, target: str, mode: str, occasion: str, **params: object) -> None:
    """The sandbox behaves to order on one occasion."""
    order = {"target": target, "mode": mode, "match": occasion, "params": params}
    requests.post(f"{sandbox}/sandbox/behaviour", json=order, timeout=TIMEOUT).raise_for_status()
