"""价格方案: versions of prices, a form a kind, and what a draft would change."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.archive.models import Region
from backend.archive.rules import UTILITIES
from backend.base.clock import add_months, business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import preview, tariff_params, tariffs
from backend.billing.models import Tariff
from backend.console import asked, forms, tariff_forms
from backend.console.days import LATEST, parse_day
from backend.console.forms import Field
from backend.console.requested import names, pairs
from backend.console.runs import ID, MAX_CHOICES
from backend.console.sessions import attempt, current, now, roles
from backend.people import access

MAX_PARAMS = 8000
STATES = {"draft": "草稿", "live": "生效", "dropped": "作废"}
EXPERT = Field("params", "价格参数（JSON）", control="area")
EXAMPLE = (
    Field("example_area", "面积", forms.number("1", "10000", 2), unit="平方米"),
    Field("example_used", "用量", forms.number("0", "1000000", 3)),
    forms.whole_field("example_persons", "人口", 0, 50, "人"),
)
USED_UNITS = {"heat": "吉焦", "water": "立方米", "gas": "立方米", "electricity": "千瓦时"}
USUAL = {"heat": "5.4", "water": "15", "gas": "30", "electricity": "300"}


def register(blueprint: Blueprint) -> None:
    """The pages and their buttons."""
    add = blueprint.add_url_rule
    add("/tariffs", "tariffs", tariff_list)
    add("/tariffs", "tariff_draft", tariff_draft, methods=["POST"])
    add("/tariffs/new", "tariff_new", tariff_new)
    add("/tariffs/form", "tariff_form", tariff_form, methods=["POST"])
    add("/tariffs/try", "tariff_try", tariff_try, methods=["POST"])
    add(f"/tariffs/<{ID}:tariff_id>", "tariff", tariff_page)
    add(f"/tariffs/<{ID}:tariff_id>/approve", "tariff_approve", tariff_approve, methods=["POST"])
    add(f"/tariffs/<{ID}:tariff_id>/drop", "tariff_drop", tariff_drop, methods=["POST"])


@access.allow("finance", "manager")
def tariff_list() -> str:
    """Every version of one utility's prices, drafts first."""
    utility = _utility(request.args.get("utility", "heat"))
    order = {"draft": 0, "live": 1, "dropped": 2}
    rows = sorted(
        tariffs.versions(utility),
        key=lambda t: (order[t.state], t.customer_class, -t.effective_from.toordinal()),
    )
    return render_template("console/tariffs.html", utility=utility, rows=rows, **_words(rows))


def _utility(name: str) -> str:
    if name not in UTILITIES:
        raise Problem("not_found")
    return name


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
        "regions": _regions(),
        "people": names(people - {None}),
    }


def _regions() -> dict[int, str]:
    return pairs(db.select(Region.id, Region.name).order_by(Region.id).limit(MAX_CHOICES))


def _fields(utility: str, kind: str, expert: bool) -> tuple[Field, ...]:
    """What every price is asked for, and what its kind is."""
    regions = {"": "全公司", **{str(key): name for key, name in _regions().items()}}
    return (
        Field("name", "名称", forms.text(2, 40)),
        forms.select_field("customer_class", "用户类别", tariffs.CLASSES_ZH),
        forms.select_field(
            "region_id", "区域", regions, needed=False, hint="下级区域自己的价格优先。"
        ),
        forms.day_field("effective_from", "生效日"),
        forms.day_field("effective_to", "失效日（不含）", needed=False, hint="不填：直到调价。"),
        *((EXPERT,) if expert else tariff_forms.fields(utility, kind)),
    )


def _shape(said: Any) -> tuple[str, str, bool]:
    """Utility, kind and whether an expert writes JSON."""
    utility = _utility(said.get("utility", "heat"))
    kinds = tariff_forms.KINDS_OF[utility]
    kind = said.get("kind", "")
    return utility, kind if kind in kinds else kinds[0], said.get("expert") == "1"


@access.allow("finance", "manager")
def tariff_new() -> str:
    """A form filled with an example of its kind, or with the version `like`."""
    like = asked.maybe("like")
    copied = db.session.get(Tariff, like) if like else None
    utility, kind, expert = _shape(request.args)
    values: dict[str, Any] = {"customer_class": "residential"}
    params = tariff_forms.EXAMPLES[kind]
    if copied is not None:
        utility, kind, params = copied.utility, copied.kind, copied.params
        values |= {n: getattr(copied, n) for n in ("name", "customer_class", "region_id")}
        expert = expert or not tariff_forms.is_typed(utility, kind, params)
    elif "unit" in params:
        params = {**params, "unit": tariff_params.UNITS[utility][0]}
    written = json.dumps(params, ensure_ascii=False, indent=2)
    values |= {**tariff_forms.values_of(params), "params": written}
    values["effective_from"] = add_months(business_day(now()), 1)
    typed = forms.typed(_fields(utility, kind, expert), values)
    return _form((utility, kind, expert), typed, {})


@access.allow("finance", "manager")
def tariff_form() -> str:
    """The form again for another utility or kind: what both ask for stays as it was typed."""
    utility, kind, expert = _shape(request.form)
    shape = (utility, kind, expert)
    said = forms.read(_fields(*shape), request.form).typed
    params = {**tariff_forms.EXAMPLES[kind]}
    if "unit" in params:
        params["unit"] = tariff_params.UNITS[utility][0]
    written = json.dumps(params, ensure_ascii=False, indent=2)
    values = {**tariff_forms.values_of(params), "params": written}
    typed = forms.typed(_fields(*shape), values)
    kept = ("name", "customer_class", "region_id", "effective_from", "effective_to")
    return _form(shape, {**typed, **{name: said[name] for name in kept}}, {})


def _form(shape: tuple[str, str, bool], typed: forms.Typed, errors: dict[str, str]) -> str:
    utility, kind, expert = shape
    example = {"example_area": "85", "example_used": USUAL[utility], "example_persons": "3"}
    return render_template(
        "console/tariff_new.html",
        utility=utility,
        kind=kind,
        expert=expert,
        kinds_of=tariff_forms.KINDS_OF[utility],
        form={"fields": _fields(*shape), "typed": typed, "errors": errors},
        example={"fields": EXAMPLE, "typed": example, "errors": {}},
        used_unit=USED_UNITS[utility],
        tried=_result(None, None, ""),  # htmx asks for it as soon as the page stands
        **{k: v for k, v in _words([]).items() if k != "regions"},
    )


@access.allow("finance", "manager")
def tariff_draft() -> Response | tuple[str, int]:
    """Keep the draft; or the form again with what is wrong where."""
    shape = _shape(request.form)
    filled = forms.read(_fields(*shape), request.form)
    _take_params(shape, filled)
    if not filled.errors:
        try:
            made = tariffs.draft(access.principal(), now(), **_drafted(shape, filled.values))
            db.session.commit()
            flash("草稿已保存，请试算后交另一位同事核准。", "good")
            return redirect(url_for("console.tariff", tariff_id=made.id), 303)
        except Problem as problem:
            db.session.rollback()
            filled.errors.update(forms.blamed(problem, _fields(*shape)))
    return _form(shape, filled.typed, filled.errors), 422


def _take_params(shape: tuple[str, str, bool], filled: forms.Filled) -> None:
    """The params out of the typed fields or the expert's JSON, with the faults they have."""
    utility, kind, expert = shape
    if expert:
        filled.typed["params"] = request.form.get("params", "")[:MAX_PARAMS]
        filled.errors.pop("params", None)
        try:
            filled.values["params"] = json.loads(filled.typed["params"])
        except ValueError:
            filled.errors["params"] = "须为 JSON。"
            return
        if not isinstance(filled.values["params"], dict):
            filled.errors["params"] = "须为 JSON 对象。"
            return
    elif not filled.errors:
        own = {one.name: filled.values[one.name] for one in tariff_forms.fields(utility, kind)}
        filled.values["params"] = tariff_forms.params_of(kind, own)
    else:
        return
    for fault in tariff_params.faults(utility, kind, filled.values["params"]):
        where = "params" if expert else _where(utility, kind, fault.field)
        said = f"{fault.field}：{fault.sentence}" if expert else fault.sentence
        filled.errors[where] = filled.errors.get(where, "") + said


def _where(utility: str, kind: str, field: str) -> str:
    """The typed field a fault of the params belongs to; "" for the whole form."""
    known = {one.name for one in tariff_forms.fields(utility, kind)}
    if field == "prices":
        field = "components" if "components" in known else "schedule"
    return field if field in known else ""


def _drafted(shape: tuple[str, str, bool], values: dict[str, Any]) -> dict[str, Any]:
    region = values["region_id"]
    own = ("name", "customer_class", "effective_from", "effective_to", "params")
    return {
        **{name: values[name] for name in own},
        "utility": shape[0],
        "kind": shape[1],
        "region_id": int(region) if region else None,
    }


@access.allow("finance", "manager")
def tariff_try() -> str:
    """What is typed, tried on an example household and, where asked, on the bills of the past."""
    shape = _shape(request.form)
    filled = forms.read(_fields(*shape), request.form)
    for name in ("name", "effective_from", "effective_to"):
        filled.errors.pop(name, None)
    _take_params(shape, filled)
    example = forms.read(EXAMPLE, request.form)
    found, past, why = None, None, ""
    if filled.errors or example.errors:
        why = "填好上面的价格后，这里显示试算结果。"
    else:
        try:
            found = _tried_example(shape, filled.values["params"], example.values)
            past = _tried_past(shape, filled.values) if "past" in request.form else None
        except (ValueError, Problem) as problem:
            why = getattr(problem, "detail", str(problem))
    return render_template("console/_tariff_try.html", tried=_result(found, past, why))


def _result(found: Any, past: Any, why: str) -> dict[str, Any]:
    most = max((row["bills"] for row in past["spread"]), default=1) or 1 if past else 1
    return {"found": found, "past": past, "why": why, "most": most}


def _tried_example(
    shape: tuple[str, str, bool], params: dict[str, Any], values: dict[str, Any]
) -> dict[str, Any]:
    area, used = Decimal(values["example_area"]), Decimal(values["example_used"])
    example = tariff_forms.Example(area, used, values["example_persons"], shape[0])
    return tariff_forms.tried(shape[1], params, example, business_day(now()))


def _tried_past(shape: tuple[str, str, bool], values: dict[str, Any]) -> dict[str, Any]:
    """The bills of the last year priced by what is typed; nothing of it is kept."""
    today = business_day(now())
    drafted = _drafted(shape, {"name": "", "effective_from": today, "effective_to": None, **values})
    return preview.preview_of(Tariff(**drafted), add_months(today, -12), today)


@access.allow("finance", "manager")
def tariff_page(tariff_id: int) -> str:
    """One version, and what it would have made of a past period's bills."""
    tariff = db.session.get(Tariff, tariff_id)
    if tariff is None:
        raise Problem("not_found")
    today = business_day(now())
    end = parse_day(request.args.get("to") or add_months(today, 0).isoformat(), latest=LATEST)
    begin = parse_day(request.args.get("from") or add_months(today, -3).isoformat(), latest=LATEST)
    found, why = None, ""
    if tariff.state == "draft" or "from" in request.args:
        try:
            found = preview.preview(tariff_id, begin, end)
        except Problem as problem:
            why = problem.detail
    typed = tariff_forms.is_typed(tariff.utility, tariff.kind, tariff.params)
    said = tariff_forms.words(tariff.utility, tariff.kind, tariff.params) if typed else []
    return render_template(
        "console/tariff.html",
        tariff=tariff,
        said=said,
        params=json.dumps(tariff.params, ensure_ascii=False, indent=2),
        tried=_result(None, found, why),
        begin=begin,
        end=end,
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
