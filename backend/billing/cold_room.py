"""室温不达标退费: how cold a day was, and what of its fee goes back.  Pure.

A day's temperature is the one at least `min_share` of its known samples stay at or below: with
one half, its median.  Samples while a window stood open do not count; a day with fewer known
samples than `min_coverage` is not decided from the series (an on-site measurement can decide it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from math import ceil
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.base.clock import SHANGHAI
from backend.base.exact import exact, plain
from backend.base.money import fen_of, yuan_str

Slots = npt.NDArray[np.int16]
Rule = Mapping[str, Any]

SLOT_MIN = 10
FALL_SLOTS = 3  # an open window shows within 30 minutes
WARM_AGAIN_CDEG = 100  # closed again once within 1 K of before
DAYTIME = (8, 21)  # hours in which a visit is offered
MAX_VISITS = 24
NOON = (10, 14)  # no measuring while the sun helps: from 10:00 up to 14:00


@dataclass(frozen=True, slots=True)
class DayFinding:
    """One day: its temperature (None: not decided, `why` says), and the share of the fee back."""

    day: date
    cdeg: int | None
    ratio: Decimal
    why: str = ""


def day_finding(day: date, rooms: Sequence[Slots], missing: int, rule: Rule) -> DayFinding:
    """A day from its rooms' samples (0.01 C, `missing` where none), each [slots]."""
    if rule["rooms"] == "mean" and len(rooms) > 1:
        rooms = [_mean(rooms, missing)]
    found = [_room(samples, missing, rule) for samples in rooms]
    known = [cdeg for cdeg, _ in found if cdeg is not None]
    if not known:
        return DayFinding(day, None, Decimal(0), found[0][1] if found else "没有室温传感器")
    coldest = min(known)
    return DayFinding(day, coldest, ratio_of(coldest, rule))


def ratio_of(cdeg: int, rule: Rule) -> Decimal:
    """The share of the day's standard fee that goes back at a temperature; bands: [low, high)."""
    for band in rule["bands"]:
        if cdeg < band["below_cdeg"]:
            return Decimal(band["ratio"])
    return Decimal(0)


def _room(samples: Slots, missing: int, rule: Rule) -> tuple[int | None, str]:
    """One room's temperature of the day, or why it has none."""
    opened = windows(samples, missing, rule)
    known = np.sort(samples[(samples != missing) & ~opened])
    need = ceil(exact(Decimal(rule["min_coverage"])) * samples.size)
    if known.size < max(1, need):
        part = f"{known.size}/{samples.size}"
        why = f"开窗时段较多，有效采样 {part}" if opened.any() else f"采样不足，{part}"
        return None, why
    at = max(1, ceil(exact(Decimal(rule["min_share"])) * known.size))
    return int(known[at - 1]), ""


def windows(samples: Slots, missing: int, rule: Rule) -> npt.NDArray[np.bool_]:
    """The slots in which a window stood open: after a sharp fall, until nearly as warm as before
    or `window_max_minutes` later."""
    opened = np.zeros(samples.size, dtype=bool)
    fall = rule["window_fall_cdeg"]
    if fall is None:
        return opened
    longest = int(rule["window_max_minutes"]) // SLOT_MIN
    values = samples.astype(np.int32)
    for at in range(FALL_SLOTS, samples.size):
        before = values[at - FALL_SLOTS]
        if opened[at] or missing in (samples[at], samples[at - FALL_SLOTS]):
            continue
        if before - values[at] >= fall:
            end = min(samples.size, at - FALL_SLOTS + 1 + longest)
            for slot in range(at - FALL_SLOTS + 1, end):
                if slot > at and values[slot] >= before - WARM_AGAIN_CDEG:
                    break
                opened[slot] = True
    return opened


def _mean(rooms: Sequence[Slots], missing: int) -> Slots:
    """The rooms' mean, slot by slot, over those that are known."""
    values = np.array(rooms, dtype=np.float64)
    values[np.array(rooms) == missing] = np.nan
    count = (~np.isnan(values)).sum(axis=0)
    total = np.nansum(values, axis=0)
    mean = np.where(count > 0, np.floor(total / np.maximum(count, 1) + 0.5), missing)
    return mean.astype(np.int16)


def measurement_faults(
    reported_at: datetime, measured_at: datetime, signed: tuple[bool, bool], rule: Rule
) -> list[str]:
    """Why a measurement cannot stand: too early or late, at midday, not signed by both."""
    found = []
    if measured_at < reported_at:
        found.append("测温时间早于报修时间")
    within = timedelta(hours=rule["measure_within_hours"])
    if measured_at > reported_at + within:
        found.append(f"须在报修后 {rule['measure_within_hours']} 小时内测温")
    if NOON[0] <= measured_at.astimezone(SHANGHAI).hour < NOON[1]:
        found.append("10:00 至 14:00 不得测温")
    if not all(signed):
        found.append("须有住户和测温人员双方签字")
    return found


def visits(now: datetime, rule: Rule) -> list[datetime]:
    """When somebody may come to measure: whole hours of the day from now on, none at midday, none
    that could not stand (`measurement_faults`)."""
    first = now.astimezone(SHANGHAI).replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    last = now + timedelta(hours=rule["measure_within_hours"] - 1)
    hours = (first + timedelta(hours=n) for n in range(rule["measure_within_hours"]))
    return [
        at
        for at in hours
        if at <= last and DAYTIME[0] <= at.hour < DAYTIME[1] and not NOON[0] - 1 < at.hour < NOON[1]
    ][:MAX_VISITS]


def rule_zh(rule: Rule) -> list[str]:
    """The rule as a resident reads it."""
    if not rule["enabled"]:
        return ["本区域没有设定室温不达标退费；报修后仍会上门测温、检修。"]
    bands, last = [], None
    for band in rule["bands"]:
        span = f"{_c(last)} 到 {_c(band['below_cdeg'])}" if last is not None else ""
        span = span or f"低于 {_c(band['below_cdeg'])}"
        bands.append(f"{span}，退当日标准热费的 {plain(exact(Decimal(band['ratio'])) * 100)}%")
        last = band["below_cdeg"]
    return [
        f"承诺室温 {_c(rule['promised_cdeg'])}。",
        "；".join(bands) + "。",
        f"报修后 {rule['measure_within_hours']} 小时内上门测温，10:00 至 14:00 不测，双方签字有效；"
        "也可按室温记录判定。开窗期间不计。",
    ]


def _c(cdeg: int) -> str:
    return f"{plain(exact(Decimal(cdeg).scaleb(-2)))} ℃"


@dataclass(frozen=True, slots=True)
class Refund:
    """What goes back, with a sentence a band of temperature."""

    refund_fen: int
    sentences: list[str]


def refund(days: Sequence[DayFinding], area_dm2: int, area_price: str, season_days: int) -> Refund:
    """A day's standard fee is area x price / season days; a line a ratio, each rounded once."""
    area, price = exact(Decimal(area_dm2).scaleb(-2)), exact(Decimal(area_price))
    total, said = 0, []
    for ratio in sorted({d.ratio for d in days if d.ratio}, reverse=True):
        count = sum(d.ratio == ratio for d in days)
        fen = fen_of(area * price * exact(ratio) * count / season_days)
        total += fen
        percent = f"{plain(exact(ratio) * 100)}%"
        said.append(
            f"{count} 天按日标准热费的 {percent} 退费：{plain(area)} 平方米 × "
            f"{plain(price)} 元/平方米 ÷ {season_days} 天 × {percent} × {count} 天"
            f" = {yuan_str(fen)} 元"
        )
    undecided = [d for d in days if d.cdeg is None]
    if undecided:
        listed = "、".join(f"{d.day}（{d.why}）" for d in undecided[:10])
        said.append(f"{len(undecided)} 天未能判定，不计退费：{listed}")
    return Refund(total, said)
