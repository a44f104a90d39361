"""A shift on paper: what was in the drawer, what was taken, what was counted, who signed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import shifts
from backend.cashier.models import Drawer, PosTerminal, Shift
from backend.people.models import Staff

RECENT = 30
_KEPT = (
    "id",
    "day",
    "cashier_id",
    "opened_at",
    "opening",
    "carried_fen",
    "issued_fen",
    "opening_difference_fen",
    "opening_reason",
    "closed_at",
    "counted_fen",
    "difference_fen",
    "left_fen",
    "deposited_fen",
    "deposit_reference",
    "reason",
)


def report(shift_id: int) -> dict[str, Any]:
    """Everything of a shift; Problem not_found.

    `expected_fen` is what must be in the drawer, now or at its close; `cards` are its terminals.
    """
    shift = db.session.get(Shift, shift_id)
    if shift is None:
        raise Problem("not_found")
    rows = shifts.payments(shift_id)
    cash_fen = sum(row.amount_fen for row in rows if row.counts_as("cash"))
    start_fen = shift.carried_fen + shift.issued_fen + shift.opening_difference_fen
    drawer = db.session.get_one(Drawer, shift.drawer_id)
    return {
        **{name: getattr(shift, name) for name in _KEPT},
        **_people(shift),
        "drawer": drawer.name,
        "drawer_code": drawer.code,
        "start_fen": start_fen,
        "cash_fen": cash_fen,
        "card_fen": sum(row.amount_fen for row in rows if row.counts_as("pos")),
        "expected_fen": start_fen + cash_fen if shift.closed_at is None else shift.expected_fen,
        "counts": {int(fen): n for fen, n in shift.closing.get("counts", {}).items()},
        "cards": shift.closing.get("pos") or _cards(shift_id),
        "payments": [_payment(row) for row in rows],
    }


def recent() -> list[dict[str, Any]]:
    """The newest shifts, open ones first."""
    query = (
        sa.select(
            Shift.id,
            Shift.day,
            Shift.opened_at,
            Shift.closed_at,
            Shift.difference_fen,
            Shift.deposited_fen,
            Drawer.name.label("drawer"),
            Staff.name.label("cashier"),
        )
        .join(Drawer, Drawer.id == Shift.drawer_id)
        .join(Staff, Staff.id == Shift.cashier_id)
        .order_by(Shift.closed_at.is_not(None), Shift.id.desc())
    )
    return [dict(row._mapping) for row in db.session.execute(query.limit(RECENT))]


def payment_view(receipt_no: str) -> dict[str, Any]:
    """One payment as a shift's report has it; Problem not_found."""
    found = shifts.payment_row(receipt_no)
    if found is None:
        raise Problem("not_found")
    return _payment(found)


def _people(shift: Shift) -> dict[str, str | None]:
    ids = {
        "cashier": shift.cashier_id,
        "closed_by": shift.closed_by,
        "opening_second": shift.opening_second_by,
        "second": shift.second_by,
    }
    rows = db.session.execute(sa.select(Staff.id, Staff.name).where(Staff.id.in_(ids.values())))
    names = {row.id: row.name for row in rows}
    return {word: names.get(staff_id) for word, staff_id in ids.items()}


def _cards(shift_id: int) -> list[dict[str, Any]]:
    totals = shifts.card_totals(shift_id)
    rows = db.session.execute(
        sa.select(PosTerminal.id, PosTerminal.code).where(PosTerminal.id.in_(totals))
    )
    cards = [{"terminal": r.code, "ledger_fen": totals[r.id], "slips_fen": None} for r in rows]
    return sorted(cards, key=lambda card: str(card["terminal"]))


def _payment(row: shifts.Row) -> dict[str, Any]:
    paid = row.payment
    return {
        "receipt_no": paid.receipt_no,
        "paper_no": row.paper_no,
        "account_no": row.account_no,
        "method": paid.method,
        "amount_fen": paid.amount_fen,
        "topup_fen": paid.topup_fen,
        "tendered_fen": paid.tendered_fen,
        "change_fen": paid.tendered_fen - paid.amount_fen,
        "reference": paid.reference,
        "taken_at": paid.taken_at,
        "voided_at": row.void.voided_at if row.void else None,
        "void_reason": row.void.reason if row.void else None,
    }
