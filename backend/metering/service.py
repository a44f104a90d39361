"""Readings into the database: deduplicated, flagged, never lost, never changed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import sqlalchemy as sa
from flask import current_app

from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import (
    closing,
    late,
    meter_notes,
    quality,
    refused,
    rules,
    series,
    store,
)
from backend.metering.batch import Batch
from backend.metering.models import ManualEntry, Reading
from backend.metering.refused import Refusal

MAX_BACKDATED = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class NewReading:
    """A reading on its way in; `register` counts Wh or litres, temperatures hundredths of C.

    What it tells of its meter's clock besides is kept with the meter.
    """

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
    clock_drift_s: int | None = None


@dataclass(frozen=True, slots=True)
class Recorded:
    """What became of a batch: rows stored, and duplicates passed over."""

    stored: int
    duplicates: int


def record(readings: Sequence[NewReading]) -> Recorded:
    """Store a batch exactly once; a reading already there is left as it is.

    Flags each reading against what is known of its meter, moves the meters' states, counts the
    answers, fills the days' series, and has closed days counted again where a reading changes
    what is known of them.  Everything in the caller's transaction.
    """
    if not readings:
        return Recorded(0, 0)
    batch = Batch.of(readings)
    _ensure_partitions(batch)
    meters = quality.known(batch.meter_ids())
    parted = store.part(batch, {meter_id: known.last_at for meter_id, known in meters.items()})
    fresh = store.put(quality.flag(parted.new, meters, _thresholds()))
    store.move_states(fresh)
    meter_notes.keep_clocks((r.meter_id, r.clock_drift_s, r.read_at) for r in fresh)
    shown = [r for r in fresh if r.kind == "current"]
    store.count([r.meter_id for r in shown], [r.read_at for r in shown], answered=True)
    series.fill(fresh)
    late.notice(fresh, meters)
    _keep_conflicts(parted.conflicts)
    return Recorded(len(fresh), len(batch) - len(fresh))


def _thresholds() -> quality.Thresholds:
    settings = current_app.extensions["nuan_settings"]
    return quality.Thresholds(settings.clock_drift_s, settings.stuck_days * rules.DAY_S)


def _keep_conflicts(conflicts: Sequence[NewReading]) -> None:
    """Another value for a moment that has one is no reading; what was said is kept raw."""
    kept = [
        Refusal(
            None,
            rules.DUPLICATE,
            f"{r.read_at.isoformat()} 已有另一读数，未采用 {r.register}",
            r.frame or b"",
            r.read_at,
            meter_id=r.meter_id,
        )
        for r in conflicts
    ]
    refused.keep(kept, lambda _: [])


def record_failures(failures: Sequence[tuple[int, datetime, str]]) -> None:
    """Meters that did not answer: (meter id, when asked, code)."""
    if not failures:
        return
    meters, moments, codes = (list(column) for column in zip(*failures, strict=True))
    db.session.execute(FAILED, {"meters": meters, "at": moments, "codes": codes})
    store.count(meters, moments, answered=False)


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
    before = closing.last_register(meter_id, read_at)
    since = None if before is None else register - before.register
    typed = NewReading(
        meter_id,
        read_at,
        "reader",
        kind="manual",
        register=register,
        author_id=staff_id,
        reason=note,
    )
    (new,) = quality.flag(Batch.of([typed]))
    _confirmed(new.flags, confirm, note)
    record([new])
    reading_id = _existing_id(meter_id, read_at)
    db.session.add(
        ManualEntry(
            client_id=client_id,
            staff_id=staff_id,
            meter_id=meter_id,
            reading_id=reading_id,
            usage_since=since,
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
    return entry.reading_id, list(flags or []), entry.usage_since


def _existing_id(meter_id: int, read_at: datetime) -> int:
    found = db.session.scalar(
        sa.select(Reading.id).where(
            Reading.meter_id == meter_id, Reading.read_at == read_at, Reading.kind == "manual"
        )
    )
    assert found is not None, "a duplicate reading has a first one"
    return found


def _ensure_partitions(batch: Batch) -> None:
    """The (UTC) months of a batch have their partitions; asking for one that exists is cheap."""
    for month in batch.months():
        db.session.execute(sa.select(sa.func.nuan_reading_partition(month)))


# The state of meters that were asked and did not answer.
FAILED = sa.text("""
INSERT INTO meter_state (meter_id, last_error_at, last_error)
SELECT DISTINCT ON (meter_id) meter_id, at, code
  FROM unnest(CAST(:meters AS bigint[]), CAST(:at AS timestamptz[]), CAST(:codes AS text[]))
       AS f(meter_id, at, code)
 ORDER BY meter_id, at DESC
ON CONFLICT (meter_id) DO UPDATE SET
    last_error_at = excluded.last_error_at, last_error = excluded.last_error
""")
