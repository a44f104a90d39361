"""Reading WeChat's daily statement: every layout it comes in, every way it can be broken."""

import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.sandbox.tradebill import BillRow, write_tradebill
from payments.statement import RowKind, StatementError, fen_from_yuan
from payments.wechat_statement import parse_wechat_tradebill

MCHID = "1900000109"


def row(number: int, amount_fen: int = 12345, fee_fen: int = 74, **more) -> BillRow:
    return BillRow(
        at=datetime(2026, 11, 19, 16, 0, 1, tzinfo=UTC) + timedelta(seconds=number),
        appid="wx8888888888888888",
        mchid=MCHID,
        transaction_id=f"42000000{number:020d}",
        out_trade_no=f"NT{number:08d}",
        openid="oAlice-000001",
        amount_fen=amount_fen,
        fee_fen=fee_fen,
        description=more.pop("description", "2026-2027采暖季热费"),
        attach="bill:7",
        **more,
    )


def refund_row(number: int, amount_fen: int = 345, fee_fen: int = -2) -> BillRow:
    at = datetime(2026, 11, 20, 3, tzinfo=UTC)
    ids = {"refund_id": f"5030{number:024d}", "out_refund_no": f"R{number:08d}", "asked_at": at}
    return row(number, amount_fen, fee_fen, **ids)


WHOLE = write_tradebill([row(1), row(2, 1, 0), refund_row(1)])


def problem(data: bytes, **more):
    with pytest.raises(StatementError) as error:
        parse_wechat_tradebill(data, **more)
    return error.value.code, error.value.line


def test_rows_come_typed_in_fen_and_utc():
    statement = parse_wechat_tradebill(WHOLE, MCHID)
    paid, small, back = statement.rows
    assert (paid.kind, paid.amount_fen, paid.settled_fen, paid.fee_fen) == (
        RowKind.PAYMENT,
        12345,
        12345,
        74,
    )
    assert paid.trade_time == datetime(2026, 11, 19, 16, 0, 2, tzinfo=UTC)
    assert (paid.transaction_id, paid.out_trade_no) == (
        "4200000000000000000000000001",
        "NT00000001",
    )
    assert (paid.state, paid.refund_id, paid.attach, paid.line) == ("SUCCESS", "", "bill:7", 2)
    assert small.amount_fen == 1
    assert (back.kind, back.amount_fen, back.fee_fen) == (RowKind.REFUND, 345, -2)
    assert (back.out_refund_no, back.refund_state) == ("R00000001", "SUCCESS")
    totals = statement.totals
    assert (totals.count, totals.order_fen, totals.refund_fen) == (3, 12346, 345)
    assert totals.fee_fen == 72


@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.removeprefix(b"\xef\xbb\xbf"),
        lambda data: data.replace(b"\r\n", b"\n"),
        lambda data: data.rstrip(b"\r\n"),
        lambda data: data + b"\r\n\r\n",
    ],
)
def test_marks_line_ends_and_a_missing_last_line_end_make_no_difference(change):
    assert parse_wechat_tradebill(change(WHOLE)) == parse_wechat_tradebill(WHOLE)


def test_a_name_may_hold_commas_and_line_separators():
    name = "热费,采暖季\u2028二次供暖\x85"
    statement = parse_wechat_tradebill(write_tradebill([row(1, description=name)]))
    assert statement.rows[0].amount_fen == 12345


@pytest.mark.parametrize(("bill_type", "kinds"), [("SUCCESS", ["payment"]), ("REFUND", ["refund"])])
def test_bills_of_one_kind_have_other_columns_and_read_the_same(bill_type, kinds):
    data = write_tradebill([row(1), refund_row(1)], bill_type)
    assert [found.kind for found in parse_wechat_tradebill(data).rows] == kinds


OLD = (
    "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,"
    "货币种类,总金额,代金券或立减优惠金额,微信退款单号,商户退款单号,退款金额,代金券或立减优惠退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率\n"
    "`2014-11-10 16:33:45,`wx2421b1c4370ec43b,`10000100,`0,`1000,`1001690740201411100005734289,"
    "`1415640626,`085e9858e3ba5186aafcbaed1,`MICROPAY,`SUCCESS,`CFT,`CNY,`0.01,`0.0,`0,`0,`0,`0,`,"
    "`,`被扫支付测试,`订单额外描述,`0.00000,`0.60%\n"
    "`2014-11-10 16:46:14,`wx2421b1c4370ec43b,`10000100,`0,`1000,`1002780740201411100005729794,"
    "`1415635270,`085e9858e90ca40c0b5aee463,`MICROPAY,`REFUND,`CFT,`CNY,`0.01,`0.0,`2001690740,"
    "`R1415635270,`0.01,`0.0,`ORIGINAL,`SUCCESS,`被扫支付测试,`订单额外描述,`0,`0.60%\n"
    "总交易单数,总交易额,总退款金额,总代金券或立减优惠退款金额,手续费总金额\n"
    "`2,`0.01,`0.01,`0.0,`0\n"
)


def test_the_older_layout_names_its_columns_otherwise_and_lacks_the_last_three():
    statement = parse_wechat_tradebill(OLD.encode(), "10000100")
    paid, back = statement.rows
    assert (paid.amount_fen, paid.settled_fen, paid.fee_fen) == (1, 1, 0)
    assert (back.amount_fen, back.out_refund_no) == (1, "R1415635270")
    assert statement.totals.order_fen is None


def test_columns_are_found_by_their_header_not_by_their_place():
    lines = [line.split(",") for line in WHOLE.decode("utf-8-sig").split("\r\n")[:4]]
    turned = [",".join(reversed(line)) for line in lines]
    tail = WHOLE.decode("utf-8-sig").split("\r\n")[4:]
    data = "\r\n".join(turned + tail).encode()
    assert parse_wechat_tradebill(data) == parse_wechat_tradebill(WHOLE)


def test_a_settled_amount_below_the_order_is_kept_apart():
    """A coupon paid part of it: the order's amount is what the API said."""
    text = write_tradebill([row(1)]).decode("utf-8-sig")
    text = text.replace("`CNY,`123.45,`0.00", "`CNY,`120.00,`3.45")
    text = text.replace("`1,`123.45,`0.00", "`1,`120.00,`0.00")
    found = parse_wechat_tradebill(text.encode()).rows[0]
    assert (found.amount_fen, found.settled_fen) == (12345, 12000)


def edited(old: str, new: str, count: int = 1) -> bytes:
    text = WHOLE.decode("utf-8-sig")
    assert old in text
    return text.replace(old, new, count).encode()


BROKEN = [
    (b"", "empty", 1),
    (b"\xef\xbb\xbf\r\n", "empty", 1),
    (b'{"code":"NO_STATEMENT_EXIST"}', "header", 1),
    (WHOLE.replace("热费".encode(), b"\xc8\xc8", 1), "encoding", 2),
    (WHOLE.decode("utf-8-sig").encode("gbk"), "encoding", 1),
    (edited("微信订单号", "订单号"), "header", 1),
    (edited(",`CNY", "CNY"), "columns", 2),
    (edited("`CNY", "`USD"), "currency", 2),
    (edited("`SUCCESS", "`MAYBE"), "state", 2),
    (edited("`SUCCESS", "`"), "state", 2),
    (edited("2026-11-20 00:00:02", "2026-11-20"), "time", 2),
    (edited("2026-11-20 00:00:02", "2026-11-31 00:00:02"), "time", 2),
    (edited("2026-11-20 00:00:02", "20/11/2026 00:00:02"), "time", 2),
    (edited("`123.45", "`123.4x"), "amount", 2),
    (edited("`123.45", "`123.456"), "amount", 2),
    (edited("`123.45", "`"), "amount", 2),
    (edited("`123.45", "`１２３.45"), "amount", 2),
    (edited("`123.45", "`1e2"), "amount", 2),
    (edited("`123.45", "`NaN"), "amount", 2),
    (edited("`0.60%,`123.45", "`0.60%,`-123.45"), "amount", 2),
    (edited("`0.74000", "`0.74500"), "amount", 2),
    (edited("`NT00000001", "`"), "columns", 2),
    (edited("4200000000000000000000000002", "4200000000000000000000000001"), "duplicate", 3),
    (edited("`R00000001", "`"), "columns", 4),
    (edited("\r\n`3,", "\r\n`4,"), "totals_differ", 6),
    (edited("\r\n`3,`123.46", "\r\n`3,`123.47"), "totals_differ", 6),
    (edited("\r\n`3,", "\r\n`three,"), "amount", 6),
    (edited("\r\n`3,`123.46,", "\r\n`3,"), "amount", 6),
    (edited("总交易单数", "总数"), "header", 5),
    (WHOLE + b"`1\r\n", "trailing", 7),
    (WHOLE + WHOLE, "trailing", 7),
    (WHOLE[: WHOLE.index("总交易单数".encode())], "totals_missing", 4),
    (WHOLE[: WHOLE.rindex(b"`3,")], "totals_missing", 5),
    (WHOLE[: WHOLE.rindex(b"`3.45")], "amount", 6),
]


@pytest.mark.parametrize(("data", "code", "line"), BROKEN)
def test_a_broken_statement_is_refused_with_its_line(data, code, line):
    assert problem(data) == (code, line)


def test_every_cut_of_the_file_is_refused():
    for end in range(len(WHOLE.rstrip(b"\r\n")) - 1):
        with pytest.raises(StatementError):
            parse_wechat_tradebill(WHOLE[:end])


def test_rows_of_another_merchant_are_refused():
    assert problem(WHOLE, mchid="1900000999") == ("merchant", 2)


def test_all_bad_rows_are_reported_not_only_the_first():
    data = WHOLE.decode("utf-8-sig").replace("`CNY", "`USD").encode()
    with pytest.raises(StatementError) as error:
        parse_wechat_tradebill(data)
    assert [found.line for found in error.value.problems] == [2, 3, 4]
    assert "and 2 more" in str(error.value)


@given(st.integers(-(10**13), 10**13), st.integers(0, 5))
def test_yuan_become_fen_exactly(fen, zeros):
    sign = "-" if fen < 0 else ""
    text = f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02d}" + "0" * zeros
    assert fen_from_yuan(text) == fen == Decimal(text) * 100


@given(st.text(max_size=12))
def test_any_other_text_is_an_amount_or_a_value_error(text):
    try:
        fen = fen_from_yuan(text)
    except ValueError:
        return
    assert Decimal(text) * 100 == fen


rows = st.lists(
    st.builds(
        lambda n, amount, back: refund_row(n, amount) if back else row(n, amount),
        st.integers(0, 10**6),
        st.integers(1, 10**9),
        st.booleans(),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda made: (made.transaction_id, made.refund_id),
)


@given(rows)
def test_what_the_sandbox_writes_is_what_is_read(made):
    found = parse_wechat_tradebill(write_tradebill(made), MCHID).rows
    assert [(r.transaction_id, r.refund_id, r.amount_fen, r.fee_fen) for r in found] == [
        (r.transaction_id, r.refund_id, r.amount_fen, r.fee_fen) for r in made
    ]


@given(st.binary(max_size=200))
def test_noise_is_a_statement_error_never_a_crash(noise):
    with pytest.raises(StatementError):
        parse_wechat_tradebill(noise)


def test_twenty_thousand_rows_are_read_in_a_moment():
    """A guard against quadratic work only; the speed itself is measured in the benches."""
    data = write_tradebill([row(number) for number in range(20_000)])
    start = time.perf_counter()
    assert len(parse_wechat_tradebill(data).rows) == 20_000
    assert time.perf_counter() - start < 3.0
