"""Every channel x every way a notice can be wrong, over a socket: kept with why, nothing moved.

What a channel's notices do not carry cannot be wrong in them, and stands in NOT_SAID with why.
"""

import re
import threading

import pytest
import requests
from werkzeug.serving import make_server

from backend.base.db import db
from backend.cashier import service
from backend.cashier.models import PaymentOrder, RawNotice
from backend.ledger import service as ledger
from tests import builders
from tests.cashier.till import DOORS, alice, merchant, newest, tap

__all__ = ["alice", "tap"]

CHANNELS = {door.channel: door for door in DOORS}
PATHS = {"wechat": "wechatpay", "alipay": "alipay", "unionpay": "unionpay"}
ANSWERS = {"wechat": (204, b""), "alipay": (200, b"success"), "unionpay": (200, b"ok")}
NOT_SAID = {
    ("wrong_currency", "alipay"): "its notices name no currency; amounts are in yuan by contract",
    ("clock_off", "unionpay"): "its notices are not dated; each is only a reason to ask",
    ("unknown_key", "alipay"): "its notices name no key; another key's is a forged signature",
}
# fault -> {channel: why it is refused}; ordered of the sandbox, which signs what is wrong in it.
SPOKEN = {
    "forged": ("forged_signature", dict.fromkeys(CHANNELS, "signature")),
    "wrong_merchant": ("wrong_mchid", dict.fromkeys(CHANNELS, "wrong_merchant")),
    "wrong_currency": ("wrong_currency", dict.fromkeys(CHANNELS, "wrong_currency")),
    "clock_off": ("stale", dict.fromkeys(CHANNELS, "timestamp")),
    "unknown_key": ("wrong_serial", dict.fromkeys(CHANNELS, "serial_unknown")),
    "field_missing": ("malformed", dict.fromkeys(CHANNELS, "malformed")),
}


def truncated(channel, headers, body):
    return headers, body[: len(body) * 2 // 3]


def not_base64(channel, headers, body):
    if channel == "wechat":
        return headers | {"Wechatpay-Signature": "!!!no base64!!!"}, body
    name = "sign" if channel == "alipay" else "signature"
    return headers, re.sub(rf"(?<=\b{name}=)[^&]*".encode(), b"%21%21no+base64%21%21", body)


def empty(channel, headers, body):
    return headers, b""


def noise(channel, headers, body):
    return headers, bytes(range(256)) * 4


# fault -> (what the wire did to a genuine notice, {channel: why it is refused})
SPOILT = {
    "truncated": (truncated, {"wechat": "signature", "alipay": "signature", "unionpay": "*"}),
    "malformed_base64": (not_base64, dict.fromkeys(CHANNELS, "signature")),
    "empty": (empty, {"wechat": "signature", "alipay": "*", "unionpay": "*"}),
    "noise": (noise, {"wechat": "signature", "alipay": "malformed", "unionpay": "malformed"}),
}
SAID = [(f, c) for f in SPOKEN for c in CHANNELS if (f, c) not in NOT_SAID]


@pytest.fixture
def app(database, clock, sandbox, hook):
    """A merchant whose notices come over HTTP."""
    with merchant(database, clock, sandbox, hook) as application:
        yield application


@pytest.fixture
def url(app):
    """The application behind a real socket."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}/webhooks"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def notice(alice, clock, tap, phone, hook):
    """Pay a bill of 123.45 yuan over a channel; the order and its notice, held back until now."""

    def run(channel, mode="", target="payment_notice", **params):
        bill = builders.make_bill(alice.household, 12345)
        order, pay = service.create_order(alice.id, [bill.id], CHANNELS[channel], clock.now())
        if mode:
            phone.behave(target, mode, match=order.out_trade_no, params=params)
        with hook.arrived:
            hook.received.clear()
        tap(CHANNELS[channel], pay)
        found = hook.wait() if channel == "wechat" else newest(hook, order.out_trade_no)
        return order, found

    return run


def send(url, channel, headers, body):
    kept = {k: v for k, v in headers.items() if k.lower().startswith(("wechatpay", "content-type"))}
    return requests.post(f"{url}/{PATHS[channel]}", data=body, headers=kept, timeout=10)


def refused(url, order, channel, headers, body, why):
    answer = send(url, channel, headers, body)
    assert answer.status_code == 400
    assert answer.json()["code"] == "notice_rejected"
    db.session.expire_all()
    kept = db.session.query(RawNotice).filter_by(channel=channel).one()
    assert bytes(kept.body) == body and kept.outcome == "rejected"
    assert kept.detail == why if why != "*" else kept.detail
    assert service.order_view(order.out_trade_no)["state"] == "paying"
    assert ledger.balance_fen(f"clearing:{channel}") == 0
    assert ledger.check() == []


def taken(url, channel, headers, body):
    answer = send(url, channel, headers, body)
    assert (answer.status_code, answer.content) == ANSWERS[channel]
    db.session.expire_all()
    return [row.outcome for row in db.session.query(RawNotice).order_by(RawNotice.id)]


@pytest.mark.parametrize(("fault", "channel"), SAID)
def test_what_is_wrong_in_a_notice_is_refused(url, notice, fault, channel):
    mode, why = SPOKEN[fault]
    order, found = notice(channel, mode)
    refused(url, order, channel, *found, why[channel])


@pytest.mark.parametrize("channel", CHANNELS)
@pytest.mark.parametrize("fault", SPOILT)
def test_what_the_wire_has_spoilt_is_refused_and_the_whole_one_still_counts(
    url, notice, fault, channel
):
    spoil, why = SPOILT[fault]
    order, found = notice(channel)
    refused(url, order, channel, *spoil(channel, *found), why[channel])
    assert taken(url, channel, *found) == ["rejected", "posted"]
    assert ledger.balance_fen(f"clearing:{channel}") == 12345


@pytest.mark.parametrize("channel", CHANNELS)
def test_an_oversize_one_is_refused_unread_and_not_kept(url, notice, channel):
    order, (headers, body) = notice(channel)
    answer = send(url, channel, headers, body + b"&x=" + b"x" * 70_000)
    assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
    assert db.session.query(RawNotice).count() == 0
    assert service.order_view(order.out_trade_no)["state"] == "paying"


@pytest.mark.parametrize("channel", CHANNELS)
def test_a_replay_is_taken_and_counts_once(url, notice, channel):
    _order, found = notice(channel)
    taken(url, channel, *found)
    assert taken(url, channel, *found) == ["posted", "repeat"]
    assert ledger.balance_fen(f"clearing:{channel}") == 12345
    assert ledger.check() == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_another_sum_is_parked_and_pays_no_bill(url, notice, channel):
    order, found = notice(channel, "wrong_amount", target="payment", amount_fen=12000)
    assert taken(url, channel, *found) == ["parked"]
    assert service.order_view(order.out_trade_no)["state"] == "parked"
    assert ledger.balance_fen(f"suspense:{channel}") == -12000
    assert ledger.balance_fen(f"receivable:heat:{order.household_id}") == 12345
    assert ledger.check() == []


@pytest.mark.parametrize("channel", CHANNELS)
def test_an_unknown_order_is_kept_and_moves_nothing(url, notice, channel):
    order, found = notice(channel)
    other = order.out_trade_no[:-1] + "#"
    db.session.query(PaymentOrder).filter_by(id=order.id).update({"out_trade_no": other})
    db.session.commit()
    assert taken(url, channel, *found) == ["unknown_order"]
    assert ledger.balance_fen(f"clearing:{channel}") == 0


@pytest.mark.parametrize("channel", CHANNELS)
def test_fifty_copies_at_once_are_answered_and_count_once(url, notice, in_threads, channel):
    _order, found = notice(channel)
    answers = in_threads(50, lambda _n: send(url, channel, *found).status_code)
    assert set(answers) == {ANSWERS[channel][0]}
    assert ledger.balance_fen(f"clearing:{channel}") == 12345
    assert ledger.check() == []
