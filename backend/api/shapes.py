"""Rows into the shapes of the API contract; pure, and the only place that spells them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from backend.archive.models import Household
from backend.archive.rules import Warmth
from backend.billing.explain import bill_title, line_view
from backend.billing.models import Bill
from backend.cashier.models import PaymentOrder

BILL_FIELDS = (
    "id",
    "bill_no",
    "utility",
    "kind",
    "period_from",
    "period_to",
    "amount_fen",
    "paid_fen",
    "due_on",
    "issued_at",
    "paid_at",
    "state",
)

KIND_TITLES = {"late_fee": " 违约金", "settlement": " 采暖季结算", "reversal": " 红冲"}


def unit_of(utility: str) -> str:
    """wh for heat and electricity, l for water and gas."""
    return "l" if utility in ("water", "gas") else "wh"


def is_suspended(suspended_from: date | None, today: date) -> bool:
    """停热: off heat from that day on."""
    return suspended_from is not None and suspended_from <= today


def area_m2(area_dm2: int) -> str:
    """6240 -> '62.40'."""
    return f"{area_dm2 // 100}.{area_dm2 % 100:02d}"


def household(row: Household, today: date) -> dict[str, Any]:
    """A household whose building is loaded."""
    return _household(row, row.building.address, row.building.name, today)


def household_row(row: Any, today: date) -> dict[str, Any]:
    """The same from a row of the home screen's statement."""
    return _household(row, row.building_address, row.building_name, today)


def _household(row: Any, address: str, building: str, today: date) -> dict[str, Any]:
    return {
        "id": row.id,
        "account_no": row.account_no,
        "address": f"{address} {building} {row.unit_no}",
        "unit_no": row.unit_no,
        "area_m2": area_m2(row.area_dm2),
        "suspended": is_suspended(row.suspended_from, today),
    }


def warmth(found: Warmth) -> dict[str, Any]:
    """The home screen's first line."""
    return {
        "room_cdeg": found.room_cdeg,
        "at": found.at,
        "state": found.state,
        "text": found.text,
    }


def bill(row: Bill, today: date) -> dict[str, Any]:
    """A bill in a list."""
    return _bill({name: getattr(row, name) for name in BILL_FIELDS}, today)


def bill_with_lines(row: Bill, today: date) -> dict[str, Any]:
    """A bill and its lines."""
    return {**bill(row, today), "lines": [line_view(line) for line in row.lines]}


def bill_json(found: Mapping[str, Any] | None, today: date) -> dict[str, Any] | None:
    """A bill that came as JSON from a statement: its days are texts."""
    if found is None:
        return None
    days = {k: date.fromisoformat(found[k]) for k in ("period_from", "period_to", "due_on")}
    return _bill({**found, **days}, today)


def _bill(found: Mapping[str, Any], today: date) -> dict[str, Any]:
    title = bill_title(found["utility"], found["period_from"], found["period_to"])
    title += KIND_TITLES.get(found["kind"], "")
    return {**found, "title": title, "state": bill_state(found["state"], found["due_on"], today)}


def bill_state(state: str, due_on: date, today: date) -> str:
    """due, overdue (the day after due_on), paid or reversed."""
    if state == "issued":
        return "overdue" if due_on < today else "due"
    return state


def order(row: PaymentOrder) -> dict[str, Any]:
    """A payment order whose items are loaded."""
    return {
        "out_trade_no": row.out_trade_no,
        "state": row.state,
        "amount_fen": row.amount_fen,
        "topup_into": row.topup_into,
        "bill_ids": sorted(item.bill_id for item in row.items),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "paid_at": row.paid_at,
    }


def explanation(found: Mapping[str, Any], today: date) -> dict[str, Any]:
    """billing.explain's derivation with its bills in the shape of the contract."""
    previous = found["comparison"]["previous_bill"]
    return {
        "bill": bill_with_lines(found["bill"], today),
        "sentences": found["sentences"],
        "heat": found["heat"],
        "tariff": found["tariff"],
        "readings": found["readings"],
        "comparison": {
            **found["comparison"],
            "previous_bill": bill(previous, today) if previous else None,
        },
    }
