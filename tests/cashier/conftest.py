"""This room's tests run against the sandbox."""

import pytest

from backend.cashier import receiving, service
from backend.people.service import Principal
from tests import builders
from tests.outside import app, hook, in_threads, phone, sandbox, sandbox_keys

__all__ = ["app", "hook", "in_threads", "phone", "sandbox", "sandbox_keys"]


@pytest.fixture
def terminal(app, database, monkeypatch, clock):
    """The environment of a `nuan` command: this test's settings and clock."""
    settings = app.extensions["nuan_settings"]
    names = (
        "wxpay_api_url",
        "wxpay_mchid",
        "wxpay_serial",
        "wxpay_private_key_file",
        "wxpay_apiv3_key",
        "wxpay_verifiers",
        "wechat_appid",
        "public_url",
    )
    for name in names:
        monkeypatch.setenv(f"NUAN_{name.upper()}", settings.values[name])
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("NUAN_ENV", "test")
    monkeypatch.setattr("backend.application.SystemClock", lambda: clock)


@pytest.fixture
def alice(app):
    resident = builders.make_resident("alice-openid")
    resident.household = builders.make_household(builders.make_building())
    builders.bind(resident, resident.household)
    return resident


@pytest.fixture
def pay(alice, clock, phone, hook):
    """Pay a new bill; by default its notice comes and is posted."""

    def run(amount_fen=12345, *, told=True):
        bill = builders.make_bill(alice.household, amount_fen)
        order, client_pay = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
        if not told:
            phone.behave("payment_notice", "never", match=order.out_trade_no)
        came = len(hook.received)
        phone.pay(client_pay)
        if told:
            receiving.receive_notice("wechat", *hook.wait(came + 1), clock.now())
        return order

    return run


@pytest.fixture
def day_after(clock):
    """It is 11:00 of the next day: the statement is there."""

    def run():
        clock.advance(hours=23)

    return run


@pytest.fixture
def people(app):
    """Two of finance."""
    made = [builders.make_staff(name, roles=["finance"]) for name in ("min", "hua")]
    return [Principal("staff", one.id, frozenset({"finance"})) for one in made]
