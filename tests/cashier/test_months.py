"""A closed month says for ever what it said, takes nothing more, and two persons open it again."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta

import psycopg
import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import books, months
from backend.cashier.models import FinanceDay
from backend.ledger import chart, periods
from backend.ledger import service as ledger
from backend.ledger.models import MonthBalance
from backend.people.models import AuditEvent
from backend.people.service import Principal
from tests import builders

OCTOBER, NOVEMBER = date(2026, 10, 1), date(2026, 11, 1)
IN_OCTOBER = datetime(2026, 10, 15, 4, tzinfo=UTC)


def refused(code):
    return pytest.raises(Problem, match=f"^{code}:")


def finance(login):
    return Principal("staff", builders.make_staff(login, roles=["finance"]).id)


@pytest.fixture
def zhou(app):
    return finance("zhou")


@pytest.fixture
def li(app):
    return finance("li")


@pytest.fixture
def home(app):
    """A household billed 100 yuan in October, 40 of it paid then."""
    household = builders.make_household(builders.make_building())
    builders.make_bill(household, 10000, issued_at=IN_OCTOBER)
    pay("wechat:1", 4000, household, IN_OCTOBER + timedelta(days=3))
    return household


def pay(key, fen, household, at):
    lines = [(chart.clearing("wechat"), fen), (chart.receivable("heat", household.id), -fen)]
    posted = ledger.post(key, "test", at, lines)
    db.session.commit()
    return posted


def close_days(first, last):
    day = first
    while day <= last:
        db.session.add(FinanceDay(day=day, closed_at=builders.NOON, summary={}))
        day += timedelta(days=1)
    db.session.commit()


def close(month, actor, clock, reason=None):
    made = months.close_month(month, reason, actor, clock.now())
    db.session.commit()
    return made


@pytest.fixture
def closed(home, zhou, clock):
    close_days(date(2026, 10, 15), date(2026, 10, 31))
    return close(OCTOBER, zhou, clock)


def test_a_month_closes_when_all_its_days_have(home, zhou, clock):
    assert len(months.checklist(OCTOBER, clock.now())["open_days"]) == 17
    with refused("month_days_open"):
        close(OCTOBER, zhou, clock)
    db.session.rollback()
    close_days(date(2026, 10, 15), date(2026, 10, 31))
    made = close(OCTOBER, zhou, clock)
    assert (made.entries, made.debit_fen, len(made.sha256)) == (2, 14000, 64)


def test_an_open_day_is_signed_away_with_a_reason_on_record(home, zhou, clock):
    close(OCTOBER, zhou, clock, "十五日之前未启用")
    (event,) = db.session.scalars(
        sa.select(AuditEvent).where(AuditEvent.action == "ledger.month_closed")
    )
    assert (event.actor_id, event.detail["open_days"]) == (zhou.id, 17)


def test_a_month_is_not_closed_before_its_end_nor_before_the_one_before(home, zhou, clock):
    with refused("month_not_over"):
        close(NOVEMBER, zhou, clock, "想早点下班")
    db.session.rollback()
    clock.advance(days=20)
    with refused("month_before_open"):
        close(NOVEMBER, zhou, clock, "想早点下班")


def test_what_was_closed_is_carried_over(closed, home, zhou, clock):
    rows = {row.code: row for row in periods.groups(OCTOBER)}
    assert rows["receivable:heat"] == periods.Trial("receivable:heat", 0, 10000, 4000, 6000)
    pay("wechat:2", 1000, home, clock.now())
    rows = {row.code: row for row in periods.groups(NOVEMBER)}
    assert rows["receivable:heat"] == periods.Trial("receivable:heat", 6000, 0, 1000, 5000)
    assert sum(row.closing_fen for row in rows.values()) == 0
    clock.advance(days=20)
    close(NOVEMBER, zhou, clock, "没有日结")
    frozen = {row.code: row.closing_fen for row in periods.frozen(NOVEMBER)}
    assert frozen[f"receivable:heat:{home.id}"] == 5000
    assert periods.digest(OCTOBER) == closed.sha256


def test_nothing_is_posted_into_a_closed_month(closed, home, clock):
    with refused("month_closed"):
        pay("wechat:9", 500, home, IN_OCTOBER)
    db.session.rollback()
    assert books.posting_time(IN_OCTOBER, clock.now()) == clock.now()
    pay("wechat:9", 500, home, books.posting_time(IN_OCTOBER, clock.now()))
    assert periods.digest(OCTOBER) == closed.sha256


def test_the_database_itself_refuses_too(closed, database):
    with (
        psycopg.connect(database) as connection,
        pytest.raises(psycopg.errors.DatabaseError, match="month 2026-10-01 is closed"),
    ):
        connection.execute(
            "INSERT INTO entry (business_key, kind, at, day) "
            "VALUES ('x:1', 'x', '2026-10-02 04:00Z', '2026-10-02')"
        )


def test_the_same_key_again_is_still_the_entry_already_there(closed, home):
    again = pay("wechat:1", 4000, home, IN_OCTOBER + timedelta(days=3))
    assert again.id == ledger.entry_by_key("wechat:1").id


def test_fees_of_a_day_left_open_go_into_the_open_month(closed, clock):
    books.post_fees("wechat", date(2026, 10, 20), 6, clock.now())
    db.session.commit()
    assert ledger.entry_by_key("wechat:fee:2026-10-20").day == date(2026, 11, 20)


def test_closing_waits_for_whoever_is_posting(home, zhou, clock, app):
    """An entry on its way into the month is in its trial balance, never after it."""
    close_days(date(2026, 10, 15), date(2026, 10, 31))
    lines = [(chart.clearing("wechat"), 7), (chart.receivable("heat", home.id), -7)]
    ledger.post("wechat:7", "test", IN_OCTOBER, lines)  # not committed
    done = []

    def closing():
        with app.app_context():
            made = months.close_month(OCTOBER, None, zhou, clock.now())
            done.append(made.entries)
            db.session.commit()

    thread = threading.Thread(target=closing)
    thread.start()
    thread.join(0.5)
    assert done == []
    db.session.commit()
    thread.join(10)
    assert done == [3]


def test_two_persons_open_a_month_again(closed, home, zhou, li, clock):
    before = closed.sha256
    with refused("reopen_not_asked"):
        months.reopen(OCTOBER, li, clock.now())
    db.session.rollback()
    with refused("reason_missing"):
        months.ask_reopen(OCTOBER, "", zhou, clock.now())
    db.session.rollback()
    months.ask_reopen(OCTOBER, "漏记一笔退款", zhou, clock.now())
    db.session.commit()
    with refused("second_person"):
        months.reopen(OCTOBER, zhou, clock.now())
    db.session.rollback()
    months.reopen(OCTOBER, li, clock.now())
    db.session.commit()
    pay("wechat:8", 500, home, IN_OCTOBER)
    again = close(OCTOBER, zhou, clock)
    assert (again.runs, again.entries) == (2, 3)
    assert again.sha256 != before


def test_only_the_last_closed_month_is_opened_again(closed, home, zhou, clock):
    pay("wechat:2", 1000, home, clock.now())
    clock.advance(days=20)
    close(NOVEMBER, zhou, clock, "没有日结")
    with refused("month_not_last"):
        months.ask_reopen(OCTOBER, "漏记一笔退款", zhou, clock.now())


def test_a_frozen_balance_that_was_touched_is_found(closed):
    db.session.execute(
        sa.update(MonthBalance)
        .where(MonthBalance.closing_fen == 6000)
        .values(closing_fen=6001, debit_fen=10001)
    )
    db.session.commit()
    assert any("was closed with 6001 fen" in line for line in ledger.check())
    assert periods.digest(OCTOBER) != closed.sha256


def test_an_accounts_statement_opens_pages_and_closes(closed, home, clock):
    for n in range(250):
        pay(f"wechat:n{n}", 1, home, clock.now())
    code = f"receivable:heat:{home.id}"
    found = periods.statement(code, NOVEMBER, date(2026, 11, 30))
    assert (found["opening_fen"], found["closing_fen"]) == (6000, 5750)
    seen, pages = list(found["postings"]), 1
    while found["more"]:
        found = periods.statement(code, NOVEMBER, date(2026, 11, 30), found["more"])
        seen += found["postings"]
        pages += 1
    assert (len(seen), pages) == (250, 3)
    assert [row["balance_fen"] for row in seen] == list(range(5999, 5749, -1))
    with refused("not_found"):
        periods.statement("no:such", NOVEMBER, NOVEMBER)


def test_revenue_is_what_was_billed_and_prepaid_is_carried_over(closed, home, clock):
    ledger.post(
        "t:1", "test", clock.now(), [(chart.bank("main"), 900), (chart.wallet(home.id), -900)]
    )
    db.session.commit()
    trial = periods.groups(OCTOBER)
    assert months.revenue(trial) == [
        {"utility": "heat", "billed_fen": 10000, "taken_back_fen": 0, "net_fen": 10000}
    ]
    assert months.revenue(periods.groups(NOVEMBER))[0]["billed_fen"] == 0
    assert months.prepaid(periods.groups(NOVEMBER)) == {"opening_fen": 0, "closing_fen": 900}
