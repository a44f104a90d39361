"""What every request gets: an id, a log line, counters, and problems instead of tracebacks."""

from __future__ import annotations

import logging
import re
import time
from typing import Any

from apiflask import APIFlask
from flask import Response, g, jsonify, request
from prometheus_client import CONTENT_TYPE_LATEST, Counter, Histogram, generate_latest
from sqlalchemy.exc import OperationalError
from werkzeug.exceptions import HTTPException

from backend.base import ids, logs
from backend.base.db import db
from backend.base.errors import Problem

log = logging.getLogger("nuan.web")

REQUESTS = Counter("nuan_http_requests_total", "Requests answered", ["route", "method", "status"])
SECONDS = Histogram("nuan_http_seconds", "Seconds to answer", ["route"])

_HTTP_CODES = {
    400: "bad_request",
    401: "not_signed_in",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "too_large",
    422: "validation",
    429: "too_many_attempts",
    503: "unavailable",
}
_REQUEST_ID = re.compile(r"[\w\-]{8,64}")


def init_app(app: APIFlask) -> None:
    """Install the hooks, the error handlers and the probes."""
    app.before_request(_begin)
    app.after_request(_finish)
    app.after_request(_end_reading)
    app.register_error_handler(Problem, _problem)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(OperationalError, _database)
    app.register_error_handler(Exception, _unexpected)
    app.error_processor(_api_error)
    app.add_url_rule("/healthz", "healthz", _healthz)
    app.add_url_rule("/readyz", "readyz", _readyz)
    app.add_url_rule("/metrics", "metrics", _metrics)


def _begin() -> None:
    given = request.headers.get("X-Request-Id", "")
    g.request_id = given if _REQUEST_ID.fullmatch(given) else ids.request_id()
    g.started = time.perf_counter()
    logs.request_id.set(g.request_id)


def _end_reading(response: Response) -> Response:
    """End a page's reading with COMMIT.

    After a ROLLBACK psycopg forgets its prepared statements, and every page's statements would be
    planned anew: planning the home screen's took longer than running them.
    """
    reading = request.method in ("GET", "HEAD") and response.status_code < 400
    if reading and db.session.registry.has() and db.session().in_transaction():
        db.session.commit()
    return response


def _finish(response: Response) -> Response:
    seconds = time.perf_counter() - g.started if "started" in g else 0.0
    route = request.url_rule.rule if request.url_rule else "unmatched"
    REQUESTS.labels(route, request.method, response.status_code).inc()
    SECONDS.labels(route).observe(seconds)
    response.headers["X-Request-Id"] = g.get("request_id", "")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    response.headers.setdefault("Referrer-Policy", "same-origin")
    log.info(
        "request",
        extra={
            "route": route,
            "method": request.method,
            "status": response.status_code,
            "ms": round(seconds * 1000, 1),
        },
    )
    return response


def problem_response(problem: Problem) -> Response:
    """A Problem as application/problem+json."""
    response = jsonify(problem.body(g.get("request_id")))
    response.status_code = problem.status
    response.content_type = "application/problem+json"
    return response


def _problem(problem: Problem) -> Response:
    db.session.rollback()
    return problem_response(problem)


def _http(error: HTTPException) -> Response | HTTPException:
    if error.code is not None and error.code < 400:
        return error
    return problem_response(Problem(_HTTP_CODES.get(error.code or 500, "internal")))


def _api_error(error: Any) -> Any:
    """APIFlask's own errors (schema validation): the first field that is wrong, by name."""
    if error.status_code != 422:
        return _http_pair(error.status_code)
    field, sentence = _first_fault(error.detail)
    return _pair(Problem("validation", sentence, field=field))


def _first_fault(detail: Any, path: tuple[str, ...] = ()) -> tuple[str | None, str | None]:
    """Walk {location: {field: [messages]}} to the first message; the location is not a field."""
    if isinstance(detail, dict) and detail:
        key = next(iter(detail))
        return _first_fault(detail[key], (*path, str(key)))
    if isinstance(detail, list) and detail:
        return ".".join(path[1:]) or None, str(detail[0])
    return None, None


def _http_pair(status: int) -> Any:
    return _pair(Problem(_HTTP_CODES.get(status, "internal")))


def _pair(problem: Problem) -> Any:
    return (
        problem.body(g.get("request_id")),
        problem.status,
        {"Content-Type": "application/problem+json"},
    )


def _database(error: OperationalError) -> Response:
    log.error("database does not answer", exc_info=error)
    db.session.rollback()
    return problem_response(Problem("unavailable"))


def _unexpected(error: Exception) -> Response:
    log.error("unhandled error", exc_info=error)
    db.session.rollback()
    return problem_response(Problem("internal"))


def _healthz() -> Any:
    """The process answers."""
    return {"status": "ok"}


def _readyz() -> Any:
    """The process can do its work: the database answers and is migrated."""
    version = db.session.execute(db.text("SELECT version_num FROM alembic_version")).scalar()
    return {"status": "ready", "migration": version}


def _metrics() -> Response:
    return Response(generate_latest(), content_type=CONTENT_TYPE_LATEST)
