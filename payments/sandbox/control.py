"""The sandbox's own routes: the resident's phone, behaviours to order, lists to look at."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from flask import Blueprint, Response, request

from payments.sandbox import desk, wechat_app, wechat_desk
from payments.sandbox.desk import ApiError, PayRefused, Refused, Sandbox
from payments.sandbox.notifier import Notifier
from payments.sandbox.signing import Platform, SignatureRefused
from payments.sandbox.state import Row

_SPOILT = {"forged_signature", "wrong_serial", "probe", "stale"}
# target -> the modes POST /sandbox/behaviour can order for it.
BEHAVIOURS: dict[str, set[str]] = {
    "payment_notice": _SPOILT
    | {"late", "twice", "out_of_order", "never", "wrong_amount", "wrong_mchid", "wrong_appid"}
    | {"wrong_currency", "wrong_key", "malformed", "unsigned", "sha1"},
    "refund_notice": _SPOILT
    | {"late", "twice", "out_of_order", "never", "wrong_amount", "wrong_mchid", "wrong_key"}
    | {"malformed", "unsigned"},
    "answer": _SPOILT | {"unsigned", "error", "error_after", "slow", "slow_after", "http_error"},
    "payment": {"wrong_amount"},
    "refund": {"processing", "abnormal", "closed", "not_enough"},
    "card_refund": {"processing", "abnormal"},
    "statement": {
        *("creating", "absent", "publish", "damaged"),
        *("missing_row", "wrong_amount", "extra_row"),
    },
    "message": {"refused", "error"},
    "login": {"error"},
    "token": {"expired", "invalid"},
    "signing": {"public_key", "certificate"},
}


def control_blueprint(box: Sandbox, platform: Platform, notifier: Notifier) -> Blueprint:
    """The /sandbox JSON routes; readable from any origin, so that an H5 page can tap pay."""
    control = Blueprint("control", __name__, url_prefix="/sandbox")

    @control.after_request
    def allow_any_origin(answer: Response) -> Response:
        answer.headers["Access-Control-Allow-Origin"] = "*"
        answer.headers["Access-Control-Allow-Headers"] = "Content-Type"
        return answer

    @control.errorhandler(ApiError)
    def refuse(error: ApiError) -> Response:
        return _json({"code": error.code, "message": error.message}, error.status)

    @control.errorhandler(Refused)
    def refuse_desk(error: Refused) -> Response:
        return refuse(wechat_desk.api_error(error))

    _phone_routes(control, box, platform)
    _behaviour_routes(control, box)
    _listing_routes(control, box, notifier)
    return control


def _phone_routes(control: Blueprint, box: Sandbox, platform: Platform) -> None:
    @control.post("/wechat/code")
    def code() -> Response:
        openid = _text(_body(), "openid")
        return _json({"code": wechat_app.issue_code(box, "login", openid)})

    @control.post("/wechat/phone_code")
    def phone_code() -> Response:
        body = _body()
        phone = _text(body, "phone")
        return _json({"code": wechat_app.issue_code(box, "phone", body.get("openid", ""), phone)})

    @control.post("/wechat/pay")
    def pay() -> Response:
        return _json(_tap_pay(box, platform, _body()))

    @control.post("/wechat/template")
    def template() -> Response:
        """{template_id, title, fields: {thing1: 用热地址, …}}."""
        body = _body()
        fields = body.get("fields")
        if not isinstance(fields, dict):
            raise ApiError(400, "PARAM_ERROR", "fields must be an object: field -> label")
        try:
            wechat_app.add_template(box, _text(body, "template_id"), _text(body, "title"), fields)
        except ValueError as error:
            raise ApiError(400, "PARAM_ERROR", str(error)) from error
        return _json({"template_id": body["template_id"]}, 201)


def _tap_pay(box: Sandbox, platform: Platform, body: Mapping[str, Any]) -> dict[str, Any]:
    """Pay as the WeChat client: the merchant's paySign over the client fields must hold."""
    fields = {name: str(value) for name, value in body.items()}
    paid_at = _moment(fields["paid_at"]) if "paid_at" in fields else None
    try:
        platform.check_client_pay(fields)
        prepay_id = fields["package"].removeprefix("prepay_id=")
        order = desk.pay_order(box, prepay_id, fields.get("openid"), paid_at)
    except (SignatureRefused, PayRefused) as refusal:
        raise ApiError(400, "PAY_REFUSED", str(refusal)) from refusal
    return wechat_desk.transaction(box, order)


def _behaviour_routes(control: Blueprint, box: Sandbox) -> None:
    @control.post("/behaviour")
    def order() -> Response:
        """{target, mode, match?: order number, operation, day or openid, times?: 1, params?}."""
        body = _body()
        target, mode = _text(body, "target"), _text(body, "mode")
        if mode not in BEHAVIOURS.get(target, ()):
            raise ApiError(400, "PARAM_ERROR", f"unknown behaviour {target}/{mode}")
        return _json(_order_behaviour(box, target, mode, body), 201)

    @control.get("/behaviour")
    def listing() -> Response:
        rows = box.state.all("SELECT * FROM behaviours ORDER BY id")
        return _json({"behaviours": [_plain(row, "params") for row in rows]})

    @control.delete("/behaviour")
    def clear() -> Response:
        return _json({"cleared": box.state.run("DELETE FROM behaviours")})


def _order_behaviour(
    box: Sandbox, target: str, mode: str, body: Mapping[str, Any]
) -> dict[str, Any]:
    """Tokens, signing and publishing act at once; everything else waits for its occasion."""
    match, params = body.get("match"), body.get("params") or {}
    if target == "token":
        return {"spoilt": wechat_app.spoil_tokens(box, mode)}
    if target == "signing":
        box.state.set_setting("signing", mode)
        return {"signing": mode}
    if mode == "publish":
        box.state.set_setting(f"publish:{_text(body, 'match')}", "1")
        return {"published": match}
    if not isinstance(params, dict) or not isinstance(match, str | None):
        raise ApiError(400, "PARAM_ERROR", "params must be an object, match a string")
    times = body.get("times", 1)
    if type(times) is not int or times < 0:
        raise ApiError(400, "PARAM_ERROR", "times must be a number, 0 for always")
    return {"id": box.state.order_behaviour(target, mode, match, params, times)}


def _listing_routes(control: Blueprint, box: Sandbox, notifier: Notifier) -> None:
    @control.get("/orders")
    def orders() -> Response:
        rows = box.state.all("SELECT * FROM orders ORDER BY created_at DESC LIMIT 500")
        return _json({"orders": [_plain(row) for row in rows]})

    @control.get("/refunds")
    def refunds() -> Response:
        rows = box.state.all("SELECT * FROM refunds ORDER BY rowid DESC LIMIT 500")
        return _json({"refunds": [_plain(row) for row in rows]})

    @control.get("/notices")
    def notices() -> Response:
        rows = box.state.all("SELECT * FROM notices ORDER BY rowid DESC LIMIT 500")
        return _json({"notices": [_plain(row, "plain", "twist") for row in rows]})

    @control.post("/notices/<notice_id>/deliver")
    def deliver(notice_id: str) -> Response:
        if not notifier.deliver_now(notice_id):
            raise ApiError(404, "RESOURCE_NOT_EXISTS", "没有这条通知")
        return _json({"id": notice_id}, 202)

    @control.post("/refunds/<out_refund_no>/settle")
    def settle(out_refund_no: str) -> Response:
        status = _text(_body(), "status")
        if status not in ("SUCCESS", "ABNORMAL", "CLOSED"):
            raise ApiError(400, "PARAM_ERROR", "status: SUCCESS, ABNORMAL or CLOSED")
        desk.find_refund(box, None, out_refund_no)
        return _json(dict(desk.settle_refund(box, out_refund_no, status)))

    @control.get("/messages")
    def messages() -> Response:
        return _json({"messages": messages_received(box, request.args.get("openid"))})

    @control.get("/calls")
    def calls() -> Response:
        path = request.args.get("path", "")
        rows = box.state.all("SELECT * FROM calls WHERE path LIKE ? ORDER BY id", f"{path}%")
        return _json({"count": len(rows), "calls": [_plain(row) for row in rows]})


def messages_received(box: Sandbox, openid: str | None = None) -> list[dict[str, Any]]:
    """Subscribe messages, the newest first, with their template's title and labels."""
    rows = box.state.all(
        "SELECT m.*, t.title, t.fields AS labels"
        " FROM messages m LEFT JOIN templates t USING (template_id)"
        " WHERE ? IS NULL OR openid = ? ORDER BY msgid DESC LIMIT 500",
        openid,
        openid,
    )
    return [_plain(row, "data", "labels") for row in rows]


def _plain(row: Row, *as_json: str) -> dict[str, Any]:
    """A row as a dict; the named columns hold JSON and are opened."""
    values = dict(row)
    for name in as_json:
        values[name] = json.loads(values[name]) if values[name] else None
    return values


def _body() -> dict[str, Any]:
    body = request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        raise ApiError(400, "PARAM_ERROR", "the body must be a JSON object")
    return body


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str) or not value:
        raise ApiError(400, "PARAM_ERROR", f"{name} is missing")
    return value


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ApiError(400, "PARAM_ERROR", "paid_at is not a moment") from None
    if moment.tzinfo is None:
        raise ApiError(400, "PARAM_ERROR", "paid_at has no zone")
    return moment.astimezone(UTC)


def _json(body: Mapping[str, Any], status: int = 200) -> Response:
    text = json.dumps(body, ensure_ascii=False)
    return Response(text, status=status, content_type="application/json; charset=utf-8")
