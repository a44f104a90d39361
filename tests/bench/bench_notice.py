"""A payment notice, from its bytes to the posted money, against a bare two-row commit.

Both commit to the same PostgreSQL with its durable settings, taking turns.  Prints one line; the
goal is half the rate of the yardstick.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import sqlalchemy as sa

from backend import create_app
from backend.base import postgres, schema
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.cashier import receiving, service
from backend.ledger import service as ledger
from payments.sandbox.desk import SandboxSettings
from payments.sandbox.server import running_sandbox
from tests import builders
from tests.cashier.world import Screen, World, mailbox
from tests.conftest import settings_for
from tests.outside import wechat_settings

NOTICES, GOAL = 300, 0.5
BARE = "INSERT INTO bench_pair (entry, fen) VALUES (1, 12345), (1, -12345)"


def bare() -> float:
    """Seconds for one transaction of two rows."""
    began = time.perf_counter()
    db.session.execute(sa.text(BARE))
    db.session.commit()
    return time.perf_counter() - began


def posted(letter, clock) -> float:
    """Seconds from a notice's bytes to the committed entry."""
    began = time.perf_counter()
    raw = receiving.receive_notice(letter.channel, letter.headers, letter.body, clock.now())
    took = time.perf_counter() - began
    if raw.outcome != "posted":
        sys.exit(f"a notice came out as {raw.outcome}")
    return took


def letters(world: World) -> None:
    """Bills ordered and paid by NOTICES households; their notices lie in the mailbox."""
    building = builders.make_building()
    resident = builders.make_resident("payer")
    for n in range(NOTICES):
        household = builders.make_household(building, f"{n + 1}01")
        builders.bind(resident, household)
        bill = builders.make_bill(household, 12345)
        door = service.Door()
        order, fields = service.create_order(resident.id, [bill.id], door, world.clock.now())
        world.pay(Screen(door, order.out_trade_no, dict(fields)), 0, "")


# Rows of the years before, copies of the last one with numbers of their own.
TOWN = """
INSERT INTO account (code, kind) SELECT 'receivable:past:' || n, 'asset'
FROM generate_series(1, 20000) n;
INSERT INTO payment_order SELECT past.* FROM payment_order o, generate_series(1, 20000) n,
  jsonb_populate_record(o, jsonb_build_object('id', 1000000 + n, 'out_trade_no', 'PAST' || n,
                                              'state', 'closed')) past
WHERE o.id = (SELECT max(id) FROM payment_order);
INSERT INTO order_item (order_id, bill_id, channel, amount_fen, open)
SELECT o.id, i.bill_id, i.channel, i.amount_fen, false FROM payment_order o,
  (SELECT * FROM order_item LIMIT 1) i WHERE o.out_trade_no LIKE 'PAST%';
ANALYZE
"""


def a_town_around() -> None:
    """A house of one season has thousands of orders and accounts; autovacuum has counted them."""
    raw = db.session.connection().connection.driver_connection
    raw.execute(TOWN)
    db.session.commit()


def measured(world: World) -> tuple[float, float]:
    """Median seconds of both, taking turns."""
    db.session.execute(
        sa.text("CREATE TABLE bench_pair (id bigserial PRIMARY KEY, entry bigint, fen bigint)")
    )
    db.session.commit()
    letters(world)
    a_town_around()
    took = [(bare(), posted(letter, world.clock)) for letter in world.box.letters]
    if ledger.check() or len(took) != NOTICES:
        sys.exit("the ledger does not hold")
    plain, ours = (median(column) for column in zip(*took, strict=True))
    return plain, ours


def main() -> int:
    """Both in one run; 1 where the goal is missed."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="nuan-bench-") as name, mailbox() as box:
        directory = Path(name)
        url = postgres.embedded(directory / "pg")
        slow = SandboxSettings(notice_speed=1)
        try:
            with running_sandbox(directory / "sandbox", clock.now, slow) as sandbox:
                settings = settings_for(url, **wechat_settings(sandbox, box.url))
                app = create_app(settings, clock=clock, web_pages=False)
                with app.app_context():
                    schema.migrate()
                    path = directory / "sandbox" / "state.sqlite"
                    world = World(app, clock, sandbox.url, path, url, box)
                    plain, ours = measured(world)
                    world.close()
                    db.session.remove()
                    db.engine.dispose()
        finally:
            postgres.stop_embedded(directory / "pg")
    ratio = plain / ours
    print(
        f"notice to posted: {1000 * ours:.2f} ms, two bare rows {1000 * plain:.2f} ms,"
        f" ratio {ratio:.2f} (goal {GOAL})"
    )
    return ratio < GOAL


if __name__ == "__main__":
    sys.exit(main())
