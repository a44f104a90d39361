"""The whole story over HTTP and sockets, on one clock that the test moves.

Meters on loopback sockets are read by a session; the days close; the bill is issued; a resident
signs in, binds, looks, asks why, and pays; the sandbox's signed notice is posted; next day's
statement proves the day; the neighbour who did not pay is reminded, once.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest
import requests
import sqlalchemy as sa
from werkzeug.serving import make_server

from backend import create_app
from backend.allocation.models import AllocationRun, AllocationShare
from backend.allocation.tasks import close_building_day
from backend.archive.models import Building, Household
from backend.base.clock import FixedClock, day_start
from backend.base.db import db
from backend.billing import recheck
from backend.billing import service as billing
from backend.cashier import reconcile
from backend.cashier.models import PaymentOrder
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.notices import queueing
from collectors.demo import archive, history
from collectors.demo.history import Calendar
from collectors.map_files import field_maps
from collectors.redecode import decoder
from collectors.simulator.demo import demo_town
from collectors.simulator.town import SimulatedTown
from tests import paper18
from tests.conftest import settings_for
from tests.outside import Phone, phone, sandbox, sandbox_keys, wechat_settings, work

__all__ = ["phone", "sandbox", "sandbox_keys"]

TODAY = date(2026, 11, 20)
START = TODAY - timedelta(days=4)
CALENDAR = Calendar(start=START, replay=START, today=TODAY)
TEMPLATE = "nuan-bill-overdue"


class Web:
    """A resident's phone: requests with a token, and the answers' JSON."""

    def __init__(self, url: str):
        self.url, self.session = url, requests.Session()

    def __call__(self, method: str, path: str, expect: int = 200, **more) -> dict:
        answer = self.session.request(method, f"{self.url}/api/v1/{path}", timeout=10, **more)
        assert answer.status_code == expect, answer.text
        return answer.json() if answer.content else {}

    def sign_in(self, code: str) -> None:
        body = {"code": code, "via": "mini_program"}
        token = self("POST", "session/wechat", json=body)["token"]
        self.session.headers["Authorization"] = f"Bearer {token}"


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(day_start(TODAY) + timedelta(hours=9))


@pytest.fixture
def app(database, clock, sandbox) -> Iterator:
    """The whole application, served over HTTP on a free port, under the sandbox."""
    application = create_app(
        settings_for(database, **wechat_settings(sandbox, "http://127.0.0.1:0")), clock=clock
    )
    server = make_server("127.0.0.1", 0, application, threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    settings = application.extensions["nuan_settings"]
    application.extensions["nuan_settings"] = settings.replace(public_url=url)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    application.extensions["test_url"] = url
    with application.app_context():
        yield application
        db.session.remove()
        server.shutdown()
        thread.join()
        server.server_close()
        db.engine.dispose()


def read_the_town() -> dict[str, int]:
    """Two published days over sockets; building code -> id."""
    town = demo_town(0, replay_start=day_start(START).isoformat(), start=START.isoformat())
    archive.install(town, START, 600, TEMPLATE)
    db.session.commit()
    asyncio.run(_two_days(SimulatedTown(town)))
    return {b.code: b.id for b in db.session.scalars(sa.select(Building))}


async def _two_days(simulated: SimulatedTown) -> None:
    async with simulated:
        wires = history.wires_of(simulated)
        steps = [day_start(START) + timedelta(seconds=600 * n) for n in range(289)]
        published = {code: wire for code, wire in wires.items() if code.startswith("A")}
        await history.read_moments(simulated, published, steps, lambda _: None, "")
        for session, _ in wires.values():
            await session.close()


def shares(run: AllocationRun) -> dict[str, int]:
    rows = db.session.execute(
        sa.select(Household.unit_no, AllocationShare.energy_wh)
        .join(AllocationShare, AllocationShare.household_id == Household.id)
        .where(AllocationShare.run_id == run.id)
    )
    return {row.unit_no: row.energy_wh for row in rows}


def test_from_the_meters_frame_to_the_reconciled_fen(app, clock, phone: Phone, database):
    buildings = read_the_town()
    first, last = START, START + timedelta(days=2)
    for day in (first, first + timedelta(days=1)):
        close_building_day(buildings["A"], day, clock.now())
    issued = billing.issue(buildings["A"], "heat", first, last, clock.now())
    db.session.commit()
    run = db.session.get_one(AllocationRun, issued.bills[0].run_id)
    assert shares(run) == paper18.case()["expected"]["units"]

    web = resident_binds(app, phone)
    bill = resident_looks(web)
    is_equal_made_again(bill["id"])
    order = resident_pays(web, phone, bill)
    assert web("GET", f"bills/{bill['id']}")["state"] == "paid"

    clock.advance(days=1, hours=3)
    day_is_proven(order, bill)
    neighbour_is_reminded(clock, phone, database)
    assert ledger.check() == []


def resident_binds(app, phone: Phone) -> Web:
    web = Web(app.extensions["test_url"])
    web.sign_in(phone.post("wechat/code", openid="new-person")["code"])
    wrong = {"account_no": "2600101101", "owner_name": "李四", "phone_last4": "0001"}
    assert web("POST", "me/households", 422, json=wrong)["code"] == "bind_mismatch"
    right = {"account_no": "2600101101", "owner_name": "张伟", "phone_last4": "0001"}
    home = web("POST", "me/households", 201, json=right)
    assert home["unit_no"] == "101"
    web.household = home["id"]
    return web


def resident_looks(web: Web) -> dict:
    home = web("GET", f"households/{web.household}/home")
    assert home["season"]["used_wh"] > 0
    curve = web(
        "GET",
        f"households/{web.household}/temperature",
        params={"day_from": str(START), "day_to": str(START + timedelta(days=1))},
    )
    first = paper18.case()["input"]["households"][0]["tn"]
    assert curve["days"][0]["room_cdeg"] == [round(c * 100) for c in first[:144]]
    (bill,) = web("GET", f"households/{web.household}/bills")["bills"]
    assert home["owed"]["amount_fen"] == bill["amount_fen"]
    why = web("GET", f"bills/{bill['id']}/explain")
    assert why["heat"]["building_wh"] == 10_530_000
    assert why["heat"]["own_wh"] == paper18.case()["expected"]["units"]["101"]
    assert len(why["readings"]) == 2
    assert sum(line["amount_fen"] for line in why["bill"]["lines"]) == bill["amount_fen"]
    return bill


def is_equal_made_again(bill_id: int) -> None:
    """From the frames that came over the sockets up to the fen."""
    found = recheck.check_bill(bill_id, decoder(field_maps()))
    assert (found.differences, found.notes) == ([], [])
    assert found.frames > 18 * 2 * 288  # every sample of every flat's two sensors, and registers


def resident_pays(web: Web, phone: Phone, bill: dict) -> str:
    made = web(
        "POST",
        "orders",
        201,
        headers={"Idempotency-Key": "story-payment-1"},
        json={"bill_ids": [bill["id"]], "channel": "wechat", "way": "mini"},
    )
    number = made["order"]["out_trade_no"]
    again = web(
        "POST",
        "orders",
        201,
        headers={"Idempotency-Key": "story-payment-1"},
        json={"bill_ids": [bill["id"]], "channel": "wechat", "way": "mini"},
    )
    assert again["order"]["out_trade_no"] == number
    phone.pay(made["client_pay"])
    for _ in range(100):
        if (
            db.session.scalar(
                sa.select(PaymentOrder.state).where(PaymentOrder.out_trade_no == number)
            )
            == "paid"
        ):
            break
        db.session.rollback()
        threading.Event().wait(0.05)
    assert web("GET", f"orders/{number}")["state"] == "paid"
    return number


def day_is_proven(order: str, bill: dict) -> None:
    now = datetime(2026, 11, 21, 4, tzinfo=UTC)
    reconcile.fetch_statement("wechat", TODAY, now)
    proof = reconcile.reconcile("wechat", TODAY, now)
    assert proof.state == "agreed"
    assert proof.ledger_fen == proof.channel_fen == proof.orders_fen == bill["amount_fen"]
    reconcile.close_day(TODAY, None, None, now)
    db.session.commit()
    paid = db.session.scalars(sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == order))
    assert ledger.balance_fen(chart.receivable("heat", paid.one().household_id).code) == 0


def neighbour_is_reminded(clock: FixedClock, phone: Phone, database: str) -> None:
    clock.advance(days=20)
    for _ in range(3):
        queueing.remind_overdue(clock.now())
        db.session.commit()
        work(database)
    messages = [m for m in phone.get("messages")["messages"] if m["openid"] == "demo-wang"]
    assert len(messages) == 1
