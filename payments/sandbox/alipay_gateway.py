"""Alipay's gateway over HTTP: each request's signature checked, each answer signed as raw text."""

import json
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from datetime import time as clock_time
from typing import Any

from flask import Blueprint, Response, redirect, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from payments import rsa2
from payments.alipay_gateway import canonical
from payments.sandbox import alipay_desk, desk
from payments.sandbox.alipay_bill import write_zip
from payments.sandbox.alipay_desk import CHANNEL, REFUSALS, AlipayParty, at
from payments.sandbox.bills import bill_file, bill_rows, keep_file, twisted
from payments.sandbox.desk import ApiError, NewOrder, NewRefund, PayRefused, Refused, Sandbox
from payments.sandbox.state import Row
from payments.sandbox.tradebill import BEIJING, yuan
from payments.statement import fen_from_yuan

_URL_LIFE_S = 30
_SKEW_S = 900
_UNOPENED = ("alipay.trade.precreate", "alipay.trade.wap.pay")
_BEFORE = frozenset({"error", "slow"})
_AFTER = frozenset({"unsigned", "forged_signature", "error_after", "slow_after", "http_error"})
Values = Mapping[str, Any]


class Refusal(Exception):
    """The gateway says no: Alipay's code, sub-code and sentence."""

    def __init__(self, sub_code: str, sub_msg: str, code: str = "40004") -> None:
        super().__init__(sub_code)
        self.code, self.sub_code, self.sub_msg = code, sub_code, sub_msg


def alipay_blueprint(box: Sandbox, party: AlipayParty) -> Blueprint:
    """POST and GET /gateway.do, the bill's file, and the tap in Alipay's app."""
    routes = Blueprint("alipay", __name__)
    merchant = rsa2.load_public_key(party.keys.app_public_path.read_bytes())

    @routes.post("/gateway.do")
    def call() -> Response:
        params = {**request.args.to_dict(), **request.form.to_dict()}
        method = params.get("method", "")
        ordered = box.state.take_behaviour("answer", method, _BEFORE)
        if ordered and ordered[0] == "slow":
            time.sleep(float(ordered[1].get("delay_s", 1.0)))
        try:
            if ordered and ordered[0] == "error":
                raise Refusal("isp.unknow-error", "系统繁忙", "20000")
            body = _checked(box, party, merchant, params)
            answer = _OPERATIONS[method](box, party, body, params)
        except Refused as refused:
            answer = _no(*_refusal_of(refused))
        except Refusal as refusal:
            answer = _no(refusal.sub_code, refusal.sub_msg, refusal.code)
        return _signed(box, party, method, answer)

    @routes.get("/gateway.do")
    def page() -> BaseResponse | tuple[str, int]:
        """alipay.trade.wap.pay: the browser comes with the signed request in the address."""
        params = request.args.to_dict()
        try:
            body = _checked(box, party, merchant, params)
            order = _take_order(box, party, body, params)
        except (Refused, Refusal) as refused:
            return str(getattr(refused, "message", refused)), 400
        return redirect(url_for("pages.h5_pay", prepay_id=order["prepay_id"]))

    @routes.get("/alipay/bill")
    def bill() -> Response | tuple[str, int]:
        try:
            data = bill_file(box, request.args.get("token", ""))
        except ApiError as error:
            return error.message, 404
        return Response(data, mimetype="application/zip")

    @routes.post("/sandbox/alipay/pay")
    def tap() -> tuple[dict[str, str], int]:
        """my.tradePay, or a scanned code: {trade_no} or {out_trade_no}."""
        body = request.get_json(force=True, silent=True) or {}
        row = box.state.one(
            "SELECT prepay_id FROM orders"
            " WHERE channel = ? AND ? IN (transaction_id, out_trade_no)",
            CHANNEL,
            body.get("trade_no") or body.get("out_trade_no"),
        )
        try:
            paid = desk.pay_order(box, row["prepay_id"] if row else "", body.get("buyer_id"))
        except PayRefused as refusal:
            return {"message": str(refusal)}, 400
        return alipay_desk.trade(box, paid), 200

    return routes


def _checked(
    box: Sandbox, party: AlipayParty, merchant: Any, params: Mapping[str, str]
) -> dict[str, Any]:
    """The request's own content, once app, signature and time are right."""
    if params.get("app_id") != party.keys.app_id:
        raise Refusal("isv.invalid-app-id", "无效的AppID参数", "40002")
    signed = {name: value for name, value in params.items() if name != "sign" and value}
    good = params.get("sign_type") == "RSA2" and rsa2.verifies(
        merchant, canonical(signed).encode(), params.get("sign", "")
    )
    if not good:
        raise Refusal("isv.invalid-signature", "验签出错，建议检查签名字符串或签名私钥", "40002")
    _check_time(box, params.get("timestamp", ""))
    if params.get("method") not in _OPERATIONS:
        raise Refusal("isv.invalid-method", "不存在的方法名", "40002")
    body = json.loads(params.get("biz_content") or "{}")
    if not isinstance(body, dict):
        raise Refusal("isv.invalid-parameter", "参数无效", "40002")
    return body


def _check_time(box: Sandbox, text: str) -> None:
    """GMT+8, not the machine's zone: a naive clock elsewhere is hours off and refused."""
    try:
        moment = datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=BEIJING)
    except ValueError:
        raise Refusal("isv.invalid-timestamp", "时间戳参数非法", "40002") from None
    if abs((moment - box.clock()).total_seconds()) > _SKEW_S:
        raise Refusal("isv.invalid-timestamp", "时间戳参数非法", "40002")


def _take_order(box: Sandbox, party: AlipayParty, body: Values, params: Mapping[str, str]) -> Row:
    number, amount = str(body.get("out_trade_no", "")), str(body.get("total_amount", ""))
    try:
        amount_fen = fen_from_yuan(amount)
    except ValueError:
        raise Refusal("ACQ.INVALID_PARAMETER", "参数无效") from None
    if not number or amount_fen <= 0 or not body.get("subject"):
        raise Refusal("ACQ.INVALID_PARAMETER", "参数无效")
    buyer = str(body.get("buyer_id") or body.get("buyer_open_id") or "")
    if params["method"] == "alipay.trade.create" and not buyer:
        raise Refusal("ACQ.INVALID_PARAMETER", "买家不能为空")
    asked = {**body, "method": params["method"], "return_url": params.get("return_url", "")}
    new = NewOrder(
        channel=CHANNEL,
        out_trade_no=number,
        amount_fen=amount_fen,
        payer=buyer,
        description=str(body["subject"]),
        notify_url=params.get("notify_url", ""),
        expires_at=_expiry(box, body),
        asked=json.dumps(asked, sort_keys=True, ensure_ascii=False),
        attach=str(body.get("passback_params", "")),
    )
    return desk.open_order(box, new)


def _expiry(box: Sandbox, body: Values) -> float:
    if "time_expire" not in body:
        return box.now_s() + desk.PREPAY_LIFE_S
    moment = datetime.strptime(str(body["time_expire"]), "%Y-%m-%d %H:%M:%S")
    return moment.replace(tzinfo=BEIJING).timestamp()


def _create(box: Sandbox, party: AlipayParty, body: Values, params: Values) -> dict[str, Any]:
    order = _take_order(box, party, body, params)
    return {"out_trade_no": order["out_trade_no"], "trade_no": desk.name_transaction(box, order)}


def _precreate(box: Sandbox, party: AlipayParty, body: Values, params: Values) -> dict[str, Any]:
    order = _take_order(box, party, body, params)
    code = url_for("pages.h5_pay", prepay_id=order["prepay_id"], _external=True)
    return {"out_trade_no": order["out_trade_no"], "qr_code": code}


def _opened(box: Sandbox, body: Values) -> Row:
    """The order, which for a code or an address exists only once the buyer has opened it."""
    order = desk.find_order(box, CHANNEL, str(body.get("out_trade_no", "")))
    if order["state"] == "NOTPAY" and json.loads(order["request"])["method"] in _UNOPENED:
        raise Refused("not_found", "交易不存在")
    return order


def _query(box: Sandbox, party: AlipayParty, body: Values, params: Values) -> dict[str, Any]:
    return alipay_desk.trade(box, _opened(box, body))


def _close(box: Sandbox, party: AlipayParty, body: Values, params: Values) -> dict[str, Any]:
    order = _opened(box, body)
    if order["state"] != "NOTPAY":
        raise Refusal("ACQ.TRADE_STATUS_ERROR", "交易状态不合法")
    desk.close_order(box, CHANNEL, order["out_trade_no"])
    return {"out_trade_no": order["out_trade_no"], "trade_no": order["transaction_id"] or ""}


def _refund(box: Sandbox, party: AlipayParty, body: Values, params: Values) -> dict[str, Any]:
    number = str(body.get("out_trade_no", ""))
    order = desk.find_order(box, CHANNEL, number)
    request_no = str(body.get("out_request_no") or number)
    known = box.state.one("SELECT 1 FROM refunds WHERE out_refund_no = ?", request_no)
    made = desk.open_refund(
        box,
        NewRefund(
            channel=CHANNEL,
            out_trade_no=number,
            out_refund_no=request_no,
            refund_fen=fen_from_yuan(str(body.get("refund_amount", ""))),
            total_fen=None,
            reason=str(body.get("refund_reason", "")),
            notify_url=order["notify_url"],
        ),
    )
    is_new = known is None and made["status"] == "SUCCESS"
    return alipay_desk.trade(box, order) | {
        "fund_change": "Y" if is_new else "N",
        "refund_fee": yuan(alipay_desk.refunded_fen(box, order)),
    }


def _query_refund(box: Sandbox, party: AlipayParty, body: Values, params: Values) -> dict[str, Any]:
    order = desk.find_order(box, CHANNEL, str(body.get("out_trade_no", "")))
    told = {"trade_no": order["transaction_id"], "out_trade_no": order["out_trade_no"]}
    row = box.state.one(
        "SELECT * FROM refunds WHERE out_refund_no = ? AND out_trade_no = ?",
        str(body.get("out_request_no", "")),
        order["out_trade_no"],
    )
    if row is None or row["status"] != "SUCCESS":
        return told
    return told | {
        "out_request_no": row["out_refund_no"],
        "total_amount": yuan(order["total_fen"]),
        "refund_amount": yuan(row["refund_fen"]),
        "refund_status": "REFUND_SUCCESS",
        "gmt_refund_pay": at(row["success_at"]),
    }


def _bill(box: Sandbox, party: AlipayParty, body: Values, params: Values) -> dict[str, Any]:
    day = date.fromisoformat(str(body.get("bill_date", "")))
    ready = datetime.combine(day + timedelta(days=1), clock_time(9), BEIJING)
    occasion = f"{CHANNEL}:{day}"
    published = box.state.setting(f"publish:{occasion}", "")
    ordered = box.state.take_behaviour("statement", occasion, frozenset({"creating", "absent"}))
    if ordered or (box.clock() < ready and not published):
        raise Refusal("isp.bill_not_exist", "账单不存在")
    rows = bill_rows(box, CHANNEL, datetime.combine(day, clock_time(), BEIJING))
    if not rows:
        raise Refusal("isp.bill_not_exist", "账单不存在")
    shown = twisted(rows, box, occasion)
    data = write_zip(shown, party.keys.seller_id, day, box.clock())
    token = keep_file(box, occasion, data, _URL_LIFE_S)
    return {"bill_download_url": url_for("alipay.bill", token=token, _external=True)}


Operation = Callable[[Sandbox, AlipayParty, Values, Values], dict[str, Any]]
_OPERATIONS: dict[str, Operation] = {
    "alipay.trade.create": _create,
    "alipay.trade.precreate": _precreate,
    "alipay.trade.wap.pay": _precreate,
    "alipay.trade.query": _query,
    "alipay.trade.close": _close,
    "alipay.trade.refund": _refund,
    "alipay.trade.fastpay.refund.query": _query_refund,
    "alipay.data.dataservice.bill.downloadurl.query": _bill,
}


def _refusal_of(refused: Refused) -> tuple[str, str]:
    return REFUSALS[refused.kind]


def _no(sub_code: str, sub_msg: str, code: str = "40004") -> dict[str, Any]:
    msg = "Business Failed" if code == "40004" else "Invalid Arguments"
    return {"code": code, "msg": msg, "sub_code": sub_code, "sub_msg": sub_msg}


def _signed(box: Sandbox, party: AlipayParty, method: str, answer: dict[str, Any]) -> Response:
    """The node as raw text (slashes escaped, as Alipay's are) and the signature over it."""
    mode, params = box.state.take_behaviour("answer", method, _AFTER) or ("", {})
    if mode == "slow_after":
        time.sleep(float(params.get("delay_s", 1.0)))
    if mode == "http_error":
        return Response("<html>502</html>", status=502)
    if mode == "error_after":
        answer = _no("isp.unknow-error", "系统繁忙", "20000")
    body = {"code": "10000", "msg": "Success", **answer}
    node = json.dumps(body, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    name = method.replace(".", "_") + "_response"
    sign = "" if mode == "unsigned" else f',"sign":"{party.sign(node, mode)}"'
    text = f'{{"{name}":{node}{sign}}}'
    return Response(text, content_type="text/html;charset=utf-8")
