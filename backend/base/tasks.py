"""The task queue (Procrastinate) in the same database as everything else.

`defer` enqueues through the session's own connection, so a task exists exactly when the
transaction that made it necessary committed.  Task functions are registered by the rooms with
`@tasks.task(...)` and run inside an application context by `nuan worker`.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from functools import wraps
from importlib import import_module
from typing import Any

import procrastinate
from flask import Flask
from procrastinate.retry import RetryStrategy

from backend.base.db import db

# Rooms that register tasks; loaded before a worker starts.
TASK_MODULES = (
    "backend.allocation.tasks",
    "backend.billing.tasks",
    "backend.cashier.tasks",
    "backend.notices.tasks",
)

queue = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())
_flask: list[Flask] = []


def task(name: str, *, attempts: int = 8, wait_s: int = 5) -> Callable[[Any], Any]:
    """Register a function as the task `name`, retried with growing waits.

    The function runs in its own application context and commits its own transaction.
    """

    def register(function: Callable[..., None]) -> Any:
        @wraps(function)
        def run(**kwargs: Any) -> None:
            with _flask[0].app_context():
                function(**kwargs)

        retry = RetryStrategy(max_attempts=attempts, exponential_wait=wait_s)
        return queue.task(name=name, retry=retry)(run)

    return register


def defer(
    name: str,
    *,
    at: datetime | None = None,
    lock: str | None = None,
    once: str | None = None,
    **kwargs: Any,
) -> None:
    """Enqueue task `name` in the current session's transaction.

    `at` delays it, `lock` keeps two tasks of the same lock from running together, `once` is a
    queueing lock: where such a task already waits, nothing is added.
    """
    if once is not None and _waiting(once):
        return
    raw = db.session.connection().connection.driver_connection
    load_tasks()
    queue.configure_task(name, schedule_at=at, lock=lock, queueing_lock=once, connection=raw).defer(
        **kwargs
    )


def _waiting(once: str) -> bool:
    found = db.session.execute(
        db.text("SELECT 1 FROM procrastinate_jobs WHERE queueing_lock = :once AND status = 'todo'"),
        {"once": once},
    ).first()
    return found is not None


def load_tasks() -> None:
    """Import every room's tasks so that their names are known."""
    for module in TASK_MODULES:
        import_module(module)


def bind(app: Flask) -> None:
    """Tasks run in `app`'s context from now on."""
    _flask[:] = [app]


def apply_schema(url: str) -> None:
    """Create Procrastinate's tables where they are missing (called by the migrations)."""
    connector = procrastinate.SyncPsycopgConnector(conninfo=url)
    with procrastinate.App(connector=connector).open() as opened:
        opened.schema_manager.apply_schema()


def run_worker(url: str, *, wait: bool, concurrency: int) -> None:
    """Take tasks until told to stop (or, without `wait`, until the queue is empty)."""
    load_tasks()
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=concurrency + 2)
    with queue.replace_connector(connector) as app:
        app.run_worker(
            wait=wait,
            concurrency=concurrency,
            install_signal_handlers=wait,
            delete_jobs="successful",
            fetch_job_polling_interval=2,
        )
