"""Whom WeChat says a sign-in code belongs to, from the mini-program or the official account."""

from __future__ import annotations

from flask import current_app

from backend.base.errors import Problem
from backend.people.tokens import SharedTokens
from backend.people.wechat import NO_ANSWER, MiniProgramClient, WeChatApiError

VIA = ("mini_program", "official_account")


class WeChatDoor(MiniProgramClient):
    """The mini-program's client, and the official account's page authorisation beside it."""

    def oauth_session(self, code: str) -> dict[str, str]:
        """GET /sns/oauth2/access_token (网页授权): {openid, unionid?}; a code serves once."""
        params = {
            "appid": self.appid,
            "secret": self.secret,
            "code": code,
            "grant_type": "authorization_code",
            "access_token": "",
        }
        answer = self._guarded("get", "/sns/oauth2/access_token", params=params)
        if not answer.get("openid"):
            raise WeChatApiError(NO_ANSWER, "the answer names no openid")
        return {name: str(answer[name]) for name in ("openid", "unionid") if name in answer}


def client() -> WeChatDoor:
    """The client of the running application's settings, its token shared by all processes."""
    settings = current_app.extensions["nuan_settings"]
    tokens = SharedTokens(current_app.extensions["nuan_clock"].now)
    return WeChatDoor(
        settings.wechat_appid, settings.wechat_secret, tokens, settings.wechat_api_url
    )


def session_of(code: str, via: str) -> dict[str, str]:
    """{openid, unionid?} of a code.

    Problem wechat_code_invalid for a code that is wrong, used or expired; wechat_unavailable
    where WeChat does not answer or is busy.
    """
    door = client()
    try:
        return door.oauth_session(code) if via == "official_account" else door.code2session(code)
    except WeChatApiError as error:
        raise Problem("wechat_code_invalid" if error.permanent else "wechat_unavailable") from error
