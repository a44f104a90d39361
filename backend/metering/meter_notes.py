"""What readings tell of their meters besides values: the clock's drift and the signal."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import sqlalchemy as sa

from backend.base.db import db

if TYPE_CHECKING:
    from backend.metering.service import NewReading

# Each is of its newest moment and never moved back; what a reading does not tell stays.
_NOTE = sa.text("""
INSERT INTO meter_state AS s (meter_id, clock_drift_s, clock_at, signal_dbm, snr_ddb, signal_at)
SELECT meter_id, drift, CASE WHEN drift IS NOT NULL THEN at END, dbm, snr,
       CASE WHEN coalesce(dbm, snr) IS NOT NULL THEN at END
  FROM unnest(CAST(:meters AS bigint[]), CAST(:at AS timestamptz[]), CAST(:drifts AS int[]),
              CAST(:dbm AS int[]), CAST(:snr AS int[])) AS n(meter_id, at, drift, dbm, snr)
 ORDER BY meter_id
ON CONFLICT (meter_id) DO UPDATE SET
    clock_drift_s = CASE WHEN s.clock_at > excluded.clock_at THEN s.clock_drift_s
                         ELSE coalesce(excluded.clock_drift_s, s.clock_drift_s) END,
    clock_at = greatest(s.clock_at, excluded.clock_at),
    signal_dbm = CASE WHEN excluded.signal_at IS NULL OR s.signal_at > excluded.signal_at
                      THEN s.signal_dbm ELSE excluded.signal_dbm END,
    snr_ddb = CASE WHEN excluded.signal_at IS NULL OR s.signal_at > excluded.signal_at
                   THEN s.snr_ddb ELSE excluded.snr_ddb END,
    signal_at = greatest(s.signal_at, excluded.signal_at)
""")


def keep(readings: Sequence[NewReading]) -> None:
    """Keep the clocks and signals of a batch of readings with their meters: one statement."""
    telling: dict[int, NewReading] = {}
    for reading in sorted(readings, key=lambda r: r.read_at):
        if (reading.clock_drift_s, reading.signal_dbm, reading.snr_ddb) != (None, None, None):
            telling[reading.meter_id] = reading
    if not telling:
        return
    rows = telling.values()
    db.session.execute(
        _NOTE,
        {
            "meters": list(telling),
            "at": [r.read_at for r in rows],
            "drifts": [r.clock_drift_s for r in rows],
            "dbm": [r.signal_dbm for r in rows],
            "snr": [r.snr_ddb for r in rows],
        },
    )


def keep_clocks(drifts: Sequence[tuple[int, int]], at: datetime) -> None:
    """Keep clocks compared without a reading: (meter id, drift in seconds)."""
    if not drifts:
        return
    meters, seconds = (list(column) for column in zip(*drifts, strict=True))
    nothing = [None] * len(meters)
    values = {"meters": meters, "at": [at] * len(meters), "drifts": seconds}
    db.session.execute(_NOTE, {**values, "dbm": nothing, "snr": nothing})
