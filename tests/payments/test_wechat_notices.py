"""Every reason for which a notice is not believed, and how the platform goes on after it."""

import base64
import json
from datetime import timedelta

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from payments import wechat_crypto
from payments.channel import NoticeRejected
from payments.rsa2 import sign
from payments.sandbox.keys import read_private_key
from payments.wechat_crypto import answer_message, encrypt

TRANSACTION = {
    "trade_state": "SUCCESS",
    "out_trade_no": "ORDER-0001",
    "transaction_id": "4200000000000000000000000001",
    "success_time": "2026-11-20T08:00:00+08:00",
    "payer": {"openid": "oAlice-000001"},
    "amount": {"total": 100, "payer_total": 100, "currency": "CNY", "payer_currency": "CNY"},
}


@pytest.fixture
def forge(keys, clock):
    """A notice made by hand, signed with the platform's real key; anything can be changed."""
    platform_key = read_private_key(keys.public_key_private_path)

    def make(plain=None, event="TRANSACTION.SUCCESS", key=platform_key, envelope=(), headers=()):
        data = {"mchid": keys.mchid, "appid": keys.appid, **TRANSACTION, **(plain or {})}
        sealed = json.dumps(data).encode()
        resource = {
            "original_type": "transaction",
            "algorithm": "AEAD_AES_256_GCM",
            "nonce": "0123456789ab",
            "associated_data": "transaction",
            "ciphertext": encrypt(keys.api_v3_key.encode(), "0123456789ab", "transaction", sealed),
        }
        body = {
            "id": "EV-1",
            "create_time": "2026-11-20T08:00:00+08:00",
            "resource_type": "encrypt-resource",
            "event_type": event,
            "summary": "支付成功",
            "resource": resource,
        }
        raw = json.dumps(body | dict(envelope)).encode()
        return _signed(raw, key, dict(headers)), raw

    def _signed(raw, key, changed):
        timestamp = changed.get("Wechatpay-Timestamp", str(int(clock().timestamp())))
        try:
            signature = sign(key, answer_message(timestamp, "NONCE", raw))
        except UnicodeEncodeError:
            signature = "x"
        given = {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": "NONCE",
            "Wechatpay-Serial": keys.public_key_id,
            "Wechatpay-Signature": signature,
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
        }
        return {k: v for k, v in (given | changed).items() if v is not None}

    return make


def rejection(channel, notice, now) -> str:
    with pytest.raises(NoticeRejected) as error:
        channel.parse_notice(*notice, now)
    return error.value.code


def test_a_notice_made_by_hand_is_believed_when_nothing_is_changed(channel, forge, clock):
    notice = channel.parse_notice(*forge(), clock())
    assert (notice.notice_id, notice.trade.amount_fen) == ("EV-1", 100)
    assert json.loads(notice.plain)["out_trade_no"] == "ORDER-0001"


def test_header_names_are_read_without_regard_to_case(channel, forge, clock):
    headers, raw = forge()
    lowered = {name.lower(): value for name, value in headers.items()}
    assert channel.parse_notice(lowered, raw, clock()).trade.amount_fen == 100


@pytest.mark.parametrize("name", ["Timestamp", "Nonce", "Serial", "Signature"])
def test_a_notice_without_one_of_its_headers_is_rejected(channel, forge, clock, name):
    notice = forge(headers={f"Wechatpay-{name}": None})
    assert rejection(channel, notice, clock()) == "header_missing"


@pytest.mark.parametrize("off_s", [-302, 302])
def test_a_timestamp_more_than_five_minutes_off_is_rejected(channel, forge, clock, off_s):
    assert rejection(channel, forge(), clock() + timedelta(seconds=off_s)) == "timestamp"


@pytest.mark.parametrize("off_s", [-298, 298])
def test_a_timestamp_within_five_minutes_is_taken(channel, forge, clock, off_s):
    assert channel.parse_notice(*forge(), clock() + timedelta(seconds=off_s))


@pytest.mark.parametrize("text", ["soon", "-1", "1e9", "٣٤", "9" * 40])
def test_a_timestamp_that_is_no_number_is_rejected(channel, forge, clock, text):
    notice = forge(headers={"Wechatpay-Timestamp": text})
    assert rejection(channel, notice, clock()) == "timestamp"


def test_a_probe_is_rejected(channel, forge, clock):
    notice = forge(headers={"Wechatpay-Signature": "WECHATPAY/SIGNTEST/abc="})
    assert rejection(channel, notice, clock()) == "probe"


def test_another_signature_type_is_rejected(channel, forge, clock):
    notice = forge(headers={"Wechatpay-Signature-Type": "WECHATPAY2-SM2-WITH-SM3"})
    assert rejection(channel, notice, clock()) == "signature_type"


@pytest.mark.parametrize("serial", ["PUB_KEY_ID_0", "5157F09E", "not a serial", "0", "А" * 9])
def test_an_unknown_serial_is_rejected(channel, forge, clock, serial):
    notice = forge(headers={"Wechatpay-Serial": serial})
    assert rejection(channel, notice, clock()) == "serial_unknown"


@pytest.mark.parametrize("signature", ["", "!!!", "AAAA", base64.b64encode(b"x" * 256).decode()])
def test_a_signature_that_is_none_is_rejected(channel, forge, clock, signature):
    notice = forge(headers={"Wechatpay-Signature": signature})
    assert rejection(channel, notice, clock()) in ("signature", "header_missing")


def test_a_strangers_signature_is_rejected(channel, forge, clock):
    stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    assert rejection(channel, forge(key=stranger), clock()) == "signature"


def test_a_body_changed_by_one_space_is_rejected(channel, forge, clock):
    headers, raw = forge()
    assert rejection(channel, (headers, raw.replace(b": ", b":", 1)), clock()) == "signature"


@pytest.mark.parametrize(
    ("plain", "code"),
    [
        ({"mchid": "1900000999"}, "wrong_merchant"),
        ({"appid": "wx0000"}, "wrong_appid"),
        ({"amount": {"total": 100, "currency": "USD"}}, "wrong_currency"),
        ({"amount": {"total": 100}}, "wrong_currency"),
        ({"amount": {"total": "100", "currency": "CNY"}}, "malformed"),
        ({"amount": {"total": True, "currency": "CNY"}}, "malformed"),
        ({"amount": {"total": 1.0, "currency": "CNY"}}, "malformed"),
        ({"amount": {"total": 0, "currency": "CNY"}}, "malformed"),
        ({"amount": {"total": -100, "currency": "CNY"}}, "malformed"),
        ({"amount": None}, "malformed"),
        ({"out_trade_no": None}, "malformed"),
        ({"transaction_id": ""}, "malformed"),
        ({"success_time": "2026-11-20T08:00:00"}, "malformed"),
        ({"success_time": "yesterday"}, "malformed"),
        ({"payer": []}, "malformed"),
        ({"trade_state": "NOTPAY"}, "malformed"),
        ({"trade_state": "MAYBE"}, "malformed"),
    ],
)
def test_a_signed_notice_about_something_else_is_rejected(channel, forge, clock, plain, code):
    assert rejection(channel, forge(plain), clock()) == code


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        ({"event_type": "COUPON.USE"}, "event_unknown"),
        ({"event_type": None}, "malformed"),
        ({"resource": None}, "malformed"),
        ({"resource_type": "plain"}, "malformed"),
        ({"id": ""}, "malformed"),
        ({"create_time": "now"}, "malformed"),
        ({"resource": {"algorithm": "NONE"}}, "malformed"),
        (
            {
                "resource": {
                    "algorithm": "AEAD_AES_256_GCM",
                    "nonce": "short",
                    "ciphertext": "AAAA",
                    "associated_data": "",
                }
            },
            "decrypt",
        ),
        (
            {
                "resource": {
                    "algorithm": "AEAD_AES_256_GCM",
                    "nonce": "\ud800" * 12,
                    "ciphertext": "AAAA",
                }
            },
            "decrypt",
        ),
    ],
)
def test_a_signed_envelope_that_makes_no_sense_is_rejected(channel, forge, clock, envelope, code):
    assert rejection(channel, forge(envelope=envelope), clock()) == code


@pytest.mark.parametrize("raw", [b"", b"[]", b"\xff", b"{", b"null", b"[" * 100_000])
def test_a_signed_body_that_is_no_json_object_is_rejected(channel, keys, clock, raw):
    key = read_private_key(keys.public_key_private_path)
    timestamp = str(int(clock().timestamp()))
    headers = {
        "Wechatpay-Timestamp": timestamp,
        "Wechatpay-Nonce": "N",
        "Wechatpay-Serial": keys.public_key_id,
        "Wechatpay-Signature": sign(key, answer_message(timestamp, "N", raw)),
    }
    assert rejection(channel, (headers, raw), clock()) == "malformed"


ORDERED = {
    "forged_signature": "signature",
    "wrong_serial": "serial_unknown",
    "probe": "probe",
    "stale": "timestamp",
    "unsigned": "header_missing",
    "wrong_mchid": "wrong_merchant",
    "wrong_appid": "wrong_appid",
    "wrong_currency": "wrong_currency",
    "wrong_key": "decrypt",
    "malformed": "malformed",
}


@pytest.mark.parametrize(("mode", "code"), ORDERED.items())
def test_a_spoilt_notice_is_rejected_and_the_repeated_genuine_one_is_taken(
    channel, new_order, tap, webhook, clock, order_behaviour, mode, code
):
    order = new_order()
    order_behaviour("payment_notice", mode, match=order.out_trade_no)
    webhook.answers = [401]
    tap(channel.create(order).fields)
    spoilt, genuine = webhook.wait(2)
    assert rejection(channel, spoilt, clock()) == code
    assert channel.parse_notice(*genuine, clock()).trade.out_trade_no == order.out_trade_no


def test_a_forged_serial_makes_us_ask_for_certificates_once_and_forgets_none(
    channel, new_order, tap, webhook, clock, order_behaviour, sandbox, forge
):
    channel.refresh_certificates()
    url = sandbox.url + "/sandbox/calls?path=/v3/certificates"
    before = requests.get(url, timeout=5).json()["count"]
    for _ in range(5):
        forged = forge(headers={"Wechatpay-Serial": "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"})
        assert rejection(channel, forged, clock()) == "serial_unknown"
    assert requests.get(url, timeout=5).json()["count"] == before + 1
    order_behaviour("signing", "certificate")
    tap(channel.create(new_order()).fields)
    assert channel.parse_notice(*webhook.wait(1)[0], clock())


def test_notices_signed_by_certificate_and_by_public_key_are_both_taken(
    channel, new_order, tap, webhook, clock, order_behaviour, keys
):
    serials = []
    for count, mode in enumerate(["public_key", "certificate", "public_key"], 1):
        order_behaviour("signing", mode)
        tap(channel.create(new_order()).fields)
        headers, body = webhook.wait(count)[-1]
        serials.append(headers["Wechatpay-Serial"])
        assert channel.parse_notice(headers, body, clock()).trade
    assert serials == [keys.public_key_id, keys.platform_serial, keys.public_key_id]


def test_an_expired_certificate_is_not_believed(keys, clock):
    from cryptography import x509

    certificate = x509.load_pem_x509_certificate(keys.platform_cert_path.read_bytes())
    held = wechat_crypto.PlatformKeys({}, {keys.platform_serial: certificate})
    assert held.find(keys.platform_serial.lower(), clock()) is not None
    assert held.find("00" + keys.platform_serial, clock()) is not None
    assert held.find(keys.platform_serial, clock() + timedelta(days=365 * 20)) is None
