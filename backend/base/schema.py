"""The database's schema: migrate it, and say where it differs from the models."""

from __future__ import annotations

from typing import Any

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from flask_migrate import upgrade

from backend.base.db import db


def migrate() -> None:
    """Bring the database to the newest version; safe to call from several processes."""
    upgrade()


def differences() -> list[Any]:
    """What Alembic would still change to make the database equal to the models."""
    with db.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"include_object": ours, "compare_type": True}
        )
        return list(compare_metadata(context, db.metadata))


def ours(obj: Any, name: str | None, kind: str, reflected: bool, compare_to: Any) -> bool:
    """Leave out the queue's tables and the partitions of `reading`."""
    if kind == "table":
        return not str(name).startswith(("procrastinate_", "reading_p"))
    return True
