"""代扣签约: a household agrees that a bank may take its bills from an account.

The account number and the holder's name are sealed; pages show the last four digits and the first
character.  They leave in one place only: the file for the bank.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.archive.models import Household
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.sealed import seal, unseal
from backend.cashier.collection_models import CollectingBank, Mandate
from backend.people.models import Staff
from backend.people.service import Principal, audit

CARD, HOLDER = "mandate.card", "mandate.holder"
_CARD_NO = re.compile(r"[0-9]{8,32}")
_CONTRACT_NO = re.compile(r"[0-9A-Za-z-]{1,32}")
_HOLDER = re.compile(r"[^\s\x00-\x1f|,\"]{1,30}")
PAGE = 50


@dataclass(frozen=True, slots=True)
class Agreement:
    """What is signed."""

    account_no: str  # the household's 户号
    bank: str
    contract_no: str
    holder: str
    card_no: str
    valid_from: date
    valid_to: date | None = None


def sign(agreed: Agreement, actor: Principal, now: datetime) -> Mandate:
    """A new mandate; audited without its card.  The caller commits.

    Problems: validation with its field, not_found (household or bank), mandate_standing,
    contract_taken.
    """
    _check(agreed)
    household_id = db.session.scalar(
        sa.select(Household.id).where(Household.account_no == agreed.account_no)
    )
    if household_id is None:
        raise Problem("not_found", "没有这个户号。", field="account_no")
    bank = bank_by_code(agreed.bank)
    made = Mandate(
        household_id=household_id,
        bank_id=bank.id,
        contract_no=agreed.contract_no,
        holder_sealed=seal(agreed.holder, HOLDER),
        card_sealed=seal(agreed.card_no, CARD),
        card_tail=agreed.card_no[-4:],
        valid_from=agreed.valid_from,
        valid_to=agreed.valid_to,
        signed_by=actor.id,
        signed_at=now,
    )
    db.session.add(made)
    try:
        db.session.flush()
    except IntegrityError as error:
        db.session.rollback()
        standing = "uq_mandate_standing" in str(error.orig)
        raise Problem("mandate_standing" if standing else "contract_taken") from None
    audit("mandate.signed", "mandate", made.id, actor, now=now, bank=bank.code)
    return made


def _check(agreed: Agreement) -> None:
    rules = (
        ("card_no", _CARD_NO.fullmatch(agreed.card_no), "账号须为 8 至 32 位数字。"),
        ("contract_no", _CONTRACT_NO.fullmatch(agreed.contract_no), "协议号须为字母、数字、短横。"),
        ("holder", _HOLDER.fullmatch(agreed.holder), "户名不能为空，也不能含空格或分隔符。"),
        (
            "valid_to",
            agreed.valid_to is None or agreed.valid_to >= agreed.valid_from,
            "有效期的止日不能早于起日。",
        ),
    )
    for name, good, said in rules:
        if not good:
            raise Problem("validation", said, field=name)


def cancel(mandate_id: int, reason: str, actor: Principal, now: datetime) -> Mandate:
    """End a mandate (解约); what is at the bank already is still taken.  The caller commits.

    Problems: not_found, mandate_ended, reason_missing.
    """
    if len(reason) < 2:
        raise Problem("reason_missing", field="reason")
    found = db.session.get(Mandate, mandate_id, with_for_update=True)
    if found is None:
        raise Problem("not_found")
    if found.cancelled_at is not None:
        raise Problem("mandate_ended")
    found.cancelled_at, found.cancelled_by, found.cancel_reason = now, actor.id, reason
    audit("mandate.cancelled", "mandate", mandate_id, actor, now=now, reason=reason)
    return found


def add_bank(code: str, name: str, layout: str, merchant: str) -> CollectingBank:
    """A bank that collects for the company; the caller commits."""
    made = CollectingBank(code=code, name=name, format=layout, merchant=merchant)
    db.session.add(made)
    db.session.flush()
    return made


def banks() -> Sequence[CollectingBank]:
    """The banks in use."""
    query = sa.select(CollectingBank).where(CollectingBank.active).order_by(CollectingBank.code)
    return db.session.scalars(query).all()


def bank_by_code(code: str, *, lock: bool = False) -> CollectingBank:
    """A bank; Problem not_found.  Under `lock` its batches and results wait for our commit."""
    query = sa.select(CollectingBank).where(CollectingBank.code == code, CollectingBank.active)
    found = db.session.scalar(query.with_for_update() if lock else query)
    if found is None:
        raise Problem("not_found", "没有这家代扣银行。", field="bank")
    return found


def listed(account_no: str = "", before: int | None = None) -> list[dict[str, Any]]:
    """Mandates, newest first, masked; of one household where its 户号 is given."""
    query = (
        sa.select(Mandate, CollectingBank.name, Household.account_no, Staff.name)
        .join(CollectingBank, CollectingBank.id == Mandate.bank_id)
        .join(Household, Household.id == Mandate.household_id)
        .join(Staff, Staff.id == Mandate.signed_by)
        .order_by(Mandate.id.desc())
        .limit(PAGE)
    )
    if account_no:
        query = query.where(Household.account_no == account_no)
    if before is not None:
        query = query.where(Mandate.id < before)
    return [_view(*row) for row in db.session.execute(query)]


def _view(mandate: Mandate, bank: str, account_no: str, signed_by: str) -> dict[str, Any]:
    holder = unseal(mandate.holder_sealed, HOLDER)
    return {
        "id": mandate.id,
        "account_no": account_no,
        "bank": bank,
        "contract_no": mandate.contract_no,
        "holder": holder[0] + "*" * (len(holder) - 1),
        "card": f"**** {mandate.card_tail}",
        "valid_from": mandate.valid_from,
        "valid_to": mandate.valid_to,
        "signed_by": signed_by,
        "signed_at": mandate.signed_at,
        "cancelled_at": mandate.cancelled_at,
        "cancel_reason": mandate.cancel_reason,
    }


def view(mandate_id: int) -> dict[str, Any]:
    """One mandate, masked; Problem not_found."""
    row = db.session.execute(
        sa.select(Mandate, CollectingBank.name, Household.account_no, Staff.name)
        .join(CollectingBank, CollectingBank.id == Mandate.bank_id)
        .join(Household, Household.id == Mandate.household_id)
        .join(Staff, Staff.id == Mandate.signed_by)
        .where(Mandate.id == mandate_id)
    ).first()
    if row is None:
        raise Problem("not_found")
    return _view(*row)
