"""室温报修: reports of cold rooms, their measuring on site, and the decision."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal, InvalidOperation

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.archive.models import Household
from backend.base.clock import SHANGHAI, business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import cold
from backend.console.sessions import attempt, now, roles
from backend.people import access

ID = "int(max=9223372036854775807)"
STATES = {"open": "待处理", "measured": "已测温", "decided": "已判定"}


def register(blueprint: Blueprint) -> None:
    """The page and its two forms."""
    add = blueprint.add_url_rule
    add("/cold", "cold", cold_page)
    add(f"/cold/<{ID}:report_id>/measure", "cold_measure", cold_measure, methods=["POST"])
    add(f"/cold/<{ID}:report_id>/decide", "cold_decide", cold_decide, methods=["POST"])
    blueprint.add_app_template_filter(celsius)
    blueprint.add_app_template_filter(local_day)


def celsius(cdeg: int) -> str:
    """1650 -> '16.50 ℃'."""
    return f"{Decimal(cdeg).scaleb(-2)} ℃"


def local_day(at: datetime) -> date:
    """The business day of an instant."""
    return business_day(at)


@access.allow("finance", "operator", "manager")
def cold_page() -> str:
    """The reports, those not decided first."""
    reports = cold.reports()
    numbers = db.select(Household.id, Household.account_no).where(
        Household.id.in_({r.household_id for r in reports})
    )
    return render_template(
        "console/cold.html",
        reports=reports,
        accounts={row[0]: row[1] for row in db.session.execute(numbers)},
        states=STATES,
        today=business_day(now()),
        may_measure="operator" in roles(),
        may_decide=bool(roles() & {"finance", "manager"}),
    )


@access.allow("operator")
def cold_measure(report_id: int) -> Response:
    """Keep a measurement; a rule it breaks is said."""
    form = request.form
    names = ("resident_signature", "staff_signature")
    resident, staff = (form.get(name, "").strip()[:40] for name in names)
    try:
        at = datetime.fromisoformat(form.get("measured_at", "")).replace(tzinfo=SHANGHAI)
        cdeg = int(Decimal(form.get("celsius", "")) * 100)
    except (ValueError, InvalidOperation, OverflowError):
        raise Problem("validation", "请填写测温时间和温度，例如 16.5。") from None
    if not -5000 <= cdeg <= 6000 or "\x00" in resident + staff:
        raise Problem("validation", "温度须在 -50 到 60 ℃ 之间。")
    actor = access.principal()
    attempt(
        lambda: cold.measure(report_id, at, cdeg, resident, staff, actor, now()), "测温已登记。"
    )
    return redirect(url_for("console.cold"), 303)


@access.allow("finance", "manager")
def cold_decide(report_id: int) -> Response:
    """Find the cold days; a refund waits for somebody else."""
    source = request.form.get("source", "")
    try:
        begin, end = (date.fromisoformat(request.form.get(name, "")) for name in ("from", "to"))
    except ValueError:
        raise Problem("validation", "请填写起止日期。") from None
    if source not in cold.SOURCES:
        raise Problem("bad_request")
    actor = access.principal()
    attempt(
        lambda: cold.decide(report_id, source, begin, end, actor, now()),
        "已判定；有退费的，等待另一位同事核准。",
    )
    return redirect(url_for("console.cold"), 303)
