"""`nuan ledger check` names every break, wherever it was made."""

from contextlib import closing
from datetime import UTC, datetime

import psycopg
import pytest
from click.testing import CliRunner

from backend.base.db import db
from backend.ledger import chart, cli, service

AT = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)


@pytest.fixture
def posted(app):
    service.post("test:1", "test", AT, [(chart.bank("icbc"), 500), (chart.wallet(1), -500)])
    service.post("test:2", "test", AT, [(chart.bank("icbc"), 7), (chart.suspense("wechat"), -7)])
    db.session.commit()
    return app


@pytest.fixture(autouse=True)
def _household(app):
    """Wallets name a household."""
    db.session.execute(
        db.text(
            """WITH r AS (INSERT INTO region (name, kind) VALUES ('公司', 'company') RETURNING id),
                    b AS (INSERT INTO building (region_id, code, name, address)
                          SELECT id, 'B1', '1号楼', '路1号' FROM r RETURNING id)
               INSERT INTO household (building_id, account_no, unit_no, floor, area_dm2,
                                      owner_name_sealed, owner_phone_sealed)
               SELECT id, '1', '101', 1, 5000, '', '' FROM b"""
        )
    )
    db.session.commit()


def tamper(database: str, *statements: str) -> None:
    """Change rows as a person with psql and without triggers could."""
    with closing(psycopg.connect(database, autocommit=True)) as connection:
        connection.execute("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(statement)


def test_sound_books_have_no_breaks(posted):
    assert service.check() == []


def test_a_balance_that_does_not_follow_its_postings_is_named(posted, database):
    tamper(database, "UPDATE balance SET balance_fen = balance_fen + 1 WHERE balance_fen = 507")
    assert service.check() == ["account bank:icbc: balance 508 fen, its postings add up to 507 fen"]


def test_a_changed_posting_is_named_by_entry_and_account(posted, database):
    tamper(database, "UPDATE posting SET amount_fen = 8 WHERE amount_fen = 7")
    breaks = service.check()
    assert any("(test:2): 2 postings add up to 1 fen" in line for line in breaks)
    assert "account bank:icbc: balance 507 fen, its postings add up to 508 fen" in breaks


def test_an_entry_without_postings_is_named(posted, database):
    tamper(
        database,
        "INSERT INTO entry (business_key, kind, at, day)"
        " VALUES ('raw:1', 'x', '2026-11-20 04:00Z', '2026-11-20')",
    )
    assert any("(raw:1): 0 postings" in line for line in service.check())


def test_an_entry_on_a_wrong_day_is_named(posted, database):
    tamper(database, "UPDATE entry SET day = '2026-11-19' WHERE business_key = 'test:1'")
    assert next(line for line in service.check() if "test:1" in line).endswith(
        "on day 2026-11-19, but it happened on 2026-11-20"
    )


def test_an_account_of_the_wrong_kind_is_named(posted, database):
    tamper(database, "UPDATE account SET kind = 'income' WHERE code = 'bank:icbc'")
    assert service.check() == ["account bank:icbc: kept as income, its code says otherwise"]


def test_money_held_for_somebody_cannot_be_less_than_nothing(posted):
    service.post("test:3", "test", AT, [(chart.suspense("wechat"), 8), (chart.bank("icbc"), -8)])
    db.session.commit()
    assert service.check() == ["account suspense:wechat: 1 fen on the wrong side"]


def test_the_command_prints_breaks_and_fails(posted, database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("NUAN_ENV", "test")
    sound = CliRunner().invoke(cli.ledger, ["check"])
    assert (sound.exit_code, sound.output[:12]) == (0, "ledger sound")
    tamper(database, "UPDATE balance SET balance_fen = 508 WHERE balance_fen = 507")
    broken = CliRunner().invoke(cli.ledger, ["check"])
    assert broken.exit_code == 1
    assert "bank:icbc" in broken.output


def test_the_command_prints_balances_in_yuan(posted, database, monkeypatch):
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("NUAN_ENV", "test")
    lines = CliRunner().invoke(cli.ledger, ["balances"]).output.splitlines()
    assert [line.split() for line in lines] == [
        ["bank:icbc", "asset", "5.07"],
        ["suspense:wechat", "liability", "-0.07"],
        ["wallet:1", "liability", "-5.00"],
    ]
