"""A season over many buildings: each once, with what came of it said by building and household."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.allocation import settling
from backend.base import tasks
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import seasons, service
from backend.billing.models import Adjustment, Bill
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.billing.test_season import BEGIN, END, MIDDLE, heat, home
from tests.builders import NOON

__all__ = ["home"]

DUE = date(2026, 10, 31)


@pytest.fixture
def clerk(app):
    return Principal("staff", builders.make_staff("clerk", ["finance"]).id)


def begin(clerk, verb, region_id=None):
    run = seasons.start(verb, region_id, BEGIN, END, DUE, clerk, NOON)
    db.session.commit()
    return run


def work(run, home):
    return seasons.run(run.id, home.building_id, NOON)


def rows():
    """Every bill and credit there is."""
    bills = db.session.execute(sa.select(Bill.bill_no, Bill.amount_fen, Bill.due_on)).all()
    credits = db.session.execute(sa.select(Adjustment.business_key, Adjustment.credit_fen)).all()
    return sorted(bills), sorted(credits)


def test_an_advance_is_a_task_a_building_and_says_what_it_billed(home, clerk):
    run = begin(clerk, "advance")
    queued = sa.text("SELECT count(*) FROM procrastinate_jobs WHERE task_name = :name")
    assert db.session.scalar(queued, {"name": seasons.TASK}) == 1
    assert work(run, home).state == "done"
    assert run.state == "done"
    assert dict(seasons.totals(run.id)) == {
        "bills": 1,
        "bills_fen": 239_117,
        "credits": 0,
        "credits_fen": 0,
        "left_out": 0,
    }
    assert rows()[0][0][2] == DUE


def test_a_task_that_comes_twice_does_its_building_once(home, clerk):
    run = begin(clerk, "advance")
    first = dict(work(run, home).outcome), rows()
    assert (dict(work(run, home).outcome), rows()) == first
    assert ledger.check() == []


def test_asked_twice_nobody_is_billed_twice_and_the_second_says_so(home, clerk):
    one, two = begin(clerk, "advance"), begin(clerk, "advance")
    work(one, home)
    before = rows()
    work(two, home)
    assert rows() == before
    assert seasons.totals(two.id)["bills"] == 0
    (left,) = seasons.left_out(two.id)
    assert (left.unit_no, left.why) == (home.unit_no, "本季已经出账，不再预收")


def test_who_was_billed_for_some_of_the_season_is_left_out_too(home, clerk):
    heat(home, 0, 400_000, 1_000_000)
    service.issue(home.building_id, "heat", BEGIN, MIDDLE, NOON)
    run = seasons.start("advance", None, BEGIN + timedelta(days=5), END, DUE, clerk, NOON)
    work(run, home)
    assert [left.household_id for left in seasons.left_out(run.id)] == [home.id]


def test_a_worker_killed_before_its_commit_has_done_nothing_and_again_does_it_all(
    home, clerk, monkeypatch
):
    run = begin(clerk, "advance")

    def dies():
        raise KeyboardInterrupt

    with monkeypatch.context() as dying, pytest.raises(KeyboardInterrupt):
        dying.setattr(db.session, "commit", dies)
        work(run, home)
    db.session.rollback()
    assert rows() == ([], [])
    assert settling.progress(run.id).waiting == 1
    assert work(run, home).outcome["bills"] == 1


def test_a_settlement_says_what_it_gave_back(home, clerk):
    work(begin(clerk, "advance"), home)
    heat(home, 0, 400_000, 1_000_000)
    run = begin(clerk, "settle")
    work(run, home)
    (row,) = seasons.buildings(run.id)
    assert (row.bills, row.credits, row.credits_fen) == (0, 1, 239_117 - (102_960 + 15_988))
    assert ledger.check() == []


def test_who_has_days_nobody_billed_is_left_out_by_name_and_settled_by_another_run(home, clerk):
    heat(home, 0, 400_000, 1_000_000)
    service.issue(home.building_id, "heat", BEGIN, MIDDLE, NOON)
    run = begin(clerk, "settle")
    assert work(run, home).state == "done"
    (left,) = seasons.left_out(run.id)
    assert (left.account_no, left.building_name) == (home.account_no, home.building.name)
    assert "2026-11-01 至 2026-11-18 尚未出账" in left.why
    service.issue(home.building_id, "heat", MIDDLE, END, NOON)
    again = begin(clerk, "settle")
    work(again, home)
    assert (seasons.totals(again.id)["bills"], seasons.left_out(again.id)) == (1, [])


def test_a_price_not_in_two_parts_is_refused_in_words_and_tried_again(home, clerk):
    from backend.billing.models import Tariff

    price = db.session.scalars(sa.select(Tariff)).one()
    price.kind, held = "area", price.params
    price.params = {"price": "38.32", "season_days": 30}
    run = begin(clerk, "advance")
    assert work(run, home).state == "refused"
    (refused,) = settling.refusals(run.id)
    assert "不是两部制" in refused.detail
    price.kind, price.params = "two_part", held
    settling.resume(run.id, clerk, NOON, seasons.KINDS)
    db.session.commit()
    assert work(run, home).state == "done"


def test_a_cancelled_run_bills_nobody_until_it_goes_on(home, clerk):
    run = begin(clerk, "advance")
    settling.cancel(run.id, clerk, NOON, seasons.KINDS)
    db.session.commit()
    assert work(run, home).state == "cancelled"
    assert rows() == ([], [])


def test_a_season_that_is_not_over_is_not_begun_to_be_settled(home, clerk):
    with pytest.raises(Problem) as refused:
        seasons.start("settle", None, BEGIN, END + timedelta(days=30), None, clerk, NOON)
    assert refused.value.code == "period_not_over"


def test_a_region_without_heat_has_nothing_to_bill(home, clerk):
    with pytest.raises(Problem) as refused:
        begin(clerk, "advance", builders.make_region("别处").id)
    assert (refused.value.code, refused.value.detail) == (
        "nothing_to_settle",
        "所选范围内没有供热的楼栋。",
    )


def test_heats_settlements_and_a_seasons_runs_are_not_taken_for_each_other(home, clerk):
    run = begin(clerk, "advance")
    for act in (settling.cancel, settling.resume):
        with pytest.raises(Problem, match="not_found"):
            act(run.id, clerk, NOON)
        db.session.rollback()
    with pytest.raises(Problem):
        settling.settlement_of(run.id)
    assert settling.latest() == []


def test_the_queue_knows_the_task():
    tasks.load_tasks()
    assert seasons.TASK in tasks.queue.tasks
