"""Placeholder until the room's first page lands."""

from apiflask import APIFlask


def init_app(app: APIFlask) -> None:
    """Register nothing yet."""
