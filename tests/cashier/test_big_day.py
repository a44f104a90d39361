"""A statement of many rows with known faults: every one is found, and none is invented."""

import random

import psycopg
import pytest
import sqlalchemy as sa

from backend import create_app
from backend.base.db import db
from backend.cashier import reconcile, statements
from backend.cashier.channels import parse_statement
from backend.cashier.models import Statement, StatementLine
from tests.cashier import big_day
from tests.conftest import settings_for

ROWS, EACH = 2_000, 20


@pytest.fixture
def app(database, clock):
    """The application of a merchant with three channels, asked for nothing but statements."""
    app = create_app(settings_for(database, **big_day.MERCHANT), clock=clock, web_pages=False)
    with app.app_context():
        yield app
        db.session.remove()
        db.engine.dispose()


@pytest.mark.parametrize("channel", ["wechat", "alipay", "unionpay"])
def test_every_fault_of_a_statement_is_found_and_none_is_invented(app, channel):
    rows = big_day.paid_day(channel, ROWS)
    shown, expected = big_day.with_faults(rows, EACH, random.Random(channel))
    app.extensions["nuan_channels"] = {channel: big_day.Published(big_day.written(channel, shown))}
    reconcile.fetch_statement(channel, big_day.DAY, big_day.MORNING_AFTER)
    proof = reconcile.reconcile(channel, big_day.DAY, big_day.MORNING_AFTER)
    assert proof.state == "breaks"
    assert sorted(big_day.found()) == sorted(expected)
    assert len(expected) == 5 * EACH


@pytest.mark.parametrize("channel", ["wechat", "alipay", "unionpay"])
def test_a_statement_without_faults_agrees(app, channel):
    rows = big_day.paid_day(channel, 500)
    app.extensions["nuan_channels"] = {channel: big_day.Published(big_day.written(channel, rows))}
    reconcile.fetch_statement(channel, big_day.DAY, big_day.MORNING_AFTER)
    assert reconcile.reconcile(channel, big_day.DAY, big_day.MORNING_AFTER).state == "agreed"
    assert not list(big_day.found())


def keep(rows=1):
    kept = Statement(
        channel="wechat", day=big_day.DAY, fetched_at=big_day.NOON, sha1="", file=b"", rows=rows
    )
    db.session.add(kept)
    db.session.flush()
    return kept


def test_numbers_are_kept_as_they_stand_whatever_copy_would_make_of_them(app):
    plain = parsed(big_day.paid_day("wechat", 3))
    odd = [plain[0]._replace(transaction_id="a\\tb\tc\nd", out_trade_no="\\N"), *plain[1:]]
    kept = keep(3)
    statements._copy(kept.id, odd)
    lines = db.session.query(StatementLine).order_by(StatementLine.seq).all()
    assert [(line.transaction_id, line.out_trade_no) for line in lines] == [
        (row.transaction_id, row.out_trade_no) for row in odd
    ]
    assert [line.out_refund_no for line in lines] == [None] * 3


def parsed(rows):
    return parse_statement("wechat", big_day.written("wechat", rows), big_day.DAY).rows


def test_lines_belong_to_a_statement_that_is_kept(app):
    rows = parsed(big_day.paid_day("wechat", 3))
    kept = keep(3)
    statements._copy(kept.id, rows)
    db.session.commit()
    for broken in (
        lambda: statements._copy(kept.id + 1, rows),
        lambda: db.session.execute(sa.update(StatementLine).values(statement_id=kept.id + 1)),
        lambda: db.session.execute(sa.delete(Statement)),
        lambda: db.session.execute(sa.update(Statement).values(id=kept.id + 1)),
    ):
        with pytest.raises((sa.exc.IntegrityError, psycopg.errors.ForeignKeyViolation)):
            broken()
        db.session.rollback()
    assert db.session.query(StatementLine).count() == 3


class Cut(list):
    """Rows in whose middle the database goes away."""

    def __getitem__(self, some):
        if some.start:
            pid = db.session.connection().connection.driver_connection.info.backend_pid
            with psycopg.connect(
                db.engine.url.set(drivername="postgresql").render_as_string(False), autocommit=True
            ) as killer:
                killer.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        return super().__getitem__(some)


def test_a_database_lost_while_rows_go_in_is_told_as_everywhere(app, monkeypatch):
    rows = parsed(big_day.paid_day("wechat", 3))
    monkeypatch.setattr(statements, "_CHUNK_ROWS", 1)
    kept = keep(3)
    with pytest.raises(sa.exc.OperationalError):  # what the web answers with 503
        statements._copy(kept.id, Cut(rows))
    db.session.rollback()
    assert db.session.query(Statement).count() == 0
    statements._copy(keep(3).id, rows)
    db.session.commit()
    assert db.session.query(StatementLine).count() == 3
