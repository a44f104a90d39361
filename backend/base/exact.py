"""Exact numbers: everything that is shared out or priced is a Fraction until its one rounding."""

from decimal import Context, Decimal
from fractions import Fraction

Number = int | float | Decimal | Fraction

# A wilder exponent is a typing error, and as a Fraction it would be a number of a million digits.
MAX_EXPONENT = 40


def exact(value: Number) -> Fraction:
    """`value` as a Fraction; a float is read as the decimal it prints as (62.4 is 624/10).

    Raises ValueError for NaN and infinities, and for magnitudes no meter or price has.
    """
    if isinstance(value, Fraction):
        return value
    if isinstance(value, int):
        return Fraction(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return Fraction(int(value))
    number = value if isinstance(value, Decimal) else Decimal(repr(float(value)))
    if not number.is_finite():
        raise ValueError(f"{value} is not a finite number")
    if number and not -MAX_EXPONENT <= number.adjusted() <= MAX_EXPONENT:
        raise ValueError(f"{value} is out of range")
    return Fraction(number)


def to_decimal(value: Fraction, digits: int = 28) -> Decimal:
    """`value` to `digits` significant digits, exactly where it ends sooner."""
    return ratio(value.numerator, value.denominator, digits)


def ratio(numerator: int, denominator: int, digits: int = 28) -> Decimal:
    """numerator / denominator to `digits` significant digits."""
    return Context(prec=digits).divide(Decimal(numerator), Decimal(denominator))


def plain(value: Fraction, digits: int = 28) -> str:
    """`value` as people write it: no exponent, no trailing zeros ('85', '0.3', '151.666667')."""
    text = format(to_decimal(value, digits), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text
