"""The buses' states as the collectors report them, since when, and when each was last heard."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import sqlalchemy as sa

from backend.archive.models import Bus
from backend.base.db import db
from backend.metering import bus_rules
from backend.metering.bus_jobs import PUSH_SCHEME
from backend.metering.bus_rules import Cycle


@dataclass(frozen=True, slots=True)
class Heard:
    """What a bus's collector has heard of it by `at`.

    took_s      how long asking all its meters took; None where not all were asked
    reasons     of those that failed
    """

    bus_id: int
    at: datetime
    answered: int
    took_s: float | None = None
    reasons: dict[str, int] = field(default_factory=dict)


_NOTE = sa.text("""
UPDATE bus b
   SET state = coalesce(n.state, b.state),
       state_since = CASE WHEN n.state <> b.state OR b.state_since IS NULL
                          THEN coalesce(n.ended_at, b.state_since) ELSE b.state_since END,
       cycle = coalesce(CAST(n.cycle AS jsonb), b.cycle),
       last_seen_at = greatest(b.last_seen_at, n.seen_at)
  FROM unnest(CAST(:ids AS bigint[]), CAST(:states AS text[]), CAST(:ended AS timestamptz[]),
              CAST(:cycles AS text[]), CAST(:seen AS timestamptz[]))
       AS n(id, state, ended_at, cycle, seen_at)
 WHERE b.id = n.id
""")


def note(heard: Sequence[Heard]) -> None:
    """Bring buses up to what was heard: two statements, however many buses."""
    newest: dict[int, Heard] = {}
    for one in sorted(heard, key=lambda h: (h.took_s is not None, h.at)):
        newest[one.bus_id] = one  # a whole cycle says more than an answer among it
    if not newest:
        return
    plans = sa.select(Bus.id, Bus.read_every_s).where(Bus.id.in_(newest)).order_by(Bus.id)
    rows = [_row(newest[bus_id], every_s) for bus_id, every_s in db.session.execute(plans).all()]
    if rows:
        names = ("ids", "states", "ended", "cycles", "seen")
        columns = [list(column) for column in zip(*rows, strict=True)]
        db.session.execute(_NOTE, dict(zip(names, columns, strict=True)))


def _row(
    heard: Heard, every_s: int
) -> tuple[int, str | None, datetime | None, str | None, datetime | None]:
    """(bus, state, when the cycle ended, cycle as JSON, when somebody was heard)."""
    seen_at = heard.at if heard.answered else None
    if heard.took_s is None:
        return heard.bus_id, None, None, None, seen_at
    asked = heard.answered + sum(heard.reasons.values())
    cycle = Cycle(asked, heard.answered, heard.took_s, every_s, heard.reasons)
    figures = {
        "asked": asked,
        "answered": heard.answered,
        "took_s": round(heard.took_s, 1),
        "garbled": cycle.garbled,
        "reasons": heard.reasons,
        "ended_at": heard.at.isoformat(),
    }
    return heard.bus_id, bus_rules.state_of(cycle), heard.at, json.dumps(figures), seen_at


def mark_reading(busy: Collection[int], owned: Collection[int], now: datetime) -> None:
    """Of a collector's buses, those on whose wire it is this moment; a fault shows through."""
    for state, ids, was in (
        (bus_rules.READING, list(busy), bus_rules.IDLE),
        (bus_rules.IDLE, [bus for bus in owned if bus not in busy], bus_rules.READING),
    ):
        db.session.execute(
            sa.update(Bus)
            .where(Bus.id.in_(ids), Bus.state == was)
            .values(state=state, state_since=now)
        )


_PUSHED = sa.text("""
SELECT b.id, b.state, b.last_seen_at, (SELECT count(*) FROM meter m
        WHERE m.bus_id = b.id AND m.removed_on IS NULL) AS meters
  FROM bus b WHERE starts_with(b.link, :push)
""")


def sweep_pushed(now: datetime) -> int:
    """Bring the buses nobody asks up to what their platforms have sent; how many changed."""
    changed: dict[str, list[int]] = {}
    for bus in db.session.execute(_PUSHED, {"push": PUSH_SCHEME}):
        state = bus_rules.push_state_of(bus.meters, bus.last_seen_at, now)
        if state != bus.state:
            changed.setdefault(state, []).append(bus.id)
    for state, ids in changed.items():
        moved = sa.update(Bus).where(Bus.id.in_(ids))
        db.session.execute(moved.values(state=state, state_since=now))
    return sum(map(len, changed.values()))


def note_signal(bus_id: int, signal_dbm: int, at: datetime) -> None:
    """How well the modem or concentrator of a bus hears its network."""
    newer = (Bus.id == bus_id) & (Bus.signal_at.is_(None) | (Bus.signal_at <= at))
    db.session.execute(sa.update(Bus).where(newer).values(signal_dbm=signal_dbm, signal_at=at))
