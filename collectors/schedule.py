"""`nuan schedule`: when things happen.  APScheduler in its own process, with a standby.

Every job only enqueues tasks or is harmless to repeat, so a missed or doubled run does no harm;
a PostgreSQL advisory lock lets a second scheduler wait until the first is gone.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from datetime import date, timedelta
from functools import partial

import psycopg
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger
from flask import Flask

from backend.allocation import tasks as closing_tasks
from backend.base import tasks
from backend.base.clock import SHANGHAI, business_day
from backend.base.db import db
from backend.billing import tasks as billing_tasks
from backend.cashier import asking, forgetting
from backend.cashier import tasks as cashier_tasks
from backend.metering import bus_jobs, missed, refused
from backend.notices import queueing
from backend.notices import service as notices

log = logging.getLogger("nuan.schedule")

LEADER_LOCK = 0x6E75616E  # "nuan"
CATCH_UP_DAYS = 7
STANDBY_S = 5


class Jobs:
    """What is done, each in its own application context and transaction."""

    def __init__(self, app: Flask):
        self.app = app
        self.clock = app.extensions["nuan_clock"]

    def close_days(self) -> None:
        """Enqueue the closing of every metering day that is over, up to a week back."""
        today = business_day(self.clock.now())
        self._run(
            lambda: sum(
                closing_tasks.defer_close(today - timedelta(days=back))
                for back in range(CATCH_UP_DAYS, 0, -1)
            ),
            "close_days",
        )

    def reread_missed(self) -> None:
        """Have the midnights without a register read again while the meters keep them."""
        self._run(lambda: missed.find(self.clock.now()), "reread_missed")

    def issue_bills(self) -> None:
        """Enqueue what has not been billed up to each region's newest settlement day."""
        today = business_day(self.clock.now())
        self._run(lambda: billing_tasks.defer_issue(today), "issue_bills")

    def charge(self) -> None:
        """Enqueue the night's late fees and prepaid charges."""
        today = business_day(self.clock.now())
        self._run(lambda: billing_tasks.defer_nightly(today), "charge")

    def remind(self) -> None:
        """Queue what is due about unpaid bills and prepaid accounts."""
        self._run(lambda: queueing.remind_overdue(self.clock.now()), "remind")
        self._run(lambda: queueing.warn_prepaid(self.clock.now()), "warn_prepaid")

    def recover_messages(self) -> None:
        """Settle messages a crash left in the middle."""
        self._run(lambda: notices.recover(self.clock.now()), "recover_messages")

    def sweep_orders(self) -> None:
        """Enqueue orders past their time and refunds not ended that lost their own chain."""
        self._run(lambda: asking.sweep(self.clock.now()), "sweep_orders")

    def issue_papers(self) -> None:
        """Enqueue the receipts of payments that have none yet."""
        self._run(cashier_tasks.defer_papers, "issue_papers")

    def fetch_statements(self) -> None:
        """Enqueue fetching and reconciling yesterday's statements."""
        day: date = business_day(self.clock.now()) - timedelta(days=1)
        self._run(lambda: cashier_tasks.defer_reconcile(day), "fetch_statements")

    def forget(self) -> None:
        """Delete what is kept for a while only: samples, jobs on buses, forged notices, answers."""
        now = self.clock.now()
        for forget in (refused.forget, bus_jobs.forget, forgetting.forget):
            self._run(partial(forget, now), "forget")

    def recover_tasks(self) -> None:
        """Give tasks of workers that died back to the queue."""
        with self.app.app_context():
            tasks.recover_stalled()

    def _run(self, job: Callable[[], int | None], name: str) -> None:
        with self.app.app_context():
            count = job()
            db.session.commit()
        log.info("job done", extra={"job": name, "count": count})


def plan(jobs: Jobs, reminder_hour: int) -> BackgroundScheduler:
    """Every job and when it runs (Asia/Shanghai); each also once at the start, to catch up."""
    scheduler = BackgroundScheduler(timezone=SHANGHAI)
    now = jobs.clock.now()
    rows: list[tuple[Callable[[], None], CronTrigger | IntervalTrigger]] = [
        (jobs.close_days, _cron(hour=0, minute=20)),
        (jobs.reread_missed, _cron(hour=1, minute=30)),
        (jobs.issue_bills, _cron(hour=2)),
        (jobs.charge, _cron(hour=3)),
        (jobs.remind, _cron(hour=reminder_hour, minute=0)),
        (jobs.fetch_statements, _cron(hour="10-12", minute=15)),
        (jobs.forget, _cron(hour=3, minute=40)),
        (jobs.recover_messages, IntervalTrigger(minutes=1)),
        (jobs.sweep_orders, IntervalTrigger(minutes=5)),
        (jobs.issue_papers, IntervalTrigger(minutes=1)),
        (jobs.recover_tasks, IntervalTrigger(seconds=30)),
    ]
    for function, trigger in rows:
        scheduler.add_job(
            function,
            trigger,
            id=function.__name__,
            coalesce=True,
            max_instances=1,
            misfire_grace_time=3600,
            next_run_time=now,
        )
    return scheduler


def _cron(**fields: object) -> CronTrigger:
    return CronTrigger(timezone=SHANGHAI, **fields)


def run(app: Flask, stop: threading.Event, reminder_hour: int) -> None:
    """Lead as soon as nobody else does, until told to stop.

    A leader that loses its connection stops its plan and stands by again.
    """
    url = app.config["NUAN_DATABASE_URL"]
    while not stop.is_set():
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                if not _lead(connection, stop):
                    continue
                _work(app, connection, stop, reminder_hour)
        except psycopg.OperationalError as error:
            log.warning("the database is away", extra={"why": str(error)})
            stop.wait(STANDBY_S)


def _lead(connection: psycopg.Connection[tuple[bool]], stop: threading.Event) -> bool:
    """Wait until the lock is ours; False when told to stop before."""
    said = False
    while not stop.is_set():
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", (LEADER_LOCK,)).fetchone()
        if row and row[0]:
            log.info("leading")
            return True
        if not said:
            log.info("standing by: another scheduler leads")
            said = True
        stop.wait(STANDBY_S)
    return False


def _work(
    app: Flask, connection: psycopg.Connection[tuple[bool]], stop: threading.Event, hour: int
) -> None:
    scheduler = plan(Jobs(app), hour)
    scheduler.start()
    try:
        while not stop.wait(STANDBY_S):
            connection.execute("SELECT 1")  # the lock lives as long as this connection
    finally:
        scheduler.shutdown(wait=True)
