"""WeChat's token: one for every process, sealed, gone when its time is over."""

from datetime import timedelta

import psycopg

from backend.base.db import db
from backend.base.sealed import Seal
from backend.people.models import SharedSecret
from backend.people.tokens import SharedTokens


def test_what_one_process_keeps_another_finds(app, clock):
    SharedTokens(clock.now).set("wechat_token:wx1", "secret-token", 7000)
    assert SharedTokens(clock.now).get("wechat_token:wx1") == "secret-token"
    assert SharedTokens(clock.now).get("wechat_token:wx2") is None


def test_a_token_is_gone_when_its_time_is_over(app, clock):
    tokens = SharedTokens(clock.now)
    tokens.set("t", "old", 60)
    clock.advance(seconds=59)
    assert tokens.get("t") == "old"
    clock.advance(seconds=1)
    assert tokens.get("t") is None
    tokens.set("t", "new", 60)
    assert tokens.get("t") == "new"


def test_the_database_never_sees_the_token_in_clear(app, clock):
    SharedTokens(clock.now).set("t", "secret-token", 60)
    row = db.session.get(SharedSecret, "t")
    assert b"secret-token" not in bytes(row.value_sealed)
    assert row.expires_at == clock.now() + timedelta(seconds=60)


def test_a_token_sealed_under_another_key_is_fetched_anew(app, clock):
    SharedTokens(clock.now).set("t", "secret-token", 60)
    app.extensions["nuan_seal"] = Seal(b"k" * 32)
    assert SharedTokens(clock.now).get("t") is None


def test_it_waits_for_nobody_elses_transaction(app, clock, database):
    tokens = SharedTokens(clock.now)
    tokens.set("t", "one", 60)
    db.session.execute(db.text("SELECT 1"))  # a transaction of the caller's own is open
    tokens.set("t", "two", 60)
    with psycopg.connect(database) as other:
        assert other.execute("SELECT count(*) FROM shared_secret").fetchone() == (1,)
    assert tokens.get("t") == "two"
