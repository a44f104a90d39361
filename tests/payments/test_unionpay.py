"""The UnionPay channel against the sandbox: chains and signatures, queries, refunds, its file."""

import hashlib
import json
import secrets
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from urllib.parse import parse_qsl, urlencode

import pytest
import requests
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from payments.channel import (
    ChannelError,
    NoticeRejected,
    OrderRequest,
    PayWay,
    RefundRequest,
    RefundStatus,
    TradeStatus,
)
from payments.sandbox.keys import new_key, private_pem
from payments.sandbox.tradebill import BEIJING, BillRow
from payments.sandbox.unionpay_desk import file_content
from payments.sandbox.unionpay_keys import PASSWORD, ensure_unionpay_keys, issued
from payments.statement import RowKind, StatementError
from payments.unionpay import UnionPay, UnionPayConfig, made_at
from payments.unionpay_crypto import Trust, Untrusted, digest, load_signing_key, parse_answer
from payments.unionpay_statement import WIDTHS, parse_unionpay_zm, unpacked


@pytest.fixture
def union_keys(sandbox):
    return ensure_unionpay_keys(sandbox.keys.directory.parent / "keys-unionpay")


@pytest.fixture
def settings(sandbox, union_keys) -> UnionPayConfig:
    return UnionPayConfig(
        mer_id=union_keys.mer_id,
        signing_file=union_keys.sign_path.read_bytes(),
        signing_password=PASSWORD,
        root_pem=union_keys.root_path.read_bytes(),
        middle_pem=union_keys.middle_path.read_bytes(),
        base_url=sandbox.url,
        file_url=f"{sandbox.url}/unionpay/file",
    )


@pytest.fixture
def union(settings, clock):
    channel = UnionPay(settings, clock)
    yield channel
    channel.close_connections()


@pytest.fixture
def number(clock):
    def make(prefix: str = "N") -> str:
        second = clock().astimezone(BEIJING).strftime("%Y%m%d%H%M%S")
        return f"{prefix}{second}{secrets.token_hex(5).upper()}"

    return make


@pytest.fixture
def asked(webhook, clock, number):
    webhook.reply = b"ok"

    def make(amount_fen: int = 123_45, **more) -> OrderRequest:
        values = {
            "out_trade_no": number(),
            "amount_fen": amount_fen,
            "description": "2026-2027采暖季热费",
            "payer_id": "",
            "notify_url": webhook.url,
            "expires_at": clock() + timedelta(minutes=30),
            "way": PayWay.WAP,
            "return_url": "http://127.0.0.1:9/back",
        }
        return OrderRequest(**(values | more))

    return make


def browse(client) -> requests.Response:
    """The payer's browser posts the form and is shown the cash desk."""
    return requests.post(client.fields["url"], data=json.loads(client.fields["form"]), timeout=5)


def paid(union, order) -> None:
    page = browse(union.create(order))
    assert requests.post(page.url, timeout=5, allow_redirects=False).status_code == 303


def refund_of(order, number: str, fen: int) -> RefundRequest:
    return RefundRequest(order.out_trade_no, number, fen, order.amount_fen, "退", order.notify_url)


def code_of(error) -> tuple[str, bool]:
    return error.value.code, error.value.permanent


def test_a_payer_goes_through_the_cash_desk_and_the_notice_says_what_the_query_says(
    union, asked, webhook, clock
):
    order = asked()
    client = union.create(order)
    assert union.query(order.out_trade_no).status is TradeStatus.PENDING
    page = browse(client)
    assert "¥123.45" in page.text
    assert union.query(order.out_trade_no).status is TradeStatus.PENDING
    requests.post(page.url, timeout=5, allow_redirects=False)
    notice = union.parse_notice(*webhook.wait(1)[0], clock())
    state = union.query(order.out_trade_no)
    assert notice.trade == state
    assert (state.status, state.amount_fen) == (TradeStatus.PAID, 123_45)
    with pytest.raises(ChannelError) as error:
        union.close(order.out_trade_no)
    assert code_of(error) == ("order_paid", True)


def test_an_order_nobody_opened_is_left_to_expire(union, asked):
    order = asked()
    union.create(order)
    union.close(order.out_trade_no)
    assert union.query(order.out_trade_no).status is TradeStatus.PENDING


def test_an_order_is_known_by_number_and_second_together(union, asked):
    order = asked()
    paid(union, order)
    other = f"N20200101000000{order.out_trade_no[15:]}"
    assert union.query(other).status is TradeStatus.PENDING


def test_a_number_that_is_not_ours_is_a_mistake_of_ours():
    assert made_at("N20261125184500ABCDEFGHJK") == "20261125184500"
    with pytest.raises(ValueError, match="does not carry"):
        made_at("ORDER-1")


def test_refunds_in_parts_never_exceed_the_payment(union, asked, number, webhook, clock):
    order = asked(1000)
    paid(union, order)
    request = refund_of(order, number("R"), 400)
    first = union.refund(request)
    assert (first.status, first.refund_fen) == (RefundStatus.SUCCESS, 400)
    assert union.refund(request) == first
    with pytest.raises(ChannelError) as error:
        union.refund(refund_of(order, number("R"), 601))
    assert code_of(error) == ("request_invalid", True)
    notices = [union.parse_notice(h, b, clock()) for h, b in webhook.wait(2)]
    assert [n.refund.out_refund_no for n in notices if n.refund] == [request.out_refund_no]


def test_a_refund_asked_about_counts_when_unionpay_made_it_as_its_notice_says(
    union, asked, number, webhook, clock
):
    order = asked(1000)
    paid(union, order)
    request = refund_of(order, number("R"), 400)
    clock.offset_s += 3600
    try:
        made = union.refund(request)
        notices = [union.parse_notice(h, b, clock()) for h, b in webhook.wait(2)]
    finally:
        clock.offset_s -= 3600
    (told,) = (notice.refund for notice in notices if notice.refund)
    assert made.settled_at == told.settled_at
    assert made.settled_at - clock() > timedelta(minutes=55)


def test_a_refund_of_what_was_never_paid_is_refused(union, asked, number):
    with pytest.raises(ChannelError) as error:
        union.refund(refund_of(asked(), number("R"), 100))
    assert code_of(error) == ("order_not_found", True)
    with pytest.raises(ChannelError) as error:
        union.query_refund("N", number("R"))
    assert code_of(error) == ("refund_not_found", True)


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("forged_signature", "signature"),
        ("unsigned", "signature"),
        ("wrong_serial", "serial_unknown"),
        ("wrong_mchid", "wrong_merchant"),
        ("wrong_currency", "wrong_currency"),
        ("malformed", "malformed"),
    ],
)
def test_a_notice_that_may_not_count_is_rejected(
    union, asked, webhook, clock, order_behaviour, mode, code
):
    order = asked()
    order_behaviour("payment_notice", mode, match=order.out_trade_no)
    paid(union, order)
    with pytest.raises(NoticeRejected) as rejected:
        union.parse_notice(*webhook.wait(1)[0], clock())
    assert rejected.value.code == code


def test_a_changed_amount_breaks_a_notice(union, asked, webhook, clock):
    paid(union, asked())
    headers, body = webhook.wait(1)[0]
    fields = dict(parse_qsl(body.decode())) | {"txnAmt": "1"}
    with pytest.raises(NoticeRejected) as rejected:
        union.parse_notice(headers, urlencode(fields).encode(), clock())
    assert rejected.value.code == "signature"


@given(st.binary(max_size=200))
def test_noise_is_no_form_and_no_statement(noise):
    with pytest.raises((StatementError, ValueError)):
        if parse_unionpay_zm(noise).rows == []:
            raise ValueError("an empty file")


@pytest.mark.parametrize("body", [b"", b"a", b"a=1&a=2", b"\xff=1", b"a=%ff", b"x=" + b"&x=" * 200])
def test_any_body_is_an_answer_and_never_a_crash(union, clock, body):
    with pytest.raises(NoticeRejected):
        union.parse_notice({}, body, clock())


@pytest.mark.parametrize(
    ("mode", "code"),
    [
        ("forged_signature", "answer_unverified"),
        ("unsigned", "answer_unverified"),
        ("wrong_serial", "answer_unverified"),
        ("error", "busy"),
        ("http_error", "network"),
    ],
)
def test_an_answer_that_cannot_be_believed_is_a_passing_error(
    union, asked, order_behaviour, mode, code
):
    order_behaviour("answer", mode, match="unionpay.query")
    with pytest.raises(ChannelError) as error:
        union.query(asked().out_trade_no)
    assert code_of(error) == (code, False)


def test_a_wrong_key_is_refused_for_good(settings, union_keys, clock, asked):
    stranger = ensure_unionpay_keys(union_keys.directory.parent / "keys-unionpay-stranger")
    channel = UnionPay(replace(settings, signing_file=stranger.sign_path.read_bytes()), clock)
    with pytest.raises(ChannelError) as error:
        channel.query(asked().out_trade_no)
    assert code_of(error) == ("signature_refused", True)
    channel.close_connections()


def test_the_chain_the_owner_and_the_dates_of_a_certificate_count(union_keys, clock):
    trust = Trust.of(union_keys.root_path.read_bytes(), union_keys.middle_path.read_bytes())
    key, ca = new_key(), new_key()

    def fields(certificate) -> dict[str, str]:
        return {
            "version": "5.1.0",
            "signMethod": "01",
            "signPubKeyCert": certificate.public_bytes(Encoding.PEM).decode(),
        }

    own = issued("041@Z@中国银联股份有限公司@1", key, "CFCA ACS OCA31 (sandbox)", ca, is_ca=False)
    for given_fields in (fields(own), {"version": "5.0.0"}, {}):
        with pytest.raises(Untrusted):
            trust.verify(given_fields, clock())
    good = {
        "version": "5.1.0",
        "signMethod": "01",
        "signPubKeyCert": union_keys.gateway_cert_path.read_text(),
        "signature": "x",
    }
    merchants = good | {"signPubKeyCert": union_keys.sign_cert_path.read_text()}
    with pytest.raises(Untrusted, match="somebody else's"):
        trust.verify(merchants, clock())
    with pytest.raises(Untrusted, match="not valid now"):
        trust.verify(good, datetime(2041, 1, 1, tzinfo=UTC))
    with pytest.raises(Untrusted, match="does not fit"):
        trust.verify(good, clock())
    with pytest.raises(ValueError, match="not the root's"):
        Trust.of(union_keys.root_path.read_bytes(), union_keys.gateway_cert_path.read_bytes())


def test_the_signing_file_is_pfx_or_pem(union_keys):
    bundle = load_signing_key(union_keys.sign_path.read_bytes(), PASSWORD)
    pem = union_keys.sign_cert_path.read_bytes() + private_pem(bundle.key)
    assert load_signing_key(pem).cert_id == bundle.cert_id
    with pytest.raises(ValueError):
        load_signing_key(union_keys.sign_path.read_bytes(), "wrong")
    with pytest.raises(ValueError):
        load_signing_key(union_keys.sign_cert_path.read_bytes())


def test_what_is_signed_is_the_hash_of_the_sorted_fields():
    """By hand: sha256 of 'a=1&b=2' (UTF-8), in lower-case hex, the signature left out."""
    expected = hashlib.sha256(b"a=1&b=2").hexdigest().encode()
    assert digest({"b": "2", "a": "1", "signature": "zzz"}) == expected


def test_an_ampersand_inside_braces_divides_nothing():
    assert parse_answer("a=1&b={c=2&d=3}&e==") == {"a": "1", "b": "{c=2&d=3}", "e": "="}
    for bad in ("a=1&a=2", "a", "=1", ""):
        with pytest.raises(ValueError):
            parse_answer(bad)


# The statement


def row(number: int, amount_fen: int = 100, fee_fen: int = 1, **more) -> BillRow:
    return BillRow(
        at=datetime(2026, 11, 18, 15, 30, tzinfo=UTC) + timedelta(seconds=number),  # 23:30 on 18th
        appid="",
        mchid="",
        transaction_id=f"20261118233000{number:07d}",
        out_trade_no=f"N20261118233000{number:010d}",
        openid="",
        amount_fen=amount_fen,
        fee_fen=fee_fen,
        description="热费",
        attach="",
        **more,
    )


MER, DAY = "777290058110048", date(2026, 11, 19)


def test_a_file_is_unpacked_and_read_by_widths():
    numbers = {"refund_id": "2" * 21, "out_refund_no": "R20261119000100AAAAAAAAAA"}
    back = row(2, 40, 0, **numbers)
    data = unpacked(file_content([row(1), back], MER, DAY))
    first, second = parse_unionpay_zm(data, MER, DAY).rows
    assert len(data.split(b"\r\n")[0]) == sum(WIDTHS) + len(WIDTHS) - 1
    assert (first.kind, first.amount_fen, first.fee_fen) == (RowKind.PAYMENT, 100, 1)
    assert first.trade_time == datetime(2026, 11, 18, 15, 30, 1, tzinfo=UTC)
    assert (second.kind, second.amount_fen) == (RowKind.REFUND, 40)
    assert second.transaction_id == row(2).transaction_id
    assert second.out_refund_no == "R20261119000100AAAAAAAAAA"


def test_new_years_eve_belongs_to_the_old_year():
    made = replace(row(1), at=datetime(2026, 12, 31, 15, 30, tzinfo=UTC))
    data = unpacked(file_content([made], MER, date(2027, 1, 1)))
    assert parse_unionpay_zm(data, MER, date(2027, 1, 1)).rows[0].trade_time == made.at


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda d: d.replace(b"777290058110048", b"777290058110049"), "merchant"),
        (lambda d: d.replace(b"000000000100 ", b"00000000010x ", 1), "amount"),
        (lambda d: d.replace(b"1118233001", b"1318233001", 1), "time"),
        (lambda d: d[:100], "columns"),
        (lambda d: d + d, "duplicate"),
        (lambda d: d.replace(b"D000000000001", b"X000000000001", 1), "amount"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_taken(change, code):
    data = unpacked(file_content([row(1)], MER, DAY))
    with pytest.raises(StatementError) as error:
        parse_unionpay_zm(change(data), MER, DAY)
    assert error.value.code == code


@pytest.mark.parametrize("content", ["", "****", "AAAA", "eJwDAAAAAAE="])
def test_what_does_not_unpack_is_fetched_again(content):
    with pytest.raises(ChannelError) as error:
        unpacked(content)
    assert (error.value.code, error.value.permanent) == ("statement_damaged", False)


def test_the_sandboxs_file_has_what_happened_on_the_settlement_day(
    union, asked, number, order_behaviour, clock
):
    order = asked(1000)
    paid(union, order)
    union.refund(refund_of(order, number("R"), 400))
    local = clock().astimezone(BEIJING)
    day = (local + timedelta(hours=1)).date()
    with pytest.raises(ChannelError) as error:
        union.download_statement(day)
    assert error.value.code == "no_statement"
    order_behaviour("statement", "publish", match=f"unionpay:{day}")
    if day > local.date():
        pytest.skip("the settlement day has begun an hour before midnight: not asked for yet")
    rows = parse_unionpay_zm(union.download_statement(day), union._config.mer_id, day).rows
    paid_for = {r.transaction_id for r in rows if r.out_trade_no == order.out_trade_no}
    mine = {(r.kind, r.amount_fen) for r in rows if r.transaction_id in paid_for}
    assert mine == {(RowKind.PAYMENT, 1000), (RowKind.REFUND, 400)}
