"""One building and period ready to be measured: its households, days, options and constants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.allocation import inputs
from backend.archive.models import Household, HouseholdFactor, HouseholdThermal
from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem

# A method's constant -> the name it is kept under; gamma and B have a table of their own.
FACTORS = {
    "alpha": "alpha",
    "flow_fraction": "flow_fraction",
    "room_constant": "room_constant",
    "a": "radiator_a",
    "Fn": "radiator_m2",
    "beta": "beta",
}
THERMAL = ("gamma", "B")
NAMES_ZH = {
    "gamma": "γ",
    "B": "指数 B",
    "flow_fraction": "流量比例",
    "room_constant": "房间常数",
    "a": "散热器系数 a′",
    "Fn": "散热器面积",
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is to be shared out how; `unit_nos` only names households to people."""

    building_id: int
    method: str
    period_from: date
    period_to: date
    households: Sequence[inputs.Household]
    options: Mapping[str, Any]
    rules: inputs.Rules
    unit_nos: Mapping[int, str]

    @property
    def days(self) -> list[date]:
        """Every day of the period."""
        return [self.period_from + timedelta(n) for n in range(self.length)]

    @property
    def length(self) -> int:
        """How many days the period has."""
        return (self.period_to - self.period_from).days

    @property
    def seconds(self) -> float:
        """The period's length."""
        return (day_start(self.period_to) - day_start(self.period_from)).total_seconds()

    @property
    def taking_part(self) -> list[inputs.Household]:
        """Those with some active time in the period."""
        return [h for h in self.households if not h.suspended and self.window(h) is not None]

    def window(self, household: inputs.Household) -> tuple[datetime, datetime] | None:
        """The part of the period a household takes part in; None where there is none."""
        begin = max(household.active_from_s, 0.0)
        end = min(household.active_to_s, self.seconds)
        if end <= begin:
            return None
        start = day_start(self.period_from)
        return start + timedelta(seconds=begin), start + timedelta(seconds=end)

    def names(self, ids: Sequence[inputs.Id]) -> str:
        """'101、102 等 7 户' for sentences."""
        shown = "、".join(self.unit_nos.get(int(key), str(key)) for key in ids[:5])
        return shown if len(ids) <= 5 else f"{shown} 等 {len(ids)} 户"


def households_of(building_id: int) -> Sequence[Household]:
    """A building's households by id."""
    return db.session.scalars(
        sa.select(Household).where(Household.building_id == building_id).order_by(Household.id)
    ).all()


def as_inputs(
    homes: Sequence[Household], names: Sequence[str], period_from: date
) -> list[inputs.Household]:
    """The households as the rules take them, with the constants `names` of `period_from`.

    One suspended before the period takes no part; one suspended within it, until that day.
    """
    constants = _constants([h.id for h in homes], names, period_from)
    begin = day_start(period_from)
    return [
        inputs.Household(
            id=h.id,
            area_m2=Decimal(h.area_dm2).scaleb(-2),
            constants=constants.get(h.id, {}),
            suspended=h.suspended_from is not None and h.suspended_from <= period_from,
            active_from_s=_seconds_from(begin, h.active_from, 0.0),
            active_to_s=min(
                _seconds_from(begin, day, float("inf")) for day in (h.active_to, h.suspended_from)
            ),
        )
        for h in homes
    ]


def _seconds_from(begin: datetime, day: date | None, otherwise: float) -> float:
    return otherwise if day is None else max((day_start(day) - begin).total_seconds(), 0.0)


def _constants(
    household_ids: Sequence[int], names: Sequence[str], day: date
) -> dict[int, dict[str, object]]:
    found: dict[int, dict[str, object]] = {}
    if any(name in THERMAL for name in names):
        for row in _thermal(household_ids, day):
            known = {"gamma": row.gamma, "B": row.exponent}
            found.setdefault(row.household_id, {}).update(
                {name: known[name] for name in names if name in known}
            )
    kept = {FACTORS[name]: name for name in names if name in FACTORS}
    if kept:
        for row in _factors(household_ids, list(kept), day):
            value = (row.value, 1, 1, 1) if row.name == "beta" else row.value
            found.setdefault(row.household_id, {})[kept[row.name]] = value
    return found


def _thermal(household_ids: Sequence[int], day: date) -> Sequence[Any]:
    """gamma and B of each flat as they stood on a day."""
    rows = sa.select(
        HouseholdThermal.household_id, HouseholdThermal.gamma, HouseholdThermal.exponent
    )
    return db.session.execute(
        rows.where(
            HouseholdThermal.household_id.in_(household_ids),
            HouseholdThermal.effective_from <= day,
        )
        .ext(pg.distinct_on(HouseholdThermal.household_id))
        .order_by(HouseholdThermal.household_id, HouseholdThermal.effective_from.desc())
    ).all()


def _factors(household_ids: Sequence[int], names: Sequence[str], day: date) -> Sequence[Any]:
    rows = sa.select(HouseholdFactor.household_id, HouseholdFactor.name, HouseholdFactor.value)
    key = (HouseholdFactor.household_id, HouseholdFactor.name)
    return db.session.execute(
        rows.where(
            HouseholdFactor.household_id.in_(household_ids),
            HouseholdFactor.name.in_(names),
            HouseholdFactor.effective_from <= day,
        )
        .ext(pg.distinct_on(*key))
        .order_by(*key, HouseholdFactor.effective_from.desc())
    ).all()


def check(case: Case, needed: Sequence[str]) -> None:
    """Refuse, in words a person can act on, what the rules could only refuse in theirs."""
    if not case.households:
        raise Problem("nobody_active", "该楼栋还没有登记住户，请先在档案中登记。")
    here = case.taking_part
    if not here:
        raise Problem("nobody_active")
    for name in needed:
        lacking = [h.id for h in here if h.constants.get(name) is None]
        if lacking:
            raise Problem(
                "parameters_missing",
                f"住户 {case.names(lacking)} 缺少{NAMES_ZH.get(name, name)}，"
                "请先做参数辨识或在档案中录入。",
            )
