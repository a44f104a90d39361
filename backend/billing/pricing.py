"""A tariff version and what was used -> the lines of a bill.  Pure.

A tariff is data: `kind` names one of PRICERS, `params` are decimal strings.  A new kind of price
is a new entry here, nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from backend.base.energy import gj_from_wh, kwh_from_wh
from backend.base.exact import exact, plain, to_decimal
from backend.base.money import fen_of, yuan_str
from backend.billing import rules
from backend.billing.lines import Line

Params = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Facts:
    """What a bill is made from: area in 0.01 m2, usage in Wh or litres, the period's days."""

    area_dm2: int
    used: int | None
    days: int
    suspended: bool = False

    @property
    def area_m2(self) -> Decimal:
        """The floor area in m2."""
        return Decimal(self.area_dm2).scaleb(-2)


def price(kind: str, params: Params, facts: Facts) -> list[Line]:
    """The lines of a bill; ValueError for an unknown kind or a usage that is not known."""
    if kind not in PRICERS:
        raise ValueError(f"unknown kind of tariff {kind!r}")
    return PRICERS[kind](params, facts)


def _known(facts: Facts) -> int:
    if facts.used is None:
        raise ValueError("the usage is not known")
    return facts.used


def _two_part(params: Params, facts: Facts) -> list[Line]:
    """Equation (11), the basic fee by days of the season, the heat in unrounded GJ."""
    basic = _by_days("basic", "基本热费", facts, params["k1"], params["season_days"])
    if facts.suspended:
        return [basic]
    heat_gj = gj_from_wh(_known(facts))
    return [basic, *rules.flat_price("metered", "计量热费", heat_gj, "吉焦", Decimal(params["k2"]))]


def _area(params: Params, facts: Facts) -> list[Line]:
    return [_by_days("area", "面积热费", facts, params["price"], params["season_days"])]


def _by_days(code: str, title: str, facts: Facts, season_price: str, season_days: int) -> Line:
    """area x season price x days / season days, rounded once."""
    area, per_m2 = exact(facts.area_m2), exact(Decimal(season_price))
    product = area * per_m2 * facts.days / int(season_days)
    amount_fen = fen_of(product)
    sentence = (
        f"{plain(area)} 平方米 × {plain(per_m2)} 元/平方米 × {facts.days}/{season_days} 天"
        f" = {yuan_str(amount_fen)} 元"
    )
    return Line(
        code,
        title,
        to_decimal(area),
        "平方米",
        to_decimal(per_m2),
        amount_fen,
        {"days": facts.days, "season_days": int(season_days), "explain_zh": sentence},
    )


def _flat(params: Params, facts: Facts) -> list[Line]:
    quantity, unit = _quantity(params, facts)
    title = str(params.get("title", "用量费"))
    return rules.flat_price("usage", title, quantity, unit, Decimal(params["price"]))


def _components(params: Params, facts: Facts) -> list[Line]:
    quantity, unit = _quantity(params, facts)
    prices = {code: Decimal(text) for code, text in params["prices"].items()}
    return rules.components(quantity, unit, prices, params.get("titles", {}))


def _quantity(params: Params, facts: Facts) -> tuple[Decimal, str]:
    """Litres are priced by the m3, Wh by the kWh, without rounding."""
    if params["unit"] == "m3":
        return Decimal(_known(facts)).scaleb(-3), "立方米"
    if params["unit"] == "kWh":
        return kwh_from_wh(_known(facts)), "千瓦时"
    raise ValueError(f"unknown unit {params['unit']!r} in a tariff")


PRICERS: dict[str, Callable[[Params, Facts], list[Line]]] = {
    "two_part": _two_part,
    "area": _area,
    "flat": _flat,
    "components": _components,
}
