"""住户: one household's money at a desk: bills and their reversal, credits, prepaid, 过户."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

import sqlalchemy as sa
from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.archive import owner
from backend.archive.models import Building, Household, Meter
from backend.archive.rules import UTILITIES
from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.exact import exact
from backend.base.paging import page_of
from backend.billing import ahead, handover, requests, tariffs, wallet
from backend.billing.models import Bill, BillingRequest, Handover
from backend.console import asked, forms
from backend.console.anomalies import shown
from backend.console.forms import Field, Filled, Typed
from backend.console.runs import ID
from backend.console.sessions import attempt, now
from backend.metering import service as metering
from backend.metering.models import MeterState
from backend.people import access
from backend.people.service import Principal

MAX_BILLS = 30
KINDS = {
    "usage": "用量",
    "settlement": "季结算",
    "late_fee": "违约金",
    "reversal": "红冲",
}
STATES = {"issued": "未缴清", "paid": "已缴清", "reversed": "已红冲"}
_UTILITY = forms.select_field("utility", "能源种类", tariffs.UTILITIES_ZH)
_AMOUNT = forms.yuan_field("amount_fen", "金额")


@dataclass(frozen=True, slots=True)
class Verb:
    """Something done to a household: its form, what does it, and what is said afterwards."""

    title: str
    fields: tuple[Field, ...]
    do: Callable[[int, Mapping[str, Any], Principal], object]
    said: str


VERBS: Mapping[str, Verb] = {
    "prepaid": Verb(
        "开通预付费",
        (_UTILITY, forms.day_field("first_day", "从哪天起预付")),
        lambda home, v, who: ahead.open_account(home, v["utility"], v["first_day"], who, now()),
        "预付费已开通。",
    ),
    "close": Verb(
        "关闭预付费",
        (_UTILITY, forms.day_field("day", "从哪天起不再预付")),
        lambda home, v, who: ahead.close_account(home, v["utility"], v["day"], who, now()),
        "预付费已关闭，余款转入住户余额。",
    ),
    "transfer": Verb(
        "余额转预付费",
        (_UTILITY, _AMOUNT, Field("key", "防重复标识", forms.text(8, 64))),
        lambda home, v, who: ahead.from_wallet(
            home, v["utility"], v["amount_fen"], f"desk:{v['key']}", now()
        ),
        "已转入预付费。",
    ),
    "credit": Verb(
        "退费 / 更正",
        (_UTILITY, _AMOUNT, forms.reason_field()),
        lambda home, v, who: requests.ask_credit(
            home, v["utility"], v["amount_fen"], v["reason"], who, now()
        ),
        "已申请，由另一位同事核准后记入住户余额。",
    ),
}
MOVED = forms.day_field("moved_on", "过户日（这天起归新户主）")
NEW_OWNER = (
    Field("name", "新户主姓名", forms.text(2, 40)),
    Field("phone", "新户主电话", forms.text(7, 20)),
)


def register(blueprint: Blueprint) -> None:
    """Finding a household, its page, its forms, and the steps of a handover."""
    add = blueprint.add_url_rule
    add("/households", "households", household_find)
    add(f"/households/<{ID}:household_id>", "household", household_page)
    add(f"/households/<{ID}:household_id>/<verb>", "household_do", household_do, methods=["POST"])
    add(f"/households/<{ID}:household_id>/handover", "handover", handover_page)
    add(
        f"/households/<{ID}:household_id>/handover",
        "handover_begin",
        handover_begin,
        methods=["POST"],
    )
    add(
        f"/handovers/<{ID}:handover_id>/complete",
        "handover_done",
        handover_done,
        methods=["POST"],
    )
    add(f"/bills/<{ID}:bill_id>/reverse", "bill_reverse", bill_reverse, methods=["POST"])


@access.allow("finance", "manager")
def household_find() -> str:
    """Households by account number, building or door."""
    said = request.args.get("q", "").strip()[:40].replace("\x00", "")
    query = (
        sa.select(Household, Building.name)
        .join(Building, Building.id == Household.building_id)
        .order_by(Building.code, Household.floor, Household.unit_no, Household.id)
    )
    for word in said.split()[:4]:
        query = query.where(
            sa.or_(
                Household.account_no.startswith(word, autoescape=True),
                Household.unit_no == word,
                Building.name.contains(word, autoescape=True),
                Building.code == word,
            )
        )
    return render_template("console/households.html", page=page_of(query, asked.page()), said=said)


@access.allow("finance", "manager")
def household_page(household_id: int) -> str:
    """One household and what can be done for it."""
    return _page(household_id)


def _page(household_id: int, verb: str = "", filled: Filled | None = None) -> str:
    home = _home(household_id)
    today = business_day(now())
    blank = {"utility": "heat", "first_day": today, "day": today, "key": f"{now():%Y%m%d%H%M%S%f}"}
    sheets = {name: _sheet(one.fields, blank) for name, one in VERBS.items()}
    if filled is not None:
        sheets[verb] |= {"typed": filled.typed, "errors": filled.errors}
    bills = sa.select(Bill).where(Bill.household_id == home.id).order_by(Bill.id.desc())
    waiting = sa.select(BillingRequest).where(
        BillingRequest.household_id == home.id, BillingRequest.state == "open"
    )
    return render_template(
        "console/household.html",
        home=home,
        owner=_masked(owner.name_of(home)),
        balance_fen=wallet.held_fen(home.id),
        accounts=ahead.standing(home.id, home.building_id, today),
        bills=db.session.scalars(bills.limit(MAX_BILLS)).all(),
        waiting=db.session.scalars(waiting.order_by(BillingRequest.id)).all(),
        request_kinds=requests.KINDS,
        open_handover=_open_handover(home.id),
        verbs=VERBS,
        sheets=sheets,
        opened=verb,
        kinds=KINDS,
        states=STATES,
        utilities=tariffs.UTILITIES_ZH,
    )


def _home(household_id: int) -> Household:
    home = db.session.get(Household, household_id)
    if home is None:
        raise Problem("not_found")
    return home


def _masked(name: str) -> str:
    """'张**': enough to know whom one speaks of."""
    return name[:1] + "*" * max(1, len(name) - 1)


def _sheet(fields: tuple[Field, ...], values: Mapping[str, Any]) -> dict[str, Any]:
    return {"fields": fields, "typed": forms.typed(fields, values), "errors": {}}


@access.allow("finance", "manager")
def household_do(household_id: int, verb: str) -> Response | tuple[str, int]:
    """One of VERBS; or the page again with what is wrong beside its field."""
    if verb not in VERBS:
        raise Problem("not_found")
    home, one = _home(household_id), VERBS[verb]
    filled = forms.read(one.fields, request.form)
    if not filled.errors:
        try:
            one.do(home.id, filled.values, access.principal())
            db.session.commit()
            flash(one.said, "good")
            return redirect(url_for("console.household", household_id=home.id), 303)
        except Problem as problem:
            db.session.rollback()
            filled.errors.update(forms.blamed(problem, one.fields))
    return _page(household_id, verb, filled), 422


@access.allow("finance", "manager")
def bill_reverse(bill_id: int) -> Response:
    """Ask for a bill to be reversed."""
    bill = db.session.get(Bill, bill_id)
    if bill is None:
        raise Problem("not_found")
    reason = request.form.get("reason", "").strip()[:200].replace("\x00", "")
    who = access.principal()
    attempt(
        lambda: requests.ask_reversal(bill_id, reason, who, now()),
        "已申请红冲，由另一位同事核准。",
    )
    return redirect(url_for("console.household", household_id=bill.household_id), 303)


def _open_handover(household_id: int) -> Handover | None:
    query = sa.select(Handover).where(
        Handover.household_id == household_id, Handover.state == "billed"
    )
    return db.session.scalars(query).one_or_none()


def _meters(household_id: int) -> list[Any]:
    """The live meters that are billed, each with its last register."""
    rows = sa.select(Meter, MeterState.register, MeterState.last_ok_at).outerjoin(
        MeterState, MeterState.meter_id == Meter.id
    )
    return list(
        db.session.execute(
            rows.where(
                Meter.household_id == household_id,
                Meter.kind.in_(UTILITIES),
                Meter.removed_on.is_(None),
            ).order_by(Meter.id)
        ).all()
    )


def _handover_fields(household_id: int) -> tuple[Field, ...]:
    """The day, and a final reading of each meter, where one was taken by hand."""
    readings = tuple(
        Field(
            f"reading_{meter.id}",
            f"{tariffs.UTILITIES_ZH[meter.kind]}表 {meter.address} 末次读数",
            forms.number("0", "999999999", 3),
            needed=False,
            hint=f"上次 {shown(register, meter.kind)}；远传已抄到的不用填。",
        )
        for meter, register, _at in _meters(household_id)
    )
    return (MOVED, *readings)


@access.allow("finance", "manager")
def handover_page(household_id: int) -> str:
    """The first step: the day and the last readings."""
    home = _home(household_id)
    typed = forms.typed(_handover_fields(home.id), {"moved_on": business_day(now())})
    return _handover(home, typed, {}, None)


def _handover(
    home: Household, typed: Typed, errors: dict[str, str], final: list[Any] | None
) -> str:
    found = _open_handover(home.id)
    unpaid = wallet.open_bills([home.id]) if found else []
    return render_template(
        "console/handover.html",
        home=home,
        owner=_masked(owner.name_of(home)),
        found=found,
        unpaid=unpaid,
        balance_fen=wallet.held_fen(home.id),
        final=final,
        form={"fields": _handover_fields(home.id), "typed": typed, "errors": errors},
        new_owner=_sheet(NEW_OWNER, {}),
        utilities=tariffs.UTILITIES_ZH,
    )


@access.allow("finance", "manager")
def handover_begin(household_id: int) -> Response | tuple[str, int] | str:
    """Look at the final bills (nothing is kept), or make them."""
    home = _home(household_id)
    fields = _handover_fields(home.id)
    filled = forms.read(fields, request.form)
    final = None
    if not filled.errors:
        try:
            final = _begun(home.id, filled.values)
            if request.form.get("step") == "make":
                db.session.commit()
                flash("末次账单已出；缴清后填写新户主，完成过户。", "good")
                return redirect(url_for("console.handover", household_id=household_id), 303)
            db.session.rollback()
            return _handover(_home(household_id), filled.typed, {}, final)
        except Problem as problem:
            db.session.rollback()
            filled.errors.update(forms.blamed(problem, fields))
    return _handover(_home(household_id), filled.typed, filled.errors, None), 422


def _begun(household_id: int, values: Mapping[str, Any]) -> list[Any]:
    """The readings kept and the final bills made, uncommitted; (utility, from, to, fen) each."""
    who, moved_on = access.principal(), values["moved_on"]
    before = db.session.scalar(sa.select(sa.func.max(Bill.id))) or 0
    for meter, _register, _at in _meters(household_id):
        typed = values[f"reading_{meter.id}"]
        if typed is not None:
            _keep_reading(meter.id, typed, moved_on, who)
    handover.begin(household_id, moved_on, who, now())
    made = sa.select(Bill).where(Bill.household_id == household_id, Bill.id > before)
    return [
        (b.utility, b.period_from, b.period_to, b.amount_fen)
        for b in db.session.scalars(made.order_by(Bill.id))
    ]


def _keep_reading(meter_id: int, typed: str, moved_on: date, who: Principal) -> None:
    """As read at the beginning of the day the household changes hands; the same form once."""
    name = str(uuid5(NAMESPACE_OID, f"handover:{meter_id}:{moved_on}:{typed}"))
    register = int(exact(Decimal(typed)) * 1000)
    at = min(day_start(moved_on), now())
    try:
        metering.typed_reading(
            meter_id, register, at, who.id or 0, name, confirm=False, note="过户末次读数", now=now()
        )
    except Problem as problem:
        raise Problem(problem.code, problem.detail, field=f"reading_{meter_id}") from None


@access.allow("finance", "manager")
def handover_done(handover_id: int) -> Response:
    """Write the new owner, once nothing is owed."""
    found = db.session.get(Handover, handover_id)
    if found is None:
        raise Problem("not_found")
    filled = forms.read(NEW_OWNER, request.form)
    url = url_for("console.handover", household_id=found.household_id)
    if filled.errors:
        flash("".join(filled.errors.values()), "bad")
        return redirect(url, 303)
    names, who = filled.values, access.principal()
    done = attempt(
        lambda: handover.complete(handover_id, names["name"], names["phone"], who, now()),
        "过户完成；原住户的绑定已解除，余款另行核准退还。",
    )
    if done:
        url = url_for("console.household", household_id=found.household_id)
    return redirect(url, 303)
