"""The finance day: what the ledger, the channel and our orders say of it, and its close.

Fetch the statement, repair what was only a lost notice, name every difference, close.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import bank_day, books, counter_day, matching, proofs, refunds, rules
from backend.cashier.channels import channel_for, set_up
from backend.cashier.confirm import confirm
from backend.cashier.models import Break, FinanceDay, PaymentOrder, Reconciliation, Refund
from backend.cashier.statements import fetch_statement, kept_statement
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal, audit
from payments.channel import ChannelError, TradeStatus

__all__ = ["close_day", "day_summary", "fetch_statement", "reconcile", "resolve_break"]

log = logging.getLogger("nuan.cashier")


def reconcile(channel: str, day: date, now: datetime) -> Reconciliation:
    """Match a day's kept statement with the ledger and the orders; again is harmless.

    A payment or refund only the channel knows of is asked about there and posted (these commit).
    A closed day is left as it was.  Problem statement_not_ready where none was fetched.
    """
    statement = kept_statement(channel, day)
    if statement is None:
        raise Problem("statement_not_ready")
    if db.session.get(FinanceDay, day) is None:
        _repair(channel, day, statement.id, now)
    return _examine(channel, day, statement.id, now)


def close_day(day: date, staff_id: int | None, reason: str | None, now: datetime) -> FinanceDay:
    """Close a finance day, proving ledger = channel = orders first.

    Commits the statements and what was found; the close itself is left to the caller.

    Statements not fetched yet are fetched.  Open differences, at the channels or the counter, and
    open shifts need a reason and a member of staff who signs it.  Closing a closed day changes
    nothing.  Problems: day_not_over, day_has_breaks, day_has_open_shift, those of fetch_statement.
    """
    if not rules.day_is_over(day, now):
        raise Problem("day_not_over")
    channels = set_up()
    for channel in channels:
        if kept_statement(channel, day) is None:
            fetch_statement(channel, day, now)
        reconcile(channel, day, now)
    bank_day.examine_all(day, now)
    db.session.commit()  # what was found stands, whether the day can be closed or not
    books.lock_day(day, shared=False)
    closed = db.session.get(FinanceDay, day, populate_existing=True)
    if closed is not None:
        return closed
    # Once more under the lock: nothing can be posted into the day from here on.
    found = [_examine(channel, day, _statement_id(channel, day), now) for channel in channels]
    found += bank_day.examine_all(day, now)
    open_breaks = proofs.open_breaks([row.id for row in found])
    unequal = [row for row in found if row.state != "agreed"]
    signed = bool(reason and staff_id)
    if (open_breaks or _unexplained(unequal)) and not signed:
        raise Problem("day_has_breaks", breaks=[b.reference for b in open_breaks[:20]])
    if not signed:
        _refuse_open_counter(day)
    return _close(day, staff_id, reason, open_breaks, now)


def _refuse_open_counter(day: date) -> None:
    """Problem where a drawer or terminal differs from the ledger, or a shift is still open."""
    counter = counter_day.examine(day)
    if counter.unequal:
        raise Problem("day_has_breaks", breaks=counter.unequal[:20])
    if counter.open_shifts:
        names = "、".join(f"{s.drawer} {s.cashier}" for s in counter.open_shifts[:5])
        detail = f"还有未交班的班次（{names}），先交班，或写明原因并签字后日结。"
        raise Problem("day_has_open_shift", detail, shifts=[s.id for s in counter.open_shifts[:20]])


def resolve_break(break_id: int, staff_id: int, resolution: str, now: datetime) -> Break:
    """Put a person's explanation to a difference; audited.  Problem not_found."""
    found = db.session.get(Break, break_id, with_for_update=True)
    if found is None or found.resolved_at is not None:
        raise Problem("not_found")
    found.resolved_at, found.resolution = now, resolution
    actor = Principal("staff", staff_id)
    audit("cashier.break_resolved", "break", break_id, actor, now=now, resolution=resolution)
    return found


def day_summary(day: date) -> dict[str, Any]:
    """A finance day for the console: each channel's sums, differences and pending, the counter's.

    Without a statement yet, the sums are the ledger's and the orders' so far.
    """
    closed = db.session.get(FinanceDay, day)
    return {
        "day": day,
        "closed_at": closed.closed_at if closed else None,
        "closed_by": closed.closed_by if closed else None,
        "reason": closed.reason if closed else None,
        "channels": [_channel_summary(channel, day) for channel in set_up()],
        "accounts": bank_day.summary(day),
        "counter": counter_day.examine(day),
    }


def _repair(channel: str, day: date, statement_id: int, now: datetime) -> None:
    """Ask about what only the channel knows of; its word posts it, as a notice would have."""
    for kind, out_trade_no, out_refund_no in matching.lost(channel, day, statement_id):
        db.session.commit()
        try:
            _ask_and_post(channel, kind, out_trade_no, out_refund_no, now)
        except ChannelError as error:
            log.warning("cannot repair", extra={"order": out_trade_no, "why": str(error)})


def _ask_and_post(
    channel: str, kind: str, out_trade_no: str, out_refund_no: str | None, now: datetime
) -> None:
    gateway = channel_for(channel)
    if kind == "refund" and out_refund_no is not None:
        outcome = refunds.settle(channel, gateway.query_refund(out_trade_no, out_refund_no), now)
    else:
        trade = gateway.query(out_trade_no)
        if trade.status not in (TradeStatus.PAID, TradeStatus.REFUNDED):
            return
        outcome = confirm(channel, trade, now)
    db.session.commit()
    log.info("repaired", extra={"order": out_trade_no, "kind": kind, "outcome": outcome})


def _examine(channel: str, day: date, statement_id: int, now: datetime) -> Reconciliation:
    """Write down the day's sums and differences and post its fees; asks nobody."""
    kept = proofs.kept(channel, day)
    if kept is not None and db.session.get(FinanceDay, day) is not None:
        return kept
    sums = matching.sums(channel, day, statement_id)
    found = matching.differences(channel, day, statement_id)
    row = proofs.keep(channel, day, sums, found, now)
    # Last, for it holds the clearing account's balance until the commit: payments wait for it.
    books.post_fees(channel, day, sums.fee_fen, now)
    db.session.flush()
    return row


def _unexplained(unequal: Sequence[Reconciliation]) -> bool:
    """Whether a day's sums differ without any difference a person has explained."""
    explained = sa.select(Break.reconciliation_id).where(
        Break.reconciliation_id.in_([row.id for row in unequal]),
        Break.resolution.is_not(None),
        Break.resolution != proofs.BY_ITSELF,
    )
    return {row.id for row in unequal} != set(db.session.scalars(explained))


def _statement_id(channel: str, day: date) -> int:
    statement = kept_statement(channel, day)
    return statement.id if statement else 0


def _close(
    day: date,
    staff_id: int | None,
    reason: str | None,
    open_breaks: Sequence[Break],
    now: datetime,
) -> FinanceDay:
    whole = day_summary(day)
    summary = {row["channel"]: _frozen(row) for row in whole["channels"]}
    summary |= {row["channel"]: bank_day.frozen(row) for row in whole["accounts"]}
    counter = counter_day.examine(day)
    if counter.accounts or counter.open_shifts:
        summary["counter"] = counter.frozen()
    closed = FinanceDay(day=day, closed_at=now, closed_by=staff_id, reason=reason, summary=summary)
    db.session.add(closed)
    actor = Principal("staff", staff_id) if staff_id else None
    audit(
        "cashier.day_closed",
        "finance_day",
        day,
        actor,
        now=now,
        reason=reason,
        open_breaks=[b.reference for b in open_breaks],
    )
    db.session.flush()
    return closed


def _frozen(summary: dict[str, Any]) -> dict[str, Any]:
    """The figures a closed day keeps."""
    names = ("state", "ledger_fen", "channel_fen", "orders_fen", "fee_fen", "payments", "refunds")
    return {name: summary[name] for name in names} | {"sha1": summary["statement_sha1"]}


def _channel_summary(channel: str, day: date) -> dict[str, Any]:
    statement, kept = kept_statement(channel, day), proofs.kept(channel, day)
    figures: Any = kept or matching.sums(channel, day, statement.id if statement else 0)
    names = ("ledger_fen", "channel_fen", "orders_fen", "fee_fen", "payments", "refunds")
    return {
        "channel": channel,
        "state": kept.state if kept else "unchecked",
        "checked_at": kept.checked_at if kept else None,
        "statement_fetched_at": statement.fetched_at if statement else None,
        "statement_sha1": statement.sha1 if statement else None,
        "statement_rows": statement.rows if statement else None,
        **{name: getattr(figures, name) for name in names},
        "breaks": proofs.breaks_view(kept.id) if kept else [],
        **_pending(channel),
    }


def _pending(channel: str) -> dict[str, int]:
    """What of a channel still waits, now: money in suspense, parked orders, stuck refunds."""
    parked = sa.select(sa.func.count()).where(
        PaymentOrder.channel == channel, PaymentOrder.state == "parked"
    )
    stuck = (
        sa.select(sa.func.count())
        .select_from(Refund)
        .join(PaymentOrder, PaymentOrder.id == Refund.order_id)
        .where(PaymentOrder.channel == channel, Refund.state.in_(("failed", "closed", "abnormal")))
    )
    return {
        "suspense_fen": -ledger.balance_fen(chart.suspense(channel).code),
        "parked_orders": int(db.session.scalar(parked) or 0),
        "stuck_refunds": int(db.session.scalar(stuck) or 0),
    }
