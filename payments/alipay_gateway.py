"""Alipay's gateway: requests of the SDK, sent and checked by our own hand.

alipay-sdk-python knows every request and its fields, and its client is unfit for a cash desk: no
pooling, a raw TimeoutError, a TypeError for any status but 200 and for a URL with a port, SHA-1
taken for RSA2, PKCS #8 keys refused, naive local time. So its requests are built and its client is
not used: here they are signed (RSA2, GMT+8), sent, and the answer verified over its raw bytes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from payments import alipay_errors, rsa2
from payments.channel import ChannelError
from payments.http import MAX_FILE_BYTES, Clock, Http, malformed, network, unverified

# China has had no daylight saving since 1991, so a fixed offset is exact.
BEIJING = timezone(timedelta(hours=8))

_DECODER = json.JSONDecoder()
_ERROR_NODE = "error_response"


class SdkRequest(Protocol):
    """What every request class of alipay-sdk-python offers."""

    def get_params(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class AlipayConfig:
    """An app's settings; keys as PEM or as the bare base64 of Alipay's console.

    `seller_id` is the merchant's PID (2088…). Raises ValueError where they cannot work.
    """

    app_id: str
    seller_id: str
    private_key: bytes = field(repr=False)
    alipay_public_key: bytes = field(repr=False)
    gateway_url: str = "https://openapi.alipay.com/gateway.do"

    def __post_init__(self) -> None:
        for name in ("app_id", "seller_id"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        if urlsplit(self.gateway_url).scheme not in ("http", "https"):
            raise ValueError("gateway_url is no http address")


class Gateway:
    """Signed calls. Safe to share between threads; `clock` gives aware UTC."""

    def __init__(self, config: AlipayConfig, clock: Clock) -> None:
        self.config = config
        self.public_key = rsa2.load_public_key(config.alipay_public_key)
        self._private_key = rsa2.load_private_key(config.private_key)
        self._clock = clock
        self._http = Http()

    def call(self, request: SdkRequest) -> dict[str, Any]:
        """POST a request; the verified answer's own node. ChannelError, also for its refusals."""
        params = self.signed(request)
        answer = self._http.exchange(
            "POST",
            self.config.gateway_url,
            urlencode(params).encode("ascii"),
            {"Content-Type": "application/x-www-form-urlencoded;charset=utf-8"},
        )
        if not answer.ok:
            raise network(f"HTTP {answer.status}")
        return self._opened(answer.body, params["method"].replace(".", "_") + "_response")

    def page_url(self, request: SdkRequest) -> str:
        """The address a browser is sent to; costs no request."""
        return f"{self.config.gateway_url}?{urlencode(self.signed(request))}"

    def signed(self, request: SdkRequest) -> dict[str, str]:
        """All parameters of a request with its signature over the sorted, non-empty ones."""
        params = {
            "app_id": self.config.app_id,
            "charset": "utf-8",
            "format": "json",
            "sign_type": "RSA2",
            "timestamp": beijing_text(self._clock()),
            **{name: _text(value) for name, value in request.get_params().items()},
        }
        params = {name: value for name, value in params.items() if value}
        message = canonical(params).encode()
        return {**params, "sign": rsa2.sign(self._private_key, message)}

    def download(self, url: str) -> bytes:
        """A bill file: its address lives 30 s and is itself the secret; nothing is signed."""
        answer = self._http.exchange("GET", url, limit=MAX_FILE_BYTES)
        if not answer.ok:
            raise alipay_errors.damaged(f"HTTP {answer.status} for the bill's file")
        return answer.body

    def close(self) -> None:
        """Let go of the kept-alive connections."""
        self._http.close()

    def _opened(self, body: bytes, node: str) -> dict[str, Any]:
        try:
            members = top_level(body.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise malformed("the answer is not an object of JSON in UTF-8") from error
        name = node if node in members else _ERROR_NODE
        raw, value = members.get(name, ("", None))
        if not isinstance(value, dict):
            raise malformed(f"the answer has no {node}")
        refusal = alipay_errors.error_of(value)
        signature = members.get("sign", ("", ""))[1]
        if signature or refusal is None:
            self._verify(raw, signature)
        if refusal is not None:
            raise refusal
        if name != node:
            raise malformed("a success in an error's place")
        return value

    def _verify(self, raw: str, signature: object) -> None:
        good = isinstance(signature, str) and rsa2.verifies(
            self.public_key, raw.encode(), signature
        )
        if not good:
            raise unverified("the signature does not fit the answer")


def canonical(params: Mapping[str, str]) -> str:
    """`k=v&…` in order of the names: what is signed."""
    return "&".join(f"{name}={params[name]}" for name in sorted(params))


def beijing_text(moment: datetime) -> str:
    """'2026-01-31 08:00:00' in Beijing."""
    return moment.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S")


def top_level(text: str) -> dict[str, tuple[str, Any]]:
    """A JSON object's members: name -> (the value's text exactly as it stands, the value).

    The signature is over that text, with its `\\/` and its spaces. ValueError for anything else,
    for a name that stands twice and for what follows the object.
    """
    members: dict[str, tuple[str, Any]] = {}
    at = _expect(text, _skip(text, 0), "{")
    while not text.startswith("}", at := _skip(text, at)):
        if members:
            at = _skip(text, _expect(text, at, ","))
        name, at = scanstring(text, _expect(text, at, '"'))
        start = _skip(text, _expect(text, _skip(text, at), ":"))
        value, at = _DECODER.raw_decode(text, start)
        if name in members:
            raise ValueError(f"{name!r} stands twice")
        members[name] = (text[start:at], value)
    if text[at + 1 :].strip():
        raise ValueError("something follows the object")
    return members


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _expect(text: str, at: int, sign: str) -> int:
    if not text.startswith(sign, at):
        raise ValueError(f"{sign!r} expected at {at}")
    return at + 1


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


__all__ = [
    "BEIJING",
    "AlipayConfig",
    "ChannelError",
    "Clock",
    "Gateway",
    "SdkRequest",
    "beijing_text",
    "canonical",
    "top_level",
]
