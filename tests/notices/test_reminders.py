"""An overdue reminder is queued once a step, sent once, and never of a bill that is paid."""

from datetime import date, timedelta

import pytest

from backend.base.db import db
from backend.billing.models import Bill
from backend.notices import queueing, rules, service
from backend.notices.models import Message, Subscription
from tests import builders
from tests.outside import waiting, work

TEMPLATE = "nuan-bill-overdue"
TODAY = date(2026, 11, 20)


@pytest.fixture
def alice(app):
    resident = builders.make_resident("alice-openid")
    resident.household = builders.make_household(builders.make_building())
    builders.bind(resident, resident.household)
    agrees(resident, 10)
    return resident


def agrees(resident, times):
    db.session.merge(Subscription(resident_id=resident.id, template=TEMPLATE, remaining=times))
    db.session.commit()


def remaining(resident):
    db.session.expire_all()
    return db.session.get(Subscription, (resident.id, TEMPLATE)).remaining


def overdue(resident, days, amount_fen=12345):
    return builders.make_bill(resident.household, amount_fen, TODAY - timedelta(days=days))


def remind(clock):
    count = queueing.remind_overdue(clock.now())
    db.session.commit()
    return count


def messages():
    return db.session.query(Message).order_by(Message.id).all()


def test_a_reminder_arrives_with_every_field_of_its_template(alice, clock, phone, database):
    bill = overdue(alice, 1)
    assert remind(clock) == 1
    work(database)
    (message,) = phone.get("messages")["messages"]
    assert (message["openid"], message["title"]) == ("alice-openid", "欠费提醒")
    assert message["page"] == f"pages/bill/index?id={bill.id}"
    assert message["data"] == {
        "thing1": "A-101 A号楼 101",
        "amount2": "123.45元",
        "date3": "2026年11月19日",
        "thing4": "账单已逾期，请及时缴费。",
    }
    (ours,) = messages()
    assert (ours.state, ours.provider_id) == ("sent", str(message["msgid"]))
    assert remaining(alice) == 9


def test_reminding_again_the_same_day_queues_nothing(alice, clock):
    overdue(alice, 3)
    assert [remind(clock), remind(clock)] == [1, 0]
    assert len(waiting()) == 1
    assert remaining(alice) == 9


def test_two_schedulers_at_once_queue_one(alice, clock, in_threads):
    overdue(alice, 3)
    assert sorted(in_threads(6, lambda _n: remind(clock))) == [0] * 5 + [1]


def test_steps_are_days_1_7_15_and_30(alice, clock):
    bill = overdue(alice, 0)
    seen = []
    for day in range(40):
        if remind(clock):
            seen.append(day)
        clock.advance(days=1)
    assert seen == [1, 7, 15, 30]
    assert [m.business_key for m in messages()] == [
        f"overdue:{bill.id}:{days}" for days in (1, 7, 15, 30)
    ]


def test_an_old_bill_is_reminded_of_once_not_once_a_step(alice, clock):
    overdue(alice, 100)
    assert [remind(clock), remind(clock)] == [1, 0]
    assert messages()[0].payload["days"] == 30


@pytest.mark.parametrize("state", ["paid", "reversed"])
def test_a_bill_nobody_owes_is_not_reminded_of(alice, clock, state):
    bill = overdue(alice, 3)
    db.session.query(Bill).filter_by(id=bill.id).update({"state": state})
    db.session.commit()
    assert remind(clock) == 0


def test_a_resident_gets_no_more_than_he_agreed_to(alice, clock):
    agrees(alice, 2)
    late, later, latest = overdue(alice, 5), overdue(alice, 6), overdue(alice, 4)
    assert remind(clock) == 2
    assert [m.payload["bill_id"] for m in messages()] == sorted([late.id, later.id])
    assert remaining(alice) == 0
    agrees(alice, 1)
    assert remind(clock) == 1
    assert messages()[-1].payload["bill_id"] == latest.id


def test_of_a_household_one_who_accepts_is_told(alice, clock):
    bob, charlie = builders.make_resident("bob-openid"), builders.make_resident("charlie-openid")
    builders.bind(bob, alice.household)
    agrees(alice, 0)
    agrees(bob, 1)
    agrees(charlie, 5)
    overdue(alice, 3)
    assert remind(clock) == 1
    assert [m.resident_id for m in messages()] == [bob.id]


def test_whoever_left_the_household_is_not_told(alice, clock):
    db.session.execute(db.text("UPDATE binding SET ended_at = now()"))
    db.session.commit()
    overdue(alice, 3)
    assert remind(clock) == 0


def test_a_queue_rolled_back_leaves_neither_message_nor_task(alice, clock):
    overdue(alice, 3)
    queueing.remind_overdue(clock.now())
    db.session.rollback()
    assert (messages(), waiting(), remaining(alice)) == ([], [], 10)


def test_a_bill_paid_before_the_message_leaves_is_not_reminded_of(alice, clock, phone, database):
    bill = overdue(alice, 3)
    remind(clock)
    db.session.query(Bill).filter_by(id=bill.id).update({"state": "paid", "paid_fen": 12345})
    db.session.commit()
    work(database)
    assert phone.get("messages")["messages"] == []
    assert (messages()[0].state, remaining(alice)) == ("dropped", 10)


def test_a_resident_who_refuses_is_not_asked_again(alice, clock, phone, database):
    phone.behave("message", "refused", match="alice-openid")
    overdue(alice, 3)
    remind(clock)
    work(database)
    assert messages()[0].state == "refused"
    assert "43101" in messages()[0].error
    assert remaining(alice) == 0


def test_a_busy_wechat_is_asked_again(alice, clock, phone, database, caplog):
    phone.behave("message", "error", match="alice-openid", times=2, params={"errcode": -1})
    overdue(alice, 3)
    remind(clock)
    work(database)
    assert messages()[0].state == "sent"
    assert len(phone.get("messages")["messages"]) == 1
    assert "task failed" not in caplog.text  # the next try is a task of its own, no failure


def test_an_expired_token_is_renewed_once(alice, clock, phone, database):
    overdue(alice, 3)
    remind(clock)
    work(database)
    phone.behave("token", "expired")
    overdue(alice, 3)
    remind(clock)
    work(database)
    assert [m.state for m in messages()] == ["sent", "sent"]


def test_without_a_token_a_message_stays_queued(alice, clock, sandbox):
    overdue(alice, 3)
    remind(clock)
    from flask import current_app

    settings = current_app.extensions["nuan_settings"]
    current_app.extensions["nuan_settings"] = settings.replace(wechat_secret="wrong")
    assert service.send(messages()[0].id, clock.now()) == "queued"


def test_a_message_is_sent_once_by_many_workers(alice, clock, phone, in_threads):
    overdue(alice, 3)
    remind(clock)
    message_id = messages()[0].id
    in_threads(8, lambda _n: service.send(message_id, clock.now()))
    assert len(phone.get("messages")["messages"]) == 1


def test_a_crash_on_the_way_ends_uncertain_and_is_not_sent_again(alice, clock, phone, database):
    overdue(alice, 3)
    remind(clock)
    service._claim(messages()[0].id, clock.now())
    work(database)
    assert (messages()[0].state, phone.get("messages")["messages"]) == ("sending", [])
    assert service.recover(clock.now() + timedelta(minutes=1)) == 0
    assert service.recover(clock.now() + timedelta(minutes=3)) == 1
    db.session.commit()
    work(database)
    assert messages()[0].state == "uncertain"
    assert phone.get("messages")["messages"] == []


def test_no_answer_is_uncertain(alice, clock, app):
    overdue(alice, 3)
    remind(clock)
    door = service.client()
    assert door.access_token  # in the shared cache from now on
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(wechat_api_url="http://127.0.0.1:9")
    assert service.send(messages()[0].id, clock.now()) == "uncertain"


def test_a_message_that_lost_its_task_gets_another(alice, clock, phone, database):
    overdue(alice, 3)
    remind(clock)
    db.session.execute(db.text("DELETE FROM procrastinate_jobs"))
    db.session.commit()
    assert service.recover(clock.now()) == 0
    clock.advance(hours=2)
    assert [service.recover(clock.now()), service.recover(clock.now())] == [1, 0]
    db.session.commit()
    work(database)
    assert messages()[0].state == "sent"


def test_without_a_template_nobody_is_reminded(alice, clock, app):
    overdue(alice, 3)
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(wechat_overdue_template="")
    assert remind(clock) == 0


@pytest.mark.parametrize(
    ("account_no", "place", "said"),
    [
        ("00010101", "2号楼 301", "00010101 2号楼 301"),
        ("00010101", "学府路暖阳小区东区2号楼 301", "00010101 …区东区2号楼 301"),
        ("1234567890123456789", "2号楼 301", "1234567890123456789"),
        ("123456789012345678901234", "2号楼", "56789012345678901234"),
    ],
)
def test_a_household_is_named_in_twenty_characters(account_no, place, said):
    assert rules.household_thing(account_no, place) == said
    assert len(said) <= 20


def test_every_advice_fits_its_field():
    assert all(len(text) <= rules.THING_LENGTH for text in rules.OVERDUE.values())
