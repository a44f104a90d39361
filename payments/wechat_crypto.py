"""WeChat Pay v3: signatures, the platform's keys and AEAD, over bytes. No sockets, no clock."""

import base64
import binascii
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from payments.rsa2 import verifies

SCHEME = "WECHATPAY2-SHA256-RSA2048"
PROBE_PREFIX = "WECHATPAY/SIGNTEST/"
AEAD = "AEAD_AES_256_GCM"
MAX_CLOCK_SKEW_S = 300

Refusal = Literal[
    "header_missing", "timestamp", "probe", "signature_type", "serial_unknown", "signature"
]


class Untrusted(Exception):
    """Signed material that does not verify; `code` says which check failed."""

    def __init__(self, code: Refusal, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class UndecryptableError(Exception):
    """A resource that does not open with the APIv3 key."""


def new_nonce() -> str:
    """A 32-character random nonce."""
    return secrets.token_hex(16).upper()


def request_message(method: str, target: str, timestamp: str, nonce: str, body: bytes) -> bytes:
    r"""What a merchant signs: `METHOD\npath?query\nts\nnonce\nbody\n`."""
    return f"{method}\n{target}\n{timestamp}\n{nonce}\n".encode() + body + b"\n"


def answer_message(timestamp: str, nonce: str, body: bytes) -> bytes:
    r"""What the platform signs, answers and notices alike: `ts\nnonce\nbody\n`."""
    return f"{timestamp}\n{nonce}\n".encode() + body + b"\n"


def client_message(appid: str, timestamp: str, nonce: str, package: str) -> bytes:
    r"""What stands behind paySign: `appId\nts\nnonce\nprepay_id=…\n`."""
    return f"{appid}\n{timestamp}\n{nonce}\n{package}\n".encode()


def encrypt(api_v3_key: bytes, nonce: str, associated_data: str, plain: bytes) -> str:
    """Seal with AEAD_AES_256_GCM; base64 of ciphertext and tag."""
    sealed = AESGCM(api_v3_key).encrypt(nonce.encode(), plain, associated_data.encode())
    return base64.b64encode(sealed).decode()


def decrypt(api_v3_key: bytes, nonce: str, associated_data: str, ciphertext: str) -> bytes:
    """Open AEAD_AES_256_GCM; UndecryptableError if key, nonce, data or tag do not fit."""
    try:
        sealed = base64.b64decode(ciphertext, validate=True)
        return AESGCM(api_v3_key).decrypt(nonce.encode(), sealed, associated_data.encode())
    except (InvalidTag, binascii.Error, ValueError) as error:
        raise UndecryptableError("the resource does not open with the APIv3 key") from error


def normal_serial(serial: str) -> str:
    """A certificate's hex serial without case or leading zeros; a PUB_KEY_ID stays as it is."""
    if serial.startswith("PUB_KEY_ID_"):
        return serial
    return serial.upper().lstrip("0")


def certificate_serial(certificate: x509.Certificate) -> str:
    """The serial as WeChat writes it: upper-case hex."""
    return f"{certificate.serial_number:X}"


@dataclass(frozen=True)
class PlatformKeys:
    """Keys that may have signed for the platform, chosen by serial.

    Public key and certificates stand side by side: callbacks move from one to the other over
    about a week and can be rolled back.
    """

    public_keys: Mapping[str, RSAPublicKey]
    certificates: Mapping[str, x509.Certificate] = field(default_factory=dict)

    def find(self, serial: str, now: datetime) -> RSAPublicKey | None:
        """Return the key of that serial, or None if unknown or its certificate is not valid."""
        wanted = normal_serial(serial)
        if wanted in self.public_keys:
            return self.public_keys[wanted]
        certificate = self.certificates.get(wanted)
        if certificate is None or not _valid(certificate, now):
            return None
        key = certificate.public_key()
        return key if isinstance(key, RSAPublicKey) else None

    def sealing(self, now: datetime) -> tuple[str, RSAPublicKey] | None:
        """(serial, key) to seal for the platform: a public key, else its newest certificate."""
        for serial, key in self.public_keys.items():
            return serial, key
        newest = sorted(self.certificates.items(), key=lambda one: one[1].not_valid_before_utc)
        for serial, _ in reversed(newest):
            found = self.find(serial, now)
            if found is not None:
                return serial, found
        return None

    def with_certificates(self, certificates: Mapping[str, x509.Certificate]) -> "PlatformKeys":
        """Return keys with these certificates added; what was known stays known."""
        return PlatformKeys(self.public_keys, {**self.certificates, **certificates})


def _valid(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def verify_signed(
    keys: PlatformKeys, headers: Mapping[str, str], body: bytes, now: datetime
) -> None:
    """Verify an answer or a notice over its raw bytes; Untrusted says what is wrong.

    The cheap checks come first, so that a forged notice costs no RSA and no request.
    """
    given = _signature_headers(headers)
    _check_timestamp(given["wechatpay-timestamp"], now)
    signature = given["wechatpay-signature"]
    if signature.startswith(PROBE_PREFIX):
        raise Untrusted("probe", "a probe signature, meant to fail")
    if given.get("wechatpay-signature-type", SCHEME) != SCHEME:
        raise Untrusted("signature_type", f"only {SCHEME} is spoken")
    key = keys.find(given["wechatpay-serial"], now)
    if key is None:
        raise Untrusted("serial_unknown", f"no key with serial {given['wechatpay-serial'][:64]}")
    message = answer_message(given["wechatpay-timestamp"], given["wechatpay-nonce"], body)
    if not verifies(key, message, signature):
        raise Untrusted("signature", "the signature is not the platform's over these bytes")


def _signature_headers(headers: Mapping[str, str]) -> dict[str, str]:
    given = {name.lower(): value for name, value in headers.items()}
    for name in ("timestamp", "nonce", "serial", "signature"):
        if not given.get(f"wechatpay-{name}"):
            raise Untrusted("header_missing", f"header Wechatpay-{name.title()} is missing")
    return given


def _check_timestamp(timestamp: str, now: datetime) -> None:
    if not (timestamp.isascii() and timestamp.isdigit() and len(timestamp) <= 12):
        raise Untrusted("timestamp", "Wechatpay-Timestamp is not a number of seconds")
    if abs(int(timestamp) - now.timestamp()) > MAX_CLOCK_SKEW_S:
        raise Untrusted("timestamp", "Wechatpay-Timestamp is more than 5 minutes off")
