"""过户: the old owner pays up to the day and keeps his bills; the new one starts clean."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.archive import owner
from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import ahead, handover, requests, service, wallet
from backend.billing.models import Bill, PrepaidAccount
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.metering.service import NewReading, record
from backend.people.service import Principal
from tests import builders
from tests.builders import NOON

TODAY = business_day(NOON)
MOVED = TODAY - timedelta(1)
TIERS = {"unit": "m3", "tiers": [{"upto": "3", "price": "2"}, {"price": "4"}]}


@pytest.fixture
def people(app):
    roles = frozenset({"finance", "manager"})
    return [Principal("staff", builders.make_staff(name).id, roles) for name in ("a", "b")]


@pytest.fixture
def home(people):
    builders.make_tariff("water", "tiered", TIERS)
    household = builders.make_household(builders.make_building())
    meter = builders.make_meter(household.building, household, "water")
    days = {date(2026, 10, 1): 0, MOVED: 4_000, TODAY: 5_000}
    record([NewReading(meter.id, day_start(d), "collector", register=r) for d, r in days.items()])
    return household


def give(home, fen):
    lines = [(chart.bank("till"), fen), (chart.wallet(home.id), -fen)]
    ledger.post(f"gift:{fen}", "gift", NOON, lines)


def bills():
    return db.session.scalars(sa.select(Bill).order_by(Bill.id)).all()


def test_the_old_owner_is_billed_to_the_day_and_his_balance_pays_and_is_paid_out(home, people):
    give(home, 5_000)
    found = handover.begin(home.id, MOVED, people[0], NOON)
    (final,) = bills()
    assert (final.period_to, final.amount_fen, final.state) == (MOVED, 1_000, "paid")
    handover.complete(found.id, "李四", "13900005678", people[0], NOON)
    assert (found.left_fen, wallet.held_fen(home.id)) == (4_000, 0)
    (request,) = requests.waiting()
    requests.approve(request.id, people[1], NOON)
    assert ledger.balance_fen(chart.payable("handover", found.id).code) == 0
    assert owner.proves(home, "李四", "5678")
    assert ledger.check() == []


def test_while_a_bill_is_open_the_household_does_not_change_hands(home, people):
    found = handover.begin(home.id, MOVED, people[0], NOON)
    with pytest.raises(Problem) as refused:
        handover.complete(found.id, "李四", "13900005678", people[0], NOON)
    assert refused.value.code == "handover_unpaid"
    assert "10.00" in refused.value.detail
    with pytest.raises(Problem) as twice:
        handover.begin(home.id, MOVED, people[0], NOON)
    assert twice.value.code == "handover_open"


def test_the_new_owners_tiers_begin_anew(home, people):
    give(home, 1_000)
    found = handover.begin(home.id, MOVED, people[0], NOON)
    handover.complete(found.id, "李四", "13900005678", people[0], NOON)
    (made,) = service.issue(home.building_id, "water", MOVED, TODAY, NOON).bills
    assert made.amount_fen == 200  # 1 m3 of the first tier, although 4 m3 were used this year


def test_each_owner_sees_the_bills_of_his_time_and_a_stranger_none(home, people, client):
    old, new, stranger = (builders.make_resident(name) for name in ("old", "new", "charlie"))
    builders.bind(old, home)
    give(home, 1_000)
    found = handover.begin(home.id, MOVED, people[0], NOON)
    handover.complete(found.id, "李四", "13900005678", people[0], NOON)
    builders.bind(new, home)
    service.issue(home.building_id, "water", MOVED, TODAY, NOON)
    db.session.commit()
    his, hers = bills()
    seen = {
        (name, bill.id): client.get(
            f"/api/v1/bills/{bill.id}", headers=builders.headers_for(person)
        ).status_code
        for name, person in (("old", old), ("new", new), ("stranger", stranger))
        for bill in (his, hers)
    }
    assert [k for k, status in seen.items() if status == 200] == [("old", his.id), ("new", hers.id)]
    listed = client.get(f"/api/v1/households/{home.id}/bills", headers=builders.headers_for(new))
    assert [b["id"] for b in listed.json["bills"]] == [hers.id]


def test_without_a_final_reading_the_sentence_says_what_to_do(people):
    builders.make_tariff("water", "tiered", TIERS)
    household = builders.make_household(builders.make_building())
    builders.make_meter(household.building, household, "water")
    with pytest.raises(Problem) as refused:
        handover.begin(household.id, MOVED, people[0], NOON)
    assert "请先抄录末次读数" in refused.value.detail


def test_a_prepaid_account_is_closed_into_the_balance(home, people):
    ahead.open_account(home.id, "water", MOVED, people[0], NOON)
    ahead.top_up(home.id, "water", 700, "t", chart.bank("till"), NOON)
    handover.begin(home.id, MOVED, people[0], NOON)
    assert db.session.get_one(PrepaidAccount, (home.id, "water")).closed_on == MOVED
    assert wallet.held_fen(home.id) == 700
    assert bills() == []
