"""A real PostgreSQL for every test: one embedded server a run, a migrated template, and a clone
of it for each test that commits (made in the background of the clone itself: about 30 ms).

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

from backend import config, create_app
from backend.base import postgres, schema
from backend.base.clock import FixedClock
from backend.base.db import db

NOON = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai


def settings_for(url: str, **changes: Any) -> config.Settings:
    """Test settings over the database at `url`."""
    base = config.load({"NUAN_ENV": "test", "DATABASE_URL": url})
    return base.replace(rate_limits=False, **changes)


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


@pytest.fixture
def database(server_url: str) -> Iterator[str]:
    """The URL of a fresh, migrated, empty database."""
    name = f"t_{uuid.uuid4().hex[:12]}"
    admin = server_url.replace("/template_nuan", "/postgres")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE template_nuan").format(sql.Identifier(name))
        )
    yield server_url.replace("/template_nuan", f"/{name}")
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
        )


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
