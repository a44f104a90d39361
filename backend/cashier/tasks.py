"""The cashier's questions and refunds, carried out by a worker."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta

from flask import current_app

from backend.base import tasks
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import asking, reconcile, refunds, rules
from backend.cashier.channels import set_up
from backend.cashier.papers import receipts, worklist
from payments.channel import ChannelError

log = logging.getLogger("nuan.cashier")

# Seconds between one question about a refund and the next; money on its way back takes days.
_REFUND_WAITS_S = (30, 300, 1800, 7200, 21600, 86400, 86400, 86400)


def _now() -> datetime:
    now: datetime = current_app.extensions["nuan_clock"].now()
    return now


@tasks.task("cashier.ask_channel")
def ask_channel(out_trade_no: str, step: int) -> None:
    """Task: ask about an order that is still open, and enqueue the next question."""
    now = _now()
    order = asking.refresh(out_trade_no, now)
    if order.state in rules.OPEN:
        _ask_again(out_trade_no, order.created_at, order.expires_at, step + 1, now)
    db.session.commit()


def _ask_again(
    out_trade_no: str, created_at: datetime, expires_at: datetime, step: int, now: datetime
) -> None:
    """The next question that does not lie behind us (the worker may have been away)."""
    at = rules.next_ask(created_at, expires_at, step)
    while at is not None and at < now:
        step += 1
        at = rules.next_ask(created_at, expires_at, step)
    if at is not None:
        tasks.defer("cashier.ask_channel", at=at, out_trade_no=out_trade_no, step=step)


@tasks.task("cashier.send_refund")
def send_refund(refund_id: int, step: int) -> None:
    """Task: send a refund, or ask about it, until the channel says how it ended."""
    wait_s = _REFUND_WAITS_S[min(step, len(_REFUND_WAITS_S) - 1)]
    try:
        underway = refunds.send(refund_id, _now()).state in refunds.UNDERWAY
    except ChannelError as error:
        underway = not error.permanent
        wait_s = max(wait_s, error.retry_after_s or 0)
    if underway and step < len(_REFUND_WAITS_S):
        at = _now() + timedelta(seconds=wait_s)
        tasks.defer("cashier.send_refund", at=at, refund_id=refund_id, step=step + 1)
    db.session.commit()


def defer_papers() -> int:
    """Enqueue the receipts that are missing, and what papers say too much."""
    tasks.defer("cashier.papers", once="papers")
    return 1


@tasks.task("cashier.papers")
def papers() -> None:
    """Task: issue the receipts of channel payments; take back by itself what may be."""
    receipts.issue_missing(_now())
    worklist.put_right(_now())
    db.session.commit()


def defer_reconcile(day: date) -> int:
    """Enqueue fetching and matching a day's statements, and sweep up what was left behind."""
    channels = set_up()
    for channel in channels:
        once = f"reconcile:{channel}:{day}"
        tasks.defer("cashier.reconcile", once=once, channel=channel, day=day.isoformat())
    return len(channels) + asking.sweep(_now())


@tasks.task("cashier.reconcile")
def reconcile_day(channel: str, day: str) -> None:
    """Task: fetch a day's statement, where it is ready, and reconcile it.

    One not ready yet is left for the next run of the schedule.
    """
    when = date.fromisoformat(day)
    try:
        reconcile.fetch_statement(channel, when, _now())
    except Problem as problem:
        if problem.code not in ("statement_not_ready", "statement_changed"):
            raise
        log.warning("statement", extra={"channel": channel, "day": day, "why": problem.code})
        if problem.code == "statement_not_ready":
            return
    reconcile.reconcile(channel, when, _now())
    db.session.commit()
