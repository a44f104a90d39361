"""What the sandbox remembers, in one SQLite file: orders survive a restart, so that tomorrow's
statement has them. Moments are epoch seconds, amounts fen.
"""

import json
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS orders (
    out_trade_no TEXT PRIMARY KEY, prepay_id TEXT UNIQUE NOT NULL, request TEXT NOT NULL,
    description TEXT NOT NULL, attach TEXT NOT NULL, notify_url TEXT NOT NULL,
    total_fen INTEGER NOT NULL, openid TEXT NOT NULL, created_at REAL NOT NULL,
    expires_at REAL NOT NULL, state TEXT NOT NULL, transaction_id TEXT, paid_at REAL,
    fee_fen INTEGER NOT NULL DEFAULT 0, channel TEXT NOT NULL DEFAULT 'wechat');
CREATE INDEX IF NOT EXISTS orders_paid ON orders (paid_at);
CREATE TABLE IF NOT EXISTS refunds (
    out_refund_no TEXT PRIMARY KEY, refund_id TEXT NOT NULL, out_trade_no TEXT NOT NULL,
    refund_fen INTEGER NOT NULL, reason TEXT NOT NULL, notify_url TEXT NOT NULL,
    status TEXT NOT NULL, created_at REAL NOT NULL, success_at REAL,
    fee_fen INTEGER NOT NULL DEFAULT 0, received TEXT NOT NULL DEFAULT '');
CREATE INDEX IF NOT EXISTS refunds_order ON refunds (out_trade_no);
CREATE INDEX IF NOT EXISTS refunds_success ON refunds (success_at);
CREATE TABLE IF NOT EXISTS notices (
    id TEXT PRIMARY KEY, event_type TEXT NOT NULL, number TEXT NOT NULL, url TEXT NOT NULL,
    plain TEXT NOT NULL, created_at REAL NOT NULL, state TEXT NOT NULL, due_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, acknowledged INTEGER NOT NULL DEFAULT 0,
    wanted INTEGER NOT NULL DEFAULT 1, twist TEXT, last_result TEXT NOT NULL DEFAULT '',
    channel TEXT NOT NULL DEFAULT 'wechat');
CREATE INDEX IF NOT EXISTS notices_due ON notices (state, due_at);
CREATE TABLE IF NOT EXISTS behaviours (
    id INTEGER PRIMARY KEY, target TEXT NOT NULL, mode TEXT NOT NULL, match TEXT,
    params TEXT NOT NULL, times_left INTEGER);
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS bills (
    token TEXT PRIMARY KEY, content BLOB NOT NULL, expires_at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS codes (
    code TEXT PRIMARY KEY, kind TEXT NOT NULL, openid TEXT NOT NULL, phone TEXT NOT NULL,
    expires_at REAL NOT NULL, used INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS tokens (
    token TEXT PRIMARY KEY, expires_at REAL NOT NULL, state TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS templates (
    template_id TEXT PRIMARY KEY, title TEXT NOT NULL, fields TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS messages (
    msgid INTEGER PRIMARY KEY, openid TEXT NOT NULL, template_id TEXT NOT NULL,
    page TEXT NOT NULL, data TEXT NOT NULL, at REAL NOT NULL);
CREATE TABLE IF NOT EXISTS calls (
    id INTEGER PRIMARY KEY, at REAL NOT NULL, method TEXT NOT NULL, path TEXT NOT NULL,
    status INTEGER NOT NULL);
"""
# (table, column, default) of what came after the first files were made.
_LATER = (
    ("orders", "channel", "wechat"),
    ("notices", "channel", "wechat"),
    ("refunds", "received", ""),
)
_CALLS_KEPT = 10_000

Row = sqlite3.Row


class State:
    """One connection shared by the server's threads under a lock; close() it."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA busy_timeout=5000")
        self._db.executescript(_SCHEMA)
        self._add_columns()

    def _add_columns(self) -> None:
        """A file from before there was a column learns it."""
        for table, name, default in _LATER:
            columns = [row["name"] for row in self.all(f"PRAGMA table_info({table})")]
            if name not in columns:
                self.run(f"ALTER TABLE {table} ADD COLUMN {name} TEXT NOT NULL DEFAULT '{default}'")

    def close(self) -> None:
        """Close the file; further calls raise sqlite3.ProgrammingError."""
        with self._lock:
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing, and nobody else in between; must not be nested."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def run(self, sql: str, *values: Any) -> int:
        """Execute; the number of rows changed."""
        with self._lock:
            return self._db.execute(sql, values).rowcount

    def one(self, sql: str, *values: Any) -> Row | None:
        """The first row, or None."""
        with self._lock:
            row: Row | None = self._db.execute(sql, values).fetchone()
            return row

    def all(self, sql: str, *values: Any) -> list[Row]:
        """Every row."""
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def insert(self, table: str, **values: Any) -> int:
        """Insert a row by column names (ours, never a request's); its rowid."""
        names, marks = ", ".join(values), ", ".join("?" * len(values))
        sql = f"INSERT INTO {table} ({names}) VALUES ({marks})"
        with self._lock:
            return self._db.execute(sql, tuple(values.values())).lastrowid or 0

    def setting(self, name: str, default: str) -> str:
        """A lasting setting made through the control route."""
        row = self.one("SELECT value FROM settings WHERE name = ?", name)
        return str(row["value"]) if row else default

    def set_setting(self, name: str, value: str) -> None:
        """Keep a setting, replacing what it was."""
        self.run("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def next_number(self, name: str) -> int:
        """1, 2, 3 … for each name; call inside a transaction where it must not be lost."""
        with self._lock:
            number = int(self.setting(f"counter:{name}", "0")) + 1
            self.set_setting(f"counter:{name}", str(number))
            return number

    def log_call(self, at: float, method: str, path: str, status: int) -> None:
        """Remember a call, so that a test can count them; the last 10,000 are kept."""
        number = self.insert("calls", at=at, method=method, path=path, status=status)
        if number % 1000 == 0:
            self.run("DELETE FROM calls WHERE id <= ?", number - _CALLS_KEPT)

    def order_behaviour(
        self, target: str, mode: str, match: str | None, params: Mapping[str, Any], times: int
    ) -> int:
        """Order a behaviour for the next `times` occasions (0: until cleared); its id."""
        return self.insert(
            "behaviours",
            target=target,
            mode=mode,
            match=match,
            params=json.dumps(dict(params)),
            times_left=times or None,
        )

    def take_behaviour(
        self, target: str, match: str, modes: frozenset[str] | None = None
    ) -> tuple[str, dict[str, Any]] | None:
        """The oldest behaviour ordered for this occasion, used up by one; (mode, params)."""
        with self._lock:
            for row in self.all(
                "SELECT * FROM behaviours WHERE target = ? AND (match IS NULL OR match = ?)"
                " ORDER BY id",
                target,
                match,
            ):
                if modes is None or row["mode"] in modes:
                    self._use_up(row)
                    return str(row["mode"]), json.loads(row["params"])
        return None

    def _use_up(self, row: Row) -> None:
        if row["times_left"] is None:
            return
        if row["times_left"] <= 1:
            self.run("DELETE FROM behaviours WHERE id = ?", row["id"])
        else:
            self.run("UPDATE behaviours SET times_left = times_left - 1 WHERE id = ?", row["id"])
