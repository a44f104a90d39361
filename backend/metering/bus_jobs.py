"""Work on a whole bus: searching it, its meters' clocks, what its concentrator is told.

    queued -> running -> done, failed, cancelled        (queued too long -> expired)

The web tier asks and cancels; the collector that owns the bus takes a job under a lease, which
every report of progress renews.  One that died is followed by one that begins the job again:
whatever a job does can be done twice.  Every step is a conditional update, so whoever comes late
changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Bus
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.metering import concentrator_jobs
from backend.metering.models import BusJob
from backend.people.service import Principal, audit

KINDS: Final = ("search", "clock", "download", "read_back")
OPEN_STATES: Final = ("queued", "running")
EXPIRES_AFTER = timedelta(minutes=30)  # nobody owns the bus, or its collector is away
LEASE = timedelta(seconds=90)  # longer than one conversation with all its tries
MAX_ATTEMPTS = 3  # collectors that may die at one job
RUN_FOR: Final = {
    "search": timedelta(hours=2),
    "clock": timedelta(hours=1),
    "download": timedelta(minutes=30),
    "read_back": timedelta(minutes=30),
}
MAX_PARAMETERS, MAX_RESULT = 64_000, 500_000  # characters as JSON
MAX_NOTE = 200
KEEP_FOR = timedelta(days=180)
PUSH_SCHEME: Final = "push://"  # such a bus is never asked


@dataclass(frozen=True, slots=True)
class Job:
    """A job a collector has taken; `lease` proves that it still holds it."""

    job_id: int
    bus_id: int
    kind: str
    parameters: Mapping[str, Any]
    lease: str
    deadline_at: datetime


def ask(
    bus_id: int, kind: str, parameters: Mapping[str, Any], actor: Principal, now: datetime
) -> BusJob:
    """Ask for work on a bus.  What the parameters of a kind mean, its handler says.

    Problems not_found, bus_not_asked (its meters' platform pushes), not_concentrator for what only
    a concentrator can do, not_searchable for what it cannot, too_large, and job_open where the bus
    has one of this kind under way.
    """
    if kind not in KINDS:
        raise Problem("not_found")
    if len(json.dumps(parameters)) > MAX_PARAMETERS:
        raise Problem("too_large")
    bus = db.session.get(Bus, bus_id)
    if bus is None:
        raise Problem("not_found")
    if bus.link.startswith(PUSH_SCHEME):
        raise Problem("bus_not_asked")
    is_concentrator = bus.link.startswith(concentrator_jobs.SCHEME)
    if kind in concentrator_jobs.ACTIONS and not is_concentrator:
        raise Problem("not_concentrator")
    if kind == "search" and is_concentrator:
        raise Problem("not_searchable")
    values = {
        "bus_id": bus_id,
        "kind": kind,
        "parameters": dict(parameters),
        "asked_by": actor.id,
        "asked_at": now,
        "expires_at": now + EXPIRES_AFTER,
        "due_at": now,
    }
    insert = pg.insert(BusJob).values(values).on_conflict_do_nothing()
    job_id = db.session.scalar(insert.returning(BusJob.id))
    if job_id is None:
        raise Problem("job_open")
    audit("bus_job.asked", "bus_job", job_id, actor, now=now, bus=bus_id, job=kind)
    return job_of(job_id)


def job_of(job_id: int) -> BusJob:
    """The job as it stands in the database; Problem not_found."""
    found = db.session.get(BusJob, job_id, populate_existing=True)
    if found is None:
        raise Problem("not_found")
    return found


# One job a bus at a time: whichever is under way before one that waits.
_TAKE = sa.text("""
WITH due AS MATERIALIZED (
    SELECT d.* FROM unnest(CAST(:buses AS bigint[])) AS b(bus_id)
     CROSS JOIN LATERAL (
           SELECT id, kind FROM bus_job
            WHERE bus_id = b.bus_id AND state IN ('queued', 'running') AND due_at <= :now
              AND attempts < :max_attempts AND (state = 'running' OR expires_at > :now)
              AND NOT EXISTS (SELECT 1 FROM bus_job held WHERE held.bus_id = b.bus_id
                                 AND held.state = 'running' AND held.due_at > :now)
            ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED) AS d
)
UPDATE bus_job j SET state = 'running', lease = :lease, due_at = :until, attempts = attempts + 1,
       started_at = coalesce(started_at, :now), done = 0, total = 0, note = '',
       deadline_at = coalesce(deadline_at, CAST(:now AS timestamptz)
                              + CAST(CAST(:limits AS jsonb) ->> due.kind AS interval))
  FROM due WHERE j.id = due.id
RETURNING j.id, j.bus_id, j.kind, j.parameters, j.deadline_at
""")
_LIMITS = json.dumps({kind: f"{limit.total_seconds()} s" for kind, limit in RUN_FOR.items()})


def take(buses: Sequence[int], now: datetime) -> list[Job]:
    """Take the next job of each bus for LEASE; the caller commits before it begins."""
    lease = uuid4().hex
    values = {
        "lease": lease,
        "until": now + LEASE,
        "now": now,
        "buses": list(buses),
        "limits": _LIMITS,
        "max_attempts": MAX_ATTEMPTS,
    }
    rows = db.session.execute(_TAKE, values)
    return [Job(j.id, j.bus_id, j.kind, j.parameters, lease, j.deadline_at) for j in rows]


def progress(
    job: Job,
    done: int,
    total: int,
    now: datetime,
    *,
    note: str = "",
    result: Mapping[str, Any] | None = None,
) -> bool:
    """Say how far a job is and keep holding it; False where it has been cancelled or lost.

    `result` replaces what has been found so far; it stays if the job is cancelled.
    """
    values: dict[str, Any] = {"done": done, "total": total, "note": note[:MAX_NOTE]}
    if result is not None:
        values["result"] = _bounded(result)
    return bool(changed(_held(job).values(due_at=now + LEASE, **values)))


def settle(job: Job, result: Mapping[str, Any] | None, error: str | None, now: datetime) -> bool:
    """End a job: done, or failed where there is an `error`; False where it was not held any more.

    `result` None leaves what has been found so far.
    """
    values: dict[str, Any] = {"state": "failed" if error else "done", "error": error}
    if result is not None:
        values["result"] = _bounded(result)
    if not error:
        values["done"] = BusJob.total
    if not changed(_held(job).values(ended_at=now, lease=None, note="", **values)):
        return False
    audit(f"bus_job.{values['state']}", "bus_job", job.job_id, None, now=now, why=error)
    return True


def give_back(job: Job, now: datetime) -> bool:
    """A job that was interrupted by its collector's end may be taken at once, and begins again."""
    again = {"due_at": now, "lease": None, "attempts": BusJob.attempts - 1}
    return bool(changed(_held(job).values(**again)))


def _bounded(result: Mapping[str, Any]) -> dict[str, Any]:
    size = len(json.dumps(result))
    return dict(result) if size <= MAX_RESULT else {"too_large": size}


def _held(job: Job) -> sa.Update:
    """The job, while this collector still holds it."""
    held = (BusJob.id == job.job_id, BusJob.lease == job.lease, BusJob.state == "running")
    return sa.update(BusJob).where(*held)


def cancel(job_id: int, actor: Principal, now: datetime) -> BusJob:
    """Stop a job; what it has found stays, and what is on the wire this moment ends by itself.

    Problem job_ended for one that is over.
    """
    job_of(job_id)
    stopped = sa.update(BusJob).where(BusJob.id == job_id, BusJob.state.in_(OPEN_STATES))
    if not changed(stopped.values(state="cancelled", ended_at=now, lease=None, note="")):
        raise Problem("job_ended")
    audit("bus_job.cancelled", "bus_job", job_id, actor, now=now)
    return job_of(job_id)


def sweep(now: datetime) -> int:
    """End what nobody took in time, what is past its deadline, and what kills its collectors."""
    dead = (BusJob.state == "running") & (BusJob.due_at <= now)
    ended = [
        *_end("expired", "nobody_took_it", now, BusJob.state == "queued", BusJob.expires_at <= now),
        *_end("failed", "out_of_time", now, dead, BusJob.deadline_at <= now),
        *_end("failed", "collector_died", now, dead, BusJob.attempts >= MAX_ATTEMPTS),
    ]
    for job_id, state, why in ended:
        audit(f"bus_job.{state}", "bus_job", job_id, None, now=now, why=why)
    return len(ended)


def _end(
    state: str, error: str, now: datetime, *when: sa.ColumnElement[bool]
) -> list[tuple[int, str, str]]:
    values = {"state": state, "error": error, "ended_at": now, "lease": None, "note": ""}
    ids = db.session.scalars(sa.update(BusJob).where(*when).values(**values).returning(BusJob.id))
    return [(job_id, state, error) for job_id in ids]


def forget(now: datetime) -> int:
    """Delete jobs that ended KEEP_FOR ago; their audit events stay.  How many."""
    old = sa.delete(BusJob).where(BusJob.ended_at < now - KEEP_FOR)
    return changed(old)
