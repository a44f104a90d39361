"""Paying through WeChat Pay v3 against the sandbox over real HTTP."""

from datetime import timedelta

import pytest
import requests

from payments.channel import (
    ChannelError,
    NoticeKind,
    RefundRequest,
    RefundStatus,
    TradeStatus,
)
from payments.wechat import WeChatPay


def refund_of(order, number, refund_fen):
    return RefundRequest(
        order.out_trade_no, number, refund_fen, order.amount_fen, "室温不达标", order.notify_url
    )


def code_of(error) -> tuple[str, bool]:
    return error.value.code, error.value.permanent


def test_a_resident_pays_and_the_notice_says_so(channel, new_order, tap, webhook, clock):
    order = new_order(amount_fen=123_45, attach="bill:7")
    client = channel.create(order)
    assert client.fields["package"] == f"prepay_id={client.prepay_id}"
    assert channel.query(order.out_trade_no).status is TradeStatus.PENDING
    assert tap(client.fields).status_code == 200
    [(headers, body)] = webhook.wait(1)
    notice = channel.parse_notice(headers, body, clock())
    assert notice.kind is NoticeKind.PAYMENT
    assert notice.event_type == "TRANSACTION.SUCCESS"
    assert notice.trade == channel.query(order.out_trade_no)
    assert notice.trade.status is TradeStatus.PAID
    assert notice.trade.amount_fen == 123_45
    assert notice.trade.payer_id == order.payer_id
    assert abs(notice.trade.paid_at - clock()) < timedelta(seconds=10)


def test_the_same_order_again_is_not_a_second_order(channel, new_order):
    order = new_order()
    assert channel.create(order).prepay_id == channel.create(order).prepay_id


def test_the_same_number_for_another_amount_is_refused(channel, new_order):
    order = new_order()
    channel.create(order)
    other = new_order(amount_fen=1, out_trade_no=order.out_trade_no)
    with pytest.raises(ChannelError) as error:
        channel.create(other)
    assert code_of(error) == ("request_invalid", True)


def test_a_paid_order_can_be_neither_created_nor_closed_again(channel, new_order, tap):
    order = new_order()
    tap(channel.create(order).fields)
    for ask in (lambda: channel.create(order), lambda: channel.close(order.out_trade_no)):
        with pytest.raises(ChannelError) as error:
            ask()
        assert code_of(error) == ("order_paid", True)


def test_a_closed_order_cannot_be_paid(channel, new_order, tap):
    order = new_order()
    client = channel.create(order)
    channel.close(order.out_trade_no)
    channel.close(order.out_trade_no)
    assert channel.query(order.out_trade_no).status is TradeStatus.CLOSED
    refused = tap(client.fields)
    assert (refused.status_code, refused.json()["message"]) == (400, "该订单已关闭")


def test_an_expired_order_cannot_be_paid(channel, new_order, tap, clock):
    client = channel.create(new_order())
    clock.offset_s += 1801
    assert tap(client.fields).json()["message"] == "该订单已过期"


@pytest.mark.parametrize("field", ["appId", "timeStamp", "nonceStr", "package", "paySign"])
def test_the_client_refuses_fields_that_were_changed(channel, new_order, tap, field):
    fields = dict(channel.create(new_order()).fields)
    fields[field] = fields[field][:-2] + ("00" if fields[field][-2:] != "00" else "11")
    assert tap(fields).json()["code"] == "PAY_REFUSED"


def test_another_person_cannot_pay_with_the_residents_session(channel, new_order, tap):
    client = channel.create(new_order())
    assert tap(client.fields, openid="oBob-0000002").json()["message"] == (
        "下单账号与支付账号不一致"
    )


def test_an_unknown_order_is_told_from_a_failure(channel):
    with pytest.raises(ChannelError) as error:
        channel.query("NEVER-WAS-1")
    assert code_of(error) == ("order_not_found", True)


def test_refunds_in_parts_never_exceed_the_payment(channel, new_order, tap, webhook, clock):
    order = new_order(amount_fen=1000)
    tap(channel.create(order).fields)
    first = channel.refund(refund_of(order, "R1-" + order.out_trade_no, 400))
    assert (first.status, first.refund_fen) == (RefundStatus.PROCESSING, 400)
    again = channel.refund(refund_of(order, "R1-" + order.out_trade_no, 400))
    assert again.refund_id == first.refund_id
    with pytest.raises(ChannelError) as error:
        channel.refund(refund_of(order, "R2-" + order.out_trade_no, 601))
    assert code_of(error) == ("request_invalid", True)
    channel.refund(refund_of(order, "R3-" + order.out_trade_no, 600))
    assert channel.query(order.out_trade_no).status is TradeStatus.REFUNDED
    assert (
        channel.query_refund(order.out_trade_no, first.out_refund_no).status is RefundStatus.SUCCESS
    )
    notices = [channel.parse_notice(h, b, clock()) for h, b in webhook.wait(3)]
    refunds = {n.refund.out_refund_no: n.refund.refund_fen for n in notices if n.refund}
    assert sorted(refunds.values()) == [400, 600]


def test_the_same_refund_number_for_another_amount_is_refused(channel, new_order, tap):
    order = new_order(amount_fen=1000)
    tap(channel.create(order).fields)
    channel.refund(refund_of(order, "RA" + order.out_trade_no, 400))
    with pytest.raises(ChannelError) as error:
        channel.refund(refund_of(order, "RA" + order.out_trade_no, 300))
    assert code_of(error) == ("request_invalid", True)


def test_an_abnormal_refund_is_told_as_such(
    channel, new_order, tap, webhook, clock, order_behaviour
):
    order = new_order()
    tap(channel.create(order).fields)
    webhook.wait(1)
    order_behaviour("refund", "abnormal", match=order.out_trade_no)
    state = channel.refund(refund_of(order, "RB" + order.out_trade_no, 5))
    assert state.status is RefundStatus.ABNORMAL
    notice = channel.parse_notice(*webhook.wait(2)[1], clock())
    assert (notice.event_type, notice.refund.status) == ("REFUND.ABNORMAL", RefundStatus.ABNORMAL)


def test_a_refund_without_money_in_the_account_can_be_asked_again(
    channel, new_order, tap, order_behaviour
):
    order = new_order()
    tap(channel.create(order).fields)
    order_behaviour("refund", "not_enough")
    request = refund_of(order, "RC" + order.out_trade_no, 5)
    with pytest.raises(ChannelError) as error:
        channel.refund(request)
    assert code_of(error) == ("balance_too_low", False)
    assert error.value.retry_after_s == 3600
    assert channel.refund(request).refund_fen == 5


def test_a_refund_that_was_done_but_not_answered_is_not_done_twice(
    channel, new_order, tap, order_behaviour, sandbox
):
    order = new_order(amount_fen=1000)
    tap(channel.create(order).fields)
    order_behaviour("answer", "error_after", match="refund")
    state = channel.refund(refund_of(order, "RD" + order.out_trade_no, 1000))
    assert state.refund_fen == 1000
    rows = requests.get(sandbox.url + "/sandbox/calls?path=/v3/refund", timeout=5).json()["calls"]
    assert [row["status"] for row in rows[-2:]] == [500, 200]


def test_a_refund_asked_too_fast_is_not_repeated_at_once(
    channel, new_order, tap, order_behaviour, sandbox
):
    order = new_order()
    tap(channel.create(order).fields)
    order_behaviour(
        "answer", "error", match="refund", params={"status": 429, "code": "FREQUENCY_LIMITED"}
    )
    url = sandbox.url + "/sandbox/calls?path=/v3/refund"
    before = requests.get(url, timeout=5).json()["count"]
    with pytest.raises(ChannelError) as error:
        channel.refund(refund_of(order, "RF" + order.out_trade_no, 5))
    assert code_of(error) == ("rate_limited", False)
    assert requests.get(url, timeout=5).json()["count"] == before + 1


SPOILT = ["unsigned", "forged_signature", "probe", "wrong_serial", "stale"]


@pytest.mark.parametrize("mode", SPOILT)
def test_an_answer_that_does_not_verify_is_not_believed(channel, new_order, order_behaviour, mode):
    order = new_order()
    order_behaviour("answer", mode, match="create")
    with pytest.raises(ChannelError) as error:
        channel.create(order)
    assert code_of(error) == ("answer_unverified", False)
    assert channel.create(order).prepay_id


def test_an_unverified_create_of_a_paid_order_ends_in_paid(
    channel, new_order, tap, order_behaviour, monkeypatch
):
    order = new_order()
    tap(channel.create(order).fields)
    monkeypatch.setattr(channel._transport, "call", _unverified_once(channel._transport.call))
    with pytest.raises(ChannelError) as error:
        channel.create(order)
    assert code_of(error) == ("order_paid", True)


def _unverified_once(call):
    """The platform's 200 to a POST cannot be verified; queries can."""

    def answer(method, target, payload=None):
        if method == "POST":
            raise ChannelError("answer_unverified", "spoilt", permanent=False)
        return call(method, target, payload)

    return answer


@pytest.mark.parametrize("mode", SPOILT)
def test_an_unverified_close_is_settled_by_asking(channel, new_order, order_behaviour, mode):
    order = new_order()
    channel.create(order)
    order_behaviour("answer", mode, match="close")
    channel.close(order.out_trade_no)
    assert channel.query(order.out_trade_no).status is TradeStatus.CLOSED


@pytest.mark.parametrize("mode", SPOILT)
def test_an_unverified_refund_is_settled_by_asking(channel, new_order, tap, order_behaviour, mode):
    order = new_order()
    tap(channel.create(order).fields)
    order_behaviour("answer", mode, match="refund")
    state = channel.refund(refund_of(order, "RE" + order.out_trade_no, 7))
    assert (state.refund_fen, state.status) == (7, RefundStatus.SUCCESS)


def test_an_error_with_a_forged_signature_is_not_believed(channel, order_behaviour):
    order_behaviour("answer", "forged_signature", match="query")
    with pytest.raises(ChannelError) as error:
        channel.query("NEVER-WAS-1")
    assert code_of(error) == ("answer_unverified", False)


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({"status": 500, "code": "SYSTEM_ERROR"}, ("busy", False, 5)),
        ({"status": 429, "code": "FREQUENCY_LIMITED"}, ("rate_limited", False, 30)),
        ({"status": 502, "code": "WHATEVER"}, ("busy", False, 5)),
        ({"status": 403, "code": "WHATEVER"}, ("refused", True, None)),
        ({"status": 403, "code": "NO_AUTH"}, ("merchant_refused", True, None)),
    ],
)
def test_errors_say_whether_asking_again_helps(channel, order_behaviour, params, expected):
    order_behaviour("answer", "error", match="query", params=params)
    with pytest.raises(ChannelError) as error:
        channel.query("NEVER-WAS-1")
    found = error.value
    assert (found.code, found.permanent, found.retry_after_s) == expected


def test_a_platform_that_does_not_answer_in_time_is_a_passing_error(
    channel, order_behaviour, monkeypatch
):
    monkeypatch.setattr("payments.http.READ_TIMEOUT_S", 0.2)
    order_behaviour("answer", "slow", match="query", params={"delay_s": 1.0})
    with pytest.raises(ChannelError) as error:
        channel.query("NEVER-WAS-1")
    assert code_of(error) == ("timeout", False)


def test_a_platform_that_is_not_there_is_a_passing_error(config, clock):
    from dataclasses import replace

    channel = WeChatPay(replace(config, base_url="http://127.0.0.1:9"), clock)
    with pytest.raises(ChannelError) as error:
        channel.query("NEVER-WAS-1")
    assert code_of(error) == ("network", False)


def test_a_merchant_with_another_key_is_refused(config, clock, keys):
    from dataclasses import replace

    stranger = replace(config, merchant_key_pem=keys.platform_key_path.read_bytes())
    channel = WeChatPay(stranger, clock)
    with pytest.raises(ChannelError) as error:
        channel.query("NEVER-WAS-1")
    channel.close_connections()
    assert code_of(error) == ("signature_refused", True)


def test_a_merchant_whose_clock_is_off_is_refused(config, clock):
    channel = WeChatPay(config, lambda: clock() - timedelta(seconds=400))
    with pytest.raises(ChannelError) as error:
        channel.query("NEVER-WAS-1")
    channel.close_connections()
    # the platform's answer is as stale to us as our request is to it
    assert error.value.code == "answer_unverified"


def test_a_netrc_file_cannot_take_the_signatures_place(channel, new_order, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    assert channel.create(new_order()).prepay_id


def test_secrets_stay_out_of_repr(config):
    shown = repr(config)
    assert "PRIVATE KEY" not in shown
    assert config.api_v3_key.decode() not in shown


@pytest.mark.parametrize(
    "change",
    [
        {"amount_fen": 0},
        {"out_trade_no": "short"},
        {"out_trade_no": "with space in it"},
        {"description": ""},
        {"attach": "x" * 129},
    ],
)
def test_an_ill_formed_order_never_leaves(new_order, change):
    with pytest.raises(ValueError):
        new_order(**change)


def test_a_verified_answer_about_another_order_is_not_taken(channel, new_order, tap, monkeypatch):
    order, other = new_order(), new_order()
    for each in (order, other):
        tap(channel.create(each).fields)
    channel.refund(refund_of(other, "RG" + other.out_trade_no, 5))
    call = channel._transport.call

    def about_the_other(method, target, payload=None):
        return call(method, target.replace(order.out_trade_no, other.out_trade_no), None)

    monkeypatch.setattr(channel._transport, "call", about_the_other)
    for ask in (
        lambda: channel.query(order.out_trade_no),
        lambda: channel.query_refund(order.out_trade_no, "RG" + order.out_trade_no),
    ):
        with pytest.raises(ChannelError) as error:
            ask()
        assert code_of(error) == ("answer_malformed", True)


def test_a_redirect_is_not_followed(config, clock, sandbox):
    from dataclasses import replace
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Redirect(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(302)
            self.send_header("Location", sandbox.url + self.path)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Redirect) as server:
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}"
        channel = WeChatPay(replace(config, base_url=url), clock)
        with pytest.raises(ChannelError) as error:
            channel.query("NEVER-WAS-1")
        channel.close_connections()
        server.shutdown()
        thread.join()
    assert code_of(error) == ("refused", True)
