"""`nuan ledger check` names what does not follow the ledger: bills, orders, refunds."""

from contextlib import closing

import psycopg
import pytest

from backend.base.db import db
from backend.cashier import service
from backend.cashier.confirm import confirm
from backend.cashier.models import Refund
from backend.ledger import service as ledger
from payments.channel import TradeState, TradeStatus
from tests import builders


@pytest.fixture
def paid(app, clock):
    """An order of 123.45 yuan, paid and posted."""
    household = builders.make_household(builders.make_building())
    alice = builders.make_resident("alice-openid")
    builders.bind(alice, household)
    bill = builders.make_bill(household, 12345)
    order, _ = service.create_order(alice.id, [bill.id], service.Door(), clock.now())
    trade = TradeState(order.out_trade_no, TradeStatus.PAID, "4200", 12345, "a", clock.now())
    assert confirm("wechat", trade, clock.now()) == "posted"
    db.session.add(
        Refund(
            out_refund_no="R1",
            order_id=order.id,
            business_key="surplus:1",
            amount_fen=1,
            reason="",
            state="withdrawn",
            created_at=clock.now(),
        )
    )
    db.session.commit()
    assert ledger.check() == []
    order.bill_no, order.household = bill.bill_no, household.id
    return order


def tampered(database, statement):
    """The breaks after a person with psql and without triggers has been at it."""
    with closing(psycopg.connect(database, autocommit=True)) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement)
    return ledger.check()


def test_a_bill_that_says_unpaid_is_named_with_its_account(paid, database):
    found = tampered(database, "UPDATE bill SET paid_fen = 0, state = 'issued'")
    account = f"receivable:heat:{paid.household}"
    assert found == [f"account {account}: 12345 fen owed by its bills, 0 fen by the ledger"]


def test_a_bill_in_a_state_it_cannot_be_in_is_named(paid, database):
    found = tampered(database, "UPDATE bill SET state = 'issued'")
    assert found == [f"bill {paid.bill_no}: state issued with 12345 of 12345 fen paid"]


def test_a_bill_changed_after_it_was_posted_is_named(paid, database):
    found = tampered(database, "UPDATE bill SET amount_fen = 12346, paid_fen = 12346")
    assert found == [f"bill {paid.bill_no}: 12346 fen, its ledger entry debits 12345 fen"]


def test_an_order_paid_without_an_entry_is_named(paid, database):
    found = tampered(database, "UPDATE payment_order SET transaction_id = '9'")
    assert f"order {paid.out_trade_no}: paid, without a ledger entry wechat:9" in found


def test_an_order_that_received_something_else_is_named(paid, database):
    found = tampered(database, "UPDATE payment_order SET received_fen = 5")
    assert found == [f"order {paid.out_trade_no}: received 5 fen, the ledger cleared 12345 fen"]


def test_an_order_that_is_not_the_sum_of_its_bills_is_named(paid, database):
    found = tampered(database, "UPDATE order_item SET amount_fen = 5")
    assert found == [f"order {paid.out_trade_no}: its bills add up to 5 fen, it says 12345 fen"]


def test_a_refund_done_without_an_entry_is_named(paid, database):
    found = tampered(database, "UPDATE refund SET state = 'done'")
    assert found == ["refund R1: done, without a ledger entry"]


def test_a_payment_of_no_order_is_named(paid, database):
    found = tampered(database, "UPDATE entry SET detail = '{}' WHERE kind = 'payment'")
    assert found == ["entry wechat:4200: a payment that no order or refund names"]
