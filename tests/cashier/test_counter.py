"""Money taken at the counter is posted once, given back by a reversal, and never taken twice."""

import threading
import time

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import lateness, wallet
from backend.billing.models import Bill
from backend.cashier import counter, service, shifts
from backend.cashier.counter import Taking, Tender
from backend.cashier.models import CounterPayment, CounterVoid, OrderItem, PaymentOrder
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders

FLOAT = {10000: 3, 1000: 10, 100: 50}  # 450 yuan


def cashier(login="cash", roles=("finance",)):
    return Principal("staff", builders.make_staff(login, roles=roles).id, frozenset(roles))


@pytest.fixture
def hall(app):
    """A drawer, a card terminal, and a household that owes for heat and water."""
    household = builders.make_household(builders.make_building())
    drawer, terminal = shifts.add_drawer("D1", "一号台"), shifts.add_terminal("T1", "POS一", "icbc")
    db.session.commit()
    heat = builders.make_bill(household, 12345)
    water = builders.make_bill(household, 678, utility="water")
    return household, drawer, terminal, heat, water


@pytest.fixture
def zhou(hall, clock):
    """A cashier with an open shift over a float of 450 yuan."""
    actor = cashier()
    shifts.open_shift(actor, hall[1].id, FLOAT, clock.now(), issued_fen=45000)
    db.session.commit()
    return actor


def cash(household, bills, tendered_fen=None, topup_fen=0, amount_fen=None):
    owed = sum(bill.amount_fen for bill in bills) + topup_fen if amount_fen is None else amount_fen
    given = owed if tendered_fen is None else tendered_fen
    ids = tuple(bill.id for bill in bills)
    return Taking(household.id, ids, topup_fen, owed, Tender("cash", given))


def card(household, bills, terminal, reference="000123"):
    owed = sum(bill.amount_fen for bill in bills)
    tender = Tender("pos", owed, terminal.id, reference)
    return Taking(household.id, tuple(b.id for b in bills), 0, owed, tender)


def refused(code):
    return pytest.raises(Problem, match=f"^{code}:")


def states(*bills):
    return [db.session.get(Bill, b.id, populate_existing=True).state for b in bills]


def test_cash_for_two_bills_is_one_entry_and_both_are_paid(hall, zhou, clock):
    household, _, _, heat, water = hall
    made = counter.take(zhou, "k1", cash(household, [heat, water], 20000), clock.now())
    assert (made.amount_fen, made.tendered_fen - made.amount_fen) == (13023, 6977)
    assert states(heat, water) == ["paid", "paid"]
    assert ledger.balance_fen("cash:D1") == 45000 + 13023
    assert ledger.balance_fen(f"receivable:heat:{household.id}") == 0
    assert ledger.check() == []


def test_a_card_payment_stands_on_its_terminals_account(hall, zhou, clock):
    household, _, terminal, heat, _ = hall
    made = counter.take(zhou, "k1", card(household, [heat], terminal), clock.now())
    assert (made.method, made.reference) == ("pos", "000123")
    assert (ledger.balance_fen("pos:T1"), ledger.balance_fen("cash:D1")) == (12345, 45000)
    assert ledger.check() == []


def test_a_slip_is_taken_once(hall, zhou, clock):
    household, _, terminal, heat, water = hall
    counter.take(zhou, "k1", card(household, [heat], terminal), clock.now())
    with refused("pos_slip_used"):
        counter.take(zhou, "k2", card(household, [water], terminal), clock.now())
    assert states(water) == ["issued"]


def test_a_slip_keyed_to_the_wrong_household_is_voided_and_keyed_again(hall, zhou, clock):
    household, _, terminal, heat, _ = hall
    wrong = builders.make_household(builders.make_building("B"))
    theirs = builders.make_bill(wrong, 12345)
    made = counter.take(zhou, "k1", card(wrong, [theirs], terminal), clock.now())
    counter.void(zhou, made.receipt_no, "收错户", None, clock.now())
    db.session.commit()
    counter.take(zhou, "k2", card(household, [heat], terminal), clock.now())
    assert states(theirs, heat) == ["issued", "paid"]
    assert ledger.balance_fen("pos:T1") == 12345
    with refused("pos_slip_used"):
        counter.take(zhou, "k3", card(wrong, [theirs], terminal), clock.now())
    db.session.rollback()
    assert ledger.check() == []


def test_the_same_tap_again_is_the_same_payment_and_another_one_is_refused(hall, zhou, clock):
    household, _, _, heat, water = hall
    first = counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    again = counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    assert again.receipt_no == first.receipt_no
    with refused("idempotency_key_reused"):
        counter.take(zhou, "k1", cash(household, [water]), clock.now())
    assert db.session.query(CounterPayment).count() == 1
    assert ledger.balance_fen("cash:D1") == 57345


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"tendered_fen": 12344}, "tendered_short"),
        ({"amount_fen": 12344}, "amount_changed"),
        ({"amount_fen": 0, "tendered_fen": 0}, "validation"),
        ({"topup_fen": -1}, "validation"),
    ],
)
def test_what_does_not_add_up_is_refused_and_nothing_is_kept(hall, zhou, clock, change, code):
    household, _, _, heat, _ = hall
    with refused(code):
        counter.take(zhou, "k1", cash(household, [heat], **change), clock.now())
    db.session.rollback()
    assert states(heat) == ["issued"]
    assert ledger.balance_fen("cash:D1") == 45000


def test_somebody_elses_bill_and_a_bill_that_is_paid_are_refused(hall, zhou, clock):
    household, _, _, heat, _ = hall
    other = builders.make_bill(builders.make_household(builders.make_building("B")), 500)
    with refused("bills_not_together"):
        counter.take(zhou, "k1", cash(household, [other]), clock.now())
    db.session.rollback()
    counter.take(zhou, "k2", cash(household, [heat]), clock.now())
    with refused("bill_not_payable"):
        counter.take(zhou, "k3", cash(household, [heat]), clock.now())


def test_nobody_takes_money_without_a_shift_of_today(hall, zhou, clock):
    household, _, _, heat, _ = hall
    with refused("shift_missing"):
        counter.take(cashier("stranger"), "k", cash(household, [heat]), clock.now())
    clock.advance(days=1)
    with refused("shift_stale"):
        counter.take(zhou, "k", cash(household, [heat]), clock.now())


def test_a_top_up_goes_into_the_balance_and_pays_what_is_owed(hall, zhou, clock):
    household, _, _, heat, water = hall
    counter.take(zhou, "k1", cash(household, [heat], topup_fen=1000), clock.now())
    assert states(heat, water) == ["paid", "paid"]
    assert wallet.held_fen(household.id) == 1000 - 678
    assert ledger.check() == []


def test_an_online_order_is_ended_before_the_counter_takes_the_money(hall, zhou, clock, phone):
    household, _, _, heat, _ = hall
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    order, pay = service.create_order(alice.id, [heat.id], service.Door(), clock.now())
    counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    assert service.order_view(order.out_trade_no)["state"] == "closed"
    with pytest.raises(AssertionError, match="该订单已关闭"):
        phone.pay(pay)
    assert ledger.check() == []


def test_a_bill_just_paid_online_is_not_taken_again(hall, zhou, clock, phone):
    household, _, _, heat, _ = hall
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    _, pay = service.create_order(alice.id, [heat.id], service.Door(), clock.now())
    phone.pay(pay)  # and the notice is still on its way
    with refused("bill_not_payable"):
        counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    db.session.rollback()
    assert states(heat) == ["paid"]
    assert (ledger.balance_fen("cash:D1"), ledger.balance_fen("clearing:wechat")) == (45000, 12345)


def test_a_channel_that_gives_no_word_keeps_the_counter_from_taking(hall, zhou, clock, phone):
    household, _, _, heat, _ = hall
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    order, _ = service.create_order(alice.id, [heat.id], service.Door(), clock.now())
    phone.behave("answer", "error_after", match="query", times=9)
    with refused("order_open"):
        counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    db.session.rollback()
    assert db.session.get(PaymentOrder, order.id).state == "paying"


def test_two_cashiers_take_the_same_bill_at_once_and_one_does(hall, zhou, clock, in_threads):
    household, _, _, heat, _ = hall
    second = cashier("second")
    shifts.open_shift(second, shifts.add_drawer("D2", "二号台").id, {}, clock.now())
    db.session.commit()
    actors = [zhou, second]

    def one(n):
        try:
            taken = counter.take(actors[n % 2], f"k{n}", cash(household, [heat]), clock.now())
            return taken.receipt_no
        except Problem as problem:
            return problem.code

    came = in_threads(8, one)
    assert sorted(came)[1:] == ["bill_not_payable"] * 7, came
    assert ledger.balance_fen("cash:D1") + ledger.balance_fen("cash:D2") == 45000 + 12345
    assert ledger.check() == []


def test_the_counter_and_an_online_order_never_hold_one_bill_together(
    hall, zhou, clock, phone, in_threads
):
    household = hall[0]
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    for attempt in range(6):
        bill = builders.make_bill(household, 1000 + attempt)
        number = attempt

        def one(n, bill=bill, number=number):
            try:
                if n:
                    service.create_order(alice.id, [bill.id], service.Door(), clock.now())
                    return "ordered"
                counter.take(zhou, f"k{number}", cash(household, [bill]), clock.now())
                return "taken"
            except Problem as problem:
                db.session.rollback()
                return problem.code

        came = in_threads(2, one)
        open_items = db.session.query(OrderItem).filter_by(bill_id=bill.id, open=True).count()
        is_taken = "taken" in came
        assert is_taken == (states(bill) == ["paid"]), came
        assert not (is_taken and open_items), came
        assert is_taken or "order_open" in came, came
        db.session.rollback()
    assert ledger.check() == []


def test_an_order_asked_for_while_the_counter_holds_the_bill_is_not_made(
    hall, zhou, clock, app, database
):
    household, _, _, heat, _ = hall
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    refusals = []

    def order():
        with app.app_context():
            try:
                service.create_order(alice.id, [heat.id], service.Door(), clock.now())
            except Problem as problem:
                refusals.append(problem.code)

    with psycopg.connect(database) as holder:  # as the counter does, in the middle of it
        holder.execute("SELECT FROM bill WHERE id = %s FOR UPDATE", (heat.id,))
        asking = threading.Thread(target=order)
        asking.start()
        _until_waiting(database)
        holder.execute("UPDATE bill SET state = 'paid', paid_fen = amount_fen, paid_at = now()")
    asking.join(20)
    assert refusals == ["bill_not_payable"]
    assert db.session.query(PaymentOrder).count() == 0


def _until_waiting(database):
    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with psycopg.connect(database, autocommit=True) as watcher:
        for _ in range(400):
            if watcher.execute(query).fetchone()[0]:
                return
            time.sleep(0.025)
    raise AssertionError("nobody waits")


def test_a_connection_cut_in_mid_payment_leaves_nothing_and_the_same_tap_then_takes_it(
    hall, zhou, clock, app, database
):
    household, _, _, heat, _ = hall
    wanted = cash(household, [heat])
    ends = []

    def tap():
        with app.app_context():
            try:
                ends.append(counter.take(zhou, "k1", wanted, clock.now()).receipt_no)
            except OperationalError:
                ends.append("cut")

    with psycopg.connect(database) as holder:  # the payment waits for the drawer's balance
        holder.execute(
            "SELECT FROM balance JOIN account a ON a.id = account_id WHERE a.code = 'cash:D1'"
            " FOR UPDATE OF balance"
        )
        tapping = threading.Thread(target=tap)
        tapping.start()
        _until_waiting(database)
        with psycopg.connect(database, autocommit=True) as killer:
            killer.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE wait_event_type = 'Lock' AND datname = current_database()"
            )
        tapping.join(20)
    assert ends == ["cut"]
    assert (states(heat), ledger.balance_fen("cash:D1")) == (["issued"], 45000)
    db.session.rollback()
    tap()
    assert ends[1:] == [db.session.query(CounterPayment).one().receipt_no]
    assert ledger.balance_fen("cash:D1") == 45000 + 12345
    assert ledger.check() == []


def test_a_payment_costs_no_more_statements_for_more_bills(hall, zhou, clock, queries):
    household = hall[0]
    counts = []
    for key, n in (("first", 1), ("one", 1), ("five", 5)):
        bills = [builders.make_bill(household, 100 + i) for i in range(n)]
        wanted = cash(household, bills)
        queries.clear()
        counter.take(zhou, key, wanted, clock.now())
        counts.append(len(queries))
    assert counts[2] == counts[1]


def test_one_tap_sent_many_times_at_once_is_one_payment(hall, zhou, clock, in_threads):
    household, _, _, heat, water = hall
    wanted = cash(household, [heat, water])
    came = in_threads(8, lambda _n: counter.take(zhou, "k", wanted, clock.now()).receipt_no)
    assert len(set(came)) == 1, came
    assert ledger.balance_fen("cash:D1") == 45000 + 13023


def test_a_void_reverses_the_entry_and_the_bill_is_owed_again(hall, zhou, clock):
    household, _, _, heat, water = hall
    made = counter.take(zhou, "k1", cash(household, [heat, water]), clock.now())
    counter.void(zhou, made.receipt_no, "收错户", None, clock.now())
    db.session.commit()
    assert states(heat, water) == ["issued", "issued"]
    assert ledger.balance_fen("cash:D1") == 45000
    assert lateness.payments_of([heat.id]) == {}
    assert ledger.check() == []
    with refused("payment_voided"):
        counter.void(zhou, made.receipt_no, "收错户", None, clock.now())
    db.session.rollback()
    counter.take(zhou, "k2", cash(household, [heat]), clock.now())
    assert states(heat) == ["paid"]


def test_a_large_void_needs_another_person(hall, zhou, clock):
    household = hall[0]
    big = builders.make_bill(household, 50001)
    made = counter.take(zhou, "k1", cash(household, [big]), clock.now())
    manager = cashier("boss", ("manager",))
    for second, code in ((None, "approval_needed"), (zhou, "second_person")):
        with refused(code):
            counter.void(zhou, made.receipt_no, "收错户", second, clock.now())
        db.session.rollback()
    assert states(big) == ["paid"]
    kept = counter.void(zhou, made.receipt_no, "收错户", manager, clock.now())
    db.session.commit()
    assert kept.second_by == manager.id
    assert ledger.check() == []


def test_a_stranger_voids_nothing_and_a_closed_shift_is_over(hall, zhou, clock):
    household, _, _, heat, _ = hall
    made = counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    stranger = cashier("stranger")
    with refused("shift_missing"):
        counter.void(stranger, made.receipt_no, "收错户", None, clock.now())
    shifts.open_shift(stranger, shifts.add_drawer("D2", "二号台").id, {}, clock.now())
    db.session.commit()
    with refused("forbidden"):
        counter.void(stranger, made.receipt_no, "收错户", None, clock.now())
    db.session.rollback()
    assert db.session.query(CounterVoid).count() == 0


def test_a_top_up_that_has_been_used_cannot_be_taken_back(hall, zhou, clock):
    household = hall[0]
    made = counter.take(zhou, "k1", cash(household, [], topup_fen=700), clock.now())
    assert wallet.held_fen(household.id) == 0  # it went into the water bill
    with refused("payment_not_voidable"):
        counter.void(zhou, made.receipt_no, "退款", None, clock.now())
    db.session.rollback()
    assert ledger.check() == []


def test_two_voids_of_one_payment_at_once_are_one(hall, zhou, clock, in_threads):
    household, _, _, heat, _ = hall
    made = counter.take(zhou, "k1", cash(household, [heat]), clock.now())

    def one(_n):
        try:
            counter.void(zhou, made.receipt_no, "收错户", None, clock.now())
            db.session.commit()
            return "voided"
        except Problem as problem:
            db.session.rollback()
            return problem.code

    assert sorted(in_threads(6, one)) == ["payment_voided"] * 5 + ["voided"]
    assert ledger.balance_fen("cash:D1") == 45000


def test_a_counter_payment_changed_behind_our_back_is_named(hall, zhou, clock):
    household, _, _, heat, _ = hall
    made = counter.take(zhou, "k1", cash(household, [heat]), clock.now())
    db.session.execute(db.text("UPDATE counter_payment SET amount_fen = 1, tendered_fen = 1"))
    db.session.commit()
    found = ledger.check()
    assert f"counter payment {made.receipt_no}: 1 fen, the ledger took 12345 fen" in found
    moved = (
        "account cash:D1 on 2026-11-20: 45001 fen by the counter's rows, 57345 fen by the ledger"
    )
    assert moved in found
