"""Reading Alipay's bill: the zip with GBK names, tabs, negative refunds, every way to be broken."""

import io
import zipfile
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments.alipay import unzipped_detail
from payments.alipay_statement import fingerprinted, parse_alipay_bill
from payments.channel import ChannelError, RefundRequest
from payments.sandbox.alipay_bill import write_detail, write_zip
from payments.sandbox.tradebill import BEIJING, BillRow
from payments.statement import RowKind, StatementError

SELLER = "2088021109625633"
DAY = date(2026, 11, 19)
EXPORTED = datetime(2026, 11, 20, 1, 0, tzinfo=UTC)


def row(number: int, amount_fen: int = 1, fee_fen: int = 0, **more) -> BillRow:
    return BillRow(
        at=datetime(2026, 11, 19, 2, 55, 23, tzinfo=UTC) + timedelta(seconds=number),
        appid="",
        mchid=SELLER,
        transaction_id=f"20261119220014588605{number:08d}",
        out_trade_no=f"NA{number:08d}",
        openid="",
        amount_fen=amount_fen,
        fee_fen=fee_fen,
        description="热费",
        attach="",
        **more,
    )


def refund(number: int, amount_fen: int = 1, fee_fen: int = 0) -> BillRow:
    return row(number, amount_fen, fee_fen, refund_id=f"R{number}", out_refund_no=f"RA{number:08d}")


WHOLE = write_detail([row(1, 123_45, 74), refund(2, 100, -1)], SELLER, DAY, EXPORTED).encode("gbk")


def problem(data: bytes, seller: str | None = None) -> tuple[str, int]:
    with pytest.raises(StatementError) as error:
        parse_alipay_bill(data, seller)
    return error.value.code, error.value.line


def test_payments_and_refunds_come_out_in_fen_with_what_was_taken_for_them():
    paid, back = parse_alipay_bill(WHOLE, SELLER).rows
    assert (paid.kind, paid.amount_fen, paid.settled_fen, paid.fee_fen) == (
        RowKind.PAYMENT,
        123_45,
        123_45,
        74,
    )
    assert paid.transaction_id == "2026111922001458860500000001"
    assert paid.trade_time == datetime(2026, 11, 19, 2, 55, 24, tzinfo=UTC)
    assert (back.kind, back.amount_fen, back.fee_fen) == (RowKind.REFUND, 100, -1)
    assert back.out_refund_no == "RA00000002"


def test_a_day_without_a_row_is_a_statement_of_nothing():
    assert parse_alipay_bill(write_detail([], SELLER, DAY, EXPORTED).encode("gbk")).rows == []


def test_a_comma_in_a_products_name_moves_no_column():
    text = WHOLE.decode("gbk").replace(",热费,", ",热费,含水费,")
    assert parse_alipay_bill(text.encode("gbk")).rows[0].amount_fen == 123_45


def test_the_sign_of_the_fee_is_not_relied_on():
    text = WHOLE.decode("gbk").replace(",-0.74,", ",0.74,")
    assert parse_alipay_bill(text.encode("gbk")).rows[0].fee_fen == 74


def test_two_exports_of_one_day_have_one_fingerprint():
    later = write_detail([row(1, 123_45, 74), refund(2, 100, -1)], SELLER, DAY, datetime.now(UTC))
    assert later.encode("gbk") != WHOLE
    assert fingerprinted(later.encode("gbk")) == fingerprinted(WHOLE)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda text: text.replace("服务费（元）", "服务"), "header"),
        (lambda text: text.replace(",交易\t,", ",交易,").replace(",交易,", ",红包,"), "state"),
        (lambda text: text.replace(",123.45,", ",abc,", 1), "amount"),
        (lambda text: text.replace(",-1.00,", ",1.00,"), "amount"),
        (lambda text: text.replace("2026-11-19 10:55:24", "2026-13-19 10:55:24"), "time"),
        (lambda text: text[: text.index("#交易合计")], "totals_missing"),
        (lambda text: text.replace("#交易合计：1笔", "#交易合计：2笔"), "totals_differ"),
        (lambda text: text.replace("共123.45元", "共123.46元"), "totals_differ"),
        (lambda text: text.replace("RA00000002\t", "\t"), "columns"),
        (lambda text: "#only remarks\n", "header"),
        (lambda text: "\n\n", "empty"),
    ],
)
def test_what_is_wrong_is_named_and_nothing_is_taken(change, code):
    assert problem(change(WHOLE.decode("gbk")).encode("gbk"))[0] == code


def test_another_accounts_bill_is_refused():
    assert problem(WHOLE, "2088999999999999")[0] == "merchant"


def test_a_bill_in_another_encoding_is_refused_with_its_line():
    assert problem(WHOLE.replace("交易\t".encode("gbk"), b"x").replace(b"**", b"\xff\xff"))[0] in (
        "encoding",
        "state",
    )


def test_a_line_twice_is_a_duplicate():
    lines = WHOLE.split(b"\r\n")
    doubled = b"\r\n".join([*lines[:6], lines[5], *lines[6:]])
    assert problem(doubled)[0] == "duplicate"


def test_the_detail_is_found_among_the_zips_files():
    data = write_zip([row(1)], SELLER, DAY, EXPORTED)
    assert parse_alipay_bill(unzipped_detail(data), SELLER).rows[0].amount_fen == 1
    names = [info.filename for info in zipfile.ZipFile(io.BytesIO(data)).infolist()]
    assert all("业务明细" not in name for name in names), "the names are GBK, read as CP437"


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04nothing", WHOLE])
def test_what_is_no_zip_is_fetched_again(data):
    with pytest.raises(ChannelError) as error:
        unzipped_detail(data)
    assert (error.value.code, error.value.permanent) == ("statement_damaged", False)


def test_a_zip_without_a_detail_is_fetched_again():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(ChannelError, match="业务明细"):
        unzipped_detail(out.getvalue())


def test_the_sandboxs_next_day_statement_has_what_happened(
    alipay,
    order,
    pay,
    order_behaviour,
    clock,
):
    asked = order(1000)
    alipay.create(asked)
    pay(asked.out_trade_no)
    alipay.refund(RefundRequest(asked.out_trade_no, "RB" + asked.out_trade_no, 400, 1000, "", ""))
    day = clock().astimezone(BEIJING).date()
    with pytest.raises(ChannelError) as error:
        alipay.download_statement(day)
    assert error.value.code == "no_statement"
    order_behaviour("statement", "publish", match=f"alipay:{day}")
    rows = parse_alipay_bill(alipay.download_statement(day), alipay._config.seller_id).rows
    mine = [r for r in rows if r.out_trade_no == asked.out_trade_no]
    assert [(r.kind, r.amount_fen, r.fee_fen) for r in mine] == [
        (RowKind.PAYMENT, 1000, 6),
        (RowKind.REFUND, 400, -2),
    ]


@given(st.binary(max_size=400))
def test_noise_is_refused_and_never_a_crash(noise):
    with pytest.raises(StatementError):
        parse_alipay_bill(noise)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 10**9), st.integers(0, 10**6)), max_size=20)
)
def test_whatever_was_written_is_read_to_the_fen(made):
    rows = [
        (refund(n, amount, -fee) if is_refund else row(n, amount, fee))
        for n, (is_refund, amount, fee) in enumerate(made)
    ]
    data = write_detail(rows, SELLER, DAY, EXPORTED).encode("gbk")
    found = parse_alipay_bill(data, SELLER).rows
    assert [(r.amount_fen, r.fee_fen) for r in found] == [(r.amount_fen, r.fee_fen) for r in rows]
