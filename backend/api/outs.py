"""Shorthand for what comes out, and the two shapes every audience shares."""

from __future__ import annotations

from typing import Any

from apiflask import Schema, fields


def text(description: str = "", **more: Any) -> fields.String:
    """A text that comes out."""
    return fields.String(metadata={"description": description} if description else {}, **more)


def whole(description: str = "", **more: Any) -> fields.Integer:
    """A whole number that comes out."""
    return fields.Integer(metadata={"description": description} if description else {}, **more)


def maybe_whole(description: str = "") -> fields.Integer:
    """A whole number, or null where it is not known."""
    return whole(description, allow_none=True)


class ProblemOut(Schema):
    """RFC 9457; `code` is stable, `detail` is a sentence to show as it is."""

    type = text()
    title = text()
    status = whole()
    code = text("stable, e.g. bind_mismatch")
    detail = text("a sentence in Chinese for the person")
    field = text("the offending field, dotted", allow_none=True)
    request_id = text(allow_none=True)


class FlagOut(Schema):
    """Something odd, as a stable code and as a sentence."""

    code = text()
    text = text()
