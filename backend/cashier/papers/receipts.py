"""收据: one for each payment, issued with it at the counter and a moment later for a channel's.

A receipt says that money came in, for what, and how; it carries no tax.  Its number is taken in
the counter payment's own transaction; channel payments are swept up (`issue_missing`), so that
answering a notice waits for no series.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.archive import owner
from backend.archive.models import Household
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.explain import UTILITIES, bill_title
from backend.billing.models import Bill
from backend.cashier import rules as cashier_rules
from backend.cashier.models import CounterItem, CounterPayment, OrderItem, PaymentOrder, Refund
from backend.cashier.papers import issuing
from backend.cashier.papers.models import Paper
from backend.cashier.papers.rules import Line
from backend.cashier.papers.titles import Party
from backend.ledger.models import Account, Entry, Posting
from backend.people.models import Staff
from backend.people.service import Principal

METHODS = {
    "cash": "现金",
    "pos": "刷卡",
    "wechat": "微信支付",
    "alipay": "支付宝",
    "unionpay": "银联",
    "bank": "银行代扣",
}
TOPUP = "预存款（存入账户余额）"
SWEPT = 200
REACH = 100_000  # orders looked back; an older one gets its receipt when somebody asks for it
SURPLUS = "surplus:"  # what an order was refunded because it was not owed: never received for good


def counter_key(receipt_no: str) -> str:
    """The business key of a counter payment's receipt."""
    return f"receipt:counter:{receipt_no}"


def order_key(out_trade_no: str) -> str:
    """The business key of a channel payment's receipt."""
    return f"receipt:order:{out_trade_no}"


def for_counter(
    payment: CounterPayment, items: Sequence[CounterItem], cashier: Principal, now: datetime
) -> Paper:
    """The receipt of a payment just taken; in its transaction, last of all it does."""
    lines = _bill_lines({item.bill_id: item.amount_fen for item in items})
    if payment.topup_fen:
        lines.append(Line(TOPUP, payment.topup_fen))
    content = {
        "method": METHODS[payment.method],
        "reference": payment.reference or "",
        "paid_at": payment.taken_at.isoformat(),
        "payee": db.session.get_one(Staff, cashier.id).name,
    }
    household = db.session.get_one(Household, payment.household_id)
    key = counter_key(payment.receipt_no)
    return issuing.issue(_draft(key, household, lines, content), cashier, now)


def for_order(out_trade_no: str, now: datetime) -> Paper:
    """The receipt of a channel payment, the one already issued or a new one; the caller commits.

    Only what was credited is received for: what an order paid beyond what was owed goes back by
    itself.  Problems not_found, nothing_paid.
    """
    query = sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == out_trade_no)
    order = db.session.scalar(query.with_for_update())
    if order is None:
        raise Problem("not_found")
    made = issuing.known(order_key(out_trade_no))
    if made is not None:
        return made
    lines = _order_lines(order) if order.state == "paid" else []
    if not lines:
        raise Problem("nothing_paid")
    content = {
        "method": METHODS.get(order.channel, order.channel),
        "reference": order.transaction_id or "",
        "paid_at": (order.paid_at or now).isoformat(),
        "payee": "",
    }
    household = db.session.get_one(Household, order.household_id)
    return issuing.issue(_draft(order_key(out_trade_no), household, lines, content), None, now)


def _draft(
    key: str, household: Household, lines: Sequence[Line], content: dict[str, Any]
) -> issuing.Draft:
    party = Party(name=owner.name_of(household))
    return issuing.Draft("receipt", key, household, lines, party, content)


def issue_missing(now: datetime) -> int:
    """Issue the receipts of channel payments that have none yet; how many.  Commits each."""
    made = 0
    for number in _unreceipted():
        try:
            for_order(number, now)
            made += 1
        except Problem as problem:
            db.session.rollback()
            if problem.code != "nothing_paid":
                raise
        db.session.commit()
    return made


def _unreceipted() -> Sequence[str]:
    """Paid orders without a receipt, but for those whose payment went back whole."""
    surplus = (
        sa.select(sa.func.coalesce(sa.func.sum(Refund.amount_fen), 0))
        .where(Refund.order_id == PaymentOrder.id, Refund.business_key.startswith(SURPLUS))
        .scalar_subquery()
    )
    receipt = sa.exists().where(
        Paper.business_key == sa.func.concat("receipt:order:", PaymentOrder.out_trade_no)
    )
    newest = sa.select(sa.func.max(PaymentOrder.id)).scalar_subquery()
    query = sa.select(PaymentOrder.out_trade_no).where(
        PaymentOrder.id > newest - REACH,
        PaymentOrder.state == "paid",
        ~receipt,
        surplus < PaymentOrder.amount_fen,
    )
    return db.session.scalars(query.order_by(PaymentOrder.id).limit(SWEPT)).all()


# What a payment can be credited to: account family -> what the receipt calls it.
_CREDITED = {"receivable": "{0}", "wallet": TOPUP, "prepaid": "预付费充值 {0}"}


def _order_lines(order: PaymentOrder) -> list[Line]:
    """What the payment's ledger entry credited, by bill where all of them were still owed."""
    key = cashier_rules.payment_key(order.channel, order.transaction_id or "")
    rows = db.session.execute(
        sa.select(Account.code, -Posting.amount_fen)
        .join(Entry, Entry.id == Posting.entry_id)
        .join(Account, Account.id == Posting.account_id)
        .where(Entry.business_key == key, Posting.amount_fen < 0)
        .order_by(Posting.id)
    )
    credited = [(code.split(":"), fen) for code, fen in rows]
    items = dict(
        db.session.execute(
            sa.select(OrderItem.bill_id, OrderItem.amount_fen).where(OrderItem.order_id == order.id)
        ).all()
    )
    owed_fen = sum(fen for code, fen in credited if code[0] == "receivable")
    by_bill = bool(items) and owed_fen == sum(items.values())
    lines = _bill_lines(items) if by_bill else []
    for code, fen in credited:
        if code[0] in _CREDITED and not (by_bill and code[0] == "receivable"):
            utility = "" if code[0] == "wallet" else code[1]
            name = UTILITIES.get(utility, utility)
            lines.append(Line(_CREDITED[code[0]].format(name), fen, utility))
    return lines


def _bill_lines(paid_fen: dict[int, int]) -> list[Line]:
    """One line a bill: what it is for, and what of it was paid."""
    rows = db.session.scalars(sa.select(Bill).where(Bill.id.in_(paid_fen)).order_by(Bill.id))
    return [
        Line(
            bill_line_title(row) + ("" if paid_fen[row.id] == row.amount_fen else "（部分）"),
            paid_fen[row.id],
            row.utility,
            row.id,
        )
        for row in rows
    ]


def bill_line_title(bill: Bill) -> str:
    """What a bill is called on a paper."""
    title = bill_title(bill.utility, bill.period_from, bill.period_to)
    return f"{title}违约金" if bill.kind == "late_fee" else title
