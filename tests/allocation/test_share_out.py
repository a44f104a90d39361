"""Whatever was measured of a building: its heat is shared out whole, in any order, and fairly."""

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.allocation.inputs import Household, Measured, Refused, Rules
from backend.allocation.rules import share_out

weights = st.none() | st.fractions(0, 10**6, max_denominator=10**6)
totals = st.integers(0, 10**10)
rules = st.builds(
    Rules,
    missing_rule=st.sampled_from(["building_mean_per_area", "neighbours_mean", "last_period"]),
    missing_limit=st.fractions(0, 1, max_denominator=100),
    neighbours=st.dictionaries(
        st.integers(1, 12), st.lists(st.integers(1, 12), max_size=4), max_size=12
    ),
    last_shares=st.dictionaries(
        st.integers(1, 12), st.fractions(0, Fraction(1, 20), max_denominator=1000), max_size=12
    ),
    common=st.sampled_from(["pro_rata", "fixed_fraction", "metered_loss"]),
    common_fraction=st.fractions(0, 1, max_denominator=100),
)


@st.composite
def buildings(draw):
    """Up to a dozen flats: of any size, some suspended, some missing, some there for a while."""
    ids = draw(st.lists(st.integers(1, 12), min_size=1, max_size=12, unique=True))
    return [
        Measured(
            Household(key, draw(st.integers(1, 300)), suspended=draw(st.integers(0, 5)) == 0),
            draw(weights),
            Fraction(draw(st.integers(0, 86_400))),
        )
        for key in ids
    ]


def taking_part(measures):
    return [m for m in measures if m.active_s > 0 and not m.household.suspended]


@settings(deadline=None)
@given(totals, buildings(), rules)
def test_the_parts_add_up_and_nobody_out_of_it_pays(total, measures, rule):
    if not taking_part(measures):
        with pytest.raises(Refused, match="nobody"):
            share_out(total, measures, rule)
        return
    result = share_out(total, measures, rule)
    assert sum(result.units.values()) == total
    assert all(units >= 0 for units in result.units.values())
    out = {m.household.id for m in measures} - {m.household.id for m in taking_part(measures)}
    assert all(result.units[key] == 0 for key in out)


@settings(deadline=None)
@given(totals, buildings(), rules, st.randoms())
def test_the_order_of_households_changes_nothing(total, measures, rule, chance):
    if not taking_part(measures):
        return
    turned = list(measures)
    chance.shuffle(turned)
    one, other = share_out(total, measures, rule), share_out(total, turned, rule)
    assert one.units == other.units
    assert one.shares == other.shares
    assert one.flags == other.flags


@settings(deadline=None)
@given(totals, buildings(), st.integers(0, 11), st.fractions(0, 1000, max_denominator=100))
def test_more_of_ones_own_heat_never_makes_a_share_smaller(total, measures, which, more):
    here = [m for m in taking_part(measures) if m.weight is not None]
    if len(here) < len(taking_part(measures)) or not any(m.weight for m in here):
        return
    mine = here[which % len(here)]
    raised = [replace(m, weight=m.weight + more) if m is mine else m for m in measures]
    key = mine.household.id
    before, after = share_out(total, measures, Rules()), share_out(total, raised, Rules())
    assert after.shares[key] >= before.shares[key]
    assert after.units[key] >= before.units[key]


@settings(deadline=None)
@given(totals, buildings(), rules)
def test_whoever_was_not_measured_is_named(total, measures, rule):
    here = taking_part(measures)
    if not here:
        return
    flags = share_out(total, measures, rule).flags
    assert {m.household.id for m in here if m.weight is None} <= flags.keys()
