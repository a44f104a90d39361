"""A process killed in the middle of a payment: the money is posted exactly once."""

import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import timedelta

import psycopg
import pytest
import requests

from backend.base import tasks
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.cashier import asking, refund_desk, service
from backend.cashier.models import PaymentOrder, RawNotice
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.faults.processes import SERVER, WORKER, Wire, environment, process, until, wire_to
from tests.outside import app, hook, phone, sandbox, sandbox_keys

__all__ = ["app", "hook", "phone", "sandbox", "sandbox_keys"]
pytestmark = pytest.mark.faults


@pytest.fixture
def clock() -> SystemClock:
    """Processes of their own have no other clock."""
    return SystemClock()


@pytest.fixture
def wire(sandbox) -> Iterator[Wire]:
    with wire_to(sandbox.url) as wire:
        yield wire


@pytest.fixture
def alice(app):
    resident = builders.make_resident("alice-openid")
    resident.household = builders.make_household(builders.make_building())
    builders.bind(resident, resident.household)
    resident.bill = builders.make_bill(resident.household, 12345)
    return resident


def ordered(alice, clock):
    return service.create_order(alice.id, [alice.bill.id], service.Door(), clock.now())


def state_of(order):
    db.session.rollback()
    return service.order_view(order.out_trade_no)["state"]


@contextmanager
def held_row(database, order):
    """Somebody else holds the order's row: whoever posts its payment waits in the middle."""
    with closing(psycopg.connect(database)) as connection:
        connection.execute("SELECT 1 FROM payment_order WHERE id = %s FOR UPDATE", (order.id,))
        yield
        connection.rollback()


def someone_waits_for_it():
    db.session.rollback()
    return db.session.execute(
        db.text(
            "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database() AND query LIKE '%payment_order%'"
        )
    ).first()


def posted_once():
    assert ledger.balance_fen("clearing:wechat") == 12345
    assert ledger.check() == []


def test_a_worker_killed_while_it_posts_is_followed_by_one_that_posts_once(
    app, alice, clock, phone, database, tmp_path
):
    phone.behave("payment_notice", "never")
    order, pay = ordered(alice, clock)
    phone.pay(pay)
    db.session.execute(db.text("UPDATE procrastinate_jobs SET scheduled_at = NULL"))
    db.session.commit()
    env, log = environment(app, database), tmp_path / "worker.log"
    with held_row(database, order), process(WORKER, env, log) as worker:
        until(someone_waits_for_it, "the worker waits in the middle of posting")
        worker.kill()
        worker.wait()
    assert state_of(order) == "paying"
    time.sleep(1.1)
    assert tasks.recover_stalled(older_than_s=1) == 1
    with process(WORKER, env, log):
        until(lambda: state_of(order) == "paid", "the payment is posted")
    posted_once()


def test_a_refund_decided_and_not_yet_asked_for_survives_and_is_given_back_once(
    app, alice, clock, phone, wire, database, tmp_path
):
    phone.behave("payment_notice", "never")
    order, pay = ordered(alice, clock)
    phone.pay(pay)
    asking.refresh(order.out_trade_no, clock.now())
    staff = Principal("staff", builders.make_staff("min", roles=["finance"]).id)
    wanted = refund_desk.Wanted(order.out_trade_no, 12345, alice.bill.id)
    made = refund_desk.ask(wanted, "用户申请退款", "tap-1", staff, clock.now())
    db.session.commit()  # and here whoever decided it may die: nobody has called the channel
    wire.hold("/v3/refund/domestic/refunds")
    env = environment(app, database, NUAN_WXPAY_API_URL=wire.url)
    with process(WORKER, env, tmp_path / "first.log") as worker:
        assert wire.held.wait(30), (tmp_path / "first.log").read_text()
        worker.kill()  # the channel has given back, and we have not heard it
        worker.wait()
    wire.release()
    assert refund_desk.refund_of(made.out_refund_no).state == "created"
    time.sleep(1.1)
    assert tasks.recover_stalled(older_than_s=1) == 1
    with process(WORKER, env, tmp_path / "second.log"):
        until(lambda: refund_state(made) == "done", "the refund is done")
    assert [one["out_refund_no"] for one in phone.get("refunds")["refunds"]] == [made.out_refund_no]
    assert ledger.balance_fen("clearing:wechat") == ledger.balance_fen("suspense:wechat") == 0
    assert ledger.check() == []


def refund_state(refund):
    """Its state; the next question about it is asked at once."""
    db.session.rollback()
    db.session.execute(
        db.text("UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'")
    )
    db.session.commit()
    return refund_desk.refund_of(refund.out_refund_no).state


def test_a_server_killed_while_it_posts_a_notice_gets_it_again_and_posts_once(
    app, alice, clock, phone, database, tmp_path
):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(public_url=url)
    order, pay = ordered(alice, clock)
    env, log = environment(app, database), tmp_path / "server.log"
    serve = [*SERVER, str(port)]
    with held_row(database, order), process(serve, env, log) as server:
        until(lambda: answers(url), "the server answers")
        phone.pay(pay)
        until(someone_waits_for_it, "the server waits in the middle of posting")
        server.kill()
        server.wait()
    assert (state_of(order), db.session.query(RawNotice).count()) == ("paying", 1)
    with process(serve, env, log):
        until(lambda: state_of(order) == "paid", "the repeated notice is posted")
    posted_once()
    assert sorted(raw.outcome for raw in db.session.query(RawNotice)) == ["posted", "received"]


def answers(url):
    try:
        return requests.get(f"{url}/healthz", timeout=1).ok
    except requests.RequestException:
        return False


def test_killed_while_the_channel_opens_an_order_the_bill_can_still_be_paid(
    app, alice, clock, phone, wire, database, tmp_path
):
    wire.hold("/v3/pay/transactions/jsapi")
    script = [
        "-c",
        "import sys; from backend import create_app; from backend.cashier import service\n"
        "app = create_app(web_pages=False)\n"
        "with app.app_context():\n"
        "    service.create_order(int(sys.argv[1]), [int(sys.argv[2])], service.Door(),"
        " app.extensions['nuan_clock'].now())",
        str(alice.id),
        str(alice.bill.id),
    ]
    env = environment(app, database, NUAN_WXPAY_API_URL=wire.url)
    with process(script, env, tmp_path / "order.log") as paying:
        assert wire.held.wait(30), (tmp_path / "order.log").read_text()
        paying.kill()
    wire.release()
    left = db.session.query(PaymentOrder).one()
    assert left.state == "created"
    order, pay = ordered(alice, clock)
    assert order.out_trade_no == left.out_trade_no
    phone.behave("payment_notice", "never")
    phone.pay(pay)
    asking.refresh(order.out_trade_no, clock.now() + timedelta(seconds=1))
    posted_once()
