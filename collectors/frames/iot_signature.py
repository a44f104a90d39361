"""OneNET's signature over what it pushes, and the encryption a customer may switch on.

    signature = base64(MD5(token + nonce + msg))

over the text of `msg` exactly as sent; the address is verified with the same sum before the first
push. Encrypted pushes carry `enc_msg` instead: AES-CBC under the 32 bytes of the console's key, its
first half as the start vector; inside are 16 random bytes, a length (4, high first), the message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from typing import Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from collectors.frames.errors import FrameError
from collectors.frames.iot_fields import load_json
from collectors.frames.iot_push import MAX_BODY

_BLOCK: Final = 16
_RANDOM: Final = 16


def onenet_signature(token: str, nonce: str, message: str) -> str:
    """What OneNET sends beside `message`, base64 of sixteen bytes."""
    digest = hashlib.md5((token + nonce + message).encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def is_from_onenet(body: bytes, token: str) -> bool:
    """Whether the body was signed with `token`; compared in constant time.

    Raises FrameError where the body is no push or carries no signature."""
    envelope = _envelope(body)
    signature = envelope.get("msg_signature", envelope.get("signature"))
    nonce = envelope.get("nonce")
    if not isinstance(signature, str) or not isinstance(nonce, str):
        raise FrameError("the push is not signed")
    wanted = onenet_signature(token, nonce, _signed_text(body, envelope))
    return hmac.compare_digest(wanted.encode(), signature.encode())


def is_onenet_address_check(token: str, nonce: str, message: str, signature: str) -> bool:
    """The GET by which OneNET verifies a push address; answer `message` where this is true. A `+`
    that a server took for a space is put back."""
    wanted = onenet_signature(token, nonce, message)
    return hmac.compare_digest(wanted.encode(), signature.replace(" ", "+").encode())


def _envelope(body: bytes) -> dict[str, object]:
    if len(body) > MAX_BODY:
        raise FrameError(f"push of {len(body)} bytes", code="length", consumed=len(body))
    envelope = load_json(bytes(body))
    if not isinstance(envelope, dict):
        raise FrameError("a push is a JSON object")
    return envelope


def _signed_text(body: bytes, envelope: dict[str, object]) -> str:
    """`enc_msg` or a textual `msg` as it reads, an object or list as its bytes were sent."""
    message = envelope.get("enc_msg", envelope.get("msg"))
    if isinstance(message, str):
        return message
    if not isinstance(message, (dict, list)):
        raise FrameError("the push has no message")
    return _member_text(body.decode("utf-8"), "msg")


def _member_text(text: str, key: str) -> str:
    """The text of one member of the outermost object, which is known to be good JSON."""
    scan = json.JSONDecoder().raw_decode
    at = text.index("{") + 1
    while True:
        at = _skip(text, at, " \t\r\n,")
        name, at = scan(text, at)
        at = _skip(text, at, " \t\r\n:")
        _, end = scan(text, at)
        if name == key:
            return text[at:end]
        at = end


def _skip(text: str, at: int, marks: str) -> int:
    while text[at] in marks:
        at += 1
    return at


def is_onenet_encrypted(body: bytes) -> bool:
    """Whether the message is encrypted. Raises FrameError where the body is no push."""
    envelope = _envelope(body)
    return "enc_msg" in envelope and "msg" not in envelope


def check_onenet_key(key: str) -> None:
    """Raise ValueError where the console's key is none."""
    _key(key)


def decrypt_onenet(body: bytes, key: str) -> bytes:
    """The body an unencrypted push would have had: `enc_msg` opened and put in as `msg`.

    `key` is the console's, 43 characters. Raises ValueError for a key that is none, FrameError for
    a message that does not open under it. Check the signature first: it is over `enc_msg`."""
    secret = _key(key)
    envelope = _envelope(body)
    cipher_text = _cipher_text(envelope.get("enc_msg"))
    decryptor = Cipher(algorithms.AES(secret), modes.CBC(secret[:_BLOCK])).decryptor()
    plain = decryptor.update(cipher_text) + decryptor.finalize()
    size = int.from_bytes(plain[_RANDOM : _RANDOM + 4], "big")
    message = plain[_RANDOM + 4 : _RANDOM + 4 + size]
    if len(message) < size or len(plain) - size - _RANDOM - 4 > 2 * _BLOCK:
        raise FrameError("the message does not open under this key")
    opened = load_json(message)
    rest = {name: value for name, value in envelope.items() if name != "enc_msg"}
    return json.dumps({**rest, "msg": opened}, ensure_ascii=False).encode()


def _key(key: str) -> bytes:
    try:
        secret = base64.b64decode(key.rstrip("=") + "=", validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError("the key is not base64") from error
    if len(secret) != 32:
        raise ValueError("the key is not 32 bytes")
    return secret


def _cipher_text(value: object) -> bytes:
    if not isinstance(value, str):
        raise FrameError("the push has no encrypted message")
    try:
        data = base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise FrameError("enc_msg is not base64") from error
    if len(data) < 2 * _BLOCK or len(data) % _BLOCK:
        raise FrameError("enc_msg is not whole blocks", code="length")
    return data
