"""Banks' files: what is written is read again, and a spoilt file says where."""

from __future__ import annotations

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from payments import bank
from payments.flat_format import FormatError, formats, parse
from payments.statement import StatementError

SHIPPED = formats()
HEAD = {
    "merchant": "M01",
    "batch_no": "ICBC2026112001",
    "day": date(2026, 11, 20),
    "account_no": "6222000011112222",
    "settlement_no": "S20261120",
    "opening_fen": 0,
}
NAMES = st.text("张三李四王龘ABCabc·", min_size=1, max_size=12)
NUMBERS = st.text("0123456789ABCXYZ", min_size=1, max_size=14)
FEN = st.integers(1, 10**9)


def row_of(sheet):
    """A strategy of rows that a sheet can write, by the types of its fields."""
    made = {}
    for one in sheet.detail:
        if one.type == "const":
            continue
        if one.name == "outcome":
            made[one.name] = st.sampled_from([*sheet.success, *sheet.unknown, *sheet.reasons])
        elif one.words:
            made[one.name] = st.sampled_from(sorted(one.words.values()))
        elif one.type == "date":
            made[one.name] = st.dates(date(2000, 1, 1), date(2099, 12, 31))
        elif one.type in ("fen", "yuan"):
            made[one.name] = FEN
        elif one.type == "int":
            made[one.name] = st.integers(1, 99_999_999)
        else:
            made[one.name] = NAMES.map(lambda t: t.replace("龘", "龙")) | NUMBERS
    return st.fixed_dictionaries(made)


def files():
    """(name of the format, name of the sheet) of everything shipped."""
    return [(n, s) for n, f in SHIPPED.items() for s in f.sheets]


@pytest.mark.parametrize(("name", "which"), files())
@given(data=st.data())
def test_what_is_written_is_read_again_and_the_same_bytes_come_twice(name, which, data):
    sheet = SHIPPED[name].sheets[which]
    rows = data.draw(st.lists(row_of(sheet), max_size=8))
    for row in rows:
        if which == "result":
            row["result"] = bank.outcome(sheet, row["outcome"])
    sums = bank.totals(rows)
    head = {**HEAD, "closing_fen": sums["credit_fen"] - sums["debit_fen"]}
    written = bank.write(sheet, head, rows)
    assert bank.write(sheet, head, rows) == written
    found = bank.read(sheet, written)
    assert [values for _, values in found.rows] == [
        {**{f.name: f.value for f in sheet.detail if f.type == "const"}, **row} for row in rows
    ]
    for name_, value in (*found.header.items(), *found.trailer.items()):
        if name_ in sums:
            assert value == sums[name_]


@pytest.mark.parametrize(("name", "which"), files())
@given(data=st.data())
def test_a_spoilt_file_is_read_as_it_was_or_refused_with_a_line(name, which, data):
    sheet = SHIPPED[name].sheets[which]
    rows = data.draw(st.lists(row_of(sheet), min_size=1, max_size=4))
    for row in rows:
        if which == "result":
            row["result"] = bank.outcome(sheet, row["outcome"])
    sums = bank.totals(rows)
    head = {**HEAD, "closing_fen": sums["credit_fen"] - sums["debit_fen"]}
    written = bytearray(bank.write(sheet, head, rows))
    for _ in range(data.draw(st.integers(1, 3))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    try:
        bank.read(sheet, bytes(written))
    except StatementError as error:
        assert error.line >= 1 and error.reason and len(error.problems) <= 100


# What must not change unnoticed when the end of a file is missing.
MONEY = ("order_no", "serial", "terminal_no", "reference", "direction", "amount_fen", "fee_fen")


def money_of(rows, which):
    """The rows' money; of a result that of its successes, for a bank may answer in parts."""
    counted = [row for row in rows if which != "result" or row["result"] == "success"]
    names = [name for name in MONEY if name != "serial" or which == "statement"]
    return [{name: row.get(name) for name in names} for row in counted]


@pytest.mark.parametrize(("name", "which"), files())
@given(data=st.data())
def test_a_file_cut_anywhere_is_refused_or_loses_no_money(name, which, data):
    sheet = SHIPPED[name].sheets[which]
    rows = data.draw(st.lists(row_of(sheet), min_size=1, max_size=4))
    for row in rows:
        if which == "result":
            row["result"] = bank.outcome(sheet, row["outcome"])
    sums = bank.totals(rows)
    head = {**HEAD, "closing_fen": sums["credit_fen"] - sums["debit_fen"]}
    written = bank.write(sheet, head, rows)
    cut = written[: data.draw(st.integers(0, len(written) - 1))]
    try:
        found = bank.read(sheet, cut)
    except StatementError as error:
        assert error.line >= 1 and error.reason
    else:
        assert money_of([row for _, row in found.rows], which) == money_of(rows, which)


@pytest.mark.parametrize(("name", "which"), files())
def test_a_file_beyond_the_limits_is_refused_before_it_is_looked_at(name, which, monkeypatch):
    sheet = SHIPPED[name].sheets[which]
    monkeypatch.setattr(bank, "MAX_FILE_BYTES", 1 << 20)
    assert refusal(b"x" * ((1 << 20) + 1), sheet) == ("too_large", 1)
    monkeypatch.setattr(bank, "MAX_ROWS", 50)
    assert refusal(b"x\n" * 60, sheet) == ("too_large", 50)


@pytest.mark.parametrize("name", ["account-csv", "acquirer-csv"])
def test_money_that_is_no_renminbi_is_refused_with_its_line(name):
    ((which, sheet),) = SHIPPED[name].sheets.items()
    row = {
        "booked_on": HEAD["day"],
        "serial": "J1",
        "direction": "credit",
        "terminal_no": "10000001",
        "reference": "001",
        "traded_on": HEAD["day"],
        "amount_fen": 1000,
        "fee_fen": 3,
        "currency": "CNY",
    }
    good = bank.write(sheet, {**HEAD, "closing_fen": 1000}, [row])
    assert bank.read(sheet, good).rows[0][1]["currency"] == "CNY", which
    assert refusal(good.replace(b"CNY", b"USD"), sheet) == ("currency", 3)


RESULT = SHIPPED["collection-fixed"].sheets["result"]
ROWS = [
    {"seq": 1, "order_no": "N1", "amount_fen": 12345, "outcome": "0000", "serial": "B1"},
    {"seq": 2, "order_no": "N2", "amount_fen": 500, "outcome": "1001", "message": "余额不足"},
]


def result(rows=ROWS, **head):
    known = [{**row, "result": bank.outcome(RESULT, row["outcome"])} for row in rows]
    return bank.write(RESULT, {**HEAD, **head}, known)


def refusal(data, sheet=RESULT):
    with pytest.raises(StatementError) as caught:
        bank.read(sheet, data)
    return caught.value.code, caught.value.line


def test_codes_become_outcomes_and_one_nobody_listed_decides_nothing():
    assert [bank.outcome(RESULT, code) for code in ("0000", "1001", "9999", "7777")] == [
        "success",
        "failed",
        "unknown",
        "unknown",
    ]


def test_a_changed_amount_breaks_the_digest_and_the_total():
    changed = result().replace(b"00000000012345", b"00000000012346")
    assert refusal(changed)[0] == "digest"


def test_totals_that_do_not_add_up_are_refused():
    sheet = SHIPPED["collection-csv"].sheets["result"]
    rows = [{"order_no": "N1", "amount_fen": 100, "outcome": "S", "result": "success"}]
    good = bank.write(sheet, HEAD, rows)
    assert refusal(good.replace(b"|1.00\n", b"|1.01\n", 1), sheet) == ("totals_differ", 1)


def test_the_wrong_encoding_a_cut_line_and_a_missing_column_are_refused():
    assert refusal(result().decode("gbk").encode("utf-8"))[0] in ("encoding", "columns")
    assert refusal(b"\xff" + result()) == ("encoding", 1)
    lines = result().splitlines(keepends=True)
    assert refusal(b"".join([lines[0], lines[1][:-10] + b"\r\n", *lines[2:]])) == ("columns", 2)
    sheet = SHIPPED["collection-csv"].sheets["result"]
    text = bank.write(sheet, HEAD, []).decode()
    assert refusal(text.replace("状态", "状况").encode(), sheet) == ("header", 2)
    assert refusal(b"") == ("empty", 1)


def test_a_name_the_bank_cannot_write_is_said_with_its_row():
    deduction = SHIPPED["collection-fixed"].sheets["deduction"]
    row = {
        "seq": 1,
        "order_no": "N1",
        "contract_no": "C",
        "card_no": "6222",
        "amount_fen": 1,
        "holder": "\U00030edd",
        "purpose": "热费",
    }
    with pytest.raises(ValueError, match="第 1 笔：户名"):
        bank.write(deduction, HEAD, [row])
    csv = SHIPPED["collection-csv"].sheets["deduction"]
    with pytest.raises(ValueError, match="分隔符"):
        bank.write(csv, HEAD, [{**row, "holder": "a|b"}])


def test_a_format_with_flaws_names_each_of_them():
    with pytest.raises(FormatError) as caught:
        parse('name="x"\ntitle="y"\nsource="z"\nkind="collection"\n[deduction]\nencoding="ebcdic"')
    assert "encoding must be" in str(caught.value)
    assert "needs a [result] table" in str(caught.value)
    assert "field card_no is missing" in str(caught.value)
