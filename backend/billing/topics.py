"""Rules a company sets by region and day: what each topic holds, its defaults, and what holds.

A topic nobody has set has the defaults here, which are the safe ones: nothing is cut off, nothing
is refunded by itself.  `docs/billing.md` explains every field.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import regions
from backend.billing.models import RegionRule

Check = Callable[[object], str | None]


def whole(low: int, high: int) -> Check:
    """A whole number of a range."""

    def check(value: object) -> str | None:
        good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if good else f"须为 {low} 到 {high} 的整数。"

    return check


def decimal(low: str, high: str) -> Check:
    """A decimal as text, of a range."""

    def check(value: object) -> str | None:
        try:
            good = isinstance(value, str) and Decimal(low) <= Decimal(value) <= Decimal(high)
        except InvalidOperation:
            good = False
        return None if good else f"须为文字形式的数，{low} 到 {high}。"

    return check


def flag(value: object) -> str | None:
    """true or false."""
    return None if isinstance(value, bool) else "须为 true 或 false。"


def maybe(check: Check) -> Check:
    """`check`, or null."""
    return lambda value: None if value is None else check(value)


def words(*allowed: str) -> Check:
    """A list of some of these words."""

    def check(value: object) -> str | None:
        good = isinstance(value, list) and all(word in allowed for word in value)
        return None if good else f"须为 {'、'.join(allowed)} 中的若干项。"

    return check


def choice(*allowed: str) -> Check:
    """One of these words."""
    return lambda value: None if value in allowed else f"须为 {'、'.join(allowed)} 之一。"


def _bands(value: object) -> str | None:
    """[{"below_cdeg": 1400, "ratio": "1"}, ...]: rising, each ratio of the day's standard fee."""
    if not isinstance(value, list) or not 1 <= len(value) <= 10:
        return "须为 1 到 10 个温度档。"
    last = -5000
    for index, band in enumerate(value, 1):
        if not isinstance(band, dict) or set(band) != {"below_cdeg", "ratio"}:
            return f"第 {index} 档须写明 below_cdeg 和 ratio。"
        if whole(-4999, 3000)(band["below_cdeg"]) or band["below_cdeg"] <= last:
            return f"第 {index} 档的温度须逐档升高（0.01 ℃）。"
        if decimal("0", "1")(band["ratio"]):
            return f"第 {index} 档的退费比例须在 0 到 1 之间。"
        last = band["below_cdeg"]
    return None


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic's name for people, and each field's default and check."""

    title: str
    fields: Mapping[str, tuple[Any, Check]]

    @property
    def defaults(self) -> dict[str, Any]:
        """What holds where nobody has set anything."""
        return {name: default for name, (default, _) in self.fields.items()}


# The sentences of the provincial rules, ready to be chosen: name -> params of topic cold_room.
COLD_ROOM_PRESETS: dict[str, dict[str, Any]] = {
    "heilongjiang_2021": {
        "enabled": True,
        "promised_cdeg": 2000,
        "bands": [
            {"below_cdeg": 1400, "ratio": "1"},
            {"below_cdeg": 1600, "ratio": "0.5"},
            {"below_cdeg": 1800, "ratio": "0.3"},
            {"below_cdeg": 2000, "ratio": "0.1"},
        ],
    },
    "common_18": {
        "enabled": True,
        "promised_cdeg": 1800,
        "bands": [
            {"below_cdeg": 1400, "ratio": "1"},
            {"below_cdeg": 1600, "ratio": "0.5"},
            {"below_cdeg": 1800, "ratio": "0.2"},
        ],
    },
}

TOPICS: dict[str, Topic] = {
    "cycle": Topic(
        "出账周期",
        {
            "months": (1, whole(1, 12)),  # a bill every so many months
            "settle_day": (1, whole(1, 28)),  # periods end at the start of this day of the month
            "due_days": (15, whole(1, 90)),
        },
    ),
    "late_fee": Topic(
        "违约金",
        {
            "enabled": (False, flag),
            "rate": ("0.0005", decimal("0", "0.01")),  # a day, of the unpaid principal
            "cap_ratio": ("1", decimal("0", "1")),
            "min_fen": (0, whole(0, 10_000)),
            "grace_days": (0, whole(0, 90)),
            "post": ("month_end", choice("daily", "month_end")),
        },
    ),
    "prepaid": Topic(
        "预付费",
        {
            "warn_fen": (2000, maybe(whole(0, 10**8))),
            "overdraft_fen": (0, whole(0, 10**8)),  # how far below zero is no cut-off yet
            "close_after_days": (None, maybe(whole(1, 365))),
        },
    ),
    "balance": Topic(
        "余额抵扣",
        {
            # What stands in a household's balance pays this utility's bills, the oldest first.
            "pays_debts": (True, flag),
            # A prepaid top-up pays the utility's open bills before it counts as paid ahead.
            "topup_pays_debts": (False, flag),
        },
    ),
    "cutoff": Topic(
        "欠费停供",
        {
            "enabled": (False, flag),
            "classes": ([], words("residential", "commercial", "public", "industrial")),
            # Heat is never asked to be cut while it is colder than this outdoors, or unknown.
            "heat_min_outdoor_cdeg": (1000, whole(-5000, 4000)),
        },
    ),
    "cold_room": Topic(
        "室温不达标退费",
        {
            "enabled": (False, flag),
            "promised_cdeg": (1800, whole(1000, 3000)),
            "bands": (COLD_ROOM_PRESETS["common_18"]["bands"], _bands),
            "min_share": ("0.5", decimal("0", "1")),  # of the day's samples, below the band
            "min_coverage": ("0.8", decimal("0", "1")),  # of the day's samples, there at all
            "rooms": ("coldest", choice("coldest", "mean")),
            # An open window: a fall of so much within 30 minutes; left out until it is warm again.
            "window_fall_cdeg": (200, maybe(whole(50, 2000))),
            "window_max_minutes": (180, whole(10, 1440)),
            "measure_within_hours": (24, whole(1, 240)),
        },
    ),
}


def check(topic: str, params: Mapping[str, Any]) -> dict[str, Any]:
    """`params` over the topic's defaults; Problem validation names every field that is wrong."""
    if topic not in TOPICS:
        raise Problem("validation", f"没有“{topic}”这类规则。", field="topic")
    fields = TOPICS[topic].fields
    bad = [f"{name}：没有这一项。" for name in params if name not in fields]
    bad += [
        f"{name}：{sentence}"
        for name, (_, test) in fields.items()
        if name in params and (sentence := test(params[name]))
    ]
    if bad:
        raise Problem("validation", "；".join(bad), field=bad[0].split("：")[0])
    return TOPICS[topic].defaults | dict(params)


def in_force(building_id: int, topic: str, utility: str, day: date) -> dict[str, Any]:
    """The rule that holds at a building on a day; the topic's defaults where none was set."""
    return resolve(regions.chain_of(building_id), rules_of(topic, utility), topic, day)


def rules_of(topic: str, utility: str | None = None) -> Sequence[RegionRule]:
    """Every version of a topic's rules."""
    query = sa.select(RegionRule).where(RegionRule.topic == topic)
    if utility is not None:
        query = query.where(RegionRule.utility == utility)
    order = (RegionRule.utility, RegionRule.region_id, RegionRule.effective_from)
    return db.session.scalars(query.order_by(*order)).all()


def of_utility(utility: str) -> Sequence[RegionRule]:
    """Every version of every topic's rules of a utility, the earliest first."""
    query = sa.select(RegionRule).where(RegionRule.utility == utility)
    return db.session.scalars(query.order_by(RegionRule.effective_from, RegionRule.id)).all()


def resolve(
    chain: regions.Chain, rules: Sequence[RegionRule], topic: str, day: date
) -> dict[str, Any]:
    """`in_force` over rules and a chain of regions already at hand."""
    found = regions.nearest(rules, chain, day)
    return TOPICS[topic].defaults | (found.params if found is not None else {})


def put(
    topic: str,
    utility: str,
    region_id: int | None,
    params: Mapping[str, Any],
    effective_from: date,
    asked_by: int | None,
    approved_by: int | None,
    now: datetime,
) -> RegionRule:
    """A rule from a day on; the open-ended one before it ends there.

    Problems validation, billing_rule_overlap.
    """
    checked = check(topic, params)
    key = sa.func.hashtextextended(f"rule:{topic}:{utility}", 0)
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    for other in rules_of(topic, utility):
        if other.region_id != region_id:
            continue
        if other.effective_from >= effective_from or (
            other.effective_to is not None and other.effective_to > effective_from
        ):
            raise Problem(
                "billing_rule_overlap",
                f"{TOPICS[topic].title}在 {other.effective_from} 起已有规则，请选更晚的生效日。",
                field="effective_from",
            )
        if other.effective_to is None:
            other.effective_to = effective_from
            db.session.flush()
    rule = RegionRule(
        topic=topic,
        utility=utility,
        region_id=region_id,
        params=checked,
        effective_from=effective_from,
        created_by=asked_by,
        approved_by=approved_by,
        created_at=now,
    )
    db.session.add(rule)
    db.session.flush()
    return rule


def period_end(cycle: Mapping[str, Any], today: date) -> date:
    """The newest settlement day not after `today`: where the last finished period ends."""
    months, day = int(cycle["months"]), int(cycle["settle_day"])
    index = today.year * 12 + today.month - 1
    if today.day < day:
        index -= 1
    index -= index % months
    return date(index // 12, index % 12 + 1, day)


def period_before(cycle: Mapping[str, Any], end: date) -> date:
    """Where the period that ends on `end` begins."""
    index = end.year * 12 + end.month - 1 - int(cycle["months"])
    return date(index // 12, index % 12 + 1, int(cycle["settle_day"]))
