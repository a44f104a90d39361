"""The WeChat API, through wechatpy: the mini-program's sign-in, phone numbers and subscribe
messages, and the official account's page authorisation.

wechatpy 1.8.18 is fenced here: its token URL is hard-coded, it has no default timeout, it repeats
a refused call without end, and it keeps tokens a process. Here tokens come from `stable_token`,
live in a cache shared by all processes, and are renewed once.
"""

import logging
from collections.abc import Mapping
from typing import Any, Protocol

import requests
from wechatpy.client import WeChatClient
from wechatpy.exceptions import WeChatClientException

log = logging.getLogger(__name__)

API_URL = "https://api.weixin.qq.com"
CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 8
# A token is taken for dead this long before it is, so that none dies on its way.
TOKEN_MARGIN_S = 120
NO_ANSWER = -1000

Session = dict[str, str]

_TOKEN_REFUSED = frozenset({40001, 40014, 42001})
# Asking again helps only for these: system busy, quota of the minute or the day, no answer.
_PASSING = frozenset({-1, 45009, 45011, NO_ANSWER}) | _TOKEN_REFUSED


class TokenStore(Protocol):
    """A cache shared by every process that speaks for this appid."""

    def get(self, key: str) -> str | None:
        """Return the value, or None if there is none or its time is over."""

    def set(self, key: str, value: str, ttl_s: int) -> None:
        """Keep the value for `ttl_s` seconds, replacing what was there."""


class WeChatApiError(Exception):
    """WeChat's errcode (NO_ANSWER where none came); `permanent`: asking again will not help.

    Of note: 40029 code invalid, 40163 code used, 43101 the user refused the message.
    """

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code
        self.message = message
        self.permanent = code not in _PASSING


class _Client(WeChatClient):  # type: ignore[misc]
    """One appid; shared by threads. Every call has time limits and fails in one way."""

    def __init__(self, appid: str, secret: str, base_url: str) -> None:
        timeout_s = (CONNECT_TIMEOUT_S, READ_TIMEOUT_S)
        super().__init__(appid, secret, timeout=timeout_s, auto_retry=False)
        self.API_BASE_URL = base_url.rstrip("/")

    def _session(self, path: str, named: Mapping[str, str], keep: tuple[str, ...]) -> Session:
        """Exchange a code for whom it belongs to: the fields `keep`, an openid among them."""
        params = {"appid": self.appid, "secret": self.secret, "grant_type": "authorization_code"}
        # an access_token given, so that wechatpy does not fetch one: signing in costs none
        answer = self._guarded("get", path, params={**params, **named, "access_token": ""})
        if not answer.get("openid"):
            raise WeChatApiError(NO_ANSWER, "the answer names no openid")
        return {name: str(answer[name]) for name in keep if answer.get(name)}

    def _guarded(self, method: str, path: str, **kwargs: Any) -> dict[str, Any]:
        """One HTTP call; whatever goes wrong becomes a WeChatApiError without the secrets."""
        try:
            answer = self._request(method, path, **kwargs)
        except WeChatClientException as error:
            code = error.errcode if error.errcode is not None else NO_ANSWER
            raise WeChatApiError(code, str(error.errmsg or "HTTP error")) from None
        except (requests.RequestException, ValueError) as error:
            raise WeChatApiError(NO_ANSWER, type(error).__name__) from None
        if not isinstance(answer, dict):
            raise WeChatApiError(NO_ANSWER, "the answer is not a JSON object")
        return answer


class OfficialAccountClient(_Client):
    """The official account (公众号) behind the H5 pages."""

    def __init__(self, appid: str, secret: str, base_url: str = API_URL) -> None:
        super().__init__(appid, secret, base_url)

    def oauth_openid(self, code: str) -> Session:
        """GET /sns/oauth2/access_token (网页授权): {openid, unionid?}; a code serves once, 5 min.

        The openid is this official account's: a mini-program knows the same person by another,
        and only the unionid, given to accounts bound together, joins the two.
        """
        return self._session("/sns/oauth2/access_token", {"code": code}, ("openid", "unionid"))


class MiniProgramClient(_Client):
    """One mini-program; `base_url` points at WeChat or at the sandbox."""

    def __init__(
        self, appid: str, secret: str, tokens: TokenStore, base_url: str = API_URL
    ) -> None:
        super().__init__(appid, secret, base_url)
        self._tokens = tokens
        self._key = f"wechat_token:{appid}"

    @property
    def access_token(self) -> str:
        """The shared token, fetched where the cache has none."""
        return self._tokens.get(self._key) or self.fetch_access_token()

    def fetch_access_token(self, force: bool = False) -> str:
        """POST /cgi-bin/stable_token; not forced, it gives every caller the same token."""
        body = {
            "grant_type": "client_credential",
            "appid": self.appid,
            "secret": self.secret,
            "force_refresh": force,
        }
        # params given, so that wechatpy does not ask for a token to fetch the token
        answer = self._send("/cgi-bin/stable_token", body, {"access_token": ""})
        token, life_s = str(answer["access_token"]), int(answer["expires_in"])
        self._tokens.set(self._key, token, max(life_s - TOKEN_MARGIN_S, 1))
        return token

    def code2session(self, js_code: str) -> Session:
        """GET /sns/jscode2session: {openid, session_key, unionid?}; a code serves once, 5 min.

        The session_key must never leave the server.
        """
        keep = ("openid", "session_key", "unionid")
        return self._session("/sns/jscode2session", {"js_code": js_code}, keep)

    def phone_number(self, code: str) -> str:
        """POST /wxa/business/getuserphonenumber: the number without country code."""
        answer = self._call("/wxa/business/getuserphonenumber", {"code": code})
        try:
            return str(answer["phone_info"]["purePhoneNumber"])
        except (KeyError, TypeError) as error:
            raise WeChatApiError(NO_ANSWER, "the answer names no phone number") from error

    def send_subscribe_message(
        self, openid: str, template_id: str, page: str, data: Mapping[str, str]
    ) -> str:
        """POST /cgi-bin/message/subscribe/send; the msgid ('' where WeChat gives none).

        `data` maps the template's fields (thing1, amount2 …) to their text.
        """
        body = {
            "touser": openid,
            "template_id": template_id,
            "page": page,
            "data": {name: {"value": value} for name, value in data.items()},
        }
        return str(self._call("/cgi-bin/message/subscribe/send", body).get("msgid", ""))

    def _call(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Call with the shared token; if it is refused, renew it once and call once more."""
        token = self.access_token
        try:
            return self._send(path, body, {"access_token": token})
        except WeChatApiError as error:
            if error.code not in _TOKEN_REFUSED:
                raise
            log.info("WeChat refused the access token (%s): renewing it", error.code)
            return self._send(path, body, {"access_token": self._renewed(token)})

    def _renewed(self, refused: str) -> str:
        """Another token than the refused one, disturbing other processes as little as may be.

        Another process may have renewed it already, in the cache or at WeChat; forcing ends the
        token everyone else is using, so it comes last.
        """
        shared = self._tokens.get(self._key)
        if shared and shared != refused:
            return shared
        token = self.fetch_access_token()
        return token if token != refused else self.fetch_access_token(force=True)

    def _send(self, path: str, body: Mapping[str, Any], params: dict[str, str]) -> dict[str, Any]:
        return self._guarded("post", path, data=dict(body), params=params)
