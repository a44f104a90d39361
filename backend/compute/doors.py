"""Reading JSON strictly: every value has the type, unit and range it must have, or is refused."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from backend.base.clock import SHANGHAI
from backend.base.exact import MAX_EXPONENT, exact

Json = Mapping[str, object]
_NAN = float("nan")
_LARGEST = 10.0**MAX_EXPONENT
T = TypeVar("T")
D = TypeVar("D")


class BadInput(ValueError):
    """The line's input is not what its kind takes; the message names the field."""


def as_object(value: object, name: str) -> Json:
    """`value` as an object."""
    if not isinstance(value, dict):
        raise BadInput(f"{name} must be an object")
    return value


def as_number(value: object, name: str) -> int | Decimal:
    """`value` as a finite number, never true, false or text."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        raise BadInput(f"{name} must be a number")
    exact(value)
    return value


def as_float(value: object, name: str) -> float:
    """`value` as a float; null is NaN, the mark of a missing sample."""
    return float("nan") if value is None else float(as_number(value, name))


def as_floats(value: object, name: str) -> NDArray[np.float64]:
    """`value` as an array of floats; null is NaN. For a season's samples, so looked at at once."""
    if not isinstance(value, list):
        raise BadInput(f"{name} must be a list")
    if not {type(item) for item in value} <= {int, Decimal, type(None)}:
        raise BadInput(f"{name} must be a list of numbers and null")
    try:
        numbers = np.array([_NAN if item is None else item for item in value], dtype=np.float64)
    except OverflowError as error:
        raise BadInput(f"{name}: a number is out of range") from error
    size = np.abs(numbers)
    if np.any((size > _LARGEST) | ((size > 0) & (size < 1 / _LARGEST))):
        raise BadInput(f"{name}: a number is out of range")
    return numbers


def as_whole(value: object, name: str) -> int:
    """`value` as a whole number."""
    number = exact(as_number(value, name))
    if number.denominator != 1:
        raise BadInput(f"{name} must be a whole number")
    return int(number)


def as_text(value: object, name: str) -> str:
    """`value` as text."""
    if not isinstance(value, str):
        raise BadInput(f"{name} must be text")
    return value


def as_instant(value: object, name: str) -> datetime:
    """ISO 8601; without an offset it is local (Asia/Shanghai) time."""
    try:
        instant = datetime.fromisoformat(as_text(value, name))
    except ValueError as error:
        raise BadInput(f"{name} must be an ISO 8601 date and time") from error
    return instant if instant.tzinfo else instant.replace(tzinfo=SHANGHAI)


def as_day(value: object, name: str) -> date:
    """An ISO date."""
    try:
        return date.fromisoformat(as_text(value, name))
    except ValueError as error:
        raise BadInput(f"{name} must be a date") from error


def as_list(value: object, name: str, item: Callable[[object, str], T]) -> list[T]:
    """`value` as a list, each entry read by `item`."""
    if not isinstance(value, list):
        raise BadInput(f"{name} must be a list")
    return [item(entry, name) for entry in value]


def as_id(value: object, name: str) -> int | str:
    """A household's id: text or a whole number."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise BadInput(f"{name} must be text or a whole number")
    return value


def needed(source: Json, name: str, read: Callable[[object, str], T]) -> T:
    """The field `name` read by `read`; refused where absent or null."""
    if source.get(name) is None:
        raise BadInput(f"{name} is missing")
    return read(source[name], name)


def given(source: Json, name: str, read: Callable[[object, str], T], default: D) -> T | D:
    """The field `name` read by `read`, or `default` where absent or null."""
    return default if source.get(name) is None else read(source[name], name)
