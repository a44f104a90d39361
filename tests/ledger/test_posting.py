"""Posting moves money once, in balance, and never back."""

import threading
from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest
from flask import Flask

from backend.base.db import db
from backend.base.errors import Problem
from backend.ledger import chart, service
from backend.ledger.models import Entry

AT = datetime(2026, 11, 20, 16, 30, tzinfo=UTC)  # 00:30 of the 21st in Shanghai
PAID = [(chart.clearing("wechat"), 1234), (chart.suspense("wechat"), -1234)]


def post(key="test:1", lines=PAID, **rest):
    return service.post(key, "test", AT, lines, **rest)


def test_an_entry_moves_both_balances(app):
    post()
    db.session.commit()
    assert service.balance_fen("clearing:wechat") == 1234
    assert service.balance_fen("suspense:wechat") == -1234
    assert service.balance_fen("bank:icbc") == 0


def test_an_entry_belongs_to_the_shanghai_day_it_happened_on(app):
    post()
    assert service.entry_by_key("test:1").day.isoformat() == "2026-11-21"


def test_detail_and_memo_are_kept(app):
    post(memo="看板", out_trade_no="N1")
    db.session.commit()
    entry = service.entry_by_key("test:1")
    assert (entry.memo, entry.detail) == ("看板", {"out_trade_no": "N1"})


def test_the_same_key_and_lines_post_once(app):
    first = post()
    db.session.commit()
    assert post(lines=list(reversed(PAID))).id == first.id
    db.session.commit()
    assert service.balance_fen("clearing:wechat") == 1234


def test_the_same_key_with_other_lines_is_a_conflict(app):
    post()
    db.session.commit()
    with pytest.raises(Problem) as refused:
        post(lines=[(chart.clearing("wechat"), 1), (chart.suspense("wechat"), -1)])
    assert refused.value.code == "entry_conflict"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [(chart.clearing("wechat"), 5)],
        [(chart.clearing("wechat"), 5), (chart.suspense("wechat"), -4)],
        [(chart.clearing("wechat"), 5), (chart.clearing("wechat"), -5)],
    ],
)
def test_what_does_not_balance_is_refused(app, lines):
    with pytest.raises(Problem) as refused:
        post(lines=lines)
    assert refused.value.code == "entry_unbalanced"


@pytest.mark.parametrize("amount", [1.0, True, 10**15, "5"])
def test_only_whole_sane_fen_are_posted(app, amount):
    with pytest.raises(ValueError, match="fen"):
        post(lines=[(chart.clearing("wechat"), amount), (chart.suspense("wechat"), -5)])


@pytest.mark.parametrize("key", ["", "nokind", "x:" + "1" * 300])
def test_a_key_that_says_nothing_is_refused(app, key):
    with pytest.raises(ValueError, match="business key"):
        post(key=key)


def test_lines_of_one_account_are_merged_and_nothings_left_out(app):
    lines = [*PAID, *PAID, (chart.bank("icbc"), 0)]
    post(lines=lines)
    db.session.commit()
    postings = service.entry_by_key("test:1").postings
    assert sorted((p.account.code, p.amount_fen) for p in postings) == [
        ("clearing:wechat", 2468),
        ("suspense:wechat", -2468),
    ]


def test_many_entries_post_in_one_go_and_only_the_new_ones(app):
    post("test:2")
    db.session.commit()
    drafts = [service.Draft(f"test:{n}", "test", AT, PAID) for n in (3, 1, 2)]
    entries = service.post_many(drafts)
    db.session.commit()
    assert [entry.business_key for entry in entries] == ["test:3", "test:1", "test:2"]
    assert service.balance_fen("clearing:wechat") == 3 * 1234


def test_a_citys_night_of_entries_posts_in_one_go(app):
    drafts = [service.Draft(f"test:{n}", "test", AT, PAID) for n in range(10_000)]
    assert len(service.post_many(drafts)) == 10_000
    db.session.commit()
    assert service.balance_fen("clearing:wechat") == 10_000 * 1234


def test_a_reversal_names_its_entry_and_brings_the_balance_back(app):
    post()
    db.session.commit()
    first = service.entry_by_key("test:1")
    service.reverse(first, "test:reversal", AT)
    db.session.commit()
    assert service.entry_by_key("test:reversal").reverses_id == first.id
    assert {code: fen for code, _, fen in service.trial_balance()} == {
        "clearing:wechat": 0,
        "suspense:wechat": 0,
    }


def test_nothing_is_kept_of_a_transaction_rolled_back(app):
    post()
    db.session.rollback()
    assert service.entry_by_key("test:1") is None
    assert service.balance_fen("clearing:wechat") == 0


def in_threads(app: Flask, count: int, work) -> list[BaseException]:
    """Run work(n) in `count` threads at once; the errors they ended with."""
    barrier, errors = threading.Barrier(count), []

    def run(n: int) -> None:
        with app.app_context():
            try:
                barrier.wait(30)
                work(n)
            except BaseException as error:
                errors.append(error)
            finally:
                db.session.remove()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def test_fifty_threads_post_one_key_once(app):
    ids = []

    def work(_n: int) -> None:
        ids.append(post().id)
        db.session.commit()

    assert in_threads(app, 50, work) == []
    assert len(ids) == 50
    assert len(set(ids)) == 1
    assert service.balance_fen("clearing:wechat") == 1234


def test_entries_over_the_same_accounts_in_any_order_never_deadlock(app):
    accounts = [chart.bank(name) for name in "abcdef"]

    def work(n: int) -> None:
        for turn in range(6):
            debit, credit = accounts[(n + turn) % 6], accounts[(n * 5 + turn * 3 + 1) % 6]
            if debit != credit:
                post(f"test:{n}:{turn}", [(credit, -7), (debit, 7)])
                db.session.commit()

    assert in_threads(app, 16, work) == []
    assert sum(fen for _, _, fen in service.trial_balance()) == 0
    assert service.check() == []


def raw(database: str, *statements: str) -> None:
    with closing(psycopg.connect(database)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


ACCOUNT = "INSERT INTO account (code, kind) VALUES ('bank:raw', 'asset')"
ENTRY = (
    "INSERT INTO entry (business_key, kind, at, day, detail)"
    " VALUES ('raw:1', 'x', now(), current_date, '{}')"
)
POSTINGS = (
    "INSERT INTO posting (entry_id, account_id, amount_fen) SELECT e.id, a.id, p.fen"
    " FROM {} e, account a, unnest(ARRAY[{}]::bigint[]) p (fen) WHERE a.code = 'bank:raw'"
)
WHOLE = "WITH made AS (" + ENTRY.replace("{}", "{{}}") + " RETURNING id) " + POSTINGS


def test_the_database_itself_takes_an_entry_that_comes_whole(app, database):
    raw(database, ACCOUNT, WHOLE.format("made", "5,-3,-2"))
    assert db.session.query(Entry).count() == 1


@pytest.mark.parametrize(
    ("statement", "why"),
    [
        (WHOLE.format("made", "5,-4"), "does not balance"),
        (WHOLE.format("made", "5"), "comes without its postings"),
        (ENTRY, "comes without its postings"),
    ],
)
def test_the_database_itself_refuses_an_entry_that_is_not_whole(app, database, statement, why):
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match=why):
        raw(database, ACCOUNT, statement)
    assert db.session.query(Entry).count() == 0


def test_the_database_itself_refuses_postings_of_one_transaction_that_do_not_balance(app, database):
    later = POSTINGS.format("entry", "1")
    with pytest.raises(psycopg.errors.IntegrityConstraintViolation, match="does not balance"):
        raw(database, ACCOUNT, WHOLE.format("made", "5,-5"), later)
    assert db.session.query(Entry).count() == 0


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE posting SET amount_fen = -amount_fen",
        "DELETE FROM posting",
        "UPDATE entry SET memo = 'other'",
        "DELETE FROM entry",
    ],
)
def test_the_database_itself_refuses_to_change_what_was_posted(app, database, statement):
    post()
    db.session.commit()
    with pytest.raises(psycopg.errors.RestrictViolation, match="append-only"):
        raw(database, statement)


def test_the_database_itself_refuses_to_add_to_a_closed_entry(app, database):
    post()
    db.session.commit()
    with pytest.raises(psycopg.errors.RestrictViolation, match="is closed"):
        raw(database, ACCOUNT, POSTINGS.format("entry", "5,-5"))
