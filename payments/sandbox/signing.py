"""The platform's side of the signatures: checks the merchant's, makes the platform's."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from payments import rsa2, wechat_crypto
from payments.sandbox.keys import SandboxKeys, read_private_key

Signer = Literal["public_key", "certificate"]

_FIELD = re.compile(r'(\w+)="([^"]*)"')
_FORGED_SERIAL = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"


class SignatureRefused(Exception):
    """A merchant's request whose signature does not hold; the text says why."""


class Platform:
    """Signs as WeChat Pay would, checks as WeChat Pay would."""

    def __init__(self, keys: SandboxKeys) -> None:
        self.keys = keys
        self._certificate_key = read_private_key(keys.platform_key_path)
        self._public_key = read_private_key(keys.public_key_private_path)
        self._stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._merchant = _public_of(keys.merchant_cert_path.read_bytes())

    def check_request(
        self, method: str, target: str, authorization: str, body: bytes, now: datetime
    ) -> None:
        """Raise SignatureRefused unless the merchant signed exactly this request just now."""
        scheme, _, rest = authorization.partition(" ")
        given = dict(_FIELD.findall(rest))
        if scheme != wechat_crypto.SCHEME:
            raise SignatureRefused("Http头Authorization认证类型不正确")
        if given.get("mchid") != self.keys.mchid:
            raise SignatureRefused("商户号不存在")
        serial = wechat_crypto.normal_serial(given.get("serial_no", ""))
        if serial != wechat_crypto.normal_serial(self.keys.merchant_serial):
            raise SignatureRefused("商户证书序列号有误")
        self._check_moment(given.get("timestamp", ""), now)
        message = wechat_crypto.request_message(
            method, target, given["timestamp"], given.get("nonce_str", ""), body
        )
        if not rsa2.verifies(self._merchant, message, given.get("signature", "")):
            raise SignatureRefused("签名错误，请检查后再试")

    def check_client_pay(self, fields: Mapping[str, str]) -> None:
        """Raise SignatureRefused unless paySign is the merchant's over what the client got."""
        message = wechat_crypto.client_message(
            fields.get("appId", ""),
            fields.get("timeStamp", ""),
            fields.get("nonceStr", ""),
            fields.get("package", ""),
        )
        if fields.get("appId") != self.keys.appid or fields.get("signType") != "RSA":
            raise SignatureRefused("支付验证签名失败：appId 或 signType 有误")
        if not rsa2.verifies(self._merchant, message, fields.get("paySign", "")):
            raise SignatureRefused("支付验证签名失败")

    def signed_headers(
        self, body: bytes, now: datetime, signer: Signer, twist: str = ""
    ) -> dict[str, str]:
        """The Wechatpay-* headers over `body`; `twist` spoils them to order.

        Twists: unsigned, forged_signature, wrong_serial, probe, stale; others leave them whole.
        """
        if twist == "unsigned":
            return {}
        moment = int(now.timestamp()) - (600 if twist == "stale" else 0)
        timestamp, nonce = str(moment), wechat_crypto.new_nonce()
        key, serial = self._signer(signer)
        if twist == "forged_signature":
            key = self._stranger
        message = wechat_crypto.answer_message(timestamp, nonce, body)
        signature = rsa2.sign(key, message)
        if twist == "probe":
            signature = wechat_crypto.PROBE_PREFIX + signature[len(wechat_crypto.PROBE_PREFIX) :]
        return {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": _FORGED_SERIAL if twist == "wrong_serial" else serial,
            "Wechatpay-Signature": signature,
            "Wechatpay-Signature-Type": wechat_crypto.SCHEME,
        }

    def _signer(self, signer: Signer) -> tuple[rsa.RSAPrivateKey, str]:
        if signer == "public_key":
            return self._public_key, self.keys.public_key_id
        return self._certificate_key, self.keys.platform_serial

    @staticmethod
    def _check_moment(timestamp: str, now: datetime) -> None:
        if not timestamp.isdecimal():
            raise SignatureRefused("Http头Authorization的timestamp有误")
        if abs(int(timestamp) - now.timestamp()) > wechat_crypto.MAX_CLOCK_SKEW_S:
            raise SignatureRefused("Http头Authorization的timestamp已过期")


def _public_of(pem: bytes) -> RSAPublicKey:
    key = x509.load_pem_x509_certificate(pem).public_key()
    if not isinstance(key, RSAPublicKey):
        raise ValueError("the merchant's certificate holds no RSA key")
    return key
