"""A shift is counted when it opens and when it closes, and what differs is posted and signed."""

from datetime import timedelta

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import cli, counter, counter_day, counter_report, reconcile, shifts
from backend.cashier.counter_rules import DENOMINATIONS_FEN
from backend.cashier.models import FinanceDay, Shift
from backend.cashier.shifts import Closing
from backend.ledger import service as ledger
from tests import builders
from tests.cashier.test_counter import FLOAT, card, cash, cashier, hall, refused, zhou

__all__ = ["hall", "zhou"]


def counts(fen):
    """Notes and coins that add up to an amount."""
    found = {}
    for piece in DENOMINATIONS_FEN:
        found[piece], fen = divmod(fen, piece)
    return found


def close(actor, closing, clock, **more):
    shift = shifts.my_shift(actor)
    made = shifts.close_shift(actor, shift.id, closing, clock.now(), **more)
    db.session.commit()
    return made


def test_a_float_comes_from_the_bank_and_a_drawer_has_one_open_shift(hall, zhou, clock):
    assert (ledger.balance_fen("cash:D1"), ledger.balance_fen("bank:main")) == (45000, -45000)
    with refused("shift_open"):
        shifts.open_shift(cashier("other"), hall[1].id, FLOAT, clock.now())
    drawer = shifts.add_drawer("D2", "二号台")
    db.session.commit()
    with refused("shift_open"):  # a cashier has one too
        shifts.open_shift(zhou, drawer.id, {}, clock.now())


def test_many_open_one_drawer_at_once_and_one_gets_it(hall, clock, in_threads):
    actors = [cashier(f"c{n}") for n in range(6)]

    def one(n):
        try:
            shifts.open_shift(actors[n], hall[1].id, {}, clock.now())
            db.session.commit()
            return "open"
        except Problem as problem:
            return problem.code

    assert sorted(in_threads(6, one)) == ["open"] + ["shift_open"] * 5


def test_an_even_close_takes_the_money_to_the_bank_and_leaves_the_float(hall, zhou, clock):
    household, _, terminal, heat, water = hall
    counter.take(zhou, "k1", cash(household, [heat], 20000), clock.now())
    counter.take(zhou, "k2", card(household, [water], terminal), clock.now())
    shut = close(zhou, Closing(counts(57345), {terminal.id: 678}, 45000, "缴款单 8"), clock)
    assert (shut.expected_fen, shut.difference_fen, shut.deposited_fen) == (57345, 0, 12345)
    assert (ledger.balance_fen("cash:D1"), ledger.balance_fen("bank:main")) == (45000, -32655)
    assert shut.closing["pos"] == [{"terminal": "T1", "ledger_fen": 678, "slips_fen": 678}]
    assert ledger.check() == []


def test_the_next_cashier_counts_what_was_left(hall, zhou, clock):
    close(zhou, Closing(counts(45000), {}, 45000), clock)
    second = cashier("second")
    with refused("reason_missing"):
        shifts.open_shift(second, hall[1].id, counts(44900), clock.now())
    db.session.rollback()
    shift = shifts.open_shift(second, hall[1].id, counts(44900), clock.now(), reason="少一张")
    db.session.commit()
    assert (shift.carried_fen, shift.opening_difference_fen) == (45000, -100)
    assert (ledger.balance_fen("cash:D1"), ledger.balance_fen("over_short:D1")) == (44900, 100)
    assert ledger.check() == []


def test_a_shortage_is_posted_with_its_reason_and_signed_beyond_the_limit(hall, zhou, clock):
    household, _, _, heat, _ = hall
    counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    short = Closing(counts(57345 - 1001), {})
    boss = cashier("boss", ("manager",))
    for more, code in (
        ({}, "reason_missing"),
        ({"reason": "找零有误"}, "approval_needed"),
        ({"reason": "找零有误", "second": zhou}, "second_person"),
    ):
        with refused(code):
            close(zhou, short, clock, **more)
        db.session.rollback()
    shut = close(zhou, short, clock, reason="找零有误", second=boss)
    assert (shut.difference_fen, shut.second_by) == (-1001, boss.id)
    assert (ledger.balance_fen("over_short:D1"), ledger.balance_fen("cash:D1")) == (1001, 0)
    assert ledger.check() == []


def test_a_card_terminals_slip_that_differs_needs_a_reason(hall, zhou, clock):
    household, _, terminal, heat, _ = hall
    counter.take(zhou, "k1", card(household, [heat], terminal), clock.now())
    for slips in ({}, {terminal.id: 12344}):
        with refused("reason_missing"):
            close(zhou, Closing(counts(45000), slips), clock)
        db.session.rollback()


def test_a_shift_is_closed_once_by_its_cashier_or_a_manager(hall, zhou, clock):
    shift = shifts.my_shift(zhou)
    with refused("forbidden"):
        shifts.close_shift(cashier("stranger"), shift.id, Closing(FLOAT, {}), clock.now())
    boss = cashier("boss", ("manager",))
    shifts.close_shift(boss, shift.id, Closing(FLOAT, {}), clock.now())
    db.session.commit()
    with refused("shift_ended"):
        shifts.close_shift(zhou, shift.id, Closing(FLOAT, {}), clock.now())


def test_a_payment_and_a_close_at_once_do_not_pass_each_other(hall, zhou, clock, in_threads):
    household, _, _, heat, _ = hall
    shift_id = shifts.my_shift(zhou).id
    db.session.rollback()

    def one(n):
        try:
            if n:
                counter.take(zhou, "k", cash(household, [heat]), clock.now())
                return "taken"
            shifts.close_shift(
                zhou, shift_id, Closing(FLOAT, {}), clock.now(), reason="清点", second=None
            )
            db.session.commit()
            return "closed"
        except Problem as problem:
            db.session.rollback()
            return problem.code

    came = set(in_threads(2, one))
    # Whoever was first, the other one was told: the drawer held more, or there was no shift.
    assert came in ({"taken", "approval_needed"}, {"closed", "shift_missing"})
    assert ledger.check() == []


def test_a_shift_whose_rows_the_ledger_does_not_know_stays_open(hall, zhou, clock):
    household, _, _, heat, _ = hall
    counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    db.session.execute(db.text("UPDATE counter_payment SET amount_fen = 1, tendered_fen = 1"))
    db.session.commit()
    with refused("shift_unproven"):
        close(zhou, Closing(counts(57345), {}), clock)


@pytest.mark.parametrize("bad", [{3: 1}, {100: -1}, {100: 10**9}])
def test_only_real_notes_are_counted(hall, zhou, clock, bad):
    with refused("validation"):
        close(zhou, Closing(bad, {}), clock)


def test_a_days_drawers_and_terminals_stand_beside_the_ledger(hall, zhou, clock):
    household, _, terminal, heat, water = hall
    counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    made = counter.take(zhou, "k2", card(household, [water], terminal), clock.now())
    counter.void(zhou, made.receipt_no, "刷错", None, clock.now())
    db.session.commit()
    day = counter_day.examine(business_day(clock.now()))
    assert [(a["code"], a["taken_fen"], a["payments"], a["voids"]) for a in day.accounts] == [
        ("cash:D1", 12345, 1, 0),
        ("pos:T1", 0, 1, 1),
    ]
    assert [(a["rows_fen"], a["ledger_fen"]) for a in day.accounts] == [(57345, 57345), (0, 0)]
    assert (day.unequal, [s.drawer for s in day.open_shifts]) == ([], ["一号台"])


def test_a_day_with_an_open_shift_is_closed_only_over_a_signed_reason(hall, zhou, clock):
    day = business_day(clock.now())
    clock.advance(hours=23)
    boss = cashier("boss", ("finance",))
    with refused("day_has_open_shift"):
        reconcile.close_day(day, boss.id, None, clock.now())
    db.session.rollback()
    reconcile.close_day(day, boss.id, "收银员住院", clock.now())
    db.session.commit()
    kept = db.session.get(FinanceDay, day)
    assert kept.summary["counter"]["open_shifts"] == [shifts.my_shift(zhou).id]


def test_a_day_whose_drawer_differs_is_not_closed(hall, zhou, clock):
    household, _, _, heat, _ = hall
    counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    close(zhou, Closing(counts(57345), {}), clock)
    db.session.execute(db.text("UPDATE counter_payment SET amount_fen = 1, tendered_fen = 1"))
    db.session.commit()
    day = business_day(clock.now())
    clock.advance(hours=23)
    with refused("day_has_breaks"):
        reconcile.close_day(day, None, None, clock.now())
    db.session.rollback()


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("cash"), st.integers(1, 30000), st.integers(0, 5000)),
        st.tuples(st.just("pos"), st.integers(1, 30000), st.just(0)),
        st.tuples(st.just("topup"), st.integers(1, 30000), st.just(0)),
        st.tuples(st.just("void"), st.integers(0, 9), st.just(0)),
        st.tuples(st.just("close"), st.integers(-1000, 1000), st.integers(0, 20000)),
    ),
    max_size=14,
)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(events=EVENTS)
def test_whatever_happens_in_a_shift_its_sum_is_in_the_drawer(hall, clock, events):
    run = Day(hall, clock)
    for what, amount_fen, more_fen in events:
        getattr(run, what)(amount_fen, more_fen)
        assert ledger.balance_fen(run.account) == run.expected_fen
    run.close(0, 0)
    assert ledger.check() == []
    assert sum(fen for _, _, fen in ledger.trial_balance()) == 0


class Day:
    """A drawer of its own for each example, and what has to be in it."""

    number = 0

    def __init__(self, hall, clock):
        Day.number += 1
        self.household, self.terminal, self.clock = hall[0], hall[2], clock
        self.actor = cashier(f"clerk-{Day.number}")
        self.drawer = shifts.add_drawer(f"H{Day.number}", "台")
        db.session.commit()
        self.account, self.expected_fen, self.taken = f"cash:H{Day.number}", 0, []
        self.open()

    def open(self):
        shifts.open_shift(self.actor, self.drawer.id, counts(self.expected_fen), self.clock.now())
        db.session.commit()

    def _take(self, taking):
        made = counter.take(self.actor, f"{len(self.taken)}", taking, self.clock.now())
        self.taken.append(made)
        self.expected_fen += made.amount_fen if made.method == "cash" else 0

    def cash(self, amount_fen, more_fen):
        bill = builders.make_bill(self.household, amount_fen)
        self._take(cash(self.household, [bill], amount_fen + more_fen))

    def pos(self, amount_fen, _):
        bill = builders.make_bill(self.household, amount_fen)
        slip = f"{Day.number}-{len(self.taken)}"
        self._take(card(self.household, [bill], self.terminal, slip))

    def topup(self, amount_fen, _):
        self._take(cash(self.household, [], topup_fen=amount_fen))

    def void(self, which, _):
        if not self.taken:
            return
        made = self.taken[which % len(self.taken)]
        try:
            counter.void(self.actor, made.receipt_no, "撤销", None, self.clock.now())
            db.session.commit()
        except Problem as problem:
            db.session.rollback()
            expected = ("payment_voided", "payment_not_voidable", "shift_ended")
            assert problem.code in expected
        else:
            self.expected_fen -= made.amount_fen if made.method == "cash" else 0

    def close(self, gap_fen, left_fen):
        counted_fen = max(0, self.expected_fen + gap_fen)
        left_fen = min(left_fen, counted_fen)
        shift = shifts.my_shift(self.actor)
        slips = shifts.card_totals(shift.id)
        closing = Closing(counts(counted_fen), slips, left_fen)
        shut = shifts.close_shift(
            self.actor, shift.id, closing, self.clock.now(), reason="清点有出入"
        )
        db.session.commit()
        assert shut.expected_fen == self.expected_fen
        self.expected_fen = left_fen
        self.clock.advance(seconds=1)
        self.open()


def test_a_shift_may_not_be_written_half_closed(hall, zhou, clock):
    shift = shifts.my_shift(zhou)
    with pytest.raises(Exception, match="ck_shift_closed_whole"):
        db.session.execute(
            db.update(Shift).where(Shift.id == shift.id).values(closed_at=clock.now())
        )
    db.session.rollback()
    assert shift.day == business_day(clock.now() + timedelta(0))


def test_a_long_shifts_report_costs_no_more_statements_than_a_short_ones(
    hall, zhou, clock, queries
):
    household, shift_id, counts_ = hall[0], shifts.my_shift(zhou).id, []
    for n in range(2):
        for i in range(3):
            bill = builders.make_bill(household, 100)
            counter.take(zhou, f"k{n}-{i}", cash(household, [bill]), clock.now())
        queries.clear()
        assert len(counter_report.report(shift_id)["payments"]) == 3 * (n + 1)
        counts_.append(len(queries))
    assert counts_[0] == counts_[1], counts_


def test_drawers_and_terminals_are_set_up_from_the_command_line(app, monkeypatch):
    def said(*words):
        result = CliRunner().invoke(cli.finance, words)
        return result.exit_code, result.output

    monkeypatch.setattr(cli, "application", lambda: app.app_context())
    assert said("add-drawer", "D9", "--name", "九号台") == (0, "D9 added\n")
    terminal = ("add-terminal", "T9", "--name", "POS", "--acquirer", "icbc")
    assert said(*terminal) == (0, "T9 added\n")
    assert [d.code for d in shifts.drawers()] == ["D9"]
    for words in (("add-drawer", "D9", "--name", "又"), ("add-drawer", "a b", "--name", "x")):
        assert said(*words)[0] == 2
