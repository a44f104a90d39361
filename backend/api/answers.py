"""JSON out of the door without a schema's detour, for what is large or asked for all the time."""

from __future__ import annotations

import json
from datetime import date, datetime
from typing import Any

from flask import Response, current_app, request

from backend.base.clock import business_day

_NOW = "nuan.now"


def now() -> datetime:
    """The instant of this request: the application's clock, read once."""
    if _NOW not in request.environ:
        request.environ[_NOW] = current_app.extensions["nuan_clock"].now()
    found: datetime = request.environ[_NOW]
    return found


def today() -> date:
    """The business day of this request."""
    return business_day(now())


def quick_json(data: Any, status: int = 200) -> Response:
    """`data` as JSON; days and instants as ISO 8601.

    A view that answers so still declares its @output: the tests hold the two together.
    """
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), default=_iso)
    return Response(text, status, content_type="application/json")


def _iso(value: Any) -> str:
    if isinstance(value, date):  # a datetime is one, too
        return value.isoformat()
    raise TypeError(f"{type(value).__name__} has no place in an answer")
