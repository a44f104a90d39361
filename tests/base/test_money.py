"""Money is whole fen: rounding, reading and writing."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.base.energy import gj_from_wh, kwh_from_wh, wh_from_gj, wh_from_kwh
from backend.base.exact import exact, plain
from backend.base.money import fen_from_yuan, fen_of, round_half_up, yuan_str


@pytest.mark.parametrize(
    ("value", "fen"),
    [("0.5", 1), ("-0.5", -1), ("1.4999999999999999999999999", 1), ("2.5", 3), ("-2.4", -2)],
)
def test_a_half_goes_away_from_zero(value, fen):
    assert round_half_up(Decimal(value)) == fen


@given(st.fractions(), st.integers(min_value=-(10**9), max_value=10**9))
def test_rounding_is_within_a_half_and_moves_with_whole_numbers(value, whole):
    assert abs(round_half_up(value) - value) <= Fraction(1, 2)
    assert round_half_up(-value) == -round_half_up(value)
    if (value + whole > 0) == (value > 0):
        assert round_half_up(value + whole) == round_half_up(value) + whole


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_what_is_written_can_be_read_back(amount_fen):
    assert fen_from_yuan(yuan_str(amount_fen)) == amount_fen


def test_yuan_may_have_one_decimal_or_none():
    assert [fen_from_yuan(text) for text in ("12", "12.3", "-0.05")] == [1200, 1230, -5]


@pytest.mark.parametrize(
    "text", ["", "1.234", "1.", ".5", "+1", " 1", "1e3", "01", "NaN", "1,000", "１２", "12\n"]
)
def test_anything_but_plain_yuan_is_refused(text):
    with pytest.raises(ValueError, match="yuan"):
        fen_from_yuan(text)


def test_a_product_is_rounded_once():
    assert fen_of(Decimal("56.8") * Decimal("44.41")) == 252249


@given(st.integers(min_value=0, max_value=10**15))
def test_wh_become_gj_and_kwh_and_come_back(energy_wh):
    assert wh_from_gj(gj_from_wh(energy_wh)) == energy_wh
    assert wh_from_kwh(kwh_from_wh(energy_wh)) == energy_wh
    assert Fraction(gj_from_wh(energy_wh)) == Fraction(energy_wh * 36, 10**7)


def test_a_gj_is_277777_and_seven_ninths_wh():
    assert wh_from_gj(Decimal(1)) == 277778


@pytest.mark.parametrize("value", [float("nan"), float("inf"), Decimal("NaN"), Decimal("1e50")])
def test_what_is_no_ordinary_number_is_refused(value):
    with pytest.raises(ValueError, match=r"finite|range"):
        exact(value)


def test_a_float_is_read_as_it_prints():
    assert exact(62.4) == Fraction(624, 10)


def test_numbers_are_written_without_exponent_or_trailing_zeros():
    numbers = [Fraction(85), Fraction(3, 10), Fraction(-1, 8), Fraction(10**8), Fraction(0)]
    assert [plain(number) for number in numbers] == ["85", "0.3", "-0.125", "100000000", "0"]
    assert plain(Fraction(455, 3), 9) == "151.666667"
