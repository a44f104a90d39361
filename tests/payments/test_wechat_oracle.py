"""The public SDK wechatpayv3 as an independent witness: both sides of every signature."""

import json

import pytest
from wechatpayv3 import WeChatPay as Oracle
from wechatpayv3 import WeChatPayType
from wechatpayv3.utils import aes_decrypt, build_authorization, load_private_key, rsa_verify

from payments.sandbox.signing import Platform, SignatureRefused
from payments.wechat_crypto import decrypt, encrypt
from payments.wechat_transport import Transport


@pytest.fixture
def oracle(keys, sandbox, monkeypatch):
    """The SDK in public-key mode, its gateway turned to the sandbox."""
    made = Oracle(
        wechatpay_type=WeChatPayType.JSAPI,
        mchid=keys.mchid,
        private_key=keys.merchant_key_path.read_text(),
        cert_serial_no=keys.merchant_serial,
        appid=keys.appid,
        apiv3_key=keys.api_v3_key,
        public_key=keys.public_key_path.read_text(),
        public_key_id=keys.public_key_id,
        timeout=(3, 8),
    )
    monkeypatch.setattr(made._core, "_gate_way", sandbox.url)
    return made


@pytest.fixture
def certificate_oracle(keys, sandbox, monkeypatch):
    """The SDK in certificate mode: it fetches them from the sandbox by itself."""
    from wechatpayv3.core import Core

    start = Core._init_certificates
    monkeypatch.setattr(
        Core,
        "_init_certificates",
        lambda core: (setattr(core, "_gate_way", sandbox.url), start(core))[1],
    )
    return Oracle(
        wechatpay_type=WeChatPayType.JSAPI,
        mchid=keys.mchid,
        private_key=keys.merchant_key_path.read_text(),
        cert_serial_no=keys.merchant_serial,
        appid=keys.appid,
        apiv3_key=keys.api_v3_key,
        timeout=(3, 8),
    )


@pytest.fixture(params=["oracle", "certificate_oracle"])
def either(request):
    return request.getfixturevalue(request.param)


def created(sdk, order):
    return sdk.pay(
        description=order.description,
        out_trade_no=order.out_trade_no,
        amount={"total": order.amount_fen, "currency": "CNY"},
        payer={"openid": order.payer_id},
        notify_url=order.notify_url,
    )


def test_the_sandbox_takes_the_sdks_requests_and_the_sdk_its_answers(either, new_order):
    order = new_order()
    code, message = created(either, order)
    assert (code, list(json.loads(message))) == (200, ["prepay_id"])
    code, message = either.query(out_trade_no=order.out_trade_no)
    assert json.loads(message)["trade_state"] == "NOTPAY"
    assert either.close(out_trade_no=order.out_trade_no)[0] == 204


def test_the_sdk_opens_the_sandboxs_notices(
    either, channel, new_order, tap, webhook, clock, order_behaviour, request
):
    certificate = "certificate" in request.node.callspec.params["either"]
    order_behaviour("signing", "certificate" if certificate else "public_key")
    order = new_order(amount_fen=777)
    tap(channel.create(order).fields)
    headers, body = webhook.wait(1)[0]
    opened = either.callback(headers, body)
    ours = channel.parse_notice(headers, body, clock())
    assert opened["event_type"] == ours.event_type
    assert opened["resource"] == json.loads(ours.plain)
    assert opened["resource"]["amount"]["total"] == ours.trade.amount_fen == 777


def test_the_client_takes_a_pay_sign_made_by_the_sdk(oracle, new_order, tap, keys):
    order = new_order()
    package = "prepay_id=" + json.loads(created(oracle, order)[1])["prepay_id"]
    fields = {
        "appId": keys.appid,
        "timeStamp": "1800000000",
        "nonceStr": "ABCDEF",
        "package": package,
        "signType": "RSA",
    }
    pay_sign = oracle.sign([keys.appid, "1800000000", "ABCDEF", package])
    assert tap({**fields, "paySign": pay_sign}).json()["trade_state"] == "SUCCESS"


def test_our_pay_sign_is_the_one_the_sdk_makes(channel, oracle):
    fields = channel.client_pay("wx201").fields
    signed = [fields[name] for name in ("appId", "timeStamp", "nonceStr", "package")]
    assert oracle.sign(signed) == fields["paySign"]


def test_the_sdk_refunds_and_fetches_the_statement(oracle, channel, new_order, tap, clock):
    order = new_order(amount_fen=1000)
    tap(channel.create(order).fields)
    code, message = oracle.refund(
        out_refund_no="SDK" + order.out_trade_no,
        out_trade_no=order.out_trade_no,
        amount={"refund": 300, "total": 1000, "currency": "CNY"},
    )
    assert (code, json.loads(message)["amount"]["payer_refund"]) == (200, 300)
    code, message = oracle.query_refund("SDK" + order.out_trade_no)
    assert json.loads(message)["status"] == "SUCCESS"
    day = clock().astimezone().date()
    clock.offset_s += 86400 + 86400
    # the SDK signs by the real clock, so its request is stale now and must be refused
    assert oracle.trade_bill(day.isoformat())[0] == 401


def test_the_sdk_downloads_a_published_statement(
    oracle, channel, new_order, tap, clock, order_behaviour
):
    from payments.sandbox.tradebill import BEIJING

    order = new_order(amount_fen=1000)
    tap(channel.create(order).fields)
    day = clock().astimezone(BEIJING).date().isoformat()
    order_behaviour("statement", "publish", match=day)
    code, message = oracle.trade_bill(day, tar_type="")
    assert code == 200
    code, data = oracle.download_bill(json.loads(message)["download_url"])
    assert code == 200
    assert order.out_trade_no in data.decode("utf-8-sig")


def test_our_authorization_verifies_by_the_sdks_own_rsa(config, clock, keys):
    transport = Transport(config, clock)
    header = transport.authorization("POST", "/v3/x?a=1", b'{"a":1}')
    given = dict(part.split("=", 1) for part in header.split(" ", 1)[1].split(","))
    given = {name: value.strip('"') for name, value in given.items()}
    public = transport.merchant_key.public_key()
    # the SDK's verifier knows the answer's three lines; the request's first two go in front
    stamp = f"POST\n/v3/x?a=1\n{given['timestamp']}"
    assert rsa_verify(stamp, given["nonce_str"], '{"a":1}', given["signature"], public)


def test_the_sandbox_refuses_the_sdks_signature_over_another_body(keys, clock):
    key = load_private_key(keys.merchant_key_path.read_text())
    header = build_authorization("/v3/x", "POST", keys.mchid, keys.merchant_serial, key, '{"a":1}')
    platform = Platform(keys)
    platform.check_request("POST", "/v3/x", header, b'{"a":1}', clock())
    for method, target, body in [
        ("POST", "/v3/x", b'{"a":2}'),
        ("POST", "/v3/y", b'{"a":1}'),
        ("GET", "/v3/x", b'{"a":1}'),
    ]:
        with pytest.raises(SignatureRefused):
            platform.check_request(method, target, header, body, clock())


def test_sealed_resources_open_both_ways(keys):
    from base64 import b64encode

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    key = keys.api_v3_key
    ours = encrypt(key.encode(), "0123456789ab", "refund", "暖".encode())
    assert aes_decrypt("0123456789ab", ours, "refund", key) == "暖"
    theirs = AESGCM(key.encode()).encrypt(b"0123456789ab", "暖".encode(), b"refund")
    opened = decrypt(key.encode(), "0123456789ab", "refund", b64encode(theirs).decode())
    assert opened == "暖".encode()
