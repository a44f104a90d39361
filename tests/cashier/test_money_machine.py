"""Whatever residents, channels, statements and crashes do, money is neither lost nor doubled.

A state machine over the real application, PostgreSQL and the sandbox (see `world`).  After every
step the ledger is held against what the sandbox says happened to the money.  `make soak` runs it
with NUAN_SOAK_CASES cases and a printed seed.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from backend import create_app
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import breaks, parked, reconcile
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests.cashier.world import CHANNELS, DOORS, Letter, World, mailbox, occasion
from tests.conftest import settings_for
from tests.outside import other_channels, wechat_settings

CASES, STEPS = int(os.environ.get("NUAN_SOAK_CASES", "50")), 50
PICK = st.integers(0, 30)
MOMENTS_S = (1, 6, 35, 400, 3600, 7200, 36_000)
SPOILT = ("forged_signature", "wrong_mchid", "malformed", "unsigned", "stale")
FATES = st.sampled_from(("", "", "", "", "never", *SPOILT))
WRONG_FEN = st.one_of(st.just(0), st.just(0), st.just(0), st.integers(1, 99_999))
# operation of the sandbox -> what may become of its next answer
ANSWERS = {
    "create": "error_after",
    "query": "forged_signature",
    "refund": "error_after",
    "close": "error",
    "alipay.trade.precreate": "error_after",
    "alipay.trade.query": "http_error",
    "alipay.trade.refund": "error_after",
    "unionpay.query": "http_error",
    "unionpay.refund": "http_error",
}
# A difference nobody has explained: open, or put aside.
_WAITS = """(b.resolved_at IS NULL OR EXISTS (SELECT 1 FROM money_case m WHERE m.kind = 'break'
            AND m.reference = b.id::text AND m.state = 'suspense'))"""
_DIFFERENCES = """
SELECT m.id, m.state FROM money_case m JOIN break b ON b.id::text = m.reference
WHERE m.kind = 'break' AND (m.state = 'suspense' OR m.state = 'open' AND b.gap_fen <> 0)
ORDER BY m.id
"""
_ASIDE = """
SELECT family, coalesce((SELECT sum(b.balance_fen) FROM account a JOIN balance b
                         ON b.account_id = a.id WHERE a.code LIKE family || ':%'), 0) AS held,
       coalesce((SELECT -sum(sign(amount_fen) * left_fen) FROM money_case
                 WHERE kind = 'break' AND state = 'suspense'
                   AND (amount_fen > 0) = (family = 'overage')), 0) AS waits
FROM unnest(ARRAY['overage', 'shortage']) AS family
"""
_POSTED = """
SELECT split_part(e.business_key, ':', 1) AS channel, e.business_key, e.kind,
       coalesce(e.detail->>'out_refund_no', e.detail->>'out_trade_no') AS number,
       sum(p.amount_fen) AS fen
FROM entry e JOIN posting p ON p.entry_id = e.id JOIN account a ON a.id = p.account_id
WHERE e.kind IN ('payment', 'refund') AND a.code LIKE 'clearing:%' GROUP BY e.id
"""
_SUSPENSE = """
SELECT sum(b.balance_fen) FROM balance b JOIN account a ON a.id = b.account_id
WHERE a.code LIKE 'suspense:%'
"""
_BALANCES = """
SELECT coalesce(-sum(b.balance_fen), 0) FROM balance b JOIN account a ON a.id = b.account_id
WHERE a.code LIKE 'wallet:%'
"""
_SET_ASIDE = """
SELECT coalesce((SELECT sum(received_fen) FROM payment_order
                 WHERE state IN ('parked', 'refunded')), 0)
     + coalesce((SELECT sum(amount_fen) FROM refund WHERE business_key LIKE 'surplus:%'), 0)
     + coalesce((SELECT sum(amount_fen) FROM refund WHERE source = 'wallet'), 0)
     - coalesce((SELECT sum(amount_fen) FROM refund WHERE state = 'done'), 0)
"""


class Money(RuleBasedStateMachine):
    """Rules are what may happen; the invariants are what must hold all the same."""

    world: World
    steps: Counter[str] = Counter()

    @initialize(amounts=st.lists(st.integers(1, 99_999), min_size=2, max_size=4))
    def begin(self, amounts):
        self.world.begin()
        for n, amount_fen in enumerate(amounts):
            self.world.bill(n // 3, amount_fen, "heat" if n % 2 else "water")

    def step(self, work):
        self.steps["steps"] += 1
        lived = self.world.survive(work)
        self.steps["deaths"] += not lived
        self._forget_spoilt_files_that_were_lost()
        return lived

    def _forget_spoilt_files_that_were_lost(self):
        """A channel spoils a file once: where a step fetched it and ended, the next one is good."""
        for (channel, day), (_, number) in list(self.world.injected.items()):
            kept = _all("SELECT 1 FROM statement WHERE (channel, day) = (:c, :d)", c=channel, d=day)
            if not kept and not self.world.will_spoil(channel, day):
                del self.world.injected[channel, day]
                self.world.hidden.discard(number)

    # --- residents

    @precondition(lambda self: min(map(len, self.world.bills)) < 4)
    @rule(household=st.integers(0, 1), amount_fen=st.integers(1, 99_999))
    def bill(self, household, amount_fen):
        self.steps["steps"] += 1
        if len(self.world.bills[household]) < 6:
            self.world.bill(household, amount_fen, "heat")

    @rule(who=st.integers(0, 2), chosen=st.integers(1, 63), door=st.sampled_from(DOORS))
    def order(self, who, chosen, door):
        mine = self.world.bills[who // 2]
        some = [bill for n, bill in enumerate(mine) if chosen >> n & 1] or mine[:1]
        if some:
            self.step(lambda: self.world.order(who, some, door))

    @rule(who=st.integers(0, 2), amount_fen=st.integers(100, 99_999),
          door=st.sampled_from(DOORS))  # fmt: skip
    def top_up(self, who, amount_fen, door):
        self.step(lambda: self.world.top_up(who, amount_fen, door))

    @rule(at=PICK, amount_fen=st.integers(1, 99_999))
    def give_back_topup(self, at, amount_fen):
        topped = _all(
            "SELECT out_trade_no FROM payment_order"
            " WHERE state = 'paid' AND topup_into IS NOT NULL ORDER BY id"
        )
        if topped:
            self.step(lambda: self.world.give_back(_pick(topped, at)[0], amount_fen))

    @precondition(lambda self: self.world.screens)
    @rule(at=PICK, wrong_fen=WRONG_FEN, fate=FATES)
    def pay(self, at, wrong_fen, fate):
        self.step(lambda: self.world.pay(_pick(self.world.screens, at), wrong_fen, fate))

    @rule(who=st.integers(0, 2), chosen=st.integers(1, 63), door=st.sampled_from(DOORS),
          wrong_fen=WRONG_FEN, fate=FATES)  # fmt: skip
    def order_and_pay(self, who, chosen, door, wrong_fen, fate):
        before = len(self.world.screens)
        self.order(who, chosen, door)
        if len(self.world.screens) > before:
            self.step(lambda: self.world.pay(self.world.screens[-1], wrong_fen, fate))

    @rule(who=st.integers(0, 2), chosen=st.integers(1, 63), door=st.sampled_from(DOORS))
    def order_and_pay_as_most_do(self, who, chosen, door):
        self.order_and_pay(who, chosen, door, 0, "")

    # --- notices

    @precondition(lambda self: self.world.box.letters)
    @rule(at=PICK, again=st.booleans())
    def deliver(self, at, again):
        letter = _pick(self.world.box.letters, at)
        if not again:
            self.world.box.letters.remove(letter)
        self.step(lambda: self._deliver(letter))

    def _deliver(self, letter):
        before = _count("entry") if letter.spoilt else 0
        status = self.world.deliver(letter)
        if letter.spoilt:
            assert _count("entry") == before, "a spoilt notice moved money"
        elif status < 300 and letter.channel != "unionpay":
            self.world.known.add(self.world.number_in(letter))

    @precondition(lambda self: self.world.box.letters)
    @rule(at=PICK, where=st.integers(0, 1 << 12))
    def deliver_tampered(self, at, where):
        letter = _pick(self.world.box.letters, at)
        body = bytearray(letter.body)
        body[where % len(body)] ^= 1
        forged = Letter(letter.headers, bytes(body), letter.channel, spoilt=True)
        self.step(lambda: self._deliver(forged))

    @precondition(lambda self: self.world.box.letters)
    @rule(at=PICK)
    def lose(self, at):
        self.steps["steps"] += 1
        self.world.box.letters.remove(_pick(self.world.box.letters, at))

    # --- the worker, the clock, trouble

    @precondition(lambda self: self.world.due() is not None)
    @rule(most=st.integers(1, 8))
    def work(self, most):
        self.step(lambda: self.world.work(most))

    @precondition(lambda self: self.world.screens)
    @rule(seconds=st.sampled_from(MOMENTS_S))
    def advance(self, seconds):
        self.steps["steps"] += 1
        self.world.clock.advance(seconds=seconds)

    @precondition(lambda self: self.world.screens)
    @rule(at=PICK)
    def ask(self, at):
        number = _pick(self.world.screens, at).number
        was_open = _state(number) in ("created", "paying")
        sure = was_open and number in self.world.paid() and not self.world.troubled()
        if self.step(lambda: self.world.ask(number)) and sure:
            self.world.known.add(number)

    @precondition(lambda self: not self.world.troubled())
    @rule(operation=st.sampled_from(sorted(ANSWERS)))
    def spoil_answer(self, operation):
        self.steps["steps"] += 1
        self.world.behave("answer", ANSWERS[operation], operation)

    @precondition(lambda self: not self.world.doom)
    @rule(commits=st.integers(1, 4), before=st.booleans())
    def will_die(self, commits, before):
        """The next step that writes ends at its so-manieth commit, before it or just after."""
        self.steps["steps"] += 1
        self.world.doom, self.world.dies_before = commits, before

    # --- refunds

    @precondition(lambda self: self.world.screens)
    @rule(at=PICK, mode=st.sampled_from(("processing", "abnormal", "closed", "not_enough")))
    def spoil_refund(self, at, mode):
        self.steps["steps"] += 1
        self.world.behave("refund", mode, _pick(self.world.screens, at).number)

    @precondition(lambda self: self.world.given_back("PROCESSING"))
    @rule(at=PICK, status=st.sampled_from(("SUCCESS", "SUCCESS", "ABNORMAL", "CLOSED")))
    def settle_refund(self, at, status):
        held = sorted(self.world.given_back("PROCESSING"))
        self.step(lambda: self.world.settle_refund(_pick(held, at), status))

    @precondition(lambda self: self.world.paid())
    @rule(at=PICK)
    def give_back_parked(self, at):
        waiting = _all("SELECT out_trade_no FROM payment_order WHERE state = 'parked' ORDER BY id")
        if waiting:
            self.step(lambda: self._give_back(_pick(waiting, at)[0]))

    def _give_back(self, number):
        cashier = Principal("staff", self.world.staff)
        parked.refund(number, cashier, "退回", self.world.clock.now())
        db.session.commit()

    # --- statements and days

    @precondition(lambda self: self.world.paid_since_morning())
    @rule(channel=st.sampled_from(CHANNELS), at=PICK, mode=st.sampled_from(
        ("missing_row", "wrong_amount", "extra_row")))  # fmt: skip
    def spoil_statement(self, channel, at, mode):
        self.steps["steps"] += 1
        day = self.world.today()
        here = [
            order
            for order in self.world.paid().values()
            if order["channel"] == channel and self.world.channel_day(order) == day
        ]
        if not here or (channel, day) in self.world.injected:
            return
        order = _pick(here, at)
        number = "STRANGER-ORDER-1" if mode == "extra_row" else order["out_trade_no"]
        params = {"out_trade_no": order["out_trade_no"], "amount_fen": order["total_fen"] + 1}
        if mode == "extra_row":
            params = {}
        elif mode == "missing_row":
            self.world.hidden.add(number)
        self.world.behave("statement", mode, occasion(channel, day), **params)
        self.world.injected[channel, day] = (mode, number)

    @precondition(lambda self: self.world.paid_since_morning())
    @rule(aside=st.booleans())
    def next_morning(self, aside):
        day = self.world.next_morning()
        for channel in CHANNELS:
            sure = not self.world.troubled()
            if self.step(lambda channel=channel: self._prove(channel, day)) and sure:
                self._found_what_was_wrong(channel, day)
        for row in _all(_DIFFERENCES) if aside else ():
            self.step(lambda row=row: self._put_aside_or_take_back(row))

    def _prove(self, channel, day):
        try:
            reconcile.fetch_statement(channel, day, self.world.clock.now())
        except Problem as problem:
            assert problem.code == "statement_changed"  # the one kept earlier stands
        reconcile.reconcile(channel, day, self.world.clock.now())
        db.session.commit()

    def _found_what_was_wrong(self, channel, day):
        found = _breaks(channel, day)
        closed = _all("SELECT 1 FROM finance_day WHERE day = :day", day=day)
        for number, order in self.world.paid().items():
            if (order["channel"], self.world.channel_day(order)) == (channel, day) and not closed:
                self.world.known.add(number)
        self.world.known -= self.world.hidden
        mode, number = self.world.injected.get((channel, day), ("", ""))
        if mode == "extra_row":
            assert ("missing_here", number) in found
        elif mode == "wrong_amount":
            assert ("amount", number) in found
        invented = found - {("missing_here", number), ("amount", number), ("fee", number)}
        if mode == "missing_row":
            invented -= {("missing_there", number)}
        assert not {one for one in invented if not _is_so(*one)}, invented

    @precondition(lambda self: _all(_DIFFERENCES))
    @rule(at=PICK)
    def put_aside_or_take_back(self, at):
        """A difference that can be: 长款 or 短款 stands by itself, and comes back."""
        self.step(lambda: self._put_aside_or_take_back(_pick(_all(_DIFFERENCES), at)))

    def _put_aside_or_take_back(self, row):
        what = breaks.take_back if row.state == "suspense" else breaks.put_aside
        what(row.id, "待查", Principal("staff", self.world.staff), self.world.clock.now())
        db.session.commit()
        self.steps["put aside"] += 1

    @precondition(lambda self: self.world.paid_since_morning())
    @rule(signed=st.booleans())
    def close_yesterday(self, signed):
        day = self.world.next_morning()
        self.step(lambda: self._close(day, "已核" if signed else None))

    def _close(self, day, reason):
        try:
            reconcile.close_day(day, self.world.staff, reason, self.world.clock.now())
        except Problem as problem:
            db.session.rollback()
            assert problem.code in ("day_has_breaks", "channel_unavailable"), problem.code
            assert reason is None or problem.code != "day_has_breaks"
            return
        left = _all("SELECT b.reference FROM break b WHERE b.kind = 'missing_here' AND " + _WAITS)
        self.world.hidden |= {row[0] for row in left}  # somebody has signed for them
        self.world.known -= self.world.hidden
        db.session.commit()

    # --- what must hold

    @invariant()
    def all_is_well(self):
        self.the_books_are_sound()
        self.nothing_is_posted_that_did_not_happen_or_happened_once()
        self.what_we_know_of_is_in_the_ledger()
        self.what_nobody_owed_waits_in_suspense_and_nothing_else()
        self.nobody_is_given_back_more_than_he_paid()
        self.what_stands_aside_is_what_cases_say()

    def the_books_are_sound(self):
        db.session.rollback()
        assert ledger.check() == []

    def nothing_is_posted_that_did_not_happen_or_happened_once(self):
        rows = _all(_POSTED)
        paid, back = self.world.paid(), self.world.given_back()
        for row in rows:
            if row.kind == "payment":
                told = paid[row.number]
                key = f"{told['channel']}:{told['transaction_id']}"
                assert (row.business_key, row.fen) == (key, told["total_fen"])
            else:
                assert -row.fen == back[row.number]["refund_fen"]
        assert len({(row.kind, row.number) for row in rows}) == len(rows), "posted twice"

    def what_we_know_of_is_in_the_ledger(self):
        here = {row.number for row in _all(_POSTED) if row.kind == "payment"}
        lost = (self.world.known & self.world.paid().keys()) - here
        assert not lost, f"paid, known, and not in the ledger: {lost}"

    def what_nobody_owed_waits_in_suspense_and_nothing_else(self):
        rows = _all(_POSTED)
        held = _all(_SUSPENSE)[0][0] or 0
        credited = _all("SELECT coalesce(sum(paid_fen), 0) FROM bill")[0][0]
        credited += _all(_BALANCES)[0][0]
        assert -held == sum(row.fen for row in rows) - credited
        assert -held == _all(_SET_ASIDE)[0][0]

    def nobody_is_given_back_more_than_he_paid(self):
        over = self.world.truth.execute(
            "SELECT o.out_trade_no FROM orders o JOIN refunds r USING (out_trade_no)"
            " WHERE r.status <> 'CLOSED' GROUP BY 1 HAVING sum(r.refund_fen) > o.total_fen"
        ).fetchall()
        assert not over

    def teardown(self):
        """In the end everything a statement shows is in the ledger, without any notice."""
        if not hasattr(self.world, "staff"):
            return
        self.world.doom = 0
        self.world.truth.execute("DELETE FROM behaviours WHERE target = 'answer'")
        self.world.next_morning()
        self.step(lambda: self.world.work(200))
        for channel, day in sorted({(o["channel"], self.world.channel_day(o))
                                    for o in self.world.paid().values()}):  # fmt: skip
            if day < self.world.today() and not _all(
                "SELECT 1 FROM finance_day WHERE day = :d", d=day
            ):
                self.step(lambda channel=channel, day=day: self._prove(channel, day))
                self._found_what_was_wrong(channel, day)
        self.step(lambda: self.world.work(200))
        self.all_is_well()
        self.steps["paid"] += len(self.world.paid())
        self.steps["given back"] += len(self.world.given_back())

    def what_stands_aside_is_what_cases_say(self):
        rows = _all(_ASIDE)
        assert all(row.held == row.waits for row in rows), rows


def _pick(things, at):
    return things[at % len(things)]


def _all(query, **values):
    return db.session.execute(sa.text(query), values).all()


def _count(table):
    db.session.rollback()
    return _all(f"SELECT count(*) FROM {table}")[0][0]


def _state(number):
    db.session.rollback()
    found = _all("SELECT state FROM payment_order WHERE out_trade_no = :no", no=number)
    return found[0][0] if found else ""


def _breaks(channel, day):
    rows = _all(
        "SELECT b.kind, b.reference FROM break b"
        " JOIN reconciliation r ON r.id = b.reconciliation_id"
        f" WHERE r.channel = :channel AND r.day = :day AND {_WAITS}",
        channel=channel,
        day=day,
    )
    return {(row.kind, row.reference) for row in rows}


_TRUE_DIFFERENCES = {
    # a wrong amount was paid, and is parked until it has been given back
    "amount": "SELECT 1 FROM payment_order WHERE out_trade_no = :no AND received_fen <> amount_fen",
    # what was owed to nobody could not be given back
    "duplicate": "SELECT 1 FROM refund r JOIN payment_order o ON o.id = r.order_id"
    " WHERE o.out_trade_no = :no AND r.state IN ('failed', 'closed', 'abnormal')",
    # posted after its own day had been closed
    "cross_day": "SELECT 1 FROM finance_day",
}


def _is_so(kind, number):
    """Whether a difference nobody injected is one all the same."""
    query = _TRUE_DIFFERENCES.get(kind)
    return bool(query and _all(query, **({"no": number} if ":no" in query else {})))


@pytest.fixture
def world(database, clock, sandbox, tmp_path):
    """The real application as a merchant with all three channels, notices in our hands."""
    with mailbox() as box:
        values = wechat_settings(sandbox, box.url) | other_channels(sandbox)
        values["topup_day_fen"] = 10**9
        values["refund_limit_fen"] = 10**9  # what two persons decide is test_refund_desk's
        app = create_app(settings_for(database, **values), clock=clock, web_pages=False)
        with app.app_context():
            path = tmp_path / "sandbox" / "state.sqlite"
            world = World(app, clock, sandbox.url, path, database, box)
            yield world
            world.close()
            db.session.remove()
            db.engine.dispose()


@pytest.mark.timeout(0)
def test_money_is_neither_lost_nor_doubled_whatever_happens(world):
    Money.world, Money.steps = world, Counter()
    profile = settings(
        max_examples=CASES,
        stateful_step_count=STEPS,
        deadline=None,
        database=None,
        phases=(Phase.generate,),
        suppress_health_check=list(HealthCheck),
        print_blob=True,
    )
    run_state_machine_as_test(Money, settings=profile)
    print(", ".join(f"{count} {what}" for what, count in Money.steps.items()))
    assert Money.steps["steps"] >= CASES * STEPS * 0.6
    assert Money.steps["paid"] > CASES
