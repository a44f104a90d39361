"""The one way a batch of readings gets into its tables: quickly, and each reading once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from math import inf
from operator import attrgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import psycopg
import sqlalchemy as sa
from psycopg import sql as pgsql

from backend.base.db import db, straight
from backend.metering.batch import Batch, literal
from backend.metering.rules import DAY_S, is_usable

if TYPE_CHECKING:
    from backend.metering.service import NewReading

SLICE = 1000  # rows
DAYS = 100_000
SHANGHAI_AHEAD_S = 8 * 3600  # without summer time since 1991
# The columns of a reading; those before `register` are said of every one.
COLUMNS = (
    "meter_id", "read_at", "source", "kind", "corrects_id", "register", "volume_l", "power_w",
    "flow_lph", "supply_cdeg", "return_cdeg", "room_cdeg", "flags", "frame", "author_id",
    "reason",
)  # fmt: skip
_ALWAYS = COLUMNS[:5]
_KEY = attrgetter("meter_id", "read_at", "kind", "corrects_id")
_NAMES = pgsql.SQL(", ").join(map(pgsql.Identifier, COLUMNS))
_COPY = pgsql.SQL("COPY {} ({}) FROM STDIN")
_STAGE = pgsql.SQL(
    "CREATE TEMP TABLE IF NOT EXISTS reading_stage (LIKE reading INCLUDING DEFAULTS) "
    "ON COMMIT DELETE ROWS"
)
_UNSTAGE = pgsql.SQL(
    "INSERT INTO reading ({0}) SELECT {0} FROM reading_stage ON CONFLICT DO NOTHING "
    "RETURNING meter_id, read_at, kind, corrects_id"
).format(_NAMES)
_NULL = "\\N"

# Which of these are there already, and which of those with another register; most are one row.
_THERE = """
SELECT n.position - 1, r.register IS DISTINCT FROM n.register AS differs
  FROM unnest(%s::bigint[], %s::timestamptz[], %s::text[], %s::bigint[], %s::bigint[])
       WITH ORDINALITY AS n(meter_id, read_at, kind, corrects_id, register, position)
  JOIN reading r USING (meter_id, read_at, kind, corrects_id)
 WHERE r.read_at BETWEEN %s AND %s
"""


@dataclass(frozen=True, slots=True)
class Parted:
    """A batch parted: not stored yet, and stored (or said twice) with another register."""

    new: Batch
    conflicts: list[NewReading]


def part(batch: Batch, last: Mapping[int, datetime | None]) -> Parted:
    """Leave out the readings that are there already, asking only about those that may be.

    `last` is the moment of each meter's last reading: what is newer is new.
    """
    once, conflicts = _once(batch)
    newest = [-inf if (at := last.get(m)) is None else at.timestamp() for m in batch.meter_ids()]
    of = np.searchsorted(np.array(batch.meter_ids()), once.meters)
    doubtful = once.at <= np.array(newest)[of]
    if not doubtful.any():
        return Parted(once, conflicts)
    asked = once.take(doubtful)
    there = _there(asked.readings)
    conflicts += [asked.readings[n] for n, differs in there if differs]
    doubtful[np.flatnonzero(doubtful)[[n for n, _ in there]]] = False
    return Parted(once.take(doubtful | (once.at > np.array(newest)[of])), conflicts)


def _once(batch: Batch) -> tuple[Batch, list[NewReading]]:
    """Each reading once, the first to be said; others of its key with another register."""
    repeats = batch.may_repeat()
    if not repeats.any():
        return batch, []
    first: dict[Any, NewReading] = {}
    kept, conflicts = np.ones(len(batch), dtype=np.bool_), []
    for n in np.flatnonzero(repeats).tolist():
        reading = batch.readings[n]
        known = first.setdefault(_KEY(reading), reading)
        if known is not reading:
            kept[n] = False
            if known.register != reading.register:
                conflicts.append(reading)
    return batch.take(kept), conflicts


def _there(readings: Sequence[NewReading]) -> list[tuple[int, bool]]:
    """(index, whether the stored row's register differs) of those that are stored."""
    meters, moments, kinds, corrects = zip(*map(_KEY, readings), strict=True)
    columns = (meters, _texts("read_at", moments), kinds, corrects, [r.register for r in readings])
    with straight() as driver, driver.cursor() as cursor:
        values = (*map(literal, columns), min(moments), max(moments))
        return cursor.execute(_THERE, values).fetchall()


def put(batch: Sequence[NewReading]) -> list[NewReading]:
    """Insert readings taken for new, and return those that were.

    They are copied straight into place; where one is there after all (another process was
    quicker), they go by a staging table that passes duplicates over.
    """
    if not batch:
        return []
    try:
        with db.session.begin_nested():
            _copy("reading", batch)
        return list(batch)
    except psycopg.errors.UniqueViolation:
        return _put_staged(batch)


def _put_staged(batch: Sequence[NewReading]) -> list[NewReading]:
    with straight() as driver, driver.cursor() as cursor:
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
    """COPY a batch, formatted column by column: cheaper than a call for each row.

    A slice at a time, so that the server takes in one while the next is made; and no tuple a row,
    of which the garbage collector would go through thousands (it took half of the time).
    """
    columns = {name: list(map(attrgetter(name), batch)) for name in COLUMNS}
    used = [name for name in COLUMNS if name in _ALWAYS or _says(name, columns[name])]
    names = pgsql.SQL(", ").join(map(pgsql.Identifier, used))
    with (
        straight() as driver,
        driver.cursor() as cursor,
        cursor.copy(_COPY.format(pgsql.Identifier(table), names)) as copy,
    ):
        for at in range(0, len(batch), SLICE):
            texts = [_texts(name, columns[name][at : at + SLICE]) for name in used]
            copy.write("\n".join(map("\t".join, zip(*texts, strict=True))) + "\n")


def _says(name: str, values: Sequence[Any]) -> bool:
    """Whether a column has anything but its default."""
    return any(values) if name == "flags" else values.count(None) < len(values)


def _texts(name: str, values: Sequence[Any]) -> list[str]:
    """A column's values as COPY's text format has them."""
    if name == "read_at":
        text: dict[datetime, str] = {}
        return [text.get(v) or text.setdefault(v, v.isoformat()) for v in values]
    if name == "frame":
        return [_NULL if v is None else "\\\\x" + v.hex() for v in values]
    if name == "flags":
        return ["{}" if not v else "{" + ",".join(map(_escaped, v)) + "}" for v in values]
    if name in ("source", "kind", "reason"):
        text_of = {v: _NULL if v is None else _escaped(v) for v in set(values)}
        return [text_of[v] for v in values]
    return [_NULL if v is None else str(v) for v in values]


def _escaped(text: str) -> str:
    """Text as COPY wants it: its own signs escaped."""
    for sign, escape in (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r")):
        text = text.replace(sign, escape)
    return text


# Each meter's state follows its newest believable reading and is never moved back.
_MOVE = sa.text("""
INSERT INTO meter_state AS s (meter_id, last_ok_at, last_reading_id, register, register_since,
                              power_w, supply_cdeg, return_cdeg, room_cdeg)
SELECT r.meter_id, r.read_at, r.id, r.register, CASE WHEN r.register IS NOT NULL THEN r.read_at END,
       r.power_w, r.supply_cdeg, r.return_cdeg, r.room_cdeg
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
    register_since = CASE WHEN excluded.register = s.register AND s.register_since IS NOT NULL
                          THEN s.register_since
                          ELSE coalesce(excluded.register_since, s.register_since) END,
    power_w = coalesce(excluded.power_w, s.power_w),
    supply_cdeg = coalesce(excluded.supply_cdeg, s.supply_cdeg),
    return_cdeg = coalesce(excluded.return_cdeg, s.return_cdeg),
    room_cdeg = coalesce(excluded.room_cdeg, s.room_cdeg)
WHERE s.last_ok_at IS NULL OR s.last_ok_at <= excluded.last_ok_at
""")


def move_states(fresh: Sequence[NewReading]) -> None:
    """Bring the meters' states up to the newest of these readings, given in order of time."""
    newest = {r.meter_id: r for r in fresh if not r.flags or is_usable(r.flags, r.author_id)}
    if not newest:
        return
    meters, moments, kinds, corrects = zip(*map(_KEY, newest.values()), strict=True)
    db.session.execute(
        _MOVE,
        {
            "meters": literal(meters),
            "moments": literal(_texts("read_at", moments)),
            "kinds": literal(kinds),
            "corrects": literal(corrects),
            "first": min(moments),
            "last": max(moments),
        },
    )


_COUNT = sa.text("""
INSERT INTO read_success AS c (meter_id, day, asked, answered)
SELECT * FROM unnest(CAST(:meters AS bigint[]), CAST(:days AS date[]), CAST(:asked AS int[]),
                     CAST(:answered AS int[])) AS n(meter_id, day, asked, answered)
 ORDER BY 1, 2
ON CONFLICT (meter_id, day) DO UPDATE SET
    asked = c.asked + excluded.asked, answered = c.answered + excluded.answered
""")


def count(meters: Sequence[int], moments: Sequence[datetime], *, answered: bool) -> None:
    """Add meters and when they were asked to the days' counts of asked and answered."""
    if not meters:
        return
    seconds = np.array([at.timestamp() for at in moments])
    days = ((seconds + SHANGHAI_AHEAD_S) // DAY_S).astype(np.int64)
    # One number for both: days of the epoch have far fewer than DAYS.
    both, asked = np.unique(np.array(meters, np.int64) * DAYS + days, return_counts=True)
    each, of_days = both // DAYS, both % DAYS
    many = literal(asked.tolist())
    db.session.execute(
        _COUNT,
        {
            "meters": literal(each.tolist()),
            "days": literal(of_days.astype("datetime64[D]").tolist()),
            "asked": many,
            "answered": many if answered else literal([0] * len(asked)),
        },
    )
