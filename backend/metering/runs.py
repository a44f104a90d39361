"""Reading runs: who is to be read, how far it has come, and what a collector takes of it.

The web tier starts and cancels runs; the collector that owns a bus takes its items under a lease
(`take`), and gives them back by finishing them (`settle`), or by dying: a lease that has run out
is taken by the next.  Every step is a conditional update, so a late answer changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Building, Household, Meter, Region
from backend.archive.service import place
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.metering import freezes
from backend.metering.freezes import CURRENT, NO_FREEZE
from backend.metering.models import ReadingRun, ReadingRunItem
from backend.people.service import Principal, audit

RANKS: Final = {"meter": 0, "batch": 1, "building": 1, "region": 2, "plan": 3, "missed": 4}
LEASE = timedelta(seconds=180)  # of BATCH meters, each silent through all its tries
BATCH = 8
FIRST_WAIT, LAST_WAIT = timedelta(minutes=1), timedelta(hours=1)
LAST_FROZEN_WAIT = timedelta(hours=6)  # a freeze is kept for weeks: no need to hurry
RUN_FOR = timedelta(hours=12)  # missed ones are asked again for so long
METER_FOR = timedelta(minutes=10)  # one meter is asked for while somebody waits
# Reasons after which a meter is not asked again: it has no such freeze, it is not there.
FINAL_ERRORS: Final = (NO_FREEZE, "removed")


@dataclass(frozen=True, slots=True)
class Claim:
    """An item a collector has taken; `lease` proves that it still holds it."""

    run_id: int
    meter_id: int
    bus_id: int
    lease: str
    what: str = CURRENT
    frozen_on: date | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """What came of a claim: `error` is empty where the meter was read."""

    claim: Claim
    error: str = ""
    reading_id: int | None = None


def wait_after(attempts: int, last: timedelta = LAST_WAIT) -> timedelta:
    """How long to leave a meter alone after that many attempts: 1, 2, 4 … minutes, up to `last`."""
    return min(FIRST_WAIT * (1 << min(attempts - 1, 10)), last)


def start(
    scope: str,
    ids: Sequence[int],
    actor: Principal,
    now: datetime,
    *,
    what: str = CURRENT,
    frozen_on: date | None = None,
) -> ReadingRun:
    """Begin to read every live meter of a region (with all below it), building, batch or meter.

    `ids` is one id, of a batch several; with `what` day or month the registers frozen at 00:00 of
    `frozen_on` are asked for, until they are out of reach.  Problems not_found, no_meters where
    none is live, freeze_out_of_reach, validation.
    """
    freezes.check(what, frozen_on, now)
    meters, title = chosen(scope, ids)
    run = ReadingRun(
        scope=scope,
        title=title,
        what=what,
        frozen_on=frozen_on,
        asked_by=actor.id,
        created_at=now,
        deadline_at=_deadline(scope, what, frozen_on, now),
    )
    db.session.add(run)
    db.session.flush()
    count = fill(run, meters, now)
    if count == 0:
        raise Problem("no_meters")
    audit(
        "run.started", "reading_run", run.id, actor, now=now, scope=scope, meters=count,
        what=what, frozen_on=frozen_on.isoformat() if frozen_on else None,
    )  # fmt: skip
    return run


def _deadline(scope: str, what: str, frozen_on: date | None, now: datetime) -> datetime:
    """How long missed meters are asked again: as long as what was asked for can be had."""
    if frozen_on is not None:
        return freezes.kept_until(what, frozen_on)
    return now + (METER_FOR if scope == "meter" else RUN_FOR)


def chosen(scope: str, ids: Sequence[int]) -> tuple[sa.ColumnElement[bool], str]:
    """(which meters, how a person calls them)."""
    if scope == "region":
        region = get(Region, ids[0])
        return Meter.building_id.in_(_buildings_below(region.id)), region.name
    if scope == "building":
        building = get(Building, ids[0])
        return Meter.building_id == building.id, building.name
    if scope == "meter":
        return Meter.id == ids[0], meter_title(get(Meter, ids[0]))
    return Meter.id.in_(ids), f"所选 {len(set(ids))} 块表"


def get(model: Any, row_id: int) -> Any:
    row = db.session.get(model, row_id)
    if row is None:
        raise Problem("not_found")
    return row


def meter_title(meter: Meter) -> str:
    """Where a meter is and what is printed on it."""
    building = db.session.get_one(Building, meter.building_id)
    flat = db.session.get(Household, meter.household_id) if meter.household_id else None
    where = place(building.name, flat.unit_no) if flat else f"{building.name} 楼栋总表"
    return f"{where} {meter.address}"


def _buildings_below(region_id: int) -> Any:
    tree = sa.select(Region.id).where(Region.id == region_id).cte("below", recursive=True)
    tree = tree.union(sa.select(Region.id).where(Region.parent_id == tree.c.id))
    return sa.select(Building.id).where(Building.region_id.in_(sa.select(tree.c.id)))


def fill(run: ReadingRun, which: sa.ColumnElement[bool], now: datetime) -> int:
    """Put the chosen live meters into a run, in one statement; how many."""
    names = ("run_id", "meter_id", "bus_id", "rank", "due_at")
    rank = sa.cast(RANKS[run.scope], sa.SmallInteger)
    rows = sa.select(
        sa.literal(run.id, sa.BigInteger), Meter.id, Meter.bus_id, rank, sa.literal(now)
    ).where(which, Meter.removed_on.is_(None))
    return changed(pg.insert(ReadingRunItem).from_select(names, rows).on_conflict_do_nothing())


def cancel(run_id: int, actor: Principal, now: datetime) -> ReadingRun:
    """Stop a run; what is on the wire this moment is stored, and nothing further is asked.

    Problem run_ended for a run that is over.
    """
    run: ReadingRun = get(ReadingRun, run_id)
    stopped = changed(
        sa.update(ReadingRun)
        .where(ReadingRun.id == run_id, ReadingRun.state == "running")
        .values(state="cancelled", ended_at=now)
    )
    if not stopped:
        raise Problem("run_ended")
    left = changed(
        sa.update(ReadingRunItem)
        .where(ReadingRunItem.run_id == run_id, ReadingRunItem.state.in_(("waiting", "taken")))
        .values(state="cancelled", ended_at=now, lease=None)
    )
    audit("run.cancelled", "reading_run", run_id, actor, now=now, left=left)
    db.session.refresh(run)
    return run


_TAKE = sa.text("""
WITH due AS MATERIALIZED (
    SELECT d.* FROM unnest(CAST(:buses AS bigint[])) AS b(bus_id)
     CROSS JOIN LATERAL (
           SELECT run_id, meter_id FROM reading_run_item
            WHERE bus_id = b.bus_id AND state IN ('waiting', 'taken') AND due_at <= :now
            ORDER BY rank, due_at, meter_id LIMIT :batch FOR UPDATE SKIP LOCKED) AS d
)
UPDATE reading_run_item i SET state = 'taken', attempts = attempts + 1, lease = :lease,
       due_at = :until
  FROM due JOIN reading_run r ON r.id = due.run_id
 WHERE i.run_id = due.run_id AND i.meter_id = due.meter_id
RETURNING i.run_id, i.meter_id, i.bus_id, r.what, r.frozen_on
""")


def take(buses: Sequence[int], now: datetime, *, batch: int = BATCH) -> list[Claim]:
    """Take up to `batch` due items of each bus, for LEASE; the caller commits before it asks."""
    lease = uuid4().hex
    values = {
        "lease": lease,
        "until": now + LEASE,
        "now": now,
        "buses": list(buses),
        "batch": batch,
    }
    rows = db.session.execute(_TAKE, values)
    return [
        Claim(row.run_id, row.meter_id, row.bus_id, lease, row.what, row.frozen_on) for row in rows
    ]


_SETTLE = sa.text("""
UPDATE reading_run_item i
   SET state = CASE WHEN s.error = '' THEN 'read' WHEN s.is_last THEN 'missed' ELSE 'waiting' END,
       ended_at = CASE WHEN s.error = '' OR s.is_last THEN CAST(:now AS timestamptz) END,
       due_at = s.again, error = nullif(s.error, ''), reading_id = s.reading_id, lease = NULL
  FROM (SELECT s.*, :now + w.wait AS again,
               s.error = ANY(:final) OR :now + w.wait >= r.deadline_at AS is_last
          FROM unnest(CAST(:runs AS bigint[]), CAST(:meters AS bigint[]), CAST(:leases AS text[]),
                      CAST(:errors AS text[]), CAST(:readings AS bigint[]))
               AS s(run_id, meter_id, lease, error, reading_id)
          JOIN reading_run r ON r.id = s.run_id
          JOIN reading_run_item held ON held.run_id = s.run_id AND held.meter_id = s.meter_id
          JOIN unnest(CAST(:waits AS interval[]), CAST(:frozen_waits AS interval[]))
               WITH ORDINALITY AS t(current, frozen, attempts)
               ON t.attempts = least(held.attempts, cardinality(CAST(:waits AS interval[])))
         CROSS JOIN LATERAL (
               SELECT CASE r.what WHEN 'current' THEN t.current ELSE t.frozen END) AS w(wait)) s
 WHERE i.run_id = s.run_id AND i.meter_id = s.meter_id
   AND i.state = 'taken' AND i.lease = s.lease
""")
_WAITS = [wait_after(attempts) for attempts in range(1, 11)]
_FROZEN_WAITS = [wait_after(attempts, LAST_FROZEN_WAIT) for attempts in range(1, 11)]


def settle(results: Sequence[Settled], now: datetime) -> int:
    """Finish claims: read, or to be asked again later, or missed; how many were still held.

    A claim whose run was cancelled or whose lease another has taken since is passed over.
    """
    if not results:
        return 0
    claims = [r.claim for r in results]
    return changed(
        _SETTLE.bindparams(
            now=now,
            waits=_WAITS,
            frozen_waits=_FROZEN_WAITS,
            final=list(FINAL_ERRORS),
            runs=[c.run_id for c in claims],
            meters=[c.meter_id for c in claims],
            leases=[c.lease for c in claims],
            errors=[r.error for r in results],
            readings=[r.reading_id for r in results],
        )
    )


def give_back(claims: Sequence[Claim], now: datetime) -> int:
    """Claims that were never asked wait again at once, as if they had not been taken."""
    if not claims:
        return 0
    item = ReadingRunItem
    held = sa.tuple_(item.run_id, item.meter_id).in_([(c.run_id, c.meter_id) for c in claims])
    return changed(
        sa.update(item)
        .where(held, item.state == "taken", item.lease == claims[0].lease)
        .values(state="waiting", lease=None, due_at=now, attempts=item.attempts - 1)
    )


_MISS_OVERDUE = sa.text("""
UPDATE reading_run_item i SET state = 'missed', ended_at = :now, lease = NULL,
       error = coalesce(i.error, 'not_reached')
  FROM reading_run r
 WHERE r.id = i.run_id AND r.state = 'running' AND r.deadline_at <= :now
   AND i.state IN ('waiting', 'taken') AND (i.state = 'waiting' OR i.due_at <= :now)
""")
_END_RUNS = sa.text("""
UPDATE reading_run r SET state = 'done', ended_at = :now
 WHERE r.state = 'running' AND NOT EXISTS (
       SELECT 1 FROM reading_run_item i
        WHERE i.run_id = r.id AND i.state IN ('waiting', 'taken'))
""")


def sweep(now: datetime) -> int:
    """Miss what is past its deadline and end the runs that have nothing left; how many ended."""
    changed(_MISS_OVERDUE.bindparams(now=now))
    return changed(_END_RUNS.bindparams(now=now))


def progress(run_id: int) -> dict[str, int]:
    """How many items of a run are in each state, and `total`."""
    rows = db.session.execute(
        sa.select(ReadingRunItem.state, sa.func.count().label("n"))
        .where(ReadingRunItem.run_id == run_id)
        .group_by(ReadingRunItem.state)
    )
    counts = dict.fromkeys(("waiting", "taken", "read", "missed", "cancelled"), 0)
    counts |= {row.state: row.n for row in rows}
    return {**counts, "total": sum(counts.values())}


def run_of(run_id: int) -> ReadingRun:
    """The run; Problem not_found."""
    run: ReadingRun = get(ReadingRun, run_id)
    return run


def troubles(run_id: int, limit: int = 100) -> Sequence[Any]:
    """The meters of a run that have failed at least once and are not read, the worst first."""
    item = ReadingRunItem
    return db.session.execute(
        sa.select(item.meter_id, item.state, item.attempts, item.error, item.due_at, Meter.address)
        .join(Meter, Meter.id == item.meter_id)
        .where(item.run_id == run_id, item.state != "read", item.error.is_not(None))
        .order_by(item.attempts.desc(), item.meter_id)
        .limit(limit)
    ).all()
