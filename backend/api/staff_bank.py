"""The banks for programs: the company's accounts, their movements, acquirers' settlements."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint

from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_bank import (
    AcquirersOut,
    BankAccountsOut,
    CardSettlementIn,
    CardSettlementOut,
    CardSettlementRowsOut,
    CardSettlementsOut,
    CardSettlementTakenOut,
    MatchedOut,
    MovementsOut,
    NewestIn,
    PageIn,
    StatementFileIn,
    StatementOut,
    StatementsOut,
    StatementTakenOut,
)
from backend.base.db import db
from backend.cashier import acquirers, bank_accounts, bank_views
from backend.people.access import allow, principal

bp = APIBlueprint("staff_bank", __name__, url_prefix="/api/v1/staff", tag="账务")
STATEMENT = f"/bank/statements/<{ID}:statement_id>"
SETTLEMENT = f"/acquirers/settlements/<{ID}:acquirer_settlement_id>"


@bp.get("/bank/accounts")
@bp.output(BankAccountsOut)
@allow("finance", "manager")
def accounts() -> dict[str, Any]:
    """The company's accounts."""
    return {"items": bank_accounts.accounts()}


@bp.get("/bank/statements")
@bp.input(NewestIn, location="query", arg_name="query")
@bp.output(StatementsOut)
@allow("finance", "manager")
def statement_list(query: dict[str, Any]) -> dict[str, Any]:
    """Imported days, newest first."""
    return {"items": bank_views.statements(query["code"], query["before"])}


@bp.post("/bank/statements")
@bp.input(StatementFileIn, arg_name="body")
@bp.output(StatementTakenOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def statement_take(body: dict[str, Any]) -> dict[str, Any]:
    """Take an account's movements of a day in, whole or not at all, and match what came in."""
    made, new = bank_accounts.take(
        body["account"], body["name"], body["file"], principal(), answers.now()
    )
    db.session.commit()
    return {**bank_views.statement(made.id), "new": new}


@bp.get(STATEMENT)
@bp.output(StatementOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def statement(statement_id: int) -> dict[str, Any]:
    """One imported day."""
    return bank_views.statement(statement_id)


@bp.get(f"{STATEMENT}/lines")
@bp.input(PageIn, location="query", arg_name="query")
@bp.output(MovementsOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def statement_lines(statement_id: int, query: dict[str, Any]) -> dict[str, Any]:
    """A page of its movements."""
    bank_views.statement(statement_id)
    return {"items": bank_views.lines(statement_id, query["after"])}


@bp.post(f"{STATEMENT}/match")
@bp.output(MatchedOut)
@bp.doc(responses=[404])
@allow("finance")
def statement_match(statement_id: int) -> dict[str, Any]:
    """Look again what the credits nobody knows are, and post those that are known now."""
    found = bank_accounts.rematch(statement_id, principal(), answers.now())
    db.session.commit()
    return {**bank_views.statement(statement_id), "found": found}


@bp.get("/acquirers")
@bp.output(AcquirersOut)
@allow("finance", "manager")
def acquirer_list() -> dict[str, Any]:
    """The card acquirers in use."""
    return {"items": acquirers.in_use()}


@bp.get("/acquirers/settlements")
@bp.input(NewestIn, location="query", arg_name="query")
@bp.output(CardSettlementsOut)
@allow("finance", "manager")
def settlement_list(query: dict[str, Any]) -> dict[str, Any]:
    """Settlements, newest first."""
    return {"items": bank_views.settlements(query["code"], query["before"])}


@bp.post("/acquirers/settlements")
@bp.input(CardSettlementIn, arg_name="body")
@bp.output(CardSettlementTakenOut)
@bp.doc(responses=[404, 409])
@allow("finance")
def settlement_take(body: dict[str, Any]) -> dict[str, Any]:
    """Take an acquirer's settlement in, whole or not at all, and match it with the counter's."""
    made, new = acquirers.take(
        body["acquirer"], body["name"], body["file"], principal(), answers.now()
    )
    db.session.commit()
    return {**bank_views.settlement(made.id), "new": new}


@bp.get(SETTLEMENT)
@bp.output(CardSettlementOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def settlement(acquirer_settlement_id: int) -> dict[str, Any]:
    """One settlement."""
    return bank_views.settlement(acquirer_settlement_id)


@bp.get(f"{SETTLEMENT}/rows")
@bp.input(PageIn, location="query", arg_name="query")
@bp.output(CardSettlementRowsOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def settlement_rows(acquirer_settlement_id: int, query: dict[str, Any]) -> dict[str, Any]:
    """A page of its rows, each with the receipt it was found to be."""
    bank_views.settlement(acquirer_settlement_id)
    return {"items": bank_views.rows(acquirer_settlement_id, query["after"])}
