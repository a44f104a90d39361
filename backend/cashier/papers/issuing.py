"""Storing a paper: its number, its lines and everything it will be printed from, once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.archive import service as archive
from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.papers import numbering, rules, templates
from backend.cashier.papers.models import (
    Paper,
    PaperDeduction,
    PaperIssuer,
    PaperLine,
    PaperVoid,
)
from backend.cashier.papers.rules import Line
from backend.cashier.papers.titles import Party
from backend.people.models import Staff
from backend.people.service import Principal, audit

PARTY = "paper.party"
_SELLER = ("name", "tax_id", "address", "phone", "bank", "bank_account")


@dataclass(frozen=True, slots=True)
class Draft:
    """A paper before it has its number.

    `business_key` makes it one: the payment, the request, or the paper it takes back.  `content`:
    what is printed besides lines and parties (method, reference, payee, remark).
    """

    kind: str
    business_key: str
    household: Household
    lines: Sequence[Line]
    party: Party
    content: Mapping[str, Any] = field(default_factory=dict)
    about: Paper | None = None
    reason: str | None = None
    second_by: int | None = None


def known(business_key: str) -> Paper | None:
    """The paper issued under a key, if there is one."""
    found: Paper | None = db.session.scalar(
        sa.select(Paper).where(Paper.business_key == business_key)
    )
    return found


def issue(draft: Draft, actor: Principal | None, now: datetime) -> Paper:
    """Store a paper under the next number of its series; the caller commits, soon.

    A red-letter paper is its original's issuer's, on its original's templates.
    """
    if len(draft.lines) > rules.MAX_LINES:
        raise Problem("too_many_lines", field="bill_ids")
    issuer = _issuer(draft)
    day = business_day(now)
    printed_by = draft.about.templates if draft.about else templates.in_force(draft.kind, day)
    year, number, paper_no = numbering.take(issuer, draft.kind, now)
    made = Paper(
        paper_no=paper_no,
        business_key=draft.business_key,
        issuer_id=issuer.id,
        kind=draft.kind,
        year=year,
        number=number,
        household_id=draft.household.id,
        about_id=draft.about.id if draft.about else None,
        amount_fen=sum(line.amount_fen for line in draft.lines),
        tax_fen=sum(line.tax_fen for line in draft.lines),
        issued_at=now,
        day=day,
        issued_by=actor.id if actor and actor.kind == "staff" else None,
        second_by=draft.second_by,
        reason=draft.reason,
        content={
            "seller": {name: getattr(issuer, name) for name in _SELLER},
            "place": archive.address(draft.household),
            "account_no": draft.household.account_no,
            **draft.content,
            **_signers(draft, issuer, actor),
        },
        party_sealed=draft.party.sealed(PARTY),
        templates=dict(printed_by),
        lines=[_row(draft.household.id, seq, line) for seq, line in enumerate(draft.lines, 1)],
    )
    db.session.add(made)
    db.session.flush()
    audit("paper.issued", "paper", paper_no, actor, now=now, amount_fen=made.amount_fen)
    return made


def _signers(draft: Draft, issuer: PaperIssuer, actor: Principal | None) -> dict[str, str]:
    """收款人, 复核, 开票人: who did it where a person did, else whom the issuer names for all."""
    own = actor is not None and actor.kind == "staff"
    return {
        "payee": draft.content.get("payee") or issuer.payee,
        "reviewer": issuer.reviewer,
        "drawer": db.session.get_one(Staff, actor.id).name if actor and own else issuer.drawer,
    }


def _issuer(draft: Draft) -> PaperIssuer:
    if draft.about is not None:
        return db.session.get_one(PaperIssuer, draft.about.issuer_id)
    return numbering.issuer_of(draft.household)


def _row(household_id: int, seq: int, line: Line) -> PaperLine:
    return PaperLine(
        seq=seq,
        bill_id=line.bill_id,
        utility=line.utility,
        title=line.title,
        quantity=line.quantity,
        unit=line.unit,
        price=line.price,
        amount_fen=line.amount_fen,
        treatment=line.treatment,
        rate_bp=line.rate_bp,
        tax_fen=line.tax_fen,
        deductions=[
            PaperDeduction(day=day, household_id=household_id, utility=line.utility, amount_fen=fen)
            for day, fen in line.days
        ],
    )


def lines_of(paper: Paper) -> list[Line]:
    """A stored paper's lines as the rules know them."""
    return [
        Line(
            row.title,
            row.amount_fen,
            row.utility,
            row.bill_id,
            row.quantity,
            row.unit,
            row.price,
            row.treatment,
            row.rate_bp,
            row.tax_fen,
            tuple((part.day, part.amount_fen) for part in row.deductions),
        )
        for row in paper.lines
    ]


def counts() -> sa.ColumnElement[bool]:
    """In a query over papers: those that are not voided."""
    return ~sa.exists().where(PaperVoid.paper_id == Paper.id)
