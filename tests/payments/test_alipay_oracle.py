"""An implementation nobody here wrote, Alipay's own SDK, agrees on what is signed and believed."""

import json
import time
from urllib.parse import parse_qsl

import pytest
import requests
from alipay.aop.api.AlipayClientConfig import AlipayClientConfig
from alipay.aop.api.DefaultAlipayClient import DefaultAlipayClient
from alipay.aop.api.domain.AlipayTradeQueryModel import AlipayTradeQueryModel
from alipay.aop.api.request.AlipayTradeQueryRequest import AlipayTradeQueryRequest
from alipay.aop.api.util.SignatureUtils import sign_with_rsa2, verify_with_rsa
from cryptography.hazmat.primitives import serialization as s

from payments.alipay_gateway import canonical, top_level
from payments.rsa2 import load_private_key


def pkcs1_body(pem_or_base64: bytes) -> str:
    """The key in the only form the SDK takes: PKCS #1 without its marker lines."""
    key = load_private_key(pem_or_base64)
    pem = key.private_bytes(s.Encoding.PEM, s.PrivateFormat.TraditionalOpenSSL, s.NoEncryption())
    return "".join(pem.decode().splitlines()[1:-1])


@pytest.fixture
def sdk(sandbox, alipay_keys):
    config = AlipayClientConfig()
    config.server_url = f"{sandbox.url}/gateway.do"
    config.app_id = alipay_keys.app_id
    config.app_private_key = pkcs1_body(alipay_keys.app_key_path.read_bytes())
    config.alipay_public_key = alipay_keys.alipay_public_path.read_text()
    client = DefaultAlipayClient(config)
    client.sdk_execute(query("NONE"))  # sets what its other methods read
    return client


def query(number: str) -> AlipayTradeQueryRequest:
    model = AlipayTradeQueryModel()
    model.out_trade_no = number
    return AlipayTradeQueryRequest(model)


def test_the_sandbox_believes_the_sdk_and_the_sdk_believes_the_sandbox(
    sdk,
    alipay,
    order,
    pay,
    sandbox,
    monkeypatch,
):
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    asked = order()
    alipay.create(asked)
    pay(asked.out_trade_no)
    signed = sdk.sdk_execute(query(asked.out_trade_no))
    monkeypatch.undo()
    time.tzset()
    answer = requests.post(f"{sandbox.url}/gateway.do", data=dict(parse_qsl(signed)), timeout=5)
    told = json.loads(sdk._DefaultAlipayClient__parse_response(answer.content))
    assert (told["code"], told["trade_status"]) == ("10000", "TRADE_SUCCESS")


def test_the_sdk_believes_what_we_sign(alipay, alipay_keys, order):
    signed = alipay._gateway.signed(query(order().out_trade_no))
    plain = {name: value for name, value in signed.items() if name != "sign"}
    public = "".join(alipay_keys.app_public_path.read_text().splitlines()[1:-1])
    assert verify_with_rsa(public, canonical(plain).encode(), signed["sign"])


def test_the_sdk_signs_the_same_bytes_alike(alipay, alipay_keys, order):
    signed = alipay._gateway.signed(query(order().out_trade_no))
    plain = {name: value for name, value in signed.items() if name != "sign"}
    key = pkcs1_body(alipay_keys.app_key_path.read_bytes())
    assert sign_with_rsa2(key, canonical(plain), "utf-8") == signed["sign"]


def test_the_sdk_believes_the_sandboxs_notices(
    alipay_keys,
    alipay,
    order,
    pay,
    webhook,
):
    asked = order()
    alipay.create(asked)
    pay(asked.out_trade_no)
    fields = dict(parse_qsl(webhook.wait(1)[0][1].decode(), keep_blank_values=True))
    sign = fields.pop("sign")
    fields.pop("sign_type")
    public = alipay_keys.alipay_public_path.read_text()
    assert verify_with_rsa(public, canonical(fields).encode(), sign)


def test_the_raw_text_of_an_answer_is_what_the_sdk_verifies(sdk, sandbox, alipay, order):
    asked = order()
    alipay.create(asked)
    params = alipay._gateway.signed(query(asked.out_trade_no))
    answer = requests.post(f"{sandbox.url}/gateway.do", data=params, timeout=5)
    told = sdk._DefaultAlipayClient__parse_response(answer.content)
    assert told == top_level(answer.text)["alipay_trade_query_response"][0]
