"""A resident's households: bind one, the home screen, temperatures, consumption."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from apiflask import APIBlueprint
from flask import Response, current_app
from sqlalchemy.dialects.postgresql import insert

from backend.allocation import history as heat_history
from backend.api import answers, limits, shapes
from backend.api import home as home_screen
from backend.api.fields import ID
from backend.api.schemas import (
    BindIn,
    BoundHousehold,
    ConsumptionOut,
    Days,
    Home,
    SubscriptionIn,
    SubscriptionOut,
    TemperatureOut,
    UtilityDays,
)
from backend.archive import service as archive
from backend.archive.rules import TARGET_CDEG
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import history
from backend.metering.series import INTERVAL_S
from backend.notices.kinds import KINDS
from backend.notices.models import Subscription
from backend.people.access import allow, principal

bp = APIBlueprint("resident", __name__, url_prefix="/api/v1", tag="居民")

MAX_SUBSCRIPTIONS = 100


@bp.post("/me/households")
@limits.binding()
@bp.input(BindIn, arg_name="proof")
@bp.output(BoundHousehold, status_code=201)
@bp.doc(responses=[409, 429])
@allow("resident")
def bind(proof: dict[str, str]) -> dict[str, Any]:
    """Bind a household by its number and proof: the owner's name and the end of the phone number.

    bind_mismatch says the same for an unknown number, a wrong name and a wrong phone.
    """
    household = archive.bind(principal().id, **proof, now=answers.now())
    db.session.commit()
    return shapes.household(household, answers.today())


@bp.delete(f"/me/households/<{ID}:household_id>")
@bp.output({}, status_code=204)
@bp.doc(responses=[404])
@allow("resident")
def unbind(household_id: int) -> str:
    """Stop looking after a household."""
    archive.unbind(principal().id, household_id, answers.now())
    db.session.commit()
    return ""


@bp.post("/me/subscriptions")
@bp.input(SubscriptionIn, arg_name="answer")
@bp.output(SubscriptionOut)
@bp.doc(responses=[404])
@allow("resident")
def subscribe(answer: dict[str, Any]) -> dict[str, int]:
    """Count one more message of a template the resident agreed to receive (or none, if not)."""
    if answer["template"] not in known_templates():
        raise Problem("not_found", field="template")
    more = 1 if answer["accepted"] else 0
    statement = insert(Subscription).values(
        resident_id=principal().id,
        template=answer["template"],
        remaining=more,
        updated_at=answers.now(),
    )
    most = sa.func.least(Subscription.remaining + more, MAX_SUBSCRIPTIONS)
    remaining = db.session.execute(
        statement.on_conflict_do_update(
            index_elements=["resident_id", "template"],
            set_={"remaining": most, "updated_at": statement.excluded.updated_at},
        ).returning(Subscription.remaining)
    ).scalar_one()
    db.session.commit()
    return {"remaining": remaining}


@bp.get(f"/households/<{ID}:household_id>/home")
@bp.output(Home)
@bp.doc(responses=[404])
@allow("resident", reads=True)
def home(household_id: int) -> Response:
    """The home screen in one call."""
    return answers.quick_json(home_screen.home(principal().id, household_id, answers.now()))


@bp.get(f"/households/<{ID}:household_id>/temperature")
@bp.input(Days, location="query", arg_name="days")
@bp.output(TemperatureOut)
@bp.doc(responses=[404])
@allow("resident")
def temperature(household_id: int, days: dict[str, Any]) -> Response:
    """Room, supply and return temperature in ten-minute slots; at most 31 days."""
    _at_most(days, history.MAX_DAYS)
    archive.household_for(principal().id, household_id)
    found = history.temperature(household_id, days["day_from"], days["day_to"], TARGET_CDEG)
    return answers.quick_json(
        {
            "interval_s": INTERVAL_S,
            "target_cdeg": TARGET_CDEG,
            "days": found.days,
            "stats": found.stats,
        }
    )


@bp.get(f"/households/<{ID}:household_id>/consumption")
@bp.input(UtilityDays, location="query", arg_name="days")
@bp.output(ConsumptionOut)
@bp.doc(responses=[404])
@allow("resident")
def consumption(household_id: int, days: dict[str, Any]) -> Response:
    """What was used day by day; at most 400 days."""
    _at_most(days, heat_history.MAX_DAYS)
    archive.household_for(principal().id, household_id)
    found = heat_history.consumption(household_id, **days)
    return answers.quick_json(
        {
            "utility": days["utility"],
            "unit": found.unit,
            "provisional": found.provisional,
            "days": [{"day": d.day, "used": d.used, "flags": d.flags} for d in found.days],
            "total": found.total,
            "previous_total": found.previous_total,
        }
    )


def _at_most(days: dict[str, Any], most: int) -> None:
    if (days["day_to"] - days["day_from"]).days >= most:
        raise Problem("range_too_long", f"一次最多查询 {most} 天。", field="day_to")


def known_templates() -> set[str]:
    """The templates a resident can subscribe to."""
    settings = current_app.extensions["nuan_settings"]
    return {getattr(settings, kind.setting) for kind in KINDS.values()} - {""}
