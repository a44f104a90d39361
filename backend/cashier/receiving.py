"""Notices that an order was paid or a refund has ended: kept raw, verified, acted on once."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from backend.base import tasks
from backend.base.clock import business_day, day_start
from backend.base.db import Driver, alone, db
from backend.base.errors import Problem
from backend.cashier import cases, plain, refunds
from backend.cashier.asking import MONEY_MOVED
from backend.cashier.channels import channel_for
from backend.cashier.confirm import confirm
from backend.cashier.models import RawNotice
from payments.channel import (
    ChannelError,
    Notice,
    NoticeRejected,
    PaymentChannel,
    Reply,
    TradeState,
    TradeStatus,
)

log = logging.getLogger("nuan.cashier")

MAX_NOTICE_BYTES = 64 * 1024
MAX_REJECTED_A_DAY = 500  # kept of a channel; enough to see by what was wrong with them
_HEADERS_KEPT = ("wechatpay-", "request-id", "content-type")
# An authentic notice of these kinds says nothing a repetition could change.
_NO_USE_REPEATING = ("event_unknown",)


@dataclass(frozen=True, slots=True)
class Received:
    """A notice that was kept (by its id), and what came of it."""

    id: int
    outcome: str
    detail: str | None = None
    out_trade_no: str | None = None


def receive_notice(
    channel: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> Received:
    """Keep a notice as it came, verify it and act on it; commits.

    `outcome` is as `confirm` and `refunds.settle` say, or rejected (`detail` has the code).  An
    unexpected error leaves the notice kept (as failed, where that can still be written down) and is
    raised: the channel sends it again.
    Of a day's rejected ones the first MAX_REJECTED_A_DAY of a channel stay.
    """
    if len(body) > MAX_NOTICE_BYTES:
        raise Problem("too_large")
    gateway = channel_for(channel)
    wrong: Exception | None = None
    with alone() as driver:
        kept = _keep(driver, channel, headers, body, now)
        try:
            notice = gateway.parse_notice(headers, body, now)
        except Exception as error:
            wrong = error  # told once the connection has been given back
        else:
            if (number := _posted(driver, gateway, notice, kept, now)) is not None:
                return Received(kept, "posted", None, number)
    if wrong is not None:
        return _wrong(wrong, kept, channel, now)
    return _not_plain(gateway, notice, kept, now)


def acknowledged(notice: Received) -> bool:
    """Whether to answer 204, or a refusal that makes the channel repeat the notice.

    Repeating helps where our keys or settings may be behind (a rejected notice) and nowhere else:
    a repeat, a parked sum and an unknown order stay what they are, and the statement has them.
    """
    return notice.outcome != "rejected" or notice.detail in _NO_USE_REPEATING


def taken(channel: str) -> Reply:
    """What the channel wants to hear once its notice has been taken."""
    return channel_for(channel).taken


# Committed before it is acted on, without waiting for the disk.  It outlives this process; a power
# cut may take it, but until it is answered the channel repeats it, and the commit that posts the
# money takes this one to the disk with it.
_KEEP = """
WITH unhurried AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO raw_notice (channel, received_at, headers, body)
SELECT %(channel)s, %(received_at)s, %(headers)s::jsonb, %(body)s FROM unhurried RETURNING id
"""


def _keep(
    driver: Driver, channel: str, headers: Mapping[str, str], body: bytes, now: datetime
) -> int:
    """The id of a notice that has just been kept."""
    said = json.dumps(_kept(headers))
    values = {"channel": channel, "received_at": now, "headers": said, "body": body}
    row = driver.execute(_KEEP, values).fetchone()
    assert row is not None
    return int(row[0])


def _posted(
    driver: Driver, gateway: PaymentChannel, notice: Notice, kept: int, now: datetime
) -> str | None:
    """The order of a plain payment, which is posted; None where the notice is something else."""
    trade = notice.trade
    if trade is None or not _is_word(gateway, trade):
        return None
    done = plain.post(driver, kept, gateway.name, trade, now)
    return trade.out_trade_no if done else None


def _not_plain(gateway: PaymentChannel, notice: Notice, kept: int, now: datetime) -> Received:
    """Act on an authentic notice by the rules, and write down what came of it."""
    try:
        outcome, number = _act(gateway, notice, now)
        _note(kept, outcome=outcome, out_trade_no=number)
    except Exception as error:
        _failed(kept, error)
        raise
    return Received(kept, outcome, None, number)


def _wrong(error: Exception, kept: int, channel: str, now: datetime) -> Received:
    """A notice that is not to be believed; what else went wrong is raised."""
    if not isinstance(error, NoticeRejected):
        _failed(kept, error)
        raise error
    _tell_somebody(channel, error, now)
    _reject(kept, channel, error.code, now)
    log.warning("notice rejected", extra={"code": error.code, "notice": kept})
    return Received(kept, "rejected", error.code)


def _failed(kept: int, error: Exception) -> None:
    db.session.rollback()
    _note(kept, outcome="failed", detail=type(error).__name__)


def _is_word(gateway: PaymentChannel, trade: TradeState) -> bool:
    """Whether this is the channel's word that a trade is paid, and not a reason to ask."""
    return trade.status is TradeStatus.PAID and not gateway.confirms_by_asking


def _act(gateway: PaymentChannel, notice: Notice, now: datetime) -> tuple[str, str]:
    if notice.refund is not None:
        outcome = refunds.settle(gateway.name, notice.refund, now)
        return outcome, notice.refund.out_trade_no or notice.refund.out_refund_no
    assert notice.trade is not None
    number = notice.trade.out_trade_no
    if notice.trade.status not in MONEY_MOVED:
        _ask_soon(number, now)
        return "not_paid", number
    if gateway.confirms_by_asking:
        return _confirm_by_asking(gateway, number, now), number
    return confirm(gateway.name, notice.trade, now), number


def _confirm_by_asking(gateway: PaymentChannel, number: str, now: datetime) -> str:
    """A notice that is only a reason to ask; where no answer comes, it is asked again soon."""
    db.session.commit()
    try:
        trade = gateway.query(number)
    except ChannelError as error:
        log.warning("channel gave no word", extra={"order": number, "why": str(error)})
        _ask_soon(number, now)
        return "ask_later"
    if trade.status in MONEY_MOVED:
        return confirm(gateway.name, trade, now)
    _ask_soon(number, now)
    return "ask_later"


def _ask_soon(number: str, now: datetime) -> None:
    """Enqueue one more question about an order, out of its turn; by then it is committed."""
    tasks.defer("cashier.ask_channel", once=f"ask:{number}", out_trade_no=number, step=0)


def _tell_somebody(channel: str, rejected: NoticeRejected, now: datetime) -> None:
    """One case a day, channel and reason: whoever forges notices by the thousand makes no more."""
    day = business_day(now)
    reference = f"{channel}:{day}:{rejected.code}"
    cases.open_case("notice", "rejected", reference, channel, day, now, text=str(rejected)[:200])


def _reject(kept: int, channel: str, code: str, now: datetime) -> None:
    """Keep a rejected notice, of a channel and day the first so many; commits.

    Anybody may send them: whoever forges without end fills a case and a log, and not the disk.
    """
    today = sa.select(RawNotice.id).where(
        RawNotice.channel == channel,
        RawNotice.is_rejected,
        RawNotice.received_at >= day_start(business_day(now)),
    )
    if len(db.session.scalars(today.limit(MAX_REJECTED_A_DAY)).all()) < MAX_REJECTED_A_DAY:
        _note(kept, outcome="rejected", detail=code)
        return
    db.session.execute(sa.delete(RawNotice).where(RawNotice.id == kept))
    db.session.commit()


def _note(kept: int, **came_of_it: str) -> None:
    """Write down what came of a notice; commits."""
    db.session.execute(sa.update(RawNotice).where(RawNotice.id == kept).values(came_of_it))
    db.session.commit()


def _kept(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that matter for verifying it again; never cookies or authorization."""
    return {
        name.lower(): value[:1024]
        for name, value in headers.items()
        if name.lower().startswith(_HEADERS_KEPT)
    }
