"""A till, its residents and everything that goes wrong around them, for the money machine.

The application, the database and the sandbox are the real ones.  `World` carries out one step at a
time; what really happened to the money is read from the sandbox's own file, which we never write
but to empty it.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import psycopg
import requests
import sqlalchemy as sa
from flask import Flask

from backend.archive.models import Household
from backend.base import tasks
from backend.base.clock import FixedClock, business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import asking, refund_desk, service, topups
from backend.cashier.channels import day_ends_early
from backend.cashier.service import Door, PayWay
from backend.people.service import Principal
from payments.channel import ChannelError
from tests import builders
from tests.conftest import CLEAN

DOORS = (
    Door(),
    Door("alipay", PayWay.QR),
    Door("unionpay", PayWay.WAP),
    Door("wechat", PayWay.QR),
    Door("wechat", PayWay.WAP, client_ip="10.0.0.1"),
    Door("alipay", PayWay.WAP),
)
CHANNELS = ("wechat", "alipay", "unionpay")
WEBHOOKS = {"wechat": "wechatpay", "alipay": "alipay", "unionpay": "unionpay"}
_PATIENCE_S = 20


class Died(BaseException):
    """The process ended here: nothing after this point has been done."""


@dataclass
class Mailbox:
    """Where the channels' notices come: they are in our hands, the application has not heard."""

    url: str = ""
    letters: list[Letter] = field(default_factory=list)


@dataclass(frozen=True)
class Letter:
    """A notice in flight; `spoilt` says the channel never sent it like this."""

    headers: dict[str, str]
    body: bytes
    channel: str
    spoilt: bool = False


def occasion(channel: str, day: date) -> str:
    """What the sandbox calls a channel's statement of a day."""
    return f"{day}" if channel == "wechat" else f"{channel}:{day}"


@contextmanager
def mailbox() -> Iterator[Mailbox]:
    """Listen for notices while the block runs; whatever comes is taken."""
    box = Mailbox()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            channel = next(c for c, name in WEBHOOKS.items() if self.path.endswith(name))
            box.letters.append(Letter(dict(self.headers), body, channel))
            self.send_response(200)
            self.send_header("Content-Length", "7")
            self.end_headers()
            self.wfile.write(b"success")

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    box.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield box
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@dataclass(frozen=True)
class Screen:
    """What a resident has before him after ordering: he may tap pay now, later or never."""

    door: Door
    number: str
    fields: dict[str, str]


@dataclass
class World:
    """One case of the machine: see the module.  `begin` empties everything of the last one."""

    app: Flask
    clock: FixedClock
    url: str
    sandbox_file: Path
    database: str
    box: Mailbox
    screens: list[Screen] = field(default_factory=list)
    orders: list[str] = field(default_factory=list)
    known: set[str] = field(default_factory=set)  # order numbers whose money must be here
    hidden: set[str] = field(default_factory=set)  # rows a statement was made to leave out
    injected: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)
    doom: int = 0  # at which commit the next step dies; 0: it lives
    dies_before: bool = True

    def __post_init__(self) -> None:
        self.dies_at = 0
        self.truth = sqlite3.connect(self.sandbox_file, isolation_level=None)
        self.truth.row_factory = sqlite3.Row
        self.http = requests.Session()
        self.web = self.app.test_client()
        self.start = self.clock.now()
        sa.event.listen(db.session, "before_commit", self._before_commit)
        sa.event.listen(db.session, "after_commit", self._after_commit)

    def close(self) -> None:
        """Let go of files and listeners."""
        sa.event.remove(db.session, "before_commit", self._before_commit)
        sa.event.remove(db.session, "after_commit", self._after_commit)
        self.http.close()
        self.truth.close()

    def begin(self) -> None:
        """An empty town with two residents of one household, and one of another."""
        db.session.remove()
        with psycopg.connect(self.database, autocommit=True) as connection:
            connection.execute(CLEAN)
        for table in ("orders", "refunds", "notices", "behaviours", "bills", "settings", "calls"):
            self.truth.execute(f"DELETE FROM {table}")
        for kept in (self.screens, self.orders, self.known, self.hidden, self.injected):
            kept.clear()
        self.box.letters.clear()
        self.doom, self.dies_at, self.clock.at, self.morning_s = 0, 0, self.start, 0.0
        building = builders.make_building()
        households = [builders.make_household(building, no) for no in ("101", "102")]
        residents = [builders.make_resident(f"openid-of-{n}") for n in range(3)]
        for resident, household in zip(residents, [0, 0, 1], strict=True):
            builders.bind(resident, households[household])
        self.households = [household.id for household in households]
        self.residents = [resident.id for resident in residents]
        self.staff = builders.make_staff("cash", roles=["finance"]).id
        self.bills: list[list[int]] = [[], []]

    # --- what residents do

    def bill(self, household: int, amount_fen: int, utility: str) -> None:
        """Another bill is issued."""
        place = db.session.get_one(Household, self.households[household])
        made = builders.make_bill(place, amount_fen, utility=utility)
        self.bills[household].append(made.id)

    def order(self, who: int, chosen: list[int], door: Door) -> None:
        """A resident orders some of his household's bills."""
        number, fields = self._order(who, chosen, door)
        if fields is not None:
            self.screens.append(Screen(door, number, fields))

    def top_up(self, who: int, amount_fen: int, door: Door) -> None:
        """A resident tops his household's balance up."""
        wish = topups.Wish(self.households[who // 2], topups.WALLET, amount_fen)
        try:
            made, fields = topups.create(self.residents[who], wish, door, self.clock.now())
        except Problem as problem:
            allowed = {"order_open", "channel_unavailable", "order_ended", "topup_day_limit"}
            assert problem.code in allowed, problem.code
            return
        self.screens.append(Screen(door, made.out_trade_no, fields))

    def give_back(self, number: str, amount_fen: int) -> None:
        """Finance gives part of an unused top-up back."""
        cashier = Principal("staff", self.staff)
        wanted = refund_desk.Wanted(number, amount_fen)
        try:
            refund_desk.ask(wanted, "用户申请", f"{amount_fen}", cashier, self.clock.now())
        except Problem as problem:
            assert problem.code in {"refund_too_much", "refund_too_many"}, problem.code
            db.session.rollback()
        db.session.commit()

    def _order(self, who: int, chosen: list[int], door: Door) -> tuple[str, dict[str, str] | None]:
        resident = self.residents[who]
        try:
            made, fields = service.create_order(resident, chosen, door, self.clock.now())
        except Problem as problem:
            allowed = {"order_open", "bill_not_payable", "channel_unavailable", "order_ended"}
            assert problem.code in allowed, problem.code
            return "", None
        return made.out_trade_no, fields

    def pay(self, screen: Screen, wrong_fen: int, fate: str) -> None:
        """He taps pay; `wrong_fen` is what the channel takes instead, `fate` its notice's."""
        number = screen.number
        if wrong_fen:
            self.behave("payment", "wrong_amount", number, amount_fen=wrong_fen)
        if fate:
            self.behave("payment_notice", fate, number)
        before = len(self.box.letters)
        self._tap(screen)
        self.truth.execute("DELETE FROM behaviours WHERE match = ?", (number,))
        self.notices_out()
        if fate:  # forged and the like: the channel's own word on it never comes
            for at in range(before, len(self.box.letters)):
                letter = self.box.letters[at]
                self.box.letters[at] = Letter(letter.headers, letter.body, letter.channel, True)

    def _tap(self, screen: Screen) -> None:
        fields = screen.fields
        if screen.door.channel == "wechat" and screen.door.way is PayWay.MINI:
            self._post(f"{self.url}/sandbox/wechat/pay", json=fields)
            return
        url = fields.get("code_url") or fields["url"]
        if url.startswith("weixin://"):
            url = f"{self.url}/sandbox/pay/{url.partition('pr=')[2]}"
        if "form" in fields:
            url = self._post(url, data=json.loads(fields["form"])).url
        elif "/gateway.do" in url:
            url = self.http.get(url, timeout=10).url
        if "/sandbox/pay/" in url:
            self._post(url, allow_redirects=False)

    def _post(self, url: str, **more: Any) -> requests.Response:
        answer = self.http.post(url, timeout=10, **more)
        assert answer.status_code < 500, answer.text
        return answer

    # --- what channels do

    def behave(self, target: str, mode: str, match: str, **params: Any) -> None:
        """Order a behaviour of the sandbox for one occasion."""
        body = {"target": target, "mode": mode, "match": match, "params": params}
        answer = self.http.post(f"{self.url}/sandbox/behaviour", json=body, timeout=10)
        assert answer.ok, answer.text

    def will_spoil(self, channel: str, day: date) -> bool:
        """Whether a behaviour still waits for that day's file."""
        query = "SELECT 1 FROM behaviours WHERE target = 'statement' AND match = ?"
        return self.truth.execute(query, (occasion(channel, day),)).fetchone() is not None

    def notices_out(self) -> None:
        """Wait until every notice there is has left the sandbox."""
        query = "SELECT 1 FROM notices WHERE state IN ('waiting', 'sending') LIMIT 1"
        deadline = time.monotonic() + _PATIENCE_S
        while self.truth.execute(query).fetchone():
            assert time.monotonic() < deadline, "a notice never left"
            time.sleep(0.002)

    def settle_refund(self, number: str, status: str) -> None:
        """A refund the channel held in processing ends."""
        url = f"{self.url}/sandbox/refunds/{number}/settle"
        assert self.http.post(url, json={"status": status}, timeout=10).ok
        self.notices_out()

    def deliver(self, letter: Letter) -> int:
        """A notice reaches the application's own route; the status it is answered with."""
        answer = self.web.post(
            f"/webhooks/{WEBHOOKS[letter.channel]}",
            data=letter.body,
            headers=[(k, v) for k, v in letter.headers.items() if k not in ("Host", "Connection")],
        )
        return answer.status_code

    def number_in(self, letter: Letter) -> str:
        """The order a notice is about."""
        if letter.channel == "wechat":
            told = json.loads(letter.body)["id"]
            row = self.truth.execute("SELECT number FROM notices WHERE id = ?", (told,)).fetchone()
            return str(row["number"])
        name = "out_trade_no" if letter.channel == "alipay" else "orderId"
        return parse_qs(letter.body.decode())[name][0]

    # --- what we do

    def ask(self, number: str) -> None:
        """The resident's page asks what became of an order."""
        asking.refresh(number, self.clock.now())

    def due(self) -> sa.Row[Any] | None:
        """The next task that is due by the application's clock."""
        query = (
            "SELECT id, task_name, args FROM procrastinate_jobs WHERE status = 'todo'"
            " AND (scheduled_at IS NULL OR scheduled_at <= :now) ORDER BY id LIMIT 1"
        )
        found = db.session.execute(sa.text(query), {"now": self.clock.now()}).first()
        db.session.commit()
        return found

    def work(self, most: int) -> int:
        """Carry out what is due, at most so many tasks; a death leaves its task to be done again.

        The queue's own worker looks at the machine's clock, so the tasks are called as it would.
        """
        done = 0
        while done < most and (job := self.due()) is not None:
            tasks.load_tasks()
            tasks.queue.tasks[job.task_name].func(**job.args)
            mark = sa.text("UPDATE procrastinate_jobs SET status = 'succeeded' WHERE id = :id")
            db.session.execute(mark, {"id": job.id})
            db.session.commit()
            done += 1
        self.notices_out()
        return done

    # --- dying

    def survive(self, step: Callable[[], Any]) -> bool:
        """Carry out a step in which the process may die; whether it lived."""
        self.dies_at, self.doom = self.doom, 0
        try:
            step()
        except Died:
            db.session.remove()
            self.app.extensions.pop("nuan_channels", None)
            return False
        except ChannelError:
            db.session.rollback()
        finally:
            self.dies_at = 0
        return True

    def _before_commit(self, _session: Any) -> None:
        if self.dies_before:
            self._count_down()

    def _after_commit(self, _session: Any) -> None:
        if not self.dies_before:
            self._count_down()

    def _count_down(self) -> None:
        if self.dies_at:
            self.dies_at -= 1
            if not self.dies_at:
                raise Died

    # --- the truth

    def paid(self) -> dict[str, sqlite3.Row]:
        """What the channels say was paid, by order number."""
        rows = self.truth.execute("SELECT * FROM orders WHERE paid_at IS NOT NULL")
        return {row["out_trade_no"]: row for row in rows}

    def paid_since_morning(self) -> bool:
        """Whether anything was paid since the machine last went on to a next day."""
        return any(row["paid_at"] > self.morning_s for row in self.paid().values())

    def given_back(self, status: str = "SUCCESS") -> dict[str, sqlite3.Row]:
        """What the channels say was refunded, by refund number."""
        rows = self.truth.execute("SELECT * FROM refunds WHERE status = ?", (status,))
        return {row["out_refund_no"]: row for row in rows}

    def troubled(self) -> bool:
        """Whether a channel's next answers were spoilt to order."""
        query = "SELECT 1 FROM behaviours WHERE target = 'answer' LIMIT 1"
        return self.truth.execute(query).fetchone() is not None

    def channel_day(self, order: sqlite3.Row) -> Any:
        """The day a payment stands in its channel's statement."""
        at = datetime.fromtimestamp(order["paid_at"], self.start.tzinfo)
        return business_day(at + day_ends_early(order["channel"]))

    def today(self) -> Any:
        """The business day it is."""
        return business_day(self.clock.now())

    def next_morning(self) -> Any:
        """It is 11:00 of the next day; the day that is over."""
        day = self.today()
        noon = builders.NOON.replace(hour=3)
        self.clock.at = noon + timedelta(days=(day - business_day(noon)).days + 1)
        self.morning_s = self.clock.at.timestamp()
        return day
