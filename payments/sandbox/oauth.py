"""The official account's page authorisation (网页授权): what may be asked, a code back, its openid.

The refusals carry the numbers WeChat's own error page shows.
"""

import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit, urlunsplit

from payments.sandbox.desk import Sandbox
from payments.sandbox.people import Person, person_of
from payments.sandbox.wechat_app import TOKEN_LIFE_S, AppError, check_app, issue_code, use_code

CODE_KIND = "oauth"
SCOPE = "snsapi_base"
_STATE = re.compile(r"[0-9A-Za-z]{0,128}")
# Without blanks, control characters and the backslash, which a browser reads as a slash.
_PLAIN_ADDRESS = re.compile(r"[!-\[\]-~]{1,2048}")


class AskRefused(Exception):
    """WeChat would show an error page: its number ('' where it has none) and what is wrong."""

    def __init__(self, number: str, message: str) -> None:
        super().__init__(f"{number} {message}")
        self.number = number
        self.message = message


@dataclass(frozen=True)
class Ask:
    """A page that wants to know who is looking at it."""

    redirect_uri: str
    state: str


def checked_ask(box: Sandbox, args: Mapping[str, str]) -> Ask:
    """The query of /connect/oauth2/authorize, or AskRefused."""
    if args.get("appid") != box.keys.appid:
        raise AskRefused("40013", "appid 参数错误：沙箱里没有这个公众号")
    if args.get("response_type") != "code":
        raise AskRefused("", "response_type 参数错误：应为 code")
    if args.get("scope") != SCOPE:
        raise AskRefused("10005", f"scope 参数错误：沙箱只有 {SCOPE}")
    state = args.get("state", "")
    if not _STATE.fullmatch(state):
        raise AskRefused("", "state 参数错误：应为至多 128 个字母或数字")
    return Ask(_checked_address(args.get("redirect_uri", "")), state)


def _checked_address(address: str) -> str:
    """An absolute address on this machine: the sandbox must not send anyone anywhere else."""
    try:
        parts = urlsplit(address)
        whole = bool(_PLAIN_ADDRESS.fullmatch(address)) and parts.scheme in ("http", "https")
        _ = parts.port
    except ValueError:
        whole = False
    if not whole:
        raise AskRefused("10011", "redirect_uri 参数错误：应为完整的 http(s) 地址")
    if parts.username is not None or not _is_loopback(parts):
        raise AskRefused("10003", "redirect_uri 参数错误：沙箱只回到本机地址")
    return address


def _is_loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def come_back(box: Sandbox, ask: Ask, person: Person) -> str:
    """The address the browser goes back to, code and state in its query, before any '#'."""
    code = issue_code(box, CODE_KIND, person.openid)
    parts = urlsplit(ask.redirect_uri)
    added = urlencode({"code": code, "state": ask.state})
    query = f"{parts.query}&{added}" if parts.query else added
    return urlunsplit(parts._replace(path=parts.path or "/", query=query))


def exchange(box: Sandbox, args: Mapping[str, str]) -> dict[str, Any]:
    """GET /sns/oauth2/access_token; AppError 40013, 40125, 40002, 40029 or 40163."""
    check_app(box, args.get("appid"), args.get("secret"))
    if args.get("grant_type") != "authorization_code":
        raise AppError(40002, "invalid grant_type")
    code = args.get("code", "")
    taken = box.state.take_behaviour("login", code)
    if taken:
        raise AppError(int(taken[1].get("errcode", -1)), "system error")
    person = person_of(box, use_code(box, CODE_KIND, code)["openid"])
    told = {
        "access_token": f"90_{secrets.token_urlsafe(60)}",
        "expires_in": TOKEN_LIFE_S,
        "refresh_token": f"90_{secrets.token_urlsafe(60)}",
        "openid": person.openid,
        "scope": SCOPE,
    }
    return told | ({"unionid": person.unionid} if person.unionid else {})
