"""Deny by default: a route nobody declared is answered 403, whoever asks.

Every view says who may call it: `@allow("resident")`, `@allow("reader")`, `@allow("finance",
"operator")`, `@allow("signed_in")` or `@allow("anyone")`.  Write it nearest to the function, under
the route and the schemas.  `init_app` puts the check in front of every request and keeps the
principal in `principal()`.

A room with another way of signing in (the console's cookie) registers a resolver for its
blueprint: `access.signs_in(app, "console", resolver, refuse)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

from flask import Flask, current_app, request

from backend.base.db import db
from backend.base.errors import Problem
from backend.people.models import ROLES
from backend.people.service import Principal, principal_of

WHO = frozenset({"anyone", "signed_in", "resident", *ROLES})
# Views of libraries and of base/, which cannot carry a declaration of their own.
OPEN_ENDPOINTS = frozenset(
    {
        "healthz",
        "readyz",
        "metrics",
        "openapi.spec",
        "openapi.docs",
        "openapi.swagger_ui_oauth_redirect",
    }
)
_KEY = "nuan_access"
_WHO = "nuan.principal"  # in the request's own environ: `g` may outlive it in tests and shells

View = TypeVar("View", bound=Callable[..., Any])
Resolver = Callable[[], Principal | None]


@dataclass(frozen=True)
class Door:
    """How one blueprint learns who asks, and what it answers instead of a problem (or None)."""

    resolve: Resolver
    refuse: Callable[[Problem], Any] | None = None


def allow(*who: str, reads: bool = False) -> Callable[[View], View]:
    """Declare who may call a view; ValueError for a word that is not in WHO.

    `reads`: the view only ever reads, so its statements need no BEGIN and COMMIT around them.
    """
    unknown = set(who) - WHO
    if unknown or not who:
        raise ValueError(f"@allow wants some of {sorted(WHO)}, not {sorted(unknown)}")

    def declare(view: View) -> View:
        view._nuan_allow = frozenset(who)  # type: ignore[attr-defined]
        view._nuan_reads = reads  # type: ignore[attr-defined]
        return view

    return declare


def declared(app: Flask, endpoint: str) -> frozenset[str] | None:
    """Who may call an endpoint; None where nobody has said."""
    if endpoint in OPEN_ENDPOINTS:
        return frozenset({"anyone"})
    found: frozenset[str] | None = getattr(app.view_functions.get(endpoint), "_nuan_allow", None)
    return found


def undeclared(app: Flask) -> list[str]:
    """The endpoints nobody has declared; the matrix test wants none."""
    return sorted(e for e in app.view_functions if declared(app, e) is None)


def init_app(app: Flask) -> None:
    """Put the check in front of every request."""
    app.extensions.setdefault(_KEY, {})
    app.before_request(_check)


def signs_in(
    app: Flask, blueprint: str, resolve: Resolver, refuse: Callable[[Problem], Any] | None = None
) -> None:
    """Requests of this blueprint are signed in by `resolve` and not by a bearer token."""
    app.extensions.setdefault(_KEY, {})[blueprint] = Door(resolve, refuse)


def principal() -> Principal:
    """Who asks; Problem not_signed_in where nobody is."""
    found: Principal | None = request.environ.get(_WHO)
    if found is None:
        raise Problem("not_signed_in")
    return found


def bearer() -> str | None:
    """The request's bearer token, if it has one."""
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def _check() -> Any:
    if request.endpoint is None:
        return None  # no such route: 404 or 405 follows
    who = declared(current_app, request.endpoint)
    if who is None:
        raise Problem("forbidden")
    if "anyone" in who:
        return None
    if getattr(current_app.view_functions[request.endpoint], "_nuan_reads", False):
        db.session.connection(execution_options={"isolation_level": "AUTOCOMMIT"})
    door: Door = current_app.extensions[_KEY].get(request.blueprint or "", _BEARER)
    try:
        found = request.environ[_WHO] = door.resolve()
        _admit(found, who)
    except Problem as problem:
        if door.refuse is None:
            raise
        return door.refuse(problem)
    return None


def _admit(found: Principal | None, who: Iterable[str]) -> None:
    if found is None:
        raise Problem("not_signed_in")
    held = found.roles | {"signed_in"} | ({"resident"} if found.kind == "resident" else set())
    if held.isdisjoint(who):
        raise Problem("forbidden")


def _by_token() -> Principal | None:
    token = bearer()
    return principal_of(token, current_app.extensions["nuan_clock"].now()) if token else None


_BEARER = Door(_by_token)
