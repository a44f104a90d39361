"""The mini-program API: sign-in codes, stable tokens, phone numbers, subscribe messages.

Like the real one it answers HTTP 200 always and says in `errcode` what is wrong.
"""

import base64
import json
import re
import secrets
from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response, request

from payments.sandbox.desk import Sandbox
from payments.sandbox.state import Row

CODE_LIFE_S = 300
TOKEN_LIFE_S = 7200
OPENID = re.compile(r"[0-9A-Za-z_-]{6,64}")

# 订阅消息参数值内容限制: type prefix of a template's field -> what its value must look like.
_VALUE_RULES: dict[str, re.Pattern[str]] = {
    "thing": re.compile(r".{1,20}"),
    "number": re.compile(r"-?[0-9.]{1,32}"),
    "letter": re.compile(r"[A-Za-z]{1,32}"),
    "symbol": re.compile(r"\W{1,5}"),
    "character_string": re.compile(r"[\x20-\x7e]{1,32}"),
    "time": re.compile(r"[0-9年月日:：/. ~-]{4,40}"),
    "date": re.compile(r"[0-9年月日:：/. ~-]{4,40}"),
    "amount": re.compile(r"[¥￥$]?-?[0-9]{1,10}(\.[0-9]{1,2})?元?"),
    "phone_number": re.compile(r"[0-9+-]{1,17}"),
    "car_number": re.compile(r".{1,8}"),
    "name": re.compile(r".{1,20}"),
    "phrase": re.compile(r"[\u4e00-\u9fff]{1,5}"),
}


class AppError(Exception):
    """An errcode answer."""

    def __init__(self, errcode: int, errmsg: str) -> None:
        super().__init__(f"{errcode} {errmsg}")
        self.errcode = errcode
        self.errmsg = errmsg


def wechat_app_blueprint(box: Sandbox) -> Blueprint:
    """The api.weixin.qq.com routes over `box`."""
    app = Blueprint("wechat_app", __name__)

    @app.errorhandler(AppError)
    def refuse(error: AppError) -> Response:
        return _json({"errcode": error.errcode, "errmsg": error.errmsg})

    @app.get("/sns/jscode2session")
    def jscode2session() -> Response:
        return _json(_sign_in(box, request.args))

    @app.post("/cgi-bin/stable_token")
    def stable_token() -> Response:
        return _json(_stable_token(box, _body()))

    @app.post("/wxa/business/getuserphonenumber")
    def phone_number() -> Response:
        _check_token(box, request.args.get("access_token", ""))
        return _json(_phone(box, str(_body().get("code", ""))))

    @app.post("/cgi-bin/message/subscribe/send")
    def send() -> Response:
        _check_token(box, request.args.get("access_token", ""))
        return _json({"errcode": 0, "errmsg": "ok", "msgid": _deliver(box, _body())})

    return app


def issue_code(box: Sandbox, kind: str, openid: str, phone: str = "") -> str:
    """What wx.login() (kind 'login') or the phone button (kind 'phone') would give: once, 5 min."""
    code = secrets.token_hex(16)
    box.state.insert(
        "codes",
        code=code,
        kind=kind,
        openid=openid,
        phone=phone,
        expires_at=box.now_s() + CODE_LIFE_S,
    )
    return code


def spoil_tokens(box: Sandbox, mode: str) -> int:
    """Make every live token 'expired' (42001) or 'invalid' (40001); how many."""
    return box.state.run("UPDATE tokens SET state = ? WHERE state = 'live'", mode)


def _sign_in(box: Sandbox, args: Mapping[str, str]) -> dict[str, Any]:
    check_app(box, args.get("appid"), args.get("secret"))
    if args.get("grant_type") != "authorization_code":
        raise AppError(40002, "invalid grant_type")
    taken = box.state.take_behaviour("login", args.get("js_code", ""))
    if taken:
        raise AppError(int(taken[1].get("errcode", -1)), "system error")
    row = use_code(box, "login", args.get("js_code", ""))
    session_key = base64.b64encode(secrets.token_bytes(16)).decode()
    return {"openid": row["openid"], "session_key": session_key}


def use_code(box: Sandbox, kind: str, code: str) -> Row:
    """Take a code of this kind, once: 40029 wrong or too old, 40163 used before."""
    with box.state.transaction():
        row = box.state.one("SELECT * FROM codes WHERE code = ? AND kind = ?", code, kind)
        if row is None or row["expires_at"] <= box.now_s():
            raise AppError(40029, "invalid code")
        if row["used"]:
            raise AppError(40163, "code been used")
        box.state.run("UPDATE codes SET used = 1 WHERE code = ?", code)
    return row


def _stable_token(box: Sandbox, body: Mapping[str, Any]) -> dict[str, Any]:
    """The same token all its life, except where a refresh is forced: then the old one ends."""
    check_app(box, body.get("appid"), body.get("secret"))
    if body.get("grant_type") != "client_credential":
        raise AppError(40002, "invalid grant_type")
    with box.state.transaction():
        now_s = box.now_s()
        live = box.state.one("SELECT * FROM tokens WHERE state = 'live' AND expires_at > ?", now_s)
        if live and body.get("force_refresh") is not True:
            left_s = int(live["expires_at"] - now_s)
            return {"access_token": live["token"], "expires_in": left_s}
        box.state.run("UPDATE tokens SET state = 'invalid' WHERE state = 'live'")
        token = f"80_{secrets.token_urlsafe(60)}"
        box.state.insert("tokens", token=token, expires_at=now_s + TOKEN_LIFE_S, state="live")
    return {"access_token": token, "expires_in": TOKEN_LIFE_S}


def check_app(box: Sandbox, appid: object, secret: object) -> None:
    """40013 for a foreign appid, 40125 for a wrong secret."""
    if appid != box.keys.appid:
        raise AppError(40013, "invalid appid")
    if secret != box.keys.app_secret:
        raise AppError(40125, "invalid appsecret")


def _check_token(box: Sandbox, token: str) -> None:
    row = box.state.one("SELECT * FROM tokens WHERE token = ?", token)
    if row is None or row["state"] == "invalid":
        raise AppError(40001, "invalid credential, access_token is invalid or not latest")
    if row["state"] == "expired" or row["expires_at"] <= box.now_s():
        raise AppError(42001, "access_token expired")


def _phone(box: Sandbox, code: str) -> dict[str, Any]:
    row = use_code(box, "phone", code)
    number = row["phone"]
    info = {
        "phoneNumber": number,
        "purePhoneNumber": number,
        "countryCode": "86",
        "watermark": {"timestamp": int(box.now_s()), "appid": box.keys.appid},
    }
    return {"errcode": 0, "errmsg": "ok", "phone_info": info}


def _deliver(box: Sandbox, body: Mapping[str, Any]) -> int:
    openid = str(body.get("touser", ""))
    if not OPENID.fullmatch(openid):
        raise AppError(40003, "invalid openid")
    template = box.state.one(
        "SELECT * FROM templates WHERE template_id = ?", str(body.get("template_id", ""))
    )
    if template is None:
        raise AppError(40037, "invalid template_id")
    data = _check_data(json.loads(template["fields"]), body.get("data"))
    taken = box.state.take_behaviour("message", openid)
    if taken:
        refused = 43101 if taken[0] == "refused" else int(taken[1].get("errcode", -1))
        raise AppError(refused, "user refuse to accept the msg" if refused == 43101 else "error")
    return box.state.insert(
        "messages",
        openid=openid,
        template_id=template["template_id"],
        page=str(body.get("page", "")),
        data=json.dumps(data, ensure_ascii=False),
        at=box.now_s(),
    )


def _check_data(fields: Mapping[str, str], data: object) -> dict[str, str]:
    """Every field of the template, each value as its type allows; 47003 otherwise."""
    if not isinstance(data, dict):
        raise AppError(47003, "argument invalid! data is not an object")
    checked = {}
    for name in fields:
        entry = data.get(name)
        value = entry.get("value") if isinstance(entry, dict) else None
        rule = _VALUE_RULES[re.sub(r"\d+$", "", name)]
        if not isinstance(value, str) or not rule.fullmatch(value):
            raise AppError(47003, f"argument invalid! data.{name}.value is invalid")
        checked[name] = value
    return checked


def add_template(box: Sandbox, template_id: str, title: str, fields: Mapping[str, str]) -> None:
    """Register a template ({field: label}); ValueError if a field's type is none of WeChat's."""
    for name in fields:
        if re.sub(r"\d+$", "", name) not in _VALUE_RULES:
            raise ValueError(f"{name}: unknown type of field")
    box.state.run(
        "INSERT OR REPLACE INTO templates VALUES (?, ?, ?)",
        template_id,
        title,
        json.dumps(dict(fields), ensure_ascii=False),
    )


def _body() -> dict[str, Any]:
    body = request.get_json(force=True, silent=True)
    if not isinstance(body, dict):
        raise AppError(47001, "data format error")
    return body


def _json(body: Mapping[str, Any]) -> Response:
    return Response(json.dumps(body, ensure_ascii=False), content_type="application/json")
