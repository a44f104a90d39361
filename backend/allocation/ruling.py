"""Which method and rules a building's heat is shared by, and from when: versions in time."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from backend.allocation import inputs
from backend.allocation.methods import METHODS
from backend.allocation.models import AllocationRule, AllocationRun
from backend.archive.models import Building
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.exact import exact
from backend.people.service import Principal, audit

OPTIONS = ("base", "source", "rules")


def rule_of(building_id: int, day: date) -> AllocationRule | None:
    """The rule in force on a day; None where the building's heat is not shared out."""
    return db.session.scalars(
        sa.select(AllocationRule).where(
            AllocationRule.building_id == building_id, _over(day, date.fromordinal(_after(day)))
        )
    ).first()


def rule_over(building_id: int, period_from: date, period_to: date) -> AllocationRule:
    """The one rule in force over the whole of [period_from, period_to).

    Problem rule_missing where there is none, rule_gap where it does not cover every day, and
    rule_changes where there are several: no period is shared out by a guess.
    """
    found = db.session.scalars(
        sa.select(AllocationRule)
        .where(AllocationRule.building_id == building_id, _over(period_from, period_to))
        .order_by(AllocationRule.effective_from)
    ).all()
    if not found:
        raise Problem("rule_missing")
    _refuse_gap(found, period_from, period_to)
    if len(found) > 1:
        days = "、".join(str(rule.effective_from) for rule in found[1:])
        raise Problem("rule_changes", f"分摊规则在 {days} 有变更，请按变更日分段分摊。")
    return found[0]


def _refuse_gap(found: Sequence[AllocationRule], period_from: date, period_to: date) -> None:
    reached = period_from
    for rule in found:
        if rule.effective_from > reached:
            _gap(reached, rule.effective_from)
        reached = rule.effective_to or period_to
    if reached < period_to:
        _gap(reached, period_to)


def _gap(begin: date, end: date) -> None:
    last = date.fromordinal(end.toordinal() - 1)
    raise Problem("rule_gap", f"{begin} 至 {last} 没有分摊规则，请先补上规则再分摊。")


def _over(begin: date, end: date) -> sa.ColumnElement[bool]:
    """In force on some day of [begin, end)."""
    return sa.and_(
        AllocationRule.effective_from < end,
        sa.or_(AllocationRule.effective_to.is_(None), AllocationRule.effective_to > begin),
    )


def _after(day: date) -> int:
    return day.toordinal() + 1


def versions(building_id: int) -> Sequence[AllocationRule]:
    """Every version of a building's rule, the earliest first; Problem not_found."""
    if db.session.get(Building, building_id) is None:
        raise Problem("not_found")
    return db.session.scalars(
        sa.select(AllocationRule)
        .where(AllocationRule.building_id == building_id)
        .order_by(AllocationRule.effective_from)
    ).all()


def set_rule(
    building_id: int,
    effective_from: date,
    effective_to: date | None,
    method: str,
    options: dict[str, Any],
    actor: Principal,
    now: datetime,
) -> AllocationRule:
    """A new version, valid over [effective_from, effective_to); audited.

    Problem rule_overlap where another version is in force in that time (end it first),
    rule_invalid for a method or options that are not known, run_locked where it would change what
    has been billed.
    """
    check_options(method, options)
    if effective_to is not None and effective_to <= effective_from:
        raise Problem("range_reversed", field="effective_to")
    end = effective_to or date.max
    if db.session.get(Building, building_id) is None:
        raise Problem("not_found")
    one_at_a_time(building_id)
    other = db.session.scalars(
        sa.select(AllocationRule)
        .where(AllocationRule.building_id == building_id, _over(effective_from, end))
        .limit(1)
    ).first()
    if other is not None:
        until = f"至 {other.effective_to}（不含）" if other.effective_to else "起长期"
        raise Problem(
            "rule_overlap",
            f"该楼栋已有 {other.effective_from} {until} 有效的分摊规则，请先结束它，再设新规则。",
            field="effective_from",
        )
    refuse_billed(building_id, effective_from, end)
    rule = AllocationRule(
        building_id=building_id,
        effective_from=effective_from,
        effective_to=effective_to,
        method=method,
        options=options,
    )
    db.session.add(rule)
    db.session.flush()
    audit("allocation.rule_set", "allocation_rule", rule.id, actor, now=now)
    return rule


def change_rule(
    building_id: int,
    effective_from: date,
    effective_to: date | None,
    method: str,
    options: dict[str, Any],
    actor: Principal,
    now: datetime,
) -> AllocationRule:
    """As `set_rule`, but the version in force on that day ends where this one begins."""
    check_options(method, options)
    standing = rule_of(building_id, effective_from)
    if standing is not None and standing.effective_from < effective_from:
        end_rule(standing.id, effective_from, actor, now)
    return set_rule(building_id, effective_from, effective_to, method, options, actor, now)


def end_rule(rule_id: int, day: date, actor: Principal, now: datetime) -> AllocationRule:
    """End a version so that `day` is the first it no longer holds for; audited."""
    rule = db.session.get(AllocationRule, rule_id)
    if rule is None:
        raise Problem("not_found")
    one_at_a_time(rule.building_id)
    if not rule.effective_from < day <= (rule.effective_to or date.max):
        raise Problem("range_reversed", "结束日期须在规则的有效期内。", field="day")
    refuse_billed(rule.building_id, day, rule.effective_to or date.max)
    rule.effective_to = day
    db.session.flush()
    audit("allocation.rule_ended", "allocation_rule", rule.id, actor, now=now)
    return rule


def refuse_billed(building_id: int, begin: date, end: date) -> None:
    """Problem run_locked where heat of [begin, end) has been billed and not corrected since."""
    billed = sa.exists().where(
        AllocationRun.building_id == building_id,
        AllocationRun.period_from < end,
        AllocationRun.period_to > begin,
        AllocationRun.locked_at.is_not(None),
        AllocationRun.superseded_by.is_(None),
    )
    if db.session.scalar(sa.select(billed)):
        raise Problem("run_locked", "这段时间已经出账，规则不能改动；请从未出账的日期起设置。")


def one_at_a_time(building_id: int) -> None:
    """Runs and rules of one building wait for each other until commit."""
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(0x616C6C6F, building_id)))


def check_options(method: str, options: Mapping[str, Any]) -> None:
    """Problem rule_invalid for a method or an option that is not known."""
    if method not in METHODS:
        raise Problem("rule_invalid", f"没有名为 {method} 的分摊方法。", field="method")
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise Problem("rule_invalid", f"不认识的选项：{'、'.join(unknown)}。", field="options")
    base = options.get("base", 0)
    if base != "outdoor" and _number(base) is None:
        raise Problem("rule_invalid", "基准温度须是数字或 outdoor。", field="base")
    if options.get("source", "sensor") not in ("sensor", "integrator"):
        raise Problem("rule_invalid", "室温来源须是 sensor 或 integrator。", field="source")
    rules_of(options)


def _number(value: object) -> Fraction | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return exact(Decimal(str(value)))
    except (InvalidOperation, ValueError):
        return None


def _fraction(value: object) -> Fraction:
    text = str(value)
    number = Fraction(text) if "/" in text else _number(value)
    if number is None:
        raise ValueError(f"{value} is not a number")
    return number


def _neighbours(value: object) -> dict[inputs.Id, list[inputs.Id]]:
    assert isinstance(value, dict)
    return {int(key): [int(other) for other in others] for key, others in value.items()}


def _shares(value: object) -> dict[inputs.Id, Fraction]:
    assert isinstance(value, dict)
    return {int(key): _fraction(share) for key, share in value.items()}


_READ: Mapping[str, Callable[[object], Any]] = {
    "gap_rule": str,
    "min_coverage": _fraction,
    "missing_rule": str,
    "missing_limit": _fraction,
    "neighbours": _neighbours,
    "last_shares": _shares,
    "common": str,
    "common_fraction": _fraction,
}


def rules_of(options: Mapping[str, Any]) -> inputs.Rules:
    """The rules around a method as a version's options say; Problem rule_invalid."""
    said = options.get("rules", {})
    if not isinstance(said, dict):
        raise Problem("rule_invalid", field="rules")
    try:
        return inputs.Rules(**{name: _READ[name](value) for name, value in said.items()})
    except (KeyError, TypeError, ValueError, AssertionError, ZeroDivisionError) as error:
        raise Problem("rule_invalid", f"分摊规则有误：{error}。", field="rules") from error


def rules_json(rules: inputs.Rules) -> dict[str, Any]:
    """Rules as JSON that `rules_of` reads back exactly."""
    found: dict[str, Any] = {
        "gap_rule": rules.gap_rule,
        "min_coverage": str(rules.min_coverage),
        "missing_rule": rules.missing_rule,
        "missing_limit": str(rules.missing_limit),
        "neighbours": {str(key): list(others) for key, others in rules.neighbours.items()},
        "last_shares": {str(key): str(exact(s)) for key, s in rules.last_shares.items()},
        "common": rules.common,
    }
    if rules.common_fraction is not None:
        found["common_fraction"] = str(rules.common_fraction)
    return found
