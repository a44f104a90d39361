"""Late fee (违约金): simple, by the day, never above the principal."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from fractions import Fraction

from backend.base.exact import Number, exact, plain
from backend.base.money import round_half_up, yuan_str
from backend.billing.lines import Line, adjusted

ORDERS = ("principal_first", "penalty_first")


@dataclass(frozen=True, slots=True)
class Terms:
    """`rate` a day on the principal outstanding; at least `min_fen` once anything is due.

    The whole fee is capped at `cap_ratio` of the first principal (law caps it at 1). `order`: what
    a part payment pays first.
    """

    rate: Number
    cap_ratio: Number = 1
    min_fen: int = 0
    order: str = "principal_first"

    def __post_init__(self) -> None:
        if self.order not in ORDERS:
            raise ValueError(f"order {self.order!r} is none of {', '.join(ORDERS)}")
        if exact(self.rate) < 0 or not 0 <= exact(self.cap_ratio) <= 1 or self.min_fen < 0:
            raise ValueError("rate and min_fen must not be negative, cap_ratio must be 0 to 1")


@dataclass(frozen=True, slots=True)
class LateFee:
    """`fee_fen` rounded once; what is exact stays exact: part payments may split a fen."""

    fee_fen: int
    days: int
    principal_outstanding_fen: Fraction
    penalty_paid_fen: Fraction
    credit_fen: Fraction


@dataclass(frozen=True, slots=True)
class _Account:
    principal: Fraction
    accrued: Fraction = Fraction(0)
    paid: Fraction = Fraction(0)
    credit: Fraction = Fraction(0)
    days: int = 0


def late_fee(
    principal_fen: int,
    due: date,
    as_of: date,
    terms: Terms,
    payments: Sequence[tuple[date, int]] = (),
) -> LateFee:
    """The fee accrued by the end of `as_of`, on the principal at the start of each day after `due`.

    The day of a payment still counts. Payments (date, fen) after `as_of` are not seen. What is
    paid above principal and fee is credit. Raises ValueError for negative amounts.
    """
    if principal_fen < 0 or any(fen < 0 for _, fen in payments):
        raise ValueError("the principal and payments must not be negative")
    seen = sorted((day, fen) for day, fen in payments if day <= as_of)
    cap = principal_fen * exact(terms.cap_ratio)
    account, since = _Account(Fraction(principal_fen)), due
    for day, fen in seen:
        account = _pay(_accrue(account, (day - since).days, terms, cap), fen, terms)
        since = max(since, day)
    account = _accrue(account, (as_of - since).days, terms, cap)
    fee_fen = _fee_fen(account, terms, cap)
    return LateFee(fee_fen, account.days, account.principal, account.paid, account.credit)


def _accrue(account: _Account, days: int, terms: Terms, cap: Fraction) -> _Account:
    if days <= 0 or account.principal <= 0:
        return account
    accrued = min(account.accrued + days * account.principal * exact(terms.rate), cap)
    return replace(account, accrued=accrued, days=account.days + days)


def _pay(account: _Account, fen: int, terms: Terms) -> _Account:
    left, unpaid = Fraction(fen), account.accrued - account.paid
    if terms.order == "penalty_first":
        penalty = min(left, unpaid)
        principal = min(left - penalty, account.principal)
    else:
        principal = min(left, account.principal)
        penalty = min(left - principal, unpaid)
    return replace(
        account,
        principal=account.principal - principal,
        paid=account.paid + penalty,
        credit=account.credit + left - principal - penalty,
    )


def _fee_fen(account: _Account, terms: Terms, cap: Fraction) -> int:
    """Rounded once; the least fee counts once a day has accrued, and no rounding lifts the cap."""
    if not account.accrued:
        return 0
    return min(max(round_half_up(account.accrued), terms.min_fen), round_half_up(cap))


def late_fee_line(fee: LateFee, principal_fen: int, due: date, terms: Terms) -> Line:
    """The fee as a line of a bill."""
    rate = plain(exact(terms.rate) * 1000)
    sentence = (
        f"应于 {due.isoformat()} 前缴清 {yuan_str(principal_fen)} 元，逾期 {fee.days} 天，"
        f"按每日未缴本金的千分之{rate}计，最高不超过本金，合计 {yuan_str(fee.fee_fen)} 元"
    )
    detail = {"days": fee.days, "rate": plain(exact(terms.rate)), "explain_zh": sentence}
    return adjusted("late_fee", "违约金", fee.fee_fen, **detail)
