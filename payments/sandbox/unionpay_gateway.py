"""UnionPay's gateway over HTTP: the front page, background requests, queries, the statement."""

import json
import time
from collections.abc import Mapping
from datetime import date, datetime, timedelta
from datetime import time as clock_time

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from payments import rsa2
from payments.sandbox import desk
from payments.sandbox.bills import bill_rows, twisted
from payments.sandbox.desk import NewOrder, NewRefund, Refused, Sandbox
from payments.sandbox.state import Row
from payments.sandbox.tradebill import BEIJING, BillRow
from payments.sandbox.unionpay_desk import CHANNEL, REFUSALS, UnionPayParty, file_content
from payments.unionpay_crypto import digest

_BEFORE = frozenset({"error", "slow"})
_AFTER = frozenset({"unsigned", "forged_signature", "wrong_serial", "slow_after", "http_error"})
Fields = Mapping[str, str]


class Refusal(Exception):
    """UnionPay says no: respCode and sentence."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code)
        self.code, self.message = code, message


def unionpay_blueprint(box: Sandbox, party: UnionPayParty) -> Blueprint:
    """/gateway/api/{frontTransReq,backTransReq,queryTrans}.do and the file's address."""
    routes = Blueprint("unionpay", __name__)
    merchant = x509.load_pem_x509_certificate(party.keys.sign_cert_path.read_bytes())

    @routes.post("/gateway/api/frontTransReq.do")
    def front() -> BaseResponse | tuple[str, int]:
        fields = request.form.to_dict()
        try:
            _check(fields, party, merchant)
            order = _take_order(box, fields)
        except (Refused, Refusal) as refused:
            return refused.message, 400
        return redirect(url_for("pages.h5_pay", prepay_id=order["prepay_id"]), 303)

    @routes.post("/gateway/api/backTransReq.do")
    def back() -> Response:
        return _answer(box, party, merchant, "refund")

    @routes.post("/gateway/api/queryTrans.do")
    def query() -> Response:
        return _answer(box, party, merchant, "query")

    @routes.post("/unionpay/file")
    def file() -> Response:
        return _answer(box, party, merchant, "file")

    return routes


def _answer(
    box: Sandbox, party: UnionPayParty, merchant: x509.Certificate, operation: str
) -> Response:
    fields = request.form.to_dict()
    occasion = f"unionpay.{operation}"
    ordered = box.state.take_behaviour("answer", occasion, _BEFORE)
    if ordered and ordered[0] == "slow":
        time.sleep(float(ordered[1].get("delay_s", 1.0)))
    try:
        if ordered and ordered[0] == "error":
            raise Refusal("06", "系统繁忙，请稍后再试")
        _check(fields, party, merchant)
        told = _OPERATIONS[operation](box, party, fields)
    except Refused as refused:
        told = {"respCode": REFUSALS[refused.kind], "respMsg": refused.message}
    except Refusal as refusal:
        told = {"respCode": refusal.code, "respMsg": refusal.message}
    return _signed(box, party, occasion, fields, told)


def _signed(
    box: Sandbox, party: UnionPayParty, occasion: str, fields: Fields, told: Fields
) -> Response:
    mode, params = box.state.take_behaviour("answer", occasion, _AFTER) or ("", {})
    if mode == "slow_after":
        time.sleep(float(params.get("delay_s", 1.0)))
    if mode == "http_error":
        return Response("", status=502)
    echoed = {name: fields.get(name, "") for name in ("merId", "orderId", "txnTime", "txnType")}
    whole = party.signed({**echoed, **told}, mode)
    text = "&".join(f"{name}={value}" for name, value in whole.items())
    return Response(text, content_type="text/html;charset=UTF-8")


def _check(fields: Fields, party: UnionPayParty, merchant: x509.Certificate) -> None:
    key = merchant.public_key()
    assert isinstance(key, RSAPublicKey)
    if fields.get("merId") != party.keys.mer_id:
        raise Refusal("31", "商户状态不正确")
    if fields.get("certId") != str(merchant.serial_number):
        raise Refusal("11", "签名证书有误")
    if not rsa2.verifies(key, digest(fields), fields.get("signature", "")):
        raise Refusal("11", "验证签名失败")


def _take_order(box: Sandbox, fields: Fields) -> Row:
    amount = fields.get("txnAmt", "")
    wanted = amount.isdecimal() and int(amount) > 0 and fields.get("currencyCode") == "156"
    if not wanted or not fields.get("orderId", "").isalnum():
        raise Refusal("10", "报文格式错误")
    unsigned = {k: v for k, v in fields.items() if k not in ("signature", "certId")}
    return desk.open_order(
        box,
        NewOrder(
            channel=CHANNEL,
            out_trade_no=fields["orderId"],
            amount_fen=int(amount),
            payer="",
            description=fields.get("orderDesc", "银联支付"),
            notify_url=fields.get("backUrl", ""),
            expires_at=_moment(fields["payTimeout"]),
            asked=json.dumps(unsigned, sort_keys=True, ensure_ascii=False),
            attach=fields.get("reqReserved", ""),
        ),
    )


def _moment(text: str) -> float:
    return datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp()


def _query(box: Sandbox, party: UnionPayParty, fields: Fields) -> dict[str, str]:
    number = fields.get("orderId", "")
    refund = box.state.one("SELECT 1 FROM refunds WHERE out_refund_no = ?", number)
    if refund is not None:
        found = desk.find_refund(box, CHANNEL, number)
        told = party.told_refund(desk.order_of(box, found), found)
        state = {"SUCCESS": "00", "PROCESSING": "05"}.get(found["status"], "01")
    else:
        order = desk.find_order(box, CHANNEL, number)
        _same_time(order, fields)
        told = party.told(order, number, order["total_fen"])
        state = "00" if order["paid_at"] is not None else "05"
    return told | {"origRespCode": state, "origRespMsg": "应答", "respCode": "00"}


def _same_time(order: Row, fields: Fields) -> None:
    """An order is known by its number and its second."""
    if json.loads(order["request"])["txnTime"] != fields.get("txnTime"):
        raise Refused("not_found", "查无此交易")


def _refund(box: Sandbox, party: UnionPayParty, fields: Fields) -> dict[str, str]:
    if fields.get("txnType") != "04":
        raise Refusal("10", "报文格式错误")
    order = box.state.one(
        "SELECT out_trade_no FROM orders WHERE channel = ? AND transaction_id = ?",
        CHANNEL,
        fields.get("origQryId", ""),
    )
    made = desk.open_refund(
        box,
        NewRefund(
            channel=CHANNEL,
            out_trade_no=order["out_trade_no"] if order else "",
            out_refund_no=fields.get("orderId", ""),
            refund_fen=int(fields.get("txnAmt", "0")),
            total_fen=None,
            notify_url=fields.get("backUrl", ""),
        ),
    )
    return {"respCode": "00", "respMsg": "成功[0000000]", "queryId": made["refund_id"]}


def _file(box: Sandbox, party: UnionPayParty, fields: Fields) -> dict[str, str]:
    """The settlement day, 23:00 to 23:00, ready the next morning."""
    today = box.clock().astimezone(BEIJING).date()
    settle = fields.get("settleDate", "")
    day = next(
        (d for n in range(400) if f"{(d := today - timedelta(days=n)):%m%d}" == settle), today
    )
    occasion = f"{CHANNEL}:{day}"
    ready = datetime.combine(day + timedelta(days=1), clock_time(9), BEIJING)
    published = box.state.setting(f"publish:{occasion}", "")
    ordered = box.state.take_behaviour("statement", occasion, frozenset({"creating", "absent"}))
    rows = _settled(box, day)
    if ordered or not rows or (box.clock() < ready and not published):
        raise Refusal("98", "文件不存在")
    content = file_content(twisted(rows, box, occasion), party.keys.mer_id, day)
    return {"respCode": "00", "respMsg": "成功", "fileContent": content}


def _settled(box: Sandbox, day: date) -> list[BillRow]:
    start = datetime.combine(day, clock_time(), BEIJING) - timedelta(hours=1)
    return bill_rows(box, CHANNEL, start)


_OPERATIONS = {"query": _query, "refund": _refund, "file": _file}
