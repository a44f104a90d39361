"""How a building's allocation rule is typed: the rules around every method, and a method's own."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from backend.archive.models import Household
from backend.base.errors import Problem
from backend.base.exact import plain
from backend.console import forms
from backend.console.forms import Field, percent_field, select_field

GAP_RULES = {
    "time_scale": "按在用时间放大",
    "building_profile": "按楼内其他户的走势补",
    "zero": "按 0 计",
}
MISSING_RULES = {
    "building_mean_per_area": "全楼单位面积平均",
    "neighbours_mean": "相邻住户平均",
    "last_period": "上一期的份额",
}
COMMON = {
    "pro_rata": "不单列，随各户按比例",
    "fixed_fraction": "固定比例，按面积分",
    "metered_loss": "总表减户表之差，按面积分",
}
BASES = {"fixed": "固定温度", "outdoor": "室外温度"}
SOURCES = {"sensor": "室温传感器", "integrator": "室温积分仪"}

_AROUND = (
    select_field("gap_rule", "采样有缺口时", GAP_RULES),
    percent_field("min_coverage", "有效采样少于多少视为缺测"),
    select_field("missing_rule", "缺测住户用什么代替", MISSING_RULES),
    percent_field(
        "missing_limit", "缺测超过多少全楼改按面积", hint="按面积乘在用时间计，严格大于才改。"
    ),
    Field(
        "neighbours",
        "各户的邻居（仅“相邻住户平均”用；不填时按同层和上下同号）",
        control="rows",
        columns=(Field("unit", "房号"), Field("others", "邻居房号", hint="用顿号或空格隔开")),
        least=0,
    ),
    select_field("common", "公共与管网损失", COMMON),
    percent_field("common_fraction", "固定比例", needed=False, hint="选“固定比例”时填写。"),
)
_TEMPERATURE = (
    select_field("source", "室温来自", SOURCES),
    select_field("base", "基准温度", BASES),
    Field(
        "base_c",
        "固定温度",
        forms.number("-30", "30", 2),
        unit="℃",
        needed=False,
        hint="不填即 0 ℃。",
    ),
)
DAYS = (
    forms.day_field("effective_from", "从哪天起"),
    forms.day_field("effective_to", "到哪天止（不含）", needed=False, hint="不填：直到另有规则。"),
)


def fields(method: str) -> tuple[Field, ...]:
    """What is asked for a rule of a method."""
    own = _TEMPERATURE if method == "temperature_area" else ()
    return (*DAYS, *own, *_AROUND)


DEFAULTS: Mapping[str, Any] = {
    "gap_rule": "time_scale",
    "min_coverage": "0.5",
    "missing_rule": "building_mean_per_area",
    "missing_limit": "0.25",
    "common": "pro_rata",
    "source": "sensor",
    "base": "fixed",
}


def values_of(options: Mapping[str, Any], homes: Mapping[int, str]) -> dict[str, Any]:
    """A version's options as the form's values; `homes`: household -> its number on the door."""
    said = dict(options.get("rules", {}))
    for name in ("min_coverage", "missing_limit", "common_fraction"):
        if said.get(name) is not None:
            said[name] = plain(Fraction(str(said[name])))
    neighbours = said.pop("neighbours", {})
    base = options.get("base", 0)
    return {
        **DEFAULTS,
        **said,
        "neighbours": [
            {
                "unit": homes.get(int(key), str(key)),
                "others": "、".join(homes.get(int(o), str(o)) for o in others),
            }
            for key, others in neighbours.items()
        ],
        "source": options.get("source", "sensor"),
        "base": "outdoor" if base == "outdoor" else "fixed",
        "base_c": None if base == "outdoor" else str(base),
    }


def options_of(method: str, values: Mapping[str, Any], homes: list[Household]) -> dict[str, Any]:
    """The form's values as `ruling` takes them; Problem rule_invalid at a field."""
    if values["common"] == "fixed_fraction" and values["common_fraction"] is None:
        raise Problem("rule_invalid", "请填写固定比例。", field="common_fraction")
    named = ("gap_rule", "min_coverage", "missing_rule", "missing_limit", "common")
    rules = {name: values[name] for name in named}
    if values["common"] == "fixed_fraction":
        rules["common_fraction"] = values["common_fraction"]
    if values["neighbours"]:
        rules["neighbours"] = _neighbours(values["neighbours"], homes)
    options: dict[str, Any] = {"rules": rules}
    if method == "temperature_area":
        options["source"] = values["source"]
        options["base"] = "outdoor" if values["base"] == "outdoor" else values["base_c"] or "0"
    return options


def _neighbours(rows: list[dict[str, str]], homes: list[Household]) -> dict[str, list[int]]:
    by_unit = {h.unit_no: h.id for h in homes}
    found: dict[str, list[int]] = {}
    for row in rows:
        others = row["others"].replace("、", " ").replace(",", " ").replace("，", " ").split()
        unknown = [unit for unit in (row["unit"], *others) if unit not in by_unit]
        if unknown:
            sentence = f"这栋楼没有房号 {'、'.join(unknown)}。"
            raise Problem("rule_invalid", sentence, field="neighbours")
        found[str(by_unit[row["unit"]])] = [by_unit[unit] for unit in others]
    return found


def words(method: str, options: Mapping[str, Any], homes: Mapping[int, str]) -> Any:
    """(label, value) of what a version says, without its days and what does not apply."""
    values = values_of(options, homes)
    hidden = {one.name for one in DAYS}
    if values["common"] != "fixed_fraction":
        hidden.add("common_fraction")
    if values["base"] == "outdoor":
        hidden.add("base_c")
    if not values["neighbours"]:
        hidden.add("neighbours")
    return forms.words([f for f in fields(method) if f.name not in hidden], values)
