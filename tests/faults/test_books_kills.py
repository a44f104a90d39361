"""kill -9 of `nuan` in the middle of what finance imports and closes, at many random moments.

The process is let into a statement drawn at random and killed from outside at a random moment of
it.  Afterwards every table is as it was before the command began; the same command, given again,
does the whole of it once; given once more, it changes nothing.
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import psycopg
import pytest

from backend.base.clock import SystemClock, add_months, business_day, day_bounds, month_start
from backend.base.db import db
from backend.cashier import acquirers, bank_accounts, counter, shifts
from backend.cashier.counter import Taking, Tender
from backend.ledger import periods
from backend.ledger import service as ledger
from payments import bank
from payments.flat_format import formats
from payments.sandbox import bank_desk
from tests import builders
from tests.cashier import collecting
from tests.cashier.collecting import GOOD
from tests.faults.processes import environment, until

pytestmark = pytest.mark.faults

KILLS = int(os.environ.get("NUAN_BOOKS_KILLS", "3"))
SEED = int(os.environ.get("NUAN_SOAK_SEED", "0")) or random.SystemRandom().randrange(10**9)
LONGEST_S = 0.004  # of a statement, about
# Has loaded everything and only forks: a job comes with its words, its environment and a socket on
# which the child says before each statement and commit that it is there, and waits to be let in.
KEEPER = """
import json, os, socket, sys
import backend.application, backend.cashier.months, backend.cashier.vouchers, backend.cli
import backend.cashier.cli, backend.ledger.cli
from sqlalchemy import event
from sqlalchemy.engine import Engine

control = socket.socket(fileno=int(sys.argv[1]))
while True:
    said, fds, _, _ = socket.recv_fds(control, 65536, 1)
    if not said:
        sys.exit()
    job = json.loads(said)
    pid = os.fork()
    if not pid:
        gate = socket.socket(fileno=fds[0])
        def wait(what):
            gate.send(what)
            gate.recv(1)
        event.listen(Engine, "before_cursor_execute", lambda *_: wait(b"."))
        event.listen(Engine, "commit", lambda *_: wait(b"c"))
        os.environ.clear()
        os.environ.update(job["env"])
        sys.argv = ["nuan", *job["words"]]
        backend.cli.main()
    os.close(fds[0])
    control.send(str(pid).encode())
    control.send(str(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])).encode())
"""


class Keeper:
    """Runs `nuan` commands that can be stopped at a statement."""

    def __init__(self, control: socket.socket, log: Path):
        self.control, self.log = control, log

    def run(
        self, words: list[str], env: dict[str, str], kill_at: int = 0, after_s: float = 0
    ) -> tuple[int, bytes]:
        """(exit status, what it came to: . a statement, c a commit).

        Killed `after_s` after it was let into the n-th.
        """
        ours, theirs = socket.socketpair()
        job = json.dumps({"words": words, "env": env}).encode()
        with ours:
            with theirs:
                socket.send_fds(self.control, [job], [theirs.fileno()])
            pid, begun = int(self.control.recv(32)), b""
            while what := ours.recv(1):
                begun += what
                ours.send(what)
                if len(begun) == kill_at:
                    time.sleep(after_s)
                    os.kill(pid, signal.SIGKILL)
                    break
            return int(self.control.recv(32)), begun


@pytest.fixture(scope="module")
def keeper(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keeper]:
    log = tmp_path_factory.mktemp("keeper") / "log"
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with log.open("wb") as output, ours:
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-c", KEEPER, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdout=output,
                stderr=output,
            )
        try:
            yield Keeper(ours, log)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def clock() -> SystemClock:
    """Processes of their own have no other clock."""
    return SystemClock()


TABLES = """
SELECT oid::regclass::text FROM pg_class WHERE relnamespace = 'public'::regnamespace
   AND relkind IN ('r', 'p') AND NOT relispartition
"""
DIGEST = """
SELECT '{0}', md5(coalesce(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) FROM {0} t
"""
OTHERS = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()
   AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""


def everything(database: str) -> dict[str, str]:
    """A digest of every table, once nobody is left who could still change one."""
    db.session.remove()
    db.engine.dispose()
    with closing(psycopg.connect(database, autocommit=True)) as asking:
        until(lambda: asking.execute(OTHERS).fetchone() == (0,), "the killed one's server ends")
        digests = [DIGEST.format(name) for (name,) in asking.execute(TABLES)]
        return dict(asking.execute(" UNION ALL ".join(digests)).fetchall())


class Killing:
    """The same command killed again and again, and what must be so."""

    def __init__(self, app, database, keeper):
        self.database, self.keeper = database, keeper
        self.env = environment(app, database)
        self.rng = random.Random(SEED)

    def undisturbed(self, *words):
        """Do it; at which of its statements it commits, once."""
        everything(self.database)
        status, begun = self.keeper.run(list(words), self.env)
        assert (status, begun.count(b"c")) == (0, 1), self.keeper.log.read_text()
        return begun.index(b"c") + 1

    def killed(self, commit_at, *words):
        """Kill it in the first, second, … part of its statements, then as it commits."""
        print(f"seed {SEED}: commits at statement {commit_at}")
        before = everything(self.database)
        for nth in range(KILLS):
            begin, end = (commit_at * part // KILLS for part in (nth, nth + 1))
            at = min(self.rng.randrange(begin, end) + 1, commit_at - 1)
            self.kill(words, at)
            assert changed(before, everything(self.database)) == set(), f"half done at {at}"
        self.kill(words, commit_at)
        arrived = changed(before, everything(self.database))  # the commit may have
        status, _ = self.keeper.run(list(words), self.env)
        after = everything(self.database)
        assert status == 0 and changed(before, after)
        assert not arrived or arrived == changed(before, after)
        again, _ = self.keeper.run(list(words), self.env)
        assert again == 0
        assert changed(after, everything(self.database)) == set()
        assert ledger.check() == []

    def kill(self, words, at):
        status, begun = self.keeper.run(list(words), self.env, at, self.rng.uniform(0, LONGEST_S))
        assert (status, len(begun)) == (-signal.SIGKILL, at), self.keeper.log.read_text()


def changed(before, after):
    """The tables that differ."""
    return {name for name in before if before[name] != after[name]}


@pytest.fixture
def killing(app, database, keeper):
    return Killing(app, database, keeper)


def noon(day) -> datetime:
    """The middle of a business day."""
    return day_bounds(day)[0] + timedelta(hours=12)


@pytest.fixture
def town(app, clock):
    """A bank and finance, as things stand today."""
    today = business_day(clock.now())
    issued = noon(add_months(month_start(today), -1))
    return collecting.make_town(day=today, issued_at=issued)


def file(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data)
    return str(path)


def answers(town, clock, tmp_path, number):
    """The bank's file over a new batch of five deductions, as a path."""
    for n in range(5):
        town.flat(GOOD if n else collecting.POOR, 1000 + n, 200)
    batch = collecting.sent(town, clock.now())
    data = bank_desk.answer(
        collecting.LAYOUT, collecting.file_of(town, batch, clock.now()), town.day
    )
    return file(tmp_path, f"result-{number}.txt", data)


def test_a_banks_result_is_taken_whole_or_not_at_all(killing, town, clock, tmp_path):
    first, second = (answers(town, clock, tmp_path, n) for n in (1, 2))
    words = ("finance", "take-result", "icbc", "--staff", "zhou")
    commit_at = killing.undisturbed(*words, first)
    killing.killed(commit_at, *words, second)
    won = 2 * sum(1000 + n + 200 for n in range(1, 5))
    assert ledger.balance_fen("clearing:bank") == won


def test_an_accounts_movements_are_taken_whole_or_not_at_all(killing, town, clock, tmp_path):
    for code in ("one", "two"):
        bank_accounts.add_account(code, "账户", f"6222{code}", "account-csv", town.day)
    db.session.commit()
    layout = formats()["account-csv"]
    credits_ = [("财付通 结算", 5000), ("往来款", 777), ("支付宝（中国）", 300)]
    paths = {
        code: file(
            tmp_path, code, bank_desk.account_file(layout, f"6222{code}", town.day, credits_)
        )
        for code in ("one", "two")
    }
    words = ("finance", "take-movements", "--staff", "zhou")
    commit_at = killing.undisturbed(*words, "one", paths["one"])
    killing.killed(commit_at, *words, "two", paths["two"])
    assert [ledger.balance_fen(f"bank:{code}") for code in ("one", "two")] == [5300, 5300]


@pytest.fixture
def cards(town, clock):
    """Four card payments of today at an acquirer's terminal."""
    shifts.add_drawer("D1", "一号台")
    terminal = shifts.add_terminal("10000001", "大厅 POS", "ylsw")
    acquirers.add("ylsw", "银联商务", "acquirer-csv", town.day)
    shifts.open_shift(town.zhou, 1, {}, clock.now())
    household = builders.make_household(town.building, "901")
    for n in range(4):
        bill = builders.make_bill(household, 1000 + n, issued_at=town.issued_at)
        tender = Tender("pos", 1000 + n, terminal.id, f"00{n}")
        taking = Taking(household.id, (bill.id,), 0, 1000 + n, tender)
        counter.take(town.zhou, f"k{n}", taking, clock.now())
    db.session.commit()


def test_an_acquirers_settlement_is_taken_whole_or_not_at_all(
    killing, town, cards, clock, tmp_path
):
    sheet, paths = formats()["acquirer-csv"].sheets["settlement"], []
    for number, slips in (("S1001", (0, 1)), ("S1002", (2, 3))):
        rows = [
            {
                "terminal_no": "10000001",
                "reference": f"00{n}",
                "traded_on": town.day,
                "amount_fen": 1000 + n,
                "fee_fen": 4,
            }
            for n in slips
        ]
        data = bank.write(sheet, {"settlement_no": number, "day": town.day}, rows)
        paths.append(file(tmp_path, number, data))
    words = ("finance", "take-settlement", "ylsw", "--staff", "zhou")
    commit_at = killing.undisturbed(*words, paths[0])
    killing.killed(commit_at, *words, paths[1])
    assert ledger.balance_fen("pos:10000001") == 0
    assert ledger.balance_fen("clearing:acquirer-ylsw") == 4006 - 16


def test_a_month_is_closed_whole_or_not_at_all(killing, town, clock):
    last = month_start(town.issued_at.date())
    before = add_months(last, -1)
    household = builders.make_household(town.building, "901")
    for month in (before, last):
        for n in range(3):
            builders.make_bill(household, 1000 + n, issued_at=noon(month + timedelta(days=n)))
    words = ("ledger", "close-month", "--staff", "zhou", "--reason", "没有日结，测试")
    commit_at = killing.undisturbed(*words, f"{before:%Y-%m}")
    killing.killed(commit_at, *words, f"{last:%Y-%m}")
    rows = {row.code: row for row in periods.groups(last)}
    assert rows["receivable:heat"] == periods.Trial("receivable:heat", 3003, 3003, 0, 6006)
    assert periods.month_of(last).runs == 1
