"""Tiers, time of use, late fees and prepaid accounts."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from itertools import accumulate

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.base.money import round_half_up
from backend.billing.late_fee import Terms, late_fee, late_fee_line
from backend.billing.lines import explain_zh, total_fen
from backend.billing.prepaid import Account, Instalment, Plan, close_day, run
from backend.billing.tiered import Tier, TierTariff, tier_bounds, tier_usage, tiered_lines
from backend.billing.tou import Interval, TouRule, energy_by_period, minute_of, tou_lines

WATER = TierTariff([Tier(180, 5, 30), Tier(260, 7, 30), Tier(None, 9)], base_persons=5)
USAGES = st.decimals(-200, 400, places=2)


@given(USAGES, USAGES, USAGES)
def test_two_steps_use_the_tiers_like_one(first, second, third):
    bounds = tier_bounds(WATER)
    one, two = tier_usage(first, second, bounds), tier_usage(second, third, bounds)
    assert [a + b for a, b in zip(one, two, strict=True)] == tier_usage(first, third, bounds)
    assert sum(one) == Fraction(second) - Fraction(first)


@given(st.decimals(0, 1000, places=2), st.decimals(0, 1000, places=2))
def test_a_correction_gives_back_exactly_what_was_charged(before, usage):
    charged = total_fen(tiered_lines(WATER, usage, "立方米", prior=before))
    undone = total_fen(tiered_lines(WATER, -usage, "立方米", prior=before + usage))
    assert undone == -charged


def test_the_bound_belongs_to_the_lower_tier():
    bounds = tier_bounds(WATER)
    assert tier_usage(0, 180, bounds) == [180, 0, 0]
    assert tier_usage(180, 181, bounds) == [0, 1, 0]


def test_extra_persons_widen_every_bounded_tier_and_months_scale_it_unrounded():
    assert tier_bounds(WATER, persons=7) == [240, 320, None]
    assert tier_bounds(WATER, persons=3) == [180, 260, None]
    assert tier_bounds(WATER, months=7) == [105, Fraction(455, 3), None]


def test_a_tier_line_says_where_in_the_year_it_lies():
    lines = tiered_lines(WATER, 12, "立方米", prior=172, title_zh="水费")
    assert [line.amount_fen for line in lines] == [4000, 2800]
    assert explain_zh(lines[1]) == (
        "水费第二档（年累计 180–260）：4 立方米 × 7 元/立方米 = 28.00 元"
    )


@pytest.mark.parametrize(
    "tiers",
    [
        [],
        [Tier(100, 1)],
        [Tier(None, 1), Tier(None, 2)],
        [Tier(100, 1), Tier(100, 2), Tier(None, 3)],
        [Tier(None, -1)],
    ],
)
def test_tiers_that_do_not_rise_to_an_open_end_are_refused(tiers):
    with pytest.raises(ValueError, match="tier"):
        TierTariff(tiers)


SCHEDULE = [
    TouRule("sharp", 18 * 60, 21 * 60, frozenset({1, 7, 8, 12})),
    TouRule("peak", 10 * 60, 15 * 60),
    TouRule("peak", 18 * 60, 21 * 60),
    TouRule("valley", 23 * 60, 7 * 60),
    TouRule("flat", 7 * 60, 23 * 60),
]
PRICES = {"sharp": Decimal("1.2"), "peak": 1, "flat": Decimal("0.6"), "valley": Decimal("0.3")}


@given(
    st.datetimes(datetime(2024, 1, 1), datetime(2025, 12, 31)),
    st.integers(1, 5000),
    st.decimals(0, 1000, places=3),
)
def test_all_energy_lands_in_some_period(start, minutes, energy):
    split = energy_by_period(SCHEDULE, [Interval(start, minutes, energy)])
    assert sum(split.values()) == Fraction(energy)


@settings(deadline=None, max_examples=30)
@given(st.datetimes(datetime(2024, 1, 1), datetime(2025, 12, 31)), st.integers(1, 1600))
def test_a_long_interval_splits_like_its_minutes_one_by_one(start, minutes):
    start = start.replace(second=0, microsecond=0)
    whole = energy_by_period(SCHEDULE, [Interval(start, minutes, minutes)])
    single = [Interval(start + timedelta(minutes=n), 1, 1) for n in range(minutes)]
    assert whole == energy_by_period(SCHEDULE, single)


def test_bounds_are_from_inclusive_to_exclusive_and_the_first_rule_wins():
    def period(text):
        split = energy_by_period(SCHEDULE, [Interval(datetime.fromisoformat(text), 1, 1)])
        return next(name for name, energy in split.items() if energy)

    assert period("2025-04-15T18:00") == "peak"
    assert period("2025-04-15T20:59") == "peak"
    assert period("2025-04-15T21:00") == "flat"
    assert period("2025-01-15T18:00") == "sharp"


def test_the_month_is_that_of_the_moment_also_past_midnight():
    schedule = [TouRule("winter", 0, 1440, frozenset({12})), TouRule("other", 0, 1440)]
    split = energy_by_period(schedule, [Interval(datetime(2024, 12, 31, 23), 120, 2)])
    assert split == {"winter": 1, "other": 1}


def test_a_moment_without_a_rule_or_a_period_without_a_price_is_refused():
    with pytest.raises(ValueError, match=r"00:30, month 4"):
        energy_by_period(SCHEDULE[1:2], [Interval(datetime(2025, 4, 1, 0, 30), 1, 1)])
    with pytest.raises(ValueError, match="no price for flat"):
        tou_lines(SCHEDULE, {k: v for k, v in PRICES.items() if k != "flat"}, [])
    for text in ("24:01", "7", "7:5", "a:00", "12:60", "-1:00"):
        with pytest.raises(ValueError, match="time of day"):
            minute_of(text)


DUE = date(2025, 1, 15)
PAYMENTS = st.lists(
    st.tuples(st.integers(-30, 1500), st.integers(0, 200_000)).map(
        lambda pair: (DUE + timedelta(days=pair[0]), pair[1])
    ),
    max_size=5,
)
TERMS = st.builds(
    Terms,
    rate=st.decimals(0, Decimal("0.01"), places=4),
    cap_ratio=st.decimals(0, 1, places=2),
    min_fen=st.integers(0, 500),
    order=st.sampled_from(["principal_first", "penalty_first"]),
)


@given(st.integers(0, 10**6), st.integers(-10, 3000), TERMS, PAYMENTS)
def test_a_late_fee_is_never_above_the_principal_and_no_fen_is_lost(principal, days, terms, paid):
    as_of = DUE + timedelta(days=days)
    fee = late_fee(principal, DUE, as_of, terms, paid)
    assert 0 <= fee.fee_fen <= principal
    seen = sum(fen for day, fen in paid if day <= as_of)
    used = principal - fee.principal_outstanding_fen + fee.penalty_paid_fen + fee.credit_fen
    assert used == seen


@given(st.integers(0, 10**6), st.integers(0, 1500), TERMS, PAYMENTS, st.randoms())
def test_the_order_payments_are_told_in_does_not_matter(principal, days, terms, paid, random):
    shuffled = list(paid)
    random.shuffle(shuffled)
    as_of = DUE + timedelta(days=days)
    assert late_fee(principal, DUE, as_of, terms, shuffled) == late_fee(
        principal, DUE, as_of, terms, paid
    )


@given(st.integers(0, 10**6), st.integers(0, 800), TERMS)
def test_a_day_more_never_lowers_the_fee(principal, days, terms):
    fees = [
        late_fee(principal, DUE, DUE + timedelta(days=n), terms).fee_fen for n in (days, days + 1)
    ]
    assert fees[0] <= fees[1]


def test_the_paying_day_counts_and_the_due_day_does_not():
    terms = Terms(Decimal("0.001"))
    assert late_fee(100_000, DUE, DUE, terms).fee_fen == 0
    paid_next_day = [(DUE + timedelta(days=1), 100_000)]
    fee = late_fee(100_000, DUE, DUE + timedelta(days=9), terms, paid_next_day)
    assert (fee.fee_fen, fee.days) == (100, 1)


def test_paid_in_time_nothing_accrues_not_even_the_least_fee():
    terms = Terms(Decimal("0.001"), min_fen=100)
    assert late_fee(5000, DUE, date(2026, 1, 1), terms, [(DUE, 5000)]).fee_fen == 0


def test_a_late_fee_explains_itself():
    terms = Terms(Decimal("0.0005"))
    fee = late_fee(100_000, DUE, date(2025, 1, 29), terms)
    assert explain_zh(late_fee_line(fee, 100_000, DUE, terms)) == (
        "违约金：应于 2025-01-15 前缴清 1000.00 元，逾期 14 天，"
        "按每日未缴本金的千分之0.5计，最高不超过本金，合计 7.00 元"
    )


@pytest.mark.parametrize(
    "make",
    [
        lambda: Terms(-1),
        lambda: Terms(1, cap_ratio=2),
        lambda: Terms(1, order="banker_first"),
        lambda: late_fee(-1, DUE, DUE, Terms(1)),
        lambda: late_fee(1, DUE, DUE, Terms(1), [(DUE, -1)]),
    ],
)
def test_strange_terms_are_refused(make):
    with pytest.raises(ValueError, match=r"negative|order"):
        make()


FLAT = TierTariff([Tier(None, Decimal("0.4883"))])
DAILY = st.lists(st.decimals(0, 30, places=2), min_size=1, max_size=60)


@settings(deadline=None)
@given(DAILY, st.integers(-1000, 10_000), st.integers(1, 80))
def test_daily_deductions_never_drift_from_the_whole(usages, opening, days):
    plan = Plan(FLAT, instalment=Instalment(192_000, days))
    closing, closings = run(Account(opening), usages, plan, {})
    owed = sum(map(Fraction, usages)) * Fraction("48.83")
    owed += Fraction(192_000 * min(days, len(usages)), days)
    assert sum(day.deduction_fen for day in closings) == round_half_up(owed)
    assert closing.balance_fen == opening - round_half_up(owed)
    balances = accumulate((-day.deduction_fen for day in closings), initial=opening)
    assert [day.balance_fen for day in closings] == list(balances)[1:]


def test_tiers_go_on_counting_from_what_was_used_this_year():
    plan = Plan(WATER)
    _, day = close_day(Account(10_000, used=Fraction(178)), 4, plan)
    assert day.deduction_fen == 2 * 500 + 2 * 700


def events_of(opening, usages, topups, **plan):
    tariff = TierTariff([Tier(None, 1)])
    _, days = run(Account(opening), usages, Plan(tariff, **plan), topups)
    return [(n, event) for n, day in enumerate(days, start=1) for event in day.events]


def test_each_event_comes_once_until_a_top_up_lifts_the_balance_again():
    happened = events_of(
        1500, [6, 6, 6, 6, 6, 6], {5: 1000, 6: 1000}, warn_fen=1000, close_after_days=2
    )
    assert happened == [
        (1, "low_balance"),
        (3, "overdraft"),
        (4, "close"),
        (5, "reopen"),
        (5, "overdraft"),
        (6, "overdraft"),
    ]


def test_a_top_up_counts_before_the_charge_of_its_day():
    assert events_of(0, [5], {1: 500}, close_after_days=1) == []
    assert events_of(0, [5], {1: 499}, close_after_days=1) == [(1, "overdraft"), (1, "close")]


def test_closings_below_zero_must_be_in_a_row():
    assert (3, "close") not in events_of(0, [1, 1, 1], {2: 500}, close_after_days=2)


def test_a_top_up_too_small_opens_nothing():
    happened = events_of(0, [5, 5, 0], {3: 900}, close_after_days=1)
    assert happened == [(1, "overdraft"), (1, "close")]


def test_a_top_up_on_no_day_of_the_period_is_refused_not_lost():
    for day in (0, 3):
        with pytest.raises(ValueError, match="top-up"):
            run(Account(0), [1, 1], Plan(FLAT), {day: 100})
    with pytest.raises(ValueError, match="negative"):
        close_day(Account(0), 1, Plan(FLAT), topup_fen=-1)
