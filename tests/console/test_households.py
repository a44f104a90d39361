"""住户: prepaid, credits and reversals asked at a desk; a handover tried, made and completed."""

from datetime import date, timedelta

import sqlalchemy as sa

from backend.archive import owner
from backend.archive.models import Household
from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.billing import ahead, requests, wallet
from backend.billing.models import Bill, Handover, PrepaidAccount
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.metering.models import Reading
from backend.metering.service import NewReading, record
from tests import builders
from tests.console.conftest import post

TODAY = business_day(builders.NOON)


def home_of(**more):
    return builders.make_household(builders.make_building(), **more)


def do(client, home, verb, **fields):
    url = f"/console/households/{home.id}"
    return post(client, f"{url}/{verb}", url, **fields)


def gift(home, fen):
    lines = [(chart.bank("till"), fen), (chart.wallet(home.id), -fen)]
    ledger.post(f"gift:{fen}", "gift", builders.NOON, lines)
    db.session.commit()


def test_a_household_is_found_by_number_or_by_building_and_door(app, sign_in):
    home, clerk = home_of(), sign_in("finance")
    for said in (home.account_no, "A号楼 101", "A 101"):
        assert home.account_no in clerk.get("/console/households", query_string={"q": said}).text
    assert "没有找到" in clerk.get("/console/households?q=B号楼").text
    assert clerk.get("/console/households/999999").status_code == 404


def test_paying_ahead_is_opened_filled_from_the_balance_once_and_closed(app, sign_in):
    home, clerk = home_of(), sign_in("finance")
    gift(home, 5_000)
    day = TODAY.isoformat()
    assert do(clerk, home, "prepaid", utility="water", first_day=day).status_code == 303
    twice = {"utility": "water", "amount_fen": "30.00", "key": "20261120120000"}
    for _ in range(2):
        assert do(clerk, home, "transfer", **twice).status_code == 303
    assert (ahead.held_fen(home.id, "water"), wallet.held_fen(home.id)) == (3_000, 2_000)
    page = clerk.get(f"/console/households/{home.id}").text
    assert "30.00" in page
    assert do(clerk, home, "close", utility="water", day=day).status_code == 303
    assert (ahead.held_fen(home.id, "water"), wallet.held_fen(home.id)) == (0, 5_000)
    assert db.session.get_one(PrepaidAccount, (home.id, "water")).closed_on == TODAY


def test_what_is_wrong_stands_beside_its_field_and_nothing_moves(app, sign_in):
    home, clerk = home_of(), sign_in("finance")
    ahead_of = {"utility": "water", "amount_fen": "30", "key": "20261120120000"}
    do(clerk, home, "prepaid", utility="water", first_day=TODAY.isoformat())
    short = do(clerk, home, "transfer", **ahead_of)
    assert (short.status_code, "余额不足" in short.text) == (422, True)
    assert "最多两位小数" in do(clerk, home, "credit", utility="heat", amount_fen="1.234").text
    again = do(clerk, home, "prepaid", utility="water", first_day=TODAY.isoformat())
    assert again.status_code == 422
    assert do(clerk, home, "guess").status_code == 404


def test_a_reversal_and_a_credit_wait_for_a_second_person(app, sign_in):
    home, clerk = home_of(), sign_in("finance")
    bill = builders.make_bill(home, 1_000)
    at = f"/console/households/{home.id}"
    post(clerk, f"/console/bills/{bill.id}/reverse", at, reason="面积有误")
    do(clerk, home, "credit", utility="heat", amount_fen="12.30", reason="多收")
    kinds = [(r.kind, r.household_id) for r in requests.waiting()]
    assert kinds == [("reversal", home.id), ("credit", home.id)]
    page = clerk.get(at).text
    assert "等待核准：红冲账单（面积有误）、退费/更正（多收）" in page


def water_home():
    tiers = {"unit": "m3", "tiers": [{"upto": None, "price": "2"}]}
    builders.make_tariff("water", "tiered", tiers)
    home = home_of()
    meter = builders.make_meter(home.building, home, "water")
    at = day_start(date(2026, 10, 1))
    record([NewReading(meter.id, at, "collector", register=1_000)])
    db.session.commit()
    return home, meter


def test_a_handover_is_tried_without_a_trace_then_made_and_completed(app, sign_in):
    home, meter = water_home()
    clerk = sign_in("finance")
    url = f"/console/households/{home.id}/handover"
    form = {"moved_on": TODAY.isoformat(), f"reading_{meter.id}": "5"}
    readings = db.session.scalar(sa.select(sa.func.count(Reading.id)))
    db.session.commit()  # a month's first reading makes its partition: nobody may be looking
    tried = post(clerk, url, **form, step="look")
    assert (tried.status_code, "8.00" in tried.text) == (200, True)  # 4 m3 at 2 yuan
    assert db.session.scalar(sa.select(sa.func.count(Bill.id))) == 0
    assert db.session.scalar(sa.select(sa.func.count(Reading.id))) == readings
    db.session.commit()
    assert post(clerk, url, **form, step="make").status_code == 303
    assert "还有 1 张账单没有缴清" in clerk.get(url).text
    found = db.session.scalars(sa.select(Handover)).one()
    done = f"/console/handovers/{found.id}/complete"
    names = {"name": "李四", "phone": "13900005678"}
    assert "handover" in post(clerk, done, url, **names).location
    gift(home, 800)
    wallet.pay_oldest(home.id, builders.NOON)
    db.session.commit()
    assert post(clerk, done, url, **names).location == f"/console/households/{home.id}"
    db.session.expire_all()
    assert owner.name_of(db.session.get_one(Household, home.id)) == "李四"


def test_a_final_reading_below_the_last_is_refused_at_its_meter(app, sign_in):
    home, meter = water_home()
    clerk = sign_in("finance")
    url = f"/console/households/{home.id}/handover"
    form = {"moved_on": TODAY.isoformat(), f"reading_{meter.id}": "0.5"}
    answer = post(clerk, url, **form, step="make")
    assert (answer.status_code, "读数比上次小" in answer.text) == (422, True)
    late = {"moved_on": (TODAY + timedelta(1)).isoformat(), f"reading_{meter.id}": ""}
    assert "过户日不能晚于今天" in post(clerk, url, **late, step="make").text
    assert db.session.scalar(sa.select(sa.func.count(Handover.id))) == 0
