"""The Alipay channel: mini-program, QR and WAP, with alipay-sdk-python's requests and models.

What the SDK must not do itself (sign, send, verify, tell the time) is `alipay_gateway`'s.
"""

import io
import zipfile
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any, TypeVar

from alipay.aop.api.domain.AlipayDataDataserviceBillDownloadurlQueryModel import (
    AlipayDataDataserviceBillDownloadurlQueryModel,
)
from alipay.aop.api.domain.AlipayTradeCloseModel import AlipayTradeCloseModel
from alipay.aop.api.domain.AlipayTradeCreateModel import AlipayTradeCreateModel
from alipay.aop.api.domain.AlipayTradeFastpayRefundQueryModel import (
    AlipayTradeFastpayRefundQueryModel,
)
from alipay.aop.api.domain.AlipayTradePrecreateModel import AlipayTradePrecreateModel
from alipay.aop.api.domain.AlipayTradeQueryModel import AlipayTradeQueryModel
from alipay.aop.api.domain.AlipayTradeRefundModel import AlipayTradeRefundModel
from alipay.aop.api.domain.AlipayTradeWapPayModel import AlipayTradeWapPayModel
from alipay.aop.api.request.AlipayDataDataserviceBillDownloadurlQueryRequest import (
    AlipayDataDataserviceBillDownloadurlQueryRequest,
)
from alipay.aop.api.request.AlipayTradeCloseRequest import AlipayTradeCloseRequest
from alipay.aop.api.request.AlipayTradeCreateRequest import AlipayTradeCreateRequest
from alipay.aop.api.request.AlipayTradeFastpayRefundQueryRequest import (
    AlipayTradeFastpayRefundQueryRequest,
)
from alipay.aop.api.request.AlipayTradePrecreateRequest import AlipayTradePrecreateRequest
from alipay.aop.api.request.AlipayTradeQueryRequest import AlipayTradeQueryRequest
from alipay.aop.api.request.AlipayTradeRefundRequest import AlipayTradeRefundRequest
from alipay.aop.api.request.AlipayTradeWapPayRequest import AlipayTradeWapPayRequest

from payments import alipay_errors, alipay_fields, alipay_notice
from payments.alipay_fields import FieldError
from payments.alipay_gateway import AlipayConfig, Clock, Gateway, beijing_text
from payments.channel import (
    ChannelError,
    ClientPay,
    Notice,
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
from payments.http import MAX_FILE_BYTES, malformed

__all__ = ["Alipay", "AlipayConfig"]

_REFUND_ATTEMPTS = 2
_UNKNOWN_OUTCOME = ("timeout", "network", "busy", "answer_unverified")
_DETAIL, _SUMMARY = "业务明细", "汇总"
_MAX_ZIP_MEMBERS = 10
T = TypeVar("T")


class Alipay:
    """A PaymentChannel; one an app, shared by threads. `clock` gives aware UTC."""

    name = "alipay"
    taken = Reply(200, "success")
    ways = frozenset((PayWay.MINI, PayWay.QR, PayWay.WAP))
    confirms_by_asking = False

    def __init__(self, config: AlipayConfig, clock: Clock) -> None:
        self._config = config
        self._gateway = Gateway(config, clock)

    def create(self, order: OrderRequest) -> ClientPay:
        """Open an order: alipay.trade.create, .precreate or .wap.pay as `order.way` says.

        fields: MINI {"tradeNO"} for my.tradePay, QR {"code_url"}, WAP {"url"}. Under the same
        number it stays one order; a settled one is 'order_paid' or 'order_closed'.
        """
        check(order.way in self.ways, f"Alipay has no way {order.way}")
        if order.way is PayWay.WAP:
            url = self._gateway.page_url(_wap(order))
            return ClientPay(order.out_trade_no, {"url": url})
        if order.way is PayWay.QR:
            answer = self._about(_precreate(order), order.out_trade_no)
            code = _sense(lambda: alipay_fields.text(answer, "qr_code"))
            return ClientPay(order.out_trade_no, {"code_url": code})
        answer = self._about(_create(order), order.out_trade_no)
        trade_no = _sense(lambda: alipay_fields.text(answer, "trade_no"))
        return ClientPay(trade_no, {"tradeNO": trade_no})

    def query(self, out_trade_no: str) -> TradeState:
        """alipay.trade.query. A trade its payer has not opened yet does not exist there: pending.

        Whoever holds the code or the address can open it until it expires, so 'not found' is no
        proof that it never will be.
        """
        model = AlipayTradeQueryModel()
        model.out_trade_no = out_trade_no
        try:
            answer = self._about(AlipayTradeQueryRequest(model), out_trade_no)
        except ChannelError as error:
            if error.code != "order_not_found":
                raise
            return TradeState(out_trade_no, TradeStatus.PENDING)
        return _sense(lambda: alipay_fields.trade_state(answer, "send_pay_date"))

    def close(self, out_trade_no: str) -> None:
        """alipay.trade.close; a trade nobody opened has nothing to close and is left to expire."""
        model = AlipayTradeCloseModel()
        model.out_trade_no = out_trade_no
        try:
            self._about(AlipayTradeCloseRequest(model), out_trade_no)
        except ChannelError as error:
            if error.code == "refused":
                self._settle_close(out_trade_no, error)
            elif error.code not in ("order_not_found", "order_closed"):
                raise

    def refund(self, request: RefundRequest) -> RefundState:
        """alipay.trade.refund, its number as out_request_no; unanswered it is asked once more.

        `fund_change` N says this very request was carried out before or is not through yet:
        alipay.trade.fastpay.refund.query tells which.
        """
        for left in reversed(range(_REFUND_ATTEMPTS)):
            try:
                return self._refund_once(request)
            except ChannelError as error:
                if error.code not in _UNKNOWN_OUTCOME or not left:
                    raise
        raise AssertionError("unreachable: the last attempt returns or raises")

    def query_refund(self, out_trade_no: str, out_refund_no: str) -> RefundState:
        """alipay.trade.fastpay.refund.query.

        An answer without refund_status: not received, or not gone through: 'refund_not_found'.
        """
        model = AlipayTradeFastpayRefundQueryModel()
        model.out_trade_no, model.out_request_no = out_trade_no, out_refund_no
        model.query_options = ["gmt_refund_pay"]
        answer = self._gateway.call(AlipayTradeFastpayRefundQueryRequest(model))
        if not answer.get("refund_status"):
            raise ChannelError("refund_not_found", "no such refund there", permanent=True)
        if (answer["out_request_no"], answer.get("out_trade_no")) != (out_refund_no, out_trade_no):
            raise malformed("the answer is about another refund")
        return _sense(lambda: _refund_state(answer))

    def parse_notice(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> Notice:
        """Verify and read a notice; its body is all there is, nothing in the headers is signed."""
        config = self._config
        try:
            return alipay_notice.read(
                raw_body, self._gateway.public_key, config.app_id, config.seller_id, now
            )
        except FieldError as refusal:
            raise NoticeRejected(refusal.code, refusal.reason) from refusal

    def download_statement(self, day: date, kind: StatementKind = StatementKind.ALL) -> bytes:
        """The day's 业务明细 out of its zip, GBK as it is. About 09:00 the next day.

        Payments and refunds stand in one file, so `kind` must be ALL.
        """
        check(kind is StatementKind.ALL, "Alipay's bill has payments and refunds in one file")
        model = AlipayDataDataserviceBillDownloadurlQueryModel()
        model.bill_type, model.bill_date = "trade", day.isoformat()
        answer = self._gateway.call(AlipayDataDataserviceBillDownloadurlQueryRequest(model))
        url = _sense(lambda: alipay_fields.text(answer, "bill_download_url"))
        return unzipped_detail(self._gateway.download(url))

    def close_connections(self) -> None:
        """Let go of the kept-alive connections; the channel can still be used."""
        self._gateway.close()

    def _about(self, request: Any, out_trade_no: str) -> dict[str, Any]:
        """Call, and make sure the answer is about the order that was asked about."""
        answer = self._gateway.call(request)
        if answer.get("out_trade_no") != out_trade_no:
            raise malformed("the answer is about another order")
        return answer

    def _settle_close(self, out_trade_no: str, error: ChannelError) -> None:
        """A close refused for the trade's state: paid, or closed already?"""
        status = self.query(out_trade_no).status
        if status in (TradeStatus.PAID, TradeStatus.REFUNDED):
            raise ChannelError("order_paid", error.message, permanent=True) from error
        if status is not TradeStatus.CLOSED:
            raise error

    def _refund_once(self, request: RefundRequest) -> RefundState:
        model = AlipayTradeRefundModel()
        model.out_trade_no, model.out_request_no = request.out_trade_no, request.out_refund_no
        model.refund_amount, model.refund_reason = yuan(request.refund_fen), request.reason
        answer = self._about(AlipayTradeRefundRequest(model), request.out_trade_no)
        try:
            return self.query_refund(request.out_trade_no, request.out_refund_no)
        except ChannelError as error:
            if error.code != "refund_not_found":
                raise
        return RefundState(
            request.out_trade_no,
            request.out_refund_no,
            str(answer.get("trade_no", "")),
            RefundStatus.PROCESSING,
            request.refund_fen,
            request.total_fen,
        )


def yuan(fen: int) -> str:
    """'12.34' for 1234."""
    return f"{fen // 100}.{fen % 100:02d}"


def unzipped_detail(data: bytes) -> bytes:
    """The detail among a bill's files; ChannelError('statement_damaged') where there is none."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _detail(archive)
    except (zipfile.BadZipFile, NotImplementedError, OSError, EOFError, RuntimeError) as error:
        raise alipay_errors.damaged("the bill's zip is broken") from error


def _detail(archive: zipfile.ZipFile) -> bytes:
    members = archive.infolist()
    if len(members) > _MAX_ZIP_MEMBERS:
        raise alipay_errors.damaged(f"{len(members)} files in the bill's zip")
    details = [m for m in members if _DETAIL in (name := _zip_name(m)) and _SUMMARY not in name]
    if len(details) != 1:
        raise alipay_errors.damaged("no single 业务明细 in the bill's zip")
    with archive.open(details[0]) as file:
        plain = file.read(MAX_FILE_BYTES + 1)
    if len(plain) > MAX_FILE_BYTES:
        raise malformed("the statement is too long unzipped")
    return plain


def _zip_name(member: zipfile.ZipInfo) -> str:
    """A member's name: GBK without saying so, which zipfile has read as CP437."""
    if member.flag_bits & 0x800:
        return member.filename
    return member.filename.encode("cp437", "replace").decode("gbk", "replace")


def _common(model: Any, order: OrderRequest) -> None:
    model.out_trade_no, model.subject = order.out_trade_no, order.description
    model.total_amount = yuan(order.amount_fen)
    model.time_expire = beijing_text(order.expires_at)
    if order.attach:
        model.passback_params = order.attach


def _create(order: OrderRequest) -> AlipayTradeCreateRequest:
    model = AlipayTradeCreateModel()
    _common(model, order)
    model.product_code = "JSAPI_PAY"
    # An old user id is 2088 and 16 digits; new apps know their payers by openid only.
    is_user_id = order.payer_id.startswith("2088") and len(order.payer_id) == 16
    setattr(model, "buyer_id" if is_user_id else "buyer_open_id", order.payer_id)
    return _addressed(AlipayTradeCreateRequest(model), order)


def _precreate(order: OrderRequest) -> AlipayTradePrecreateRequest:
    model = AlipayTradePrecreateModel()
    _common(model, order)
    return _addressed(AlipayTradePrecreateRequest(model), order)


def _wap(order: OrderRequest) -> AlipayTradeWapPayRequest:
    model = AlipayTradeWapPayModel()
    _common(model, order)
    model.product_code = "QUICK_WAP_WAY"
    if order.return_url:
        model.quit_url = order.return_url
    request = _addressed(AlipayTradeWapPayRequest(model), order)
    if order.return_url:
        request.return_url = order.return_url
    return request


def _addressed(request: Any, order: OrderRequest) -> Any:
    request.notify_url = order.notify_url
    return request


_REFUND_STATUS = {"REFUND_SUCCESS": RefundStatus.SUCCESS, "REFUND_FAIL": RefundStatus.CLOSED}


def _refund_state(answer: Mapping[str, Any]) -> RefundState:
    """A refund as fastpay.refund.query tells it."""
    status = _REFUND_STATUS.get(answer["refund_status"], RefundStatus.PROCESSING)
    settled = status is RefundStatus.SUCCESS and answer.get("gmt_refund_pay")
    return RefundState(
        out_trade_no=alipay_fields.text(answer, "out_trade_no"),
        out_refund_no=alipay_fields.text(answer, "out_request_no"),
        refund_id=alipay_fields.text(answer, "trade_no"),
        status=status,
        refund_fen=alipay_fields.fen(answer, "refund_amount"),
        total_fen=alipay_fields.fen(answer, "total_amount"),
        settled_at=alipay_fields.moment(answer, "gmt_refund_pay") if settled else None,
    )


def _sense(read: Callable[[], T]) -> T:
    """Read a verified answer; a FieldError becomes ChannelError('answer_malformed')."""
    try:
        return read()
    except FieldError as error:
        raise malformed(f"{error.code}: {error.reason}") from error
