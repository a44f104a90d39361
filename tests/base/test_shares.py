"""Largest remainder: whole parts that add up."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.base.shares import largest_remainder, share_parts

WEIGHTS = st.dictionaries(
    st.integers(min_value=1, max_value=9999),
    st.fractions(min_value=0, max_value=1000, max_denominator=1000),
    min_size=1,
    max_size=30,
).filter(lambda weights: any(weights.values()))
TOTALS = st.integers(min_value=0, max_value=10**12)


@given(TOTALS, WEIGHTS)
def test_parts_add_up_and_stay_within_one_of_their_quota(total, weights):
    parts = largest_remainder(total, weights)
    whole = sum(weights.values())
    assert sum(parts.values()) == total
    assert all(abs(parts[key] - total * w / whole) < 1 for key, w in weights.items())
    assert all(parts[key] == 0 for key, weight in weights.items() if weight == 0)


@given(TOTALS, WEIGHTS, st.randoms())
def test_the_order_of_households_does_not_matter(total, weights, random):
    keys = list(weights)
    random.shuffle(keys)
    assert largest_remainder(total, {key: weights[key] for key in keys}) == largest_remainder(
        total, weights
    )


@given(TOTALS, WEIGHTS)
def test_a_heavier_household_never_gets_less(total, weights):
    parts = largest_remainder(total, weights)
    ranked = sorted(weights, key=lambda key: (weights[key], -key))
    ranked_parts = [parts[key] for key in ranked]
    assert ranked_parts == sorted(ranked_parts)


@given(TOTALS, WEIGHTS, st.fractions(min_value="1/1000", max_value=1000))
def test_a_common_factor_of_the_weights_changes_nothing(total, weights, factor):
    scaled = {key: weight * factor for key, weight in weights.items()}
    assert largest_remainder(total, scaled) == largest_remainder(total, weights)


def test_ties_go_to_the_lower_id_by_value_and_text_by_character():
    assert largest_remainder(1, {1001: 1, 101: 1}) == {1001: 0, 101: 1}
    assert largest_remainder(1, {"101": 1, "1001": 1}) == {"101": 0, "1001": 1}


def test_the_margin_says_how_close_the_rounding_was():
    assert share_parts(10, {"a": 1, "b": 1, "c": 1}).margin == 0
    assert share_parts(10, {"a": 1, "b": 1}).margin == 1
    uneven = {"a": Decimal("0.337"), "b": Decimal("0.663")}
    assert share_parts(100, uneven).margin == Fraction(3, 10)


@pytest.mark.parametrize(
    ("total", "weights"), [(-1, {1: 1}), (5, {1: -1, 2: 3}), (5, {1: 0}), (5, {}), (5, {1: 1e999})]
)
def test_what_cannot_be_shared_is_refused(total, weights):
    with pytest.raises(ValueError, match=r"share|negative|finite"):
        largest_remainder(total, weights)


def test_nothing_can_be_shared_among_those_without_weight():
    assert largest_remainder(0, {1: 0, 2: 0}) == {1: 0, 2: 0}
