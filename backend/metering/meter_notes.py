"""What is told of meters besides readings: the clock's drift, how they are heard and fed.

Each is of its newest moment and never moved back; what is not told stays as it was.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, astuple, dataclass
from datetime import datetime
from operator import attrgetter, itemgetter

import sqlalchemy as sa

from backend.base.db import db

_CLOCKS = sa.text("""
INSERT INTO meter_state AS s (meter_id, clock_drift_s, clock_at)
SELECT * FROM unnest(CAST(:meters AS bigint[]), CAST(:drifts AS int[]),
                     CAST(:at AS timestamptz[])) AS n(meter_id, drift, at)
 ORDER BY meter_id
ON CONFLICT (meter_id) DO UPDATE SET
    clock_drift_s = excluded.clock_drift_s, clock_at = excluded.clock_at
WHERE s.clock_at IS NULL OR s.clock_at <= excluded.clock_at
""")


def keep_clocks(drifts: Iterable[tuple[int, int | None, datetime]]) -> None:
    """Keep clocks compared with ours: (meter id, drift in seconds, when).  One statement."""
    newest: dict[int, tuple[int, int | None, datetime]] = {}
    for one in sorted((d for d in drifts if d[1] is not None), key=itemgetter(2)):
        newest[one[0]] = one
    if newest:
        meters, seconds, moments = (list(c) for c in zip(*newest.values(), strict=True))
        db.session.execute(_CLOCKS, {"meters": meters, "drifts": seconds, "at": moments})


@dataclass(frozen=True, slots=True)
class Signal:
    """How a meter was heard and fed at a moment, where what came says so.

    dBm is RSSI or RSRP, whichever is told; SNR in tenths of a decibel.
    """

    meter_id: int
    at: datetime
    signal_dbm: int | None = None
    snr_ddb: int | None = None
    battery_mv: int | None = None
    battery_percent: int | None = None


_SIGNALS = sa.text("""
INSERT INTO meter_state AS s (meter_id, signal_at, signal_dbm, snr_ddb, battery_mv, battery_percent)
SELECT * FROM unnest(CAST(:meters AS bigint[]), CAST(:at AS timestamptz[]), CAST(:dbm AS int[]),
                     CAST(:ddb AS int[]), CAST(:mv AS int[]), CAST(:percent AS int[]))
ON CONFLICT (meter_id) DO UPDATE SET
    signal_at = excluded.signal_at,
    signal_dbm = coalesce(excluded.signal_dbm, s.signal_dbm),
    snr_ddb = coalesce(excluded.snr_ddb, s.snr_ddb),
    battery_mv = coalesce(excluded.battery_mv, s.battery_mv),
    battery_percent = coalesce(excluded.battery_percent, s.battery_percent)
WHERE s.signal_at IS NULL OR s.signal_at <= excluded.signal_at
""")


def keep_signals(signals: Sequence[Signal]) -> None:
    """Keep how meters were heard and fed.  One statement."""
    newest: dict[int, Signal] = {}
    for one in sorted(signals, key=attrgetter("at")):
        before = asdict(newest.get(one.meter_id, one))
        told = {name: value for name, value in asdict(one).items() if value is not None}
        newest[one.meter_id] = Signal(**before | told)
    if newest:
        columns = zip(*(astuple(newest[key]) for key in sorted(newest)), strict=True)
        names = ("meters", "at", "dbm", "ddb", "mv", "percent")
        db.session.execute(_SIGNALS, dict(zip(names, map(list, columns), strict=True)))
