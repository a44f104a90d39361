"""The WeChat Pay v3 channel: our own thin client on requests and cryptography.

Why own: the public SDK has no default timeout, takes 30-day-old notices, never checks appid and
mchid, and forgets its certificates on one forged notice. It serves the tests as an oracle.
"""

import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta, timezone
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from payments import rsa2, wechat_cards, wechat_crypto, wechat_fields
from payments.channel import (
    ChannelError,
    ClientPay,
    Notice,
    NoticeKind,
    NoticeRejected,
    OrderRequest,
    PayWay,
    RefundRequest,
    RefundState,
    RefundStatus,
    Reply,
    StatementKind,
    TradeState,
    TradeStatus,
)
from payments.http import MAX_FILE_BYTES, Clock, malformed
from payments.wechat_cards import BankCard, SealedCard
from payments.wechat_fields import FieldError
from payments.wechat_transport import Transport, WeChatPayConfig

__all__ = ["WeChatPay", "WeChatPayConfig"]

# China has had no daylight saving since 1991, so a fixed offset is exact.
_BEIJING = timezone(timedelta(hours=8))
# way -> (what it is called in the address, where the answer holds what the payer needs)
_PRODUCTS = {
    PayWay.MINI: ("jsapi", "prepay_id"),
    PayWay.OFFICIAL: ("jsapi", "prepay_id"),
    PayWay.QR: ("native", "code_url"),
    PayWay.WAP: ("h5", "h5_url"),
}
# Ways without a client of WeChat's on our side: what is shown instead of signed fields.
_SHOWN = {PayWay.QR: "code_url", PayWay.WAP: "url"}
_REFUND_ATTEMPTS = 2
_UNKNOWN_OUTCOME = ("timeout", "network", "busy")
_EVENTS = {
    "TRANSACTION.SUCCESS": NoticeKind.PAYMENT,
    "REFUND.SUCCESS": NoticeKind.REFUND,
    "REFUND.ABNORMAL": NoticeKind.REFUND,
    "REFUND.CLOSED": NoticeKind.REFUND,
}
T = TypeVar("T")


class WeChatPay:
    """A PaymentChannel; one a merchant, shared by threads. `clock` gives aware UTC."""

    name = "wechat"
    taken = Reply(204)
    ways = frozenset(PayWay)
    confirms_by_asking = False

    def __init__(self, config: WeChatPayConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._transport = Transport(config, clock)

    def create(self, order: OrderRequest) -> ClientPay:
        """Open an order: POST /v3/pay/transactions/jsapi, /native or /h5 as `order.way` says.

        fields: what wx.requestPayment takes (prepay_id lives 2 h), {"code_url"} or {"url"}.
        An answer that does not verify is settled by asking: 'order_paid' or 'order_closed' if it
        is so, else 'answer_unverified'. Create again then only under the same number.
        """
        product, result = _PRODUCTS[order.way]
        target = f"/v3/pay/transactions/{product}"
        try:
            answer = self._transport.call("POST", target, self._order(order))
        except ChannelError as error:
            if error.code == "answer_unverified":
                self._refuse_settled(order.out_trade_no)
            raise
        token = _sense(lambda: wechat_fields.text(answer, result))
        if order.way in _SHOWN:
            return ClientPay(order.out_trade_no, {_SHOWN[order.way]: token})
        return self.client_pay(token, self._appid(order.way))

    def client_pay(self, prepay_id: str, appid: str = "") -> ClientPay:
        """Sign what wx.requestPayment needs (小程序调起支付签名); costs no request."""
        timestamp, nonce = str(int(self._clock().timestamp())), wechat_crypto.new_nonce()
        package = f"prepay_id={prepay_id}"
        appid = appid or self._config.appid
        message = wechat_crypto.client_message(appid, timestamp, nonce, package)
        fields = {
            "appId": appid,
            "timeStamp": timestamp,
            "nonceStr": nonce,
            "package": package,
            "signType": "RSA",
            "paySign": rsa2.sign(self._transport.merchant_key, message),
        }
        return ClientPay(prepay_id, fields)

    def query(self, out_trade_no: str) -> TradeState:
        """GET /v3/pay/transactions/out-trade-no/{no}; the answer must be about that order."""
        target = f"{_order_path(out_trade_no)}?{urlencode({'mchid': self._config.mchid})}"
        answer = self._transport.call("GET", target)
        state = _sense(
            lambda: wechat_fields.trade_state(answer, self._config.mchid, self._config.appids)
        )
        if state.out_trade_no != out_trade_no:
            raise malformed("the answer is about another order")
        return state

    def close(self, out_trade_no: str) -> None:
        """POST …/{no}/close (204, signed). An unverified answer is settled by asking."""
        target = f"{_order_path(out_trade_no)}/close"
        try:
            self._transport.call("POST", target, {"mchid": self._config.mchid})
        except ChannelError as error:
            if error.code != "answer_unverified":
                raise
            if self.query(out_trade_no).status is not TradeStatus.CLOSED:
                raise

    def refund(self, request: RefundRequest) -> RefundState:
        """POST /v3/refund/domestic/refunds, asked again once under the same number if unanswered.

        At most 50 partial refunds of one order, within a year of its payment.
        """
        for left in reversed(range(_REFUND_ATTEMPTS)):
            try:
                return self._refund_once(request)
            except ChannelError as error:
                if error.code not in _UNKNOWN_OUTCOME or not left:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def query_refund(self, out_trade_no: str, out_refund_no: str) -> RefundState:
        """GET /v3/refund/domestic/refunds/{no}; 'refund_not_found' where it was never asked."""
        target = f"/v3/refund/domestic/refunds/{quote(out_refund_no, safe='')}"
        answer = self._transport.call("GET", target)
        state = _sense(lambda: wechat_fields.refund_state(answer))
        if (state.out_trade_no, state.out_refund_no) != (out_trade_no, out_refund_no):
            raise malformed("the answer is about another refund")
        return state

    def seal_card(self, card: BankCard) -> SealedCard:
        """Close a payer's card for the platform, by the key it would be sent with today."""
        return wechat_cards.sealed(card, *self._transport.sealing_key())

    def refund_to_card(
        self, out_trade_no: str, out_refund_no: str, card: SealedCard
    ) -> RefundState:
        """POST …/refunds/{refund_id}/apply-abnormal-refund (发起异常退款, USER_BANK_CARD).

        Only an abnormal refund is sent on; what another has become is returned as it is, so that
        asking again after an unknown outcome sends nothing twice.
        """
        known = self.query_refund(out_trade_no, out_refund_no)
        if known.status is not RefundStatus.ABNORMAL:
            return known
        target = f"/v3/refund/domestic/refunds/{quote(known.refund_id, safe='')}"
        try:
            answer = self._transport.call(
                "POST",
                f"{target}/apply-abnormal-refund",
                card.body(out_refund_no),
                sealed_for=card.serial,
            )
            state = _sense(lambda: wechat_fields.refund_state(answer))
        except ChannelError as error:
            if error.code != "answer_unverified":
                raise
            state = self.query_refund(out_trade_no, out_refund_no)
        if (state.out_refund_no, state.refund_id) != (out_refund_no, known.refund_id):
            raise malformed("the answer is about another refund")
        return state

    def refresh_certificates(self) -> int:
        """Fetch the platform's certificates (daily job; new merchants with a key have none)."""
        return self._transport.refresh_certificates()

    def parse_notice(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> Notice:
        """Verify over the raw bytes, open the resource, check mchid, appid and currency.

        Raises NoticeRejected; answer 4xx then (the platform repeats: 15s/15s/30s/3m/…/6h).
        """
        try:
            self._transport.verify(headers, raw_body, now)
            return self._open_notice(raw_body)
        except (wechat_crypto.Untrusted, FieldError) as refusal:
            raise NoticeRejected(refusal.code, refusal.reason) from refusal
        except wechat_crypto.UndecryptableError as error:
            raise NoticeRejected("decrypt", str(error)) from error

    def download_statement(self, day: date, kind: StatementKind = StatementKind.ALL) -> bytes:
        """GET /v3/bill/tradebill, then the file; its SHA-1 is checked over the unzipped bytes.

        Ready after 10:00 the next day, kept for 3 months. The file's answer carries no
        signature; the hash came in a signed one.
        """
        query = {"bill_date": day.isoformat(), "bill_type": kind.value, "tar_type": "GZIP"}
        answer = self._transport.call("GET", f"/v3/bill/tradebill?{urlencode(query)}")
        url = _sense(lambda: wechat_fields.text(answer, "download_url"))
        expected = _sense(lambda: wechat_fields.text(answer, "hash_value"))
        data = _unzipped(self._transport.download(url))
        if answer.get("hash_type") != "SHA1":
            raise malformed("the statement's hash is not SHA1")
        if hashlib.sha1(data, usedforsecurity=False).hexdigest() != expected.lower():
            raise _damaged("the statement's SHA-1 does not fit")
        return data

    def close_connections(self) -> None:
        """Let go of the kept-alive connections; the channel can still be used."""
        self._transport.close_connections()

    def _order(self, order: OrderRequest) -> dict[str, Any]:
        body: dict[str, Any] = {
            "appid": self._appid(order.way),
            "mchid": self._config.mchid,
            "description": order.description,
            "out_trade_no": order.out_trade_no,
            "time_expire": order.expires_at.astimezone(_BEIJING).isoformat(timespec="seconds"),
            "notify_url": order.notify_url,
            "amount": {"total": order.amount_fen, "currency": "CNY"},
        }
        if order.way not in _SHOWN:
            body["payer"] = {"openid": order.payer_id}
        if order.way is PayWay.WAP:
            scene = {"payer_client_ip": order.client_ip, "h5_info": {"type": "Wap"}}
            body["scene_info"] = scene
        if order.attach:
            body["attach"] = order.attach
        return body

    def _appid(self, way: PayWay) -> str:
        return (way is PayWay.OFFICIAL and self._config.official_appid) or self._config.appid

    def _refuse_settled(self, out_trade_no: str) -> None:
        status = self.query(out_trade_no).status
        if status in (TradeStatus.PAID, TradeStatus.REFUNDED):
            raise ChannelError("order_paid", "the order is already paid", permanent=True)
        if status is TradeStatus.CLOSED:
            raise ChannelError("order_closed", "the order is closed", permanent=True)

    def _refund_once(self, request: RefundRequest) -> RefundState:
        body = {
            "out_trade_no": request.out_trade_no,
            "out_refund_no": request.out_refund_no,
            "reason": request.reason,
            "notify_url": request.notify_url,
            "amount": {
                "refund": request.refund_fen,
                "total": request.total_fen,
                "currency": "CNY",
            },
        }
        try:
            answer = self._transport.call("POST", "/v3/refund/domestic/refunds", body)
            state = _sense(lambda: wechat_fields.refund_state(answer))
        except ChannelError as error:
            if error.code != "answer_unverified":
                raise
            state = self.query_refund(request.out_trade_no, request.out_refund_no)
        asked = (request.out_trade_no, request.out_refund_no, request.refund_fen)
        if (state.out_trade_no, state.out_refund_no, state.refund_fen) != asked:
            raise malformed("the answer is about another refund")
        return state

    def _open_notice(self, raw_body: bytes) -> Notice:
        envelope = _notice_object(raw_body, "the notice")
        event = wechat_fields.text(envelope, "event_type")
        if event not in _EVENTS:
            raise FieldError("event_unknown", f"event_type {event[:64]!r} is not expected")
        plain = self._open_resource(envelope)
        data = _notice_object(plain, "the resource")
        notice_id = wechat_fields.text(envelope, "id")
        created_at = wechat_fields.moment(envelope, "create_time")
        if _EVENTS[event] is NoticeKind.REFUND:
            refund = wechat_fields.refund_notice(data, self._config.mchid)
            return Notice(notice_id, NoticeKind.REFUND, event, created_at, plain, refund=refund)
        trade = wechat_fields.trade_state(data, self._config.mchid, self._config.appids)
        if trade.amount_fen is None:
            raise FieldError("malformed", "a success notice about an unpaid order")
        return Notice(notice_id, NoticeKind.PAYMENT, event, created_at, plain, trade=trade)

    def _open_resource(self, envelope: Mapping[str, Any]) -> bytes:
        resource = envelope.get("resource")
        if envelope.get("resource_type") != "encrypt-resource" or not isinstance(resource, dict):
            raise FieldError("malformed", "resource is missing or not encrypted")
        if resource.get("algorithm") != wechat_crypto.AEAD:
            raise FieldError("malformed", f"only {wechat_crypto.AEAD} is spoken")
        associated = resource.get("associated_data") or ""
        if not isinstance(associated, str):
            raise FieldError("malformed", "associated_data is not a string")
        nonce = wechat_fields.text(resource, "nonce")
        ciphertext = wechat_fields.text(resource, "ciphertext")
        return wechat_crypto.decrypt(self._config.api_v3_key, nonce, associated, ciphertext)


def _order_path(out_trade_no: str) -> str:
    return f"/v3/pay/transactions/out-trade-no/{quote(out_trade_no, safe='')}"


def _sense(read: Callable[[], T]) -> T:
    """Read a verified answer; a FieldError becomes ChannelError('answer_malformed')."""
    try:
        return read()
    except FieldError as error:
        raise malformed(f"{error.code}: {error.reason}") from error


def _notice_object(raw: bytes, what: str) -> dict[str, Any]:
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise FieldError("malformed", f"{what} is not JSON") from error
    if not isinstance(value, dict):
        raise FieldError("malformed", f"{what} is not a JSON object")
    return value


def _unzipped(data: bytes) -> bytes:
    if not data.startswith(b"\x1f\x8b"):
        return data
    try:
        with gzip.open(io.BytesIO(data)) as file:
            plain = file.read(MAX_FILE_BYTES + 1)
    except (OSError, EOFError, zlib.error) as error:
        raise _damaged("the statement's gzip is broken") from error
    if len(plain) > MAX_FILE_BYTES:
        raise malformed("the statement is too long unzipped")
    return plain


def _damaged(reason: str) -> ChannelError:
    return ChannelError("statement_damaged", reason, permanent=False, retry_after_s=60)
