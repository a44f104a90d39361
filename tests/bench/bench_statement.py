"""A statement of 100,000 rows, fetched, kept and proven, against parsing it; for each channel.

Faults of every kind stand in it: all must be found and none invented.  Prints one line a channel;
the proof may take at most three times what parsing takes (seen: 2.3, 2.2 and 1.6).
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from backend import create_app
from backend.base import postgres, schema
from backend.base.clock import FixedClock
from backend.base.db import db
from backend.cashier import reconcile
from backend.cashier.channels import parse_statement
from tests.cashier import big_day
from tests.conftest import settings_for

ROWS, EACH, GOAL = 100_000, 200, 3.0
CHANNELS = ("wechat", "alipay", "unionpay")


def proven(app, channel: str) -> tuple[float, float]:
    """Seconds for parsing a day's file, and for fetching, keeping and matching it."""
    rows = big_day.paid_day(channel, ROWS)
    shown, expected = big_day.with_faults(rows, EACH, random.Random(channel))
    data = big_day.written(channel, shown)
    app.extensions.setdefault("nuan_channels", {})[channel] = big_day.Published(data)
    began = time.perf_counter()
    parse_statement(channel, data, big_day.DAY)
    parsed = time.perf_counter()
    reconcile.fetch_statement(channel, big_day.DAY, big_day.MORNING_AFTER)
    reconcile.reconcile(channel, big_day.DAY, big_day.MORNING_AFTER)
    db.session.commit()
    done = time.perf_counter()
    found = {one for one in big_day.found() if one in expected}
    if found != expected:
        sys.exit(f"{channel}: {len(expected - found)} faults were not found")
    return parsed - began, done - parsed


def main() -> int:
    """All channels in one run; 1 where one misses the goal."""
    ratios, faults = [], 0
    with tempfile.TemporaryDirectory(prefix="nuan-bench-") as directory:
        data = Path(directory) / "pg"
        settings = settings_for(postgres.embedded(data), **big_day.MERCHANT)
        app = create_app(settings, clock=FixedClock(big_day.NOON), web_pages=False)
        try:
            with app.app_context():
                schema.migrate()
                for channel in CHANNELS:
                    parse_s, prove_s = proven(app, channel)
                    ratios.append(prove_s / parse_s)
                    print(
                        f"prove {ROWS:,} rows of {channel}: {prove_s:.2f} s, parsing"
                        f" {parse_s:.2f} s, ratio {ratios[-1]:.2f} (goal {GOAL:.0f} at most)",
                        flush=True,
                    )
                faults = len(list(big_day.found()))
                db.session.remove()
                db.engine.dispose()
        finally:
            postgres.stop_embedded(data)
    if faults != len(CHANNELS) * 5 * EACH:
        sys.exit(f"{faults} faults were found, {len(CHANNELS) * 5 * EACH} put in")
    return max(ratios) > GOAL


if __name__ == "__main__":
    sys.exit(main())
