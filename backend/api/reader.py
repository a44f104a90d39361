"""A meter reader's round, and the readings typed in on it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from apiflask import APIBlueprint

from backend.api import answers, shapes
from backend.api.schemas import ReaderToday, TypedReadingIn, TypedReadingOut
from backend.api.schemas_billing import ColdVisitsOut
from backend.archive.models import Meter
from backend.archive.service import place
from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import cold
from backend.billing.explain import FLAGS as BILL_FLAGS
from backend.metering import service as metering
from backend.people.access import allow, principal

bp = APIBlueprint("reader", __name__, url_prefix="/api/v1/reader", tag="抄表")

KINDS = ("heat", "water", "gas", "electricity")
# More than anyone can walk in a day; the totals still count all of them.
MAX_METERS = 500
FLAGS = {
    **BILL_FLAGS,
    "jump": "用量比平常大得多",
    "reverse": "读数比上次小",
    "stuck": "读数长时间没有变化",
    "impossible": "读数超出表计范围",
    "out_of_order": "比已有读数早",
    "duplicate": "同一时刻已有读数",
}

_COUNTS = """
SELECT count(*) AS total, count(*) FILTER (WHERE s.last_ok_at >= %(day)s) AS read
  FROM meter m LEFT JOIN meter_state s ON s.meter_id = m.id
 WHERE m.scope = 'household' AND m.removed_on IS NULL AND m.kind = ANY(%(kinds)s)
"""
_ROUND = """
SELECT m.id, m.kind, m.address, b.name AS building_name, h.unit_no, h.account_no, s.register,
       s.last_ok_at, s.last_error_at, s.last_error, coalesce(owed.fen, 0) AS owes_fen
  FROM meter m
  JOIN household h ON h.id = m.household_id
  JOIN building b ON b.id = h.building_id
  LEFT JOIN meter_state s ON s.meter_id = m.id
  LEFT JOIN LATERAL (SELECT sum(amount_fen - paid_fen)::bigint AS fen FROM bill
                      WHERE household_id = h.id AND state = 'issued') owed ON true
 WHERE m.scope = 'household' AND m.removed_on IS NULL AND m.kind = ANY(%(kinds)s)
   AND (s.last_ok_at IS NULL OR s.last_ok_at < %(day)s
        OR m.id IN (SELECT e.meter_id FROM manual_entry e JOIN reading r ON r.id = e.reading_id
                     WHERE e.staff_id = %(staff)s AND r.read_at >= %(day)s))
 ORDER BY b.code, h.floor, h.unit_no, m.kind, m.id LIMIT %(most)s
"""


@bp.get("/today")
@bp.output(ReaderToday)
@allow("reader")
def today() -> dict[str, Any]:
    """The meters that have not answered today, and those this reader typed in, place by place."""
    day = answers.today()
    begin = day_start(day)
    values = {"day": begin, "kinds": list(KINDS), "staff": principal().id, "most": MAX_METERS}
    connection = db.session.connection()
    counts = connection.exec_driver_sql(_COUNTS, values).one()
    rows = connection.exec_driver_sql(_ROUND, values)
    return {
        "day": day,
        "total": counts.total,
        "read": counts.read,
        "missing": counts.total - counts.read,
        "meters": [_meter(row, begin) for row in rows],
    }


def _meter(row: Any, begin: datetime) -> dict[str, Any]:
    state = _state(row, begin)
    return {
        "id": row.id,
        "kind": row.kind,
        "address": row.address,
        "place": place(row.building_name, row.unit_no),
        "account_no": row.account_no,
        "state": state,
        "last_read_at": row.last_ok_at,
        "register": row.register,
        "unit": shapes.unit_of(row.kind),
        "error": row.last_error if state == "failed" else None,
        "owes_fen": row.owes_fen,
    }


def _state(row: Any, begin: datetime) -> str:
    """read today; failed where it was asked today and did not answer; missing otherwise."""
    if row.last_ok_at is not None and row.last_ok_at >= begin:
        return "read"
    asked_today = row.last_error_at is not None and row.last_error_at >= begin
    return "failed" if asked_today else "missing"


@bp.post("/readings")
@bp.input(TypedReadingIn, arg_name="typed")
@bp.output(TypedReadingOut, status_code=201)
@bp.doc(responses=[404])
@allow("reader")
def type_in(typed: dict[str, Any]) -> dict[str, Any]:
    """A reading typed in; sending the same client_id again returns the first answer."""
    _on_the_round(typed["meter_id"], typed["read_at"])
    reading_id, flags, used = metering.typed_reading(
        typed["meter_id"],
        typed["register"],
        typed["read_at"],
        principal().id,
        str(typed["client_id"]),
        confirm=typed["confirm"],
        note=typed["note"],
        now=answers.now(),
    )
    db.session.commit()
    return {
        "reading_id": reading_id,
        "flags": [{"code": code, "text": FLAGS.get(code, code)} for code in flags],
        "usage_since_last": used,
    }


@bp.get("/cold-reports")
@bp.output(ColdVisitsOut)
@allow("reader")
def cold_visits() -> dict[str, Any]:
    """Cold rooms to be measured on site (the measurement itself: staff/cold-reports)."""
    return {"visits": cold.to_measure()}


def _on_the_round(meter_id: int, read_at: datetime) -> None:
    """Problem not_your_meter for a meter that is no household's, or was gone by then."""
    meter = db.session.get(Meter, meter_id)
    if meter is None or meter.scope != "household" or meter.kind not in KINDS:
        raise Problem("not_your_meter", field="meter_id")
    if meter.removed_on is not None and business_day(read_at) > meter.removed_on:
        raise Problem("not_your_meter", field="meter_id")
