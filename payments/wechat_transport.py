"""WeChat Pay v3 over HTTP: every request signed, every answer verified over its raw bytes."""

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from requests.auth import AuthBase

from payments import rsa2, wechat_crypto, wechat_errors
from payments.channel import ChannelError
from payments.http import (
    MAX_ANSWER_BYTES,
    MAX_FILE_BYTES,
    Answer,
    Clock,
    Http,
    malformed,
    unverified,
)
from payments.wechat_crypto import PlatformKeys, Untrusted

# Notices with an unknown serial are free to send, so they may cost us one request in this long.
CERTIFICATE_REFRESH_GAP_S = 300


@dataclass(frozen=True)
class WeChatPayConfig:
    """A merchant's settings. `public_keys` maps PUB_KEY_ID_… to PEM; certificates come by API.

    `appid` is the mini-program's, `official_appid` the official account's; empty: the same.

    Raises ValueError where they cannot work, naming the setting.
    """

    mchid: str
    appid: str
    merchant_serial: str
    merchant_key_pem: bytes = field(repr=False)
    api_v3_key: bytes = field(repr=False)
    public_keys: Mapping[str, bytes] = field(default_factory=dict)
    base_url: str = "https://api.mch.weixin.qq.com"
    official_appid: str = ""

    @property
    def appids(self) -> frozenset[str]:
        """Every app of this merchant: payments speak of one of them."""
        return frozenset(filter(None, (self.appid, self.official_appid)))

    def __post_init__(self) -> None:
        for name in ("mchid", "appid", "merchant_serial", "base_url"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty")
        if len(self.api_v3_key) != 32:
            raise ValueError("api_v3_key must be 32 bytes")
        if any(not key_id.startswith("PUB_KEY_ID_") for key_id in self.public_keys):
            raise ValueError("a public key's id must begin with PUB_KEY_ID_")


class _Signature(AuthBase):
    """Signs exactly the bytes that leave; as an auth object it also keeps a netrc file out."""

    def __init__(self, transport: "Transport") -> None:
        self._transport = transport

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        body = request.body or b""
        raw = body.encode() if isinstance(body, str) else body
        request.headers["Authorization"] = self._transport.authorization(
            request.method or "GET", request.path_url, raw
        )
        return request


class Transport:
    """Signed calls to the platform. Safe to share between threads; holds keys and connections."""

    def __init__(self, config: WeChatPayConfig, clock: Clock) -> None:
        self.config = config
        self.clock = clock
        self.merchant_key = rsa2.load_private_key(config.merchant_key_pem)
        self._keys = PlatformKeys(
            {key: rsa2.load_public_key(pem) for key, pem in config.public_keys.items()}
        )
        self._http = Http()
        self._refresh_lock = threading.Lock()
        self._refreshed_at: datetime | None = None

    def authorization(self, method: str, target: str, body: bytes) -> str:
        """Return the Authorization header's value over `target` (path and query) and `body`."""
        timestamp, nonce = str(int(self.clock().timestamp())), wechat_crypto.new_nonce()
        message = wechat_crypto.request_message(method, target, timestamp, nonce, body)
        signature = rsa2.sign(self.merchant_key, message)
        return (
            f'{wechat_crypto.SCHEME} mchid="{self.config.mchid}",nonce_str="{nonce}",'
            f'timestamp="{timestamp}",serial_no="{self.config.merchant_serial}",'
            f'signature="{signature}"'
        )

    def call(
        self,
        method: str,
        target: str,
        payload: Mapping[str, Any] | None = None,
        *,
        sealed_for: str = "",
    ) -> dict[str, Any]:
        """Call and return the verified JSON object ({} for a 204). Raises ChannelError.

        `sealed_for` names the platform's key that fields of the payload are sealed for.
        """
        url = self.config.base_url + target
        answer = self._exchange(method, url, payload, MAX_ANSWER_BYTES, sealed_for)
        self._verify_answer(answer)
        if not answer.ok:
            raise wechat_errors.error_from_answer(
                answer.status, answer.body, answer.headers.get("Retry-After")
            )
        return _json_object(answer.body) if answer.body else {}

    def download(self, url: str) -> bytes:
        """Fetch a bill file: the request is signed, the answer is not (its SHA-1 is checked)."""
        answer = self._exchange("GET", url, None, MAX_FILE_BYTES)
        if not answer.ok:
            raise wechat_errors.error_from_answer(answer.status, answer.body, None)
        return answer.body

    def verify(self, headers: Mapping[str, str], body: bytes, now: datetime) -> None:
        """Verify over raw bytes; an unknown certificate serial is looked up, seldom. Untrusted."""
        try:
            wechat_crypto.verify_signed(self._keys, headers, body, now)
        except Untrusted as refusal:
            if refusal.code != "serial_unknown" or not self._worth_refreshing(headers, now):
                raise
            self._refresh_quietly()
            wechat_crypto.verify_signed(self._keys, headers, body, now)

    def refresh_certificates(self) -> int:
        """Fetch platform certificates (/v3/certificates); returns how many. Raises ChannelError.

        Each is sealed with the APIv3 key, so it can be trusted before it vouches for the answer
        it came in. Known ones are kept: a bad answer costs nothing.
        """
        url = self.config.base_url + "/v3/certificates"
        answer = self._exchange("GET", url, None, MAX_ANSWER_BYTES)
        if not answer.ok:
            raise wechat_errors.error_from_answer(answer.status, answer.body, None)
        found = self._open_certificates(_json_object(answer.body))
        keys = self._keys.with_certificates(found)
        try:
            wechat_crypto.verify_signed(keys, answer.headers, answer.body, self.clock())
        except Untrusted as refusal:
            raise unverified(refusal.reason) from refusal
        self._keys = keys
        return len(found)

    def close_connections(self) -> None:
        """Let go of the kept-alive connections."""
        self._http.close()

    def _verify_answer(self, answer: Answer) -> None:
        """Refuse an unverified 2xx; an error may come unsigned (401), but not badly signed."""
        if not answer.ok and "Wechatpay-Signature" not in answer.headers:
            return
        try:
            self.verify(answer.headers, answer.body, self.clock())
        except Untrusted as refusal:
            raise unverified(f"{refusal.code}: {refusal.reason}") from refusal

    def sealing_key(self) -> tuple[str, RSAPublicKey]:
        """(serial, key) to seal for the platform: its public key, else a certificate of today.

        ChannelError where it has neither to give.
        """
        now = self.clock()
        if not self._keys.sealing(now):
            self.refresh_certificates()
        found = self._keys.sealing(now)
        if found is None:
            raise malformed("the platform has no key that is valid now")
        return found

    def _exchange(
        self,
        method: str,
        url: str,
        payload: Mapping[str, Any] | None,
        limit: int,
        sealed_for: str = "",
    ) -> Answer:
        headers = self._headers(sealed_for)
        return self._http.exchange(
            method, url, _encode(payload), headers, auth=_Signature(self), limit=limit
        )

    def _headers(self, sealed_for: str) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        # Naming our public key makes the platform sign its answer with that one.
        if sealed_for or self.config.public_keys:
            headers["Wechatpay-Serial"] = sealed_for or next(iter(self.config.public_keys))
        return headers

    def _worth_refreshing(self, headers: Mapping[str, str], now: datetime) -> bool:
        serial = {name.lower(): value for name, value in headers.items()}["wechatpay-serial"]
        if not 1 <= len(serial) <= 40 or not set(serial.upper()) <= set("0123456789ABCDEF"):
            return False
        with self._refresh_lock:
            last = self._refreshed_at
            if last and 0 <= (now - last).total_seconds() < CERTIFICATE_REFRESH_GAP_S:
                return False
            self._refreshed_at = now
            return True

    def _refresh_quietly(self) -> None:
        """Refresh; a failure leaves the serial unknown, which is what the caller reports."""
        try:
            self.refresh_certificates()
        except ChannelError:
            return

    def _open_certificates(self, listing: dict[str, Any]) -> dict[str, x509.Certificate]:
        found = {}
        try:
            for entry in listing["data"]:
                sealed = entry["encrypt_certificate"]
                pem = wechat_crypto.decrypt(
                    self.config.api_v3_key,
                    sealed["nonce"],
                    sealed["associated_data"],
                    sealed["ciphertext"],
                )
                certificate = x509.load_pem_x509_certificate(pem)
                found[wechat_crypto.certificate_serial(certificate)] = certificate
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise malformed("the list of certificates is broken") from error
        except wechat_crypto.UndecryptableError as error:
            raise unverified(str(error)) from error
        return found


def _encode(payload: Mapping[str, Any] | None) -> bytes | None:
    if payload is None:
        return None
    return json.dumps(payload, ensure_ascii=False, separators=(",", ":")).encode()


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise malformed("the answer is not JSON") from error
    if not isinstance(answer, dict):
        raise malformed("the answer is not a JSON object")
    return answer
