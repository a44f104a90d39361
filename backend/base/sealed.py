"""Personal data at rest: AES-256-GCM with a random nonce, bound to the field it belongs to."""

from __future__ import annotations

import base64
import hmac
import secrets

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from flask import current_app

from backend.config import SettingError


class Seal:
    """Seals and opens short texts; `context` keeps a sealed name from passing as a phone."""

    def __init__(self, key: bytes):
        if len(key) != 32:
            raise SettingError("NUAN_SEAL_KEY must be base64 of 32 bytes")
        self._aead = AESGCM(key)

    @classmethod
    def from_text(cls, text: str) -> Seal:
        """From the setting's base64 text; SettingError where it is not 32 bytes."""
        try:
            return cls(base64.b64decode(text, validate=True))
        except ValueError:
            raise SettingError("NUAN_SEAL_KEY must be base64 of 32 bytes") from None

    def seal(self, text: str, context: str) -> bytes:
        """nonce(12) + ciphertext + tag."""
        nonce = secrets.token_bytes(12)
        return nonce + self._aead.encrypt(nonce, text.encode(), context.encode())

    def open(self, sealed: bytes, context: str) -> str:
        """The text again; ValueError where the key or the context is another's."""
        try:
            return self._aead.decrypt(sealed[:12], sealed[12:], context.encode()).decode()
        except InvalidTag:
            raise ValueError(f"cannot open sealed {context}: wrong NUAN_SEAL_KEY?") from None


def seal(text: str, context: str) -> bytes:
    """Seal with the running application's key."""
    return _current().seal(text, context)


def unseal(sealed: bytes, context: str) -> str:
    """Open with the running application's key."""
    return _current().open(bytes(sealed), context)


def _current() -> Seal:
    found: Seal = current_app.extensions["nuan_seal"]
    return found


def same_text(a: str, b: str) -> bool:
    """Compare without telling by time how much was right."""
    return hmac.compare_digest(a.encode(), b.encode())
