"""Typed forms: a table of fields says how each is asked for, read, written back and refused.

A page's form is a tuple of `Field`; `_form.html` draws it, `read` takes what was sent.  What is
kept (the values) and what a person types are two things: `as_kept` and `as_typed` go between them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any

from werkzeug.datastructures import MultiDict

from backend.base.errors import Problem
from backend.base.exact import exact, plain
from backend.base.money import fen_from_yuan, yuan_str
from backend.console.days import EARLIEST, LATEST

MAX_TYPED = 400  # characters of one field; longer is no value of any of these
MAX_ROWS = 60
Typed = dict[str, Any]  # name -> text, list of words, True, or rows of the same


class Wrong(ValueError):
    """What was typed is no value of the field; the message is for the person who typed it."""


@dataclass(frozen=True, slots=True)
class Field:
    """One thing a form asks for.

    `control`: text, date, month, select, check, checks, area or rows (`columns` are then its
    fields).  `blank`: what an empty field means; `needed` refuses it instead.
    """

    name: str
    label: str
    as_kept: Callable[[str], Any] = str
    as_typed: Callable[[Any], str] = str
    control: str = "text"
    choices: Mapping[str, str] = field(default_factory=dict)
    unit: str = ""
    hint: str = ""
    needed: bool = True
    blank: Any = None
    columns: tuple[Field, ...] = ()
    least: int = 1  # rows

    def words(self, value: Any) -> str:
        """The value as a sentence's part says it."""
        if value is None or value == []:
            return "无"
        if self.control == "check":
            return "是" if value else "否"
        if self.control == "checks":
            return "、".join(self.choices.get(v, v) for v in value)
        if self.control == "rows":
            return "；".join(_row_words(self.columns, row) for row in value)
        text = self.as_typed(value)
        return f"{self.choices.get(text, text)}{' ' + self.unit if self.unit else ''}"


def _row_words(columns: Sequence[Field], row: Mapping[str, Any]) -> str:
    said = (f"{c.label} {c.words(row[c.name])}" for c in columns if row.get(c.name) is not None)
    return "，".join(said)


@dataclass(frozen=True, slots=True)
class Filled:
    """A form as sent: the values kept, what was typed, and what is wrong where."""

    values: dict[str, Any]
    typed: Typed
    errors: dict[str, str]


def read(fields: Sequence[Field], sent: MultiDict[str, str]) -> Filled:
    """Every field of a form; a field in `errors` has no value."""
    found = Filled({}, {}, {})
    for one in fields:
        _READ.get(one.control, _read_one)(one, sent, found)
    return found


def _read_one(one: Field, sent: MultiDict[str, str], found: Filled) -> None:
    text = sent.get(one.name, "").strip()
    found.typed[one.name] = text[:MAX_TYPED]
    _take(one, text, found.values, found.errors, one.name)


def _take(one: Field, text: str, values: dict[str, Any], errors: dict[str, str], name: str) -> None:
    if not text:
        if one.needed:
            errors[name] = f"请填写{one.label}。"
        else:
            values[one.name] = one.blank
        return
    try:
        if len(text) > MAX_TYPED or "\x00" in text:
            raise Wrong("太长，或有不能保存的字符。")
        if one.choices and one.control == "select" and text not in one.choices:
            raise Wrong("请从列表中选择。")
        values[one.name] = one.as_kept(text)
    except Wrong as wrong:
        errors[name] = str(wrong)


def _read_check(one: Field, sent: MultiDict[str, str], found: Filled) -> None:
    found.typed[one.name] = found.values[one.name] = sent.get(one.name) == "1"


def _read_checks(one: Field, sent: MultiDict[str, str], found: Filled) -> None:
    chosen = [word for word in one.choices if word in sent.getlist(one.name)]
    found.typed[one.name] = found.values[one.name] = chosen


def _read_rows(one: Field, sent: MultiDict[str, str], found: Filled) -> None:
    typed: list[dict[str, str]] = []
    kept: list[dict[str, Any]] = []
    for index in range(MAX_ROWS):
        names = {c.name: f"{one.name}.{index}.{c.name}" for c in one.columns}
        row = {c: sent.get(name, "").strip()[:MAX_TYPED] for c, name in names.items()}
        if not any(row.values()):
            continue
        values: dict[str, Any] = {}
        for column in one.columns:
            place = f"{one.name}.{len(typed)}.{column.name}"
            _take(column, row[column.name], values, found.errors, place)
        typed.append(row)
        kept.append(values)
    found.typed[one.name], found.values[one.name] = typed, kept
    if len(kept) < one.least:
        found.errors[one.name] = f"请至少填写 {one.least} 行。"


_READ: Mapping[str, Callable[[Field, MultiDict[str, str], Filled], None]] = {
    "check": _read_check,
    "checks": _read_checks,
    "rows": _read_rows,
}


def typed(fields: Sequence[Field], values: Mapping[str, Any]) -> Typed:
    """Values as a form shows them."""
    return {one.name: _typed(one, values.get(one.name)) for one in fields}


def _typed(one: Field, value: Any) -> Any:
    if one.control == "check":
        return bool(value)
    if one.control == "checks":
        return list(value or [])
    if one.control == "rows":
        return [typed(one.columns, row) for row in value or []]
    return "" if value is None else one.as_typed(value)


def words(fields: Sequence[Field], values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(label, value) of every field, for reading."""
    return [(one.label, one.words(values.get(one.name))) for one in fields]


def number(low: str, high: str, places: int, scale: int = 1) -> Callable[[str], str]:
    """A decimal kept as text, divided by `scale` (100: typed in per cent)."""

    def as_kept(text: str) -> str:
        value = _decimal(text, low, high, places)
        return plain(exact(value) / scale)

    return as_kept


def scaled(scale: int) -> Callable[[Any], str]:
    """A number as people type it, `scale` times what is kept."""
    return lambda value: plain(exact(Decimal(str(value))) * scale)


def whole(low: int, high: int) -> Callable[[str], int]:
    """A whole number of a range."""

    def as_kept(text: str) -> int:
        if not (text.isascii() and text.lstrip("-").isdigit() and low <= int(text) <= high):
            raise Wrong(f"须为 {low} 到 {high} 的整数。")
        return int(text)

    return as_kept


def cdeg(low: int, high: int) -> Callable[[str], int]:
    """Degrees Celsius with at most two decimals, kept in hundredths."""
    return lambda text: int(_decimal(text, str(low), str(high), 2).scaleb(2))


def of_cdeg(value: Any) -> str:
    """1850 -> '18.5'."""
    return plain(exact(Decimal(value).scaleb(-2)))


def fen(text: str) -> int:
    """Yuan, not below zero, kept in fen."""
    try:
        amount_fen = fen_from_yuan(text.replace(",", ""))
    except ValueError:
        raise Wrong("请填写金额，最多两位小数，例如 20.00。") from None
    if amount_fen < 0:
        raise Wrong("金额不能小于 0。")
    return amount_fen


def day(text: str) -> date:
    """A day, written 2026-11-20."""
    try:
        found = date.fromisoformat(text)
    except ValueError:
        raise Wrong("日期格式应为 2026-11-20。") from None
    if not EARLIEST <= found <= LATEST:
        raise Wrong(f"日期须在 {EARLIEST} 到 {LATEST} 之间。")
    return found


def text(least: int, most: int) -> Callable[[str], str]:
    """Words of a length."""

    def as_kept(said: str) -> str:
        if not least <= len(said) <= most:
            raise Wrong(f"请填写 {least} 到 {most} 个字。")
        return said

    return as_kept


def _decimal(text: str, low: str, high: str, places: int) -> Decimal:
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Wrong("须为数字。") from None
    if not value.is_finite() or not Decimal(low) <= value <= Decimal(high):
        raise Wrong(f"须在 {low} 到 {high} 之间。")
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places:
        raise Wrong(f"最多 {places} 位小数。")
    return value


def yuan_field(name: str, label: str, **more: Any) -> Field:
    """A sum of money."""
    return Field(name, label, fen, yuan_str, unit="元", **more)


def price_field(name: str, label: str, unit: str, **more: Any) -> Field:
    """A unit price in yuan, kept as text."""
    return Field(name, label, number("0", "999999", 8), unit=unit, **more)


def percent_field(name: str, label: str, high: str = "100", places: int = 4, **more: Any) -> Field:
    """A part of a whole: typed in per cent, kept as a ratio in text."""
    as_kept = number("0", high, places, 100)
    return Field(name, label, as_kept, scaled(100), unit="%", **more)


def whole_field(name: str, label: str, low: int, high: int, unit: str, **more: Any) -> Field:
    """A count of something."""
    return Field(name, label, whole(low, high), unit=unit, **more)


def cdeg_field(name: str, label: str, low: int, high: int, **more: Any) -> Field:
    """A temperature."""
    return Field(name, label, cdeg(low, high), of_cdeg, unit="℃", **more)


def day_field(name: str, label: str, **more: Any) -> Field:
    """A day."""
    return Field(name, label, day, date.isoformat, control="date", **more)


def select_field(name: str, label: str, choices: Mapping[str, str], **more: Any) -> Field:
    """One of a list."""
    return Field(name, label, control="select", choices=choices, **more)


def check_field(name: str, label: str, **more: Any) -> Field:
    """Yes or no."""
    return Field(name, label, control="check", **more)


def reason_field(label: str = "原因") -> Field:
    """Why; for whoever decides and for the audit trail."""
    return Field("reason", label, text(2, 200))


def blamed(problem: Problem, fields: Sequence[Field]) -> dict[str, str]:
    """A refusal beside the field it names, or above the form where it names none of these."""
    if problem.field in {one.name for one in fields}:
        return {str(problem.field): problem.detail.removeprefix(f"{problem.field}：")}
    return {"": problem.detail}
