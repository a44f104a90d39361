"""Alipay's codes and sub-codes -> ChannelError with our stable codes."""

from collections.abc import Mapping
from typing import Any

from payments.channel import ChannelError
from payments.http import RETRY_S

SUCCESS = "10000"
_UNKNOWN = "20000"  # 服务不可用: whether it was done is not known
_RATE_S = 30
_FILE_S = 600

# sub_code -> (our code, seconds until asking again may help; None: it cannot). From the public
# error lists of alipay.trade.* and of the gateway (公共错误码).
_KNOWN: dict[str, tuple[str, int | None]] = {
    "ACQ.SYSTEM_ERROR": ("busy", RETRY_S),
    "ACQ.TRADE_NOT_EXIST": ("order_not_found", None),
    "ACQ.TRADE_HAS_SUCCESS": ("order_paid", None),
    "ACQ.TRADE_HAS_FINISHED": ("order_paid", None),
    "ACQ.TRADE_HAS_CLOSE": ("order_closed", None),
    "ACQ.CONTEXT_INCONSISTENT": ("number_used", None),
    "ACQ.DISCORDANT_REPEAT_REQUEST": ("number_used", None),
    "ACQ.SELLER_BALANCE_NOT_ENOUGH": ("balance_too_low", None),
    "ACQ.BUYER_ENABLE_STATUS_FORBID": ("payer_account_abnormal", None),
    "ACQ.BUYER_NOT_EXIST": ("payer_account_abnormal", None),
    "ACQ.INVALID_PARAMETER": ("request_invalid", None),
    "ACQ.REFUND_AMT_NOT_EQUAL_TOTAL": ("request_invalid", None),
    "ACQ.TRADE_STATUS_ERROR": ("refused", None),
    "ACQ.ACCESS_FORBIDDEN": ("merchant_refused", None),
    "isv.invalid-signature": ("signature_refused", None),
    "isv.invalid-app-id": ("merchant_refused", None),
    "isv.insufficient-isv-permissions": ("merchant_refused", None),
    "isv.missing-signature": ("signature_refused", None),
    "isp.bill_not_exist": ("no_statement", None),
    "isp.unknow-error": ("busy", RETRY_S),
    "aop.unknow-error": ("busy", RETRY_S),
    "app_call_limited": ("rate_limited", _RATE_S),
}


def error_of(answer: Mapping[str, Any]) -> ChannelError | None:
    """What an answer other than 10000 says; None for a success."""
    code = str(answer.get("code", ""))[:16]
    if code == SUCCESS:
        return None
    sub_code = str(answer.get("sub_code", ""))[:64]
    ours, wait_s = _KNOWN.get(sub_code) or _by_code(code)
    message = str(answer.get("sub_msg") or answer.get("msg") or "")[:200]
    return ChannelError(
        ours,
        f"{code} {sub_code} {message}".strip(),
        permanent=wait_s is None,
        retry_after_s=wait_s,
    )


def _by_code(code: str) -> tuple[str, int | None]:
    if code == _UNKNOWN:
        return "busy", RETRY_S
    if code in ("40001", "40002"):
        return "request_invalid", None
    return "refused", None


def damaged(reason: str) -> ChannelError:
    """The error of a statement's file that does not open: fetch it again."""
    return ChannelError("statement_damaged", reason, permanent=False, retry_after_s=60)


def creating() -> ChannelError:
    """The error of a statement that is not there yet."""
    return ChannelError(
        "statement_creating", "the bill is not there yet", permanent=False, retry_after_s=_FILE_S
    )
