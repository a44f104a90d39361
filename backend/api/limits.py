"""How often somebody may try to sign in, and to bind a household."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

from flask import request
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address

from backend.people.access import principal

limiter = Limiter(get_remote_address, headers_enabled=False)

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


def _resident() -> str:
    return f"resident:{principal().id}"


def _login() -> str:
    return f"login:{_given('login')}"


def _account() -> str:
    return f"account:{_given('account_no')}"


def _given(name: str) -> str:
    """A field of the body as it came; what is wrong with it is the schema's business."""
    body = request.get_json(silent=True)
    return str(body.get(name) if isinstance(body, dict) else None).strip()[:64]


def binding() -> Decorator:
    """Ten guesses an hour for a resident and twenty a day for a household, whoever guesses.

    An address has many more: a mobile carrier hides thousands of phones behind one.
    """
    return _all(
        limiter.limit("10/hour;30/day", key_func=_resident),
        limiter.limit("20/day", key_func=_account),
        limiter.limit("300/hour"),
    )


def staff_sign_in() -> Decorator:
    """Ten attempts a minute for a login, thirty for an address."""
    return _all(limiter.limit("10/minute", key_func=_login), limiter.limit("30/minute"))


def papers() -> Decorator:
    """Thirty invoices or PDFs a minute for a resident: each PDF is a process of its own."""
    return limiter.limit("30/minute", key_func=_resident)


def wechat_sign_in() -> Decorator:
    """Three hundred a minute for an address; each costs a call of WeChat's."""
    return limiter.limit("300/minute")


def _all(*limits: Decorator) -> Decorator:
    return lambda view: reduce(lambda inner, limit: limit(inner), reversed(limits), view)
