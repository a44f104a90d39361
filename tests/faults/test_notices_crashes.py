"""A worker killed while it sends a reminder: the message arrives exactly once."""

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from backend.base import tasks
from backend.base.clock import SystemClock, business_day
from backend.base.db import db
from backend.notices import queueing, service
from backend.notices.models import Message, Subscription
from tests import builders
from tests.faults.processes import WORKER, Wire, environment, process, until, wire_to
from tests.outside import app, hook, phone, sandbox, sandbox_keys, waiting

__all__ = ["app", "hook", "phone", "sandbox", "sandbox_keys"]
pytestmark = pytest.mark.faults

SEND = "/cgi-bin/message/subscribe/send"
TOKEN = "/cgi-bin/stable_token"


@pytest.fixture
def clock() -> SystemClock:
    """Processes of their own have no other clock."""
    return SystemClock()


@pytest.fixture
def wire(sandbox) -> Iterator[Wire]:
    with wire_to(sandbox.url) as wire:
        yield wire


@pytest.fixture
def reminder(app, clock) -> Message:
    """A reminder in the queue."""
    household = builders.make_household(builders.make_building())
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    agreed = Subscription(resident_id=alice.id, template="nuan-bill-overdue", remaining=5)
    db.session.add(agreed)
    db.session.commit()
    builders.make_bill(household, 12345, business_day(clock.now()) - timedelta(days=1))
    assert queueing.remind_overdue(clock.now()) == 1
    db.session.commit()
    return db.session.query(Message).one()


@pytest.fixture
def start(app, database, wire, tmp_path):
    """A worker as a process of its own, speaking with the sandbox over the wire."""
    env = environment(app, database, NUAN_WECHAT_API_URL=wire.url)
    return lambda: process(WORKER, env, tmp_path / "worker.log")


def state_of(message):
    db.session.expire_all()
    return db.session.get_one(Message, message.id).state


def given_back():
    """The dead worker's tasks are given back to the queue."""
    time.sleep(1.1)
    assert tasks.recover_stalled(older_than_s=1) == 1


def arrived(phone):
    return len(phone.get("messages")["messages"])


def test_killed_before_it_sent_the_message_arrives_once(reminder, start, wire, phone):
    wire.hold(TOKEN, forward=False)
    with start() as worker:
        assert wire.held.wait(30)
        worker.kill()
    wire.release()
    assert (state_of(reminder), arrived(phone)) == ("queued", 0)
    given_back()
    with start():
        until(lambda: state_of(reminder) == "sent", "the message is sent")
    assert (arrived(phone), waiting()) == (1, [])


def test_killed_while_wechat_answers_the_message_is_not_sent_twice(
    reminder, start, wire, phone, clock
):
    wire.hold(SEND)
    with start() as worker:
        assert wire.held.wait(30)
        worker.kill()
    wire.release()
    assert (state_of(reminder), arrived(phone)) == ("sending", 1)
    given_back()
    with start():
        until(lambda: waiting() == [] and not doing(), "the queue is empty")
    assert service.recover(clock.now() + timedelta(minutes=3)) == 1
    db.session.commit()
    assert (state_of(reminder), arrived(phone)) == ("uncertain", 1)


def doing():
    return db.session.execute(
        db.text("SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'")
    ).scalar_one()


def test_a_worker_told_to_stop_finishes_what_it_began(reminder, start, phone):
    with start() as worker:
        until(lambda: state_of(reminder) == "sent", "the message is sent")
        worker.terminate()
        assert worker.wait(15) == 0
    assert arrived(phone) == 1


def test_living_workers_keep_their_tasks(reminder, start, wire):
    wire.hold(TOKEN, forward=False)
    with start():
        assert wire.held.wait(30)
        assert tasks.recover_stalled() == 0
        assert doing() == 1
        wire.release()
