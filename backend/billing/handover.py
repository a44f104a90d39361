"""过户: final bills up to the day, nothing left owed, the balance out, the next owner starts clean.

Two steps: `begin` makes the final bills of what the household used up to the day; `complete`, once
nothing is owed, moves what is left to a payout somebody approves and writes the new owner.
"""

from __future__ import annotations

from datetime import date, datetime
from itertools import pairwise
from typing import Any

import sqlalchemy as sa

from backend.archive import owner
from backend.archive.models import Binding, Household, Meter
from backend.archive.rules import UTILITIES
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.money import yuan_str
from backend.billing import ahead, requests, service, tariffs, topics, wallet
from backend.billing.models import Bill, BillingRequest, Handover, PrepaidAccount
from backend.billing.usage import standing
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal, audit


def begin(household_id: int, moved_on: date, actor: Principal, now: datetime) -> Handover:
    """Bill the household up to the day it is handed over, and let its balance pay.

    Problems: not_found, period_not_over (a day to come), handover_open, handover_not_ready (a
    final reading is missing, a prepaid account not charged to the day or overdrawn: which).
    """
    household = db.session.get(Household, household_id)
    if household is None:
        raise Problem("not_found")
    if moved_on > business_day(now):
        raise Problem("period_not_over", "过户日不能晚于今天。", field="moved_on")
    made = Handover(
        household_id=household_id,
        moved_on=moved_on,
        old_name_sealed=household.owner_name_sealed,
        old_phone_sealed=household.owner_phone_sealed,
        asked_by=actor.id,
        asked_at=now,
    )
    key = sa.func.hashtextextended(f"handover:{household_id}", 0)
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    if _open_one(household_id) is not None:
        raise Problem("handover_open")
    db.session.add(made)
    db.session.flush()
    prepaid = _close_prepaid(household_id, moved_on, now)
    for utility in _utilities(household_id) - prepaid:
        _final_bills(household, utility, moved_on, now)
    wallet.pay_oldest(household_id, now)
    audit("handover.begun", "household", household_id, actor, now=now, moved_on=str(moved_on))
    return made


def _open_one(household_id: int) -> int | None:
    return db.session.scalar(
        sa.select(Handover.id).where(
            Handover.household_id == household_id, Handover.state == "billed"
        )
    )


def _utilities(household_id: int) -> set[str]:
    kinds = sa.select(Meter.kind).where(Meter.household_id == household_id)
    return set(db.session.scalars(kinds.where(Meter.kind.in_(UTILITIES)).distinct()))


def _final_bills(household: Household, utility: str, moved_on: date, now: datetime) -> None:
    """From where the last bill ended to the day, in parts where a price changes in between."""
    last = db.session.scalar(
        sa.select(sa.func.max(Bill.period_to)).where(
            Bill.household_id == household.id, Bill.utility == utility, standing()
        )
    )
    cycle = topics.in_force(household.building_id, "cycle", utility, moved_on)
    begin_day = last or topics.period_before(cycle, topics.period_end(cycle, moved_on))
    if begin_day >= moved_on:
        return
    cuts = tariffs.cuts(household.building_id, utility, begin_day, moved_on)
    for lower, upper in pairwise([begin_day, *cuts, moved_on]):
        place = household.building_id
        issued = service.issue(place, utility, lower, upper, now, only=[household.id])
        if household.id in issued.left_out:
            name = tariffs.UTILITIES_ZH[utility]
            why = issued.left_out[household.id]
            sentence = f"{name}的末次账单不能出：{why}。请先抄录末次读数。"
            raise Problem("handover_not_ready", sentence)


def _close_prepaid(household_id: int, moved_on: date, now: datetime) -> set[str]:
    """Close the prepaid accounts charged up to the day; what they hold goes into the balance."""
    accounts = db.session.scalars(
        sa.select(PrepaidAccount)
        .where(PrepaidAccount.household_id == household_id, PrepaidAccount.closed_on.is_(None))
        .with_for_update()
    ).all()
    for account in accounts:
        ahead.close(account, moved_on, now)
    return {account.utility for account in accounts}


def complete(handover_id: int, name: str, phone: str, actor: Principal, now: datetime) -> Handover:
    """Write the new owner; Problem handover_unpaid names the bills still open.

    What is left of the old owner's balance waits under its own account for an approved payout; the
    residents who looked after the household no longer do, but keep the bills of their time.
    """
    found = db.session.get(Handover, handover_id, with_for_update=True, populate_existing=True)
    if found is None:
        raise Problem("not_found")
    if found.state != "billed":
        raise Problem("request_decided")
    _refuse_unpaid(found.household_id)
    household = db.session.get_one(Household, found.household_id)
    found.left_fen = _set_aside(found, actor, now)
    for field, value in owner.sealed(name, phone).items():
        setattr(household, field, value)
    db.session.execute(
        sa.update(Binding)
        .where(Binding.household_id == household.id, Binding.ended_at.is_(None))
        .values(ended_at=now)
    )
    found.state, found.done_at = "done", now
    db.session.flush()
    audit("handover.done", "household", household.id, actor, now=now, left_fen=found.left_fen)
    return found


def _refuse_unpaid(household_id: int) -> None:
    rows = db.session.execute(
        sa.select(Bill.bill_no, Bill.amount_fen - Bill.paid_fen)
        .where(Bill.household_id == household_id, Bill.state == "issued")
        .order_by(Bill.due_on)
    ).all()
    if rows:
        total = sum(fen for _, fen in rows)
        listed = "、".join(number for number, _ in rows[:5])
        raise Problem(
            "handover_unpaid", f"原户主还欠 {yuan_str(total)} 元（{listed}），结清后才能过户。"
        )


def _set_aside(found: Handover, actor: Principal, now: datetime) -> int:
    """The old owner's balance out of the household's wallet, to be paid out by request."""
    left = wallet.held_fen(found.household_id)
    if left <= 0:
        return 0
    lines = [(chart.wallet(found.household_id), left), (chart.payable("handover", found.id), -left)]
    ledger.post(f"handover:{found.id}", "handover", now, lines, memo="过户，余额待退原户主")
    params = {"amount_fen": left}
    reason = f"过户结清，退原户主余额 {yuan_str(left)} 元"
    requests.ask("payout", found.id, reason, actor, now, found.household_id, params)
    return left


def pay_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved payout: the money has left by bank transfer, posted once."""
    amount_fen = int(request.params["amount_fen"])
    lines = [
        (chart.payable("handover", request.subject_id), amount_fen),
        (chart.bank("payout"), -amount_fen),
    ]
    entry = ledger.post(f"payout:{request.id}", "payout", now, lines, memo=request.reason)
    return {"entry_id": entry.id}


def may_see(resident_id: int, bill: Bill) -> bool:
    """Whether a bill is of a time in which the resident looked after the household.

    The owner of now sees bills since the last handover, an earlier one those up to his own.
    """
    moves = db.session.scalars(
        sa.select(Handover)
        .where(Handover.household_id == bill.household_id, Handover.state == "done")
        .order_by(Handover.moved_on)
    ).all()
    ends = next((m.done_at for m in moves if bill.period_from < m.moved_on), None)
    query = sa.select(Binding.id).where(
        Binding.resident_id == resident_id,
        Binding.household_id == bill.household_id,
        Binding.ended_at.is_(None) if ends is None else Binding.ended_at == ends,
    )
    return db.session.scalar(query.limit(1)) is not None


def since(household_id: int) -> date | None:
    """The day the household's present owner took over; None where nobody before is known."""
    query = sa.select(sa.func.max(Handover.moved_on))
    return db.session.scalar(
        query.where(Handover.household_id == household_id, Handover.state == "done")
    )
