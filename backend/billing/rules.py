"""What a bill comes to: heat by two parts or by area, its cap and settlement, flat prices.

Pure functions from exact numbers to lines; each line is rounded half-up, then they are summed.
Further subjects have files of their own: tiered, tou, late_fee, prepaid, splits.
"""

from collections.abc import Mapping, Sequence

from backend.base.exact import Number, exact, plain
from backend.base.money import fen_of, yuan_str
from backend.billing.lines import Line, adjusted, explain_zh, priced, total_fen

__all__ = [
    "Line",
    "area_heat",
    "cap_lines",
    "components",
    "explain_zh",
    "flat_price",
    "settlement_fen",
    "suspended_heat",
    "total_fen",
    "two_part_heat",
]

AREA_UNIT, HEAT_UNIT = "平方米", "吉焦"


def two_part_heat(area_m2: Number, heat_gj: Number, k1: Number, k2: Number) -> list[Line]:
    """Equation (11): basic fee k1 yuan/m2 x area + metered fee k2 yuan/GJ x heat (unrounded GJ).

    Raises ValueError for a negative area, heat or price.
    """
    _not_negative(area=area_m2, heat=heat_gj, k1=k1, k2=k2)
    return [
        priced("basic", "基本热费", area_m2, AREA_UNIT, k1),
        priced("metered", "计量热费", heat_gj, HEAT_UNIT, k2),
    ]


def area_heat(area_m2: Number, area_price: Number) -> list[Line]:
    """Heat by area: one line at `area_price` yuan/m2 for the season."""
    _not_negative(area=area_m2, area_price=area_price)
    return [priced("area", "面积热费", area_m2, AREA_UNIT, area_price)]


def suspended_heat(area_m2: Number, area_price: Number, ratio: Number) -> list[Line]:
    """停热: a household off heat pays `ratio` of the area fee, rounded once."""
    _not_negative(area=area_m2, area_price=area_price, ratio=ratio)
    line = priced("suspension", "停热基本费", area_m2, AREA_UNIT, area_price)
    amount_fen = fen_of(exact(area_m2) * exact(area_price) * exact(ratio))
    detail = {"ratio": plain(exact(ratio))}
    return [
        Line(line.code, line.title_zh, line.quantity, line.unit, line.price, amount_fen, detail)
    ]


def cap_fen(area_m2: Number, area_price: Number, cap_ratio: Number) -> int:
    """The most a metered household pays: `cap_ratio` of its area fee."""
    _not_negative(area=area_m2, area_price=area_price, cap_ratio=cap_ratio)
    return fen_of(exact(area_m2) * exact(area_price) * exact(cap_ratio))


def cap_lines(
    lines: Sequence[Line], area_m2: Number, area_price: Number, cap_ratio: Number = 1
) -> list[Line]:
    """`lines`, with a line of relief where they come to more than the cap."""
    fee_fen, most_fen = total_fen(lines), cap_fen(area_m2, area_price, cap_ratio)
    if fee_fen <= most_fen:
        return list(lines)
    sentence = (
        f"计量收费 {yuan_str(fee_fen)} 元高于封顶额 {yuan_str(most_fen)} 元"
        f"（{plain(exact(area_m2))} 平方米 × {plain(exact(area_price))} 元/平方米"
        f" × {plain(exact(cap_ratio) * 100)}%），按封顶额收取，"
        f"减免 {yuan_str(fee_fen - most_fen)} 元"
    )
    detail = {"fee_fen": fee_fen, "cap_fen": most_fen, "explain_zh": sentence}
    return [*lines, adjusted("cap", "封顶减免", most_fen - fee_fen, **detail)]


def settlement_fen(lines: Sequence[Line], prepaid_fen: int) -> int:
    """Season settlement: above 0 is still to be paid, below 0 is refunded."""
    return total_fen(lines) - prepaid_fen


def flat_price(code: str, title_zh: str, quantity: Number, unit: str, price: Number) -> list[Line]:
    """One price for every unit (gas, plain water, heat by the GJ)."""
    _not_negative(price=price)
    return [priced(code, title_zh, quantity, unit, price)]


def components(
    usage: Number, unit: str, prices: Mapping[str, Number], titles_zh: Mapping[str, str]
) -> list[Line]:
    """The same usage under several prices: water, resource fee, sewage; a line each."""
    _not_negative(**{f"price of {code}": price for code, price in prices.items()})
    return [
        priced(code, titles_zh.get(code, code), usage, unit, price)
        for code, price in prices.items()
    ]


def _not_negative(**values: Number) -> None:
    for name, value in values.items():
        if exact(value) < 0:
            raise ValueError(f"{name} must not be negative (it is {value})")
