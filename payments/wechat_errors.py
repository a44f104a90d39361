"""WeChat Pay v3 error answers -> ChannelError with our stable codes."""

import json

from payments.channel import ChannelError
from payments.http import RETRY_S

_RATE_S = 30
_STATEMENT_S = 600

# WeChat's code -> (our code, seconds to wait before asking again; None: asking again cannot help).
# Spellings differ between v3's documents of several years, hence the doubles.
_KNOWN: dict[str, tuple[str, int | None]] = {
    "ORDER_NOT_EXIST": ("order_not_found", None),
    "ORDERNOTEXIST": ("order_not_found", None),
    "RESOURCE_NOT_EXISTS": ("refund_not_found", None),
    "ORDERPAID": ("order_paid", None),
    "ORDER_PAID": ("order_paid", None),
    "ORDER_CLOSED": ("order_closed", None),
    "ORDERCLOSED": ("order_closed", None),
    "OUT_TRADE_NO_USED": ("number_used", None),
    "INVALID_REQUEST": ("request_invalid", None),
    "PARAM_ERROR": ("request_invalid", None),
    "SIGN_ERROR": ("signature_refused", None),
    "APPID_MCHID_NOT_MATCH": ("merchant_refused", None),
    "MCH_NOT_EXISTS": ("merchant_refused", None),
    "NO_AUTH": ("merchant_refused", None),
    "NOAUTH": ("merchant_refused", None),
    "USER_ACCOUNT_ABNORMAL": ("payer_account_abnormal", None),
    "NOT_ENOUGH": ("balance_too_low", 3600),
    "NO_STATEMENT_EXIST": ("no_statement", None),
    "STATEMENT_CREATING": ("statement_creating", _STATEMENT_S),
    "FREQUENCY_LIMITED": ("rate_limited", _RATE_S),
    "FREQUENCY_LIMIT_EXCEED": ("rate_limited", _RATE_S),
    "RATELIMIT_EXCEEDED": ("rate_limited", _RATE_S),
    "SYSTEM_ERROR": ("busy", RETRY_S),
    "SYSTEMERROR": ("busy", RETRY_S),
    "BANK_ERROR": ("busy", RETRY_S),
}


def error_from_answer(status: int, body: bytes, retry_after: str | None) -> ChannelError:
    """Read a non-2xx answer; an unknown code is permanent below 500, except for a 429."""
    theirs, message = _read(body)
    code, wait_s = _KNOWN.get(theirs) or _by_status(status)
    if wait_s is not None and retry_after and retry_after.isascii() and retry_after.isdigit():
        wait_s = min(int(retry_after), 3600)
    text = f"HTTP {status} {theirs} {message}".strip()
    return ChannelError(code, text, permanent=wait_s is None, retry_after_s=wait_s)


def _read(body: bytes) -> tuple[str, str]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return "", ""
    if not isinstance(answer, dict):
        return "", ""
    return str(answer.get("code", ""))[:64], str(answer.get("message", ""))[:200]


def _by_status(status: int) -> tuple[str, int | None]:
    if status == 429:
        return "rate_limited", _RATE_S
    if status >= 500:
        return "busy", RETRY_S
    return "refused", None
