"""Months of the books for programs: closed, opened again by two, account statements, vouchers."""

from __future__ import annotations

from datetime import date
from typing import Any
from urllib.parse import quote

from apiflask import APIBlueprint
from flask import Response

from backend.api import answers
from backend.api.schemas_books import OptionalReasonIn
from backend.api.schemas_months import (
    AccountStatementOut,
    ExportIn,
    MonthOut,
    StatementIn,
    VoucherAccountIn,
    VoucherAccountsOut,
    VouchersOut,
)
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import months, vouchers
from backend.ledger import periods
from backend.people.access import allow, principal

bp = APIBlueprint("staff_months", __name__, url_prefix="/api/v1/staff", tag="账务")
MONTH = "/ledger/months/<month>"


@bp.get(MONTH)
@bp.output(MonthOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def month_view(month: str) -> dict[str, Any]:
    """A month (2026-11): its trial balance, and what blocks its close."""
    return _month(_parsed(month))


@bp.post(f"{MONTH}/close")
@bp.input(OptionalReasonIn, arg_name="body")
@bp.output(MonthOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def month_close(month: str, body: dict[str, Any]) -> dict[str, Any]:
    """Close a month; again it is the one already closed."""
    months.close_month(_parsed(month), body["reason"] or None, principal(), answers.now())
    db.session.commit()
    return _month(_parsed(month))


@bp.post(f"{MONTH}/reopen-request")
@bp.input(OptionalReasonIn, arg_name="body")
@bp.output(MonthOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def month_ask_reopen(month: str, body: dict[str, Any]) -> dict[str, Any]:
    """Ask with a reason for the last closed month to be opened again."""
    months.ask_reopen(_parsed(month), body["reason"], principal(), answers.now())
    db.session.commit()
    return _month(_parsed(month))


@bp.post(f"{MONTH}/reopen")
@bp.output(MonthOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def month_reopen(month: str) -> dict[str, Any]:
    """Open a month again that another person has asked for."""
    months.reopen(_parsed(month), principal(), answers.now())
    db.session.commit()
    return _month(_parsed(month))


@bp.get(f"{MONTH}/vouchers")
@bp.output(VouchersOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def voucher_list(month: str) -> dict[str, Any]:
    """What was exported of a month, in which formats it can be, and what is in the way."""
    when = _parsed(month)
    return {
        "month": when,
        "unmapped": vouchers.unmapped(when, vouchers.accounts()),
        "formats": sorted(vouchers.layouts()),
        "exports": vouchers.runs(when),
    }


@bp.post(f"{MONTH}/vouchers")
@bp.input(ExportIn, arg_name="body")
@bp.doc(responses=[404, 409])
@allow("finance")
def voucher_export(month: str, body: dict[str, Any]) -> Response:
    """A closed month's vouchers as a file; again they are the same bytes, and counted."""
    made = vouchers.export(_parsed(month), body["format"], principal(), answers.now())
    db.session.commit()
    headers = {
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(made.name)}",
        "Cache-Control": "no-store",
    }
    return Response(made.pieces(), mimetype=made.mimetype, headers=headers)


@bp.get("/ledger/voucher-accounts")
@bp.output(VoucherAccountsOut)
@allow("finance", "manager")
def voucher_accounts() -> dict[str, Any]:
    """Which of the ERP's accounts ours are."""
    return {"items": _accounts()}


@bp.put("/ledger/voucher-accounts")
@bp.input(VoucherAccountIn, arg_name="body")
@bp.output(VoucherAccountsOut)
@allow("finance")
def voucher_account_set(body: dict[str, Any]) -> dict[str, Any]:
    """Set one; an empty code takes it away."""
    vouchers.set_account(**body, actor=principal(), now=answers.now())
    db.session.commit()
    return {"items": _accounts()}


def _accounts() -> list[dict[str, str]]:
    return [
        {"prefix": prefix, "erp_code": code, "erp_name": name, "aux": aux}
        for prefix, (code, name, aux) in vouchers.accounts().items()
    ]


@bp.get("/ledger/statement")
@bp.input(StatementIn, location="query", arg_name="query")
@bp.output(AccountStatementOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def statement(query: dict[str, Any]) -> dict[str, Any]:
    """An account's statement: opening, a page of postings, closing."""
    if query["day_to"] < query["day_from"]:
        raise Problem("range_reversed", field="day_to")
    after = (query["after_day"], query["after_id"]) if query["after_day"] else None
    found = periods.statement(query["code"], query["day_from"], query["day_to"], after)
    more = found["more"] or (None, None)
    return {**found, "after_day": more[0], "after_id": more[1]}


def _parsed(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise Problem("not_found") from None


def _month(month: date) -> dict[str, Any]:
    found, checks = periods.month_of(month), months.checklist(month, answers.now())
    return {
        "month": month,
        "state": found.state if found else "open",
        "runs": found.runs if found else 0,
        "sha256": found.sha256 if found and found.state == "closed" else None,
        "reopen_asked_by": found.reopen_asked_by if found else None,
        "reopen_asked_at": found.reopen_asked_at if found else None,
        "reopen_reason": found.reopen_reason if found else None,
        "blocked": checks["blocked"],
        "open_days": checks["open_days"],
        "trial": periods.groups(month),
    }
