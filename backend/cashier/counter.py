"""柜台收款: cash and cards taken at the business hall, and taken back within the shift.

A payment is one transaction: its bills are held, counted as paid and posted together, or nothing
is.  The money lies on the counter while that happens, so whatever speaks against it is said before
anything is kept, and the cashier hands the money back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.archive import owner
from backend.archive import service as archive
from backend.archive.models import Household
from backend.base import ids
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import service as billing
from backend.billing import wallet
from backend.billing.explain import bill_title
from backend.billing.models import Bill
from backend.cashier import asking, counter_rules, shifts
from backend.cashier.counter_rules import Taking, Tender
from backend.cashier.models import (
    CounterItem,
    CounterPayment,
    CounterVoid,
    Drawer,
    OrderItem,
    PosTerminal,
    Shift,
)
from backend.cashier.papers import issuing, receipts, undoing
from backend.cashier.payable import payable_bills
from backend.cashier.rules import MAX_BILLS
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.chart import AccountRef
from backend.people.service import Principal, audit

__all__ = ["Taking", "Tender", "household_by_account", "owed", "payment_of", "take", "void"]


def household_by_account(account_no: str) -> dict[str, Any]:
    """A household by 户号 as the cashier sees it: place, masked owner, bills owed, balance."""
    found = db.session.scalar(
        sa.select(Household).where(Household.account_no == account_no.strip().replace("\0", ""))
    )
    if found is None:
        raise Problem("not_found", "没有这个户号。", field="account_no")
    name = owner.name_of(found)
    return {
        "id": found.id,
        "account_no": found.account_no,
        "address": archive.address(found),
        "owner": name[:1] + "*" * max(0, len(name) - 1),
        "balance_fen": wallet.held_fen(found.id),
        "bills": owed(found.id),
    }


def owed(household_id: int) -> list[dict[str, Any]]:
    """What a household still owes, the oldest first: as many bills as one payment takes."""
    query = sa.select(Bill).where(Bill.household_id == household_id, Bill.state == "issued")
    query = query.where(Bill.amount_fen > Bill.paid_fen).order_by(Bill.due_on, Bill.id)
    return [
        {
            "id": row.id,
            "bill_no": row.bill_no,
            "title": bill_title(row.utility, row.period_from, row.period_to),
            "kind": row.kind,
            "open_fen": row.amount_fen - row.paid_fen,
            "due_on": row.due_on,
        }
        for row in db.session.scalars(query.limit(MAX_BILLS))
    ]


def payment_of(receipt_no: str) -> CounterPayment:
    """A payment by its number; not_found."""
    found: CounterPayment | None = db.session.scalar(
        sa.select(CounterPayment).where(CounterPayment.receipt_no == receipt_no)
    )
    if found is None:
        raise Problem("not_found")
    return found


def take(actor: Principal, client_key: str, taking: Taking, now: datetime) -> CounterPayment:
    """Take a payment in the actor's open shift; commits.

    The same key and content again is the payment already there.  Online orders over these bills
    are ended at their channel first.  Problems: shift_missing, shift_stale, validation,
    tendered_short, not_found, bills_not_together, bill_not_payable, amount_changed, order_open,
    pos_slip_used, idempotency_key_reused; nothing is kept then.
    """
    refused = counter_rules.refusal(taking)
    if refused:
        raise Problem(refused[0], field=refused[1])
    key, digest = f"{actor.id}:{client_key}", counter_rules.digest(taking)
    known = _known(key, digest)
    if known is not None:
        return known
    if shifts.my_shift(actor) is None:
        raise Problem("shift_missing")
    asking.end_open_orders(taking.bill_ids, now)
    shift = shifts.locked_shift(actor, now)
    known = _known(key, digest)  # the same tap, a moment ago
    if known is not None:
        return known
    try:
        made = _keep(shift, key, digest, taking, now)
    except IntegrityError as error:
        db.session.rollback()
        if "uq_counter_payment_slip" not in str(error.orig):
            raise
        raise Problem("pos_slip_used", field="reference") from None
    receipts.for_counter(made, made.items, actor, now)
    db.session.commit()
    return made


def _known(key: str, digest: bytes) -> CounterPayment | None:
    found: CounterPayment | None = db.session.scalar(
        sa.select(CounterPayment).where(CounterPayment.client_key == key)
    )
    if found is not None and bytes(found.body_hash) != digest:
        raise Problem("idempotency_key_reused", field="Idempotency-Key")
    return found


def _keep(shift: Shift, key: str, digest: bytes, taking: Taking, now: datetime) -> CounterPayment:
    """The payment's rows, its bills and its entry."""
    if taking.topup_fen:
        wallet.one_at_a_time(taking.household_id)
    rows = _held_bills(taking)
    account = _account(shift, taking.tender)
    made = CounterPayment(
        receipt_no=ids.out_trade_no("C", now),
        client_key=key,
        body_hash=digest,
        shift_id=shift.id,
        household_id=taking.household_id,
        method=taking.tender.method,
        amount_fen=taking.amount_fen,
        topup_fen=taking.topup_fen,
        tendered_fen=taking.tender.tendered_fen,
        terminal_id=taking.tender.terminal_id,
        reference=taking.tender.reference or None,
        taken_at=now,
        day=business_day(now),
        items=[CounterItem(bill_id=row.id, amount_fen=row.open_fen) for row in rows],
    )
    db.session.add(made)
    db.session.flush()
    _credit(made, account, rows, now)
    return made


def _credit(
    made: CounterPayment, account: AccountRef, rows: Sequence[sa.Row[Any]], now: datetime
) -> None:
    if len(billing.apply_payments({row.id: row.open_fen for row in rows}, now)) != len(rows):
        raise Problem("bill_not_payable")
    lines: list[tuple[AccountRef, int]] = [(account, made.amount_fen)]
    lines += [(chart.receivable(r.utility, made.household_id), -r.open_fen) for r in rows]
    lines.append((chart.wallet(made.household_id), -made.topup_fen))
    ledger.post(
        counter_rules.payment_key(made.receipt_no),
        "counter",
        now,
        lines,
        memo=f"柜台收款 {made.receipt_no}",
        receipt_no=made.receipt_no,
    )
    if made.topup_fen:
        wallet.pay_oldest(made.household_id, now)


def _held_bills(taking: Taking) -> Sequence[sa.Row[Any]]:
    """The bills, held until commit, all of this household and still owed as it was told.

    FOR UPDATE, because a new online order's foreign key waits for that and then finds them paid.
    """
    rows = payable_bills(taking.bill_ids, lock=True)
    if any(row.household_id != taking.household_id for row in rows):
        raise Problem("bills_not_together", field="bill_ids")
    if db.session.get(Household, taking.household_id) is None:
        raise Problem("not_found", field="household_id")
    if sum(row.open_fen for row in rows) + taking.topup_fen != taking.amount_fen:
        raise Problem("amount_changed", field="amount_fen")
    still_open = sa.select(sa.func.count()).select_from(OrderItem)
    still_open = still_open.where(OrderItem.bill_id.in_(taking.bill_ids), OrderItem.open)
    if db.session.scalar(still_open):
        raise Problem("order_open")
    return rows


def _account(shift: Shift, tender: Tender) -> AccountRef:
    """Where the money is now."""
    if tender.method == "cash":
        return chart.cash(db.session.get_one(Drawer, shift.drawer_id).code)
    terminal = db.session.get(PosTerminal, tender.terminal_id)
    if terminal is None or not terminal.active:
        raise Problem("not_found", "没有这台刷卡终端。", field="terminal_id")
    return chart.pos(terminal.code)


def void(
    actor: Principal, receipt_no: str, reason: str, second: Principal | None, now: datetime
) -> CounterVoid:
    """Give a payment of the actor's open shift back, by a reversing entry; the caller commits.

    Problems: not_found, forbidden (another one's), shift_missing, shift_stale, shift_ended,
    payment_voided, approval_needed, second_person, reason_missing, payment_not_voidable.
    """
    payment = payment_of(receipt_no)
    shift = shifts.locked_shift(actor, now)
    if payment.shift_id != shift.id:
        _not_mine(payment, actor)
    text = reason.strip()
    if len(text) < counter_rules.MIN_REASON:
        raise Problem("reason_missing", field="reason")
    if db.session.get(CounterVoid, payment.id) is not None:
        raise Problem("payment_voided")
    limited = shifts.signed_by([payment.amount_fen], "counter_void_limit_fen", actor, second)
    made = CounterVoid(
        payment_id=payment.id,
        voided_at=now,
        day=business_day(now),
        voided_by=actor.id,
        second_by=limited,
        reason=text,
    )
    db.session.add(made)
    payment.slip_open = False
    _give_back(payment, now)
    receipt = issuing.known(receipts.counter_key(receipt_no))
    if receipt is not None:
        undoing.undo(receipt, text, actor, limited, now)
    audit(
        "counter.voided",
        "counter_payment",
        receipt_no,
        actor,
        now=now,
        reason=text,
        second_by=limited,
    )
    return made


def _not_mine(payment: CounterPayment, actor: Principal) -> None:
    whose = db.session.get_one(Shift, payment.shift_id)
    if whose.cashier_id != actor.id:
        raise Problem("forbidden", "只能撤销自己班次的收款。")
    raise Problem("shift_ended", "这笔收款的班次已经交班，不能撤销，请走退款流程。")


def _give_back(payment: CounterPayment, now: datetime) -> None:
    """The bills are owed again, the balance is less, and the entry is reversed."""
    if payment.topup_fen:
        wallet.one_at_a_time(payment.household_id)
        if wallet.held_fen(payment.household_id) < payment.topup_fen:
            raise Problem("payment_not_voidable")
    for item in payment.items:
        if not billing.take_back_payment(item.bill_id, item.amount_fen, now):
            raise Problem("payment_not_voidable")
    entry = ledger.entry_by_key(counter_rules.payment_key(payment.receipt_no))
    if entry is None:
        raise Problem("shift_unproven")
    ledger.reverse(entry, counter_rules.void_key(payment.receipt_no), now, "撤销柜台收款")
