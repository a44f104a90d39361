"""What the cashier writes into the ledger: payments, refunds and the channels' fees."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import sqlalchemy as sa

from backend.base.clock import business_day, day_bounds
from backend.base.db import db
from backend.cashier import rules
from backend.cashier.models import FinanceDay, PaymentOrder, Refund
from backend.ledger import chart, periods
from backend.ledger import service as ledger
from backend.ledger.chart import AccountRef
from backend.ledger.service import Posted

PAYMENT, REFUND, FEE = "payment", "refund", "fee"
_DAY_LOCK = 0x4E55  # first half of an advisory lock; the second is the day


def posting_time(at: datetime, now: datetime) -> datetime:
    """When money that moved at `at` is posted: then, or now where that day or month is closed.

    A day that is over cannot be closed from here until the caller commits; one that is not needs
    no lock, for its close waits for a statement that comes ten hours after its end.
    """
    day = business_day(at)
    if not rules.day_is_over(day, now):
        return at
    lock_day(day, shared=True)
    closed = db.session.get(FinanceDay, day) is not None or periods.is_closed(day)
    return now if closed else at


def moment_on(day: date, now: datetime) -> datetime:
    """When something that is only known to have happened on a day is posted.

    Now for today, the last second of a day that is over, now again where that day is closed.
    """
    if day >= business_day(now):
        return now
    return posting_time(day_bounds(day)[1] - timedelta(seconds=1), now)


def lock_day(day: date, *, shared: bool) -> None:
    """Hold a finance day until commit: many may post into it, or one may close it."""
    function = sa.func.pg_advisory_xact_lock_shared if shared else sa.func.pg_advisory_xact_lock
    db.session.execute(sa.select(function(_DAY_LOCK, day.toordinal())))


def post_payment(
    channel: str,
    out_trade_no: str,
    transaction_id: str,
    received_fen: int,
    credited: Sequence[tuple[AccountRef, int]],
    at: datetime,
) -> Posted:
    """Dr clearing, Cr what was owed; what nobody owed waits in suspense."""
    surplus_fen = received_fen - sum(amount_fen for _, amount_fen in credited)
    lines = [(chart.clearing(channel), received_fen)]
    lines += [(account, -amount_fen) for account, amount_fen in credited]
    lines += [(chart.suspense(channel), -surplus_fen)]
    return ledger.post(
        rules.payment_key(channel, transaction_id),
        PAYMENT,
        at,
        lines,
        out_trade_no=out_trade_no,
        amount_fen=received_fen,
    )


def post_refund(order: PaymentOrder, refund: Refund, at: datetime) -> Posted:
    """Dr suspense, Cr clearing: what is given back was never credited to a bill."""
    return ledger.post(
        rules.refund_key(order.channel, refund.out_refund_no),
        REFUND,
        at,
        [
            (chart.suspense(order.channel), refund.amount_fen),
            (chart.clearing(order.channel), -refund.amount_fen),
        ],
        out_trade_no=order.out_trade_no,
        out_refund_no=refund.out_refund_no,
    )


def post_paid_twice(order: PaymentOrder, refund: Refund, at: datetime) -> Posted:
    """Dr shortage, Cr suspense: what has left twice is ours to claim from whoever has it."""
    return ledger.post(
        f"refund_twice:{refund.out_refund_no}",
        "paid_twice",
        at,
        [
            (chart.shortage(order.channel), refund.amount_fen),
            (chart.suspense(order.channel), -refund.amount_fen),
        ],
        out_refund_no=refund.out_refund_no,
    )


def post_fees(channel: str, day: date, fee_fen: int, now: datetime) -> Posted | None:
    """Dr fee, Cr clearing, once a day and channel; None where the channel took nothing.

    Fees of a day whose month was closed without it are posted now, under that day's key.
    """
    if fee_fen == 0:
        return None
    last_moment = day_bounds(day)[1] - timedelta(microseconds=1)
    at = now if periods.is_closed(day) else last_moment
    lines = [(chart.fee(channel), fee_fen), (chart.clearing(channel), -fee_fen)]
    return ledger.post(rules.fee_key(channel, day), FEE, at, lines)
