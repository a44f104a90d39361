"""采暖季 in the console."""

from backend.billing import seasons
from tests.billing.test_season import home
from tests.builders import NOON
from tests.console.conftest import post

__all__ = ["home"]
FORM = {"region": "", "from": "2026-10-20", "to": "2026-11-18"}


def test_an_advance_is_started_from_the_form_and_followed(home, sign_in):
    client = sign_in("finance")
    page = client.get("/console/seasons").text
    assert 'value="2026-10-20"' in page
    assert 'value="2027-04-20"' in page
    answer = post(client, "/console/seasons", verb="advance", due="2026-12-01", **FORM)
    page = client.get(answer.location).text
    assert "全部楼栋预收" in page
    assert "hx-get" in page
    run_id = int(answer.location.rsplit("/", 1)[1])
    seasons.run(run_id, home.building_id, NOON)
    live = client.get(f"{answer.location}/live", headers={"HX-Request": "true"}).text
    assert "2,391.17" in live
    assert "hx-get" not in live
    assert "全部楼栋预收" in client.get("/console/seasons").text
    assert "全部楼栋" not in client.get("/console/settlements").text.split("最近的结算")[1]


def test_a_season_not_over_is_said_on_the_page(home, sign_in):
    client = sign_in("manager")
    post(client, "/console/seasons", verb="settle", **{**FORM, "to": "2027-04-20"})
    assert "还没有结束" in client.get("/console/seasons").text


def test_it_is_stopped_and_goes_on(home, sign_in):
    client = sign_in("finance")
    path = post(client, "/console/seasons", verb="settle", **FORM).location
    post(client, f"{path}/cancel", at=path)
    assert "继续结算" in client.get(path).text
    post(client, f"{path}/resume", at=path)
    assert "取消结算" in client.get(path).text


def test_an_operator_has_no_business_there(home, sign_in):
    assert sign_in("operator").get("/console/seasons").status_code == 403


def test_between_seasons_the_coming_one_is_offered_in_advance_and_the_past_one_settled(
    home, clock, sign_in
):
    clock.advance(days=254)  # 1 August 2027
    page = sign_in("finance").get("/console/seasons").text
    advance, settle = page.split('value="settle"')
    assert 'value="2027-10-20"' in advance
    assert 'value="2026-10-20"' in settle
