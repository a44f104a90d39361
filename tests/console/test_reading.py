"""抄表成功率: the worst building first, and every meter that needs a person."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from backend.console import queries
from tests import builders
from tests.console.conftest import TODAY, count_reads, keep_state


def rows(page: str) -> list[list[str]]:
    """The cells of every table row, without their tags."""
    bodies = re.findall(r"<tr>\s*<th scope=\"row\".*?</tr>", page, re.S)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", body, re.S) for body in bodies]
    return [[re.sub(r"<[^>]+>|\s+", " ", cell).strip() for cell in row] for row in cells]


def test_the_worst_building_comes_first_with_its_figures(
    sign_in: Callable[..., Any], town: dict[str, Any]
) -> None:
    page = sign_in("operator").get("/console/reading").text
    bad, good = rows(page)[:2]
    assert bad[0].startswith("B号楼") and bad[1:5] == ["3", "300", "100", "33.3%"]
    assert bad[5] == "1 块"
    assert good[0].startswith("A号楼") and good[1:6] == ["2", "200", "200", "100%", "0"]


def test_a_share_below_all_of_them_is_never_shown_as_all(
    sign_in: Callable[..., Any], town: dict[str, Any]
) -> None:
    meter = builders.make_meter(town["A"]["building"], bus=town["A"]["bus"])
    count_reads(meter.id, TODAY, 100_000, 99_999)
    page = sign_in("manager").get("/console/reading").text
    assert [row[4] for row in rows(page) if row[0].startswith("A号楼")] == ["99.9%"]


def test_a_dead_meter_is_listed_with_where_it_is_and_why(
    sign_in: Callable[..., Any], town: dict[str, Any]
) -> None:
    page = sign_in("operator").get("/console/reading").text
    (dead,) = [row for row in rows(page) if row[0] == "00660066"]
    assert dead[1:4] == ["热量表", "B号楼 楼栋总表", "B-1"]
    assert dead[4].startswith("3 天前") and dead[5].startswith("3 s 内没有应答")


def test_a_removed_meter_needs_nobody(town: dict[str, Any]) -> None:
    town["dead"].removed_on = TODAY
    queries.db.session.commit()
    assert queries.silent_meters(builders.NOON) == ([], 0)


@pytest.mark.parametrize(
    ("ok_ago", "error_ago", "listed"),
    [
        (timedelta(minutes=5), timedelta(0), False),  # a question or two went unanswered
        (timedelta(minutes=11), timedelta(0), True),  # it has kept failing
        (timedelta(hours=23), None, False),  # read once a day
        (timedelta(hours=25), None, True),
        (None, timedelta(0), True),
        (None, None, True),
    ],
)
def test_silence_is_told_from_a_hiccup(
    town: dict[str, Any], ok_ago: timedelta | None, error_ago: timedelta | None, listed: bool
) -> None:
    meter = builders.make_meter(town["A"]["building"], bus=town["A"]["bus"])
    keep_state(
        meter.id,
        last_ok_at=builders.NOON - ok_ago if ok_ago is not None else None,
        last_error_at=builders.NOON - error_ago if error_ago is not None else None,
    )
    silent, _total = queries.silent_meters(builders.NOON)
    assert (meter.id in {row.id for row in silent}) is listed


def test_the_list_of_silent_meters_is_bounded_and_says_how_many_there_are(
    sign_in: Callable[..., Any], town: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(4):
        builders.make_meter(town["A"]["building"], bus=town["A"]["bus"])
    monkeypatch.setattr(queries, "MAX_SILENT", 3)
    page = sign_in("operator").get("/console/reading").text
    assert "共 5 块，列出最久的 3 块" in page


def test_a_long_list_of_buildings_is_cut_but_its_figures_are_of_all(
    sign_in: Callable[..., Any], town: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("backend.console.reading.MAX_BUILDINGS", 1)
    page = sign_in("operator").get("/console/reading").text
    assert "共 2 栋，列出最差的 1 栋" in page and "A号楼" not in page
    assert '300 <span class="of">/ 500</span>' in page


def test_only_today_refreshes_itself(sign_in: Callable[..., Any], town: dict[str, Any]) -> None:
    client = sign_in("operator")
    live = client.get("/console/reading/live").text
    assert live.strip().startswith('<div id="reading" hx-get="/console/reading/live"')
    assert "<html" not in live
    past = client.get(f"/console/reading?day={TODAY - timedelta(days=1)}").text
    assert "hx-get" not in past and "100%" in past


def test_the_page_takes_two_statements_however_many_buildings_there_are(
    sign_in: Callable[..., Any], town: dict[str, Any], queries: list[str]
) -> None:
    client = sign_in("operator")
    client.get("/console/reading")
    few = reads(queries, lambda: client.get("/console/reading"))
    for n in range(5):
        building = builders.make_building(f"C{n}")
        builders.make_meter(building, builders.make_household(building))
    many = reads(queries, lambda: client.get("/console/reading"))
    assert few == many <= 3  # who is asking (where not known yet), buildings, silent meters


def reads(seen: list[str], work: Callable[[], Any]) -> int:
    """How many statements `work` sends."""
    before = len(seen)
    assert work().status_code == 200
    return len(seen) - before


@pytest.mark.parametrize("day", ["2026-11-31", "heute", "2026-11-21", "1999-12-31", "'; DROP"])
def test_a_day_that_is_none_is_refused_in_plain_words(
    sign_in: Callable[..., Any], day: str
) -> None:
    answer = sign_in("operator").get("/console/reading", query_string={"day": day})
    assert answer.status_code == 422 and "日期" in answer.text


def test_an_empty_company_is_told_so(sign_in: Callable[..., Any]) -> None:
    assert "还没有装表的楼栋。" in sign_in("operator").get("/console/reading").text
