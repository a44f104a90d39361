"""Whatever stands in the books is walked back to its frames; a change anywhere is named."""

from datetime import date, timedelta

import pytest
import sqlalchemy as sa

from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.billing import (
    ahead,
    cold,
    handover,
    prepayment,
    recheck_accounts,
    requests,
    reversal,
    season,
    service,
    topics,
    wallet,
)
from backend.billing.lateness import post_building
from backend.billing.models import Adjustment, Bill, BillingRequest, Handover, PrepaidAccount
from backend.ledger import chart
from backend.metering import closing
from backend.people.service import Principal
from tests import builders
from tests.billing.framed import checker, meter_of, read, tamper
from tests.billing.test_season import BEGIN, END, MIDDLE, PRICE
from tests.builders import NOON

TODAY = business_day(NOON)
FIRST, LAST = TODAY - timedelta(3), TODAY
TIERS = {"unit": "m3", "tiers": [{"upto": "3", "price": "2"}, {"price": "4"}]}
HOURS = {
    "schedule": [
        {"period": "peak", "from": "08:00", "to": "20:00"},
        {"period": "valley", "from": "20:00", "to": "08:00"},
    ],
    "prices": {"peak": "0.8", "valley": "0.3"},
}


@pytest.fixture
def people(app):
    roles = frozenset({"finance", "manager"})
    return [Principal("staff", builders.make_staff(name).id, roles) for name in ("a", "b")]


def household(kind, code="A", **more):
    home = builders.make_household(builders.make_building(code))
    builders.make_meter(home.building, home, kind, **more)
    return home


def billed(kind, price_kind, params, *registers):
    """A household's bill over [FIRST, LAST) from (moment, register) readings with frames."""
    builders.make_tariff(kind, price_kind, params)
    home = household(kind, kind)
    read(meter_of(home, kind), *registers)
    (bill,) = service.issue(home.building_id, kind, FIRST, LAST, NOON).bills
    db.session.commit()
    return bill


def ends(first, last):
    return (day_start(FIRST), first), (day_start(LAST), last)


@pytest.fixture
def water(app):
    return billed("water", "tiered", TIERS, *ends(1_000, 5_500))


def differences(bill):
    db.session.expire_all()
    return checker().bill(bill.id).differences


def test_a_tiered_bill_is_equal_down_to_its_frames(water):
    found = checker().bill(water.id)
    assert (found.differences, found.frames) == ([], 2)


def test_a_tampered_reading_is_named_with_its_meter_and_both_values(water):
    tamper("UPDATE reading SET register = 5400 WHERE register = 5500")
    said = "".join(differences(water))
    assert "报文解得读数 5500，入库的是 5400" in said
    assert "账单用的是 5500" in said


def test_a_tampered_frame_no_longer_decodes_and_is_named(water):
    tamper("UPDATE reading SET frame = set_byte(frame, 15, 255) WHERE register = 5500")
    assert any("不能解出" in sentence for sentence in differences(water))


def test_a_frame_of_another_meter_is_named(water):
    other = household("water", "B")
    read(meter_of(other), (day_start(LAST), 5_500))
    tamper(
        "UPDATE reading SET frame = o.frame FROM reading o WHERE reading.register = 5500"
        " AND o.register = 5500 AND o.meter_id <> reading.meter_id AND o.meter_id = :meter",
        meter=meter_of(other).id,
    )
    assert any("另一块表" in sentence for sentence in differences(water))


def test_a_price_changed_behind_the_desk_is_found(water):
    tamper("UPDATE tariff SET params = jsonb_set(params, '{tiers,0,price}', '\"1\"')")
    assert any("重算" in sentence for sentence in differences(water))


def test_tiers_that_began_elsewhere_are_found(water):
    tamper("UPDATE bill SET basis = jsonb_set(basis, '{facts,years,0,2}', '700')")
    assert any("从 700 起分档" in sentence for sentence in differences(water))


def test_a_payment_nobody_made_is_found(water):
    tamper("UPDATE bill SET paid_fen = 100")
    assert any("缴费记录合计 0.00" in sentence for sentence in differences(water))


def test_components_and_hours_are_priced_again(app):
    prices = {"unit": "m3", "prices": {"water": "2.07", "sewage": "1.36"}}
    assert differences(billed("water", "components", prices, *ends(0, 13_000))) == []
    hourly = [(day_start(FIRST) + timedelta(hours=n), 100 * n) for n in range(3 * 24 + 1)]
    bill = billed("electricity", "tou", HOURS, *hourly)
    found = checker().bill(bill.id)
    assert (found.differences, found.frames) == ([], 2 + 73)
    tamper("UPDATE reading SET register = 1250 WHERE register = 1200")
    assert any("报文解得读数 1200" in sentence for sentence in differences(bill))


def test_a_late_fee_is_walked_back_through_the_bill_it_is_of(water):
    params = {"enabled": True, "post": "daily", "rate": "0.005"}
    topics.put("late_fee", "water", None, params, date(2026, 1, 1), None, None, NOON)
    home = db.session.get(Bill, water.id).household_id
    building_id = db.session.scalar(
        sa.text("SELECT building_id FROM household WHERE id = :id"), {"id": home}
    )
    (late,) = post_building(building_id, NOON + timedelta(days=100))
    db.session.commit()
    assert differences(late) == []
    tamper("UPDATE reading SET register = 5400 WHERE register = 5500")
    assert any(f"{water.bill_no}：" in sentence for sentence in differences(late))


def test_a_reversal_that_does_not_undo_its_bill_is_found(water, people):
    made = reversal.reverse(water.id, "抄错", *people, NOON)
    db.session.commit()
    assert differences(made) == []
    tamper("UPDATE bill SET state = 'issued' WHERE kind = 'usage'")
    assert any("红冲单" in sentence for sentence in differences(made))


def a_season(*wh):
    builders.make_tariff("heat", "two_part", PRICE)
    home = household("heat", max_per_day=10**9)
    days = (BEGIN, MIDDLE, END)
    read(meter_of(home, "heat"), *((day_start(d), r) for d, r in zip(days, wh, strict=True)))
    for begin, end in ((BEGIN, MIDDLE), (MIDDLE, END)):
        service.issue(home.building_id, "heat", begin, end, NOON)
    db.session.commit()
    settled = season.settle(home.building_id, BEGIN, END, NOON)
    db.session.commit()
    return settled


def test_a_settlement_is_walked_back_through_every_months_bill(app):
    (bill,) = a_season(0, 400_000, 1_000_000).bills
    found = checker().bill(bill.id)
    assert (found.differences, found.frames) == ([], 4)
    tamper("UPDATE reading SET register = 400001 WHERE register = 400000")
    said = differences(bill)
    assert sum("报文解得读数 400000" in sentence for sentence in said) == 2


def test_a_settlement_that_left_out_a_bill_is_found(app):
    (bill,) = a_season(0, 400_000, 1_000_000).bills
    tamper("UPDATE bill SET basis = basis || '{\"bills\": []}' WHERE kind = 'settlement'")
    assert any("结算用的是" in sentence for sentence in differences(bill))


def credits_checked():
    db.session.expire_all()
    made = db.session.scalars(sa.select(Adjustment)).one()
    return recheck_accounts.credit(checker(), made).differences


def test_a_seasons_credit_is_made_again(app):
    a_season(0, 4_000_000, 10_000_000)
    assert credits_checked() == []
    tamper("UPDATE adjustment SET credit_fen = credit_fen + 1")
    said = "".join(credits_checked())
    assert "采暖季结算重算应退" in said
    assert "总账记入余额" in said


def test_an_advance_is_priced_again_and_settled_by_the_meter(app):
    builders.make_tariff("heat", "two_part", PRICE)
    home = household("heat", max_per_day=10**9)
    read(meter_of(home, "heat"), (day_start(BEGIN), 0), (day_start(END), 500_000))
    (bill,) = season.advance(home.building_id, BEGIN, END, date(2026, 10, 31), NOON)
    db.session.commit()
    assert differences(bill) == []
    season.settle(home.building_id, BEGIN, END, NOON)
    assert credits_checked() == []
    tamper("UPDATE household SET area_dm2 = area_dm2 + 1000")
    assert any("面积热费重算" in sentence for sentence in differences(bill))


def test_a_cold_rooms_refund_is_found_again_in_the_samples(people):
    from tests.billing.test_cold import reported, rule, stored

    home = builders.make_household(builders.make_building())
    builders.make_tariff("heat", "two_part", PRICE)
    rule()
    stored(home, 1650)
    found = reported(home)
    cold.decide(found.id, "series", TODAY - timedelta(3), TODAY, people[0], NOON)
    request = db.session.scalars(sa.select(BillingRequest)).one()
    requests.approve(request.id, people[1], NOON)
    db.session.commit()
    assert credits_checked() == []
    tamper(
        "UPDATE day_series SET samples = decode(repeat('0807', 144), 'hex') WHERE day = :day",
        day=TODAY - timedelta(2),
    )
    said = "".join(credits_checked())
    assert f"{TODAY - timedelta(2)} 的室温判定重算为 18.00 ℃" in said
    assert "室温退费重算" in said


def test_a_credit_nobody_approved_is_found(people):
    home = builders.make_household(builders.make_building())
    wallet.credit(wallet.Credit("x", home.id, "heat", "goodwill", 500, "人情"), NOON)
    db.session.commit()
    assert credits_checked() == ["没有找到核准这笔退费的申请。"]


@pytest.fixture
def paying(people):
    builders.make_tariff("water", "tiered", TIERS)
    home = household("water")
    ahead.open_account(home.id, "water", FIRST, people[0], NOON)
    lines = chart.bank("till")
    ahead.top_up(home.id, "water", 10_000, "t", lines, NOON - timedelta(5))
    days = [(day_start(FIRST + timedelta(n)), 1_330 * n) for n in range(4)]
    read(meter_of(home), *days)
    for n in range(3):
        closing.close_usage(home.building_id, FIRST + timedelta(n))
    prepayment.charge_building(home.building_id, "water", NOON)
    db.session.commit()
    return home


def account_checked(home, utility="water"):
    db.session.expire_all()
    held = db.session.get_one(PrepaidAccount, (home.id, utility))
    return recheck_accounts.account(checker(), held)


def test_a_prepaid_account_is_made_again_night_by_night(paying):
    found = account_checked(paying)
    assert (found.differences, found.frames) == ([], 4)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE prepaid_day SET deduction_fen = deduction_fen + 1", "重算扣"),
        ("DELETE FROM prepaid_day WHERE day = :day", "没有扣费记录"),
        ("UPDATE prepaid_day SET used = used + 5 WHERE day = :day", "逐日扣费合计"),
        ("UPDATE prepaid_account SET balance_fen = balance_fen + 1", "余额重算为"),
        ("UPDATE reading SET register = 2600 WHERE register = 2660", "报文解得读数 2660"),
        (
            "UPDATE posting SET amount_fen = amount_fen * 2 FROM entry e"
            " WHERE e.id = entry_id AND e.kind = 'prepaid' AND e.business_key LIKE :end",
            "总账记了扣费",
        ),
    ],
)
def test_whatever_is_changed_about_a_prepaid_account_is_named(paying, statement, said):
    day = FIRST + timedelta(1)
    known = {"day": day, "end": f"%{day}"}
    tamper(statement, **{k: v for k, v in known.items() if f":{k}" in statement})
    assert said in "".join(account_checked(paying).differences)


def test_a_handover_is_checked_for_what_it_left(paying, people):
    handover.begin(paying.id, LAST, people[0], NOON)
    made = db.session.scalars(sa.select(Handover)).one()
    handover.complete(made.id, "新主", "13900000000", people[0], NOON)
    db.session.commit()
    assert recheck_accounts.handover(made).differences == []
    tamper("UPDATE handover SET left_fen = left_fen - 1")
    assert "退原户主余额" in "".join(recheck_accounts.handover(made).differences)
