"""Capitals, tax inside a price, red letters to the last fen, tax ids by their check digit."""

import datetime
from dataclasses import replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.cashier.papers import rules, tax_ids
from backend.cashier.papers.rules import Line, capitals, net_price, taxed

DIGITS = {char: n for n, char in enumerate("零壹贰叁肆伍陆柒捌玖")}
UNITS = {"拾": 10, "佰": 100, "仟": 1000}


def read_out(text):
    """What a person reads capitals as: an inverse that shares nothing with what wrote them."""
    sign = -1 if text.startswith("负") else 1
    text = text.removeprefix("负").removesuffix("整")
    yuan, _, cents = text.partition("元") if "元" in text else ("", "", text)
    fen = 0
    for char, worth in (("角", 10), ("分", 1)):
        if char in cents:
            digit, _, cents = cents.partition(char)
            fen += DIGITS[digit[-1]] * worth
    return sign * (_yuan(yuan) * 100 + fen)


def _yuan(text):
    if "亿" in text:
        high, _, low = text.partition("亿")
        return _yuan(high) * 10**8 + _yuan(low)
    if "万" in text:
        high, _, low = text.partition("万")
        return _yuan(high) * 10**4 + _yuan(low)
    total = digit = 0
    for char in text:
        if char in UNITS:
            total, digit = total + digit * UNITS[char], 0
        else:
            digit = DIGITS[char]
    return total + digit


@pytest.mark.parametrize(
    ("fen", "text"),
    [
        (12000, "壹佰贰拾元整"),
        (140950, "壹仟肆佰零玖元伍角整"),
        (600714, "陆仟零柒元壹角肆分"),
        (168032, "壹仟陆佰捌拾元叁角贰分"),
        (10700053, "壹拾万柒仟元伍角叁分"),
        (1640902, "壹万陆仟肆佰零玖元零贰分"),
        (32504, "叁佰贰拾伍元零肆分"),
        (1, "壹分"),
        (0, "零元整"),
        (-12345, "负壹佰贰拾叁元肆角伍分"),
        (50000000100, "伍亿零壹元整"),
    ],
)
def test_capitals_as_the_rules_of_settlement_write_them(fen, text):
    assert capitals(fen) == text


@given(st.integers(-(10**17), 10**17))
def test_capitals_read_out_are_the_sum_again(fen):
    text = capitals(fen)
    assert read_out(text) == fen
    assert "零零" not in text
    assert text.endswith(("整", "分"))


@given(st.integers(0, 10**12), st.integers(0, 10_000))
def test_tax_inside_a_price_is_at_most_half_a_fen_off(amount_fen, rate_bp):
    tax_fen = rules.tax_within(amount_fen, rate_bp)
    net_fen = amount_fen - tax_fen
    assert abs(net_fen * rate_bp - tax_fen * 10_000) * 2 <= 10_000 + rate_bp


LINES = st.lists(
    st.builds(
        lambda fen, rate, bill: rules.taxed(
            Line("热费", fen, ("heat", "water")[bill % 2], bill),
            "exempt" if rate is None else "taxed",
            rate,
        ),
        st.integers(1, 10**7),
        st.sampled_from([None, 300, 900, 1300]),
        st.integers(1, 4),
    ),
    min_size=1,
    max_size=6,
)


@given(LINES, st.lists(st.integers(1, 10**7), max_size=5), st.integers(0, 10**6))
def test_red_letters_take_back_exactly_what_was_issued_whatever_the_parts(lines, parts, off):
    off = min(off, sum(line.amount_fen for line in lines) - 1)
    lines = [replace(line) for line in lines]
    issued = [*lines, *rules.discounts(lines, off, "抵扣")] if off else lines
    back = []
    for part in [*parts, 10**18]:
        left = sum(line.amount_fen for line in (*issued, *back))
        if not left:
            break
        more = rules.taken_back(issued, back, min(part, left), "红冲")
        assert -sum(line.amount_fen for line in more) == min(part, left)
        back += more
    assert sum(line.amount_fen for line in (*issued, *back)) == 0
    assert sum(line.tax_fen for line in (*issued, *back)) == 0
    for bill in {line.bill_id for line in issued}:
        assert sum(line.amount_fen for line in (*issued, *back) if line.bill_id == bill) == 0


def test_more_than_is_left_cannot_be_taken_back():
    with pytest.raises(ValueError, match="101 fen of 100"):
        rules.taken_back([Line("热费", 100)], [], 101, "红冲")


# Published codes: the standard's own example, and companies' from their annual reports.
@pytest.mark.parametrize(
    "code", ["91350100M000100Y43", "91110108551385082Q", "91440300708461136T", "110108551385082"]
)
def test_published_tax_ids_are_right_and_a_changed_character_is_not(code):
    assert tax_ids.is_tax_id(code)
    for at in (9, len(code) - 1):
        other = "2" if code[at] != "2" else "3"
        assert not tax_ids.is_tax_id(code[:at] + other + code[at + 1 :]), at


@given(st.text(max_size=24))
def test_any_text_is_a_tax_id_or_not(text):
    assert tax_ids.is_tax_id(text) in (True, False)
    tax_ids.tidy(text)


def test_a_receipt_is_voided_on_its_day_and_an_invoice_in_its_month():
    day = datetime.date(2026, 11, 20)
    assert rules.may_void("receipt", day, day)
    assert not rules.may_void("receipt", day, day + datetime.timedelta(days=1))
    assert rules.may_void("invoice", day, datetime.date(2026, 11, 30))
    assert not rules.may_void("special", day, datetime.date(2026, 12, 1))


def test_a_rate_reads_as_people_write_it():
    assert [rules.rate_text("taxed", bp) for bp in (900, 1350, 50, 0)] == [
        "9%",
        "13.5%",
        "0.5%",
        "0%",
    ]
    assert rules.rate_text("exempt", None) == "免税"


@given(
    st.integers(1, 10**10),
    st.sampled_from([None, 0, 300, 900, 1300]),
    st.decimals("0.001", "99999", places=4),
    st.none() | st.decimals("0.01", "999", places=4),
)
def test_an_invoices_price_times_its_quantity_is_its_net_sum(fen, rate_bp, quantity, price):
    plain = Line("", fen, quantity=quantity, price=price)
    line = taxed(plain, "exempt" if rate_bp is None else "taxed", rate_bp)
    off_yuan = abs(net_price(line) * quantity - Decimal(fen - line.tax_fen) / 100)
    assert off_yuan <= max(Decimal("0.005"), quantity * Decimal("0.5e-8"))


def test_a_price_that_comes_out_is_the_bills_own():
    line = Line("", 99590, quantity=Decimal("124.80"), price=Decimal("7.98"))  # 995.904
    assert net_price(line) == Decimal("7.98")
    assert net_price(replace(line, amount_fen=100000)) == Decimal("8.01282051")
    assert net_price(replace(line, amount_fen=-99590, quantity=Decimal("-124.80"))) == Decimal(
        "7.98"
    )
    assert net_price(Line("", 5)) is None
