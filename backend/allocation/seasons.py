"""Closed days instead of samples: condensing a day, and a season's weights read from nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.allocation import condensed, feeds, inputs
from backend.allocation.case import Case, households_of
from backend.allocation.feeds import Measurements
from backend.allocation.series import series_method
from backend.base.db import db, straight
from backend.metering import series
from backend.metering.models import ClosedDay, CondensedDay

NAMES = ("tg", "th", "tn")
DAY_S = 86_400

# array_send's form of float8[8]: a head of 20 bytes, then length and value of each element.
_PACKED_NODES = np.dtype([("head", "V20"), ("cells", [("length", ">i4"), ("value", ">f8")], 8)])

# One row a household, whatever the number of days; binary, because parsing text costs more.
_SEASON = """
SELECT household_id, string_agg(array_send(nodes), ''::bytea ORDER BY day) AS nodes,
       string_agg(int4send(covered_s), ''::bytea ORDER BY day) AS covered,
       string_agg(int8send(room_cdeg_s), ''::bytea ORDER BY day) AS room,
       string_agg(int4send((outcome->>'room_s')::int), ''::bytea ORDER BY day) AS room_s,
       string_agg(int4send(day - %(first)s::date), ''::bytea ORDER BY day) AS days
  FROM condensed_day
 WHERE household_id = ANY(%(ids)s) AND day >= %(first)s AND day < %(end)s
 GROUP BY household_id
"""

_RAGGED = sa.select(CondensedDay.household_id, CondensedDay.day).where(
    CondensedDay.outcome["error"].as_float() > condensed.MAX_ERROR
)


class Season:
    """A building's condensed days [flats x days]: `nodes` (x 8), `covered_s`, `room_c`.

    Days not condensed have `known` False; `room_c` is NaN where the room was not measured.
    """

    def __init__(self, flats: int, days: int) -> None:
        self.nodes = np.zeros((flats, days, condensed.NODES))
        self.covered_s = np.zeros((flats, days))
        self.room_c = np.full((flats, days), np.nan)
        self.known = np.zeros((flats, days), dtype=bool)

    def put(self, index: int, row: Any) -> None:
        """One household's row of _SEASON."""
        days = np.frombuffer(row[5], dtype=">i4").astype(int)
        nodes = np.frombuffer(row[1], dtype=_PACKED_NODES)["cells"]["value"]
        self.nodes[index, days] = nodes
        self.covered_s[index, days] = np.frombuffer(row[2], dtype=">i4")
        room_s = np.frombuffer(row[4], dtype=">i4").astype(float)
        room = np.frombuffer(row[3], dtype=">i8") / 100.0
        self.room_c[index, days] = np.divide(
            room, room_s, out=np.full(len(days), np.nan), where=room_s > 0
        )
        self.known[index, days] = True


def load_season(household_ids: Sequence[int], first: date, end: date) -> Season:
    """The condensed days of [first, end) in one statement."""
    season = Season(len(household_ids), (end - first).days)
    index_of = {household_id: index for index, household_id in enumerate(household_ids)}
    with straight() as driver, driver.cursor(binary=True) as cursor:
        cursor.execute(_SEASON, {"ids": list(household_ids), "first": first, "end": end})
        for row in cursor:
            season.put(index_of[row[0]], row)
    return season


def condense(building_id: int, day: date) -> int:
    """Condense a closed day's samples flat by flat; again gives the same rows.

    Returns the number of flats whose day is complete.
    """
    rows = condensed_rows(building_id, day)
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
    return sum(row["covered_s"] == DAY_S for row in rows)


def condensed_rows(building_id: int, day: date) -> list[dict[str, Any]]:
    """A day's samples condensed, a row a flat, not stored."""
    households = [h.id for h in households_of(building_id)]
    found = feeds.load_samples(building_id, households, NAMES, [day])
    return [
        _row(household_id, day, *(found[name][index] for name in NAMES))
        for index, household_id in enumerate(households)
    ]


def is_condensed_as(held: CondensedDay, row: Mapping[str, Any]) -> bool:
    """Whether a stored day is what its samples condense to (to the 12th digit)."""
    same = np.allclose(held.nodes, row["nodes"], rtol=1e-12, atol=0.0)
    return bool(same) and all(
        getattr(held, name) == row[name] for name in ("covered_s", "room_cdeg_s")
    )


def _row(household_id: int, day: date, *samples: feeds.Slots) -> dict[str, Any]:
    one = condensed.condense_day(samples[0], samples[1], samples[2], series.INTERVAL_S)
    return {
        "household_id": household_id,
        "day": day,
        "nodes": one.nodes.tolist(),
        "covered_s": int(one.covered_s),
        "room_cdeg_s": round(one.room_k_s * 100),
        "outcome": {"room_s": int(one.room_s), "error": one.error},
    }


def condensed_or_sampled(case: Case) -> Measurements:
    """A method on tp - tn: from condensed days where every one is there, else from samples."""
    if not _can_be_condensed(case):
        return feeds.sampled(case)
    ids = [int(h.id) for h in case.households]
    season = load_season(ids, case.period_from, case.period_to)
    spans = {h.id: _day_range(case, h) for h in case.taking_part}
    whole = all(
        season.known[index, slice(*spans[key])].all()
        for index, key in enumerate(ids)
        if key in spans
    )
    if not whole:
        return feeds.sampled(case)
    ragged = _ragged(case, ids, season)
    method = series_method(case.method)
    days: dict[inputs.Id, condensed.CondensedDays] = {
        key: condensed.CondensedDays(
            season.nodes[index, slice(*spans[key])],
            season.covered_s[index, slice(*spans[key])],
            ragged.get(key, 0.0),
        )
        for index, key in enumerate(ids)
        if key in spans
    }
    measured = condensed.condensed_measures(days, case.households, case.rules, case.seconds, method)
    basis: dict[inputs.Id, dict[str, Any]] = {
        key: {"days": len(one.covered_s), "sha256": feeds.digest(one.nodes, one.covered_s)}
        for key, one in days.items()
    }
    sources = {"read": "condensed", "sha256": feeds.digest(season.nodes, season.covered_s)}
    return Measurements(measured, sources, basis)


def _can_be_condensed(case: Case) -> bool:
    """Nodes serve where nothing waits to be condensed anew and every B lies within them."""
    if case.rules.gap_rule == "building_profile":
        return False
    if any(
        not condensed.LOW_B <= float(str(h.constants.get("B", 0))) <= condensed.HIGH_B
        for h in case.taking_part
    ):
        return False
    waiting = sa.exists().where(
        ClosedDay.building_id == case.building_id,
        ClosedDay.day >= case.period_from,
        ClosedDay.day < case.period_to,
        ClosedDay.reopened_at.is_not(None),
    )
    return not db.session.scalar(sa.select(waiting))


def _day_range(case: Case, household: inputs.Household) -> tuple[int, int]:
    """The days of the period a household takes part in, as indices [from, to)."""
    begin, end = max(household.active_from_s, 0.0), min(household.active_to_s, case.seconds)
    return int(begin // DAY_S), int(end // DAY_S)


def _ragged(case: Case, ids: Sequence[int], season: Season) -> dict[inputs.Id, float]:
    """S of the few days too ragged for nodes, from their samples; their nodes become 0."""
    rows = db.session.execute(
        _RAGGED.where(
            CondensedDay.household_id.in_(ids),
            CondensedDay.day >= case.period_from,
            CondensedDay.day < case.period_to,
        ).order_by(CondensedDay.day, CondensedDay.household_id)
    ).all()
    if not rows:
        return {}
    days = sorted({row.day for row in rows})
    samples = feeds.load_samples(case.building_id, ids, NAMES, days)
    exponents = {h.id: h.constants.get("B") for h in case.households}
    part_of = {h.id: _day_range(case, h) for h in case.taking_part}
    sums: dict[inputs.Id, float] = {}
    for household_id, day in rows:
        number = (day - case.period_from).days
        first, end = part_of.get(household_id, (0, 0))
        if not first <= number < end:
            continue
        index, begin = ids.index(household_id), days.index(day) * series.SLOTS
        one_day = {n: v[index, begin : begin + series.SLOTS] for n, v in samples.items()}
        exponent = float(str(exponents[household_id]))
        sums[household_id] = sums.get(household_id, 0.0) + _direct(one_day, exponent)
        season.nodes[index, number] = 0.0
    return sums


def _direct(samples: Mapping[str, feeds.Slots], exponent: float) -> float:
    tg, th, tn = (feeds.celsius(samples[name]) for name in NAMES)
    excess = np.nan_to_num((tg + th) / 2 - tn, nan=0.0)
    return float((np.maximum(excess, 0.0) ** exponent).sum()) * series.INTERVAL_S
