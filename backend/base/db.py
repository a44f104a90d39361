"""The database session, the model base and the column types every room uses."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime
from typing import TYPE_CHECKING, Annotated, Any

import psycopg
import sqlalchemy as sa
from flask_sqlalchemy import SQLAlchemy
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import DeclarativeBase, mapped_column, registry
from sqlalchemy.orm.util import identity_key

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

BigId = Annotated[int, mapped_column(sa.BigInteger, sa.Identity(), primary_key=True)]
Fen = Annotated[int, mapped_column(sa.BigInteger)]
Big = Annotated[int, mapped_column(sa.BigInteger)]
Instant = Annotated[datetime, mapped_column(sa.DateTime(timezone=True))]
Created = Annotated[
    datetime, mapped_column(sa.DateTime(timezone=True), server_default=sa.func.now())
]
Day = Annotated[date, mapped_column(sa.Date)]
Json = Annotated[dict[str, Any], mapped_column(pg.JSONB, server_default="{}")]
Tags = Annotated[list[str], mapped_column(pg.ARRAY(sa.Text), server_default="{}")]


METADATA = sa.MetaData(naming_convention=NAMING)


class _Declarative(DeclarativeBase):
    registry = registry(
        metadata=METADATA,
        type_annotation_map={str: sa.Text, datetime: sa.DateTime(timezone=True)},
    )


db = SQLAlchemy(model_class=_Declarative, session_options={"expire_on_commit": False})

if TYPE_CHECKING:
    Base = DeclarativeBase
else:
    Base = db.Model  # every table: stable constraint names, instants with a time zone


def ref(target: str, *, index: bool = True, nullable: bool = False, primary: bool = False) -> Any:
    """A bigint foreign key column to `table.id`, indexed unless said otherwise."""
    return mapped_column(
        sa.BigInteger,
        sa.ForeignKey(f"{target}.id"),
        index=index and not primary,
        nullable=nullable,
        primary_key=primary,
    )


def changed(statement: Any) -> int:
    """How many rows a statement has written: what a conditional update is asked."""
    kept = {"preserve_rowcount": True}  # an INSERT ... SELECT forgets it otherwise
    done = db.session.execute(statement, execution_options=kept)
    return int(done.rowcount)  # type: ignore[attr-defined]


def read_again(model: type[Any], ids: Iterable[Any]) -> None:
    """Rows were written by hand: the session's objects of them are loaded anew when looked at."""
    session = db.session()
    for one in ids if len(session.identity_map) else ():
        known = session.identity_map.get(identity_key(model, one))
        if known is not None:
            session.expire(known)


# In one order everywhere, so that two who take several cannot wait for each other.
_HOLD = """
SELECT pg_advisory_xact_lock(hashtextextended(name, 0))
  FROM unnest(CAST(:names AS text[])) WITH ORDINALITY AS n (name, place) ORDER BY place
"""


def hold(*names: str) -> None:
    """Whoever else holds one of `names` waits until our commit."""
    db.session.execute(sa.text(_HOLD), {"names": sorted(set(names))})


Driver = psycopg.Connection[Any]


@contextmanager
def straight(connection: sa.Connection | None = None) -> Iterator[Driver]:
    """The driver's own connection under the session's, or under `connection`.

    For COPY, and for statements that SQLAlchemy's bookkeeping makes half as dear again.  A server
    that is gone, or a wait that was too long, is told as SQLAlchemy tells it; other errors are the
    driver's own.
    """
    ours = connection or db.session.connection()
    driver: Any = ours.connection.driver_connection
    try:
        yield driver
    except psycopg.OperationalError as error:
        lost = driver.closed or driver.broken
        if lost:
            ours.invalidate(error)
        raise sa.exc.OperationalError(None, None, error, connection_invalidated=lost) from error


@contextmanager
def alone() -> Iterator[Driver]:
    """A connection beside the session's; every statement over it is a transaction of its own.

    Neither BEGIN nor COMMIT goes over the wire.
    """
    with (
        db.engine.connect() as connection,
        straight(connection.execution_options(isolation_level="AUTOCOMMIT")) as driver,
    ):
        yield driver


@contextmanager
def unprepared(connection: sa.Connection) -> Iterator[None]:
    """Statements of the block are planned by the arrays they are given.

    A kept plan takes every array for a short one, and joins long ones row against row.
    """
    driver: Any = connection.connection.driver_connection
    kept, driver.prepare_threshold = driver.prepare_threshold, None
    try:
        yield
    finally:
        driver.prepare_threshold = kept


def engine_options(pool_size: int) -> dict[str, Any]:
    """SQLAlchemy engine options: UTC sessions, no endless waits."""
    return {
        "pool_size": pool_size,
        "max_overflow": pool_size,
        "pool_timeout": 10,
        "connect_args": {
            "connect_timeout": 5,
            "options": "-c timezone=UTC -c lock_timeout=15000 -c statement_timeout=120000",
        },
    }


# A connection just given back is alive; asking it cost as much as the question it was taken for.
PING_AFTER_S = 1.0


def ping_idle(engine: sa.Engine) -> None:
    """Ask a pooled connection that has lain idle whether it still lives; a dead one is replaced."""

    @sa.event.listens_for(engine, "checkin")
    def remember(_: Any, record: Any) -> None:
        record.info["idle_since"] = time.monotonic()

    @sa.event.listens_for(engine, "checkout")
    def ask(connection: Any, record: Any, _: Any) -> None:
        idle_since = record.info.get("idle_since")
        if idle_since is None or time.monotonic() - idle_since < PING_AFTER_S:
            return
        try:
            engine.dialect.do_ping(connection)
        except engine.dialect.loaded_dbapi.Error as error:
            raise sa.exc.DisconnectionError from error


def sqlalchemy_url(url: str) -> str:
    """The same database address with the psycopg 3 driver named."""
    for prefix in ("postgresql://", "postgres://"):
        if url.startswith(prefix):
            return "postgresql+psycopg://" + url[len(prefix) :]
    return url
