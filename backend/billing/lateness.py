"""Late fees in the books: by the pure rule, a bill for what has accrued since the last one.

A bill that is paid late gets its last late-fee bill the night after; one still unpaid gets them as
its region's rule says (daily, or at the end of a month).  A reversed late-fee bill counts as
posted: what was waived does not come back.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db
from backend.billing import late_fee, regions, service, topics
from backend.billing.lines import adjusted
from backend.billing.models import Bill, BillPayment
from backend.billing.service import Period
from backend.billing.usage import standing

MAX_BILLS = 20_000  # of one building in one go


def overdue_buildings(today: date) -> Sequence[int]:
    """The buildings with bills whose late fee may have to be posted."""
    query = (
        sa.select(Household.building_id)
        .join(Bill, Bill.household_id == Household.id)
        .where(_concerned(today))
        .group_by(Household.building_id)
        .order_by(Household.building_id)
    )
    return db.session.scalars(query).all()


def _concerned(today: date) -> sa.ColumnElement[bool]:
    """Due before today, and either unpaid or paid too late within the last 40 days."""
    kinds = sa.or_(standing("usage"), standing("settlement"))
    return sa.and_(
        kinds,
        Bill.due_on < today,
        Bill.amount_fen > 0,
        sa.or_(
            Bill.state == "issued",
            sa.and_(
                Bill.paid_at >= sa.cast(today, sa.Date) - timedelta(days=40),
                sa.func.timezone("Asia/Shanghai", Bill.paid_at).cast(sa.Date) > Bill.due_on,
            ),
        ),
    )


def post_building(building_id: int, now: datetime) -> list[Bill]:
    """Post one building's late fees up to yesterday; again on the same day posts nothing new."""
    today = business_day(now)
    bills = db.session.scalars(
        sa.select(Bill)
        .join(Household, Household.id == Bill.household_id)
        .where(Household.building_id == building_id, _concerned(today))
        .order_by(Bill.id)
        .limit(MAX_BILLS)
        .with_for_update(of=Bill)
    ).all()
    payments = payments_of([b.id for b in bills])
    posted = _posted([b.id for b in bills])
    chain = regions.chain_of(building_id)
    rules = topics.rules_of("late_fee")
    made = []
    for bill in bills:
        mine = [rule for rule in rules if rule.utility == bill.utility]
        rule = topics.resolve(chain, mine, "late_fee", bill.due_on)
        as_of = _as_of(bill, rule, payments.get(bill.id, ()), today)
        if as_of is not None:
            fee = fee_of(bill, rule, payments.get(bill.id, ()), as_of)
            rest = fee.fee_fen - posted.get(bill.id, 0)
            if rest > 0:
                made.append(_late_bill(bill, fee, rule, rest, as_of, today))
    for one in made:
        one.issued_at = now
    service.keep(made, now)
    return made


def _as_of(
    bill: Bill, rule: dict[str, Any], payments: Sequence[tuple[date, int]], today: date
) -> date | None:
    """Up to which day the fee is posted tonight; None: not tonight."""
    if not rule["enabled"]:
        return None
    if bill.state == "paid":
        return max(day for day, _ in payments)
    return today - timedelta(1) if rule["post"] == "daily" or today.day == 1 else None


def fee_of(
    bill: Bill, rule: dict[str, Any], payments: Sequence[tuple[date, int]], as_of: date
) -> late_fee.LateFee:
    """The fee a bill has run up by the end of a day, by its region's rule."""
    return late_fee.late_fee(
        bill.amount_fen,
        bill.due_on + timedelta(days=rule["grace_days"]),
        as_of,
        terms_of(rule),
        payments,
    )


def terms_of(rule: dict[str, Any]) -> late_fee.Terms:
    """A region's rule as the pure rule takes it."""
    return late_fee.Terms(Decimal(rule["rate"]), Decimal(rule["cap_ratio"]), rule["min_fen"])


def accrued(bill: Bill, building_id: int, today: date) -> tuple[int, str]:
    """What has accrued on an unpaid bill and is not billed yet, in fen, and the sentence."""
    rule = topics.in_force(building_id, "late_fee", bill.utility, bill.due_on)
    if not rule["enabled"] or bill.state != "issued" or bill.kind == "late_fee":
        return 0, ""
    fee = fee_of(bill, rule, payments_of([bill.id]).get(bill.id, ()), today)
    rest = max(0, fee.fee_fen - _posted([bill.id]).get(bill.id, 0))
    sentence = str(_line(bill, fee, rule, rest).detail["explain_zh"])
    return rest, sentence if rest else ""


def _line(bill: Bill, fee: late_fee.LateFee, rule: dict[str, Any], rest: int) -> Any:
    due = bill.due_on + timedelta(days=rule["grace_days"])
    whole = late_fee.late_fee_line(fee, bill.amount_fen, due, terms_of(rule))
    if rest == fee.fee_fen:
        return whole
    sentence = f"{whole.detail['explain_zh']}；此前已计的部分另有账单，本次补计其余"
    return adjusted("late_fee", "违约金", rest, **{**whole.detail, "explain_zh": sentence})


def _late_bill(
    bill: Bill,
    fee: late_fee.LateFee,
    rule: dict[str, Any],
    rest: int,
    as_of: date,
    today: date,
) -> Bill:
    period = Period(bill.utility, bill.due_on + timedelta(1), as_of + timedelta(1), today)
    return service.new_bill(
        bill.household_id,
        period,
        bill.tariff_id,
        [_line(bill, fee, rule, rest)],
        kind="late_fee",
        about_id=bill.id,
        basis={"about": bill.bill_no, "days": fee.days, "rate": rule["rate"]},
        bill_no=f"L{as_of:%y%m%d}{bill.bill_no}",
        business_key=f"late_fee:{bill.id}:{as_of}",
    )


def payments_of(bill_ids: Sequence[int]) -> dict[int, list[tuple[date, int]]]:
    """bill -> (day, fen) counted towards it, by day; what was taken back the same day is none."""
    found: dict[int, list[tuple[date, int]]] = {}
    total = sa.func.sum(BillPayment.amount_fen)
    query = sa.select(BillPayment.bill_id, BillPayment.day, total)
    query = query.where(BillPayment.bill_id.in_(bill_ids))
    query = query.group_by(BillPayment.bill_id, BillPayment.day).having(total != 0)
    for bill_id, day, amount_fen in db.session.execute(query.order_by(BillPayment.day)):
        found.setdefault(bill_id, []).append((day, int(amount_fen)))
    return found


def _posted(bill_ids: Sequence[int]) -> dict[int, int]:
    """What was ever billed as a late fee of each bill, waived or not."""
    rows = db.session.execute(
        sa.select(Bill.about_id, sa.func.sum(Bill.amount_fen))
        .where(Bill.kind == "late_fee", Bill.about_id.in_(bill_ids))
        .group_by(Bill.about_id)
    )
    return {int(row[0] or 0): int(row[1]) for row in rows}
