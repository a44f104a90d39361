"""RSA-SHA256 (PKCS #1 v1.5), base64, as WeChat Pay, Alipay and UnionPay all sign; and PEM keys.

A malformed signature is an answer (False), never an exception.
"""

import base64
import binascii

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.serialization import (
    load_der_private_key,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)


def sign(key: RSAPrivateKey, message: bytes) -> str:
    """The signature over `message`, base64 in one line."""
    return base64.b64encode(key.sign(message, PKCS1v15(), hashes.SHA256())).decode("ascii")


def verifies(key: RSAPublicKey, message: bytes, signature: str) -> bool:
    """Whether the signature holds; SHA-1 never does."""
    try:
        raw = base64.b64decode(signature.encode("ascii"), validate=True)
        key.verify(raw, message, PKCS1v15(), hashes.SHA256())
    except (InvalidSignature, binascii.Error, UnicodeEncodeError, ValueError):
        return False
    return True


def load_private_key(text: bytes) -> RSAPrivateKey:
    """A private key in PEM (PKCS #1 or #8) or as the bare base64 consoles hand out.

    ValueError where it is no RSA key.
    """
    try:
        if b"-----BEGIN" in text:
            key = load_pem_private_key(text, password=None)
        else:
            key = load_der_private_key(_bare(text), password=None)
    except TypeError as error:
        raise ValueError("the private key is encrypted") from error
    if not isinstance(key, RSAPrivateKey):
        raise ValueError("the private key must be an RSA key")
    return key


def load_public_key(text: bytes) -> RSAPublicKey:
    """A public key in PEM, out of a certificate in PEM, or as bare base64. ValueError."""
    if b"-----BEGIN CERTIFICATE" in text:
        key = x509.load_pem_x509_certificate(text).public_key()
    elif b"-----BEGIN" in text:
        key = load_pem_public_key(text)  # type: ignore[assignment]
    else:
        key = load_der_public_key(_bare(text))  # type: ignore[assignment]
    if not isinstance(key, RSAPublicKey):
        raise ValueError("the public key must be an RSA key")
    return key


def _bare(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("neither PEM nor base64") from error
