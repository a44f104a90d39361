"""UnionPay's fields -> orders, refunds, moments and refusals. No sockets, no clock."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from urllib.parse import parse_qsl

from payments.channel import (
    ChannelError,
    RefundState,
    RefundStatus,
    TradeState,
    TradeStatus,
)
from payments.http import RETRY_S, malformed
from payments.unionpay_crypto import Untrusted

BEIJING = timezone(timedelta(hours=8))
PENDING = frozenset(("03", "04", "05"))  # 交易状态未明: ask again
# respCode -> (our code, seconds until asking again may help; None: it cannot)
_REFUSALS: dict[str, tuple[str, int | None]] = {
    "01": ("refused", None),
    "02": ("busy", RETRY_S),
    "06": ("busy", RETRY_S),
    "10": ("request_invalid", None),
    "11": ("signature_refused", None),
    "12": ("number_used", None),
    "13": ("request_invalid", None),
    "30": ("refused", None),
    "31": ("merchant_refused", None),
    "32": ("merchant_refused", None),
    "33": ("request_invalid", None),
    "34": ("order_not_found", None),
    "36": ("request_invalid", None),
    "38": ("request_invalid", None),
    "64": ("balance_too_low", None),
    "86": ("refused", None),
    "98": ("no_statement", None),
}


def refusal(code: str, message: str) -> ChannelError:
    """UnionPay's respCode as our error."""
    ours, wait_s = _REFUSALS.get(code, ("busy", RETRY_S) if code in PENDING else ("refused", None))
    return ChannelError(
        ours, f"{code} {message[:200]}", permanent=wait_s is None, retry_after_s=wait_s
    )


def form(raw_body: bytes) -> dict[str, str]:
    """A notice's fields, each once. Untrusted('malformed')."""
    try:
        pairs = parse_qsl(
            raw_body.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=100,
        )
    except ValueError as error:
        raise Untrusted("malformed", "the body is no form in UTF-8") from error
    if len(dict(pairs)) != len(pairs):
        raise Untrusted("malformed", "a field stands twice")
    return dict(pairs)


def paid(fields: Mapping[str, str], number: str) -> TradeState:
    """A payment as a query or a notice tells it. ChannelError('answer_malformed')."""
    return TradeState(
        out_trade_no=number,
        status=TradeStatus.PAID,
        transaction_id=_text(fields, "queryId"),
        amount_fen=fen(fields, "txnAmt"),
        payer_id=fields.get("accNo", ""),
        paid_at=carried_out(fields),
    )


def refunded(fields: Mapping[str, str]) -> RefundState:
    """A refund as its notice tells it: whose order it was, it does not say."""
    amount_fen = fen(fields, "txnAmt")
    return RefundState(
        out_trade_no="",
        out_refund_no=_text(fields, "orderId"),
        refund_id=_text(fields, "queryId"),
        status=RefundStatus.SUCCESS,
        refund_fen=amount_fen,
        total_fen=amount_fen,
        settled_at=carried_out(fields),
    )


def carried_out(fields: Mapping[str, str]) -> datetime:
    """The moment the statement counts it by; txnTime is only when we gave it its number."""
    return _trace_time(fields) or _moment(_text(fields, "txnTime"))


def _trace_time(fields: Mapping[str, str]) -> datetime | None:
    """When UnionPay carried it out: traceTime, MMDDhhmmss, of the year of txnTime or the next."""
    trace, txn = fields.get("traceTime", ""), fields.get("txnTime", "")
    if not re.fullmatch(r"\d{10}", trace) or not re.fullmatch(r"\d{14}", txn):
        return None
    year = int(txn[:4]) + (1 if trace[:2] == "01" and txn[4:6] == "12" else 0)
    return _moment(f"{year}{trace}")


def _text(fields: Mapping[str, str], name: str) -> str:
    value = fields.get(name, "")
    if not value or len(value) > 256:
        raise malformed(f"{name} is missing or ill-formed")
    return value


def fen(fields: Mapping[str, str], name: str) -> int:
    """An amount in fen, above 0. ChannelError('answer_malformed')."""
    value = fields.get(name, "")
    if not re.fullmatch(r"\d{1,12}", value, re.ASCII) or int(value) == 0:
        raise malformed(f"{name} is no amount in fen")
    return int(value)


def _moment(text: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).astimezone(UTC)
    except ValueError:
        raise malformed(f"{text[:16]!r} is no moment") from None


def time_text(moment: datetime) -> str:
    """YYYYMMDDhhmmss in Beijing."""
    return moment.astimezone(BEIJING).strftime("%Y%m%d%H%M%S")
