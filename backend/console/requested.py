"""待核准: what one person has asked for and another decides."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.archive.models import Household
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests
from backend.cashier import refund_cards
from backend.console import rule_forms
from backend.console.runs import ID
from backend.console.sessions import attempt, current, now, roles
from backend.people import access
from backend.people.models import Staff

DECISIONS = {"open": "待核准", "approved": "已核准", "refused": "已拒绝"}


def register(blueprint: Blueprint) -> None:
    """The page and its buttons."""
    add = blueprint.add_url_rule
    add("/requests", "requests", request_list)
    add(f"/requests/<{ID}:request_id>/decide", "request_decide", request_decide, methods=["POST"])


def names(ids: Any) -> dict[int, str]:
    """Staff by id."""
    return pairs(db.select(Staff.id, Staff.name).where(Staff.id.in_(ids)))


def pairs(query: Any) -> dict[int, str]:
    """A query's two columns as a table."""
    return {row[0]: row[1] for row in db.session.execute(query)}


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
        accounts=pairs(numbers),
        people=names(people - {None}),
        me=staff.id if staff else None,
        held=roles(),
        rule_words=rule_forms.request_words,
        banks=refund_cards.BANKS_ZH,
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
