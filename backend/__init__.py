"""Nuan's back end.  `create_app` is the way in; it is loaded when called, so that a command which
needs no web framework (`nuan decode`) does not wait for one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apiflask import APIFlask

    from backend.base.clock import Clock
    from backend.config import Settings


def create_app(
    settings: Settings | None = None, *, clock: Clock | None = None, web_pages: bool = True
) -> APIFlask:
    """The application over `settings` (default: the environment's); see backend.application."""
    from backend.application import build

    return build(settings, clock=clock, web_pages=web_pages)


def app_from_environment(**options: Any) -> APIFlask:
    """`create_app` for a command: logs configured, a bad setting ends in one line, exit 2."""
    from backend.application import from_environment

    return from_environment(**options)
