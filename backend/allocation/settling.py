"""Work for a season on many buildings: building by building, each exactly once, resumable.

What is done to a building is a `Kind`: heat is shared out here; other rooms add theirs to KINDS.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from backend.allocation import service
from backend.allocation.models import AllocationRun, Settlement, SettlementItem
from backend.archive.models import Region
from backend.base import tasks
from backend.base.clock import business_day
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.metering.models import ClosedDay
from backend.people.service import Principal, audit

MAX_SHOWN = 100
MAX_DAYS = 366


@dataclass(frozen=True, slots=True)
class Kind:
    """What a settlement does to each building; `work` writes what came of it into the item."""

    work: Callable[[SettlementItem, Settlement, datetime], None]
    task: str  # takes settlement_id and building_id, and calls `settle`
    buildings: str  # SQL over building b, :since and :until: which of a region's it is about
    none: str  # what is said where there are none
    past: bool = True  # only for a period that is over


KINDS: dict[str, Kind] = {}
HEAT = ("heat",)

# The buildings of a region and below (all of them for none) that a kind is about.
_ITEMS = """
    WITH RECURSIVE below(id) AS (
        SELECT id FROM region WHERE id = CAST(:region AS bigint)
        UNION ALL SELECT r.id FROM region r JOIN below b ON r.parent_id = b.id)
    INSERT INTO settlement_item (settlement_id, building_id)
    SELECT :settlement, b.id FROM building b
     WHERE (CAST(:region AS bigint) IS NULL OR b.region_id IN (SELECT id FROM below))
       AND ({buildings})
    RETURNING building_id
"""
_RULED = """
    EXISTS (SELECT 1 FROM allocation_rule a
             WHERE a.building_id = b.id AND a.effective_from < :until
               AND (a.effective_to IS NULL OR a.effective_to > :since))
"""


def start(
    region_id: int | None,
    period_from: date,
    period_to: date,
    actor: Principal | None,
    now: datetime,
    kind: str = "heat",
    due_on: date | None = None,
) -> Settlement:
    """Begin a kind of work over [period_from, period_to) of a region's buildings, or all; audited.

    Problem period_not_over for a season that is not over, range_*, nothing_to_settle.
    """
    if period_from >= period_to:
        raise Problem("range_reversed", field="period_to")
    if (period_to - period_from).days > MAX_DAYS:
        raise Problem("range_too_long", field="period_to")
    if KINDS[kind].past and period_to > business_day(now):
        raise Problem(
            "period_not_over",
            f"{period_to} 之前的用热还没有结束，请在 {period_to} 日结之后再结算。",
            field="period_to",
        )
    region = None if region_id is None else db.session.get(Region, region_id)
    if region_id is not None and region is None:
        raise Problem("not_found", field="region_id")
    row = Settlement(
        kind=kind,
        due_on=due_on,
        region_id=region_id,
        title=region.name if region else "全部楼栋",
        period_from=period_from,
        period_to=period_to,
        asked_by=actor.id if actor else None,
        created_at=now,
    )
    db.session.add(row)
    db.session.flush()
    buildings = _choose(row)
    _defer(row, buildings)
    detail = {"buildings": len(buildings), "kind": kind}
    audit("settlement.started", "settlement", row.id, actor, now=now, **detail)
    return row


def _choose(row: Settlement) -> Sequence[int]:
    """Its buildings, each an item that waits.  Problem nothing_to_settle."""
    kind = KINDS[row.kind]
    statement = sa.text(_ITEMS.format(buildings=kind.buildings))
    chosen = {"settlement": row.id, "region": row.region_id}
    days = {"since": row.period_from, "until": row.period_to}
    buildings = db.session.execute(statement, chosen | days).scalars().all()
    if not buildings:
        raise Problem("nothing_to_settle", kind.none)
    return buildings


def _defer(row: Settlement, buildings: Sequence[int]) -> None:
    tasks.defer_many(
        KINDS[row.kind].task,
        [{"settlement_id": row.id, "building_id": b} for b in sorted(buildings)],
    )


def settle(settlement_id: int, building_id: int, now: datetime) -> SettlementItem:
    """Settle one building; one that is no longer waiting is left as it is.  Commits.

    What is done and the item's state are one transaction: a process killed in between has done
    nothing, and the task that comes again does it all.
    """
    item = _settled(settlement_id, building_id, now)
    db.session.commit()
    _end(settlement_id, now)
    db.session.commit()
    return item


def _settled(settlement_id: int, building_id: int, now: datetime) -> SettlementItem:
    item = _item(settlement_id, building_id)
    parent = db.session.get_one(Settlement, settlement_id)
    if item.state != "waiting" or parent.state != "running":
        return item
    try:
        with db.session.begin_nested():
            KINDS[parent.kind].work(item, parent, now)
        item.state, item.code, item.detail = "done", None, None
    except Problem as problem:
        item.state, item.code, item.detail = "refused", problem.code, problem.detail
    item.ended_at = now
    db.session.flush()
    return item


def _item(settlement_id: int, building_id: int) -> SettlementItem:
    return db.session.get_one(
        SettlementItem,
        (settlement_id, building_id),
        with_for_update=True,
        populate_existing=True,
    )


def _share(item: SettlementItem, parent: Settlement, now: datetime) -> None:
    item.run_id = _run(item.building_id, parent, now).id


KINDS["heat"] = Kind(_share, "allocation.settle", _RULED, "所选范围内没有设置分摊规则的楼栋。")


def _run(building_id: int, parent: Settlement, now: datetime) -> AllocationRun:
    """The period's run: the billed one where it has been billed, else a new one."""
    billed = db.session.scalars(
        sa.select(AllocationRun).where(
            AllocationRun.building_id == building_id,
            AllocationRun.purpose == "billing",
            AllocationRun.period_from == parent.period_from,
            AllocationRun.period_to == parent.period_to,
            AllocationRun.superseded_by.is_(None),
            AllocationRun.locked_at.is_not(None),
        )
    ).first()
    if billed is not None:
        return billed
    refuse_open_days(building_id, parent.period_from, parent.period_to)
    return service.allocate(building_id, parent.period_from, parent.period_to, "billing", now)


def refuse_open_days(building_id: int, period_from: date, period_to: date) -> None:
    """Problem days_not_closed where a day of the period is not closed, or waits to be again."""
    closed = set(
        db.session.scalars(
            sa.select(ClosedDay.day).where(
                ClosedDay.building_id == building_id,
                ClosedDay.day >= period_from,
                ClosedDay.day < period_to,
                ClosedDay.reopened_at.is_(None),
            )
        )
    )
    days = range(period_from.toordinal(), period_to.toordinal())
    missing = [day for n in days if (day := date.fromordinal(n)) not in closed]
    if missing:
        shown = "、".join(map(str, missing[:3]))
        more = f" 等 {len(missing)} 天" if len(missing) > 3 else ""
        raise Problem("days_not_closed", f"{shown}{more} 还没有日结，请先完成日结再结算。")


def _end(settlement_id: int, now: datetime) -> None:
    """End a settlement none of whose buildings waits any longer.

    In a transaction of its own after the building's: of two that settle the last buildings at
    once neither waits for the other, and one of them sees both.  (A lock on the settlement taken
    after the item was written deadlocks: the item's foreign key already shares it.)
    """
    waiting = sa.exists().where(
        SettlementItem.settlement_id == settlement_id, SettlementItem.state == "waiting"
    )
    changed(
        sa.update(Settlement)
        .where(Settlement.id == settlement_id, Settlement.state == "running", ~waiting)
        .values(state="done", ended_at=now)
    )


def _locked(settlement_id: int, kinds: Collection[str]) -> Settlement:
    found = db.session.get(Settlement, settlement_id, with_for_update=True, populate_existing=True)
    if found is None or found.kind not in kinds:
        raise Problem("not_found")
    return found


def cancel(
    settlement_id: int, actor: Principal, now: datetime, kinds: Collection[str] = HEAT
) -> Settlement:
    """Stop a settlement; buildings that are done stay done; audited.

    Problem settlement_ended, not_found for one of another kind.
    """
    row = _locked(settlement_id, kinds)
    if row.state != "running":
        raise Problem("settlement_ended")
    row.state, row.ended_at = "cancelled", now
    _move(settlement_id, ("waiting",), "cancelled")
    audit("settlement.cancelled", "settlement", row.id, actor, now=now)
    return row


def resume(
    settlement_id: int, actor: Principal, now: datetime, kinds: Collection[str] = HEAT
) -> Settlement:
    """Go on with what was cancelled, and try anew what was refused; audited.

    Problem settlement_ended where every building is done already, or it still runs.
    """
    row = _locked(settlement_id, kinds)
    if row.state == "running":
        raise Problem("settlement_ended", "结算正在进行，无需继续。")
    buildings = _move(settlement_id, ("cancelled", "refused"), "waiting")
    if not buildings:
        raise Problem("settlement_ended", "所有楼栋都已结算。")
    row.state, row.ended_at = "running", None
    _defer(row, buildings)
    audit("settlement.resumed", "settlement", row.id, actor, now=now, buildings=len(buildings))
    return row


def _move(settlement_id: int, states: Sequence[str], to: str) -> Sequence[int]:
    moved = db.session.execute(
        sa.update(SettlementItem)
        .where(SettlementItem.settlement_id == settlement_id, SettlementItem.state.in_(states))
        .values(state=to, ended_at=None)
        .returning(SettlementItem.building_id)
        .execution_options(synchronize_session="fetch")
    )
    return moved.scalars().all()


@dataclass(frozen=True, slots=True)
class Progress:
    """How many buildings of a settlement are in each state."""

    total: int
    waiting: int
    done: int
    refused: int
    cancelled: int


def settlement_of(settlement_id: int, kinds: Collection[str] = HEAT) -> Settlement:
    """The settlement; Problem not_found."""
    row = db.session.get(Settlement, settlement_id)
    if row is None or row.kind not in kinds:
        raise Problem("not_found")
    return row


def progress(settlement_id: int) -> Progress:
    """How far it has come, in one statement."""
    rows = db.session.execute(
        sa.select(SettlementItem.state, sa.func.count())
        .where(SettlementItem.settlement_id == settlement_id)
        .group_by(SettlementItem.state)
    )
    counts = {state: int(count) for state, count in rows}
    states = ("waiting", "done", "refused", "cancelled")
    return Progress(sum(counts.values()), *(counts.get(state, 0) for state in states))


def refusals(settlement_id: int) -> Sequence[Any]:
    """Up to MAX_SHOWN buildings that could not be settled: id, code, name, code, detail."""
    return db.session.execute(
        sa.text("""
            SELECT b.id AS building_id, b.code AS building_code, b.name AS building_name,
                   i.code, i.detail
              FROM settlement_item i JOIN building b ON b.id = i.building_id
             WHERE i.settlement_id = :id AND i.state = 'refused'
             ORDER BY b.code LIMIT :most
        """),
        {"id": settlement_id, "most": MAX_SHOWN},
    ).all()


def latest(kinds: Collection[str] = HEAT, most: int = 20) -> Sequence[Any]:
    """The latest settlements with how far each has come, newest first."""
    return db.session.execute(
        sa.text("""
            SELECT s.id, s.kind, s.title, s.period_from, s.period_to, s.state, s.created_at,
                   f.name AS who,
                   count(*) AS total, count(*) FILTER (WHERE i.state = 'done') AS done,
                   count(*) FILTER (WHERE i.state = 'refused') AS refused
              FROM settlement s JOIN settlement_item i ON i.settlement_id = s.id
              LEFT JOIN staff f ON f.id = s.asked_by
             WHERE s.id IN (SELECT id FROM settlement WHERE kind = ANY(:kinds)
                             ORDER BY id DESC LIMIT :most)
             GROUP BY s.id, f.name ORDER BY s.id DESC
        """),
        {"most": most, "kinds": list(kinds)},
    ).all()
