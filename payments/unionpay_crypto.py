"""UnionPay ACP 5.1.0: what is signed, and whose certificate may have signed it. No sockets.

signature = base64(RSA-SHA256-PKCS1v15(lower-case hex of SHA-256 over the sorted `k=v&…`)), the
`signature` itself left out, the CRLF inside signPubKeyCert kept.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization.pkcs12 import load_pkcs12
from cryptography.x509.oid import NameOID

from payments import rsa2

OWNER = "中国银联股份有限公司"
SIGN_METHOD = "01"  # RSA with certificates
VERSION = "5.1.0"


class Untrusted(Exception):
    """Signed material that does not verify; `code` as in NoticeRejected."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True)
class SigningKey:
    """A merchant's key and the decimal serial of its certificate (certId)."""

    key: RSAPrivateKey = field(repr=False)
    cert_id: str


def load_signing_key(data: bytes, password: str = "") -> SigningKey:
    """From a PKCS #12 file (.pfx as UnionPay hands out), or PEM with key and certificate.

    ValueError where it holds not both.
    """
    if b"-----BEGIN" in data:
        certificate = x509.load_pem_x509_certificate(data)
        return SigningKey(rsa2.load_private_key(_key_part(data)), str(certificate.serial_number))
    bundle = load_pkcs12(data, password.encode() or None)
    if bundle.cert is None or not isinstance(bundle.key, RSAPrivateKey):
        raise ValueError("the file holds no RSA key with its certificate")
    return SigningKey(bundle.key, str(bundle.cert.certificate.serial_number))


def _key_part(pem: bytes) -> bytes:
    start = pem.find(b"PRIVATE KEY-----")
    if start < 0:
        raise ValueError("the PEM holds no private key")
    begin = pem.rfind(b"-----BEGIN", 0, start)
    end = pem.index(b"-----", pem.index(b"-----END", start) + 8) + 5
    return pem[begin:end]


def digest(fields: Mapping[str, str]) -> bytes:
    """What the signature is over: the hex of a hash, as bytes."""
    plain = "&".join(f"{k}={fields[k]}" for k in sorted(fields) if k != "signature")
    return hashlib.sha256(plain.encode()).hexdigest().encode("ascii")


def signed(fields: Mapping[str, str], key: SigningKey) -> dict[str, str]:
    """The fields with certId, signMethod and the signature; empty ones are left out."""
    whole = {name: value for name, value in fields.items() if value}
    whole |= {"certId": key.cert_id, "signMethod": SIGN_METHOD}
    return whole | {"signature": rsa2.sign(key.key, digest(whole))}


@dataclass(frozen=True)
class Trust:
    """The certificates between UnionPay's root and the one a message brings along."""

    root: x509.Certificate
    middle: x509.Certificate

    @classmethod
    def of(cls, root_pem: bytes, middle_pem: bytes) -> "Trust":
        """From two PEM files. ValueError where the middle one is not the root's."""
        root, middle = map(x509.load_pem_x509_certificate, (root_pem, middle_pem))
        _issued(middle, root, "the middle certificate is not the root's")
        return cls(root, middle)

    def verify(self, fields: Mapping[str, str], now: datetime) -> None:
        """Check signature and signer of an answer or a notice. Untrusted."""
        if fields.get("signMethod") != SIGN_METHOD or fields.get("version") != VERSION:
            raise Untrusted("signature_type", f"only {VERSION} with method {SIGN_METHOD}")
        key = self._signer(fields.get("signPubKeyCert", ""), now)
        if not rsa2.verifies(key, digest(fields), fields.get("signature", "")):
            raise Untrusted("signature", "the signature does not fit the fields")

    def _signer(self, pem: str, now: datetime) -> RSAPublicKey:
        try:
            leaf = x509.load_pem_x509_certificate(pem.encode())
            _issued(leaf, self.middle, "the certificate is not UnionPay's")
        except (ValueError, TypeError) as error:
            raise Untrusted("serial_unknown", str(error)[:200]) from error
        for certificate in (leaf, self.middle, self.root):
            if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
                raise Untrusted("serial_unknown", "a certificate of the chain is not valid now")
        if _owner(leaf) != OWNER:
            raise Untrusted("serial_unknown", "the certificate is somebody else's")
        key = leaf.public_key()
        if not isinstance(key, RSAPublicKey):
            raise Untrusted("serial_unknown", "the certificate holds no RSA key")
        return key


def _issued(certificate: x509.Certificate, issuer: x509.Certificate, reason: str) -> None:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise ValueError(reason) from error


def _owner(certificate: x509.Certificate) -> str:
    """The third part of CN, which looks like 041@Z2016@中国银联股份有限公司@…"""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    parts = str(names[0].value).split("@") if names else []
    return parts[2] if len(parts) > 2 else ""


def parse_answer(text: str) -> dict[str, str]:
    """An answer's `k=v&…`: values stand as they are, and an & inside {…} is none of ours.

    ValueError where a name stands twice or a part has no name.
    """
    fields: dict[str, str] = {}
    for part in _parts(text):
        name, equals, value = part.partition("=")
        if not equals or not name or name in fields:
            raise ValueError(f"{part[:32]!r} is no field, or stands twice")
        fields[name] = value
    return fields


def _parts(text: str) -> list[str]:
    parts, start, depth = [], 0, 0
    for at, sign in enumerate(text):
        if sign in "{}":
            depth += 1 if sign == "{" else -1
        elif sign == "&" and depth <= 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]
