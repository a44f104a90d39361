"""WeChat Pay v3 JSON -> our dataclasses; checks that it speaks about this merchant, in CNY."""

from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from payments.channel import RefundState, RefundStatus, TradeState, TradeStatus

# trade_state (查询订单): REVOKED and USERPAYING only for 付款码支付, kept for completeness.
_TRADE_STATUS = {
    "SUCCESS": TradeStatus.PAID,
    "REFUND": TradeStatus.REFUNDED,
    "NOTPAY": TradeStatus.PENDING,
    "USERPAYING": TradeStatus.PENDING,
    "CLOSED": TradeStatus.CLOSED,
    "REVOKED": TradeStatus.CLOSED,
    "PAYERROR": TradeStatus.FAILED,
}
_REFUND_STATUS = {
    "SUCCESS": RefundStatus.SUCCESS,
    "CLOSED": RefundStatus.CLOSED,
    "PROCESSING": RefundStatus.PROCESSING,
    "ABNORMAL": RefundStatus.ABNORMAL,
}
_SETTLED = (TradeStatus.PAID, TradeStatus.REFUNDED)
MAX_AMOUNT_FEN = 10**12
T = TypeVar("T")


class FieldError(Exception):
    """A field that is missing, ill-formed or not ours; `code` as in NoticeRejected."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def trade_state(data: Mapping[str, Any], mchid: str, appids: Collection[str]) -> TradeState:
    """Read a transaction (notice or query); FieldError if it is not this merchant's and apps'."""
    _same(data, "mchid", mchid, "wrong_merchant")
    if data.get("appid") not in appids:
        raise FieldError("wrong_appid", "appid is not ours")
    status = _choice(_TRADE_STATUS, data, "trade_state")
    number = text(data, "out_trade_no")
    if status not in _SETTLED:
        return TradeState(number, status)
    amount = _object(data, "amount")
    _currency(amount, "currency")
    return TradeState(
        out_trade_no=number,
        status=status,
        transaction_id=text(data, "transaction_id"),
        amount_fen=_fen(amount, "total"),
        payer_id=text(_object(data, "payer"), "openid"),
        paid_at=moment(data, "success_time"),
    )


def refund_state(data: Mapping[str, Any], status_key: str = "status") -> RefundState:
    """Read a refund: `status` in answers, `refund_status` in notices."""
    status = _choice(_REFUND_STATUS, data, status_key)
    amount = _object(data, "amount")
    if "currency" in amount:
        _currency(amount, "currency")
    return RefundState(
        out_trade_no=text(data, "out_trade_no"),
        out_refund_no=text(data, "out_refund_no"),
        refund_id=text(data, "refund_id"),
        status=status,
        refund_fen=_fen(amount, "refund"),
        total_fen=_fen(amount, "total"),
        settled_at=moment(data, "success_time") if status is RefundStatus.SUCCESS else None,
    )


def refund_notice(data: Mapping[str, Any], mchid: str) -> RefundState:
    """Read a refund notice; FieldError if it is not this merchant's."""
    _same(data, "mchid", mchid, "wrong_merchant")
    return refund_state(data, "refund_status")


def text(data: Mapping[str, Any], key: str) -> str:
    """Return a non-empty string; FieldError('malformed') otherwise."""
    value = data.get(key)
    if not isinstance(value, str) or not value:
        raise FieldError("malformed", f"{key} is missing or not a string")
    return value


def moment(data: Mapping[str, Any], key: str) -> datetime:
    """Return an RFC 3339 moment with its zone, as UTC; FieldError('malformed') otherwise."""
    try:
        value = datetime.fromisoformat(text(data, key))
    except ValueError as error:
        raise FieldError("malformed", f"{key} is not a moment") from error
    if value.tzinfo is None:
        raise FieldError("malformed", f"{key} has no zone")
    return value.astimezone(UTC)


def _same(data: Mapping[str, Any], key: str, expected: str, code: str) -> None:
    if text(data, key) != expected:
        raise FieldError(code, f"{key} is not ours")


def _currency(amount: Mapping[str, Any], key: str) -> None:
    if amount.get(key) != "CNY":
        raise FieldError("wrong_currency", f"{key} is not CNY")


def _object(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    if not isinstance(value, dict):
        raise FieldError("malformed", f"{key} is missing or not an object")
    return value


def _fen(amount: Mapping[str, Any], key: str) -> int:
    value = amount.get(key)
    if type(value) is not int or not 0 < value <= MAX_AMOUNT_FEN:
        raise FieldError("malformed", f"amount.{key} is not a number of fen")
    return value


def _choice(table: Mapping[str, T], data: Mapping[str, Any], key: str) -> T:
    value = text(data, key)
    if value not in table:
        raise FieldError("malformed", f"{key} {value[:32]!r} is unknown")
    return table[value]
