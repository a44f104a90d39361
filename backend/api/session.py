"""Signing in and out, and what a client needs to know before."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import current_app

from backend.api import answers, limits, shapes
from backend.api.schemas import (
    ConfigOut,
    Me,
    ResidentSession,
    StaffSession,
    StaffSignIn,
    WechatSignIn,
)
from backend.archive import service as archive
from backend.base.db import db
from backend.cashier.channels import set_up
from backend.people import service as people
from backend.people.access import allow, bearer, principal
from backend.people.models import Staff
from backend.people.rules import shown_role
from backend.people.wechat_sign_in import page_appid

bp = APIBlueprint("session", __name__, url_prefix="/api/v1", tag="登录")


@bp.get("/config")
@bp.output(ConfigOut)
@allow("anyone")
def config() -> dict[str, Any]:
    """What the pages need before anyone has signed in."""
    settings = current_app.extensions["nuan_settings"]
    return {
        "wechat_appid": page_appid(settings),
        "oauth_url": settings.wechat_oauth_url,
        "bridge_url": settings.wechat_bridge_url or None,
        "overdue_template": settings.wechat_overdue_template,
        "low_balance_template": settings.wechat_low_balance_template,
        "company": settings.company,
        "channels": list(set_up()),
    }


@bp.post("/session/wechat")
@limits.wechat_sign_in()
@bp.input(WechatSignIn, arg_name="body")
@bp.output(ResidentSession)
@bp.doc(responses=[401, 429, 502])
@allow("anyone")
def sign_in_wechat(body: dict[str, str]) -> dict[str, Any]:
    """Sign a resident in with a code of WeChat's; a code serves once."""
    token, resident = people.sign_in_wechat(body["code"], body["via"], answers.now())
    db.session.commit()
    return {
        "token": token.text,
        "role": "resident",
        "expires_at": token.expires_at,
        "households": households_of(resident.id),
    }


@bp.post("/session/staff")
@limits.staff_sign_in()
@bp.input(StaffSignIn, arg_name="body")
@bp.output(StaffSession)
@bp.doc(responses=[401, 423, 429])
@allow("anyone")
def sign_in_staff(body: dict[str, str]) -> dict[str, Any]:
    """Sign a member of staff in; five wrong passwords in a row lock the account for 15 minutes."""
    token, staff = people.sign_in_staff(body["login"], body["password"], answers.now())
    db.session.commit()
    return {
        "token": token.text,
        "role": shown_role(staff.roles),
        "name": staff.name,
        "expires_at": token.expires_at,
    }


@bp.delete("/session")
@bp.output({}, status_code=204)
@allow("signed_in")
def sign_out() -> str:
    """Revoke the token this is asked with."""
    people.sign_out(bearer() or "", answers.now())
    db.session.commit()
    return ""


@bp.get("/me")
@bp.output(Me)
@allow("resident", "reader")
def me() -> dict[str, Any]:
    """Who is signed in, and a resident's households."""
    who = principal()
    if who.kind == "resident":
        return {"role": "resident", "name": None, "households": households_of(who.id)}
    staff = db.session.get_one(Staff, who.id)
    return {"role": shown_role(staff.roles), "name": staff.name, "households": []}


def households_of(resident_id: int) -> list[dict[str, Any]]:
    """The households a resident looks after, as they are shown."""
    today = answers.today()
    return [shapes.household(row, today) for row in archive.households_of(resident_id)]
