"""Which row a page or form is about: an id in the query string or a form, checked."""

from __future__ import annotations

from flask import request

from backend.base.errors import Problem


def number(text: str) -> int | None:
    """An id as typed into a URL or chosen in a form; None where nothing is, Problem not_found."""
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem("not_found")
    return int(text)


def needed(text: str) -> int:
    """The same where there must be one."""
    found = number(text)
    if found is None:
        raise Problem("not_found")
    return found


def maybe(name: str, default: int | None = None) -> int | None:
    """A number of the query string; what is none is as if it were not there."""
    text = request.args.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else default


def page() -> int:
    """Which page of a list is asked for."""
    return maybe("page", 1) or 1
