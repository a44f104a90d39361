"""The one interface every payment channel offers; amounts are int fen, times are aware UTC.

A channel speaks to an outside party and keeps nothing: no database, no Flask, no sleeping. Whoever
calls commits the order row first, calls the channel, and asks again later when it does not know.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Protocol

# 商户订单号: 6-32 characters; 商户退款单号: up to 64 (WeChat Pay v3, JSAPI下单 and 申请退款).
_TRADE_NO = re.compile(r"[0-9A-Za-z_\-|*]{6,32}")
_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{6,64}")


class TradeStatus(StrEnum):
    """What became of an order, in words common to all channels."""

    PENDING = "pending"
    PAID = "paid"
    REFUNDED = "refunded"  # paid, and since then refunded in part or whole
    CLOSED = "closed"
    FAILED = "failed"


class RefundStatus(StrEnum):
    """What became of a refund; ABNORMAL needs a person (the payer's account cannot take it)."""

    PROCESSING = "processing"
    SUCCESS = "success"
    CLOSED = "closed"
    ABNORMAL = "abnormal"


class PayWay(StrEnum):
    """Through which door the payer comes; what `ClientPay.fields` holds depends on it."""

    MINI = "mini"  # the channel's own mini-program
    OFFICIAL = "official"  # a page inside WeChat, opened from the official account
    QR = "qr"  # a code shown to the payer: fields {"code_url"}
    WAP = "wap"  # a phone's browser outside the channel's app: fields {"url"}


class NoticeKind(StrEnum):
    """What a notice speaks about."""

    PAYMENT = "payment"
    REFUND = "refund"


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """An order to be paid by one payer; `attach` comes back in the notice and in the statement.

    `payer_id` is the channel's own id of the payer; only where the way asks for none is it empty.
    `return_url` is where a browser goes afterwards, `client_ip` where WeChat's H5 wants to know it.
    """

    out_trade_no: str
    amount_fen: int
    description: str
    payer_id: str
    notify_url: str
    expires_at: datetime
    attach: str = ""
    way: PayWay = PayWay.MINI
    return_url: str = ""
    client_ip: str = ""

    def __post_init__(self) -> None:
        check(_TRADE_NO.fullmatch(self.out_trade_no), "out_trade_no: 6-32 of 0-9A-Za-z_-|*")
        check(self.amount_fen > 0, "amount_fen must be positive")
        check(0 < len(self.description) <= 127, "description: 1-127 characters")
        check(len(self.attach) <= 128, "attach: at most 128 characters")
        check(self.expires_at.tzinfo is not None, "expires_at must carry its zone")
        named = self.way in (PayWay.QR, PayWay.WAP) or self.payer_id
        check(named, f"payer_id: way {self.way} asks for one")


@dataclass(frozen=True, slots=True)
class ClientPay:
    """What the payer's client needs, as it is handed to the channel's own call (see PayWay)."""

    prepay_id: str
    fields: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TradeState:
    """The channel's word on an order; the last four are None until it has been paid."""

    out_trade_no: str
    status: TradeStatus
    transaction_id: str | None = None
    amount_fen: int | None = None
    payer_id: str | None = None
    paid_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """A refund; asking again under the same `out_refund_no` never refunds twice."""

    out_trade_no: str
    out_refund_no: str
    refund_fen: int
    total_fen: int
    reason: str
    notify_url: str

    def __post_init__(self) -> None:
        check(_REFUND_NO.fullmatch(self.out_refund_no), "out_refund_no: 6-64 of 0-9A-Za-z_-|*@")
        check(0 < self.refund_fen <= self.total_fen, "refund_fen must be in 1..total_fen")
        check(len(self.reason) <= 80, "reason: at most 80 characters")


@dataclass(frozen=True, slots=True)
class RefundState:
    """The channel's word on a refund; `out_trade_no` is '' where a notice does not say it."""

    out_trade_no: str
    out_refund_no: str
    refund_id: str
    status: RefundStatus
    refund_fen: int
    total_fen: int
    settled_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """A verified notice: exactly one of `trade` and `refund` is set, as `kind` says.

    `plain` is the decrypted resource as it came, for whoever has to look into it later.
    """

    notice_id: str
    kind: NoticeKind
    event_type: str
    created_at: datetime
    plain: bytes
    trade: TradeState | None = None
    refund: RefundState | None = None


class StatementKind(StrEnum):
    """Which rows a daily statement carries."""

    ALL = "ALL"
    PAYMENTS = "SUCCESS"
    REFUNDS = "REFUND"


class ChannelError(Exception):
    """The channel said no, or could not be understood or reached.

    `code` is ours and stable; `permanent` means asking the same thing again will not help;
    otherwise `retry_after_s` says when to ask again. Where the outcome of a write is unknown
    (`timeout`, `network`, `answer_unverified`, `busy`), query before anything else.

    Codes: timeout, network, busy, rate_limited, answer_unverified, answer_malformed,
    order_not_found, order_paid, order_closed, number_used, refund_not_found, balance_too_low,
    payer_account_abnormal, request_invalid, signature_refused, merchant_refused, refused,
    no_statement, statement_creating, statement_damaged.
    """

    def __init__(
        self, code: str, message: str, *, permanent: bool, retry_after_s: int | None = None
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.permanent = permanent
        self.retry_after_s = retry_after_s


class NoticeRejected(Exception):
    """A notice that must not be believed.

    Codes: header_missing, timestamp, probe, signature_type, serial_unknown, signature, malformed,
    decrypt, event_unknown, wrong_merchant, wrong_appid, wrong_currency.
    """

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(f"{code}: {reason}")
        self.code = code
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Reply:
    """What a channel wants to hear over HTTP once its notice has been taken."""

    status: int
    body: str = ""
    content_type: str = "text/plain; charset=utf-8"


class PaymentChannel(Protocol):
    """What the cashier needs from any channel. Every method may raise ChannelError."""

    name: str
    taken: Reply
    ways: frozenset[PayWay]
    confirms_by_asking: bool  # a notice only says that it is time to ask

    def create(self, order: OrderRequest) -> ClientPay:
        """Open the order; the same order again under the same number is not a second order."""

    def query(self, out_trade_no: str) -> TradeState:
        """Ask what became of an order; ChannelError('order_not_found') where it never was."""

    def close(self, out_trade_no: str) -> None:
        """Close an unpaid order so that it can no longer be paid; query before closing."""

    def refund(self, request: RefundRequest) -> RefundState:
        """Refund in part or whole; a later call under the same number returns the same refund."""

    def query_refund(self, out_trade_no: str, out_refund_no: str) -> RefundState:
        """Ask what became of a refund of an order; 'refund_not_found' where it never was."""

    def parse_notice(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> Notice:
        """Verify and open a notice over its raw bytes; NoticeRejected if it is not to be trusted.

        The amount is not judged here: only the cashier knows what the order was for.
        """

    def download_statement(self, day: date, kind: StatementKind = StatementKind.ALL) -> bytes:
        """One business day's statement (Asia/Shanghai) as the channel publishes it, unzipped.

        ChannelError: 'statement_creating' (ask later), 'no_statement' (nothing on that day).
        """


def check(condition: object, message: str) -> None:
    """Raise ValueError(message) unless `condition` holds: a request of ours must be well formed."""
    if not condition:
        raise ValueError(message)
