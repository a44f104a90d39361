"""Money is a whole number of fen; it is rounded half-up, away from zero, once a line."""

import re
from decimal import Decimal
from fractions import Fraction

from backend.base.exact import exact

_YUAN = re.compile(r"(-?)(0|[1-9][0-9]{0,14})(?:\.([0-9]{1,2}))?")


def round_half_up(value: Decimal | Fraction | int) -> int:
    """The whole number nearest to `value` (fen), a half going away from zero."""
    number = exact(value)
    magnitude = (2 * abs(number.numerator) + number.denominator) // (2 * number.denominator)
    return magnitude if number >= 0 else -magnitude


def fen_of(yuan: Decimal | Fraction | int) -> int:
    """An exact sum in yuan as fen, half-up."""
    return round_half_up(exact(yuan) * 100)


def yuan_str(amount_fen: int) -> str:
    """1234 -> '12.34', -5 -> '-0.05'."""
    yuan, fen = divmod(abs(amount_fen), 100)
    return f"{'-' if amount_fen < 0 else ''}{yuan}.{fen:02d}"


def fen_from_yuan(text: str) -> int:
    """'12.34' -> 1234. At most two decimals, no signs but '-', no spaces; else ValueError."""
    match = _YUAN.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a sum in yuan with at most two decimals")
    sign, yuan, cents = match.groups()
    fen = int(yuan) * 100 + int((cents or "").ljust(2, "0"))
    return -fen if sign else fen
