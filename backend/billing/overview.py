"""A household's money as its resident sees it: balance, prepaid, refunds, late fees, cold rooms."""

from __future__ import annotations

from datetime import date
from typing import Any

import sqlalchemy as sa

from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db
from backend.billing import ahead, cold, handover, lateness, wallet
from backend.billing.models import Adjustment, Bill, ColdReport

MAX_SHOWN = 50
ACCOUNT_FIELDS = ("utility", "opened_on", "closed_on", "through", "waiting")


def account(household: Household, today: date) -> dict[str, Any]:
    """Everything since the present owner took over."""
    moved_on = handover.since(household.id) or date.min
    credits = sa.select(Adjustment).where(
        Adjustment.household_id == household.id, sa.cast(Adjustment.at, sa.Date) >= moved_on
    )
    return {
        "balance_fen": wallet.held_fen(household.id),
        "prepaid": prepaid(household, today),
        "credits": [
            {
                "kind": row.kind,
                "credit_fen": row.credit_fen,
                "reason": row.reason,
                "at": row.at,
                "sentences": row.detail.get("sentences", []),
            }
            for row in db.session.scalars(credits.order_by(Adjustment.id.desc()).limit(MAX_SHOWN))
        ],
        "late_fees": _late_fees(household, today),
        "cold_reports": cold_reports(household),
    }


def cold_reports(household: Household) -> list[ColdReport]:
    """The present owner's reports of cold rooms, those not decided first."""
    moved_on = handover.since(household.id) or date.min
    reports = cold.reports(MAX_SHOWN, household_id=household.id)
    return [r for r in reports if business_day(r.reported_at) >= moved_on]


def prepaid(household: Household, today: date) -> list[dict[str, Any]]:
    """What is left of what was paid ahead, by utility, and how many days it will last."""
    found = ahead.standing(household.id, household.building_id, today)
    return [
        {
            **{name: getattr(one.account, name) for name in ACCOUNT_FIELDS},
            "balance_fen": one.balance_fen,
            "marks": one.marks,
            "daily_fen": one.daily_fen,
            "lasts_days": one.lasts_days,
        }
        for one in found
    ]


def _late_fees(household: Household, today: date) -> list[dict[str, Any]]:
    bills = db.session.scalars(
        sa.select(Bill)
        .where(Bill.household_id == household.id, Bill.state == "issued", Bill.due_on < today)
        .order_by(Bill.due_on)
        .limit(MAX_SHOWN)
    ).all()
    found = [(bill.id, *lateness.accrued(bill, household.building_id, today)) for bill in bills]
    return [
        {"bill_id": bill_id, "accrued_fen": fen, "sentence": sentence}
        for bill_id, fen, sentence in found
        if fen
    ]
