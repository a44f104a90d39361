"""A small town as the console sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from backend import create_app
from backend.base.clock import FixedClock, business_day
from backend.base.db import db
from backend.cashier import receiving
from backend.cashier import service as cashier
from backend.metering.models import MeterState, ReadSuccess
from payments.sandbox.server import RunningSandbox
from tests import builders
from tests.conftest import settings_for
from tests.outside import Hook, hook, phone, sandbox, sandbox_keys, wechat_settings

__all__ = ["hook", "phone", "sandbox", "sandbox_keys"]

TODAY: date = business_day(builders.NOON)


class Browser(FlaskClient):
    """Each request in an application context of its own, as behind a real server: what a request
    keeps there (who is signed in, its database session) ends with it."""

    def open(self, *args: Any, **kwargs: Any) -> Any:
        with self.application.app_context():
            return super().open(*args, **kwargs)


@pytest.fixture
def app(database: str, clock: FixedClock, sandbox: RunningSandbox, hook: Hook) -> Iterator[Flask]:
    """The application with its pages, as a merchant of the sandbox."""
    settings = settings_for(database, **wechat_settings(sandbox, hook.url))
    application = create_app(settings, clock=clock)
    application.test_client_class = Browser
    with application.app_context():
        yield application
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def sign_in(app: Flask) -> Callable[..., Any]:
    """A test client whose session belongs to new staff with the given roles."""

    def signed(*roles: str, login: str = "", password: str = "correct horse") -> Any:
        name = login or "-".join(roles)
        builders.make_staff(name, roles=roles, password=password, name="周敏")
        client = app.test_client()
        answer = post(client, "/console/sign-in", login=name, password=password)
        assert answer.status_code == 303, answer.text
        return client

    return signed


def token_in(page: str) -> str:
    """The CSRF token of the first form of a page."""
    found = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page)
    assert found, page
    return found.group(1)


def post(client: Any, path: str, at: str | None = None, **fields: str) -> Any:
    """Fill in the form of the page `at` (default: the page itself) and send it."""
    token = token_in(client.get(at or path).text)
    return client.post(path, data={"csrf_token": token, **fields})


def count_reads(meter_id: int, day: date, asked: int, answered: int) -> None:
    """How a meter answered on a day."""
    db.session.add(ReadSuccess(meter_id=meter_id, day=day, asked=asked, answered=answered))
    db.session.commit()


def keep_state(meter_id: int, **values: Any) -> None:
    """A meter's last known state."""
    db.session.add(MeterState(meter_id=meter_id, **values))
    db.session.commit()


@pytest.fixture
def town(app: Flask) -> dict[str, Any]:
    """Two buildings: A answers, B does half the time and has one dead meter."""
    branch = builders.make_region("城东分公司")
    places: dict[str, Any] = {}
    for code, answered in (("A", 100), ("B", 50)):
        building = builders.make_building(code, branch)
        bus = builders.make_bus(building, f"{code}-1")
        flats = [builders.make_household(building, f"{n}01") for n in (1, 2)]
        meters = [builders.make_meter(building, flat, bus=bus) for flat in flats]
        for meter in meters:
            keep_state(meter.id, last_ok_at=builders.NOON - timedelta(seconds=9))
            for back in range(7):
                count_reads(meter.id, TODAY - timedelta(days=back), 100, answered)
        places[code] = {"building": building, "meters": meters, "bus": bus, "flats": flats}
    dead = builders.make_meter(places["B"]["building"], bus=places["B"]["bus"], address="00660066")
    count_reads(dead.id, TODAY, 100, 0)
    keep_state(
        dead.id,
        last_ok_at=builders.NOON - timedelta(days=3),
        last_error_at=builders.NOON - timedelta(seconds=4),
        last_error="3 s 内没有应答",
    )
    places["dead"] = dead
    return places


@pytest.fixture
def pay(app: Flask, clock: FixedClock, phone: Any, hook: Hook) -> Callable[..., str]:
    """Somebody pays a bill in WeChat and the notice is posted; the order's number."""
    resident = builders.make_resident()
    household = builders.make_household(builders.make_building("P"))
    builders.bind(resident, household)

    def run(amount_fen: int) -> str:
        bill = builders.make_bill(household, amount_fen)
        order, client_pay = cashier.create_order(
            resident.id, [bill.id], cashier.Door(), clock.now()
        )
        came = len(hook.received)
        phone.pay(client_pay)
        receiving.receive_notice("wechat", *hook.wait(came + 1), clock.now())
        return order.out_trade_no

    return run
