"""Parked money finds its owner: into a household's balance, onto a bill, or taken in at all.

So does a difference that stands aside: 长款 goes to whose it is, 短款 is owed again by whoever was
credited with what never came.
Money moved to the household that ordered is one person's to decide up to the limit; beyond it, or
to anybody else, a second one agrees.  Giving it back is cashier.refund_desk's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert

from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests, wallet
from backend.billing import service as billing
from backend.billing.models import Bill, BillingRequest
from backend.cashier import aside, books, cases, refund_desk, rules
from backend.cashier.case_models import MoneyCase
from backend.cashier.channels import channel_for
from backend.cashier.models import Break, PaymentOrder, Refund
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.chart import AccountRef
from backend.people.service import Principal, audit
from payments.channel import ChannelError, TradeState, TradeStatus


@dataclass(frozen=True, slots=True)
class Move:
    """Parked money of a case for a household: onto one of its bills, or into its balance."""

    case_id: int
    account_no: str
    amount_fen: int
    bill_no: str = ""


def move(wanted: Move, reason: str, actor: Principal, now: datetime) -> MoneyCase | BillingRequest:
    """Move it, or ask a second person to agree; the caller commits.

    Problems: not_found, case_ended, case_not_so, case_moved, reason_missing, bill_not_payable,
    request_open.
    """
    reason = cases.words(reason)
    parked, household, _bill = _checked(wanted)
    limit: int = current_app.extensions["nuan_settings"].refund_limit_fen
    his = household.id == parked.household_id
    if his and wanted.amount_fen <= limit - _moved_fen(parked):
        return _move(wanted, reason, actor.id, None, now)
    made = requests.ask("parked_move", parked.id, reason, actor, now, household.id, asdict(wanted))
    cases.note(parked, actor, "move_asked", reason, now, account_no=wanted.account_no)
    return made


def carry_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved move."""
    wanted = Move(**request.params)
    _move(wanted, request.reason, request.asked_by or actor.id, actor.id, now)
    return {"case_id": wanted.case_id}


def _moved_fen(parked: MoneyCase) -> int:
    """What one person has moved of a case already: parts count together."""
    return abs(parked.amount_fen or 0) - (parked.left_fen or 0)


def _checked(wanted: Move) -> tuple[MoneyCase, Household, Bill | None]:
    parked = cases.still_open(wanted.case_id)
    if parked.kind not in _MONEY or not _MONEY[parked.kind].is_there(parked):
        raise Problem("case_not_so")
    if not 0 < wanted.amount_fen <= (parked.left_fen or 0):
        raise Problem("case_moved", field="amount_fen")
    account_no = wanted.account_no.replace("\x00", "").strip()
    household = db.session.scalar(sa.select(Household).where(Household.account_no == account_no))
    if household is None:
        raise Problem("household_unknown", "没有这个户号。", field="account_no")
    return parked, household, _bill_of(wanted.bill_no, household.id)


def _bill_of(bill_no: str, household_id: int) -> Bill | None:
    number = bill_no.replace("\x00", "").strip()
    if not number:
        return None
    query = sa.select(Bill).where(Bill.bill_no == number, Bill.household_id == household_id)
    found: Bill | None = db.session.scalar(query)
    if found is None:
        raise Problem("bill_not_payable", "该户没有这张账单。", field="bill_no")
    return found


def _move(
    wanted: Move, reason: str, asked_by: int, approved_by: int | None, now: datetime
) -> MoneyCase:
    parked, household, bill = _checked(wanted)
    cases.use(parked, wanted.amount_fen)
    actor = Principal("staff", asked_by)
    target = bill.bill_no if bill else household.account_no
    step = cases.note(parked, actor, "moved", reason, now, amount_fen=wanted.amount_fen, to=target)
    owed = (parked.amount_fen or 0) < 0
    moved_fen = -wanted.amount_fen if owed else wanted.amount_fen
    target_of = _charged if owed else _credited
    lines = [
        (_MONEY[parked.kind].account(parked), moved_fen),
        (target_of(household.id, bill, wanted.amount_fen, now), -moved_fen),
    ]
    key = f"case:{parked.id}:{step}"
    ledger.post(key, "parked_move", now, lines, memo=reason, out_trade_no=parked.out_trade_no)
    if bill is None and not owed:
        wallet.pay_oldest(household.id, now)
    audit(
        "case.moved",
        "case",
        parked.id,
        actor,
        now=now,
        reason=reason,
        amount_fen=wanted.amount_fen,
        to=target,
        approved_by=approved_by,
    )
    _MONEY[parked.kind].settled(parked, actor, now)
    return parked


def _credited(household_id: int, bill: Bill | None, amount_fen: int, now: datetime) -> AccountRef:
    if bill is None:
        wallet.one_at_a_time(household_id)
        return chart.wallet(household_id)
    if not billing.apply_payment(bill.id, amount_fen, now):
        raise Problem("bill_not_payable", field="bill_no")
    return chart.receivable(bill.utility, household_id)


def _charged(household_id: int, bill: Bill | None, amount_fen: int, now: datetime) -> AccountRef:
    """What never came is paid no longer: the bill is owed again, or the balance is less."""
    if bill is None:
        wallet.one_at_a_time(household_id)
        if wallet.held_fen(household_id) < amount_fen:
            raise Problem("case_not_so", "该户余额不足，请填写账单号，由账单补收。")
        return chart.wallet(household_id)
    if not billing.take_back_payment(bill.id, amount_fen, now):
        raise Problem("bill_not_payable", "账单已冲销，或已缴金额不足。", field="bill_no")
    return chart.receivable(bill.utility, household_id)


def _order_settled(parked: MoneyCase, _actor: Principal, now: datetime) -> None:
    order = _order_of(parked)
    if order is not None:
        refund_desk.settle_parked(parked, order, "paid", now)


def _order_of(parked: MoneyCase) -> PaymentOrder | None:
    query = sa.select(PaymentOrder).where(PaymentOrder.out_trade_no == parked.out_trade_no)
    found: PaymentOrder | None = db.session.scalar(query.with_for_update())
    return found


def refund(
    out_trade_no: str, actor: Principal, reason: str, now: datetime
) -> Refund | BillingRequest:
    """Give back all that is undecided of an order's parked money; Problem not_found."""
    query = sa.select(MoneyCase).where(
        MoneyCase.kind == "order",
        MoneyCase.out_trade_no == out_trade_no,
        MoneyCase.state == "open",
        MoneyCase.left_fen > 0,
    )
    parked = db.session.scalars(query.order_by(MoneyCase.id).limit(1)).one_or_none()
    if parked is None:
        raise Problem("not_found")
    left = parked.left_fen or 0
    wanted = refund_desk.Wanted(out_trade_no, left, case_id=parked.id)
    return refund_desk.ask(wanted, reason, f"case-{parked.id}-{left}", actor, now)


def adopt(case_id: int, actor: Principal, now: datetime) -> MoneyCase:
    """Take in money of an order we never made, on the channel's own word; commits.

    The order is written down without a household and its money parked: then it can be given back
    or moved.  Problems not_found, case_ended, case_not_so (the channel does not say it was paid, or
    it is ours by now), channel_unavailable.
    """
    unknown = cases.still_open(case_id)
    if unknown.type not in ("unknown_order", "missing_here") or unknown.state == "suspense":
        raise Problem("case_not_so")
    number = unknown.out_trade_no or ""
    if unknown.kind == "break" and not number:
        number = db.session.get_one(Break, int(unknown.reference)).reference
    trade = _asked(unknown.channel, number)
    unknown = cases.still_open(case_id)
    order = _written(unknown.channel, trade, now)
    assert trade.transaction_id is not None and trade.amount_fen is not None
    assert trade.paid_at is not None
    at = books.posting_time(trade.paid_at, now)
    books.post_payment(
        order.channel, order.out_trade_no, trade.transaction_id, trade.amount_fen, [], at
    )
    cases.open_case(
        "order",
        "adopted",
        rules.payment_key(order.channel, trade.transaction_id),
        order.channel,
        business_day(trade.paid_at),
        now,
        amount_fen=trade.amount_fen,
        out_trade_no=order.out_trade_no,
        text="向渠道核实后补登",
    )
    if unknown.kind == "notice":
        cases.end(unknown, "adopted", "已向渠道核实并补登，款项挂账", actor, now)
    else:
        cases.note(unknown, actor, "adopted", "已向渠道核实并补登，款项挂账", now)
    db.session.commit()
    return unknown


def _asked(channel: str, number: str) -> TradeState:
    db.session.commit()  # no transaction is held while the channel is asked
    if not number:
        raise Problem("case_not_so", "这条通知没有订单号。")
    try:
        trade = channel_for(channel).query(number)
    except ValueError as error:
        raise Problem("case_not_so", "这不是本系统的订单号，渠道无法查询。") from error
    except ChannelError as error:
        if error.code == "order_not_found":
            raise Problem("case_not_so", "渠道没有这笔订单，可能是伪造的通知。") from error
        raise Problem("channel_unavailable", f"渠道没有答复：{error}") from error
    if trade.status not in (TradeStatus.PAID, TradeStatus.REFUNDED) or not trade.transaction_id:
        raise Problem("case_not_so", "渠道说这笔订单没有付款。")
    return trade


def _written(channel: str, trade: TradeState, now: datetime) -> PaymentOrder:
    values = {
        "out_trade_no": trade.out_trade_no,
        "channel": channel,
        "way": "",
        "amount_fen": trade.amount_fen,
        "received_fen": trade.amount_fen,
        "transaction_id": trade.transaction_id,
        "paid_at": trade.paid_at,
        "state": "parked",
        "created_at": now,
        "expires_at": now,
        "note": "渠道收到的未知订单，已补登",
    }
    statement = insert(PaymentOrder).values(values).on_conflict_do_nothing()
    order: PaymentOrder | None = db.session.scalar(statement.returning(PaymentOrder))
    if order is None:
        raise Problem("case_not_so", "本系统已有这笔订单，请重新对账。")
    return order


@dataclass(frozen=True, slots=True)
class _Money:
    """Where a kind of case has its money, and what follows once some of it has found its owner."""

    is_there: Callable[[MoneyCase], bool]
    account: Callable[[MoneyCase], AccountRef]
    settled: Callable[[MoneyCase, Principal, datetime], None]


def _aside_at(one: MoneyCase) -> AccountRef:
    return aside.account(one.channel, one.amount_fen or 0)


_MONEY = {
    "order": _Money(lambda _: True, lambda one: chart.suspense(one.channel), _order_settled),
    "break": _Money(aside.is_somebodys, _aside_at, aside.settled),
}
requests.KINDS["parked_move"] = requests.Kind("挂账款项转出", requests.MONEY, carry_out)
