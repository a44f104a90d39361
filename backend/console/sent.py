"""What a desk's plain form sent: one field at a time, or a Problem that names the field.

(Forms with a table of fields and their errors beside them are `forms`.)
"""

from __future__ import annotations

from flask import request

from backend.base.errors import Problem
from backend.base.money import fen_from_yuan
from backend.cashier import shifts
from backend.console.sessions import now
from backend.people.service import Principal

MAX_TEXT = 200
MAX_DIGITS = 18


def text(name: str, most: int = MAX_TEXT) -> str:
    """A line of text, cut to what is kept."""
    return request.form.get(name, "").strip()[:most].replace("\x00", "")


def whole(name: str) -> int:
    """A count or an id."""
    return number(text(name), name)


def number(typed: str, field: str) -> int:
    """Digits as a number that fits into the database."""
    if not typed.isascii() or not typed.isdigit() or len(typed) > MAX_DIGITS:
        raise Problem("validation", field=field)
    return int(typed)


def yuan(name: str) -> int:
    """A sum in yuan as fen; nothing typed is nothing."""
    typed = text(name).replace(",", "")
    try:
        fen = fen_from_yuan(typed) if typed else 0
    except ValueError:
        detail = f"金额“{typed[:20]}”格式不正确，例如 123.45。"
        raise Problem("validation", detail, field=name) from None
    if fen < 0:
        raise Problem("validation", "金额不能为负。", field=name)
    return fen


def second() -> Principal | None:
    """The colleague who signs beside the one at the desk, where one did."""
    return shifts.signer(text("second_login"), request.form.get("second_password", ""), now())
