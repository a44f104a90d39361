"""A season's settlement of 100,000 households against the same arithmetic as one SQL statement.

Both begin with the same table and end with every household's basic and metered fee, relief and
sum still due in this process; both are equal to the fen.  Ours reads the inputs and prices them
over arrays (billing.season_rules); the yardstick lets PostgreSQL's numeric do it.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psycopg

from backend.base import postgres
from backend.billing.season_rules import Whole, season_fees

Connection = psycopg.Connection[tuple[int, ...]]
HOUSEHOLDS, ROUNDS, GOAL = 100_000, 7, 0.25
PRICE = {"k1": "16.5", "k2": "44.41", "area_price": "38.32", "cap_ratio": "1"}

FILL = """
CREATE TABLE season AS
SELECT n AS household_id, (4000 + (n * 7919) % 11000)::bigint AS area_dm2,
       ((n * 104729::bigint) % 14000000)::bigint AS heat_wh,
       ((n * 31) % 300000)::bigint AS billed_fen
  FROM generate_series(1, HOUSEHOLDS) AS n
"""
READ = "SELECT household_id, area_dm2, heat_wh, billed_fen FROM season ORDER BY household_id"
PRICED = """
SELECT household_id, basic, metered, relief, basic + metered - relief - billed_fen AS due
  FROM (SELECT household_id, basic, metered, billed_fen,
               greatest(basic + metered - round(area_dm2 * 38.32 * 1), 0) AS relief
          FROM (SELECT household_id, area_dm2, billed_fen, round(area_dm2 * 16.5) AS basic,
                       round(heat_wh * 0.0000036 * 44.41 * 100) AS metered FROM season) AS one
       ) AS two
 ORDER BY household_id
"""


def ours(connection: Connection) -> Whole:
    """[households x 5] by arrays."""
    with connection.cursor(binary=True) as cursor:
        rows = np.array(cursor.execute(READ).fetchall(), dtype=np.int64)
    fees = season_fees(rows[:, 1], rows[:, 2], rows[:, 3], PRICE)
    parts = (rows[:, 0], fees.basic_fen, fees.metered_fen, fees.relief_fen, fees.due_fen)
    return np.column_stack(parts)


def theirs(connection: Connection) -> list[tuple[int, ...]]:
    """The same by one statement."""
    with connection.cursor(binary=True) as cursor:
        return cursor.execute(PRICED).fetchall()


def seconds(work: Callable[[], object]) -> float:
    """One timing of `work`."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> int:
    """Print one line; 1 where the goal is missed or a fen differs."""
    with tempfile.TemporaryDirectory(prefix="nuan-bench-") as directory:
        data = Path(directory) / "pg"
        url = postgres.embedded(data)
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                return _measure(connection)
        finally:
            postgres.stop_embedded(data)


def _measure(connection: Connection) -> int:
    connection.execute(FILL.replace("HOUSEHOLDS", str(HOUSEHOLDS)).encode())
    connection.execute("ANALYZE season")
    same = bool((ours(connection) == np.array(theirs(connection), dtype=np.int64)).all())
    mine = yardstick = float("inf")
    for _ in range(ROUNDS):
        yardstick = min(yardstick, seconds(lambda: theirs(connection)))
        mine = min(mine, seconds(lambda: ours(connection)))
    ratio = yardstick / mine
    print(
        f"season settlement: {HOUSEHOLDS / mine:,.0f} households/s, one SQL statement "
        f"{HOUSEHOLDS / yardstick:,.0f}/s, {'equal' if same else 'NOT EQUAL'} to the fen, "
        f"ratio {ratio:.2f} (goal {GOAL})"
    )
    return not same or ratio < GOAL


if __name__ == "__main__":
    sys.exit(main())
