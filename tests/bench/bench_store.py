"""Storing readings, deduplicated and flagged, against psycopg's text COPY of the same rows.

Prints one line; the budget is 0.5 of the yardstick (DESIGN, docs/performance.md).
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import sqlalchemy as sa

from backend import create_app
from backend.archive.models import Building, Bus, Meter, Region
from backend.base import postgres, schema
from backend.base.db import db
from backend.config import load
from backend.metering import service
from backend.metering.service import NewReading
from backend.metering.store import COLUMNS

METERS, MOMENTS, COMMIT = 2_000, 50, 20_000
BUDGET = 0.5
NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)


def readings(first: int) -> list[NewReading]:
    """METERS x MOMENTS ordinary readings with their frames."""
    frame = bytes(range(40))
    return [
        NewReading(
            first + m, NOON + timedelta(minutes=n), "collector", register=1000 * m + n, frame=frame
        )
        for n in range(MOMENTS)
        for m in range(METERS)
    ]


def meters() -> int:
    """METERS live meters on one bus; the first one's id."""
    region = Region(name="bench", kind="company")
    db.session.add(region)
    db.session.flush()
    building = Building(region_id=region.id, code="bench", name="bench", address="")
    db.session.add(building)
    db.session.flush()
    bus = Bus(building_id=building.id, code="bench", name="bench", link="tcp://127.0.0.1:1")
    db.session.add(bus)
    db.session.flush()
    db.session.execute(
        sa.insert(Meter),
        [
            {
                "bus_id": bus.id,
                "building_id": building.id,
                "scope": "building",
                "kind": "heat",
                "protocol": "mbus",
                "address": f"{n:08d}",
                "installed_on": date(2026, 1, 1),
            }
            for n in range(METERS)
        ],
    )
    db.session.commit()
    return db.session.scalar(sa.select(sa.func.min(Meter.id))) or 0


def stored(rows: Sequence[NewReading]) -> float:
    """Seconds for one transaction through metering.service.record."""
    began = time.perf_counter()
    service.record(rows)
    db.session.commit()
    return time.perf_counter() - began


def copied(rows: Sequence[NewReading]) -> float:
    """Seconds for one transaction of plain text COPY into an equal table, without partitions."""
    raw = db.session.connection().connection.driver_connection
    began = time.perf_counter()
    with (
        raw.cursor() as cursor,
        cursor.copy(f"COPY bench_copy ({', '.join(COLUMNS)}) FROM STDIN") as copy,
    ):
        for row in rows:
            copy.write_row([getattr(row, name) for name in COLUMNS])
    db.session.commit()
    return time.perf_counter() - began


def measured(rows: Sequence[NewReading]) -> tuple[float, float, float]:
    """Readings a second copied, stored, and stored again.

    The three take turns, a transaction each, so that whatever else the machine does hits all alike.
    """
    db.session.execute(sa.text("CREATE TABLE bench_copy (LIKE reading INCLUDING ALL)"))
    db.session.commit()
    parts = [rows[at : at + COMMIT] for at in range(0, len(rows), COMMIT)]
    took = [(copied(part), stored(part), stored(part)) for part in parts]
    plain, ours, again = (len(rows) / sum(column) for column in zip(*took, strict=True))
    return plain, ours, again


def main() -> int:
    """Both in one run; 1 where the budget is missed."""
    with tempfile.TemporaryDirectory(prefix="nuan-bench-") as directory:
        data = Path(directory) / "pg"
        app = create_app(
            load({"NUAN_ENV": "test", "DATABASE_URL": postgres.embedded(data)}), web_pages=False
        )
        try:
            with app.app_context():
                schema.migrate()
                rows = readings(meters())
                yardstick, ours, again = measured(rows)
                db.session.remove()
                db.engine.dispose()
        finally:
            postgres.stop_embedded(data)
    ratio, ratio_again = ours / yardstick, again / yardstick
    print(
        f"store readings: {ours:,.0f}/s, duplicates {again:,.0f}/s, COPY {yardstick:,.0f}/s, "
        f"ratio {ratio:.2f}, of duplicates {ratio_again:.2f} (goal {BUDGET})"
    )
    return min(ratio, ratio_again) < BUDGET


if __name__ == "__main__":
    sys.exit(main())
