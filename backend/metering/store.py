"""The one way a batch of readings gets into its tables: quickly, and each reading once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import psycopg
import sqlalchemy as sa
from psycopg import sql as pgsql

from backend.base.clock import business_day
from backend.base.db import db
from backend.metering.rules import IMPOSSIBLE

if TYPE_CHECKING:
    from backend.metering.service import NewReading

COLUMNS = (
    "meter_id", "read_at", "source", "kind", "corrects_id", "register", "volume_l", "power_w",
    "flow_lph", "supply_cdeg", "return_cdeg", "room_cdeg", "flags", "frame", "author_id",
    "reason",
)  # fmt: skip
_KEY = attrgetter("meter_id", "read_at", "kind", "corrects_id")
_NAMES = pgsql.SQL(", ").join(map(pgsql.Identifier, COLUMNS))
_COPY = pgsql.SQL("COPY {} ({}) FROM STDIN")
_STAGE = pgsql.SQL(
    "CREATE TEMP TABLE IF NOT EXISTS reading_stage ON COMMIT DELETE ROWS AS "
    "SELECT {} FROM reading WITH NO DATA"
).format(_NAMES)
_UNSTAGE = pgsql.SQL(
    "INSERT INTO reading ({0}) SELECT {0} FROM reading_stage ON CONFLICT DO NOTHING "
    "RETURNING meter_id, read_at, kind, corrects_id"
).format(_NAMES)


def put(batch: Sequence[NewReading], *, likely_new: bool) -> list[NewReading]:
    """Insert the readings that are not there yet, and return those.

    Where all are likely new they are copied straight into place; if one is there after all, or
    where duplicates are expected, they go by a staging table that passes duplicates over.
    """
    if likely_new:
        try:
            with db.session.begin_nested():
                _copy("reading", batch)
            return list(batch)
        except psycopg.errors.UniqueViolation:
            pass
    return _put_staged(batch)


def _put_staged(batch: Sequence[NewReading]) -> list[NewReading]:
    with _raw().cursor() as cursor:
        cursor.execute(_STAGE)
        cursor.execute("DELETE FROM reading_stage")
        _copy("reading_stage", batch)
        cursor.execute(_UNSTAGE)
        if cursor.rowcount == len(batch):
            return list(batch)
        new = set(cursor.fetchall())
    fresh = {_KEY(reading): reading for reading in batch if _KEY(reading) in new}
    return list(fresh.values())


def _copy(table: str, batch: Sequence[NewReading]) -> None:
    values = attrgetter(*COLUMNS)
    with (
        _raw().cursor() as cursor,
        cursor.copy(_COPY.format(pgsql.Identifier(table), _NAMES)) as copy,
    ):
        for reading in batch:
            copy.write_row(values(reading))


def _raw() -> psycopg.Connection[Any]:
    found: psycopg.Connection[Any] = db.session.connection().connection.driver_connection  # type: ignore[assignment]
    return found


# Each meter's state follows its newest believable reading and is never moved back.
_MOVE = sa.text("""
INSERT INTO meter_state AS s (meter_id, last_ok_at, last_reading_id, register, power_w,
                              supply_cdeg, return_cdeg, room_cdeg)
SELECT r.meter_id, r.read_at, r.id, r.register, r.power_w,
       r.supply_cdeg, r.return_cdeg, r.room_cdeg
  FROM unnest(CAST(:meters AS bigint[]), CAST(:moments AS timestamptz[]),
              CAST(:kinds AS text[]), CAST(:corrects AS bigint[]))
       AS n(meter_id, read_at, kind, corrects_id)
  JOIN reading r USING (meter_id, read_at, kind, corrects_id)
 WHERE r.read_at BETWEEN :first AND :last
 ORDER BY r.meter_id
ON CONFLICT (meter_id) DO UPDATE SET
    last_ok_at = excluded.last_ok_at,
    last_reading_id = excluded.last_reading_id,
    register = coalesce(excluded.register, s.register),
    power_w = coalesce(excluded.power_w, s.power_w),
    supply_cdeg = coalesce(excluded.supply_cdeg, s.supply_cdeg),
    return_cdeg = coalesce(excluded.return_cdeg, s.return_cdeg),
    room_cdeg = coalesce(excluded.room_cdeg, s.room_cdeg)
WHERE s.last_ok_at IS NULL OR s.last_ok_at <= excluded.last_ok_at
""")


def move_states(fresh: Sequence[NewReading]) -> None:
    """Bring the meters' states up to the newest of these readings."""
    newest: dict[int, NewReading] = {}
    for reading in fresh:
        known = newest.get(reading.meter_id)
        if (known is None or _later(reading, known)) and IMPOSSIBLE not in reading.flags:
            newest[reading.meter_id] = reading
    if not newest:
        return
    meters, moments, kinds, corrects = zip(*map(_KEY, newest.values()), strict=True)
    db.session.execute(
        _MOVE,
        {
            "meters": list(meters),
            "moments": list(moments),
            "kinds": list(kinds),
            "corrects": list(corrects),
            "first": min(moments),
            "last": max(moments),
        },
    )


def _later(a: NewReading, b: NewReading) -> bool:
    return (a.read_at, a.corrects_id) >= (b.read_at, b.corrects_id)


_COUNT = sa.text("""
INSERT INTO read_success AS c (meter_id, day, asked, answered)
SELECT * FROM unnest(CAST(:meters AS bigint[]), CAST(:days AS date[]), CAST(:asked AS int[]),
                     CAST(:answered AS int[])) AS n(meter_id, day, asked, answered)
 ORDER BY 1, 2
ON CONFLICT (meter_id, day) DO UPDATE SET
    asked = c.asked + excluded.asked, answered = c.answered + excluded.answered
""")


def count(attempts: Iterable[tuple[int, datetime]], *, answered: bool) -> None:
    """Add (meter id, when asked) to the days' counts of asked and answered."""
    days: dict[datetime, date] = {}  # a batch has far fewer moments than readings
    tally: Counter[tuple[int, date]] = Counter()
    for meter_id, at in attempts:
        day = days.get(at)
        if day is None:
            day = days[at] = business_day(at)
        tally[meter_id, day] += 1
    if tally:
        meters, of_days = zip(*tally, strict=True)
        asked = list(tally.values())
        db.session.execute(
            _COUNT,
            {
                "meters": list(meters),
                "days": list(of_days),
                "asked": asked,
                "answered": asked if answered else [0] * len(asked),
            },
        )
