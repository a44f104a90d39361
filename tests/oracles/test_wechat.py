"""WeChat Pay v3 against wechatpay-axios-plugin: what one signs or seals, the other takes."""

import base64
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import rsa2, wechat_cards, wechat_crypto
from payments.sandbox.signing import Platform, SignatureRefused
from payments.wechat import WeChatPay, WeChatPayConfig
from payments.wechat_crypto import PlatformKeys, Untrusted, verify_signed
from payments.wechat_transport import Transport
from tests.oracles import drawn
from tests.oracles.conftest import Refused

bodies = st.dictionaries(drawn.words, drawn.texts, max_size=4).map(
    lambda body: json.dumps(body, ensure_ascii=False).replace("\\\\/", "\\/")
)
targets = st.builds(lambda path, value: f"/v3/{path}?note={value}", drawn.words, drawn.words)


def at(moment):
    return datetime.fromtimestamp(moment, UTC)


@pytest.fixture(scope="module")
def config(wechat_keys):
    return WeChatPayConfig(
        mchid=wechat_keys.mchid,
        appid=wechat_keys.appid,
        merchant_serial=wechat_keys.merchant_serial,
        merchant_key_pem=wechat_keys.merchant_key_path.read_bytes(),
        api_v3_key=wechat_keys.api_v3_key.encode(),
        public_keys={wechat_keys.public_key_id: wechat_keys.public_key_path.read_bytes()},
    )


@pytest.fixture(scope="module")
def merchant_certificate(wechat_keys):
    return wechat_keys.merchant_cert_path.read_text()


@drawn.patient
@given(method=st.sampled_from(["GET", "POST"]), target=targets, body=bodies, moment=drawn.moments)
def test_it_believes_our_requests(
    oracle, config, merchant_certificate, method, target, body, moment
):
    header = Transport(config, lambda: at(moment)).authorization(method, target, body.encode())
    told = dict(part.split("=", 1) for part in header.split(" ", 1)[1].split(","))
    told = {name: value.strip('"') for name, value in told.items()}
    asked = {
        "key": merchant_certificate,
        "method": method,
        "target": target,
        "timestamp": told["timestamp"],
        "nonce": told["nonce_str"],
        "body": body,
        "signature": told["signature"],
    }
    assert oracle.wechat_request_holds(**asked)
    assert not oracle.wechat_request_holds(**asked | {"body": body + " "})
    assert not oracle.wechat_request_holds(**asked | {"target": drawn.spoilt(target, moment)})


@drawn.patient
@given(target=targets, body=bodies, moment=drawn.moments, nonce=drawn.nonces)
def test_the_sandbox_believes_its_requests(oracle, wechat_keys, target, body, moment, nonce):
    header = oracle.wechat_request(
        key=wechat_keys.merchant_key_path.read_text(),
        method="POST",
        target=target,
        timestamp=str(moment),
        nonce=nonce,
        body=body,
        mchid=wechat_keys.mchid,
        serial=wechat_keys.merchant_serial,
    )
    platform = Platform(wechat_keys)
    platform.check_request("POST", target, header, body.encode(), at(moment))
    with pytest.raises(SignatureRefused):
        platform.check_request("POST", target, header, body.encode() + b" ", at(moment))


@drawn.patient
@given(body=bodies, moment=drawn.moments)
@pytest.mark.parametrize("signer", ["public_key", "certificate"])
def test_it_believes_the_sandboxs_answers_and_notices(oracle, wechat_keys, signer, body, moment):
    headers = Platform(wechat_keys).signed_headers(body.encode(), at(moment), signer)
    key = wechat_keys.public_key_path if signer == "public_key" else wechat_keys.platform_cert_path
    asked = {
        "key": key.read_text(),
        "timestamp": headers["Wechatpay-Timestamp"],
        "nonce": headers["Wechatpay-Nonce"],
        "body": body,
        "signature": headers["Wechatpay-Signature"],
    }
    assert oracle.wechat_answer_holds(**asked)
    assert not oracle.wechat_answer_holds(**asked | {"body": drawn.spoilt(body, moment)})


@drawn.patient
@given(body=bodies, moment=drawn.moments, nonce=drawn.nonces)
def test_we_believe_its_answers_and_notices(oracle, wechat_keys, body, moment, nonce):
    signature = oracle.wechat_answer(
        key=wechat_keys.public_key_private_path.read_text(),
        timestamp=str(moment),
        nonce=nonce,
        body=body,
    )
    headers = {
        "Wechatpay-Timestamp": str(moment),
        "Wechatpay-Nonce": nonce,
        "Wechatpay-Serial": wechat_keys.public_key_id,
        "Wechatpay-Signature": signature,
    }
    public = rsa2.load_public_key(wechat_keys.public_key_path.read_bytes())
    keys = PlatformKeys({wechat_keys.public_key_id: public})
    verify_signed(keys, headers, body.encode(), at(moment))
    with pytest.raises(Untrusted):
        verify_signed(keys, headers, drawn.spoilt(body, moment).encode(), at(moment))
    wrong = {**headers, "Wechatpay-Signature": drawn.spoilt(signature, 7)}
    with pytest.raises(Untrusted):
        verify_signed(keys, wrong, body.encode(), at(moment))


@drawn.patient
@given(prepay_id=drawn.words, moment=drawn.moments)
def test_each_takes_the_others_client_pay_signature(
    oracle, config, wechat_keys, merchant_certificate, prepay_id, moment
):
    fields = dict(WeChatPay(config, lambda: at(moment)).client_pay(prepay_id).fields)
    lines = [fields[name] for name in ("appId", "timeStamp", "nonceStr", "package")]
    asked = {"key": merchant_certificate, "lines": lines, "signature": fields["paySign"]}
    assert oracle.wechat_pay_holds(**asked)
    assert not oracle.wechat_pay_holds(**asked | {"lines": [*lines[:3], lines[3] + "x"]})
    platform, key = Platform(wechat_keys), wechat_keys.merchant_key_path.read_text()
    platform.check_client_pay({**fields, "paySign": oracle.wechat_pay(key=key, lines=lines)})
    with pytest.raises(SignatureRefused):
        platform.check_client_pay({**fields, "package": "prepay_id=other"})


@drawn.patient
@given(plain=bodies, nonce=st.text("0123456789abcdef", min_size=12, max_size=12), data=drawn.texts)
def test_each_opens_what_the_other_sealed(oracle, wechat_keys, plain, nonce, data):
    key = wechat_keys.api_v3_key
    asked = {"key": key, "nonce": nonce, "associated": data}
    sealed = wechat_crypto.encrypt(key.encode(), nonce, data, plain.encode())
    assert oracle.wechat_open(**asked, sealed=sealed) == plain
    theirs = oracle.wechat_seal(**asked, plain=plain)
    assert wechat_crypto.decrypt(key.encode(), nonce, data, theirs).decode() == plain
    assert theirs == sealed
    raw = bytearray(base64.b64decode(sealed))
    raw[len(raw) // 2] ^= 1
    broken = base64.b64encode(raw).decode()
    with pytest.raises(Refused):
        oracle.wechat_open(**asked, sealed=broken)
    with pytest.raises(wechat_crypto.UndecryptableError):
        wechat_crypto.decrypt(key.encode(), nonce, data, broken)


@drawn.patient
@given(text=drawn.texts.filter(lambda text: 0 < len(text.encode()) <= 200))
def test_what_is_sealed_for_the_platform_both_open(oracle, wechat_keys, text):
    """敏感信息加密: a card's number and its holder's name."""
    public, private = wechat_keys.public_key_path, wechat_keys.public_key_private_path
    ours = wechat_cards.seal(rsa2.load_public_key(public.read_bytes()), text)
    assert oracle.wechat_decrypt(key=private.read_text(), sealed=ours) == text
    theirs = oracle.wechat_encrypt(key=public.read_text(), plain=text)
    assert wechat_cards.opened(rsa2.load_private_key(private.read_bytes()), theirs) == text
