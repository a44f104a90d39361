"""Only who knows the token can push as OneNET, and only who knows the key can read along."""

import base64
import contextlib
import hashlib
import json

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from hypothesis import given
from hypothesis import strategies as st

from collectors.frames import FrameError, iot_push
from collectors.frames.iot_signature import (
    decrypt_onenet,
    is_from_onenet,
    is_onenet_address_check,
    onenet_signature,
)

TOKEN, NONCE = "ceshi-onenet", "Xf3b9Q+z"
MESSAGE = '{"at":1466133706841,"imei":"862592051651472","type":1,"ds_id":"3200_0_5505",' + (
    '"value":"6810670517","dev_id":2016617}'
)
KEY = base64.b64encode(bytes(range(32))).decode().rstrip("=")


def pushed(message=MESSAGE, *, token=TOKEN, name="msg_signature", key="msg", signed=None):
    signature = onenet_signature(token, NONCE, message if signed is None else signed)
    return (
        f'{{ "{name}" : {json.dumps(signature)}, "{key}" : {message}, "nonce":"{NONCE}" }}'
    ).encode()


def encrypted(message=MESSAGE, key=KEY):
    secret = base64.b64decode(key + "=")
    plain = bytes(16) + len(message).to_bytes(4, "big") + message.encode()
    plain += bytes((16 - len(plain) % 16,)) * (16 - len(plain) % 16)
    cipher = Cipher(algorithms.AES(secret), modes.CBC(secret[:16])).encryptor()
    return base64.b64encode(cipher.update(plain) + cipher.finalize()).decode()


def test_the_signature_is_md5_over_token_nonce_and_message():
    wanted = base64.b64encode(hashlib.md5(b"tokennoncemsg").digest()).decode()
    assert onenet_signature("token", "nonce", "msg") == wanted


@pytest.mark.parametrize("message", [MESSAGE, MESSAGE.replace(",", " , "), f"[{MESSAGE}]"])
def test_a_signed_push_is_known_by_its_text_as_it_was_sent(message):
    assert is_from_onenet(pushed(message), TOKEN)
    assert not is_from_onenet(pushed(message, token="guess"), TOKEN)


def test_a_message_within_the_message_is_not_mistaken_for_it():
    message = '{"msg":{"dev_id":9},"dev_id":1}'
    assert is_from_onenet(pushed(message), TOKEN)


def test_a_message_in_a_string_is_signed_as_it_reads():
    body = pushed(json.dumps(MESSAGE), name="signature", signed=MESSAGE)
    assert is_from_onenet(body, TOKEN)


@given(st.integers(0, len(MESSAGE) - 1), st.sampled_from("0123456789"))
def test_a_changed_digit_is_noticed(at, digit):
    if not MESSAGE[at].isdigit() or MESSAGE[at] == digit:
        return
    forged = MESSAGE[:at] + digit + MESSAGE[at + 1 :]
    with contextlib.suppress(FrameError):  # a number may not begin with 0
        assert not is_from_onenet(pushed(forged, signed=MESSAGE), TOKEN)


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b'{"msg": 1, "nonce": "n", "msg_signature": "s"}', b'{"msg": {}, "nonce": "n"}',
     b'{"msg": {}, "msg_signature": "s"}', b" " * 70_000],
)  # fmt: skip
def test_what_is_not_signed_is_refused(body):
    with pytest.raises(FrameError):
        is_from_onenet(body, TOKEN)


def test_the_address_check_survives_a_plus_read_as_a_space():
    signature = next(s for n in range(999) if "+" in (s := onenet_signature(TOKEN, NONCE, f"m{n}")))
    message = next(f"m{n}" for n in range(999) if "+" in onenet_signature(TOKEN, NONCE, f"m{n}"))
    assert is_onenet_address_check(TOKEN, NONCE, message, signature.replace("+", " "))
    assert not is_onenet_address_check("guess", NONCE, message, signature)


def test_an_encrypted_push_opens_and_reads_like_any_other():
    secret = encrypted()
    body = pushed(json.dumps(secret), key="enc_msg", signed=secret)
    assert is_from_onenet(body, TOKEN)
    (report,) = iot_push.decode(decrypt_onenet(body, KEY)).reports
    assert (report.device_id, report.payload) == ("2016617", bytes.fromhex("6810670517"))


def test_the_wrong_key_and_a_cut_message_do_not_open():
    other = base64.b64encode(bytes(32)).decode().rstrip("=")
    for secret, key in ((encrypted(), other), (encrypted()[:64], KEY), ("AAAA", KEY), (7, KEY)):
        with pytest.raises(FrameError):
            decrypt_onenet(pushed(json.dumps(secret), key="enc_msg", signed=""), key)


@pytest.mark.parametrize("key", ["", "short", "%" * 43])
def test_a_key_that_is_none_is_the_operators_mistake(key):
    with pytest.raises(ValueError, match="key"):
        decrypt_onenet(pushed(json.dumps(encrypted()), key="enc_msg", signed=""), key)
