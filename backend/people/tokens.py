"""WeChat's access token, sealed in the database: one for every process (TokenStore)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from backend.base.db import db
from backend.base.sealed import seal, unseal
from backend.people.models import SharedSecret

_CONTEXT = "shared_secret"


class SharedTokens:
    """Keeps short-lived secrets by name; every call is a transaction of its own.

    The caller's transaction may be waiting on WeChat for seconds: it must not hold this row.
    """

    def __init__(self, now: Callable[[], datetime]):
        self._now = now

    def get(self, key: str) -> str | None:
        """The value, or None where there is none, its time is over or it cannot be opened."""
        query = sa.select(SharedSecret.value_sealed).where(
            SharedSecret.name == key, SharedSecret.expires_at > self._now()
        )
        with db.engine.begin() as connection:
            sealed = connection.execute(query).scalar()
        try:
            return None if sealed is None else unseal(sealed, f"{_CONTEXT}:{key}")
        except ValueError:  # sealed under an older key: fetch anew
            return None

    def set(self, key: str, value: str, ttl_s: int) -> None:
        """Keep the value for `ttl_s` seconds, replacing what was there."""
        values = {
            "name": key,
            "value_sealed": seal(value, f"{_CONTEXT}:{key}"),
            "expires_at": self._now() + timedelta(seconds=ttl_s),
        }
        statement = insert(SharedSecret).values(values)
        replaced = {name: statement.excluded[name] for name in ("value_sealed", "expires_at")}
        with db.engine.begin() as connection:
            connection.execute(
                statement.on_conflict_do_update(index_elements=["name"], set_=replaced)
            )
