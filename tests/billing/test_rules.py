"""Heat bills, caps, settlements and splits; and the sentence that goes with each line."""

from datetime import date
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.base.money import round_half_up
from backend.billing.lines import adjusted, explain_zh, priced, total_fen
from backend.billing.rules import (
    area_heat,
    cap_fen,
    cap_lines,
    components,
    flat_price,
    settlement_fen,
    suspended_heat,
    two_part_heat,
)
from backend.billing.splits import CostShare, split_cost, split_over_periods

K1, K2 = Decimal("16.5"), Decimal("44.41")
AMOUNTS = st.decimals(0, 10**6, places=4)
PRICES = st.decimals(0, 1000, places=4)


def test_equation_11_at_harbin():
    lines = two_part_heat(80, Decimal("56.8"), K1, K2)
    assert [(line.code, line.amount_fen) for line in lines] == [
        ("basic", 132000),
        ("metered", 252249),
    ]


def test_a_line_explains_itself_with_the_numbers_in_it():
    basic, metered = two_part_heat(80, Decimal("56.8"), K1, K2)
    assert explain_zh(basic) == "基本热费：80 平方米 × 16.5 元/平方米 = 1320.00 元"
    assert explain_zh(metered) == (
        "计量热费：56.8 吉焦 × 44.41 元/吉焦 = 2522.488 元，四舍五入到分为 2522.49 元"
    )


def test_a_suspended_household_pays_its_part_of_the_area_fee_and_sees_it():
    (line,) = suspended_heat(80, Decimal("38.32"), Decimal("0.2"))
    assert line.amount_fen == 61312
    assert explain_zh(line) == "停热基本费：80 平方米 × 38.32 元/平方米 × 20% = 613.12 元"


def test_the_cap_is_a_line_of_its_own_with_its_reason():
    lines = cap_lines(two_part_heat(80, Decimal("56.8"), K1, K2), 80, Decimal("38.32"))
    assert [line.amount_fen for line in lines] == [132000, 252249, -77689]
    assert total_fen(lines) == cap_fen(80, Decimal("38.32"), 1) == 306560
    assert explain_zh(lines[-1]) == (
        "封顶减免：计量收费 3842.49 元高于封顶额 3065.60 元"
        "（80 平方米 × 38.32 元/平方米 × 100%），按封顶额收取，减免 776.89 元"
    )


@given(AMOUNTS, AMOUNTS, PRICES, st.decimals(0, 2, places=2))
def test_a_capped_bill_is_the_lesser_of_the_two(area, heat, price, ratio):
    lines = two_part_heat(area, heat, K1, K2)
    capped = total_fen(cap_lines(lines, area, price, ratio))
    assert capped == min(total_fen(lines), cap_fen(area, price, ratio))


@given(AMOUNTS, PRICES)
def test_a_line_is_its_product_rounded_half_up_once(quantity, price):
    (line,) = flat_price("gas", "燃气", quantity, "立方米", price)
    assert line.amount_fen == round_half_up(Fraction(quantity) * Fraction(price) * 100)


def test_lines_are_rounded_before_they_are_summed():
    lines = two_part_heat(Decimal("0.005"), Decimal("0.005"), 1, 1)
    assert total_fen(lines) == 2


def test_settlement_asks_for_the_rest_or_gives_back():
    lines = area_heat(Decimal("86.7"), Decimal("38.32"))
    assert settlement_fen(lines, 300_000) == 32_234
    assert settlement_fen(lines, 400_000) == -67_766


def test_components_price_one_usage_several_times():
    prices = {"water": Decimal("2.07"), "sewage": Decimal("1.36")}
    lines = components(13, "立方米", prices, {"water": "水费", "sewage": "污水处理费"})
    assert [line.amount_fen for line in lines] == [2691, 1768]
    assert explain_zh(lines[0]) == "水费：13 立方米 × 2.07 元/立方米 = 26.91 元"


def test_an_adjustment_is_worth_exactly_what_it_says():
    line = adjusted("relief", "减免", -1234, explain_zh="不热退费")
    assert (line.price, line.amount_fen) == (Decimal("-12.34"), -1234)
    assert explain_zh(line) == "减免：不热退费"


def test_a_quantity_without_end_is_still_a_sentence():
    line = priced("tier_1", "第一档", Fraction(100, 3), "立方米", 3)
    assert line.amount_fen == 10_000
    assert explain_zh(line).startswith("第一档：33.3333333333 立方米")


@pytest.mark.parametrize(
    "make",
    [
        lambda: two_part_heat(-1, 1, K1, K2),
        lambda: two_part_heat(1, -1, K1, K2),
        lambda: area_heat(1, -1),
        lambda: suspended_heat(1, 1, -1),
        lambda: flat_price("gas", "燃气", 1, "立方米", -1),
        lambda: components(1, "立方米", {"water": -1}, {}),
        lambda: cap_fen(1, 1, -1),
    ],
)
def test_negative_prices_areas_and_heat_are_refused(make):
    with pytest.raises(ValueError, match="negative"):
        make()


DAYS = st.integers(1, 400)


@settings(deadline=None)
@given(st.integers(-(10**9), 10**9), DAYS, st.lists(st.integers(0, 400), max_size=5))
def test_parts_of_a_period_add_up(total, days, offsets):
    begin = date(2024, 11, 1)
    cuts = [date.fromordinal(begin.toordinal() + min(offset, days)) for offset in offsets]
    end = date.fromordinal(begin.toordinal() + days)
    parts = split_over_periods(total, begin, end, cuts)
    assert sum(parts) == total
    assert len(parts) == len(cuts) + 1


def test_a_bill_over_new_year_is_split_by_days_and_ties_go_to_the_earlier():
    new_year = [date(2025, 1, 1)]
    assert split_over_periods(30, date(2024, 12, 15), date(2025, 1, 26), new_year) == [12, 18]
    assert split_over_periods(3, date(2024, 12, 31), date(2025, 1, 2), new_year) == [2, 1]


def test_a_season_without_degree_days_is_split_by_days():
    begin, end = date(2024, 6, 1), date(2024, 6, 5)
    assert split_over_periods(8, begin, end, [date(2024, 6, 2)], [0, 0, 0, 0]) == [2, 6]


@pytest.mark.parametrize(
    ("begin", "end", "cuts", "weights"),
    [
        (date(2024, 6, 1), date(2024, 6, 1), [], None),
        (date(2024, 6, 1), date(2024, 6, 3), [date(2024, 6, 4)], None),
        (date(2024, 6, 1), date(2024, 6, 3), [], [1]),
        (date(2024, 6, 1), date(2024, 6, 3), [], [1, -1]),
    ],
)
def test_a_split_that_makes_no_sense_is_refused(begin, end, cuts, weights):
    with pytest.raises(ValueError, match=r"period|degree|negative"):
        split_over_periods(10, begin, end, cuts, weights)


HOUSEHOLDS = st.lists(
    st.tuples(st.integers(1, 500), st.integers(0, 500)), min_size=1, max_size=12
).map(lambda rows: [CostShare(n, area, weight) for n, (area, weight) in enumerate(rows)])


@given(st.integers(0, 10**9), st.decimals(0, 1, places=3), HOUSEHOLDS)
def test_basic_and_variable_parts_add_up_to_the_cost(total_fen_, ratio, households):
    split = split_cost(total_fen_, ratio, households)
    assert sum(split.basic_fen.values()) == round_half_up(total_fen_ * Fraction(ratio))
    assert sum(split.total_fen.values()) == total_fen_
    assert all(fen >= 0 for fen in split.total_fen.values())


def test_a_base_ratio_above_one_and_a_double_household_are_refused():
    with pytest.raises(ValueError, match="base_ratio"):
        split_cost(100, Decimal("1.01"), [CostShare(1, 1, 1)])
    with pytest.raises(ValueError, match="same id"):
        split_cost(100, 0, [CostShare(1, 1, 1), CostShare(1, 1, 1)])
