"""抬头: whom a household's invoices are made to; several a household, one of them the default.

Everything in it is sealed at rest.  A title is never edited but dropped and written anew: papers
already issued keep what they were issued with anyway.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.base.clock import day_start
from backend.base.db import db, hold
from backend.base.errors import Problem
from backend.base.sealed import seal, unseal
from backend.billing import handover
from backend.cashier.papers import tax_ids
from backend.cashier.papers.models import InvoiceTitle
from backend.people.service import Principal, audit

CONTEXT = "invoice_title"
MAX_TITLES = 20
_PHONE = re.compile(r"[0-9+() -]{5,24}")
_ACCOUNT = re.compile(r"[0-9]{6,30}")


@dataclass(frozen=True, slots=True)
class Party:
    """Whom a paper is made to, as it is printed."""

    kind: str = "person"
    name: str = ""
    tax_id: str = ""
    address: str = ""
    phone: str = ""
    bank: str = ""
    bank_account: str = ""

    def sealed(self, context: str = CONTEXT) -> bytes:
        """All of it, sealed."""
        return seal(json.dumps(asdict(self), ensure_ascii=False), context)


def opened(sealed: bytes, context: str = CONTEXT) -> Party:
    """The party again."""
    return Party(**json.loads(unseal(sealed, context)))


def refusal(party: Party) -> tuple[str, str, str] | None:
    """(code, sentence, field) of what cannot be right in a title, or None."""
    if not 1 < len(party.name) <= 100:
        return "validation", "请填写抬头名称，2 到 100 个字。", "name"
    if party.kind == "company" and not party.tax_id:
        return "tax_id_invalid", "企业抬头须填写纳税人识别号。", "tax_id"
    if party.tax_id and not tax_ids.is_tax_id(party.tax_id):
        return "tax_id_invalid", "纳税人识别号校验不通过，请核对每一位。", "tax_id"
    if party.phone and not _PHONE.fullmatch(party.phone):
        return "validation", "电话号码格式不正确。", "phone"
    if party.bank_account and not _ACCOUNT.fullmatch(party.bank_account):
        return "validation", "银行账号应为 6 到 30 位数字。", "bank_account"
    return None


def checked(kind: str, given: Mapping[str, Any]) -> Party:
    """A title as somebody typed it, tidied; Problem validation or tax_id_invalid."""
    text = {name: str(given.get(name) or "").strip() for name in Party.__slots__ if name != "kind"}
    text["tax_id"] = tax_ids.tidy(text["tax_id"])
    text["bank_account"] = tax_ids.tidy(text["bank_account"])
    party = Party(kind, **text)
    refused = refusal(party)
    if refused:
        code, sentence, field = refused
        raise Problem(code, sentence, field=field)
    return party


def of_household(household_id: int) -> list[dict[str, Any]]:
    """A household's titles, the default one first."""
    return [view(row) for row in _standing(household_id)]


def view(row: InvoiceTitle) -> dict[str, Any]:
    """A title in clear."""
    return {"id": row.id, "is_default": row.is_default, **asdict(opened(row.sealed))}


def title_of(household_id: int, title_id: int) -> InvoiceTitle:
    """One of a household's titles; not_found also for another household's."""
    found = next((row for row in _standing(household_id) if row.id == title_id), None)
    if found is None:
        raise Problem("not_found", field="title_id")
    return found


def default_of(household_id: int) -> InvoiceTitle | None:
    """A household's default title, if it has one."""
    return next((row for row in _standing(household_id) if row.is_default), None)


def add(
    household_id: int, party: Party, is_default: bool, actor: Principal, now: datetime
) -> InvoiceTitle:
    """A new title; the first is the default.  The caller commits.

    The same again is the one already there.  Problem too_many_titles.
    """
    hold(f"titles:{household_id}")
    return _keep(household_id, party, is_default, actor, now)


def replace(
    household_id: int,
    title_id: int,
    party: Party,
    is_default: bool,
    actor: Principal,
    now: datetime,
) -> InvoiceTitle:
    """A title written anew in the old one's place: one is dropped and one added, or neither.

    The default stays the default.  The caller commits.  Problem not_found.
    """
    hold(f"titles:{household_id}")
    old = title_of(household_id, title_id)
    if opened(old.sealed) == party:
        if is_default:
            make_default(old)
        return old
    stays = is_default or old.is_default
    drop(old, actor, now)
    db.session.flush()
    return _keep(household_id, party, stays, actor, now)


def _keep(
    household_id: int, party: Party, is_default: bool, actor: Principal, now: datetime
) -> InvoiceTitle:
    known = _standing(household_id)
    same = next((row for row in known if opened(row.sealed) == party), None)
    if same is None and len(known) >= MAX_TITLES:
        raise Problem("too_many_titles")
    made = same or InvoiceTitle(
        household_id=household_id, kind=party.kind, sealed=party.sealed(), created_at=now
    )
    db.session.add(made)
    db.session.flush()
    if is_default or not known:
        make_default(made)
    audit("paper.title_added", "household", household_id, actor, now=now, title=made.id)
    return made


def make_default(title: InvoiceTitle) -> None:
    """This one is the household's default from now on."""
    db.session.execute(
        sa.update(InvoiceTitle)
        .where(InvoiceTitle.household_id == title.household_id, InvoiceTitle.is_default)
        .values(is_default=False)
        .execution_options(synchronize_session="fetch")
    )
    title.is_default = True
    db.session.flush()


def drop(title: InvoiceTitle, actor: Principal, now: datetime) -> None:
    """A title nobody wants any more; papers keep what they were issued with."""
    title.dropped_at, title.is_default = now, False
    audit("paper.title_dropped", "household", title.household_id, actor, now=now, title=title.id)


def _standing(household_id: int) -> Sequence[InvoiceTitle]:
    """The titles in use; those of whoever has moved out are nobody's any more."""
    query = sa.select(InvoiceTitle).where(
        InvoiceTitle.household_id == household_id, InvoiceTitle.dropped_at.is_(None)
    )
    moved_on = handover.since(household_id)
    if moved_on is not None:
        query = query.where(InvoiceTitle.created_at >= day_start(moved_on))
    order = (InvoiceTitle.is_default.desc(), InvoiceTitle.id.desc())
    return db.session.scalars(query.order_by(*order).limit(MAX_TITLES)).all()
