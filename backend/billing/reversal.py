"""红冲: a bill is never edited but taken back whole by its negative, and may then be made again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.base.clock import business_day
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.billing import service, usage, wallet
from backend.billing.lines import adjusted
from backend.billing.models import Bill, BillingRequest
from backend.billing.service import Period
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal, audit

MIN_REASON = 2


def reverse(
    bill_id: int, reason: str, asked_by: Principal, approved_by: Principal, now: datetime
) -> Bill:
    """Take a bill back: the reversing bill, its entry, and what was paid into the wallet.

    The period is free for a new bill.  Late fees that ran up on the bill go with it.  Problems:
    not_found, reason_missing, second_person, bill_not_standing.
    """
    if len(reason.strip()) < MIN_REASON:
        raise Problem("reason_missing")
    if asked_by.id == approved_by.id:
        raise Problem("second_person", "红冲须由另一位同事核准，不能自己核准自己的申请。")
    bill = db.session.get(Bill, bill_id, with_for_update=True, populate_existing=True)
    if bill is None:
        raise Problem("not_found")
    if bill.kind == "reversal" or not _take(bill):
        raise Problem("bill_not_standing")
    made = _take_back(bill, reason, now)
    for late in db.session.scalars(
        sa.select(Bill).where(Bill.about_id == bill.id, usage.standing("late_fee"))
    ).all():
        if _take(late):
            _take_back(late, f"{reason}（所属账单已红冲）", now)
    audit(
        "bill.reversed",
        "bill",
        bill.bill_no,
        approved_by,
        now=now,
        reason=reason,
        asked_by=asked_by.id,
        reversal=made.bill_no,
        amount_fen=bill.amount_fen,
    )
    wallet.pay_oldest(bill.household_id, now)
    return made


def _take_back(bill: Bill, reason: str, now: datetime) -> Bill:
    made = _negative(bill, reason, now)
    service.keep([made], now)
    _give_back(bill, now)
    return made


def _take(bill: Bill) -> bool:
    """The bill stands no longer; False where somebody else has taken it back."""
    done = changed(
        sa.update(Bill)
        .where(Bill.id == bill.id, Bill.state.in_(("issued", "paid")))
        .values(state="reversed")
        .execution_options(synchronize_session="fetch")
    )
    return done == 1


def _negative(bill: Bill, reason: str, now: datetime) -> Bill:
    """The reversing bill: one line of minus the whole amount, naming the bill and the reason."""
    period = Period(bill.utility, bill.period_from, bill.period_to, business_day(now))
    sentence = f"红冲账单 {bill.bill_no}：{reason}"
    line = adjusted("reversal", "红冲", -bill.amount_fen, explain_zh=sentence)
    made = service.new_bill(
        bill.household_id,
        period,
        bill.tariff_id,
        [line],
        kind="reversal",
        about_id=bill.id,
        basis={"reason": reason, "reverses": bill.bill_no},
        bill_no=f"R{bill.bill_no}",
        business_key=f"reversal:{bill.business_key}",
        issued_at=now,
    )
    made.state = "reversed"  # neither of the two is owed any more
    return made


def _give_back(bill: Bill, now: datetime) -> None:
    """What had been paid on it is the household's balance now."""
    if bill.paid_fen:
        ledger.post(
            f"reversal:{bill.bill_no}:paid",
            "reversal",
            now,
            [
                (chart.receivable(bill.utility, bill.household_id), bill.paid_fen),
                (chart.wallet(bill.household_id), -bill.paid_fen),
            ],
            memo=f"红冲 {bill.bill_no}，已缴转入余额",
        )


def carry_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved request to reverse a bill."""
    asked_by = Principal("staff", request.asked_by or 0)
    made = reverse(request.subject_id, request.reason, asked_by, actor, now)
    return {"bill_no": made.bill_no}
