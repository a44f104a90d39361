"""The UnionPay channel (全渠道 ACP 5.1.0), our own client: no SDK exists for Python.

Orders are asked about by number and the second they were made at (txnTime); our numbers carry it.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from urllib.parse import urlencode

from payments import unionpay_crypto, unionpay_fields
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
    check,
)
from payments.http import MAX_FILE_BYTES, Clock, Http, malformed, network, unverified
from payments.unionpay_crypto import Trust, Untrusted, load_signing_key
from payments.unionpay_statement import unpacked

__all__ = ["UnionPay", "UnionPayConfig"]

CURRENCY = "156"
_BIZ, _MOBILE = "000201", "08"
_MADE_AT = re.compile(r"[A-Z](20\d{12})")
_NOT_FOUND = "34"


@dataclass(frozen=True)
class UnionPayConfig:
    """A merchant's settings: its signing file (.pfx or PEM), UnionPay's root and middle.

    Raises ValueError where they cannot work.
    """

    mer_id: str
    signing_file: bytes = field(repr=False)
    signing_password: str = field(repr=False)
    root_pem: bytes = field(repr=False)
    middle_pem: bytes = field(repr=False)
    base_url: str = "https://gateway.95516.com"
    file_url: str = "https://filedownload.95516.com/"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9A-Za-z]{15}", self.mer_id):
            raise ValueError("mer_id must be 15 letters or digits")


class UnionPay:
    """A PaymentChannel; one a merchant, shared by threads. `clock` gives aware UTC."""

    name = "unionpay"
    taken = Reply(200, "ok")
    ways = frozenset((PayWay.WAP,))
    confirms_by_asking = True  # 通知应答码 00 之后仍须查询

    def __init__(self, config: UnionPayConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock
        self._key = load_signing_key(config.signing_file, config.signing_password)
        self._trust = Trust.of(config.root_pem, config.middle_pem)
        self._http = Http()

    def create(self, order: OrderRequest) -> ClientPay:
        """What the payer's browser posts to frontTransReq.do; costs no request.

        fields: {"url", "form"}, the form's fields as JSON. The order begins to exist there once it
        has been posted, and ends by itself at `expires_at` (payTimeout).
        """
        check(order.way in self.ways, f"UnionPay has no way {order.way}")
        fields = self._common("01", "01", order.out_trade_no) | {
            "txnAmt": str(order.amount_fen),
            "currencyCode": CURRENCY,
            "channelType": _MOBILE,
            "frontUrl": order.return_url or order.notify_url,
            "backUrl": order.notify_url,
            "payTimeout": unionpay_fields.time_text(order.expires_at),
            "orderDesc": order.description[:32],
            "reqReserved": order.attach,
        }
        form = json.dumps(unionpay_crypto.signed(fields, self._key), ensure_ascii=False)
        url = f"{self._config.base_url}/gateway/api/frontTransReq.do"
        return ClientPay(order.out_trade_no, {"url": url, "form": form})

    def query(self, out_trade_no: str) -> TradeState:
        """txnType 00. Not found means the payer has not posted it yet: pending."""
        answer = self._ask(out_trade_no)
        if answer is None:
            return TradeState(out_trade_no, TradeStatus.PENDING)
        told = answer.get("origRespCode", "")
        if told in unionpay_fields.PENDING or not told:
            return TradeState(out_trade_no, TradeStatus.PENDING)
        if told != "00":
            return TradeState(out_trade_no, TradeStatus.FAILED)
        return unionpay_fields.paid(answer, out_trade_no)

    def close(self, out_trade_no: str) -> None:
        """UnionPay closes by payTimeout alone; 'order_paid' where it is paid already."""
        if self.query(out_trade_no).status is TradeStatus.PAID:
            raise ChannelError("order_paid", "the order is already paid", permanent=True)

    def refund(self, request: RefundRequest) -> RefundState:
        """txnType 04, named after the payment's queryId; accepted is not yet done: ask."""
        known = self._ask(request.out_refund_no)
        if known is None:
            self._send_refund(request)
        return self.query_refund(request.out_trade_no, request.out_refund_no, request.total_fen)

    def query_refund(
        self, out_trade_no: str, out_refund_no: str, total_fen: int = 0
    ) -> RefundState:
        """txnType 00 about the refund's own number."""
        answer = self._ask(out_refund_no)
        if answer is None:
            raise ChannelError("refund_not_found", "no such refund there", permanent=True)
        amount_fen = unionpay_fields.fen(answer, "txnAmt")
        told = answer.get("origRespCode", "")
        status = RefundStatus.SUCCESS if told == "00" else RefundStatus.CLOSED
        if told in unionpay_fields.PENDING or not told:
            status = RefundStatus.PROCESSING
        return RefundState(
            out_trade_no=out_trade_no,
            out_refund_no=out_refund_no,
            refund_id=answer.get("queryId", ""),
            status=status,
            refund_fen=amount_fen,
            total_fen=max(total_fen, amount_fen),
            settled_at=unionpay_fields.carried_out(answer) if told == "00" else None,
        )

    def parse_notice(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> Notice:
        """Verify a form's signature and its signer's chain; merId and currency must be ours."""
        try:
            fields = unionpay_fields.form(raw_body)
            self._trust.verify(fields, now)
            return self._notice(fields, raw_body, now)
        except Untrusted as refusal:
            raise NoticeRejected(refusal.code, refusal.reason) from refusal
        except ChannelError as error:
            raise NoticeRejected("malformed", error.message) from error

    def download_statement(self, day: date, kind: StatementKind = StatementKind.ALL) -> bytes:
        """txnType 76: the settlement day's ZM file out of its zip, GBK as it is.

        The settlement day ends at 23:00.
        """
        check(kind is StatementKind.ALL, "UnionPay's file has payments and refunds together")
        now = self._clock()
        fields = self._common("76", "01", f"S{unionpay_fields.time_text(now)}", "000000") | {
            "settleDate": f"{day:%m%d}",
            "fileType": "00",
        }
        answer = self._post(self._config.file_url, fields)
        code = answer.get("respCode", "")
        if code != "00":
            raise unionpay_fields.refusal(code, answer.get("respMsg", ""))
        return unpacked(answer.get("fileContent", ""))

    def close_connections(self) -> None:
        """Let go of the kept-alive connections; the channel can still be used."""
        self._http.close()

    def _send_refund(self, request: RefundRequest) -> None:
        paid = self.query(request.out_trade_no)
        if paid.transaction_id is None:
            raise ChannelError("order_not_found", "the order is not paid", permanent=True)
        fields = self._common("04", "00", request.out_refund_no) | {
            "txnAmt": str(request.refund_fen),
            "currencyCode": CURRENCY,
            "channelType": _MOBILE,
            "origQryId": paid.transaction_id,
            "backUrl": request.notify_url,
        }
        answer = self._post(f"{self._config.base_url}/gateway/api/backTransReq.do", fields)
        code = answer.get("respCode", "")
        if code != "00" and code not in unionpay_fields.PENDING:
            raise unionpay_fields.refusal(code, answer.get("respMsg", ""))

    def _ask(self, number: str) -> dict[str, str] | None:
        """Query an order or a refund; None where UnionPay has never heard of it."""
        fields = self._common("00", "00", number)
        answer = self._post(f"{self._config.base_url}/gateway/api/queryTrans.do", fields)
        code = answer.get("respCode", "")
        if code == _NOT_FOUND:
            return None
        if code != "00":
            raise unionpay_fields.refusal(code, answer.get("respMsg", ""))
        if (answer.get("orderId"), answer.get("merId")) != (number, self._config.mer_id):
            raise malformed("the answer is about another order")
        return answer

    def _common(
        self, txn_type: str, sub_type: str, number: str, biz_type: str = _BIZ
    ) -> dict[str, str]:
        return {
            "version": unionpay_crypto.VERSION,
            "encoding": "UTF-8",
            "txnType": txn_type,
            "txnSubType": sub_type,
            "bizType": biz_type,
            "accessType": "0",
            "merId": self._config.mer_id,
            "orderId": number,
            "txnTime": made_at(number),
        }

    def _post(self, url: str, fields: Mapping[str, str]) -> dict[str, str]:
        body = urlencode(unionpay_crypto.signed(fields, self._key)).encode("ascii")
        headers = {"Content-Type": "application/x-www-form-urlencoded;charset=UTF-8"}
        answer = self._http.exchange("POST", url, body, headers, limit=MAX_FILE_BYTES)
        if not answer.ok:
            raise network(f"HTTP {answer.status}")
        try:
            told = unionpay_crypto.parse_answer(answer.body.decode("utf-8").strip())
        except ValueError as error:
            raise malformed("the answer is no list of fields in UTF-8") from error
        try:
            self._trust.verify(told, self._clock())
        except Untrusted as refusal:
            raise unverified(refusal.reason) from refusal
        return told

    def _notice(self, fields: Mapping[str, str], raw_body: bytes, now: datetime) -> Notice:
        if fields.get("merId") != self._config.mer_id:
            raise Untrusted("wrong_merchant", "merId is not ours")
        if fields.get("currencyCode") != CURRENCY:
            raise Untrusted("wrong_currency", "currencyCode is not 156")
        number, query_id = fields.get("orderId", ""), fields.get("queryId", "")
        if fields.get("respCode") != "00" or not number or not query_id:
            raise Untrusted("event_unknown", "not the notice of a success")
        kind = {"01": NoticeKind.PAYMENT, "04": NoticeKind.REFUND}.get(fields.get("txnType", ""))
        if kind is None:
            raise Untrusted("event_unknown", f"txnType {fields.get('txnType', '')[:4]!r}")
        trade = refund = None
        if kind is NoticeKind.PAYMENT:
            trade = unionpay_fields.paid(fields, number)
        else:
            refund = unionpay_fields.refunded(fields)
        return Notice(query_id, kind, fields["txnType"], now, raw_body, trade, refund)


def made_at(number: str) -> str:
    """The second an order or refund was made at, which its number carries: txnTime.

    ValueError where the number is not of our making.
    """
    found = _MADE_AT.match(number)
    check(found, f"{number[:32]!r} does not carry the second it was made at")
    assert found is not None
    return found[1]
