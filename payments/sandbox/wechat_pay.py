"""WeChat Pay v3 over HTTP: each request's signature checked, each answer signed."""

import json
import re
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from flask import Blueprint, Response, request, url_for

from payments import wechat_cards, wechat_crypto
from payments.sandbox import bills, desk, wechat_desk
from payments.sandbox.desk import ApiError, NewOrder, NewRefund, Refused, Sandbox
from payments.sandbox.keys import read_private_key
from payments.sandbox.signing import Platform, SignatureRefused, Signer
from payments.sandbox.state import Row
from payments.sandbox.wechat_desk import CHANNEL

_TRADE_NO = re.compile(r"[0-9A-Za-z_\-|*]{6,32}")
_REFUND_NO = re.compile(r"[0-9A-Za-z_\-|*@]{1,64}")
_BEFORE = frozenset({"error", "slow"})
_AFTER = frozenset(
    {"unsigned", "forged_signature", "probe", "wrong_serial", "stale", "error_after", "slow_after"}
)


def wechat_pay_blueprint(box: Sandbox, platform: Platform) -> Blueprint:
    """The /v3 routes over `box`."""
    v3 = Blueprint("wechat_pay", __name__, url_prefix="/v3")

    @v3.before_request
    def check_signature() -> Response | None:
        authorization = request.headers.get("Authorization", "")
        try:
            platform.check_request(
                request.method, _target(), authorization, request.get_data(), box.clock()
            )
        except SignatureRefused as refusal:
            raise ApiError(401, "SIGN_ERROR", str(refusal)) from refusal
        return _ordered_before(box)

    @v3.after_request
    def sign_answer(answer: Response) -> Response:
        return _signed(box, platform, answer)

    @v3.errorhandler(ApiError)
    def refuse(error: ApiError) -> Response:
        return _json({"code": error.code, "message": error.message}, error.status)

    @v3.errorhandler(Refused)
    def refuse_desk(error: Refused) -> Response:
        return refuse(wechat_desk.api_error(error))

    _order_routes(v3, box)
    _refund_routes(v3, box, platform)
    _bill_routes(v3, box)

    @v3.get("/certificates")
    def certificates() -> Response:
        return _json({"data": [_sealed_certificate(platform)]})

    return v3


def _order_routes(v3: Blueprint, box: Sandbox) -> None:
    @v3.post("/pay/transactions/jsapi")
    def create() -> Response:
        return _json({"prepay_id": _opened(box, "JSAPI")["prepay_id"]})

    @v3.post("/pay/transactions/native")
    def create_native() -> Response:
        prepay_id = _opened(box, "NATIVE")["prepay_id"]
        return _json({"code_url": f"weixin://wxpay/bizpayurl?pr={prepay_id}"})

    @v3.post("/pay/transactions/h5")
    def create_h5() -> Response:
        prepay_id = _opened(box, "MWEB")["prepay_id"]
        return _json({"h5_url": url_for("pages.h5_pay", prepay_id=prepay_id, _external=True)})

    @v3.get("/pay/transactions/out-trade-no/<out_trade_no>")
    def query(out_trade_no: str) -> Response:
        _same_merchant(box, request.args.get("mchid"))
        return _json(wechat_desk.transaction(box, desk.find_order(box, CHANNEL, out_trade_no)))

    @v3.post("/pay/transactions/out-trade-no/<out_trade_no>/close")
    def close(out_trade_no: str) -> Response:
        _same_merchant(box, _body().get("mchid"))
        desk.close_order(box, CHANNEL, out_trade_no)
        return Response(status=204)


def _refund_routes(v3: Blueprint, box: Sandbox, platform: Platform) -> None:
    @v3.post("/refund/domestic/refunds")
    def refund() -> Response:
        body = _body()
        _check_refund(body)
        made = desk.open_refund(box, _new_refund(box, body))
        return _json(wechat_desk.refund_answer(box, made, fresh=True))

    @v3.post("/refund/domestic/refunds/<refund_id>/apply-abnormal-refund")
    def refund_to_card(refund_id: str) -> Response:
        body = _body()
        card = _opened_card(platform, body)
        number = _text(body, "out_refund_no")
        made = desk.reroute_refund(box, CHANNEL, refund_id, number, card)
        return _json(wechat_desk.refund_answer(box, made, fresh=True))

    @v3.get("/refund/domestic/refunds/<out_refund_no>")
    def query_refund(out_refund_no: str) -> Response:
        found = desk.find_refund(box, CHANNEL, out_refund_no)
        return _json(wechat_desk.refund_answer(box, found))


def _bill_routes(v3: Blueprint, box: Sandbox) -> None:
    @v3.get("/bill/tradebill")
    def tradebill() -> Response:
        gzipped = request.args.get("tar_type") == "GZIP"
        bill_type = request.args.get("bill_type", "ALL")
        made = bills.publish_bill(box, request.args.get("bill_date", ""), bill_type, gzipped)
        url = url_for("wechat_pay.download", token=made.pop("token"), _external=True)
        return _json(made | {"download_url": url})

    @v3.get("/billdownload/file")
    def download() -> Response:
        data = bills.bill_file(box, request.args.get("token", ""))
        return Response(data, mimetype="application/octet-stream")


def _target() -> str:
    """Path and query exactly as they stood on the request line: that is what was signed."""
    raw = request.environ.get("REQUEST_URI") or request.full_path.removesuffix("?")
    return str(raw)


def _operation() -> str:
    return (request.endpoint or "").rpartition(".")[2]


def _ordered_before(box: Sandbox) -> Response | None:
    taken = box.state.take_behaviour("answer", _operation(), _BEFORE)
    if taken is None:
        return None
    mode, params = taken
    if mode == "slow":
        time.sleep(float(params.get("delay_s", 1.0)))
        return None
    return _error(params)


def _signed(box: Sandbox, platform: Platform, answer: Response) -> Response:
    """Sign, with the public key where the merchant named it; bill files go unsigned."""
    mode, params = box.state.take_behaviour("answer", _operation(), _AFTER) or ("", {})
    if mode == "slow_after":
        time.sleep(float(params.get("delay_s", 1.0)))
    if mode == "error_after":
        answer = _error(params)
    answer.headers["Request-ID"] = wechat_crypto.new_nonce()
    if _operation() == "download" and answer.status_code == 200:
        return answer
    named = request.headers.get("Wechatpay-Serial", "")
    signer: Signer = "public_key" if named == platform.keys.public_key_id else "certificate"
    headers = platform.signed_headers(answer.get_data(), box.clock(), signer, mode)
    answer.headers.update(headers)
    return answer


def _error(params: Mapping[str, Any]) -> Response:
    body = {
        "code": params.get("code", "SYSTEM_ERROR"),
        "message": params.get("message", "系统异常，请用相同参数重新调用"),
    }
    return _json(body, int(params.get("status", 500)))


def _sealed_certificate(platform: Platform) -> dict[str, Any]:
    pem = platform.keys.platform_cert_path.read_bytes()
    nonce = wechat_crypto.new_nonce()[:12]
    key = platform.keys.api_v3_key.encode()
    return {
        "serial_no": platform.keys.platform_serial,
        "effective_time": "2020-01-01T08:00:00+08:00",
        "expire_time": "2040-01-01T08:00:00+08:00",
        "encrypt_certificate": {
            "algorithm": wechat_crypto.AEAD,
            "nonce": nonce,
            "associated_data": "certificate",
            "ciphertext": wechat_crypto.encrypt(key, nonce, "certificate", pem),
        },
    }


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    text = json.dumps(body, ensure_ascii=False)
    return Response(text, status=status, content_type="application/json; charset=utf-8")


def _body() -> dict[str, Any]:
    body = request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        raise ApiError(400, "PARAM_ERROR", "请求体不是JSON对象")
    return body


def _same_merchant(box: Sandbox, mchid: object) -> None:
    if mchid != box.keys.mchid:
        raise ApiError(400, "PARAM_ERROR", "商户号有误")


def _opened(box: Sandbox, trade_type: str) -> Row:
    """Check the request and take the order."""
    body = _body()
    expires_at = _check_order(box, body, trade_type)
    asked = json.dumps({**body, "trade_type": trade_type}, sort_keys=True, ensure_ascii=False)
    return desk.open_order(
        box,
        NewOrder(
            channel=CHANNEL,
            out_trade_no=body["out_trade_no"],
            amount_fen=body["amount"]["total"],
            payer=body.get("payer", {}).get("openid", ""),
            description=body["description"],
            notify_url=body["notify_url"],
            expires_at=expires_at,
            asked=asked,
            attach=body.get("attach", ""),
        ),
    )


def _new_refund(box: Sandbox, body: Mapping[str, Any]) -> NewRefund:
    number = body.get("out_trade_no", "")
    if body.get("transaction_id"):
        row = box.state.one(
            "SELECT out_trade_no FROM orders WHERE transaction_id = ?", body["transaction_id"]
        )
        number = row["out_trade_no"] if row else ""
    return NewRefund(
        channel=CHANNEL,
        out_trade_no=number,
        out_refund_no=body["out_refund_no"],
        refund_fen=body["amount"]["refund"],
        total_fen=body["amount"]["total"],
        reason=body.get("reason", ""),
        notify_url=body.get("notify_url", ""),
    )


def _check_order(box: Sandbox, body: Mapping[str, Any], trade_type: str) -> float:
    """Check a request as WeChat does; returns when it expires (2 h where not said)."""
    if body.get("mchid") != box.keys.mchid or body.get("appid") not in box.keys.appids:
        raise ApiError(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配")
    _want(_TRADE_NO.fullmatch(_text(body, "out_trade_no")), "out_trade_no")
    _want(0 < len(_text(body, "description")) <= 127, "description")
    _want(_text(body, "notify_url").startswith(("http://", "https://")), "notify_url")
    _want(len(str(body.get("attach", ""))) <= 128, "attach")
    amount = body.get("amount")
    _want(isinstance(amount, dict) and _fen(amount.get("total")), "amount.total")
    _check_payer(body, trade_type)
    if "time_expire" not in body:
        return box.now_s() + desk.PREPAY_LIFE_S
    expires_at = _moment(_text(body, "time_expire"))
    _want(expires_at > box.now_s(), "time_expire")
    return expires_at


def _check_payer(body: Mapping[str, Any], trade_type: str) -> None:
    """JSAPI names its payer, H5 says where he comes from, NATIVE does neither."""
    payer, scene = body.get("payer"), body.get("scene_info")
    if trade_type == "JSAPI":
        _want(isinstance(payer, dict) and _text(payer, "openid"), "payer.openid")
    else:
        _want(payer is None, "payer")
    if trade_type == "MWEB":
        _want(isinstance(scene, dict) and _text(scene, "payer_client_ip"), "scene_info")


def _check_refund(body: Mapping[str, Any]) -> None:
    _want(_REFUND_NO.fullmatch(_text(body, "out_refund_no")), "out_refund_no")
    _want(body.get("transaction_id") or body.get("out_trade_no"), "out_trade_no")
    amount = body.get("amount")
    _want(isinstance(amount, dict), "amount")
    assert isinstance(amount, dict)
    _want(_fen(amount.get("refund")) and _fen(amount.get("total")), "amount")
    _want(amount.get("currency") == "CNY", "amount.currency")
    _want(len(str(body.get("reason", ""))) <= 80, "reason")


def _opened_card(platform: Platform, body: Mapping[str, Any]) -> str:
    """The card a refund is to go to, opened by the private half of the key the header names."""
    _want(_text(body, "type") == "USER_BANK_CARD", "type")
    _want(_text(body, "bank_type") in wechat_cards.BANKS_ZH, "bank_type")
    keys, named = platform.keys, request.headers.get("Wechatpay-Serial", "")
    private = {
        keys.public_key_id: keys.public_key_private_path,
        keys.platform_serial: keys.platform_key_path,
    }
    _want(named in private, "Wechatpay-Serial")
    key = read_private_key(private[named])
    try:
        number = wechat_cards.opened(key, _text(body, "bank_account"))
        holder = wechat_cards.opened(key, _text(body, "real_name"))
    except ValueError:
        raise ApiError(400, "PARAM_ERROR", "敏感信息解密失败") from None
    _want(number.isdigit() and holder, "bank_account")
    return f"{body['bank_type']} {holder[:1]} {number[-4:]}"


def _want(condition: object, name: str) -> None:
    if not condition:
        raise ApiError(400, "PARAM_ERROR", f"参数错误：{name}")


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    _want(isinstance(value, str) and value, name)
    return str(value)


def _fen(value: object) -> bool:
    return type(value) is int and value > 0


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(400, "PARAM_ERROR", "参数错误：time_expire") from None
    _want(moment.tzinfo is not None, "time_expire")
    return moment.timestamp()
