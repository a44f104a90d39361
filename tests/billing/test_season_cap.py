"""A cap on monthly bills: never more than the season's, and settled to the same."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.base.db import db
from backend.billing import pricing, season, season_cap, service, tariff_params
from backend.billing.lines import total_fen
from backend.billing.pricing import Facts
from backend.billing.season_cap import SoFar
from tests import builders
from tests.billing.framed import checker, meter_of, read, tamper
from tests.billing.test_season import BEGIN, END, MIDDLE, PRICE, day_start
from tests.builders import NOON

AREA_DM2 = 6_240
CAP_FEN = 239_117  # 62.40 m2 x 38.32


def bills(kind, *months):
    """(days, Wh) of a season, month by month, as the lines of each bill."""
    params = PRICE | {"monthly_cap": kind}
    before, made = SoFar(), []
    for days, wh in months:
        lines = pricing.price("two_part", params, Facts(AREA_DM2, wh, days, so_far=before))
        own = [line for line in lines if line.code != season_cap.CODE]
        before = SoFar(
            before.fee_fen + total_fen(own),
            before.billed_fen + total_fen(lines),
            before.days + days,
        )
        made.append(total_fen(lines))
    return made, before


month = st.tuples(st.integers(1, 12), st.integers(0, 20_000_000))


@given(st.sampled_from(season_cap.KINDS), st.lists(month, min_size=1, max_size=6))
def test_the_season_so_far_is_the_lesser_of_its_fee_and_its_cap(kind, months):
    made, after = bills(kind, *months)
    assert all(fen >= 0 for fen in made)
    share = Decimal(min(after.days, 30)) / 30 if kind == "by_days" else 1
    most = int((Decimal("239116.8") * share + Decimal("0.5")) // 1)
    assert sum(made) == after.billed_fen == min(after.fee_fen, most)


def test_a_cold_month_is_relieved_and_a_mild_one_makes_up_for_it():
    made, after = bills("by_days", (10, 5_000_000), (10, 0), (10, 0))
    assert made == [79_706, 68_872, 34_320]  # the first a third of the cap, not its 1,142.58
    assert sum(made) == after.fee_fen


def test_once_the_seasons_cap_is_reached_bills_are_nothing():
    made, _ = bills("season", (10, 20_000_000), (10, 5_000_000), (10, 5_000_000))
    assert made == [CAP_FEN, 0, 0]


@pytest.mark.parametrize("kind", season_cap.KINDS)
def test_capped_months_settle_to_nothing_and_are_walked_back(app, kind):
    builders.make_tariff("heat", "two_part", PRICE | {"monthly_cap": kind})
    home = builders.make_household(builders.make_building())
    builders.make_meter(home.building, home, "heat", max_per_day=10**9)
    days = zip((BEGIN, MIDDLE, END), (0, 4_000_000, 14_000_000), strict=True)
    read(meter_of(home, "heat"), *((day_start(day), wh) for day, wh in days))
    made = []
    for begin, end in ((BEGIN, MIDDLE), (MIDDLE, END)):
        made += service.issue(home.building_id, "heat", begin, end, NOON).bills
        db.session.commit()
    assert sum(bill.amount_fen for bill in made) == CAP_FEN
    assert "采暖季结束统一结算" in made[-1].lines[-1].explanation
    settled = season.settle(home.building_id, BEGIN, END, NOON)
    assert [bill.amount_fen for bill in settled.bills] == [0]
    assert settled.credits == []
    assert all(checker().bill(bill.id).differences == [] for bill in (*made, *settled.bills))
    tamper(
        "UPDATE bill SET basis = jsonb_set(basis, '{facts,so_far,1}', '5') WHERE id = :id",
        id=made[-1].id,
    )
    assert any("本季此前" in said for said in checker().bill(made[-1].id).differences)


def test_a_cap_without_its_ratio_is_no_price():
    params = {name: PRICE[name] for name in ("k1", "k2", "season_days", "area_price")}
    (fault,) = tariff_params.faults("heat", "two_part", params | {"monthly_cap": "season"})
    assert fault.field == "cap_ratio"
    (fault,) = tariff_params.faults("heat", "two_part", PRICE | {"monthly_cap": "never"})
    assert fault.field == "monthly_cap"
