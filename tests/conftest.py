"""A real PostgreSQL for every test: one embedded server a run, a migrated template, a clone a
worker.  The clone is emptied after each test, which is ten times faster than a new one.

`app` is the application on a clean database with the clock standing at NOON; `clock` moves it.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest
from flask import Flask
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from backend import config, create_app
from backend.base import postgres, schema
from backend.base.clock import FixedClock
from backend.base.db import db

NOON = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai


def settings_for(url: str, **changes: Any) -> config.Settings:
    """Test settings over the database at `url`."""
    base = config.load({"NUAN_ENV": "test", "DATABASE_URL": url})
    return base.replace(**{"rate_limits": False, "quiet_hours": "off", **changes})


def _shared_directory(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """One directory for all workers of this run."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


def _template_once(directory: Path) -> str:
    """Start the server and migrate the template, in whichever worker comes first."""
    ready, lock = directory / "pg-url", directory / "pg-lock"
    try:
        lock.mkdir()
    except FileExistsError:
        for _ in range(600):
            if ready.exists():
                return ready.read_text()
            time.sleep(0.1)
        raise RuntimeError("the test database did not come up in 60 s") from None
    data = Path(tempfile.mkdtemp(prefix="nuan-test-")) / "pg"
    url = postgres.embedded(data, database="template_nuan")
    _speed_up(url)
    with create_app(settings_for(url), web_pages=False).app_context():
        schema.migrate()
        db.engine.dispose()
    (directory / "pg-data").write_text(str(data))
    ready.write_text(url)
    return url


def _speed_up(url: str) -> None:
    """Tests may lose their database with the machine; production may not."""
    with psycopg.connect(url, autocommit=True) as connection:
        for setting in ("fsync = off", "synchronous_commit = off", "full_page_writes = off"):
            connection.execute(f"ALTER SYSTEM SET {setting}")
        connection.execute("SELECT pg_reload_conf()")


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> str:
    """The template database's URL on this run's own server."""
    return _template_once(_shared_directory(tmp_path_factory, worker_id))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Stop the run's server once every worker has finished."""
    if os.environ.get("PYTEST_XDIST_WORKER"):
        return
    factory = getattr(session.config, "_tmp_path_factory", None)
    marker = factory.getbasetemp() / "pg-data" if factory else None
    if marker and marker.exists():
        data = Path(marker.read_text())
        postgres.stop_embedded(data)
        shutil.rmtree(data.parent, ignore_errors=True)


# Empties every table that has rows and starts the used sequences again; triggers that keep
# append-only tables from being emptied are off for this one session.
CLEAN = """
DO $$
DECLARE it record; filled boolean;
BEGIN
    SET LOCAL session_replication_role = replica;
    FOR it IN SELECT oid::regclass AS name FROM pg_class
              WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
                AND NOT relispartition AND relname <> 'alembic_version' LOOP
        EXECUTE format('SELECT EXISTS (SELECT 1 FROM %s)', it.name) INTO filled;
        IF filled THEN EXECUTE format('DELETE FROM %s', it.name); END IF;
    END LOOP;
    FOR it IN SELECT format('%I.%I', schemaname, sequencename) AS name FROM pg_sequences
              WHERE schemaname = 'public' AND last_value IS NOT NULL LOOP
        EXECUTE format('ALTER SEQUENCE %s RESTART', it.name);
    END LOOP;
END $$
"""


@pytest.fixture(scope="session")
def worker_database(server_url: str) -> str:
    """This worker's own clone of the template, cleaned after each test."""
    return _clone(server_url)


@pytest.fixture
def database(request: pytest.FixtureRequest, server_url: str) -> Iterator[str]:
    """The URL of a migrated, empty database.

    The worker's own, cleaned afterwards; a test of faults gets a fresh clone, since processes it
    starts or connections it cuts may outlive it.
    """
    if request.node.get_closest_marker("faults"):
        url = _clone(server_url)
        yield url
        _drop(server_url, url)
        return
    url = request.getfixturevalue("worker_database")
    yield url
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        connection.execute(CLEAN)


def _clone(server_url: str) -> str:
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(_admin(server_url), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template_nuan STRATEGY FILE_COPY").format(
                sql.Identifier(name)
            )
        )
    return server_url.replace("/template_nuan", f"/{name}")


def _drop(server_url: str, url: str) -> None:
    name = conninfo_to_dict(url)["dbname"]
    with psycopg.connect(_admin(server_url), autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(str(name)))
        )


def _admin(server_url: str) -> str:
    return server_url.replace("/template_nuan", "/postgres")


@pytest.fixture
def clock() -> FixedClock:
    """The clock the application reads; `clock.advance(days=1)` moves it."""
    return FixedClock(NOON)


@pytest.fixture
def app(database: str, clock: FixedClock) -> Iterator[Flask]:
    """The application on a clean database, inside its context."""
    application = create_app(settings_for(database), clock=clock)
    with application.app_context():
        yield application
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def client(app: Flask) -> Any:
    """Flask's test client."""
    return app.test_client()


@pytest.fixture
def queries(app: Flask) -> Iterator[list[str]]:
    """Every SQL statement the engine executes while the test runs."""
    seen: list[str] = []

    def note(_c: Any, _cur: Any, statement: str, *_rest: Any) -> None:
        seen.append(statement)

    db.event.listen(db.engine, "before_cursor_execute", note)
    yield seen
    db.event.remove(db.engine, "before_cursor_execute", note)
