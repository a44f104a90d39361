"""The finance day: ledger, channel and orders say the same to the fen, or why they do not."""

from datetime import date

import pytest
from click.testing import CliRunner

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import asking, channels, cli, confirm, reconcile, service
from backend.cashier import parked as parked_money
from backend.cashier.models import (
    Break,
    FinanceDay,
    PaymentOrder,
    Reconciliation,
    Refund,
    Statement,
    StatementLine,
)
from backend.ledger import service as ledger
from backend.people.models import AuditEvent
from backend.people.service import Principal
from tests import builders
from tests.outside import waiting, work

DAY = date(2026, 11, 20)


def checked(clock, day=DAY):
    reconcile.fetch_statement("wechat", day, clock.now())
    found = reconcile.reconcile("wechat", day, clock.now())
    db.session.commit()
    return found


def breaks():
    rows = db.session.query(Break).filter_by(resolved_at=None).order_by(Break.id)
    return [(b.kind, b.reference, b.ours_fen, b.theirs_fen) for b in rows]


def sums(found):
    return found.ledger_fen, found.channel_fen, found.orders_fen


def test_three_sums_agree_and_fees_are_posted_once(pay, day_after, clock):
    for amount_fen in (12345, 1, 99999):
        pay(amount_fen)
    day_after()
    found = checked(clock)
    assert (found.state, found.payments, found.refunds) == ("agreed", 3, 0)
    assert sums(found) == (112345, 112345, 112345)
    fee_fen = 74 + 0 + 600  # 0.6 % half-up
    assert found.fee_fen == fee_fen
    checked(clock)
    assert ledger.balance_fen("fee:wechat") == fee_fen
    assert ledger.balance_fen("clearing:wechat") == 112345 - fee_fen
    assert ledger.check() == []


def test_a_refund_of_the_day_is_in_all_three_sums(pay, day_after, clock, phone, database):
    order = pay()
    phone.behave("payment", "wrong_amount", params={"amount_fen": 50})
    parked = pay(60)
    staff = builders.make_staff("cash", roles=["finance"])

    parked_money.refund(parked.out_trade_no, Principal("staff", staff.id), "退回", clock.now())
    db.session.commit()
    work(database)
    day_after()
    found = checked(clock)
    assert sums(found) == (order.amount_fen,) * 3
    assert (found.state, found.payments, found.refunds) == ("agreed", 2, 1)


def test_a_day_without_payments_is_an_empty_statement(app, day_after, clock):
    day_after()
    found = checked(clock)
    assert (found.state, sums(found)) == ("agreed", (0, 0, 0))
    assert db.session.query(Statement).one().rows == 0


def test_a_lost_notice_is_found_by_the_statement_and_posted(pay, alice, day_after, clock):
    order = pay(told=False)
    day_after()
    found = checked(clock)
    assert (found.state, sums(found)) == ("agreed", (12345, 12345, 12345))
    assert service.order_view(order.out_trade_no)["state"] == "paid"
    assert ledger.balance_fen(f"receivable:heat:{alice.household.id}") == 0


def test_a_lost_payment_of_an_order_we_had_closed_is_posted_too(pay, day_after, clock):
    order = pay(told=False)
    db.session.query(PaymentOrder).filter_by(id=order.id).update({"state": "closed"})
    db.session.commit()
    day_after()
    assert checked(clock).state == "agreed"


def test_a_payment_the_channel_cannot_confirm_stays_missing_here(pay, day_after, clock, phone):
    order = pay(told=False)
    day_after()
    phone.behave("answer", "error", match="query")
    assert checked(clock).state == "breaks"
    assert breaks() == [("missing_here", order.out_trade_no, 12345, 12345)]
    assert checked(clock).state == "agreed"
    assert breaks() == []


def test_a_strangers_payment_is_missing_here(pay, day_after, clock, phone):
    pay()
    phone.behave("statement", "extra_row", match=DAY.isoformat())
    day_after()
    assert sums(checked(clock)) == (12345, 24690, 12345)
    assert breaks() == [("missing_here", "STRANGER-ORDER-1", None, 12345)]


def test_a_payment_the_statement_lacks_is_missing_there(pay, day_after, clock, phone):
    pay(100)
    order = pay(200)
    params = {"out_trade_no": order.out_trade_no}
    phone.behave("statement", "missing_row", match=DAY.isoformat(), params=params)
    day_after()
    assert sums(checked(clock)) == (300, 100, 300)
    assert breaks() == [("missing_there", order.out_trade_no, 200, None)]


def test_an_amount_the_statement_tells_otherwise_is_named(pay, day_after, clock, phone):
    order = pay()
    params = {"amount_fen": 12346}
    phone.behave("statement", "wrong_amount", match=DAY.isoformat(), params=params)
    day_after()
    checked(clock)
    assert breaks() == [("amount", order.out_trade_no, 12345, 12346)]


def test_a_parked_order_stays_a_difference_until_it_is_given_back(
    pay, day_after, clock, phone, database
):
    phone.behave("payment", "wrong_amount", params={"amount_fen": 12000})
    order = pay()
    day_after()
    found = checked(clock)
    assert sums(found) == (12000, 12000, 12000)
    assert breaks() == [("amount", order.out_trade_no, 12345, 12000)]

    staff = builders.make_staff("cash", roles=["finance"])
    parked_money.refund(order.out_trade_no, Principal("staff", staff.id), "退回", clock.now())
    db.session.commit()
    work(database)
    assert checked(clock).state == "agreed"


def test_a_refund_made_behind_our_back_is_named(pay, day_after, clock, sandbox):
    from payments.channel import RefundRequest

    order = pay()
    gateway = channels.channel_for("wechat")
    number = "R-BY-HAND-1"
    gateway.refund(RefundRequest(order.out_trade_no, number, 100, 12345, "手工", sandbox.url))
    day_after()
    assert sums(checked(clock)) == (12345, 12245, 12345)
    assert breaks() == [("refund", number, None, 100)]


def test_a_refund_whose_notice_was_lost_is_repaired(pay, alice, day_after, clock, phone):
    from backend.cashier import refunds

    phone.behave("payment", "wrong_amount", params={"amount_fen": 50})
    parked = pay(60)
    staff = builders.make_staff("cash", roles=["finance"])
    phone.behave("refund_notice", "never")
    made = parked_money.refund(
        parked.out_trade_no, Principal("staff", staff.id), "退回", clock.now()
    )
    db.session.commit()
    refunds.send(made.id, clock.now())
    assert made.state == "processing"
    day_after()
    assert (checked(clock).state, made.state) == ("agreed", "done")
    assert ledger.balance_fen("suspense:wechat") == 0


def test_money_kept_twice_for_one_bill_is_a_duplicate(pay, alice, day_after, clock, phone):
    order = pay()
    db.session.query(PaymentOrder).filter_by(id=order.id).update({"note": None})
    bill_id = order.items[0].bill_id
    from backend.billing.models import Bill

    again = PaymentOrder(
        out_trade_no="N20261120TWICE",
        channel="wechat",
        household_id=order.household_id,
        resident_id=alice.id,
        amount_fen=12345,
        created_at=clock.now(),
        expires_at=clock.now(),
    )
    db.session.add(again)
    db.session.flush()
    db.session.execute(
        db.text(
            "INSERT INTO order_item (order_id, bill_id, channel, amount_fen, open)"
            " VALUES (:o, :b, 'wechat', 12345, false)"
        ),
        {"o": again.id, "b": bill_id},
    )
    db.session.commit()
    assert db.session.get_one(Bill, bill_id).state == "paid"
    from payments.channel import TradeState, TradeStatus

    trade = TradeState(again.out_trade_no, TradeStatus.PAID, "4200TWICE", 12345, "a", clock.now())
    assert confirm.confirm("wechat", trade, clock.now()) == "refunding"
    db.session.query(Refund).update({"state": "failed"})
    db.session.commit()
    day_after()
    checked(clock)
    assert ("duplicate", "N20261120TWICE", None, 12345) in breaks()


def test_a_fee_beyond_reason_is_named(pay, day_after, clock):
    order = pay()
    day_after()
    reconcile.fetch_statement("wechat", DAY, clock.now())
    db.session.query(StatementLine).update({"fee_fen": 125})
    reconcile.reconcile("wechat", DAY, clock.now())
    assert breaks() == [("fee", order.out_trade_no, None, 125)]


def test_money_of_a_closed_day_is_posted_today_and_shows_as_cross_day(
    pay, alice, day_after, clock, phone
):
    bill = builders.make_bill(alice.household, 500)
    late, client_pay = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
    pay(100)
    phone.behave(
        "statement",
        "missing_row",
        match=DAY.isoformat(),
        params={"out_trade_no": late.out_trade_no},
    )
    phone.behave("payment_notice", "never", match=late.out_trade_no)
    phone.pay(client_pay)
    day_after()
    reconcile.close_day(DAY, None, None, clock.now())
    db.session.commit()
    asking.refresh(late.out_trade_no, clock.now())
    assert ledger.entry_by_key(f"wechat:{late.transaction_id}").day == date(2026, 11, 21)
    assert ledger.check() == []


# --- statements


def test_the_same_statement_is_kept_once(pay, day_after, clock):
    pay()
    day_after()
    first = reconcile.fetch_statement("wechat", DAY, clock.now())
    db.session.commit()
    assert reconcile.fetch_statement("wechat", DAY, clock.now()).id == first.id
    assert db.session.query(StatementLine).count() == 1


def test_a_statement_that_changed_is_not_laid_over_the_first(pay, day_after, clock, phone):
    pay()
    day_after()
    checked(clock)
    phone.behave("statement", "wrong_amount", match=DAY.isoformat())
    with pytest.raises(Problem, match="statement_changed"):
        reconcile.fetch_statement("wechat", DAY, clock.now())
    assert db.session.query(AuditEvent).filter_by(action="cashier.statement_changed").count() == 1
    assert db.session.query(StatementLine).one().amount_fen == 12345


def test_a_statement_is_not_ready_before_ten(pay, clock):
    pay()
    with pytest.raises(Problem, match="statement_not_ready"):
        reconcile.fetch_statement("wechat", DAY, clock.now())
    clock.advance(hours=21, minutes=59)
    with pytest.raises(Problem, match="statement_not_ready"):
        reconcile.fetch_statement("wechat", DAY, clock.now())
    clock.advance(minutes=1)
    assert reconcile.fetch_statement("wechat", DAY, clock.now()).rows == 1


def test_an_absent_statement_is_not_taken_for_an_empty_one_too_early(pay, clock, phone):
    clock.advance(hours=20)
    phone.behave("statement", "absent", match=DAY.isoformat())
    with pytest.raises(Problem, match="statement_not_ready"):
        reconcile.fetch_statement("wechat", DAY, clock.now())


def test_a_damaged_statement_is_not_kept(pay, day_after, clock, phone):
    pay()
    day_after()
    phone.behave("statement", "damaged", match=DAY.isoformat())
    with pytest.raises(Problem) as refused:
        reconcile.fetch_statement("wechat", DAY, clock.now())
    assert refused.value.code == "channel_unavailable"
    assert db.session.query(Statement).count() == 0


def test_reconciling_without_a_statement_is_refused(app, clock):
    with pytest.raises(Problem, match="statement_not_ready"):
        reconcile.reconcile("wechat", DAY, clock.now())


def test_the_nightly_task_fetches_and_reconciles(pay, day_after, clock, database):
    from backend.cashier import tasks

    pay()
    tasks.defer_reconcile(DAY)
    tasks.defer_reconcile(DAY)
    db.session.commit()
    assert [name for name, _ in waiting()].count("cashier.reconcile") == 1
    day_after()
    work(database)
    assert db.session.query(Reconciliation).one().state == "agreed"


# --- closing


def close(clock, staff=None, reason=None):
    closed = reconcile.close_day(DAY, staff.id if staff else None, reason, clock.now())
    db.session.commit()
    return closed


def test_a_day_that_agrees_is_closed_and_stays_closed(pay, day_after, clock):
    pay()
    day_after()
    staff = builders.make_staff("cash", roles=["finance"])
    closed = close(clock, staff)
    assert closed.summary["wechat"]["ledger_fen"] == 12345
    assert closed.summary["wechat"]["state"] == "agreed"
    clock.advance(hours=1)
    assert close(clock).closed_at == closed.closed_at
    (event,) = db.session.query(AuditEvent).filter_by(action="cashier.day_closed").all()
    assert (event.actor_id, event.subject_id) == (staff.id, "2026-11-20")


def test_a_day_that_is_not_over_is_not_closed(pay, clock):
    pay()
    with pytest.raises(Problem, match="day_not_over"):
        close(clock)


def test_a_day_with_differences_needs_a_signed_reason(pay, day_after, clock, phone):
    pay()
    phone.behave("statement", "extra_row", match=DAY.isoformat())
    day_after()
    staff = builders.make_staff("cash", roles=["finance"])
    for who, why in ((None, None), (staff, None), (None, "因为")):
        with pytest.raises(Problem, match="day_has_breaks"):
            close(clock, who, why)
        db.session.rollback()
    assert close(clock, staff, "渠道多收，已致电").reason == "渠道多收，已致电"
    event = db.session.query(AuditEvent).filter_by(action="cashier.day_closed").one()
    assert event.detail["open_breaks"] == ["STRANGER-ORDER-1"]


def test_differences_a_person_has_explained_do_not_hold_the_day(pay, day_after, clock, phone):
    pay()
    phone.behave("statement", "extra_row", match=DAY.isoformat())
    day_after()
    checked(clock)
    staff = builders.make_staff("cash", roles=["finance"])
    (found,) = db.session.query(Break).all()
    reconcile.resolve_break(found.id, staff.id, "别的系统的订单", clock.now())
    db.session.commit()
    assert close(clock).summary["wechat"]["channel_fen"] == 24690
    assert found.resolution == "别的系统的订单"


def test_two_people_closing_at_once_close_once(pay, day_after, clock, in_threads):
    pay()
    day_after()
    results = in_threads(4, lambda _n: close(clock).closed_at)
    assert len(set(results)) == 1, results
    assert db.session.query(FinanceDay).count() == 1


def test_a_closed_day_is_not_examined_again(pay, day_after, clock):
    pay()
    day_after()
    close(clock)
    before = db.session.query(Reconciliation).one().checked_at
    clock.advance(hours=1)
    assert reconcile.reconcile("wechat", DAY, clock.now()).checked_at == before


def test_the_summary_shows_a_day_before_and_after(pay, day_after, clock, phone):
    pay()
    phone.behave("payment", "wrong_amount", params={"amount_fen": 5})
    pay(60)
    (row,) = reconcile.day_summary(DAY)["channels"]
    assert (row["state"], row["ledger_fen"], row["channel_fen"]) == ("unchecked", 12350, 0)
    assert (row["suspense_fen"], row["parked_orders"], row["stuck_refunds"]) == (5, 1, 0)
    day_after()
    checked(clock)
    (row,) = reconcile.day_summary(DAY)["channels"]
    assert (row["state"], row["channel_fen"], row["statement_rows"]) == ("breaks", 12350, 2)
    assert [found["kind"] for found in row["breaks"]] == ["amount"]
    assert row["breaks"][0]["suggestion"].startswith("渠道金额")


# --- the command


@pytest.fixture
def nuan(terminal):
    """Run `nuan finance ...`."""
    return lambda *words: CliRunner().invoke(cli.finance, words)


def test_the_command_fetches_and_closes(pay, day_after, nuan):
    pay()
    day_after()
    shown = nuan("statement", "--day", "2026-11-20")
    assert "wechat agreed: ledger 123.45, channel 123.45, orders 123.45 yuan" in shown.output
    shown = nuan("close-day", "--day", "2026-11-20")
    assert shown.exit_code == 0, shown.output
    assert "day 2026-11-20: closed" in shown.output


def test_the_command_refuses_in_one_line(pay, nuan):
    pay()
    shown = nuan("close-day", "--day", "2026-11-20")
    assert (shown.exit_code, shown.output) == (
        1,
        "Error: 当天还没有结束，不能日结。 (day_not_over)\n",
    )
    assert nuan("close-day", "--day", "yesterday").exit_code == 2
    assert nuan("close-day", "--staff", "nobody").exit_code == 2


def test_numbers_with_odd_characters_are_kept_as_they_are(app, clock, phone):
    from payments.sandbox.tradebill import BillRow, write_tradebill

    settings = app.extensions["nuan_settings"]
    odd = "A\\N\tB\\"
    row = BillRow(
        clock.now(), settings.wechat_appid, settings.wxpay_mchid, "4200", odd, "o", 5, 0, "", ""
    )

    class Gateway:
        def download_statement(self, _day):
            return write_tradebill([row])

    app.extensions["nuan_channels"] = {"wechat": Gateway()}
    clock.advance(hours=23)
    reconcile.fetch_statement("wechat", DAY, clock.now())
    kept = db.session.query(StatementLine).one()
    assert (kept.out_trade_no, kept.out_refund_no) == (odd, None)
