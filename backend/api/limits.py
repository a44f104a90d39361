"""How often somebody may try: signing in by address and login, binding by resident and address."""

from __future__ import annotations

from collections.abc import Callable
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
    body = request.get_json(silent=True)
    login = body.get("login") if isinstance(body, dict) else None
    return f"login:{str(login)[:64]}"


def binding() -> Callable[[Any], Any]:
    """Ten guesses an hour for a resident, thirty for an address (a family shares one)."""
    return _both(limiter.limit("10/hour;30/day", key_func=_resident), limiter.limit("30/hour"))


def staff_sign_in() -> Callable[[Any], Any]:
    """Ten attempts a minute for an address and for a login."""
    return _both(limiter.limit("10/minute", key_func=_login), limiter.limit("30/minute"))


def wechat_sign_in() -> Callable[[Any], Any]:
    """Sixty a minute for an address: a mobile carrier hides many phones behind one."""
    return limiter.limit("60/minute")


def _both(first: Decorator, second: Decorator) -> Decorator:
    return lambda view: first(second(view))
