"""A resident's home screen, signed in, against a constant answer of the same server.

A million households lie in the database; those of BUSY buildings have a season's days behind them
and a resident each.  One web process answers both routes in turns to the same clients, which keep
their connections; each household is asked in a shuffled order.  NUAN_BENCH_HOUSEHOLDS makes the
town smaller for a quick look.
"""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import quantiles

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import psycopg
import sqlalchemy as sa

from backend import create_app
from backend.allocation import heat_summary
from backend.base import postgres
from backend.base.clock import business_day
from backend.base.db import db
from backend.config import load
from tests.ports import free_port

HOUSEHOLDS = int(os.environ.get("NUAN_BENCH_HOUSEHOLDS", "1000000"))
FLATS, BUSY, DAYS = 18, 200, 400
CLIENTS, ROUNDS, ASKED, GOAL = 4, 4, 1500, 0.25

TOWN = f"""
SELECT setseed(0.18);
INSERT INTO region (name, kind) VALUES ('bench', 'company');
INSERT INTO building (region_id, code, name, address)
SELECT (SELECT id FROM region), 'b' || n, 'b' || n, '' FROM generate_series(1, BUILDINGS) n;
INSERT INTO household (building_id, account_no, unit_no, floor, area_dm2, owner_name_sealed,
                       owner_phone_sealed)
SELECT b.id, b.code || '-' || n, n::text, 1, 5000 + (random() * 6000)::int, '', ''
  FROM building b, generate_series(1, {FLATS}) n;
INSERT INTO tariff (code, name, utility, customer_class, kind, params, effective_from, state)
VALUES ('heat', 'heat', 'heat', 'residential', 'two_part',
        '{{"k1": "16.5", "k2": "44.41", "season_days": 183}}', '2020-01-01', 'live');
INSERT INTO bill (bill_no, business_key, household_id, utility, period_from, period_to,
                  amount_fen, due_on, issued_at, tariff_id)
SELECT 'b' || id, 'b' || id, id, 'heat', current_date - 60, current_date - 30, 12345,
       current_date + 10, now(), (SELECT id FROM tariff) FROM household;
INSERT INTO allocation_rule (building_id, effective_from, method)
SELECT id, '2020-01-01', 'area' FROM building ORDER BY id LIMIT {BUSY};
INSERT INTO allocation_run (building_id, purpose, period_from, period_to, method, total_wh)
SELECT building_id, 'daily', current_date - n, current_date - n + 1, 'area', 1000000
  FROM allocation_rule, generate_series(1, {DAYS}) n ORDER BY n DESC, 1;
INSERT INTO allocation_share (run_id, household_id, period_to, energy_wh, weight, share)
SELECT r.id, h.id, r.period_to, (random() * 1e6)::int, 1, 0.05
  FROM allocation_run r JOIN household h USING (building_id) ORDER BY r.id, h.id;
INSERT INTO resident (openid) SELECT 'o' || h.id FROM household h JOIN allocation_rule a
    USING (building_id);
INSERT INTO binding (resident_id, household_id)
SELECT id, substr(openid, 2)::bigint FROM resident;
INSERT INTO access_token (token_hash, resident_id, expires_at)
SELECT sha256(openid::bytea), id, now() + interval '1 day' FROM resident;
INSERT INTO bus (building_id, code, name, link)
SELECT building_id, building_id, '', 'tcp://127.0.0.1:1' FROM allocation_rule;
INSERT INTO meter (bus_id, building_id, household_id, scope, kind, protocol, address, installed_on)
SELECT b.id, b.building_id, h.id, 'household', 'water', 'cjt188', h.id, '2020-01-01'
  FROM bus b JOIN household h USING (building_id);
INSERT INTO meter_state (meter_id, register) SELECT id, 1234567 FROM meter;
INSERT INTO daily_usage (meter_id, day, usage)
SELECT id, current_date - n, 100 FROM meter, generate_series(1, {DAYS}) n;
"""


class Client(threading.Thread):
    """Asks one path after another over one connection; keeps each answer's seconds."""

    def __init__(self, port: int, requests: Sequence[bytes]):
        super().__init__()
        self.port, self.requests = port, requests
        self.took: list[float] = []
        self.failed = ""

    def run(self) -> None:
        """Until every request has its answer, or one is not 200."""
        with socket.create_connection(("127.0.0.1", self.port)) as wire:
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in self.requests:
                began = time.perf_counter()
                wire.sendall(request)
                answer = _answer(wire)
                self.took.append(time.perf_counter() - began)
                if not answer.startswith(b"HTTP/1.1 200"):
                    self.failed = answer[:300].decode()
                    return


def _answer(wire: socket.socket) -> bytes:
    """One whole answer: the head, and as much body as it announces."""
    got = b""
    while b"\r\n\r\n" not in got:
        got += wire.recv(65536)
    head, _, body = got.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += wire.recv(65536)
    return head + body


def request(path: str, token: str = "") -> bytes:
    """A GET as bytes."""
    signed = f"Authorization: Bearer {token}\r\n" if token else ""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{signed}\r\n".encode()


def rate(port: int, requests: Sequence[bytes]) -> tuple[float, list[float]]:
    """Answers a second of CLIENTS at once, and every answer's seconds."""
    clients = [Client(port, requests[n::CLIENTS]) for n in range(CLIENTS)]
    began = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    took = time.perf_counter() - began
    if failed := [client.failed for client in clients if client.failed]:
        sys.exit(f"not answered: {failed[0]}")
    return len(requests) / took, [second for client in clients for second in client.took]


def measured(port: int, homes: Sequence[tuple[int, str]]) -> tuple[float, float, float]:
    """The best rates of a constant answer and of the home screen, and the home's p99 in s."""
    order = random.Random(7)
    best, constant, late = 0.0, 0.0, float("inf")
    for _ in range(ROUNDS):
        asked = [
            request(f"/api/v1/households/{h}/home", t) for h, t in order.choices(homes, k=ASKED)
        ]
        constant = max(constant, rate(port, [request("/healthz")] * ASKED * 2)[0])
        seen, took = rate(port, asked)
        best, late = max(best, seen), min(late, quantiles(took, n=100)[98])
    return constant, best, late


def town(url: str) -> list[tuple[int, str]]:
    """Lay the town out; the households with a resident, and their tokens."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute(TOWN.replace("BUILDINGS", str(HOUSEHOLDS // FLATS)).encode())
        connection.execute("VACUUM ANALYZE")
        rows = connection.execute(
            "SELECT household_id, openid FROM binding JOIN resident r ON r.id = resident_id"
        ).fetchall()
    return [(row[0], row[1]) for row in rows]


def close_days(url: str) -> None:
    """What the close of a day counts for the home screen."""
    app = create_app(load({"NUAN_ENV": "test", "DATABASE_URL": url}), web_pages=False)
    with app.app_context():
        today = business_day(datetime.now(UTC))
        for building_id in db.session.scalars(sa.text("SELECT building_id FROM allocation_rule")):
            heat_summary.refresh(building_id, today)
        db.session.commit()
        db.engine.dispose()


def main() -> int:
    """Print one line; 1 where the goal is missed."""
    with tempfile.TemporaryDirectory(prefix="nuan-bench-") as directory:
        data, port = Path(directory) / "pg", free_port()
        url = postgres.embedded(data)
        env = os.environ | {"DATABASE_URL": url, "NUAN_ENV": "test", "NUAN_LOG_LEVEL": "WARNING"}
        nuan = [sys.executable, "-m", "backend"]
        try:
            subprocess.run([*nuan, "migrate"], env=env, check=True, stdout=subprocess.DEVNULL)
            homes = town(url)
            close_days(url)
            server = subprocess.Popen(
                [*nuan, "serve", "--port", str(port), "--workers", "1"], env=env
            )
            try:
                _wait(port)
                constant, ours, late_s = measured(port, homes)
            finally:
                server.terminate()
                server.wait()
        finally:
            postgres.stop_embedded(data)
    ratio = ours / constant
    print(
        f"home screen among {HOUSEHOLDS:,} households: {ours:,.0f} requests/s, p99 "
        f"{late_s * 1000:.0f} ms, a constant answer {constant:,.0f}/s, ratio {ratio:.2f} "
        f"(goal {GOAL})"
    )
    return ratio < GOAL or late_s > 0.05


def _wait(port: int) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("the server did not start")


if __name__ == "__main__":
    sys.exit(main())
