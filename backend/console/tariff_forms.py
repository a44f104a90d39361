"""How each kind of price is typed: fields for its params, both ways, and an example of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

from backend.base.exact import exact
from backend.billing import pricing, tariff_params
from backend.billing.lines import explain_zh, total_fen
from backend.billing.tou import DAY_MIN, TITLES_ZH, Interval
from backend.console import forms
from backend.console.forms import Field, Wrong, percent_field, price_field, select_field

Params = dict[str, Any]
PERIODS = {code: title.removesuffix("电量") for code, title in TITLES_ZH.items()}
UNITS_ZH = pricing.UNITS_ZH
# What a component is called on a bill -> its code in the params and the ledger's lines.
KNOWN_CODES = {"水费": "water", "水资源税": "resource", "污水处理费": "sewage", "燃气费": "gas"}
PERIOD_DAYS = 30


def _optional(text: Callable[..., Field], *where: Any, **more: Any) -> Field:
    return text(*where, needed=False, **more)


_SEASON = forms.whole_field("season_days", "采暖季天数", 1, 366, "天")
_SUSPENSION = _optional(
    percent_field, "suspension_ratio", "停热收面积费的", hint="不填：停热只收基本热费。"
)
_PERSONS = _optional(
    forms.whole_field,
    *("base_persons", "每户含多少人", 0, 50, "人"),
    hint="超过的人数按“每多一人加”放宽各档；不填：不按人口。",
)
_TIERS = Field(
    "tiers",
    "阶梯（按年累计，最后一档上限不填）",
    control="rows",
    columns=(
        _optional(price_field, "upto", "上限（含）", ""),
        price_field("price", "单价", "元"),
        _optional(price_field, "per_extra_person", "每多一人加", ""),
    ),
)
_SURCHARGE_TIERS = Field(
    "tiers",
    "阶梯加价（按年累计，在分时电价之上加收，最后一档上限不填）",
    control="rows",
    columns=_TIERS.columns,
)


def _components_field(label: str, least: int) -> Field:
    columns = (
        Field("title", "名称", forms.text(1, 30)),
        price_field("price", "单价", "元"),
        Field("code", "代码", needed=False, hint="可不填"),
    )
    return Field("components", label, control="rows", columns=columns, least=least)


def _unit(utility: str) -> Field:
    return select_field("unit", "计价单位", {u: UNITS_ZH[u] for u in tariff_params.UNITS[utility]})


def _time(text: str) -> str:
    if not re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00", text):
        raise Wrong("时间写作 08:00，到半夜写作 24:00。")
    return text


def _months(text: str) -> list[int]:
    """'7-9、12' -> [7, 8, 9, 12]."""
    found: list[int] = []
    for part in text.replace("、", " ").replace(",", " ").replace("，", " ").split():
        match = re.fullmatch(r"([0-9]{1,2})(?:-([0-9]{1,2}))?月?", part)
        begin, end = (int(match[1]), int(match[2] or match[1])) if match else (0, 0)
        if not (1 <= begin <= 12 and 1 <= end <= 12):
            raise Wrong("月份写作 7-9、12。")
        found += range(begin, end + 1) if begin <= end else [*range(begin, 13), *range(1, end + 1)]
    return found


_SCHEDULE = Field(
    "schedule",
    "时段（从上往下，先合的先用，可跨午夜）",
    control="rows",
    columns=(
        select_field("period", "时段", PERIODS, needed=False),
        Field("from", "从", _time),
        Field("to", "到", _time),
        Field(
            "months",
            "月份",
            _months,
            lambda value: "、".join(map(str, value)),
            needed=False,
            hint="不填：全年",
        ),
    ),
)
_PRICES = tuple(
    _optional(price_field, f"price_{code}", f"{title}电价", "元/千瓦时")
    for code, title in PERIODS.items()
)


def fields(utility: str, kind: str) -> tuple[Field, ...]:
    """What is asked for a price of a kind and utility."""
    return _FIELDS[kind](utility)


_FIELDS: Mapping[str, Callable[[str], tuple[Field, ...]]] = {
    "two_part": lambda utility: (
        price_field("k1", "基本热价（每采暖季）", "元/平方米"),
        price_field("k2", "计量热价", "元/吉焦"),
        _SEASON,
        _optional(
            price_field,
            *("area_price", "面积热价（封顶、停热、室温退费用）", "元/平方米"),
            hint="有封顶或停热比例时必填。",
        ),
        _optional(percent_field, "cap_ratio", "封顶为面积热费的", hint="不填：不封顶。"),
        _optional(
            forms.select_field,
            *("monthly_cap", "每月账单也封顶"),
            {
                "season": "本季累计不超过全季封顶额",
                "by_days": "本季累计不超过已过天数的封顶额",
            },
            hint="不选：只在采暖季结算时封顶。",
        ),
        _SUSPENSION,
    ),
    "area": lambda utility: (
        price_field("price", "面积热价（每采暖季）", "元/平方米"),
        _SEASON,
        _SUSPENSION,
    ),
    "flat": lambda utility: (
        _unit(utility),
        price_field("price", "单价", "元"),
        _optional(Field, "title", "账单上的名称", forms.text(1, 30)),
    ),
    "components": lambda utility: (_unit(utility), _components_field("各项费用", 1)),
    "tiered": lambda utility: (
        _unit(utility),
        _PERSONS,
        _optional(Field, "title", "账单上的名称", forms.text(1, 30)),
        _TIERS,
        _components_field("另收（按全部用量）", 0),
    ),
    "tou": lambda utility: (_SCHEDULE, *_PRICES),
    "tou_tiered": lambda utility: (_SCHEDULE, *_PRICES, _PERSONS, _SURCHARGE_TIERS),
}


def values_of(params: Mapping[str, Any]) -> dict[str, Any]:
    """Params as the form's values."""
    values = dict(params)
    if "schedule" in params:
        prices = values.pop("prices", {})
        values |= {f"price_{code}": price for code, price in prices.items()}
    elif "prices" in params:
        titles = values.pop("titles", {})
        values["components"] = [
            {"code": code, "title": titles.get(code, code), "price": price}
            for code, price in values.pop("prices").items()
        ]
    return values


def params_of(kind: str, values: Mapping[str, Any]) -> Params:
    """The form's values as params: what was left empty is not there."""
    params: Params = {k: v for k, v in values.items() if v is not None and v != []}
    if "schedule" in params:
        params["schedule"] = [_filled(rule) for rule in params["schedule"]]
        codes = [code for code in PERIODS if f"price_{code}" in params]
        params["prices"] = {code: params.pop(f"price_{code}") for code in codes}
    if "tiers" in params:
        params["tiers"] = [{"upto": tier["upto"], **_filled(tier)} for tier in params["tiers"]]
    if "components" in params:
        rows = params.pop("components")
        codes = _codes(rows)
        params["prices"] = {c: row["price"] for c, row in zip(codes, rows, strict=True)}
        titles = {c: row["title"] for c, row in zip(codes, rows, strict=True)}
        params["titles"] = {c: title for c, title in titles.items() if title != c}
        if not params["titles"]:
            del params["titles"]
    return params


def _filled(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if value is not None}


def _codes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each component's code: as typed, else the known one of its title, else its number."""
    return [
        row.get("code") or KNOWN_CODES.get(row["title"]) or f"item_{number}"
        for number, row in enumerate(rows, 1)
    ]


def is_typed(utility: str, kind: str, params: Mapping[str, Any]) -> bool:
    """Whether the form can hold these params without losing anything of them."""
    if kind not in _FIELDS:
        return False
    asked, values = fields(utility, kind), values_of(params)
    kept = {one.name: values.get(one.name) for one in asked}
    for one in asked:
        if one.control == "rows":
            columns = [column.name for column in one.columns]
            kept[one.name] = [{c: row.get(c) for c in columns} for row in kept[one.name] or []]
    return _normal(params_of(kind, kept)) == _normal(params)


def _normal(params: Mapping[str, Any]) -> Params:
    """Params in one shape, for comparing: an open tier's bound may be null or left out."""
    tiers = [{"upto": None, **tier} for tier in params.get("tiers", [])]
    empty = {name for name in ("titles", "prices") if not params.get(name)}
    said = {k: v for k, v in params.items() if k != "tiers" and k not in empty}
    return {**said, **({"tiers": tiers} if tiers else {})}


@dataclass(frozen=True, slots=True)
class Example:
    """The household a price is tried on while it is typed."""

    area_m2: Decimal
    used: Decimal  # GJ, m3 or kWh
    persons: int
    utility: str

    def facts(self, day: date) -> pricing.Facts:
        """A period of 30 days from a day on; hours are taken to be used evenly."""
        unit = "GJ" if self.utility == "heat" else "m3"
        amount = round(pricing.per_unit({"unit": unit}) * exact(self.used))
        evenly = Interval(datetime(day.year, day.month, 1), PERIOD_DAYS * DAY_MIN, self.used)
        year = pricing.YearPart(day.year, amount, 0)
        return pricing.Facts(
            int(self.area_m2 * 100), amount, PERIOD_DAYS, False, self.persons, [year], [evenly]
        )


def tried(kind: str, params: Params, example: Example, day: date) -> dict[str, Any]:
    """The lines and the sum an example household would pay; ValueError where it cannot be."""
    lines = pricing.price(kind, params, example.facts(day))
    begin = date(day.year, day.month, 1)
    return {
        "lines": [(line, explain_zh(line)) for line in lines],
        "total_fen": total_fen(lines),
        "begin": begin,
        "end": begin + timedelta(PERIOD_DAYS),
    }


EXAMPLES: dict[str, Params] = {
    "two_part": {
        "k1": "16.5",
        "k2": "44.41",
        "season_days": 183,
        "area_price": "38.32",
        "cap_ratio": "1",
        "monthly_cap": "season",
        "suspension_ratio": "0.2",
    },
    "area": {"price": "38.32", "season_days": 183, "suspension_ratio": "0.2"},
    "flat": {"unit": "m3", "price": "2.8", "title": "燃气费"},
    "components": {
        "unit": "m3",
        "prices": {"water": "2.07", "resource": "0.3", "sewage": "0.95"},
        "titles": {"water": "水费", "resource": "水资源税", "sewage": "污水处理费"},
    },
    "tiered": {
        "unit": "m3",
        "base_persons": 4,
        "tiers": [
            {"upto": "180", "price": "2.07", "per_extra_person": "30"},
            {"upto": "260", "price": "4.07", "per_extra_person": "30"},
            {"upto": None, "price": "6.07"},
        ],
        "prices": {"sewage": "1.36"},
        "titles": {"sewage": "污水处理费"},
    },
    "tou": {
        "schedule": [
            {"period": "valley", "from": "22:00", "to": "08:00"},
            {"period": "peak", "from": "08:00", "to": "22:00"},
        ],
        "prices": {"peak": "0.5583", "valley": "0.3583"},
    },
}
EXAMPLES["tou_tiered"] = {
    **EXAMPLES["tou"],
    "tiers": [
        {"upto": "2160", "price": "0"},
        {"upto": "4200", "price": "0.05"},
        {"upto": None, "price": "0.3"},
    ],
}
# The kinds that mean something for a utility, the usual one first.
KINDS_OF = {
    "heat": ("two_part", "area", "flat", "components"),
    "water": ("tiered", "flat", "components"),
    "gas": ("tiered", "flat", "components"),
    "electricity": ("tiered", "tou", "tou_tiered", "flat", "components"),
}


def words(utility: str, kind: str, params: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, value) of what a price says, without what it leaves out."""
    values = values_of(params)
    said = [one for one in fields(utility, kind) if values.get(one.name) not in (None, [])]
    return forms.words(said, values)
