"""计费规则: what holds for a region today, whose it is and since when; changed by two persons."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.archive.models import Region
from backend.archive.rules import UTILITIES
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import regions, requests, tariffs, topics
from backend.billing.models import RegionRule
from backend.console import asked, forms
from backend.console.rule_forms import FORMS, titles
from backend.console.runs import MAX_CHOICES
from backend.console.sessions import now
from backend.people import access

FROM = forms.day_field("effective_from", "从哪天起")
WHY = forms.reason_field("为什么改")


def register(blueprint: Blueprint) -> None:
    """The overview, a topic's form, and the asking."""
    add = blueprint.add_url_rule
    add("/rules", "rules", rule_list)
    add("/rules/<topic>/new", "rule_new", rule_new)
    add("/rules/<topic>", "rule_ask", rule_ask, methods=["POST"])


def _place() -> tuple[str, int | None]:
    """The utility and region asked for; Problem not_found for any other word."""
    utility = request.values.get("utility", "heat")
    region_id = asked.number(request.values.get("region", ""))
    known = region_id is None or db.session.get(Region, region_id) is not None
    if utility not in UTILITIES or not known:
        raise Problem("not_found")
    return utility, region_id


def _region_names() -> dict[int | None, str]:
    rows = db.session.execute(
        db.select(Region.id, Region.name).order_by(Region.id).limit(MAX_CHOICES)
    )
    return {None: "全公司", **{row.id: row.name for row in rows}}


@access.allow("finance", "manager")
def rule_list() -> str:
    """Every topic as it holds for one region and utility today."""
    utility, region_id = _place()
    today = business_day(now())
    every, chain = topics.of_utility(utility), regions.chain_from(region_id)
    return render_template(
        "console/rules.html",
        utility=utility,
        region_id=region_id,
        cards=[_card(code, every, chain, today) for code in titles(utility)],
        region_names=_region_names(),
        utilities=tariffs.UTILITIES_ZH,
        words_of=forms.words,
        waiting=[r for r in requests.waiting() if r.kind == "rule"],
    )


def _card(topic: str, every: Any, chain: regions.Chain, today: date) -> dict[str, Any]:
    """One topic: what holds, and the region's own versions before and to come."""
    mine = [rule for rule in every if rule.topic == topic]
    held = regions.nearest(mine, chain, today)
    params = topics.resolve(chain, mine, topic, today)
    own = [rule for rule in mine if rule.region_id == chain[0]]
    return {
        "topic": topic,
        "title": topics.TOPICS[topic].title,
        "says": FORMS[topic].says,
        "held": held,
        "inherited": held is not None and held.region_id != chain[0],
        "facts": forms.words(FORMS[topic].fields, params),
        "others": [(rule, _state(rule, today)) for rule in own if rule is not held],
        "fields": FORMS[topic].fields,
    }


def _state(rule: RegionRule, today: date) -> str:
    return "待生效" if rule.effective_from > today else "已失效"


def _known(topic: str, utility: str) -> None:
    if topic not in titles(utility):
        raise Problem("not_found")


@access.allow("finance", "manager")
def rule_new(topic: str) -> str:
    """The form, filled with what holds, or with a ready-made choice."""
    utility, region_id = _place()
    _known(topic, utility)
    today = business_day(now())
    rules, chain = topics.rules_of(topic, utility), regions.chain_from(region_id)
    params = topics.resolve(chain, rules, topic, today)
    preset = request.args.get("preset", "")
    if preset in (FORMS[topic].presets or {}):
        params = params | topics.COLD_ROOM_PRESETS[preset]
    values = {**params, "effective_from": today + timedelta(1)}
    return _form(topic, utility, region_id, forms.typed(_fields(topic), values), {})


def _fields(topic: str) -> tuple[forms.Field, ...]:
    return (*FORMS[topic].fields, FROM, WHY)


def _form(
    topic: str, utility: str, region_id: int | None, typed: forms.Typed, errors: dict[str, str]
) -> str:
    return render_template(
        "console/rule_new.html",
        topic=topic,
        title=topics.TOPICS[topic].title,
        topic_form=FORMS[topic],
        utility=utility,
        utilities=tariffs.UTILITIES_ZH,
        region_id=region_id,
        region_names=_region_names(),
        form={"fields": _fields(topic), "typed": typed, "errors": errors},
    )


@access.allow("finance", "manager")
def rule_ask(topic: str) -> Response | tuple[str, int]:
    """Ask for it; or the form again with what is wrong where."""
    utility, region_id = _place()
    _known(topic, utility)
    filled = forms.read(_fields(topic), request.form)
    if not filled.errors:
        try:
            _ask(topic, utility, region_id, filled.values)
            db.session.commit()
            flash("已提交，由管理人员（另一位同事）核准后生效。", "good")
            return redirect(url_for("console.rules", utility=utility, region=region_id or ""), 303)
        except Problem as problem:
            db.session.rollback()
            filled.errors.update(forms.blamed(problem, _fields(topic)))
    return _form(topic, utility, region_id, filled.typed, filled.errors), 422


def _ask(topic: str, utility: str, region_id: int | None, values: dict[str, Any]) -> None:
    params = {one.name: values[one.name] for one in FORMS[topic].fields}
    day, why = values[FROM.name], values[WHY.name]
    requests.ask_rule(topic, utility, region_id, params, day, why, access.principal(), now())
