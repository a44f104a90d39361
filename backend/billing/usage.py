"""What every household of a building used in a period, and what that was taken from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from flask import current_app

from backend.allocation import service as allocation
from backend.allocation.models import AllocationRun, AllocationShare
from backend.archive import rules as archive_rules
from backend.archive.models import Household, Meter
from backend.base.clock import SHANGHAI, day_start
from backend.base.db import db
from backend.base.energy import kwh_from_wh
from backend.billing.models import Bill, Tariff
from backend.billing.pricing import Facts, YearPart
from backend.billing.season_cap import CODE as CAP
from backend.billing.season_cap import NOTHING_YET, SoFar
from backend.billing.splits import split_over_periods
from backend.billing.tou import Interval
from backend.metering import closing, rules
from backend.metering.quality import REGISTER_MAX

# Registers further apart than this leave it open when in between the energy was used.
COARSE = timedelta(hours=2)
TOU_COARSE = "tou_coarse"
NEW_YEAR = "new_year_by_days"


@dataclass(frozen=True, slots=True)
class Used:
    """One household's usage for a bill: Wh or litres (None: not known) and where it comes from."""

    amount: int | None
    basis: dict[str, Any]
    run_id: int | None = None
    intervals: Sequence[Interval] | None = None
    so_far: SoFar = NOTHING_YET
    flags: tuple[str, ...] = field(default=())


def shared(building_id: int, period_from: date, period_to: date, now: datetime) -> dict[int, Used]:
    """Each household's part of the building's heat; the run is locked by being billed."""
    run = _billing_run(building_id, period_from, period_to, now)
    allocation.lock(run, now)
    return of_run(run.id)


def of_run(run_id: int) -> dict[int, Used]:
    """Each household's part of a run."""
    shares = db.session.scalars(sa.select(AllocationShare).where(AllocationShare.run_id == run_id))
    return {
        s.household_id: Used(s.energy_wh, {"run_id": run_id, "flags": s.flags}, run_id)
        for s in shares
    }


def _billing_run(
    building_id: int, period_from: date, period_to: date, now: datetime
) -> AllocationRun:
    """The period's run where it was billed in part or corrects a billed one, else a new one."""
    standing = db.session.scalars(
        sa.select(AllocationRun).where(
            AllocationRun.building_id == building_id,
            AllocationRun.purpose == "billing",
            AllocationRun.period_from == period_from,
            AllocationRun.period_to == period_to,
            AllocationRun.superseded_by.is_(None),
            AllocationRun.locked_at.is_not(None) | AllocationRun.corrects_id.is_not(None),
        )
    ).first()
    return standing or allocation.allocate(building_id, period_from, period_to, "billing", now)


def metered(
    households: Sequence[Household], utility: str, period_from: date, period_to: date
) -> dict[int, Used]:
    """Usage by the households' own meters over the period (two statements for all)."""
    meters = db.session.scalars(
        sa.select(Meter).where(
            Meter.household_id.in_([h.id for h in households]), Meter.kind == utility
        )
    ).all()
    spans = closing.spans(meters, day_start(period_from), day_start(period_to))
    found: dict[int, Used] = {}
    for span in spans:
        assert span.meter.household_id is not None
        found[span.meter.household_id] = _add(found.get(span.meter.household_id), span)
    return found


def _add(before: Used | None, span: closing.Span) -> Used:
    """A household with several meters has their sum; one unknown meter makes it unknown."""
    part = span.basis()
    if before is None:
        return Used(span.usage, {"meters": [part]})
    known = before.amount is not None and span.usage is not None
    total = before.amount + span.usage if known else None  # type: ignore[operator]
    return Used(total, {"meters": [*before.basis["meters"], part]})


# The registers between two instants, corrections before originals.
_REGISTERS = """
SELECT DISTINCT ON (meter_id, read_at) meter_id, read_at, register FROM reading
 WHERE meter_id = ANY(:meters) AND read_at > :begin AND read_at < :end
   AND register IS NOT NULL AND NOT ('impossible' = ANY(flags))
 ORDER BY meter_id, read_at, corrects_id DESC
"""


def by_the_clock(
    used: dict[int, Used], tariffs: dict[int, Tariff], period_from: date, period_to: date
) -> dict[int, Used]:
    """With the intervals of electricity priced by the hour; the others as they are.

    Between two registers the energy counts as used evenly; where they are more than COARSE apart
    the bill is flagged.  Registers that do not add up to the period's usage leave it unknown.
    """
    wanted = [
        part["meter_id"]
        for household_id, one in used.items()
        if household_id in tariffs and "schedule" in tariffs[household_id].params
        for part in one.basis.get("meters", ())
    ]
    if not wanted:
        return used
    begin, end = day_start(period_from), day_start(period_to)
    between: dict[int, list[tuple[datetime, int]]] = {meter_id: [] for meter_id in wanted}
    for row in db.session.execute(
        sa.text(_REGISTERS), {"meters": wanted, "begin": begin, "end": end}
    ):
        between[row.meter_id].append((row.read_at, row.register))
    meters = {m.id: m for m in db.session.scalars(sa.select(Meter).where(Meter.id.in_(wanted)))}
    return {
        household_id: _clocked(one, between, meters, begin, end)
        if household_id in tariffs and "schedule" in tariffs[household_id].params
        else one
        for household_id, one in used.items()
    }


def _clocked(
    used: Used,
    between: dict[int, list[tuple[datetime, int]]],
    meters: dict[int, Meter],
    begin: datetime,
    end: datetime,
) -> Used:
    intervals: list[Interval] = []
    coarse = False
    for part in used.basis.get("meters", ()):
        meter = meters[part["meter_id"]]
        if part["open"] is None or part["close"] is None:
            return replace(used, amount=None)
        opened = max(begin, closing.installed_at(meter))
        closed = min(end, closing.removed_at(meter) or end)
        inside = [point for point in between[meter.id] if opened < point[0] < closed]
        points = [(opened, part["open"]), *inside, (closed, part["close"])]
        for (at, register), (after, following) in pairwise(points):
            step = _step(meter, at, register, after, following)
            if step is None:
                return replace(used, amount=None)
            coarse |= after - at > COARSE and step > 0
            minutes = int((after - at).total_seconds()) / 60
            local = at.astimezone(SHANGHAI).replace(tzinfo=None)
            intervals.append(Interval(local, minutes, kwh_from_wh(step)))
    if sum(i.energy_kwh for i in intervals) * 1000 != used.amount:
        return replace(used, amount=None)
    flags = (*used.flags, TOU_COARSE) if coarse else used.flags
    return replace(used, intervals=intervals, flags=flags)


def _step(meter: Meter, at: datetime, register: int, after: datetime, following: int) -> int | None:
    register_rule = rules.Register(meter.register_max or REGISTER_MAX, closing.most_per_day(meter))
    passed = rules.usage(
        [rules.Reading(at, register), rules.Reading(after, following)], register_rule
    )
    return None if passed.amount is None else int(passed.amount)


def facts_of(
    household: Household, used: Used, period_from: date, period_to: date, prior: dict[int, int]
) -> Facts:
    """What a bill of the household is priced from; `prior`: year -> used already."""
    years = () if used.amount is None else _years(household, used.amount, period_from, period_to)
    return Facts(
        household.area_dm2,
        used.amount,
        (period_to - period_from).days,
        suspended(household, period_from),
        household.persons,
        [replace(part, prior=prior.get(part.year, 0)) for part in years],
        used.intervals,
        used.so_far,
    )


# The season's bills before a day, their fee without what a cap changed; of this owner's time.
_SO_FAR = """
SELECT b.household_id, sum(l.fee)::bigint, sum(b.amount_fen)::bigint,
       sum(b.period_to - b.period_from)::int
  FROM bill b CROSS JOIN LATERAL (
       SELECT coalesce(sum(amount_fen), 0) AS fee FROM bill_line
        WHERE bill_id = b.id AND code <> :cap) l
 WHERE b.household_id = ANY(:households) AND b.utility = 'heat' AND b.kind = 'usage'
   AND b.state <> 'reversed' AND NOT b.basis ? 'advance'
   AND b.period_from >= :season AND b.period_to <= :day
   AND NOT EXISTS (SELECT 1 FROM handover h WHERE h.household_id = b.household_id
                   AND h.state = 'done' AND b.period_from < h.moved_on)
 GROUP BY 1
"""


def in_the_season(
    used: dict[int, Used], tariffs: dict[int, Tariff], period_from: date
) -> dict[int, Used]:
    """With the season so far of those whose price caps monthly bills; the others as they are."""
    capped = [key for key in used if key in tariffs and "monthly_cap" in tariffs[key].params]
    if not capped:
        return used
    before = so_far_of(capped, period_from)
    return used | {key: replace(used[key], so_far=before.get(key, NOTHING_YET)) for key in capped}


def so_far_of(household_ids: Sequence[int], day: date) -> dict[int, SoFar]:
    """household -> the bills of the heating season that end by a day."""
    known = {"households": list(household_ids), "cap": CAP, "day": day}
    rows = db.session.execute(sa.text(_SO_FAR), known | {"season": season_of(day).day_from})
    return {row[0]: SoFar(row[1], row[2], row[3]) for row in rows}


def season_of(day: date) -> archive_rules.Season:
    """The heating season a day lies in, or the last one before it."""
    settings = current_app.extensions["nuan_settings"]
    start, end = (archive_rules.month_day(t) for t in (settings.season_start, settings.season_end))
    return archive_rules.heating_season(day, start, end)


def suspended(household: Household, day: date) -> bool:
    """停热: off heat on a day."""
    return household.suspended_from is not None and household.suspended_from <= day


def _years(household: Household, amount: int, begin: date, end: date) -> list[YearPart]:
    """The usage by calendar year: a period over New Year is cut by days."""
    first, last = begin.year, (end - timedelta(1)).year
    cuts = [date(year, 1, 1) for year in range(first + 1, last + 1)]
    parts = split_over_periods(amount, begin, end, cuts)
    return [
        YearPart(year, part, 0, months_of(household, year))
        for year, part in zip(range(first, last + 1), parts, strict=True)
    ]


def months_of(household: Household, year: int) -> int:
    """The months of a year a household is there: begun months count, at least one."""
    begin = max(household.active_from or date(year, 1, 1), date(year, 1, 1))
    end = min(household.active_to or date(year + 1, 1, 1), date(year + 1, 1, 1))
    last = end - timedelta(1)
    months = (last.year - begin.year) * 12 + last.month - begin.month + 1
    return min(12, max(1, months))


_PRIOR = """
SELECT b.household_id, y.key::int AS year, sum(y.value::bigint)::bigint AS used
  FROM bill b CROSS JOIN LATERAL jsonb_each_text(b.basis -> 'years') AS y
 WHERE b.household_id = ANY(:households) AND b.utility = :utility AND b.kind = 'usage'
   AND b.state <> 'reversed' AND b.period_to > :since
   AND NOT EXISTS (SELECT 1 FROM handover h WHERE h.household_id = b.household_id
                   AND h.state = 'done' AND b.period_from < h.moved_on)
 GROUP BY 1, 2
"""


def prior_of(
    household_ids: Sequence[int], utility: str, period_from: date
) -> dict[int, dict[int, int]]:
    """household -> year -> what its standing bills have counted of that year: tiers go on there.

    Also of later months: a bill made again after a reversal undoes the marginal tiers.  What an
    owner before used is not the new one's.
    """
    rows = db.session.execute(
        sa.text(_PRIOR),
        {
            "households": list(household_ids),
            "utility": utility,
            "since": date(period_from.year, 1, 1),
        },
    )
    found: dict[int, dict[int, int]] = {}
    for household_id, year, used in rows:
        found.setdefault(household_id, {})[year] = used
    return found


def standing(bill_kind: str = "usage") -> sa.ColumnElement[bool]:
    """Bills that stand: not reversed, of a kind."""
    return sa.and_(Bill.kind == bill_kind, Bill.state != "reversed")
