"""Whom WeChat says a sign-in code belongs to, from the mini-program or the official account."""

from __future__ import annotations

from flask import current_app

from backend.base.errors import Problem
from backend.config import Settings
from backend.people.tokens import SharedTokens
from backend.people.wechat import MiniProgramClient, OfficialAccountClient, Session, WeChatApiError

VIA = ("mini_program", "official_account")


def client() -> MiniProgramClient:
    """The mini-program of the running application's settings, its token shared by all processes."""
    settings = current_app.extensions["nuan_settings"]
    tokens = SharedTokens(current_app.extensions["nuan_clock"].now)
    return MiniProgramClient(
        settings.wechat_appid, settings.wechat_secret, tokens, settings.wechat_api_url
    )


def page_appid(settings: Settings) -> str:
    """The appid the H5 pages sign in with: the official account's, else the mini-program's.

    An official account's own appid gives other openids to the people the mini-program knows.
    Their unionid is kept; a resident who comes by both doors is still two residents.
    """
    appid: str = settings.wechat_oa_appid or settings.wechat_appid
    return appid


def official_account() -> OfficialAccountClient:
    """The official account behind the H5 pages, of the running application's settings."""
    settings = current_app.extensions["nuan_settings"]
    secret = settings.wechat_oa_secret or settings.wechat_secret
    return OfficialAccountClient(page_appid(settings), secret, settings.wechat_api_url)


def session_of(code: str, via: str) -> Session:
    """{openid, unionid?} of a code.

    Problem wechat_code_invalid for a code that is wrong, used or expired; wechat_unavailable
    where WeChat does not answer or is busy.
    """
    try:
        if via == "official_account":
            return official_account().oauth_openid(code)
        return client().code2session(code)
    except WeChatApiError as error:
        raise Problem("wechat_code_invalid" if error.permanent else "wechat_unavailable") from error
