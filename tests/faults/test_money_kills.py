"""kill -9 of the web server, the worker and PostgreSQL in mid-payment, many times over.

Residents order over HTTP and pay at the sandbox without a pause while one process after another is
killed at a random moment.  What the channels say was paid is in the ledger in the end, once; what
was acknowledged is there at once.  `make soak` runs it with NUAN_SOAK_KILLS and a printed seed.
"""

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest
import requests

from backend import create_app
from backend.base import postgres, schema
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.ledger import service as ledger
from tests import builders
from tests.conftest import settings_for
from tests.faults.processes import environment, until
from tests.outside import other_channels, phone, sandbox, sandbox_keys, wechat_settings

__all__ = ["phone", "sandbox", "sandbox_keys"]
pytestmark = [pytest.mark.faults, pytest.mark.timeout(0)]

KILLS = int(os.environ.get("NUAN_SOAK_KILLS", "51"))
SEED = int(os.environ.get("NUAN_SOAK_SEED", "0")) or random.SystemRandom().randrange(10**9)
# Ours are killed and there again at once: the keeper has loaded everything and only forks.
KEEPER = """
import os, sys
import backend.cli, backend.application, backend.api, werkzeug.serving
what, pid_file, port = sys.argv[1:]
while True:
    pid = os.fork()
    if not pid and what == "web":
        from backend.wsgi import app
        werkzeug.serving.run_simple("127.0.0.1", int(port), app, threaded=True)
    elif not pid:
        sys.argv = ["nuan", "worker", "--concurrency", "2"]
        backend.cli.main()
    with open(pid_file + ".new", "w") as file:
        file.write(str(pid))
    os.replace(pid_file + ".new", pid_file)
    os.waitpid(pid, 0)
"""
POSTED = """
SELECT e.detail->>'out_trade_no', sum(p.amount_fen) FROM entry e JOIN posting p ON p.entry_id = e.id
JOIN account a ON a.id = p.account_id
WHERE e.kind = 'payment' AND a.code LIKE 'clearing:%' GROUP BY e.id
"""
# A server that comes back after a crash first brings every file of its directory to the disk,
# which takes it a minute where others keep the disk busy.
RECOVERY_S = 180
# A payment posts when it is asked about: none has to wait for the hour a channel takes to repeat.
HURRY = "UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo' RETURNING id"


@pytest.fixture
def clock():
    """Processes of their own have no other clock."""
    return SystemClock()


class Server:
    """A PostgreSQL of this test's own, with the settings it has in earnest."""

    def __init__(self, directory):
        self.directory = directory
        self.url = postgres.embedded(directory)

    def kill(self, rng):
        """End one of its processes, every fourth time all of them, as when a machine is cut off."""
        if rng.randrange(4):
            with suppress(psycopg.OperationalError), closing(psycopg.connect(self.url)) as asking:
                rows = asking.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                    " AND pid <> pg_backend_pid()"
                ).fetchall()
                if rows:
                    os.kill(rng.choice(rows)[0], signal.SIGKILL)
            return
        pid_file = self.directory / "postmaster.pid"
        head = psutil.Process(int(pid_file.read_text().split()[0]))
        everyone = [head, *head.children(recursive=True)]
        for one in everyone:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        until(lambda: all(map(_is_gone, everyone)), "no process of PostgreSQL is left")

    def answers(self):
        """Whether it can be asked, started again where it was ended."""
        try:
            with psycopg.connect(self.url, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            try:
                postgres.embedded(self.directory)
            except Exception as error:
                print(f"PostgreSQL is not there yet: {str(error)[:200]}")
            return False

    def rows(self, query):
        """What a query finds, however often the server is just recovering."""
        while True:
            until(self.answers, "PostgreSQL is there again", RECOVERY_S)
            with suppress(psycopg.OperationalError), psycopg.connect(self.url) as asking:
                return asking.execute(query).fetchall()


def _is_gone(one):
    try:
        return not one.is_running() or one.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.fixture
def server(tmp_path_factory):
    directory = tmp_path_factory.mktemp("kills") / "pg"
    server = Server(directory)
    yield server
    until(server.answers, "PostgreSQL is there to be stopped", RECOVERY_S)
    postgres.stop_embedded(directory)


@pytest.fixture
def app(server, clock, sandbox):
    with closing(socket.create_server(("127.0.0.1", 0))) as free:
        port = free.getsockname()[1]
    values = wechat_settings(sandbox, f"http://127.0.0.1:{port}") | other_channels(sandbox)
    application = create_app(settings_for(server.url, **values), clock=clock, web_pages=False)
    application.port = port
    with application.app_context():
        schema.migrate()
        yield application
        db.session.remove()
        db.engine.dispose()


@contextmanager
def kept(what, app, server, tmp_path):
    """A process of ours that is there again whenever it was killed; its pid file."""
    pid_file = tmp_path / f"{what}.pid"
    words = [sys.executable, "-c", KEEPER, what, str(pid_file), str(app.port)]
    with (tmp_path / f"{what}.log").open("ab") as log:
        keeper = subprocess.Popen(
            words,
            env=environment(app, server.url),
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        try:
            until(pid_file.exists, f"the {what} runs")
            yield pid_file
        finally:
            os.killpg(keeper.pid, signal.SIGKILL)
            keeper.wait()


class Town:
    """Residents who order over HTTP, again until they are answered, and pay at once."""

    def __init__(self, app, sandbox_file: Path, sandbox_url: str, rng: random.Random):
        self.url, self.sandbox_url, self.rng = f"http://127.0.0.1:{app.port}", sandbox_url, rng
        self.truth = sqlite3.connect(sandbox_file, isolation_level=None)
        building = builders.make_building()
        resident = builders.make_resident("alice-openid")
        self.headers = builders.headers_for(resident, SystemClock().now())
        self.bills = []
        for n in range(KILLS + 1):
            household = builders.make_household(building, f"{n + 1}01")
            builders.bind(resident, household)
            self.bills.append(builders.make_bill(household, 1000 + n).id)
        db.session.remove()

    def order(self, bill, channel, way, *, patience_s=60):
        """What there is to tap, asked for under one key until somebody answers."""
        headers = self.headers | {"Idempotency-Key": f"{bill}-{channel}-{SEED}"}
        body = {"bill_ids": [bill], "channel": channel, "way": way}
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            with suppress(requests.RequestException):
                answer = requests.post(
                    f"{self.url}/api/v1/orders", json=body, headers=headers, timeout=5
                )
                if answer.status_code == 201:
                    return answer.json()["client_pay"]
                if answer.status_code == 409 and "bill_not_payable" in answer.text:
                    return None
            time.sleep(0.05)
        raise AssertionError(f"bill {bill} could not be ordered over {channel}")

    def tap(self, pay):
        """The resident pays: the channel has the money from here on."""
        if "form" in pay:
            url = requests.post(pay["url"], data=json.loads(pay["form"]), timeout=5).url
        else:
            url = pay["code_url"]
        url = url.replace("weixin://wxpay/bizpayurl?pr=", f"{self.sandbox_url}/sandbox/pay/")
        assert requests.post(url, timeout=5, allow_redirects=False).ok

    def pay(self, bill):
        """Over one channel, or by two people at once over two."""
        doors = [("wechat", "qr"), ("alipay", "qr"), ("unionpay", "wap")]
        chosen = self.rng.sample(doors, self.rng.choice((1, 1, 2)))
        for pay in [self.order(bill, *door) for door in chosen]:
            if pay is not None:
                self.tap(pay)

    def paid(self):
        """{order number: fen} as the channels have it."""
        rows = self.truth.execute("SELECT out_trade_no, total_fen FROM orders WHERE paid_at > 0")
        return dict(rows.fetchall())

    def acknowledged(self):
        """Payments we have told their channel that we know of."""
        rows = self.truth.execute(
            "SELECT number FROM notices WHERE acknowledged > 0 AND channel <> 'unionpay'"
            " AND event_type LIKE 'TRA%'"
        )
        return {row[0] for row in rows}


def test_killed_at_any_moment_no_payment_is_lost_and_none_is_doubled(
    app, server, sandbox, tmp_path
):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    town = Town(app, tmp_path / "sandbox" / "state.sqlite", sandbox.url, rng)
    with kept("web", app, server, tmp_path) as web, kept("worker", app, server, tmp_path) as worker:
        for n, bill in enumerate(town.bills[:KILLS]):
            town.pay(bill)
            time.sleep(rng.random() * 0.1)
            known = town.acknowledged()
            if n % 3 == 2:
                server.kill(rng)
                until(server.answers, "PostgreSQL is there again", RECOVERY_S)
            else:
                os.kill(int((web, worker)[n % 3].read_text()), signal.SIGKILL)
            lost = known - {number for number, _ in server.rows(POSTED)}
            assert not lost, f"acknowledged, and not in the ledger after kill {n}: {lost}"
        settle(server, town)
    print(f"{KILLS} kills, {len(town.paid())} payments, {len(server.rows(SURPLUS))} given back")
    all_is_well(server, town)


SURPLUS = "SELECT out_refund_no, amount_fen, state FROM refund"


def settle(server, town):
    """Wait for what is under way; what waits for later is brought forward.

    A dead worker's task is given back after up to 30 s, and may be one of several in a row.
    """
    deadline = time.monotonic() + 150
    while left := under_way(server, town):
        assert time.monotonic() < deadline, f"not settled: {left}"
        server.rows(HURRY)
        time.sleep(0.2)


def under_way(server, town):
    """Payments not posted and refunds not done yet."""
    posted = {number for number, _ in server.rows(POSTED)}
    refunds = [row for row in server.rows(SURPLUS) if row[2] != "done"]
    return [*sorted(town.paid().keys() - posted), *refunds]


def all_is_well(server, town):
    posted = server.rows(POSTED)
    assert sorted(posted) == sorted(town.paid().items())
    given_back = town.truth.execute(
        "SELECT out_refund_no, refund_fen, 'done' FROM refunds WHERE status = 'SUCCESS'"
    )
    assert sorted(given_back.fetchall()) == sorted(server.rows(SURPLUS))
    bills = server.rows("SELECT id FROM bill WHERE state = 'paid' AND paid_fen = amount_fen")
    assert sorted(row[0] for row in bills) == town.bills[:KILLS]
    db.session.remove()
    db.engine.dispose()
    assert ledger.check() == []
