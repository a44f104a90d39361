"""The Alipay channel against the sandbox's gateway: real signatures, real sockets."""

import base64
import threading
import time
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
import requests

from payments.alipay import Alipay
from payments.alipay_gateway import top_level
from payments.channel import (
    ChannelError,
    NoticeRejected,
    OrderRequest,
    PayWay,
    RefundRequest,
    RefundStatus,
    TradeStatus,
)
from payments.rsa2 import load_private_key, load_public_key, sign, verifies
from payments.sandbox.alipay_keys import ensure_alipay_keys


def refund_of(order: OrderRequest, number: str, fen: int) -> RefundRequest:
    return RefundRequest(order.out_trade_no, number, fen, order.amount_fen, "退", order.notify_url)


def code_of(error) -> tuple[str, bool]:
    return error.value.code, error.value.permanent


def test_a_mini_program_order_is_paid_notified_and_known(alipay, order, pay, webhook, clock):
    asked = order()
    client = alipay.create(asked)
    assert client.fields["tradeNO"] == client.prepay_id
    assert alipay.create(asked).prepay_id == client.prepay_id
    assert alipay.query(asked.out_trade_no).status is TradeStatus.PENDING
    assert pay(asked.out_trade_no).status_code == 200
    notice = alipay.parse_notice(*webhook.wait(1)[0], clock())
    state = alipay.query(asked.out_trade_no)
    assert notice.trade == state
    assert (state.status, state.amount_fen) == (TradeStatus.PAID, 123_45)
    assert state.transaction_id == client.prepay_id


def test_a_code_is_shown_and_paid_though_the_trade_does_not_exist_before(alipay, order, pay):
    asked = order(way=PayWay.QR)
    assert alipay.create(asked).fields["code_url"].startswith("http")
    assert alipay.query(asked.out_trade_no).status is TradeStatus.PENDING
    pay(asked.out_trade_no)
    assert alipay.query(asked.out_trade_no).status is TradeStatus.PAID


def test_a_browser_is_sent_to_the_cash_desk_and_comes_back(alipay, order, sandbox):
    asked = order(way=PayWay.WAP, return_url="http://127.0.0.1:9/back")
    page = requests.get(alipay.create(asked).fields["url"], timeout=5)
    assert page.status_code == 200
    assert "¥123.45" in page.text
    paid = requests.post(page.url, timeout=5, allow_redirects=False)
    assert (paid.status_code, paid.headers["Location"]) == (303, "http://127.0.0.1:9/back")
    assert alipay.query(asked.out_trade_no).status is TradeStatus.PAID


def test_an_unpaid_order_is_closed_and_a_paid_one_is_not(alipay, order, pay):
    unpaid, paid, unopened = order(), order(), order(way=PayWay.QR)
    for one in (unpaid, paid, unopened):
        alipay.create(one)
    pay(paid.out_trade_no)
    alipay.close(unpaid.out_trade_no)
    alipay.close(unpaid.out_trade_no)
    alipay.close(unopened.out_trade_no)
    assert alipay.query(unpaid.out_trade_no).status is TradeStatus.CLOSED
    with pytest.raises(ChannelError) as error:
        alipay.close(paid.out_trade_no)
    assert code_of(error) == ("order_paid", True)
    for one, code in ((unpaid, "order_closed"), (paid, "order_paid")):
        with pytest.raises(ChannelError) as error:
            alipay.create(one)
        assert code_of(error) == (code, True)


def test_refunds_in_parts_never_exceed_the_payment(alipay, order, pay, webhook, clock):
    asked = order(1000)
    alipay.create(asked)
    pay(asked.out_trade_no)
    first = alipay.refund(refund_of(asked, "RA" + asked.out_trade_no, 400))
    assert (first.status, first.refund_fen) == (RefundStatus.SUCCESS, 400)
    assert alipay.refund(refund_of(asked, "RA" + asked.out_trade_no, 400)) == first
    with pytest.raises(ChannelError) as error:
        alipay.refund(refund_of(asked, "RA" + asked.out_trade_no, 300))
    assert code_of(error) == ("number_used", True)
    with pytest.raises(ChannelError) as error:
        alipay.refund(refund_of(asked, "RB" + asked.out_trade_no, 601))
    assert code_of(error) == ("request_invalid", True)
    alipay.refund(refund_of(asked, "RC" + asked.out_trade_no, 600))
    assert alipay.query(asked.out_trade_no).status is TradeStatus.REFUNDED
    told = [alipay.parse_notice(h, b, clock()) for h, b in webhook.wait(3)]
    assert [n.trade.amount_fen for n in told] == [1000] * 3
    assert {n.trade.status for n in told} == {TradeStatus.PAID, TradeStatus.REFUNDED}


def test_a_refund_nobody_knows_of_is_not_found(alipay, order, pay):
    asked = order()
    alipay.create(asked)
    pay(asked.out_trade_no)
    with pytest.raises(ChannelError) as error:
        alipay.query_refund(asked.out_trade_no, "RNEVER")
    assert code_of(error) == ("refund_not_found", True)


def test_a_refund_held_back_is_underway_and_asked_for_again(
    alipay, order, pay, order_behaviour, sandbox
):
    asked = order()
    alipay.create(asked)
    pay(asked.out_trade_no)
    order_behaviour("refund", "processing", match=asked.out_trade_no)
    number = "RP" + asked.out_trade_no
    assert alipay.refund(refund_of(asked, number, 100)).status is RefundStatus.PROCESSING
    url = f"{sandbox.url}/sandbox/refunds/{number}/settle"
    assert requests.post(url, json={"status": "SUCCESS"}, timeout=5).status_code == 200
    assert alipay.refund(refund_of(asked, number, 100)).status is RefundStatus.SUCCESS


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("forged_signature", "signature"),
        ("wrong_serial", "signature"),
        ("unsigned", "signature"),
        ("sha1", "signature"),
        ("stale", "timestamp"),
        ("wrong_mchid", "wrong_merchant"),
        ("wrong_appid", "wrong_appid"),
        ("malformed", "malformed"),
    ],
)
def test_a_notice_that_may_not_count_is_rejected(
    alipay, order, pay, webhook, clock, order_behaviour, mode, code
):
    asked = order()
    alipay.create(asked)
    order_behaviour("payment_notice", mode, match=asked.out_trade_no)
    pay(asked.out_trade_no)
    with pytest.raises(NoticeRejected) as rejected:
        alipay.parse_notice(*webhook.wait(1)[0], clock())
    assert rejected.value.code == code


def test_a_notice_for_another_sum_is_read_as_it_is(
    alipay, order, pay, webhook, clock, order_behaviour
):
    asked = order()
    alipay.create(asked)
    order_behaviour("payment_notice", "wrong_amount", params={"amount_fen": 1})
    pay(asked.out_trade_no)
    assert alipay.parse_notice(*webhook.wait(1)[0], clock()).trade.amount_fen == 1


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"&&&",
        b"sign=x",
        b"charset=klingon&sign_type=RSA2",
        b"a=1&a=2&sign_type=RSA2",
        b"subject=%ff%fe&sign_type=RSA2",
        b"&".join(b"f%d=1" % n for n in range(200)),
        b"\xff\xfe=1",
    ],
)
def test_any_body_is_an_answer_and_never_a_crash(alipay, clock, body):
    with pytest.raises(NoticeRejected):
        alipay.parse_notice({}, body, clock())


def test_a_single_changed_byte_breaks_a_notice(alipay, order, pay, webhook, clock):
    asked = order()
    alipay.create(asked)
    pay(asked.out_trade_no)
    headers, body = webhook.wait(1)[0]
    at = body.index(b"total_amount=") + len("total_amount=")
    spoilt = body[:at] + b"9" + body[at + 1 :]
    with pytest.raises(NoticeRejected):
        alipay.parse_notice(headers, spoilt, clock())


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("forged_signature", "answer_unverified"),
        ("unsigned", "answer_unverified"),
        ("error", "busy"),
        ("error_after", "busy"),
        ("http_error", "network"),
    ],
)
def test_an_answer_that_cannot_be_believed_is_a_passing_error(
    alipay, order, order_behaviour, mode, code
):
    asked = order()
    alipay.create(asked)
    order_behaviour("answer", mode, match="alipay.trade.query")
    with pytest.raises(ChannelError) as error:
        alipay.query(asked.out_trade_no)
    assert code_of(error) == (code, False)


def test_a_refund_done_but_not_answered_is_not_done_twice(
    alipay, order, pay, order_behaviour, monkeypatch
):
    asked = order(1000)
    alipay.create(asked)
    pay(asked.out_trade_no)
    monkeypatch.setattr("payments.http.READ_TIMEOUT_S", 0.3)
    order_behaviour("answer", "slow_after", match="alipay.trade.refund", params={"delay_s": 1.0})
    state = alipay.refund(refund_of(asked, "RS" + asked.out_trade_no, 700))
    assert (state.status, state.refund_fen) == (RefundStatus.SUCCESS, 700)


def test_a_wrong_key_is_refused_for_good(alipay_settings, alipay_keys, clock, order):
    stranger = ensure_alipay_keys(alipay_keys.directory.parent / "keys-of-a-stranger")
    wrong = replace(alipay_settings, private_key=stranger.app_key_path.read_bytes())
    channel = Alipay(wrong, clock)
    with pytest.raises(ChannelError) as error:
        channel.create(order())
    assert code_of(error) == ("signature_refused", True)
    channel.close_connections()


def test_requests_carry_beijings_time_whatever_the_machines_zone(alipay, order, monkeypatch):
    monkeypatch.setenv("TZ", "America/New_York")
    time.tzset()
    try:
        assert alipay.create(order()).prepay_id
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()


def test_a_gateway_that_hangs_up_is_a_passing_error(alipay_settings, clock, order):
    """alipay-sdk-python lets a raw error out here."""

    class Rude(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.connection.close()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Rude)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    channel = Alipay(replace(alipay_settings, gateway_url=url), clock)
    try:
        with pytest.raises(ChannelError) as error:
            channel.query(order().out_trade_no)
        assert code_of(error) == ("network", False)
    finally:
        channel.close_connections()
        server.shutdown()
        thread.join()
        server.server_close()


def test_keys_come_as_pem_and_as_bare_base64():
    from cryptography.hazmat.primitives import serialization as s
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    forms = [
        key.private_bytes(encoding, form, s.NoEncryption())
        for encoding in (s.Encoding.PEM, s.Encoding.DER)
        for form in (s.PrivateFormat.PKCS8, s.PrivateFormat.TraditionalOpenSSL)
    ]
    texts = [form if form.startswith(b"-----") else base64.b64encode(form) for form in forms]
    assert len({load_private_key(text).private_numbers() for text in texts}) == 1
    public = key.public_key().public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    assert verifies(load_public_key(base64.b64encode(public)), b"x", sign(key, b"x"))
    with pytest.raises(ValueError, match="neither PEM nor base64"):
        load_private_key(b"*** no key ***")


def test_a_malformed_signature_is_an_answer_and_not_a_crash(alipay):
    key = alipay._gateway.public_key
    for bad in ("", "====", "ä", "AAAA", "x" * 4000):
        assert not verifies(key, b"message", bad)


def test_the_signed_text_is_taken_as_it_stands():
    text = '{ "a_response" : {"x":"1\\/2", "y":{"z":[1,2]}} , "sign":"s"}'
    members = top_level(text)
    assert members["a_response"][0] == '{"x":"1\\/2", "y":{"z":[1,2]}}'
    for bad in ('{"a":1,"a":2}', '{"a":1}x', "[1]", '{"a"', '{"a":}', "", '{"a":1,}'):
        with pytest.raises(ValueError):
            top_level(bad)


def test_an_order_the_channel_has_no_way_for_is_a_mistake_of_ours(alipay, order):
    with pytest.raises(ValueError, match="official"):
        alipay.create(order(way=PayWay.OFFICIAL, payer_id="x"))


def test_an_expired_order_cannot_be_paid(alipay, order, pay, clock):
    asked = order(expires_at=clock() + timedelta(seconds=60))
    alipay.create(asked)
    clock.offset_s = 120
    assert pay(asked.out_trade_no).status_code == 400
