"""价格方案: versions, a draft and what it would change; 待核准: what waits for a second person."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.archive.models import Household, Region
from backend.archive.rules import UTILITIES
from backend.base.clock import add_months, business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import preview, requests, tariff_params, tariffs
from backend.billing.models import Tariff
from backend.console import rule_forms
from backend.console.days import parse_day
from backend.console.sessions import attempt, current, now, roles
from backend.people import access
from backend.people.models import Staff

ID = "int(max=9223372036854775807)"
FAR = date(2099, 12, 31)
MAX_PARAMS = 8000
FORM = (
    *("name", "utility", "customer_class", "kind", "region_id"),
    *("effective_from", "effective_to", "params"),
)
STATES = {"draft": "草稿", "live": "生效", "dropped": "作废"}
DECISIONS = {"open": "待核准", "approved": "已核准", "refused": "已拒绝"}


def register(blueprint: Blueprint) -> None:
    """The pages and their buttons."""
    add = blueprint.add_url_rule
    add("/tariffs", "tariffs", tariff_list)
    add("/tariffs", "tariff_draft", tariff_draft, methods=["POST"])
    add("/tariffs/new", "tariff_new", tariff_new)
    add(f"/tariffs/<{ID}:tariff_id>", "tariff", tariff_page)
    add(f"/tariffs/<{ID}:tariff_id>/approve", "tariff_approve", tariff_approve, methods=["POST"])
    add(f"/tariffs/<{ID}:tariff_id>/drop", "tariff_drop", tariff_drop, methods=["POST"])
    add("/requests", "requests", request_list)
    add(f"/requests/<{ID}:request_id>/decide", "request_decide", request_decide, methods=["POST"])


@access.allow("finance", "manager")
def tariff_list() -> str:
    """Every version of one utility's prices, drafts first."""
    utility = request.args.get("utility", "heat")
    if utility not in UTILITIES:
        raise Problem("not_found")
    rows = tariffs.versions(utility)
    order = {"draft": 0, "live": 1, "dropped": 2}
    rows = sorted(
        rows, key=lambda t: (order[t.state], t.customer_class, -t.effective_from.toordinal())
    )
    return render_template("console/tariffs.html", utility=utility, rows=rows, **_words(rows))


def _words(rows: Any) -> dict[str, Any]:
    staff = current()
    people = {r.created_by for r in rows} | {r.approved_by for r in rows}
    return {
        "today": business_day(now()),
        "me": staff.id if staff else None,
        "is_manager": "manager" in roles(),
        "utilities": tariffs.UTILITIES_ZH,
        "classes": tariffs.CLASSES_ZH,
        "kinds": tariff_params.KINDS,
        "states": STATES,
        "regions": _pairs(db.select(Region.id, Region.name)),
        "people": _names(people - {None}),
    }


def _names(ids: Any) -> dict[int, str]:
    return _pairs(db.select(Staff.id, Staff.name).where(Staff.id.in_(ids)))


def _pairs(query: Any) -> dict[int, str]:
    return {row[0]: row[1] for row in db.session.execute(query)}


@access.allow("finance", "manager")
def tariff_new() -> str:
    """An empty form, or one filled from the version `like`."""
    like = request.args.get("like", "")
    numbered = like.isascii() and like.isdigit() and len(like) < 18
    copied = db.session.get(Tariff, int(like)) if numbered else None
    form: dict[str, Any] = {"utility": "heat", "customer_class": "residential", "kind": "two_part"}
    if copied is not None:
        kept = ("name", "utility", "customer_class", "kind", "region_id")
        form |= {name: getattr(copied, name) for name in kept}
        form["params"] = json.dumps(copied.params, ensure_ascii=False, indent=2)
    form["effective_from"] = add_months(business_day(now()), 1)
    return _form(form)


def _form(form: dict[str, Any], bad: str = "") -> str:
    examples = {k: json.dumps(v, ensure_ascii=False, indent=2) for k, v in EXAMPLES.items()}
    return render_template(
        "console/tariff_new.html", form=form, bad=bad, examples=examples, **_words([])
    )


EXAMPLES: dict[str, dict[str, Any]] = {
    "two_part": {
        "k1": "16.5",
        "k2": "44.41",
        "season_days": 183,
        "area_price": "38.32",
        "cap_ratio": "1",
        "suspension_ratio": "0.2",
    },
    "area": {"price": "38.32", "season_days": 183, "suspension_ratio": "0.2"},
    "flat": {"unit": "m3", "price": "2.80", "title": "燃气费"},
    "components": {
        "unit": "m3",
        "prices": {"water": "2.07", "resource": "0.30", "sewage": "0.95"},
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
        {"upto": None, "price": "0.30"},
    ],
}


@access.allow("finance", "manager")
def tariff_draft() -> Response | tuple[str, int]:
    """Keep the draft; or the form again with what is wrong."""
    form = {name: request.form.get(name, "").strip() for name in FORM}
    try:
        made = tariffs.draft(access.principal(), now(), **_fields(form))
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        return _form(form, problem.detail), 422
    flash("草稿已保存，请试算后交另一位同事核准。", "good")
    return redirect(url_for("console.tariff", tariff_id=made.id), 303)


def _fields(form: dict[str, str]) -> dict[str, Any]:
    """The form as tariffs.draft wants it; Problem validation with a sentence."""
    if form["utility"] not in UTILITIES or form["customer_class"] not in tariff_params.CLASSES:
        raise Problem("validation", "请选择能源种类和用户类别。")
    if not 2 <= len(form["name"]) <= 40 or "\x00" in form["name"]:
        raise Problem("validation", "请填写 2 到 40 个字的名称。", field="name")
    try:
        params = json.loads(form["params"][:MAX_PARAMS])
        days = {
            name: date.fromisoformat(form[name]) if form[name] else None
            for name in ("effective_from", "effective_to")
        }
    except ValueError:
        raise Problem("validation", "参数须为 JSON，日期格式应为 2026-11-20。") from None
    if not isinstance(params, dict) or days["effective_from"] is None:
        raise Problem("validation", "请填写参数和生效日。")
    region = form["region_id"]
    good = region.isascii() and region.isdigit() and len(region) < 18
    return {
        **{name: form[name] for name in ("name", "utility", "customer_class", "kind")},
        "region_id": int(region) if good else None,
        "params": params,
        **days,
    }


@access.allow("finance", "manager")
def tariff_page(tariff_id: int) -> str:
    """One version, and what it would have made of a past period's bills."""
    tariff = db.session.get(Tariff, tariff_id)
    if tariff is None:
        raise Problem("not_found")
    today = business_day(now())
    end = parse_day(request.args.get("to") or add_months(today, 0).isoformat(), latest=FAR)
    begin = parse_day(request.args.get("from") or add_months(today, -3).isoformat(), latest=FAR)
    found, why = None, ""
    if tariff.state == "draft" or "from" in request.args:
        try:
            found = preview.preview(tariff_id, begin, end)
        except Problem as problem:
            why = problem.detail
    return render_template(
        "console/tariff.html",
        tariff=tariff,
        params=json.dumps(tariff.params, ensure_ascii=False, indent=2),
        found=found,
        why=why,
        begin=begin,
        end=end,
        most=max((row["bills"] for row in found["spread"]), default=1) or 1 if found else 1,
        **_words([tariff]),
    )


@access.allow("manager")
def tariff_approve(tariff_id: int) -> Response:
    """Let somebody else's draft live."""
    attempt(lambda: tariffs.approve(tariff_id, access.principal(), now()), "已核准，按生效日执行。")
    return redirect(url_for("console.tariff", tariff_id=tariff_id), 303)


@access.allow("finance", "manager")
def tariff_drop(tariff_id: int) -> Response:
    """Give a draft up."""
    attempt(lambda: tariffs.drop(tariff_id, access.principal(), now()), "草稿已作废。")
    return redirect(url_for("console.tariff", tariff_id=tariff_id), 303)


@access.allow("finance", "manager")
def request_list() -> str:
    """What waits for a second person, and what was decided lately."""
    waiting, done = requests.waiting(), requests.decided()
    rows = [*waiting, *done]
    people = {r.asked_by for r in rows} | {r.decided_by for r in rows}
    households = {r.household_id for r in rows} - {None}
    numbers = db.select(Household.id, Household.account_no).where(Household.id.in_(households))
    staff = current()
    return render_template(
        "console/requests.html",
        waiting=waiting,
        done=done,
        kinds=requests.KINDS,
        decisions=DECISIONS,
        accounts=_pairs(numbers),
        people=_names(people - {None}),
        me=staff.id if staff else None,
        held=roles(),
        rule_words=rule_forms.request_words,
    )


@access.allow("finance", "manager")
def request_decide(request_id: int) -> Response:
    """Approve or refuse."""
    verbs = {"approve": requests.approve, "refuse": requests.refuse}
    verb = verbs.get(request.form.get("verb", ""))
    note = request.form.get("note", "").strip()[:200].replace("\x00", "")
    if verb is None:
        raise Problem("bad_request")
    said = "已核准并执行。" if verb is requests.approve else "已拒绝。"
    attempt(lambda: verb(request_id, access.principal(), now(), note), said)
    return redirect(url_for("console.requests"), 303)
