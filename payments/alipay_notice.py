"""Alipay's notice: a form, signed over its decoded values in order of their names.

Facts: 支付宝异步通知, RSA2 over `k=v&…` without `sign` and `sign_type`; repeated for 25 hours with
the same content, so its age says little: what protects against a replay is that a trade is posted
once. A time ahead of ours, or older than any repetition, is refused.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from urllib.parse import unquote_to_bytes

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payments import alipay_fields, rsa2
from payments.alipay_fields import FieldError
from payments.alipay_gateway import canonical
from payments.channel import Notice, NoticeKind

MAX_FIELDS = 100
MAX_AHEAD = timedelta(minutes=5)
MAX_AGE = timedelta(hours=26)
_CHARSETS = {"utf-8": "utf-8", "gbk": "gbk", "gb2312": "gbk", "gb18030": "gb18030"}


def read(raw_body: bytes, key: RSAPublicKey, app_id: str, seller_id: str, now: datetime) -> Notice:
    """Verify and read a notice. FieldError with a code of NoticeRejected where it may not count."""
    values = form(raw_body)
    _verify(values, key)
    _ours(values, app_id, seller_id)
    sent_at = alipay_fields.moment(values, "notify_time")
    if sent_at > now + MAX_AHEAD or sent_at < now - MAX_AGE:
        raise FieldError("timestamp", f"notify_time {sent_at:%Y-%m-%d %H:%M:%S} UTC")
    trade = alipay_fields.trade_state(values, "gmt_payment")
    notice_id = alipay_fields.text(values, "notify_id")
    event = values["trade_status"]
    return Notice(notice_id, NoticeKind.PAYMENT, event, sent_at, raw_body, trade=trade)


def form(raw_body: bytes) -> dict[str, str]:
    """A form's fields, decoded in the charset it names itself. FieldError('malformed')."""
    pairs = [part.partition(b"=") for part in raw_body.split(b"&") if part]
    if not pairs or len(pairs) > MAX_FIELDS:
        raise FieldError("malformed", f"{len(pairs)} fields")
    plain = [(_plain(name), _plain(value)) for name, _, value in pairs]
    named = dict(plain).get(b"charset", b"utf-8").decode("ascii", "replace").lower()
    charset = _CHARSETS.get(named)
    if charset is None:
        raise FieldError("malformed", f"charset {named[:16]!r}")
    try:
        values = {name.decode(charset): value.decode(charset) for name, value in plain}
    except UnicodeDecodeError as error:
        raise FieldError("malformed", f"not {charset}") from error
    if len(values) != len(plain):
        raise FieldError("malformed", "a field stands twice")
    return values


def _plain(text: bytes) -> bytes:
    return unquote_to_bytes(text.replace(b"+", b" "))


def _verify(values: Mapping[str, str], key: RSAPublicKey) -> None:
    if values.get("sign_type") != "RSA2":
        raise FieldError("signature_type", "only RSA2 is believed")
    signed = {k: v for k, v in values.items() if k not in ("sign", "sign_type")}
    charset = _CHARSETS[values.get("charset", "utf-8").lower()]
    message = canonical(signed).encode(charset)
    if not rsa2.verifies(key, message, values.get("sign", "")):
        raise FieldError("signature", "the signature does not fit the fields")


def _ours(values: Mapping[str, str], app_id: str, seller_id: str) -> None:
    if values.get("notify_type", "trade_status_sync") != "trade_status_sync":
        raise FieldError("event_unknown", f"notify_type {values['notify_type'][:32]!r}")
    if values.get("app_id") != app_id:
        raise FieldError("wrong_appid", "app_id is not ours")
    if values.get("seller_id") != seller_id:
        raise FieldError("wrong_merchant", "seller_id is not ours")
