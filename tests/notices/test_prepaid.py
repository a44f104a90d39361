"""A prepaid account that runs low is told of once, not after a top-up, never at night."""

from datetime import UTC, date, datetime, timedelta

import pytest

from backend.base import tasks
from backend.base.db import db
from backend.billing import ahead, topics
from backend.billing.models import PrepaidAccount, PrepaidDay
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.notices import queueing, rules
from backend.notices.models import Message, Subscription
from backend.people.service import Principal
from tests import builders
from tests.outside import waiting, work

LOW, OWED = "nuan-balance-low", "nuan-bill-overdue"
TODAY = date(2026, 11, 20)
NIGHT = TODAY - timedelta(1)


@pytest.fixture
def alice(app):
    resident = builders.make_resident("alice-openid")
    resident.household = builders.make_household(builders.make_building())
    builders.bind(resident, resident.household)
    for template in (LOW, OWED):
        agrees(resident, template, 9)
    return resident


def agrees(resident, template, times):
    db.session.merge(Subscription(resident_id=resident.id, template=template, remaining=times))
    db.session.commit()


def night(household, balance_fen, events, day=NIGHT, marks=None):
    """One closing as the nightly charge leaves it: the row, its day and the books."""
    clerk = Principal("staff", builders.make_staff(f"clerk{household.id}-{day}").id)
    if db.session.get(PrepaidAccount, (household.id, "heat")) is None:
        ahead.open_account(household.id, "heat", day, clerk, builders.NOON)
    account = db.session.get_one(PrepaidAccount, (household.id, "heat"))
    account.through, account.balance_fen = day, balance_fen
    account.marks = marks or [rules.MARK_OF[event] for event in events]
    moved_fen = balance_fen - ahead.held_fen(household.id, "heat")
    if moved_fen:
        lines = [
            (chart.prepaid("heat", household.id), -moved_fen),
            (chart.revenue("heat"), moved_fen),
        ]
        ledger.post(f"night:{household.id}:{day}", "prepaid", builders.NOON, lines)
    tariff = builders.make_tariff("heat", "flat", {"unit": "GJ", "price": "40"})
    db.session.add(
        PrepaidDay(
            household_id=household.id,
            utility="heat",
            day=day,
            used=0,
            topup_fen=0,
            deduction_fen=0,
            balance_fen=balance_fen,
            tariff_id=tariff.id,
            events=events,
            flags=[],
        )
    )
    db.session.commit()


def top_up(household, amount_fen):
    drawer = chart.cash("D1")
    ahead.top_up(household.id, "heat", amount_fen, f"t{amount_fen}", drawer, builders.NOON)
    db.session.commit()


def warn(clock):
    count = queueing.warn_prepaid(clock.now())
    db.session.commit()
    return count


def arrived(phone):
    return phone.get("messages")["messages"]


def states():
    db.session.expire_all()
    return [m.state for m in db.session.query(Message).order_by(Message.id)]


def test_a_low_balance_reaches_the_resident_with_what_is_left(alice, clock, phone, database):
    night(alice.household, 1234, ["low_balance"])
    assert warn(clock) == 1
    work(database)
    (message,) = arrived(phone)
    assert (message["openid"], message["title"]) == ("alice-openid", "余额不足提醒")
    assert message["data"] == {
        "thing1": "A-101 A号楼 101",
        "amount2": "12.34元",
        "thing4": "热费余额不足，请及时充值。",
    }
    assert message["page"] == "pages/home/index"


def test_an_event_is_told_once_however_often_it_is_looked_at(alice, clock):
    night(alice.household, 1234, ["low_balance"])
    assert [warn(clock), warn(clock)] == [1, 0]
    clock.advance(days=30)
    assert warn(clock) == 0
    assert len(waiting()) == 1


def test_it_is_repeated_only_where_the_setting_says_so(alice, clock, app):
    night(alice.household, 1234, ["low_balance"])
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(low_balance_repeat_days=7)
    told = []
    for day in range(16):
        if warn(clock):
            told.append(day)
        clock.advance(days=1)
    assert told == [0, 7, 14]


def test_an_overdraft_says_what_is_owed_and_since_when(alice, clock, phone, database):
    night(alice.household, -505, ["low_balance", "overdraft"])
    assert warn(clock) == 1
    work(database)
    (message,) = arrived(phone)
    assert message["title"] == "欠费提醒"
    assert message["data"]["amount2"] == "5.05元"
    assert message["data"]["date3"] == "2026年11月19日"
    assert message["data"]["thing4"] == "热费已欠费，请尽快充值。"


def test_a_closed_valve_is_spoken_of_only_where_it_may_come(alice, clock, phone, database):
    night(alice.household, -505, ["low_balance", "overdraft", "close"])
    cut = {"enabled": True, "classes": ["residential"], "heat_min_outdoor_cdeg": -5000}
    warn(clock)
    work(database)
    assert arrived(phone)[0]["data"]["thing4"] == "热费已欠费，请尽快充值。"
    topics.put("cutoff", "water", None, cut, date(2026, 1, 1), None, None, builders.NOON)
    assert rules.advice("water", "close", may_close=True) == "水费已欠费，可能停供，请充值。"
    assert all(
        len(rules.advice(utility, event, may_close=True)) <= rules.THING_LENGTH
        for utility in rules.FEES
        for event in rules.MARK_OF
    )


def test_each_worse_event_is_told_and_none_twice(alice, clock):
    night(alice.household, 900, ["low_balance"], NIGHT - timedelta(2))
    assert warn(clock) == 1
    night(alice.household, -100, ["overdraft"], NIGHT - timedelta(1), ["warned", "overdrawn"])
    assert [warn(clock), warn(clock)] == [1, 0]
    night(alice.household, -300, ["close"], NIGHT, ["warned", "overdrawn", "closed"])
    assert [warn(clock), warn(clock)] == [1, 0]


def test_a_top_up_before_the_message_leaves_keeps_it_back(alice, clock, phone, database):
    night(alice.household, 1234, ["low_balance"])
    warn(clock)
    top_up(alice.household, 10_000)
    work(database)
    assert (arrived(phone), states()) == ([], ["dropped"])
    assert db.session.get(Subscription, (alice.id, LOW)).remaining == 9


def test_nobody_is_told_who_has_not_agreed_or_looks_after_another_flat(alice, clock):
    charlie = builders.make_resident("charlie-openid")
    agrees(charlie, LOW, 5)
    agrees(alice, LOW, 0)
    night(alice.household, 1234, ["low_balance"])
    assert warn(clock) == 0
    agrees(alice, LOW, 1)
    assert warn(clock) == 1
    assert [m.resident_id for m in db.session.query(Message)] == [alice.id]


def test_a_closed_account_is_not_told_of(alice, clock):
    night(alice.household, 1234, ["low_balance"])
    db.session.get_one(PrepaidAccount, (alice.household.id, "heat")).closed_on = TODAY
    db.session.commit()
    assert warn(clock) == 0


def test_two_schedulers_at_once_queue_one(alice, clock, in_threads):
    night(alice.household, 1234, ["low_balance"])
    assert sorted(in_threads(4, lambda _n: warn(clock))) == [0, 0, 0, 1]


def test_in_the_quiet_hours_a_message_waits_for_the_morning(alice, clock, phone, database, app):
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(quiet_hours="21:00-08:00")
    night(alice.household, 1234, ["low_balance"])
    clock.advance(hours=11)  # 23:00
    warn(clock)
    db.session.execute(db.text("DELETE FROM procrastinate_jobs"))  # taken by this test itself:
    tasks.queue.tasks["notices.send"].func(message_id=db.session.query(Message).one().id)
    assert (arrived(phone), states()) == ([], ["queued"])
    at = db.session.scalar(db.text("SELECT max(scheduled_at) FROM procrastinate_jobs"))
    assert at == datetime(2026, 11, 21, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("utc", "quiet", "until"),
    [
        ((20, 13, 0), "21:00-08:00", (21, 0, 0)),  # 21:00 in Shanghai
        ((20, 23, 59), "21:00-08:00", (21, 0, 0)),  # 07:59
        ((21, 0, 0), "21:00-08:00", None),  # 08:00
        ((20, 12, 59), "21:00-08:00", None),  # 20:59
        ((20, 5, 30), "12:00-14:00", (20, 6, 0)),  # 13:30
        ((20, 13, 0), "off", None),
        ((20, 13, 0), "08:00-08:00", None),
    ],
)
def test_the_end_of_the_quiet_hours(utc, quiet, until):
    now = datetime(2026, 11, *utc, tzinfo=UTC)
    assert rules.quiet_until(now, quiet) == (until and datetime(2026, 11, *until, tzinfo=UTC))
