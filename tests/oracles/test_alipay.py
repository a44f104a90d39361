"""Alipay against alipay-sdk for Node: requests, answers over their raw text, notices V1 and V2."""

import json
from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import alipay_notice, rsa2
from payments.alipay_fields import FieldError
from payments.alipay_gateway import AlipayConfig, Gateway, beijing_text, canonical, top_level
from payments.channel import ChannelError
from payments.sandbox.alipay_desk import AlipayParty
from tests.oracles import drawn
from tests.oracles.conftest import Refused

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
METHOD, NODE = "alipay.trade.query", "alipay_trade_query_response"


@pytest.fixture(scope="module")
def keys(alipay_keys):
    """What the SDK is set up with: bare base64, as Alipay's console hands it out."""
    app = alipay_keys.app_key_path.read_text().strip()
    return {"appKey": app, "alipayKey": alipay_keys.alipay_public_path.read_text().strip()}


@pytest.fixture(scope="module")
def app_side(alipay_keys, keys):
    """The SDK set up to check what an app signed, as Alipay's own side does."""
    pem = alipay_keys.app_public_path.read_text().splitlines()[1:-1]
    return {**keys, "alipayKey": "".join(pem)}


@pytest.fixture(scope="module")
def gateway(alipay_keys):
    config = AlipayConfig(
        app_id=alipay_keys.app_id,
        seller_id=alipay_keys.seller_id,
        private_key=alipay_keys.app_key_path.read_bytes(),
        alipay_public_key=alipay_keys.alipay_public_path.read_bytes(),
    )
    return Gateway(config, lambda: NOW)


@pytest.fixture(scope="module")
def party(alipay_keys):
    return AlipayParty(alipay_keys)


class Asked:
    """A request as alipay-sdk-python's classes hand it out."""

    def __init__(self, biz, notify_url):
        self._params = {
            "method": METHOD,
            "version": "1.0",
            "biz_content": json.dumps(biz, ensure_ascii=False),
            "notify_url": notify_url,
        }

    def get_params(self):
        return self._params


contents = st.dictionaries(drawn.names, drawn.texts, min_size=1, max_size=4)
urls = st.sampled_from(["", "https://nuan.example/webhooks/alipay?a=1&b=%20"])


@drawn.patient
@given(biz=contents, url=urls, at=st.integers(0, 999))
def test_it_believes_our_requests(oracle, app_side, gateway, biz, url, at):
    signed = gateway.signed(Asked(biz, url))
    text = canonical({name: value for name, value in signed.items() if name != "sign"})
    assert oracle.alipay_holds(keys=app_side, text=text, sign=signed["sign"])
    spoilt = drawn.spoilt(text, at)
    assert not oracle.alipay_holds(keys=app_side, text=spoilt, sign=signed["sign"])


@drawn.patient
@given(biz=contents)
def test_the_sandbox_believes_its_requests(oracle, keys, alipay_keys, biz):
    signed = oracle.alipay_request(keys=keys, method=METHOD, params={}, biz=biz)
    app = rsa2.load_public_key(alipay_keys.app_public_path.read_bytes())
    plain = {name: value for name, value in signed.items() if name != "sign"}
    assert rsa2.verifies(app, canonical(plain).encode(), signed["sign"])
    wrong = {**plain, "biz_content": plain["biz_content"] + " "}
    assert not rsa2.verifies(app, canonical(wrong).encode(), signed["sign"])


@drawn.patient
@given(answer=contents, at=st.integers(0, 999))
def test_both_believe_the_sandboxs_answers_over_their_raw_text(
    oracle, keys, gateway, party, answer, at
):
    body = {"code": "10000", "msg": "Success", **{f"x{k}": v for k, v in answer.items()}}
    node = json.dumps(body, ensure_ascii=False, separators=(",", ":")).replace("/", "\\/")
    sign = party.sign(node)
    text = f'{{"{NODE}":{node},"sign":"{sign}"}}'
    assert oracle.alipay_answer_holds(keys=keys, text=text, node=NODE, sign=sign)
    assert gateway._opened(text.encode(), NODE) == body
    assert top_level(text)[NODE][0] == node
    other = node.replace("10000", "10001")
    with pytest.raises(Refused):
        oracle.alipay_answer_holds(keys=keys, text=text.replace(node, other), node=NODE, sign=sign)
    with pytest.raises(ChannelError):
        gateway._opened(text.replace(node, other).encode(), NODE)


def notice(alipay_keys, party, more):
    """A notice as the sandbox sends it, with awkward content in it."""
    fields = {
        "app_id": alipay_keys.app_id,
        "seller_id": alipay_keys.seller_id,
        "notify_id": "n1",
        "notify_time": beijing_text(NOW - timedelta(seconds=3)),
        "notify_type": "trade_status_sync",
        "charset": "utf-8",
        "version": "1.0",
        "out_trade_no": "N20261120",
        "trade_no": "2026112022001",
        "trade_status": "TRADE_SUCCESS",
        "total_amount": "123.45",
        "buyer_id": "2088101117955611",
        "gmt_payment": beijing_text(NOW - timedelta(seconds=5)),
        **{f"x_{name}": value for name, value in more.items()},
    }
    return {**fields, "sign_type": "RSA2", "sign": party.sign(canonical(fields))}


def read(fields, alipay_keys):
    key = rsa2.load_public_key(alipay_keys.alipay_public_path.read_bytes())
    body = urlencode(fields).encode()
    return alipay_notice.read(body, key, alipay_keys.app_id, alipay_keys.seller_id, NOW)


@drawn.patient
@given(more=contents)
def test_both_believe_the_sandboxs_notices_and_neither_a_changed_one(
    oracle, keys, alipay_keys, party, more
):
    fields = notice(alipay_keys, party, more)
    assert read(fields, alipay_keys).trade.amount_fen == 12345
    assert oracle.alipay_notice_v2(keys=keys, fields=fields)
    assert oracle.alipay_notice_v1(keys=keys, fields=fields)
    wrong = {**fields, "total_amount": "123.46"}
    with pytest.raises(FieldError):
        read(wrong, alipay_keys)
    assert not oracle.alipay_notice_v2(keys=keys, fields=wrong)
    assert not oracle.alipay_notice_v1(keys=keys, fields=wrong)


@drawn.patient
@given(more=contents, at=st.integers(0, 300))
def test_a_spoilt_signature_is_refused_by_both(oracle, keys, alipay_keys, party, more, at):
    fields = notice(alipay_keys, party, more)
    fields["sign"] = drawn.spoilt(fields["sign"].rstrip("="), at) + "=="
    with pytest.raises(FieldError):
        read(fields, alipay_keys)
    assert not oracle.alipay_notice_v2(keys=keys, fields=fields)


@drawn.patient
@given(more=contents)
def test_we_believe_a_notice_signed_with_the_other_implementations_hand(
    oracle, keys, alipay_keys, party, more
):
    fields = notice(alipay_keys, party, more)
    del fields["sign"]
    text = canonical({name: value for name, value in fields.items() if name != "sign_type"})
    key = alipay_keys.alipay_key_path.read_text()
    fields["sign"] = oracle.sha256_rsa(key=key, text=text)
    assert read(fields, alipay_keys).trade.amount_fen == 12345
