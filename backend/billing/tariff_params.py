"""What a tariff's params must hold: every fault of a draft, each with its field."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from backend.billing import pricing, season_cap
from backend.billing.tou import DAY_MIN, Interval

KINDS = {
    "two_part": "两部制热价",
    "area": "按面积热价",
    "flat": "单一价",
    "components": "多项费用（水费、水资源税、污水处理费等）",
    "tiered": "年度阶梯价",
    "tou": "峰谷分时电价",
    "tou_tiered": "阶梯与分时并用",
}
# The utility decides the units a price may be given by.
UNITS = {"heat": ("GJ", "kWh"), "water": ("m3",), "gas": ("m3",), "electricity": ("kWh",)}
CLASSES = ("residential", "commercial", "public", "industrial")
MAX_ITEMS = 48


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong, at a field."""

    field: str
    sentence: str


def parameters(kind: str) -> set[str]:
    """Every parameter a kind of price must or may have."""
    return {*_NEEDS[kind], *_MAY[kind]}


def faults(utility: str, kind: str, params: Mapping[str, Any]) -> list[Fault]:
    """All that keeps `params` from being a price of this kind and utility; [] for a good one."""
    if kind not in KINDS:
        return [Fault("kind", f"没有“{kind}”这种价格，可用：{'、'.join(KINDS)}。")]
    needs, allowed = _NEEDS[kind], parameters(kind)
    found = [Fault(name, f"缺少 {name}。") for name in needs if name not in params]
    found += [Fault(name, f"{name} 不是这种价格的参数。") for name in params if name not in allowed]
    for name, value in params.items():
        if name in allowed and (sentence := _CHECKS[name](value)):
            found.append(Fault(name, sentence))
    if "unit" in allowed and params.get("unit") not in (None, *UNITS[utility]):
        found.append(Fault("unit", f"计价单位应为 {'、'.join(UNITS[utility])}。"))
    return found or _whole(kind, params)


def _whole(kind: str, params: Mapping[str, Any]) -> list[Fault]:
    """What only shows when the price is used: tiers that do not rise, hours without a price."""
    if (
        "area_price" not in params
        and kind == "two_part"
        and {"cap_ratio", "suspension_ratio"} & {*params}
    ):
        return [Fault("area_price", "封顶或停热收费需要写明面积热价 area_price。")]
    if "monthly_cap" in params and "cap_ratio" not in params:
        return [Fault("cap_ratio", "按月封顶需要写明封顶比例 cap_ratio。")]
    try:
        if "tiers" in params:
            pricing.tier_tariff(params)
        if "schedule" in params:
            _whole_year(params)
    except ValueError as error:
        field = "tiers" if "tiers" in params and kind == "tiered" else "schedule"
        return [Fault(field, f"价格不完整：{error}")]
    return []


def _whole_year(params: Mapping[str, Any]) -> None:
    """Every hour of every month has a period, and every period a price."""
    schedule = pricing.tou_schedule(params)
    for rule in schedule:
        if rule.period not in params["prices"]:
            raise ValueError(f"时段 {rule.period} 没有价格")
    for month in range(1, 13):
        facts = pricing.Facts(0, 0, 1, intervals=[Interval(datetime(2027, month, 1), DAY_MIN, 1)])
        pricing.price("tou", params, facts)


def _number(value: object) -> str | None:
    if not isinstance(value, str):
        return '须为文字形式的数，例如 "2.07"。'
    try:
        number = Decimal(value)
    except InvalidOperation:
        return f"“{value[:20]}”不是数。"
    if not number.is_finite() or not 0 <= number < 10**6 or number.as_tuple().exponent < -8:  # type: ignore[operator]
        return "须为不小于 0、最多 8 位小数的数。"
    return None


def _ratio(value: object) -> str | None:
    return _number(value) or (None if Decimal(str(value)) <= 1 else "须在 0 到 1 之间。")


def _days(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= 366
    return None if good else "采暖季天数须为 1 到 366 的整数。"


def _monthly_cap(value: object) -> str | None:
    good = value in season_cap.KINDS
    return None if good else f"按月封顶须为 {' 或 '.join(season_cap.KINDS)}。"


def _persons(value: object) -> str | None:
    good = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= 50
    return None if good else "人数须为 0 到 50 的整数。"


def _text(value: object) -> str | None:
    return None if isinstance(value, str) and 0 < len(value) <= 30 else "请填写 1 到 30 个字。"


def _named(check: Callable[[object], str | None]) -> Callable[[object], str | None]:
    def each(value: object) -> str | None:
        if not isinstance(value, dict) or len(value) > MAX_ITEMS:
            return "须为名称与值的对照表。"
        return next((f"{k}：{bad}" for k, v in value.items() if (bad := check(v))), None)

    return each


def _tiers(value: object) -> str | None:
    if not isinstance(value, list) or not 1 <= len(value) <= 10:
        return "须为 1 到 10 档。"
    for index, tier in enumerate(value, 1):
        if not isinstance(tier, dict) or set(tier) - {"upto", "price", "per_extra_person"}:
            return f"第 {index} 档须写明 upto 和 price。"
        for name in ("upto", "price", "per_extra_person"):
            missing = tier.get(name) is None
            bad = (name == "price" and "缺少价格。") if missing else _number(tier[name])
            if bad:
                return f"第 {index} 档 {name}：{bad}"
    return None


def _schedule(value: object) -> str | None:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_ITEMS:
        return f"须为 1 到 {MAX_ITEMS} 个时段。"
    for index, rule in enumerate(value, 1):
        if not isinstance(rule, dict) or set(rule) - {"period", "from", "to", "months"}:
            return f"第 {index} 个时段须写明 period、from、to。"
        if not all(isinstance(rule.get(name), str) for name in ("period", "from", "to")):
            return f"第 {index} 个时段须写明 period、from、to。"
        months = rule.get("months", [])
        if not isinstance(months, list) or not all(m in range(1, 13) for m in months):
            return f"第 {index} 个时段的月份须为 1 到 12。"
    return None


_CHECKS: dict[str, Callable[[object], str | None]] = {
    **dict.fromkeys(("k1", "k2", "price", "area_price"), _number),
    **dict.fromkeys(("cap_ratio", "suspension_ratio"), _ratio),
    "season_days": _days,
    "monthly_cap": _monthly_cap,
    "base_persons": _persons,
    "title": _text,
    "unit": _text,
    "prices": _named(_number),
    "titles": _named(_text),
    "tiers": _tiers,
    "schedule": _schedule,
}
_NEEDS: dict[str, tuple[str, ...]] = {
    "two_part": ("k1", "k2", "season_days"),
    "area": ("price", "season_days"),
    "flat": ("unit", "price"),
    "components": ("unit", "prices"),
    "tiered": ("unit", "tiers"),
    "tou": ("schedule", "prices"),
    "tou_tiered": ("schedule", "prices", "tiers"),
}
_MAY: dict[str, tuple[str, ...]] = {
    "two_part": ("area_price", "cap_ratio", "suspension_ratio", "monthly_cap"),
    "area": ("suspension_ratio",),
    "flat": ("title",),
    "components": ("titles",),
    "tiered": ("base_persons", "title", "prices", "titles"),
    "tou": (),
    "tou_tiered": ("base_persons",),
}
