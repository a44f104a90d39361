"""The plan: what each job enqueues, that catching up is harmless, and that a standby takes over."""

import threading
from datetime import timedelta

import psycopg
import pytest
import sqlalchemy as sa

from backend.base.db import db
from collectors import schedule
from collectors.schedule import Jobs, plan
from tests import builders


def queued() -> list[str]:
    rows = db.session.execute(
        sa.text("SELECT task_name FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id")
    )
    return [row.task_name for row in rows]


def test_days_that_are_over_are_closed_once_however_often_the_job_runs(app):
    builders.make_building()
    for _ in range(3):
        Jobs(app).close_days()
    assert queued() == ["metering.close_day"] * schedule.CATCH_UP_DAYS


def test_last_months_bills_are_enqueued_by_building_and_utility(app, clock):
    building = builders.make_building()
    home = builders.make_household(building)
    for kind in ("heat", "water", "room"):
        builders.make_meter(building, home, kind)
    for _ in range(2):
        Jobs(app).issue_bills()
    assert queued() == ["billing.issue"] * 2


def test_yesterdays_statement_is_asked_for_of_every_channel_set_up(app):
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(wxpay_mchid="1", alipay_app_id="2")
    Jobs(app).fetch_statements()
    assert queued() == ["cashier.reconcile"] * 2


def test_every_job_runs_once_at_the_start_to_catch_up(app, clock):
    scheduler = plan(Jobs(app), 10)
    names = {job.id for job in scheduler.get_jobs()}
    assert {"close_days", "issue_bills", "remind", "fetch_statements", "reread_missed"} <= names
    assert {job.next_run_time for job in scheduler.get_jobs()} == {clock.now()}


def test_a_job_that_fails_leaves_the_others_running(app, monkeypatch, caplog):
    jobs = Jobs(app)
    monkeypatch.setattr(jobs, "close_days", lambda: 1 / 0)
    scheduler = plan(jobs, 10)
    jobs.clock.advance(days=-400)  # long ago: everything is due at once
    done = threading.Event()
    monkeypatch.setattr(jobs, "_run", lambda *_: done.set())
    scheduler.start()
    try:
        assert done.wait(10)
    finally:
        scheduler.shutdown(wait=True)


@pytest.mark.faults
def test_a_second_scheduler_stands_by_and_leads_when_the_first_is_gone(app, database, monkeypatch):
    monkeypatch.setattr(schedule, "STANDBY_S", 0.1)
    leading: list[str] = []

    def work(_app, connection, stop, _hour):
        leading.append(threading.current_thread().name)
        while not stop.wait(0.05):
            connection.execute("SELECT 1")

    monkeypatch.setattr(schedule, "_work", work)
    stops = {name: threading.Event() for name in ("first", "second")}
    threads = {
        name: threading.Thread(name=name, target=schedule.run, args=(app, stops[name], 10))
        for name in stops
    }
    try:
        threads["first"].start()
        _wait(lambda: leading == ["first"])
        threads["second"].start()
        stops["second"].wait(0.5)
        assert leading == ["first"]
        stops["first"].set()
        _wait(lambda: leading == ["first", "second"])
    finally:
        for name, stop in stops.items():
            stop.set()
            threads[name].join(10)
    # A closed connection's server process lets go a moment after its client has gone.
    held = """SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database
               WHERE l.locktype = 'advisory' AND d.datname = current_database()"""
    with psycopg.connect(database, autocommit=True) as connection:
        _wait(lambda: connection.execute(held).fetchone() == (0,))


def _wait(condition, seconds=10):
    pause = threading.Event()
    for _ in range(seconds * 20):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("did not come true in time")


def test_reminders_go_out_by_the_hour_set(app):
    scheduler = plan(Jobs(app), 17)
    trigger = scheduler.get_job("remind").trigger
    fire = trigger.get_next_fire_time(None, builders.NOON)
    assert fire - builders.NOON == timedelta(hours=5)
