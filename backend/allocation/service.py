"""A building's heat shared for a period, from stored series and registers, and kept as a run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.allocation import condensed, inputs, rules
from backend.allocation.models import AllocationRule, AllocationRun, AllocationShare
from backend.archive.models import Household, HouseholdThermal, Meter
from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing, series
from backend.metering.models import CondensedDay
from backend.metering.rules import MISSING

# What each sampled method reads, and where it is stored: name -> (kind of meter, quantity).
SERIES = {
    "tg": ("heat", "supply_cdeg"),
    "th": ("heat", "return_cdeg"),
    "tn": ("room", "room_cdeg"),
}
NEEDS = {"three_temperature": ("tg", "th", "tn"), "temperature_area": ("tn",)}


@dataclass(frozen=True)
class Heat:
    """The building meter's heat over a period and the readings it was taken from."""

    total_wh: int
    spans: list[closing.Span]


def rule_of(building_id: int, day: date) -> AllocationRule | None:
    """The rule in force on a day; None where the building's heat is not shared out."""
    return db.session.scalars(
        sa.select(AllocationRule)
        .where(AllocationRule.building_id == building_id, AllocationRule.effective_from <= day)
        .order_by(AllocationRule.effective_from.desc())
        .limit(1)
    ).first()


def allocate(
    building_id: int, period_from: date, period_to: date, purpose: str, now: datetime
) -> AllocationRun:
    """Share the heat of [period_from, period_to) and keep the run; the same inputs, the same run.

    A daily run replaces an earlier one.  A locked (billed) run is never replaced: Problem
    run_locked.  Problem building_meter_missing where the building's heat is not known.
    """
    _one_at_a_time(building_id)
    rule = rule_of(building_id, period_from)
    if rule is None:
        raise Problem("building_meter_missing", "该楼栋没有设置热分摊方法，不能分摊。")
    heat = _heat(building_id, period_from, period_to)
    households = _households(building_id)
    result = _share(rule, heat.total_wh, households, period_from, period_to)
    run = _new_run(building_id, period_from, period_to, purpose, rule, heat, now)
    run.building_flag = result.building_flag
    run.parameters = {
        "rule_id": rule.id,
        "options": rule.options,
        "constants": {
            str(h.id): {k: str(v) for k, v in h.constants.items()}
            for h in _as_inputs(rule, households, period_from, period_to)
        },
    }
    earlier = _step_back(run)
    db.session.add(run)
    db.session.flush()
    if earlier is not None:
        earlier.superseded_by = run.id
    db.session.execute(sa.insert(AllocationShare), _shares(run, result))
    return run


def condense(building_id: int, day: date) -> int:
    """Condense a closed day's samples flat by flat; again gives the same rows.

    Returns the number of flats whose day is complete enough to stand for its samples.
    """
    households = [h.id for h in _households(building_id)]
    found = _series(building_id, households, ("tg", "th", "tn"), [day])
    rows = []
    for index, household_id in enumerate(households):
        one = condensed.condense_day(
            found["tg"][index], found["th"][index], found["tn"][index], series.INTERVAL_S
        )
        rows.append(
            {
                "household_id": household_id,
                "day": day,
                "nodes": one.nodes.tolist(),
                "covered_s": int(one.covered_s),
                "room_cdeg_s": round(one.room_k_s * 100),
                "outcome": {"room_s": int(one.room_s), "error": one.error},
            }
        )
    if not rows:
        return 0
    insert = pg.insert(CondensedDay).values(rows)
    names = ("nodes", "covered_s", "room_cdeg_s", "outcome")
    db.session.execute(
        insert.on_conflict_do_update(
            index_elements=["household_id", "day"],
            set_={name: insert.excluded[name] for name in names},
        )
    )
    return sum(row["covered_s"] == 86_400 for row in rows)


def lock(run: AllocationRun, now: datetime) -> None:
    """A billed run is never replaced; locking it twice is harmless."""
    db.session.execute(
        sa.update(AllocationRun)
        .where(AllocationRun.id == run.id, AllocationRun.locked_at.is_(None))
        .values(locked_at=now)
    )


def _one_at_a_time(building_id: int) -> None:
    """Runs of one building wait for each other until commit."""
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(0x616C6C6F, building_id)))


def _heat(building_id: int, period_from: date, period_to: date) -> Heat:
    meters = db.session.scalars(
        sa.select(Meter)
        .where(Meter.building_id == building_id, Meter.scope == "building", Meter.kind == "heat")
        .order_by(Meter.id)
    ).all()
    spans = closing.spans(meters, day_start(period_from), day_start(period_to))
    known = [span.usage for span in spans if span.usage is not None]
    if not spans or len(known) < len(spans):
        raise Problem("building_meter_missing")
    return Heat(sum(known), spans)


def _households(building_id: int) -> Sequence[Household]:
    return db.session.scalars(
        sa.select(Household).where(Household.building_id == building_id).order_by(Household.id)
    ).all()


def _share(
    rule: AllocationRule,
    total_wh: int,
    households: Sequence[Household],
    period_from: date,
    period_to: date,
) -> inputs.AllocationResult:
    days = [period_from + timedelta(n) for n in range((period_to - period_from).days)]
    if rule.method not in NEEDS:
        raise Problem("building_meter_missing", f"分摊方法 {rule.method} 暂不支持。")
    ids = [h.id for h in households]
    samples = _series(rule.building_id, ids, NEEDS[rule.method], days)
    building = inputs.Building(
        method=rule.method,
        total_units=total_wh,
        households=_as_inputs(rule, households, period_from, period_to),
        dt_s=np.full(len(days) * series.SLOTS, float(series.INTERVAL_S)),
        series={name: _celsius(values) for name, values in samples.items()},
        base=float(rule.options.get("base_c", 0)),
        rules=inputs.Rules(**rule.options.get("rules", {})),
    )
    try:
        return rules.allocate(building)
    except inputs.Refused as refused:
        raise Problem("building_meter_missing", f"不能分摊：{refused}") from refused


def _as_inputs(
    rule: AllocationRule, households: Sequence[Household], period_from: date, period_to: date
) -> list[inputs.Household]:
    thermal = _thermal([h.id for h in households], period_from)
    begin = day_start(period_from)
    return [
        inputs.Household(
            id=h.id,
            area_m2=Decimal(h.area_dm2).scaleb(-2),
            constants=thermal.get(h.id, {}) if rule.method == "three_temperature" else {},
            suspended=h.suspended_from is not None and h.suspended_from <= period_from,
            active_from_s=_seconds_from(begin, h.active_from, 0.0),
            active_to_s=_seconds_from(begin, h.active_to, float("inf")),
        )
        for h in households
    ]


def _seconds_from(begin: datetime, day: date | None, otherwise: float) -> float:
    return otherwise if day is None else max((day_start(day) - begin).total_seconds(), 0.0)


def _thermal(household_ids: Sequence[int], day: date) -> dict[int, dict[str, object]]:
    """gamma and B of each flat as they stood on a day."""
    rows = db.session.execute(
        sa.select(HouseholdThermal.household_id, HouseholdThermal.gamma, HouseholdThermal.exponent)
        .where(
            HouseholdThermal.household_id.in_(household_ids),
            HouseholdThermal.effective_from <= day,
        )
        .ext(pg.distinct_on(HouseholdThermal.household_id))
        .order_by(HouseholdThermal.household_id, HouseholdThermal.effective_from.desc())
    )
    return {row.household_id: {"gamma": row.gamma, "B": row.exponent} for row in rows}


def _series(
    building_id: int, household_ids: Sequence[int], names: Sequence[str], days: Sequence[date]
) -> dict[str, np.ndarray[Any, np.dtype[np.int16]]]:
    """name -> [households x samples] int16, MISSING where nothing came."""
    meters = db.session.execute(
        sa.select(Meter.id, Meter.kind, Meter.household_id)
        .where(
            Meter.building_id == building_id,
            Meter.scope == "household",
            Meter.kind.in_({SERIES[name][0] for name in names}),
        )
        .order_by(Meter.id)
    ).all()
    row_of = {household_id: index for index, household_id in enumerate(household_ids)}
    found = {}
    for name in names:
        kind, quantity = SERIES[name]
        mine = {m.id: m.household_id for m in meters if m.kind == kind}
        values = np.full((len(household_ids), len(days) * series.SLOTS), MISSING, dtype=np.int16)
        for meter_id, slots in series.load(list(mine), quantity, days).items():
            row = values[row_of[mine[meter_id]]]
            np.copyto(row, slots, where=slots != MISSING)
        found[name] = values
    return found


def _celsius(values: np.ndarray[Any, np.dtype[np.int16]]) -> inputs.Floats:
    return np.where(values == MISSING, np.nan, values / 100.0)


def _new_run(
    building_id: int,
    period_from: date,
    period_to: date,
    purpose: str,
    rule: AllocationRule,
    heat: Heat,
    now: datetime,
) -> AllocationRun:
    return AllocationRun(
        building_id=building_id,
        purpose=purpose,
        period_from=period_from,
        period_to=period_to,
        method=rule.method,
        total_wh=heat.total_wh,
        inputs={"building": [span.basis() for span in heat.spans]},
        created_at=now,
    )


def _step_back(run: AllocationRun) -> AllocationRun | None:
    """An earlier live run of the same period makes way, unless it has been billed."""
    earlier = db.session.scalars(
        sa.select(AllocationRun).where(
            AllocationRun.building_id == run.building_id,
            AllocationRun.purpose == run.purpose,
            AllocationRun.period_from == run.period_from,
            AllocationRun.period_to == run.period_to,
            AllocationRun.superseded_by.is_(None),
        )
    ).first()
    if earlier is None:
        return None
    if earlier.locked_at is not None:
        raise Problem("run_locked")
    earlier.superseded_by = earlier.id  # out of the unique index until the new run has its id
    db.session.flush()
    return earlier


def _shares(run: AllocationRun, result: inputs.AllocationResult) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run.id,
            "household_id": household_id,
            "period_to": run.period_to,
            "energy_wh": energy_wh,
            "weight": float(result.weights[household_id]),
            "share": result.shares[household_id],
            "coverage": result.coverage.get(household_id, Decimal(1)),
            "flags": result.flags.get(household_id, []),
        }
        for household_id, energy_wh in result.units.items()
    ]
