"""B and gamma of a building found from its closed days, and used once a second person agrees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.allocation import case as cases
from backend.allocation import ruling, seasons
from backend.allocation.feeds import celsius
from backend.allocation.fitting import CondensedPowers
from backend.allocation.identification import (
    MAX_DAYS,
    MIN_DAYS,
    REFERENCE_K,
    CalibrationWindow,
    Identification,
    Why,
    identify,
)
from backend.allocation.inputs import Floats, Id, Refused
from backend.allocation.models import Calibration
from backend.archive.models import Building, Household, HouseholdThermal, Meter
from backend.base.clock import business_day
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.metering import outdoor, series
from backend.metering.models import DailyUsage
from backend.people.service import Principal, audit

# A day stands for itself where nearly all of it was measured.
LEAST_COVERED_S = 0.9 * 86_400
MAX_BLOCK_DAYS = 3
FROM_TWO_DAYS = 28  # a window this long is averaged in blocks of two days

WHY_ZH = {
    "few_days": "只有 {value:.0f} 段数据可用，至少需要 {limit:.0f} 段；"
    "请检查热量表和室温传感器后换一段时间",
    "load_constant": "负荷变化太小（ln(tp−tn) 标准差 {value:.3f}，至少 {limit}）；"
    "请选冷暖变化更大的时段，并确认阀门没有节流",
    "b_at_bound": "指数 B 顶在范围边界（{value:.2f}）；多半阀门有节流或传感器有偏差",
    "b_uncertain": "指数 B 的误差 {value:.2f} 太大（至多 {limit}）；请用更长的时段",
    "unexplained": "模型有 {value:.0%} 解释不了（至多 {limit:.0%}）；请检查阀门和传感器",
    "no_room": "整段时间没有室温数据；请修复室温传感器",
    "no_whole_day": "没有一天同时有楼栋热量和四分之三面积的室温；请检查总表和传感器",
}


def propose(
    building_id: int,
    window_from: date,
    window_to: date,
    actor: Principal,
    now: datetime,
    block_days: int | None = None,
) -> Calibration:
    """Identify from the closed days of [window_from, window_to); audited.

    What the data cannot carry is kept too, as `refused` with the reasons.  `block_days`: days
    averaged together so that stored heat cancels (by default 1, from 28 days on 2).  Problem
    range_*, calibration_open where another proposal waits, not_found.
    """
    days = (window_to - window_from).days
    if db.session.get(Building, building_id) is None:
        raise Problem("not_found")
    if not MIN_DAYS <= days <= MAX_DAYS:
        raise Problem(
            "range_too_long", f"辨识时段须为 {MIN_DAYS} 到 {MAX_DAYS} 天。", field="window_to"
        )
    if window_to > business_day(now):
        raise Problem("period_not_over", "辨识时段须已经过去。", field="window_to")
    ruling.one_at_a_time(building_id)
    _refuse_second(building_id)
    block = block_days or (2 if days >= FROM_TWO_DAYS else 1)
    if not 1 <= block <= MAX_BLOCK_DAYS:
        raise Problem("validation", "每段须为 1 到 3 天。", field="block_days")
    homes = _taking_part(building_id, window_from, window_to)
    try:
        found = identify(_window(building_id, homes, window_from, window_to, block))
    except Refused as refused:
        raise Problem("calibration_refused", f"不能辨识：{refused}。") from refused
    row = Calibration(
        building_id=building_id,
        window_from=window_from,
        window_to=window_to,
        state="refused" if found.refused else "proposed",
        report=_report(found, homes, block, _held(homes, window_to)),
        asked_by=actor.id,
        asked_at=now,
    )
    db.session.add(row)
    db.session.flush()
    audit("calibration.asked", "calibration", row.id, actor, now=now, state=row.state)
    return row


def _refuse_second(building_id: int) -> None:
    waits = sa.exists().where(
        Calibration.building_id == building_id, Calibration.state == "proposed"
    )
    if db.session.scalar(sa.select(waits)):
        raise Problem("calibration_open")


def _taking_part(building_id: int, window_from: date, window_to: date) -> list[Household]:
    """Flats that were heated over the whole window."""
    homes = [
        home
        for home in cases.households_of(building_id)
        if (home.active_from is None or home.active_from <= window_from)
        and (home.active_to is None or home.active_to >= window_to)
        and (home.suspended_from is None or home.suspended_from >= window_to)
    ]
    if not homes:
        raise Problem("nobody_active")
    return homes


def _window(
    building_id: int, homes: Sequence[Household], first: date, end: date, block: int
) -> CalibrationWindow:
    """The window in blocks; a block counts where each of its days was nearly whole."""
    season = seasons.load_season([h.id for h in homes], first, end)
    whole = season.covered_s >= LEAST_COVERED_S
    covered = np.where(whole, season.covered_s, np.nan)
    room = np.where(whole, season.room_c, np.nan)
    heat = _heat_w(building_id, first, end)
    weather = _outdoor_c(building_id, first, end)
    nodes = np.where(whole[:, :, np.newaxis], season.nodes, np.nan)
    return CalibrationWindow(
        [h.id for h in homes],
        np.array([h.area_dm2 / 100 for h in homes]),
        _blocks(heat, block).mean(axis=-1),
        _blocks(room, block).mean(axis=-1),
        CondensedPowers(_node_blocks(nodes, block), _blocks(covered, block).sum(axis=-1)),
        None if weather is None else _blocks(weather, block).mean(axis=-1),
        block,
    )


def _blocks(values: Floats, block: int) -> Floats:
    """[... x days] -> [... x blocks x block]; days left over at the end are left out."""
    count = values.shape[-1] // block
    return values[..., : count * block].reshape(*values.shape[:-1], count, block)


def _node_blocks(nodes: Floats, block: int) -> Floats:
    count = nodes.shape[1] // block
    shape = (nodes.shape[0], count, block, nodes.shape[2])
    summed: Floats = nodes[:, : count * block].reshape(shape).sum(axis=2)
    return summed


def _heat_w(building_id: int, first: date, end: date) -> Floats:
    """The settlement meters' mean heat of each day in W; NaN where not known or estimated."""
    heat = np.full((end - first).days, np.nan)
    rows = db.session.execute(
        sa.select(
            DailyUsage.day,
            sa.func.sum(DailyUsage.usage),
            sa.func.bool_and(
                DailyUsage.usage.is_not(None) & ~DailyUsage.flags.contains(["estimated"])
            ),
        )
        .join(Meter, Meter.id == DailyUsage.meter_id)
        .where(
            Meter.building_id == building_id,
            Meter.scope == "building",
            Meter.kind == "heat",
            DailyUsage.day >= first,
            DailyUsage.day < end,
        )
        .group_by(DailyUsage.day)
    )
    for day, used_wh, known in rows:
        if known:
            heat[(day - first).days] = float(used_wh) / 24
    return heat


def _outdoor_c(building_id: int, first: date, end: date) -> Floats | None:
    days = [first + timedelta(n) for n in range((end - first).days)]
    found = outdoor.series_of(building_id, days)
    if found is None:
        return None
    slots = celsius(found.slots).reshape(len(days), series.SLOTS)
    known = np.isfinite(slots)
    counts = known.sum(axis=1)
    sums = np.where(known, slots, 0.0).sum(axis=1)
    enough = counts >= 0.9 * series.SLOTS
    means: Floats = np.divide(sums, counts, out=np.full(len(days), np.nan), where=enough)
    return means


def _held(homes: Sequence[Household], day: date) -> Mapping[int, Mapping[str, object]]:
    """The constants in force at the end of the window, to show beside the new ones."""
    found = cases.as_inputs(homes, cases.THERMAL, day)
    return {int(h.id): h.constants for h in found if h.constants}


def _report(
    found: Identification,
    homes: Sequence[Household],
    block: int,
    held: Mapping[int, Mapping[str, object]],
) -> dict[str, Any]:
    """What a person decides by, as JSON."""
    unit_nos: dict[Id | None, str | None] = {None: None, **{h.id: h.unit_no for h in homes}}
    kappa = found.kappa_w_per_m2k
    return {
        "kappa_w_per_m2k": round(kappa, 4) if np.isfinite(kappa) else None,
        "block_days": block,
        "flats": [
            {
                "household_id": key,
                "unit_no": unit_nos[key],
                "B": round(fit.exponent, 6),
                "gamma": round(fit.gamma, 6),
                "gamma25": round(fit.gamma25, 4),
                "b_error": round(fit.b_error, 4),
                "residual": round(fit.residual, 4),
                "spread": round(fit.spread, 3),
                "blocks": fit.days,
                **_before(held.get(int(key), {})),
            }
            for key, fit in found.fits.items()
        ],
        "refused": [
            {"unit_no": unit_nos[key], "code": why.code, "text": why_zh(why)}
            for key, why in found.refused.items()
        ],
    }


def _before(held: Mapping[str, object]) -> dict[str, float | None]:
    if not held:
        return {"B_before": None, "gamma25_before": None}
    exponent, gamma = float(str(held["B"])), float(str(held["gamma"]))
    return {
        "B_before": exponent,
        "gamma25_before": round(gamma * REFERENCE_K**exponent, 4),
    }


def why_zh(why: Why) -> str:
    """A refusal as a sentence that says what to do."""
    return WHY_ZH[why.code].format(value=why.value, limit=why.limit) + "。"


def approve(
    calibration_id: int, effective_from: date, actor: Principal, now: datetime
) -> Calibration:
    """Use a proposal from a day on: another person's decision; audited.

    Problem second_person, calibration_decided, run_locked where heat from that day on has been
    billed already, range_reversed for a day before the window.
    """
    row = _decidable(calibration_id, actor)
    if effective_from < row.window_from:
        raise Problem("range_reversed", "生效日期不能早于辨识时段的开始。", field="effective_from")
    ruling.refuse_billed(row.building_id, effective_from, date.max)
    _decide(row, "approved", actor, now)
    row.effective_from = effective_from
    insert = pg.insert(HouseholdThermal).values(
        [
            {
                "household_id": flat["household_id"],
                "effective_from": effective_from,
                "gamma": Decimal(str(flat["gamma"])),
                "exponent": Decimal(str(flat["B"])),
                "source": f"calibration:{row.id}",
            }
            for flat in row.report["flats"]
        ]
    )
    db.session.execute(
        insert.on_conflict_do_update(
            index_elements=["household_id", "effective_from"],
            set_={name: insert.excluded[name] for name in ("gamma", "exponent", "source")},
        )
    )
    audit("calibration.approved", "calibration", row.id, actor, now=now)
    return row


def reject(calibration_id: int, actor: Principal, now: datetime) -> Calibration:
    """Do not use a proposal; whoever asked for it may withdraw it the same way. Audited."""
    row = _decidable(calibration_id, None)
    _decide(row, "rejected", actor, now)
    audit("calibration.rejected", "calibration", row.id, actor, now=now)
    return row


def calibration_of(calibration_id: int) -> Calibration:
    """The calibration; Problem not_found."""
    row = db.session.get(Calibration, calibration_id)
    if row is None:
        raise Problem("not_found")
    return row


def _decidable(calibration_id: int, second: Principal | None) -> Calibration:
    row = calibration_of(calibration_id)
    if row.state != "proposed":
        raise Problem("calibration_decided")
    if second is not None and row.asked_by == second.id:
        raise Problem("second_person", "参数须由另一位同事核准，不能自己核准自己的申请。")
    return row


def _decide(row: Calibration, state: str, actor: Principal, now: datetime) -> None:
    """Conditional, so that of two people deciding at once one is told so."""
    values: dict[str, Any] = {"state": state, "decided_at": now}
    if actor.id != row.asked_by:
        values["approved_by"] = actor.id
    done = changed(
        sa.update(Calibration)
        .where(Calibration.id == row.id, Calibration.state == "proposed")
        .values(values)
        .execution_options(synchronize_session="fetch")
    )
    if done != 1:
        raise Problem("calibration_decided")


def latest(most: int = 30) -> Sequence[Any]:
    """The latest calibrations with their building, newest first."""
    return db.session.execute(
        sa.select(
            Calibration.id,
            Calibration.window_from,
            Calibration.window_to,
            Calibration.state,
            Calibration.asked_at,
            Calibration.effective_from,
            Building.name.label("building_name"),
        )
        .join(Building, Building.id == Calibration.building_id)
        .order_by(Calibration.id.desc())
        .limit(most)
    ).all()
