"""Where the money of a refund is taken from, and goes back to when the refund is given up.

Taken when the refund is decided, so that nobody can spend it meanwhile; it waits in suspense until
the channel has paid it out.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import ahead, wallet
from backend.billing import service as billing
from backend.billing.models import Bill
from backend.cashier import cases
from backend.cashier.models import PaymentOrder, Refund
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.chart import AccountRef

SUSPENSE, WALLET, BILL, PREPAID = "suspense", "wallet", "bill", "prepaid"
_FROM, _BACK = "refund_from", "refund_back"
MOVED = "refund_source"


def take(refund: Refund, order: PaymentOrder, now: datetime) -> None:
    """Take a refund's amount from its source; Problem refund_too_much, case_moved."""
    _MOVES[_family(refund)](refund, order, -1, now)


def put_back(refund: Refund, order: PaymentOrder, now: datetime) -> None:
    """Give a refund's amount back to where it came from."""
    _MOVES[_family(refund)](refund, order, 1, now)


def _family(refund: Refund) -> str:
    return refund.source.partition(":")[0]


def _suspense(refund: Refund, order: PaymentOrder, way: int, now: datetime) -> None:
    """It lies there already; who decides on it is the case's."""
    if refund.case_id is None:
        return
    if way < 0:
        cases.use(cases.case_of(refund.case_id, lock=True), refund.amount_fen)
    else:
        cases.give_back(refund.case_id, refund.amount_fen, f"退款 {refund.out_refund_no} 撤回", now)


def _wallet(refund: Refund, order: PaymentOrder, way: int, now: datetime) -> None:
    household_id = _household(order)
    wallet.one_at_a_time(household_id)
    if way < 0 and wallet.held_fen(household_id) < refund.amount_fen:
        raise Problem("refund_too_much", field="amount_fen")
    _post(refund, order, chart.wallet(household_id), way, MOVED, now)


def _prepaid(refund: Refund, order: PaymentOrder, way: int, now: datetime) -> None:
    household_id, utility = _household(order), refund.source.partition(":")[2]
    account = ahead.locked(household_id, utility)
    if account is None and way < 0:
        raise Problem("refund_too_much", "预付费账户已关闭，余额已转入账户余额。")
    if account is None:
        _post(refund, order, chart.wallet(household_id), way, MOVED, now)
        return
    if way < 0 and ahead.held_fen(household_id, utility) < refund.amount_fen:
        raise Problem("refund_too_much", field="amount_fen")
    _post(refund, order, chart.prepaid(utility, household_id), way, ahead.TAKEN_OUT, now)
    ahead.moved(account, way * refund.amount_fen)


def _bill(refund: Refund, order: PaymentOrder, way: int, now: datetime) -> None:
    """The bill is owed again, or paid again; one that stands no longer pays into the balance."""
    bill = db.session.get_one(Bill, refund.bill_id)
    owed = chart.receivable(bill.utility, bill.household_id)
    if way < 0:
        if not billing.take_back_payment(bill.id, refund.amount_fen, now):
            raise Problem("refund_too_much", "账单已冲销，或已缴金额不足。", field="amount_fen")
    elif not billing.apply_payment(bill.id, refund.amount_fen, now):
        owed = chart.wallet(bill.household_id)
    _post(refund, order, owed, way, MOVED, now)


def _post(
    refund: Refund, order: PaymentOrder, account: AccountRef, way: int, kind: str, now: datetime
) -> None:
    amount_fen = way * refund.amount_fen
    ledger.post(
        f"{_FROM if way < 0 else _BACK}:{refund.out_refund_no}",
        kind,
        now,
        [(account, -amount_fen), (chart.suspense(order.channel), amount_fen)],
        memo=f"退款 {refund.out_refund_no}",
        out_trade_no=order.out_trade_no,
    )


def _household(order: PaymentOrder) -> int:
    if order.household_id is None:
        raise Problem("refund_too_much")
    return order.household_id


_MOVES: dict[str, Callable[[Refund, PaymentOrder, int, datetime], None]] = {
    SUSPENSE: _suspense,
    WALLET: _wallet,
    PREPAID: _prepaid,
    BILL: _bill,
}
