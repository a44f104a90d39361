"""A tariff version and what was used -> the lines of a bill.  Pure.

A tariff is data: `kind` names one of PRICERS, `params` are decimal strings.  A new kind of price
is a new entry here (and in tariff_params, which says what its params must hold), nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from backend.base.energy import gj_from_wh, kwh_from_wh
from backend.base.exact import exact, plain, to_decimal
from backend.base.money import fen_of, yuan_str
from backend.billing import rules, season_cap
from backend.billing.lines import Line
from backend.billing.season_cap import NOTHING_YET, SoFar
from backend.billing.tiered import Tier, TierTariff, tiered_lines
from backend.billing.tou import Interval, TouRule, minute_of, tou_lines

Params = Mapping[str, Any]
UNITS_ZH = {"m3": "立方米", "kWh": "千瓦时", "GJ": "吉焦"}


@dataclass(frozen=True, slots=True)
class YearPart:
    """The part of a bill's usage in one calendar year, on top of `prior` used already."""

    year: int
    used: int
    prior: int
    months: int = 12


@dataclass(frozen=True, slots=True)
class Facts:
    """What a bill is made from: area in 0.01 m2, usage in Wh or litres, the period's days.

    `years` cuts the usage at New Year for tiers (none: all of it in one year, nothing prior);
    `intervals` cuts it by the clock for time of use; `so_far` is the season before it, for a cap.
    """

    area_dm2: int
    used: int | None
    days: int
    suspended: bool = False
    persons: int | None = None
    years: Sequence[YearPart] = ()
    intervals: Sequence[Interval] | None = None
    so_far: SoFar = NOTHING_YET

    @property
    def area_m2(self) -> Decimal:
        """The floor area in m2."""
        return Decimal(self.area_dm2).scaleb(-2)

    @property
    def year_parts(self) -> Sequence[YearPart]:
        """The usage by year; one part where it was not cut."""
        return self.years or (YearPart(0, _known(self), 0),)


def price(kind: str, params: Params, facts: Facts) -> list[Line]:
    """The lines of a bill; ValueError for an unknown kind or a usage that is not known."""
    if kind not in PRICERS:
        raise ValueError(f"unknown kind of tariff {kind!r}")
    return PRICERS[kind](params, facts)


def _known(facts: Facts) -> int:
    if facts.used is None:
        raise ValueError("用量未知（期初或期末没有可用读数），请补抄或补录后再出账")
    return facts.used


def _two_part(params: Params, facts: Facts) -> list[Line]:
    """Equation (11), the basic fee by days of the season, the heat in unrounded GJ."""
    if facts.suspended and "suspension_ratio" in params:
        return _suspended(params, facts)
    basic = _by_days("basic", "基本热费", facts, params["k1"], params["season_days"])
    if facts.suspended:
        return [basic]
    heat_gj = gj_from_wh(_known(facts))
    metered = rules.flat_price("metered", "计量热费", heat_gj, "吉焦", Decimal(params["k2"]))
    if "monthly_cap" not in params:
        return [basic, *metered]
    return season_cap.capped([basic, *metered], params, facts.area_m2, facts.days, facts.so_far)


def _area(params: Params, facts: Facts) -> list[Line]:
    if facts.suspended and "suspension_ratio" in params:
        return _suspended(params, facts)
    return [_by_days("area", "面积热费", facts, area_price(params), params["season_days"])]


def _suspended(params: Params, facts: Facts) -> list[Line]:
    """停热: a configurable share of the area fee."""
    price, days = area_price(params), params["season_days"]
    return [_by_days("suspension", "停热基本费", facts, price, days, params["suspension_ratio"])]


def area_price(params: Params) -> str:
    """Yuan/m2 and season of the fee by area: an area tariff's price, beside two parts' own."""
    return str(params["area_price"] if "area_price" in params else params["price"])


def _by_days(
    code: str, title: str, facts: Facts, season_price: str, season_days: int, ratio: str = "1"
) -> Line:
    """area x season price x ratio x days / season days, rounded once."""
    area, per_m2, part = exact(facts.area_m2), exact(Decimal(season_price)), exact(Decimal(ratio))
    amount_fen = fen_of(area * per_m2 * part * facts.days / int(season_days))
    times = "" if part == 1 else f" × {plain(part * 100)}%"
    sentence = (
        f"{plain(area)} 平方米 × {plain(per_m2)} 元/平方米{times} × {facts.days}/{season_days} 天"
        f" = {yuan_str(amount_fen)} 元"
    )
    detail = {"days": facts.days, "season_days": int(season_days), "explain_zh": sentence}
    if part != 1:
        detail["ratio"] = plain(part)
    return Line(code, title, to_decimal(area), "平方米", to_decimal(per_m2), amount_fen, detail)


def _flat(params: Params, facts: Facts) -> list[Line]:
    quantity, unit = _quantity(params, _known(facts))
    title = str(params.get("title", "用量费"))
    return rules.flat_price("usage", title, quantity, unit, Decimal(params["price"]))


def _components(params: Params, facts: Facts) -> list[Line]:
    quantity, unit = _quantity(params, _known(facts))
    return rules.components(quantity, unit, _prices(params), params.get("titles", {}))


def _tiered(params: Params, facts: Facts) -> list[Line]:
    """Tiers by year, and further components (resource fee, sewage) on all of the usage."""
    lines = _tier_lines(params, facts, str(params.get("title", "阶梯用量")))
    if not lines:  # nothing used is a line, too: the bill says so
        quantity, unit = _quantity(params, _known(facts))
        first = tier_tariff(params).tiers[0].price
        lines = rules.flat_price("tier_1", "第一档", quantity, unit, first)
    return [*lines, *_components({"prices": {}, **params}, facts)]


def _tier_lines(params: Params, facts: Facts, title: str) -> list[Line]:
    tariff, lines = tier_tariff(params), []
    parts = facts.year_parts
    for part in parts:
        quantity, unit = _quantity(params, part.used)
        lines += tiered_lines(
            tariff,
            quantity,
            unit,
            prior=_quantity(params, part.prior)[0],
            persons=facts.persons,
            months=part.months,
            title_zh=f"{part.year}年{title}" if len(parts) > 1 else title,
        )
    return lines


def _tou(params: Params, facts: Facts) -> list[Line]:
    if facts.intervals is None:
        raise ValueError("分时电价需要分时段读数，本期没有，请补抄冻结数据后再出账")
    return tou_lines(tou_schedule(params), _prices(params), facts.intervals)


def _tou_tiered(params: Params, facts: Facts) -> list[Line]:
    """Time of use, and the year's tiers as a surcharge on all of it."""
    return [*_tou(params, facts), *_tier_lines({"unit": "kWh", **params}, facts, "阶梯加价")]


def tier_tariff(params: Params) -> TierTariff:
    """The tiers of a tariff's params; ValueError where they are not tiers."""
    tiers = [
        Tier(
            None if tier.get("upto") is None else Decimal(tier["upto"]),
            Decimal(tier["price"]),
            Decimal(tier.get("per_extra_person", "0")),
        )
        for tier in params["tiers"]
    ]
    return TierTariff(tiers, int(params.get("base_persons", 0)))


def tou_schedule(params: Params) -> list[TouRule]:
    """The schedule of a tariff's params; ValueError for what is no time of day."""
    return [
        TouRule(
            rule["period"],
            minute_of(rule["from"]),
            minute_of(rule["to"]),
            frozenset(rule.get("months", ())),
        )
        for rule in params["schedule"]
    ]


def _prices(params: Params) -> dict[str, Decimal]:
    return {code: Decimal(text) for code, text in params["prices"].items()}


def _quantity(params: Params, amount: int) -> tuple[Decimal, str]:
    """Litres are priced by the m3, Wh by the kWh or GJ, without rounding."""
    unit = params["unit"]
    if unit not in UNITS_ZH:
        raise ValueError(f"unknown unit {unit!r} in a tariff")
    if unit == "GJ":
        return gj_from_wh(amount), UNITS_ZH[unit]
    return (kwh_from_wh(amount) if unit == "kWh" else Decimal(amount).scaleb(-3)), UNITS_ZH[unit]


def per_unit(params: Params) -> Fraction:
    """How many Wh or litres one priced unit holds."""
    return Fraction(10**9, 3600) if params.get("unit", "GJ") == "GJ" else Fraction(1000)


PRICERS: dict[str, Callable[[Params, Facts], list[Line]]] = {
    "two_part": _two_part,
    "area": _area,
    "flat": _flat,
    "components": _components,
    "tiered": _tiered,
    "tou": _tou,
    "tou_tiered": _tou_tiered,
}
