"""Alipay's answers and notices -> our dataclasses; amounts in yuan there, fen here."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

from payments.channel import TradeState, TradeStatus
from payments.statement import fen_from_yuan

_TRADE_STATUS = {
    "WAIT_BUYER_PAY": TradeStatus.PENDING,
    "TRADE_SUCCESS": TradeStatus.PAID,
    "TRADE_FINISHED": TradeStatus.PAID,  # as paid as before, only beyond refunding
    "TRADE_CLOSED": TradeStatus.CLOSED,
}
MAX_AMOUNT_FEN = 10**12
T = TypeVar("T")


class FieldError(Exception):
    """A field that is missing, ill-formed or not ours; `code` as in NoticeRejected."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def trade_state(data: Mapping[str, Any], paid_at_name: str) -> TradeState:
    """Read a trade; `paid_at_name` is send_pay_date in answers, gmt_payment in notices.

    A closed trade that carries the time it was paid at was paid and then refunded in whole.
    """
    status = _TRADE_STATUS.get(text(data, "trade_status"))
    if status is None:
        raise FieldError("event_unknown", f"trade_status {data['trade_status'][:32]!r}")
    number = text(data, "out_trade_no")
    was_refunded = {TradeStatus.CLOSED: paid_at_name, TradeStatus.PAID: "refund_fee"}
    if data.get(was_refunded.get(status, "")):
        status = TradeStatus.REFUNDED
    if status not in (TradeStatus.PAID, TradeStatus.REFUNDED):
        return TradeState(number, status)
    return TradeState(
        out_trade_no=number,
        status=status,
        transaction_id=text(data, "trade_no"),
        amount_fen=fen(data, "total_amount"),
        payer_id=str(data.get("buyer_id") or data.get("buyer_user_id") or _open_id(data)),
        paid_at=moment(data, paid_at_name),
    )


def _open_id(data: Mapping[str, Any]) -> str:
    return str(data.get("buyer_open_id") or "")


def text(data: Mapping[str, Any], name: str) -> str:
    """A field that must stand there and hold something. FieldError."""
    value = data.get(name)
    if not isinstance(value, str) or not value or len(value) > 512:
        raise FieldError("malformed", f"{name} is missing or ill-formed")
    return value


def fen(data: Mapping[str, Any], name: str) -> int:
    """An amount in yuan that must be above zero, in fen. FieldError."""
    try:
        amount = fen_from_yuan(text(data, name))
    except ValueError as error:
        raise FieldError("malformed", f"{name}: {error}") from error
    if not 0 < amount <= MAX_AMOUNT_FEN:
        raise FieldError("malformed", f"{name} is out of range")
    return amount


def moment(data: Mapping[str, Any], name: str) -> datetime:
    """A time in Beijing, '2026-01-31 08:00:00' (some carry thousandths), in UTC. FieldError."""
    shown = text(data, name)
    try:
        if len(shown) < 19 or "T" in shown or "+" in shown:
            raise ValueError(shown)
        return datetime.fromisoformat(f"{shown[:19]}+08:00").astimezone(UTC)
    except ValueError:
        raise FieldError("malformed", f"{name} is not a moment") from None
