"""The sandbox keeps WeChat's habits: repeats, disorder, next day's statement, a restart."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import requests

from payments.channel import ChannelError, RefundRequest, StatementKind
from payments.sandbox.keys import ensure_keys
from payments.sandbox.server import running_sandbox
from payments.sandbox.tradebill import BEIJING
from payments.sandbox.wechat_desk import REPEATS_S
from payments.statement import RowKind
from payments.wechat import WeChatPay
from payments.wechat_statement import parse_wechat_tradebill

NUAN = str(Path(sys.executable).with_name("nuan"))


@pytest.fixture
def pay(channel, new_order, tap):
    def paid(**values):
        order = new_order(**values)
        assert tap(channel.create(order).fields).status_code == 200
        return order

    return paid


def ids_of(channel, clock, received):
    return [channel.parse_notice(headers, body, clock()).notice_id for headers, body in received]


# notices


def test_a_notice_that_is_not_acknowledged_comes_again_under_the_same_id(
    channel, pay, webhook, clock
):
    webhook.answers = [500, 302, 200]
    pay()
    received = webhook.wait(3)
    assert len(set(ids_of(channel, clock, received))) == 1
    nonces = {headers["Wechatpay-Nonce"] for headers, _ in received}
    assert len(nonces) == 3
    time.sleep(0.2)
    assert len(webhook.received) == 3


def test_the_repeats_follow_wechats_schedule():
    assert sum(REPEATS_S) == 24 * 3600 + 4 * 60
    assert len(REPEATS_S) == 15


def test_a_notice_to_order_comes_twice_although_acknowledged(
    channel, pay, webhook, clock, order_behaviour
):
    order_behaviour("payment_notice", "twice")
    pay()
    first, second = ids_of(channel, clock, webhook.wait(2))
    assert first == second


def test_a_notice_to_order_comes_late(pay, webhook, order_behaviour):
    order_behaviour("payment_notice", "late", params={"delay_s": 0.5})
    start = time.monotonic()
    pay()
    webhook.wait(1)
    assert time.monotonic() - start >= 0.5


def test_a_notice_to_order_never_comes_until_it_is_sent_by_hand(
    sandbox, pay, webhook, order_behaviour
):
    order_behaviour("payment_notice", "never")
    order = pay()
    time.sleep(0.3)
    assert webhook.received == []
    notices = requests.get(sandbox.url + "/sandbox/notices", timeout=5).json()["notices"]
    [mine] = [notice for notice in notices if notice["number"] == order.out_trade_no]
    assert mine["state"] == "dropped"
    url = f"{sandbox.url}/sandbox/notices/{mine['id']}/deliver"
    assert requests.post(url, timeout=5).status_code == 202
    webhook.wait(1)


def test_notices_to_order_come_in_the_wrong_order(channel, pay, webhook, clock, order_behaviour):
    order_behaviour("payment_notice", "out_of_order")
    order = pay()
    number = "RO" + order.out_trade_no
    channel.refund(
        RefundRequest(
            order.out_trade_no, number, 1, order.amount_fen, "室温不达标", order.notify_url
        )
    )
    kinds = [channel.parse_notice(h, b, clock()).kind.value for h, b in webhook.wait(2)]
    assert kinds == ["refund", "payment"]


def test_a_notice_of_a_wrong_amount_is_signed_all_the_same(
    channel, pay, webhook, clock, order_behaviour
):
    order_behaviour("payment_notice", "wrong_amount", params={"amount_fen": 1})
    order = pay(amount_fen=5000)
    assert channel.parse_notice(*webhook.wait(1)[0], clock()).trade.amount_fen == 1
    assert channel.query(order.out_trade_no).amount_fen == 5000


def test_a_payment_of_a_wrong_amount_is_told_alike_everywhere(
    channel, pay, webhook, clock, order_behaviour
):
    order_behaviour("payment", "wrong_amount", params={"amount_fen": 4999})
    order = pay(amount_fen=5000)
    assert channel.parse_notice(*webhook.wait(1)[0], clock()).trade.amount_fen == 4999
    assert channel.query(order.out_trade_no).amount_fen == 4999


# statements


@pytest.fixture
def tomorrow(clock):
    """Move to 10:01 of the next business day; gives the day before it."""

    def move():
        now = clock().astimezone(BEIJING)
        ready = datetime.combine(now.date() + timedelta(days=1), datetime.min.time(), BEIJING)
        clock.offset_s += (ready + timedelta(hours=10, minutes=1) - now).total_seconds()
        return now.date()

    return move


def test_next_days_statement_has_what_was_paid_and_refunded(channel, pay, clock, tomorrow):
    order = pay(amount_fen=123_45, attach="bill:7")
    number = "RS" + order.out_trade_no
    channel.refund(
        RefundRequest(order.out_trade_no, number, 45, 123_45, "室温不达标", order.notify_url)
    )
    day = tomorrow()
    data = channel.download_statement(day)
    assert data.startswith(b"\xef\xbb\xbf")
    rows = parse_wechat_tradebill(data, channel._config.mchid).rows
    [paid, back] = [row for row in rows if row.out_trade_no == order.out_trade_no]
    assert (paid.kind, paid.amount_fen, paid.fee_fen) == (RowKind.PAYMENT, 123_45, 74)
    assert paid.transaction_id == channel.query(order.out_trade_no).transaction_id
    assert (back.kind, back.amount_fen, back.out_refund_no) == (RowKind.REFUND, 45, number)
    assert back.fee_fen == 0
    payments = parse_wechat_tradebill(channel.download_statement(day, StatementKind.PAYMENTS))
    refunds = parse_wechat_tradebill(channel.download_statement(day, StatementKind.REFUNDS))
    assert len(payments.rows) + len(refunds.rows) == len(rows)
    assert {row.kind for row in refunds.rows} == {RowKind.REFUND}


def test_a_statement_is_not_there_before_ten(channel, pay, clock, tomorrow):
    pay()
    day = tomorrow()
    clock.offset_s -= 120
    with pytest.raises(ChannelError) as error:
        channel.download_statement(day)
    assert (error.value.code, error.value.permanent) == ("statement_creating", False)


def test_a_day_without_trade_has_no_statement(channel, tomorrow):
    day = tomorrow() - timedelta(days=30)
    with pytest.raises(ChannelError) as error:
        channel.download_statement(day)
    assert (error.value.code, error.value.permanent) == ("no_statement", True)


def test_a_statement_damaged_on_its_way_is_not_taken(channel, pay, tomorrow, order_behaviour):
    pay()
    day = tomorrow()
    order_behaviour("statement", "damaged", match=day.isoformat())
    with pytest.raises(ChannelError) as error:
        channel.download_statement(day)
    assert (error.value.code, error.value.permanent) == ("statement_damaged", False)
    assert channel.download_statement(day)


def test_todays_statement_can_be_published_to_order(channel, pay, clock, order_behaviour):
    order = pay()
    today = clock().astimezone(BEIJING).date()
    order_behaviour("statement", "publish", match=today.isoformat())
    rows = parse_wechat_tradebill(channel.download_statement(today)).rows
    assert order.out_trade_no in {row.out_trade_no for row in rows}


@pytest.mark.parametrize("mode", ["missing_row", "wrong_amount", "extra_row"])
def test_a_statement_to_order_differs_from_what_happened(
    channel, pay, tomorrow, order_behaviour, mode
):
    order = pay(amount_fen=1000)
    day = tomorrow()
    true = parse_wechat_tradebill(channel.download_statement(day)).rows
    params = {"out_trade_no": order.out_trade_no} if mode != "extra_row" else {}
    order_behaviour("statement", mode, match=day.isoformat(), params=params)
    false = parse_wechat_tradebill(channel.download_statement(day)).rows
    assert len(false) - len(true) == {"missing_row": -1, "wrong_amount": 0, "extra_row": 1}[mode]
    mine = [row.amount_fen for row in false if row.out_trade_no == order.out_trade_no]
    assert mine == {"missing_row": [], "wrong_amount": [1001], "extra_row": [1000]}[mode]


def test_history_can_be_laid_down_and_appears_in_its_own_days_statement(
    channel, new_order, tap, clock
):
    order = new_order()
    past = clock() - timedelta(days=20)
    answer = tap(channel.create(order).fields, paid_at=past.isoformat())
    assert answer.status_code == 200
    day = past.astimezone(BEIJING).date()
    rows = parse_wechat_tradebill(channel.download_statement(day)).rows
    assert [row.out_trade_no for row in rows] == [order.out_trade_no]
    assert rows[0].trade_time == past.replace(microsecond=0)


# state and process


def test_orders_and_unsent_notices_survive_a_restart(tmp_path, clock, new_order, webhook):
    with running_sandbox(tmp_path, clock) as box:
        merchant = channel_on(box, clock)
        order = new_order()
        client = merchant.create(order)
        requests.post(
            box.url + "/sandbox/behaviour",
            json={"target": "payment_notice", "mode": "late", "params": {"delay_s": 1.0}},
            timeout=5,
        )
        requests.post(box.url + "/sandbox/wechat/pay", json=dict(client.fields), timeout=5)
        merchant.close_connections()
        serial = box.keys.merchant_serial
    assert webhook.received == []
    with running_sandbox(tmp_path, clock) as box:
        assert box.keys.merchant_serial == serial
        merchant = channel_on(box, clock)
        assert merchant.query(order.out_trade_no).amount_fen == order.amount_fen
        notice = merchant.parse_notice(*webhook.wait(1)[0], clock())
        assert notice.trade.out_trade_no == order.out_trade_no
        merchant.close_connections()


def channel_on(box, clock) -> WeChatPay:
    from payments.wechat import WeChatPayConfig

    keys = box.keys
    public = {keys.public_key_id: keys.public_key_path.read_bytes()}
    return WeChatPay(
        WeChatPayConfig(
            keys.mchid,
            keys.appid,
            keys.merchant_serial,
            keys.merchant_key_path.read_bytes(),
            keys.api_v3_key.encode(),
            public,
            box.url,
        ),
        clock,
    )


def test_keys_are_made_once_even_by_racing_processes(tmp_path):
    made = []
    threads = [
        threading.Thread(target=lambda: made.append(ensure_keys(tmp_path / "k"))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({keys.api_v3_key for keys in made}) == 1
    assert os.listdir(tmp_path) == ["k"]
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "k").iterdir()}
    assert modes == {0o600}
    assert made[0].api_v3_key not in repr(made[0])


def test_many_residents_pay_at_once(channel, new_order, tap, webhook):
    failures = []

    def one(number: int) -> None:
        order = new_order(out_trade_no=f"MANY-{time.time_ns()}-{number:02d}"[:32])
        if tap(channel.create(order).fields).status_code != 200:
            failures.append(number)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(webhook.wait(16, 10.0)) == 16


def test_the_command_serves_and_stops_on_a_signal(tmp_path):
    process = subprocess.Popen(
        [NUAN, "sandbox", "--port", "0", "--state", str(tmp_path / "s")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        line = process.stdout.readline()
        url = line.split("：")[1].split("（")[0]
        page = requests.get(url, timeout=5)
        assert (page.status_code, "微信支付" in page.text) == (200, True)
    finally:
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=10)
    assert (process.returncode, "沙箱已停止" in out, err) == (0, True, "")


def test_a_taken_port_is_one_clear_line_and_exit_code_2(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = subprocess.run(
            [NUAN, "sandbox", "--port", port, "--state", str(tmp_path / "s")],
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert port in done.stderr
    assert "--port" in done.stderr
    assert not (tmp_path / "s").exists()


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    done = subprocess.run(
        [NUAN, "sandbox", "--port", "0", "--state", str(tmp_path / "file" / "s")],
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)


def test_the_page_lists_orders_and_pays_by_a_tap(sandbox, channel, new_order):
    order = new_order(amount_fen=8888, description="<b>热费</b>")
    channel.create(order)
    page = requests.get(sandbox.url + "/sandbox/", timeout=5).text
    assert order.out_trade_no in page
    assert "88.88" in page
    assert "<b>热费" not in page
    answer = requests.post(f"{sandbox.url}/sandbox/orders/{order.out_trade_no}/tap", timeout=5)
    assert "已支付，通知已排队" in answer.text
    assert channel.query(order.out_trade_no).status.value == "paid"
    again = requests.post(f"{sandbox.url}/sandbox/orders/{order.out_trade_no}/tap", timeout=5)
    assert "该订单已支付" in again.text


def test_an_h5_page_of_another_origin_may_tap_pay(sandbox):
    answer = requests.options(sandbox.url + "/sandbox/wechat/pay", timeout=5)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize(
    "body",
    [
        {"target": "payment_notice", "mode": "sometimes"},
        {"target": "nobody", "mode": "late"},
        {"target": "payment_notice"},
        {"target": "payment_notice", "mode": "late", "times": -1},
        {"target": "payment_notice", "mode": "late", "params": [1]},
        {"target": "payment_notice", "mode": "late", "match": 7},
        [],
    ],
)
def test_an_unknown_behaviour_is_refused(sandbox, body):
    answer = requests.post(sandbox.url + "/sandbox/behaviour", json=body, timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")
    listed = requests.get(sandbox.url + "/sandbox/behaviour", timeout=5).json()
    assert listed == {"behaviours": []}


def test_a_request_that_is_not_signed_is_refused_by_a_signed_answer(sandbox):
    answer = requests.get(sandbox.url + "/v3/certificates", timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (401, "SIGN_ERROR")
    assert answer.headers["Wechatpay-Signature"]
    assert json.loads(answer.content)
