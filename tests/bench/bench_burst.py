"""Notices all at once over HTTP to `nuan serve`: how long the slowest one waits for its answer.

Fifty copies of one notice, then 500 different ones, each on a connection of its own.  WeChat Pay
wants its answer within 5 s; beyond that it sends the notice again.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import requests

from backend import create_app
from backend.base import postgres, schema
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.ledger import service as ledger
from payments.sandbox.desk import SandboxSettings
from payments.sandbox.server import running_sandbox
from tests.bench import bench_notice
from tests.bench.bench_home import _wait, free_port
from tests.cashier.world import Letter, World, mailbox
from tests.conftest import settings_for
from tests.faults.processes import environment
from tests.outside import wechat_settings

COPIES, NOTICES, GOAL_S = 50, 500, 5.0


def at_once(url: str, letters: list[Letter]) -> list[float]:
    """Seconds until each was answered 204, all sent at the same moment; in order."""
    barrier = Barrier(len(letters))

    def send(letter: Letter) -> float:
        signed = {
            k: v for k, v in letter.headers.items() if k.startswith(("Wechatpay", "Content-T"))
        }
        barrier.wait()
        began = time.perf_counter()
        answer = requests.post(url, data=letter.body, headers=signed, timeout=120)
        if answer.status_code != 204:
            sys.exit(f"a notice was answered {answer.status_code}: {answer.text}")
        return time.perf_counter() - began

    with ThreadPoolExecutor(len(letters)) as pool:
        return sorted(pool.map(send, letters))


def measured(world: World, url: str) -> tuple[list[float], list[float]]:
    """The waits of the copies and of the different ones."""
    bench_notice.NOTICES = NOTICES + 1
    bench_notice.letters(world)
    first, *others = world.box.letters
    waits = at_once(url, [first] * COPIES), at_once(url, others)
    db.session.rollback()
    if ledger.balance_fen("clearing:wechat") != 12345 * (NOTICES + 1) or ledger.check():
        sys.exit("the ledger does not hold")
    return waits


def main() -> int:
    """Print one line; 1 where an answer came too late."""
    clock = SystemClock()
    with tempfile.TemporaryDirectory(prefix="nuan-bench-") as name, mailbox() as box:
        directory, port = Path(name), free_port()
        database = postgres.embedded(directory / "pg")
        slow = SandboxSettings(notice_speed=1)
        try:
            with running_sandbox(directory / "sandbox", clock.now, slow) as sandbox:
                settings = settings_for(database, **wechat_settings(sandbox, box.url))
                app = create_app(settings, clock=clock, web_pages=False)
                with app.app_context():
                    schema.migrate()
                    command = [sys.executable, "-m", "backend", "serve", "--port", str(port)]
                    env = environment(app, database)
                    server = subprocess.Popen(command, env=env, stderr=subprocess.DEVNULL)
                    try:
                        _wait(port)
                        path = directory / "sandbox" / "state.sqlite"
                        world = World(app, clock, sandbox.url, path, database, box)
                        url = f"http://127.0.0.1:{port}/webhooks/wechatpay"
                        copies, different = measured(world, url)
                        world.close()
                    finally:
                        server.terminate()
                        server.wait()
                    db.session.remove()
                    db.engine.dispose()
        finally:
            postgres.stop_embedded(directory / "pg")
    print(
        f"{COPIES} copies at once: the last answered after {copies[-1]:.2f} s;"
        f" {NOTICES} notices at once: median {different[NOTICES // 2]:.2f} s,"
        f" last {different[-1]:.2f} s (goal {GOAL_S:.0f})"
    )
    return max(copies[-1], different[-1]) > GOAL_S


if __name__ == "__main__":
    sys.exit(main())
