"""A billed run put right: its bills reversed, the heat shared out anew, and billed again."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.allocation.models import AllocationRun
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import requests, reversal, service, usage
from backend.billing.models import Bill, BillingRequest
from backend.people.service import Principal


def ask(run_id: int, reason: str, actor: Principal, now: datetime) -> BillingRequest:
    """Ask for a billed run to be corrected; somebody else decides.

    Problems not_found, run_not_billed, run_superseded, reason_missing, request_open.
    """
    run = db.session.get(AllocationRun, run_id)
    if run is None:
        raise Problem("not_found")
    if run.superseded_by is not None:
        raise Problem("run_superseded")
    if run.locked_at is None:
        raise Problem("run_not_billed")
    params = {
        "building_id": run.building_id,
        "period_from": run.period_from.isoformat(),
        "period_to": run.period_to.isoformat(),
        "bills": len(_standing(run_id)),
    }
    return requests.ask("reallocation", run_id, reason, actor, now, None, params)


def _standing(run_id: int) -> list[int]:
    rows = sa.select(Bill.id).where(Bill.run_id == run_id, usage.standing())
    return list(db.session.scalars(rows.order_by(Bill.id)))


def carry_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved correction: all of it in the one transaction, or nothing."""
    asked_by = Principal("staff", request.asked_by or 0)
    reversed_nos = [
        reversal.reverse(bill_id, request.reason, asked_by, actor, now).bill_no
        for bill_id in _standing(request.subject_id)
    ]
    run = allocation.supersede(request.subject_id, request.reason, actor, now)
    issued = service.issue(run.building_id, "heat", run.period_from, run.period_to, now)
    return {
        "run_id": run.id,
        "reversed": len(reversed_nos),
        "issued": len(issued.bills),
        "left_out": {str(key): why for key, why in issued.left_out.items()},
    }
