"""Jobs on buses: one open of a kind, held under a lease, ended once, and nothing grows for ever."""

from datetime import timedelta

import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import bus_jobs
from backend.metering.models import BusJob
from backend.people.models import AuditEvent
from backend.people.service import Principal
from tests import builders
from tests.conftest import NOON

SECOND = timedelta(seconds=1)


@pytest.fixture
def operator(app):
    return Principal("staff", builders.make_staff("op", ["operator"]).id, frozenset({"operator"}))


@pytest.fixture
def bus(app):
    return builders.make_bus(builders.make_building("A"))


def ask(bus, operator, kind="search", now=NOON, **parameters):
    job = bus_jobs.ask(bus.id, kind, parameters, operator, now)
    db.session.commit()
    return job


def take(bus, now=NOON):
    held = bus_jobs.take([bus.id], now)
    db.session.commit()
    return held


def steps():
    rows = db.session.query(AuditEvent).filter_by(subject_kind="bus_job").order_by(AuditEvent.id)
    return [event.action.removeprefix("bus_job.") for event in rows]


def test_a_job_is_asked_taken_reported_and_done(bus, operator):
    job = ask(bus, operator, protocol="cjt188")
    (held,) = take(bus)
    assert (held.kind, held.parameters) == ("search", {"protocol": "cjt188"})
    assert held.deadline_at == NOON + bus_jobs.RUN_FOR["search"]
    assert bus_jobs.progress(held, 3, 10, NOON, note="地址 3xx", result={"found": [1]})
    job = bus_jobs.job_of(job.id)
    assert (job.state, job.done, job.total, job.note) == ("running", 3, 10, "地址 3xx")
    assert bus_jobs.settle(held, {"found": [1, 2]}, None, NOON)
    job = bus_jobs.job_of(job.id)
    assert (job.state, job.done, job.result, job.note) == ("done", 10, {"found": [1, 2]}, "")
    assert steps() == ["asked", "done"]


def test_a_bus_has_one_open_job_of_a_kind(bus, operator):
    first = ask(bus, operator)
    with pytest.raises(Problem, match="job_open"):
        ask(bus, operator)
    ask(bus, operator, "clock")
    bus_jobs.cancel(first.id, operator, NOON)
    assert ask(bus, operator).state == "queued"


def test_one_job_of_a_bus_runs_at_a_time(bus, operator):
    ask(bus, operator)
    ask(bus, operator, "clock", NOON + SECOND)
    (search,) = take(bus, NOON + SECOND)
    assert search.kind == "search" and take(bus, NOON + SECOND) == []
    bus_jobs.settle(search, {}, None, NOON + SECOND)
    assert [j.kind for j in take(bus, NOON + SECOND)] == ["clock"]


@pytest.mark.parametrize(
    ("link", "kind", "code"),
    [
        ("push://ctwing", "search", "bus_not_asked"),
        ("tcp://127.0.0.1:9", "format_disk", "not_found"),
        ("tcp://127.0.0.1:9", "download", "not_concentrator"),
        ("concentrator://1101-00001", "search", "not_searchable"),
    ],
)
def test_what_cannot_be_done_is_refused(app, operator, link, kind, code):
    bus = builders.make_bus(builders.make_building("A"), link=link)
    with pytest.raises(Problem, match=code):
        ask(bus, operator, kind)


def test_a_bus_that_is_not_there_has_no_jobs(app, operator):
    with pytest.raises(Problem, match="not_found"):
        bus_jobs.ask(999, "search", {}, operator, NOON)


def test_parameters_have_a_limit(bus, operator):
    with pytest.raises(Problem, match="too_large"):
        ask(bus, operator, prefix="1" * bus_jobs.MAX_PARAMETERS)


def test_a_result_that_outgrows_its_row_is_not_stored(bus, operator):
    job = ask(bus, operator)
    (held,) = take(bus)
    assert bus_jobs.settle(held, {"found": ["x" * bus_jobs.MAX_RESULT]}, None, NOON)
    assert list(bus_jobs.job_of(job.id).result) == ["too_large"]


def test_a_cancelled_job_keeps_what_it_found_and_hears_that_it_is_over(bus, operator):
    job = ask(bus, operator)
    (held,) = take(bus)
    bus_jobs.progress(held, 1, 10, NOON, result={"found": [1]})
    bus_jobs.cancel(job.id, operator, NOON)
    assert not bus_jobs.progress(held, 2, 10, NOON, result={"found": [1, 2]})
    assert not bus_jobs.settle(held, {}, None, NOON)
    job = bus_jobs.job_of(job.id)
    assert (job.state, job.result) == ("cancelled", {"found": [1]})
    with pytest.raises(Problem, match="job_ended"):
        bus_jobs.cancel(job.id, operator, NOON)


def test_a_collector_that_died_is_followed_by_one_that_begins_again(bus, operator):
    ask(bus, operator)
    (dead,) = take(bus)
    assert take(bus, NOON + bus_jobs.LEASE - SECOND) == []
    (heir,) = take(bus, NOON + bus_jobs.LEASE)
    assert not bus_jobs.progress(dead, 9, 10, NOON + bus_jobs.LEASE)
    assert bus_jobs.settle(heir, {}, None, NOON + bus_jobs.LEASE)
    assert heir.deadline_at == dead.deadline_at


def test_progress_renews_the_lease(bus, operator):
    ask(bus, operator)
    (held,) = take(bus)
    bus_jobs.progress(held, 1, 2, NOON + bus_jobs.LEASE - SECOND)
    db.session.commit()
    assert take(bus, NOON + bus_jobs.LEASE) == []


def test_a_job_that_kills_its_collectors_is_given_up(bus, operator):
    job, now = ask(bus, operator), NOON
    for _ in range(bus_jobs.MAX_ATTEMPTS):
        assert len(take(bus, now)) == 1
        now += bus_jobs.LEASE
    assert take(bus, now) == [] and bus_jobs.sweep(now) == 1
    job = bus_jobs.job_of(job.id)
    assert (job.state, job.error) == ("failed", "collector_died")


def test_a_job_given_back_is_taken_at_once_and_no_attempt_is_counted(bus, operator):
    job = ask(bus, operator)
    for _ in range(bus_jobs.MAX_ATTEMPTS + 2):
        (held,) = take(bus)
        assert bus_jobs.give_back(held, NOON)
        db.session.commit()
    assert bus_jobs.job_of(job.id).attempts == 0


def test_a_job_nobody_takes_expires_and_one_out_of_time_fails(bus, operator):
    waiting = ask(bus, operator)
    assert take(bus, waiting.expires_at) == [] and bus_jobs.sweep(waiting.expires_at) == 1
    assert bus_jobs.job_of(waiting.id).state == "expired"
    slow = ask(bus, operator, "clock")
    (held,) = take(bus)
    assert bus_jobs.sweep(held.deadline_at) == 1
    assert bus_jobs.job_of(slow.id).error == "out_of_time"
    assert steps() == ["asked", "expired", "asked", "failed"]


def test_jobs_are_forgotten_half_a_year_after_their_end(bus, operator):
    for kind in ("search", "clock"):
        ask(bus, operator, kind)
    (held,) = take(bus)
    bus_jobs.settle(held, {}, None, NOON)
    assert bus_jobs.forget(NOON + bus_jobs.KEEP_FOR) == 0
    assert bus_jobs.forget(NOON + bus_jobs.KEEP_FOR + SECOND) == 1
    assert [job.state for job in db.session.query(BusJob)] == ["queued"]
