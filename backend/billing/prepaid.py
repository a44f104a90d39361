"""Prepaid accounts: a deduction every day, a warning, a closed valve, an open one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction

from backend.base.exact import Number, exact
from backend.base.money import round_half_up
from backend.billing.tiered import TierTariff, tier_bounds, tier_usage

LOW, OVERDRAFT, CLOSE, REOPEN = "low_balance", "overdraft", "close", "reopen"


@dataclass(frozen=True, slots=True)
class Instalment:
    """A fixed sum deducted in equal days, the fen spread so that they add up exactly."""

    total_fen: int
    days: int

    def __post_init__(self) -> None:
        if self.total_fen < 0 or self.days <= 0:
            raise ValueError("an instalment needs a sum and at least one day")


@dataclass(frozen=True, slots=True)
class Plan:
    """How an account is charged and when it is warned and closed.

    Warned at a closing below `warn_fen`, closed after `close_after_days` closings in a row below 0
    (None: never).
    """

    tariff: TierTariff
    warn_fen: int | None = None
    close_after_days: int | None = None
    instalment: Instalment | None = None
    persons: int | None = None
    months: Number = 12


@dataclass(frozen=True, slots=True)
class Account:
    """An account between two days. `used`: accumulated this year.

    `owed_fen` is exact: the deduction is the growth of its rounding, so nothing ever drifts.
    """

    balance_fen: int
    used: Fraction = Fraction(0)
    day: int = 0
    owed_fen: Fraction = Fraction(0)
    days_below: int = 0
    is_warned: bool = False
    is_overdrawn: bool = False
    is_closed: bool = False


@dataclass(frozen=True, slots=True)
class Day:
    """One closing: what was deducted, what is left, what has to happen."""

    deduction_fen: int
    balance_fen: int
    events: tuple[str, ...] = field(default=())


def close_day(
    account: Account,
    usage: Number,
    plan: Plan,
    topup_fen: int = 0,
    besides_fen: Fraction = Fraction(0),
) -> tuple[Account, Day]:
    """One day: the top-up counts first, then the charge; the account after it and the closing.

    `besides_fen`: what the day costs besides tiers and instalment, exactly (energy by the hour).
    Raises ValueError for a negative top-up.
    """
    if topup_fen < 0:
        raise ValueError("a top-up must not be negative")
    opened, events = _topped_up(account, topup_fen, plan)
    used = opened.used + exact(usage)
    owed = opened.owed_fen + _charge_fen(opened, used, plan) + besides_fen
    deduction = round_half_up(owed) - round_half_up(opened.owed_fen)
    closed = replace(
        opened,
        balance_fen=opened.balance_fen - deduction,
        used=used,
        day=opened.day + 1,
        owed_fen=owed,
    )
    closed, more = _closing(closed, plan)
    return closed, Day(deduction, closed.balance_fen, (*events, *more))


def run(
    account: Account, usages: Sequence[Number], plan: Plan, topups: Mapping[int, int]
) -> tuple[Account, list[Day]]:
    """`close_day` over days 1, 2, ...; `topups` by day. Raises ValueError for one on no day."""
    strange = sorted(day for day in topups if not 1 <= day <= len(usages))
    if strange:
        raise ValueError(f"a top-up on day {strange[0]}, which is not in the period")
    days = []
    for number, usage in enumerate(usages, start=1):
        account, day = close_day(account, usage, plan, topups.get(number, 0))
        days.append(day)
    return account, days


def _charge_fen(account: Account, used: Fraction, plan: Plan) -> Fraction:
    """The day's exact charge: its usage by tier, and the day's part of the instalment."""
    bounds = tier_bounds(plan.tariff, plan.persons, plan.months)
    parts = tier_usage(account.used, used, bounds)
    prices = (exact(tier.price) for tier in plan.tariff.tiers)
    charge = sum((p * q for p, q in zip(prices, parts, strict=True)), Fraction(0)) * 100
    if plan.instalment is not None and account.day < plan.instalment.days:
        charge += Fraction(plan.instalment.total_fen, plan.instalment.days)
    return charge


def _topped_up(account: Account, topup_fen: int, plan: Plan) -> tuple[Account, tuple[str, ...]]:
    balance = account.balance_fen + topup_fen
    after = replace(
        account,
        balance_fen=balance,
        is_warned=account.is_warned and _is_low(balance, plan),
        is_overdrawn=account.is_overdrawn and balance < 0,
        days_below=account.days_below if balance < 0 else 0,
        is_closed=account.is_closed and balance < 0,
    )
    return after, ((REOPEN,) if account.is_closed and not after.is_closed else ())


def _is_low(balance_fen: int, plan: Plan) -> bool:
    return plan.warn_fen is not None and balance_fen < plan.warn_fen


def _closing(account: Account, plan: Plan) -> tuple[Account, tuple[str, ...]]:
    """What a closing balance sets off; each event once until a top-up lifts the balance again."""
    below = account.balance_fen < 0
    after = replace(
        account,
        days_below=account.days_below + 1 if below else 0,
        is_warned=_is_low(account.balance_fen, plan),
        is_overdrawn=below,
    )
    late = plan.close_after_days is not None and after.days_below >= plan.close_after_days
    after = replace(after, is_closed=account.is_closed or late)
    happened = (
        (LOW, after.is_warned and not account.is_warned),
        (OVERDRAFT, after.is_overdrawn and not account.is_overdrawn),
        (CLOSE, after.is_closed and not account.is_closed),
    )
    return after, tuple(event for event, yes in happened if yes)
