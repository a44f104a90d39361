"""Readings into the database: deduplicated, flagged, never lost, never changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import sqlalchemy as sa
from psycopg import sql as pgsql
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Meter
from backend.base.clock import business_day, month_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import quality, series
from backend.metering.models import ManualEntry, MeterState, Reading, ReadSuccess, RefusedFrame

MAX_BACKDATED = timedelta(days=60)
MAX_REFUSED_A_DAY = 1000  # samples kept of what was refused, for the dispatcher


@dataclass(frozen=True, slots=True)
class NewReading:
    """A reading on its way in; `register` counts Wh or litres, temperatures hundredths of C."""

    meter_id: int
    read_at: datetime
    source: str
    kind: str = "current"
    corrects_id: int = 0
    register: int | None = None
    volume_l: int | None = None
    power_w: int | None = None
    flow_lph: int | None = None
    supply_cdeg: int | None = None
    return_cdeg: int | None = None
    room_cdeg: int | None = None
    flags: list[str] = field(default_factory=list)
    frame: bytes | None = None
    author_id: int | None = None
    reason: str | None = None


COLUMNS = tuple(NewReading.__slots__)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: rows stored (their ids in no order) and duplicates passed over."""

    stored: int
    duplicates: int
    ids: dict[tuple[int, datetime], int]


def record(batch: Sequence[NewReading]) -> Recorded:
    """Store a batch exactly once; a reading already there is left as it is.

    Flags each reading against the meter's last state, moves that state, counts the answers and
    fills today's series.  Everything in the caller's transaction.
    """
    if not batch:
        return Recorded(0, 0, {})
    _ensure_partitions(batch)
    flagged = quality.flag(batch)
    ids = _insert(flagged)
    fresh = [r for r in flagged if (r.meter_id, r.read_at) in ids]
    _move_states(fresh, ids)
    _count((r.meter_id, r.read_at, True) for r in fresh if r.kind == "current")
    series.fill(fresh)
    return Recorded(len(fresh), len(batch) - len(fresh), ids)


def record_failures(failures: Sequence[tuple[int, datetime, str]]) -> None:
    """Meters that did not answer: (meter id, when asked, code)."""
    if not failures:
        return
    _count(((meter_id, at, False) for meter_id, at, _ in failures))
    latest = {meter_id: (at, code) for meter_id, at, code in failures}
    rows = [
        {"meter_id": m, "last_error_at": at, "last_error": code}
        for m, (at, code) in sorted(latest.items())
    ]
    insert = pg.insert(MeterState).values(rows)
    db.session.execute(
        insert.on_conflict_do_update(
            index_elements=["meter_id"],
            set_={
                "last_error_at": insert.excluded.last_error_at,
                "last_error": insert.excluded.last_error,
            },
        )
    )


def keep_refused(bus_id: int | None, code: str, reason: str, frame: bytes, at: datetime) -> None:
    """Keep a refused frame for the dispatcher, up to MAX_REFUSED_A_DAY a day."""
    day_ago = at - timedelta(days=1)
    kept = db.session.scalar(
        sa.select(sa.func.count()).select_from(RefusedFrame).where(RefusedFrame.at > day_ago)
    )
    if (kept or 0) < MAX_REFUSED_A_DAY:
        db.session.add(
            RefusedFrame(at=at, bus_id=bus_id, code=code, reason=reason, frame=frame[:512])
        )


def typed_reading(
    meter_id: int,
    register: int,
    read_at: datetime,
    staff_id: int,
    client_id: str,
    *,
    confirm: bool,
    note: str | None,
    now: datetime,
) -> tuple[int, list[str], int | None]:
    """A reading typed in by a reader: (reading id, flags, usage since the last reading).

    Sending the same `client_id` again returns the first answer.  A register below the last, or
    far above it, needs `confirm` and a note.
    """
    entry = _claim_entry(client_id, staff_id, meter_id)
    if entry is not None:
        return _answer_again(entry, staff_id)
    if read_at > now + timedelta(minutes=5):
        raise Problem("reading_in_future", field="read_at")
    if read_at < now - MAX_BACKDATED:
        raise Problem("reading_too_old", field="read_at")
    before = db.session.get(MeterState, meter_id)
    since = None if before is None or before.register is None else register - before.register
    new = quality.flag(
        [
            NewReading(
                meter_id,
                read_at,
                "reader",
                kind="manual",
                register=register,
                author_id=staff_id,
                reason=note,
            )
        ]
    )[0]
    _confirmed(new.flags, confirm, note)
    ids = record([new]).ids
    reading_id = next(iter(ids.values()), None) or _existing_id(meter_id, read_at)
    db.session.add(
        ManualEntry(
            client_id=client_id, staff_id=staff_id, meter_id=meter_id, reading_id=reading_id
        )
    )
    db.session.flush()
    return reading_id, new.flags, since


def _confirmed(flags: Iterable[str], confirm: bool, note: str | None) -> None:
    """Raise where a doubtful reading has not been confirmed in words."""
    for flag, code in (("reverse", "register_decreased"), ("jump", "register_jump")):
        if flag in flags and not (confirm and note):
            raise Problem(code, field="register")


def _claim_entry(client_id: str, staff_id: int, meter_id: int) -> ManualEntry | None:
    """The entry already made under this client id; serialised so two copies cannot both pass."""
    db.session.execute(
        sa.select(sa.func.pg_advisory_xact_lock(sa.func.hashtextextended(client_id, 0)))
    )
    return db.session.get(ManualEntry, client_id)


def _answer_again(entry: ManualEntry, staff_id: int) -> tuple[int, list[str], int | None]:
    if entry.staff_id != staff_id:
        raise Problem("not_found")
    flags = db.session.scalar(sa.select(Reading.flags).where(Reading.id == entry.reading_id))
    return entry.reading_id, list(flags or []), None


def _existing_id(meter_id: int, read_at: datetime) -> int:
    found = db.session.scalar(
        sa.select(Reading.id).where(
            Reading.meter_id == meter_id, Reading.read_at == read_at, Reading.kind == "manual"
        )
    )
    assert found is not None, "a duplicate reading has a first one"
    return found


def _ensure_partitions(batch: Sequence[NewReading]) -> None:
    """The (UTC) months of a batch have their partitions; asking for one that exists is cheap."""
    for month in sorted({month_start(r.read_at.astimezone(UTC).date()) for r in batch}):
        db.session.execute(sa.select(sa.func.nuan_reading_partition(month)))


def _insert(batch: Sequence[NewReading]) -> dict[tuple[int, datetime], int]:
    """COPY into a staging table, then INSERT ... ON CONFLICT DO NOTHING: (meter, at) -> id."""
    raw: psycopg.Connection[Any] = db.session.connection().connection.driver_connection  # type: ignore[assignment]
    names = pgsql.SQL(", ").join(map(pgsql.Identifier, COLUMNS))
    with raw.cursor() as cursor:
        cursor.execute(
            pgsql.SQL(
                "CREATE TEMP TABLE IF NOT EXISTS reading_stage ON COMMIT DELETE ROWS AS "
                "SELECT {} FROM reading WITH NO DATA"
            ).format(names)
        )
        cursor.execute("DELETE FROM reading_stage")
        with cursor.copy(pgsql.SQL("COPY reading_stage ({}) FROM STDIN").format(names)) as copy:
            for r in batch:
                copy.write_row([getattr(r, name) for name in COLUMNS])
        cursor.execute(
            pgsql.SQL(
                "INSERT INTO reading ({names}) SELECT {names} FROM reading_stage "
                "ON CONFLICT DO NOTHING RETURNING meter_id, read_at, id"
            ).format(names=names)
        )
        return {(meter_id, read_at): row_id for meter_id, read_at, row_id in cursor.fetchall()}


_STATE_VALUES = ("register", "power_w", "supply_cdeg", "return_cdeg", "room_cdeg")


def _move_states(fresh: Sequence[NewReading], ids: dict[tuple[int, datetime], int]) -> None:
    """Each meter's state follows its newest good reading; an older one never moves it back."""
    newest: dict[int, NewReading] = {}
    for r in fresh:
        bad = "impossible" in r.flags
        if not bad and (r.meter_id not in newest or r.read_at >= newest[r.meter_id].read_at):
            newest[r.meter_id] = r
    if not newest:
        return
    rows = [
        {
            "meter_id": r.meter_id,
            "last_ok_at": r.read_at,
            "last_reading_id": ids[r.meter_id, r.read_at],
            **{name: getattr(r, name) for name in _STATE_VALUES},
        }
        for _, r in sorted(newest.items())
    ]
    insert = pg.insert(MeterState).values(rows)
    new = insert.excluded
    db.session.execute(
        insert.on_conflict_do_update(
            index_elements=["meter_id"],
            set_={
                "last_ok_at": new.last_ok_at,
                "last_reading_id": new.last_reading_id,
                **{n: sa.func.coalesce(new[n], MeterState.__table__.c[n]) for n in _STATE_VALUES},
            },
            where=sa.or_(MeterState.last_ok_at.is_(None), MeterState.last_ok_at <= new.last_ok_at),
        )
    )


def _count(attempts: Iterable[tuple[int, datetime, bool]]) -> None:
    """Add to the day's asked/answered counts, one row a meter."""
    counts: dict[tuple[int, Any], list[int]] = {}
    for meter_id, at, answered in attempts:
        tally = counts.setdefault((meter_id, business_day(at)), [0, 0])
        tally[0] += 1
        tally[1] += answered
    if not counts:
        return
    insert = pg.insert(ReadSuccess).values(
        [
            {"meter_id": m, "day": day, "asked": asked, "answered": answered}
            for (m, day), (asked, answered) in sorted(counts.items())
        ]
    )
    db.session.execute(
        insert.on_conflict_do_update(
            index_elements=["meter_id", "day"],
            set_={
                "asked": ReadSuccess.asked + insert.excluded.asked,
                "answered": ReadSuccess.answered + insert.excluded.answered,
            },
        )
    )


def live_meters(bus_id: int) -> Sequence[Meter]:
    """The meters in service on a bus, by address."""
    return db.session.scalars(
        sa.select(Meter)
        .where(Meter.bus_id == bus_id, Meter.removed_on.is_(None))
        .order_by(Meter.protocol, Meter.address)
    ).all()
