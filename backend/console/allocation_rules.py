"""分摊规则: each building's method and rules in time, what they need and whether it is there."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.allocation import readiness, ruling
from backend.allocation.case import households_of
from backend.allocation.methods import METHODS
from backend.allocation.models import AllocationRule, AllocationRun
from backend.archive.models import Building, Household, Region
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.paging import page_of
from backend.billing import reallocation
from backend.console import allocation_forms, asked, forms
from backend.console.runs import ID, MAX_CHOICES
from backend.console.sessions import attempt, now, roles
from backend.people import access

MAX_RUNS = 12


def register(blueprint: Blueprint) -> None:
    """The buildings, one building's versions, the form, and the ending of a version."""
    add = blueprint.add_url_rule
    add("/allocation", "allocation", building_list)
    add(f"/allocation/<{ID}:building_id>", "allocation_building", building_page)
    add(f"/allocation/<{ID}:building_id>/<method>", "allocation_new", rule_new)
    add(f"/allocation/<{ID}:building_id>/<method>", "allocation_set", rule_set, methods=["POST"])
    add(f"/allocation-runs/<{ID}:run_id>/correct", "run_correct", run_correct, methods=["POST"])
    add(f"/allocation-rules/<{ID}:rule_id>/end", "allocation_end", rule_end, methods=["POST"])


@access.allow("operator", "manager")
def building_list() -> str:
    """A page of buildings with the method each is shared by today."""
    region_id, said = asked.maybe("region"), request.args.get("q", "").strip()[:40]
    return render_template(
        "console/allocation.html",
        page=page_of(_buildings(region_id, said.replace("\x00", "")), asked.page()),
        regions=db.session.scalars(sa.select(Region).order_by(Region.id).limit(MAX_CHOICES)).all(),
        region_id=region_id,
        said=said,
        methods=METHODS,
    )


def _buildings(region_id: int | None, said: str) -> sa.Select[Any]:
    today = business_day(now())
    in_force = sa.and_(
        AllocationRule.building_id == Building.id,
        AllocationRule.effective_from <= today,
        sa.or_(AllocationRule.effective_to.is_(None), AllocationRule.effective_to > today),
    )
    flats = sa.select(sa.func.count()).where(Household.building_id == Building.id)
    query = (
        sa.select(
            *(Building.id, Building.code, Building.name, Region.name.label("region")),
            *(AllocationRule.method, AllocationRule.effective_from, AllocationRule.effective_to),
            flats.scalar_subquery().label("flats"),
        )
        .join(Region, Region.id == Building.region_id)
        .outerjoin(AllocationRule, in_force)
    )
    if region_id is not None:
        query = query.where(Building.region_id == region_id)
    if said:
        query = query.where(
            sa.or_(
                Building.code.contains(said, autoescape=True),
                Building.name.contains(said, autoescape=True),
            )
        )
    return query.order_by(Building.code, Building.id)


@access.allow("operator", "manager")
def building_page(building_id: int) -> str:
    """A building's versions, and every method with what it needs and has."""
    building = _building(building_id)
    today = business_day(now())
    versions = ruling.versions(building_id)
    facts = readiness.facts_of(building_id, today)
    homes = {h.id: h.unit_no for h in facts.homes}
    standing = next((v for v in versions if _holds(v, today)), None)
    return render_template(
        "console/allocation_building.html",
        building=building,
        standing=standing,
        needs=readiness.needs(standing.method, standing.options, facts) if standing else [],
        others=[v for v in reversed(versions) if v is not standing],
        words_of=lambda rule: allocation_forms.words(rule.method, rule.options, homes),
        choices=[(code, METHODS[code], readiness.needs(code, {}, facts)) for code in METHODS],
        methods=METHODS,
        runs=db.session.scalars(_billed_runs(building_id)).all(),
        flats=len(facts.homes),
        today=today,
        may_set="manager" in roles(),
    )


def _billed_runs(building_id: int) -> sa.Select[Any]:
    """The latest runs bills stand on, which only a correction by two persons can replace."""
    billed = sa.select(AllocationRun).where(
        AllocationRun.building_id == building_id,
        AllocationRun.locked_at.is_not(None),
        AllocationRun.superseded_by.is_(None),
    )
    return billed.order_by(AllocationRun.period_from.desc()).limit(MAX_RUNS)


@access.allow("finance", "manager")
def run_correct(run_id: int) -> Response:
    """Ask for a billed run to be shared out anew; somebody else decides."""
    run = db.session.get(AllocationRun, run_id)
    if run is None:
        raise Problem("not_found")
    reason = request.form.get("reason", "").strip()[:200].replace("\x00", "")
    who = access.principal()
    attempt(lambda: reallocation.ask(run_id, reason, who, now()), "已申请，由另一位管理人员核准。")
    return redirect(url_for("console.allocation_building", building_id=run.building_id), 303)


def _building(building_id: int) -> Building:
    found = db.session.get(Building, building_id)
    if found is None:
        raise Problem("not_found")
    return found


def _holds(rule: AllocationRule, day: Any) -> bool:
    return rule.effective_from <= day and (rule.effective_to is None or day < rule.effective_to)


@access.allow("operator", "manager")
def rule_new(building_id: int, method: str) -> str:
    """The form of one method, filled with what holds today."""
    today = business_day(now())
    standing = ruling.rule_of(building_id, today)
    homes = {h.id: h.unit_no for h in households_of(building_id)}
    values = allocation_forms.values_of(standing.options if standing else {}, homes)
    values["effective_from"] = today + timedelta(1) if standing else today
    typed = forms.typed(_fields(method), values)
    return _form(building_id, method, typed, {})


def _fields(method: str) -> tuple[forms.Field, ...]:
    if method not in METHODS:
        raise Problem("not_found")
    return allocation_forms.fields(method)


def _form(building_id: int, method: str, typed: forms.Typed, errors: dict[str, str]) -> str:
    building = _building(building_id)
    today = business_day(now())
    options = {"base": typed.get("base"), "source": typed.get("source")}
    return render_template(
        "console/allocation_new.html",
        building=building,
        code=method,
        method=METHODS[method],
        methods=METHODS,
        standing=ruling.rule_of(building_id, today),
        needs=readiness.needs(method, options, readiness.facts_of(building_id, today)),
        form={"fields": _fields(method), "typed": typed, "errors": errors},
        may_set="manager" in roles(),
    )


@access.allow("manager")
def rule_set(building_id: int, method: str) -> Response | tuple[str, int]:
    """A new version; the one in force on its first day ends there."""
    fields = _fields(method)
    _building(building_id)
    filled = forms.read(fields, request.form)
    if not filled.errors:
        try:
            _set(building_id, method, filled.values)
            db.session.commit()
            flash(f"已设定，自 {filled.values['effective_from']} 起生效。", "good")
            url = url_for("console.allocation_building", building_id=building_id)
            return redirect(url, 303)
        except Problem as problem:
            db.session.rollback()
            filled.errors.update(forms.blamed(problem, fields))
    return _form(building_id, method, filled.typed, filled.errors), 422


def _set(building_id: int, method: str, values: dict[str, Any]) -> None:
    options = allocation_forms.options_of(method, values, list(households_of(building_id)))
    begin, end = values["effective_from"], values["effective_to"]
    ruling.change_rule(building_id, begin, end, method, options, access.principal(), now())


@access.allow("manager")
def rule_end(rule_id: int) -> Response:
    """End a version on a day."""
    rule = db.session.get(AllocationRule, rule_id)
    if rule is None:
        raise Problem("not_found")
    url = url_for("console.allocation_building", building_id=rule.building_id)
    filled = forms.read((forms.day_field("day", "结束日"),), request.form)
    if filled.errors:
        flash(filled.errors["day"], "bad")
        return redirect(url, 303)
    day = filled.values["day"]
    attempt(lambda: ruling.end_rule(rule_id, day, access.principal(), now()), f"{day} 起不再执行。")
    return redirect(url, 303)
