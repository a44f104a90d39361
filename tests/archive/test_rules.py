"""The heating season, warmth and homes like mine."""

from datetime import UTC, date, datetime, timedelta

import pytest

from backend.archive import rules

START, END = (10, 20), (4, 20)
NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("day", "year"),
    [
        (date(2026, 10, 20), 2026),
        (date(2026, 12, 31), 2026),
        (date(2027, 1, 1), 2026),
        (date(2027, 4, 20), 2026),
        (date(2027, 7, 1), 2026),  # in summer the season that ended is shown
        (date(2027, 10, 19), 2026),
        (date(2027, 10, 20), 2027),
    ],
)
def test_a_day_belongs_to_the_season_it_lies_in_or_the_last_one(day, year):
    season = rules.heating_season(day, START, END)
    assert season == rules.Season(date(year, 10, 20), date(year + 1, 4, 20))


def test_a_season_has_a_name_and_a_length():
    season = rules.heating_season(date(2026, 11, 1), START, END)
    assert (season.name, season.days) == ("2026–2027 采暖季", 183)
    leap = rules.heating_season(date(2027, 11, 1), START, END)
    assert leap.days == 184


@pytest.mark.parametrize("text", ["", "10", "13-01", "02-29", "10-32", "x-y", "1-2-3"])
def test_a_season_cannot_begin_on_a_day_that_is_none(text):
    with pytest.raises(ValueError):
        rules.month_day(text)


@pytest.mark.parametrize(
    ("cdeg", "state", "text"),
    [
        (2144, "warm", "室内 21.4 °C，暖和"),
        (1800, "warm", "室内 18.0 °C，暖和"),
        (1799, "cool", "室内 17.9 °C，偏凉"),
        (1600, "cool", "室内 16.0 °C，偏凉"),
        (1599, "cold", "室内 15.9 °C，偏冷"),
        (-55, "cold", "室内 -0.5 °C，偏冷"),
    ],
)
def test_warmth_is_said_by_the_standard_and_never_rounded_up(cdeg, state, text):
    found = rules.warmth(cdeg, NOW, NOW)
    assert (found.state, found.text) == (state, text)


def test_an_old_temperature_says_nothing_about_now():
    assert rules.warmth(2100, NOW - timedelta(hours=2), NOW).state == "warm"
    late = rules.warmth(2100, NOW - timedelta(hours=2, seconds=1), NOW)
    assert (late.state, late.room_cdeg) == ("unknown", 2100)
    assert rules.warmth(None, None, NOW).text == "暂无室温数据"


def test_homes_are_compared_only_where_no_neighbour_can_be_told():
    assert rules.similar_homes((1000, 5000), (3000, 10000), 2) is None
    found = rules.similar_homes((1000, 5000), (3000, 10000), 3)
    assert found == rules.Similar(used_wh_per_m2=30, mine_wh_per_m2=20, pct=-33, homes=3)


def test_nothing_can_be_told_beside_nothing():
    assert rules.similar_homes((1000, 5000), (0, 10000), 5) is None
    assert rules.percent_of(5, 0) is None


def test_percent_is_rounded_half_away_from_zero():
    assert [rules.percent_of(n, 200) for n in (201, 203, 197, 0, 400)] == [1, 2, -2, -100, 100]
