"""The task queue (Procrastinate) in the same database as everything else.

`defer` enqueues through the session's own connection, so a task exists exactly when the
transaction that made it necessary committed.  Task functions are registered by the rooms with
`@tasks.task(...)` and run inside an application context by `nuan worker`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from functools import wraps
from importlib import import_module
from typing import Any

import procrastinate
from flask import Flask
from procrastinate.exceptions import AlreadyEnqueued
from procrastinate.retry import RetryStrategy

from backend.base.db import db

# Rooms that register tasks; loaded before a worker starts.
TASK_MODULES = (
    "backend.allocation.tasks",
    "backend.billing.tasks",
    "backend.cashier.tasks",
    "backend.notices.tasks",
)

log = logging.getLogger("nuan.tasks")

queue = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())
# Tasks enqueue from here: inside a worker `queue` speaks asynchronously, which a session's own
# connection does not, and what a task enqueued there was never written.
_outbox = procrastinate.App(connector=procrastinate.SyncPsycopgConnector())
_flask: list[Flask] = []


def task(name: str, *, attempts: int = 8, wait_s: int = 5) -> Callable[[Any], Any]:
    """Register a function as the task `name`, retried with growing waits.

    The function runs in its own application context and commits its own transaction.
    """

    def register(function: Callable[..., None]) -> Any:
        @wraps(function)
        def run(**kwargs: Any) -> None:
            with _flask[0].app_context():
                try:
                    function(**kwargs)
                except Exception:
                    log.warning("task failed", exc_info=True, extra={"task": name})
                    raise

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
    task = _configured(name, schedule_at=at, lock=lock, queueing_lock=once)
    if once is None:
        task.defer(**kwargs)
        return
    # Another process may enqueue the same at this instant: then ours is undone, nothing else.
    with suppress(AlreadyEnqueued), db.session.begin_nested():
        task.defer(**kwargs)


def defer_many(name: str, rows: Sequence[dict[str, Any]]) -> None:
    """Enqueue task `name` once for each row of arguments, in the current session's transaction."""
    if not rows:
        return
    _configured(name).batch_defer(*rows)


def _configured(name: str, **how: Any) -> Any:
    """The task `name` ready to be enqueued in the session's transaction; KeyError for none."""
    load_tasks()
    if name not in queue.tasks:
        raise KeyError(f"there is no task {name!r}")
    raw = db.session.connection().connection.driver_connection
    return _outbox.configure_task(name, allow_unknown=True, connection=raw, **how)


# A worker writes its heartbeat every HEARTBEAT_S; one silent for STALLED_S has died.
HEARTBEAT_S = 5
STALLED_S = 20

_STALLED = """
SELECT j.id, j.queueing_lock IS NOT NULL AND EXISTS (
         SELECT 1 FROM procrastinate_jobs o
         WHERE o.queueing_lock = j.queueing_lock AND o.status = 'todo') AS superseded
FROM procrastinate_jobs j LEFT JOIN procrastinate_workers w ON w.id = j.worker_id
WHERE j.status = 'doing'
  AND (w.id IS NULL OR w.last_heartbeat < clock_timestamp() - make_interval(secs => :older_than_s))
ORDER BY j.id FOR UPDATE OF j SKIP LOCKED
"""


def recover_stalled(older_than_s: float = STALLED_S) -> int:
    """Give the tasks of workers that died back to the queue; how many.  Commits.

    A worker is taken for dead once its heartbeat is `older_than_s` old.  Where the same task (by
    `once`) already waits again, the dead worker's copy ends as failed.
    """
    stalled = db.session.execute(db.text(_STALLED), {"older_than_s": older_than_s}).all()
    for job_id, superseded in stalled:
        statement = _GIVE_UP if superseded else _GIVE_BACK
        db.session.execute(db.text(statement), {"id": job_id})
    db.session.commit()
    if stalled:
        log.warning("tasks of a dead worker given back", extra={"count": len(stalled)})
    return len(stalled)


_GIVE_BACK = "SELECT procrastinate_retry_job_v2(:id, clock_timestamp(), NULL, NULL, NULL)"
_GIVE_UP = "UPDATE procrastinate_jobs SET status = 'failed' WHERE id = :id"


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
    """Take tasks until told to stop (or, without `wait`, until the queue is empty).

    What workers that died had begun is given back to the queue, at the start and ever after.
    """
    load_tasks()
    connector = procrastinate.PsycopgConnector(conninfo=url, min_size=1, max_size=concurrency + 2)
    with _recovering(wait), queue.replace_connector(connector) as app:
        app.run_worker(
            wait=wait,
            concurrency=concurrency,
            install_signal_handlers=wait,
            delete_jobs="successful",
            fetch_job_polling_interval=2,
            update_heartbeat_interval=HEARTBEAT_S,
            stalled_worker_timeout=STALLED_S,
        )


@contextmanager
def _recovering(wait: bool) -> Iterator[None]:
    """Recover stalled tasks in the background while the block runs."""
    stop = threading.Event()
    thread = threading.Thread(target=_recover_until, args=(stop,), name="recover", daemon=True)
    if wait:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        if wait:
            thread.join()


def _recover_until(stop: threading.Event) -> None:
    while not stop.is_set():
        try:
            with _flask[0].app_context():
                recover_stalled()
        except Exception:
            log.exception("could not look for stalled tasks")
        stop.wait(STALLED_S / 2)
