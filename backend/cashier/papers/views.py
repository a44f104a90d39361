"""Papers as people look for them: by number, household, kind, day and state, a page at a time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import aliased

from backend.archive.models import Household
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.papers import issuing, rules, sheets, titles
from backend.cashier.papers.models import Paper, PaperPlatform, PaperPrint, PaperVoid
from backend.people.models import Staff

MAX_PAGE = 100
STATES = {
    "valid": "有效",
    "part": "部分红冲",
    "reversed": "已红冲",
    "red": "红字",
    "voided": "已作废",
}


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for; empty means any.  `before`: papers older than this id."""

    text: str = ""  # a paper's number (or the end of it), an account number or a platform's number
    kind: str = ""
    day_from: date | None = None
    day_to: date | None = None  # inclusive
    household_id: int | None = None
    before: int | None = None
    limit: int = 50


_RED = aliased(Paper)
_BACK = (
    sa.select(sa.func.coalesce(sa.func.sum(_RED.amount_fen), 0))
    .where(_RED.about_id == Paper.id)
    .correlate(Paper)
    .scalar_subquery()
)
_PRINTS = (
    sa.select(sa.func.count())
    .where(PaperPrint.paper_id == Paper.id)
    .correlate(Paper)
    .scalar_subquery()
)


def _query() -> sa.Select[Any]:
    return (
        sa.select(
            Paper,
            Household.account_no,
            _BACK.label("back_fen"),
            _PRINTS.label("prints"),
            PaperVoid.voided_at,
            PaperVoid.reason.label("void_reason"),
            PaperPlatform.platform,
            PaperPlatform.platform_no,
            Staff.name.label("issued_by"),
        )
        .join(Household, Household.id == Paper.household_id)
        .outerjoin(PaperVoid, PaperVoid.paper_id == Paper.id)
        .outerjoin(PaperPlatform, PaperPlatform.paper_id == Paper.id)
        .outerjoin(Staff, Staff.id == Paper.issued_by)
        .execution_options(populate_existing=True)
    )


def search(wanted: Search) -> list[dict[str, Any]]:
    """Papers, the newest first; one more than asked for tells that there are more."""
    query = _query().order_by(Paper.id.desc()).limit(min(wanted.limit, MAX_PAGE) + 1)
    text = wanted.text.strip().replace("\0", "")
    if text:
        query = query.where(
            sa.or_(
                Paper.paper_no == text.upper(),
                Household.account_no == text,
                PaperPlatform.platform_no == text,
            )
        )
    if wanted.kind:
        query = query.where(Paper.kind == wanted.kind)
    if wanted.household_id is not None:
        query = query.where(Paper.household_id == wanted.household_id)
    if wanted.day_from is not None:
        query = query.where(Paper.day >= wanted.day_from)
    if wanted.day_to is not None:
        query = query.where(Paper.day <= wanted.day_to)
    if wanted.before is not None:
        query = query.where(Paper.id < wanted.before)
    return [_row(found) for found in db.session.execute(query)]


def by_number(paper_no: str) -> Paper:
    """A paper; not_found."""
    found: Paper | None = db.session.scalar(sa.select(Paper).where(Paper.paper_no == paper_no))
    if found is None:
        raise Problem("not_found")
    return found


def detail(paper_no: str) -> dict[str, Any]:
    """A paper with its lines, its red-letter papers and its prints; not_found."""
    found = db.session.execute(_query().where(Paper.paper_no == paper_no)).first()
    if found is None:
        raise Problem("not_found")
    paper: Paper = found[0]
    reds = db.session.scalars(
        sa.select(Paper.paper_no).where(Paper.about_id == paper.id).order_by(Paper.id)
    ).all()
    about = db.session.get(Paper, paper.about_id) if paper.about_id is not None else None
    return {
        **_row(found),
        "lines": [
            {**sheets.line_facts(line), "amount_fen": line.amount_fen, "tax_fen": line.tax_fen}
            for line in issuing.lines_of(paper)
        ],
        "capitals": rules.capitals(paper.amount_fen),
        "content": paper.content,
        "reds": reds,
        "about_no": about.paper_no if about else None,
        "copies": _copies(paper),
    }


def _copies(paper: Paper) -> Sequence[dict[str, Any]]:
    rows = db.session.execute(
        sa.select(PaperPrint.seq, PaperPrint.size, PaperPrint.printed_at, Staff.name)
        .join(Staff, Staff.id == PaperPrint.printed_by)
        .where(PaperPrint.paper_id == paper.id)
        .order_by(PaperPrint.seq)
    )
    return [dict(row._mapping) for row in rows]


def _row(found: sa.Row[Any]) -> dict[str, Any]:
    paper: Paper = found[0]
    party = titles.opened(paper.party_sealed, issuing.PARTY)
    return {
        "id": paper.id,
        "paper_no": paper.paper_no,
        "kind": paper.kind,
        "title": rules.TITLES[paper.kind],
        "state": _state(paper, found.back_fen, found.voided_at is not None),
        "household_id": paper.household_id,
        "account_no": found.account_no,
        "place": paper.content["place"],
        "buyer": party.name,
        "buyer_tax_id": party.tax_id,
        "amount_fen": paper.amount_fen,
        "tax_fen": paper.tax_fen,
        "left_fen": 0 if found.voided_at else max(0, paper.amount_fen + int(found.back_fen)),
        "day": paper.day,
        "issued_at": paper.issued_at,
        "issued_by": found.issued_by,
        "reason": paper.reason,
        "method": paper.content.get("method", ""),
        "prints": found.prints,
        "voided_at": found.voided_at,
        "void_reason": found.void_reason,
        "platform": found.platform,
        "platform_no": found.platform_no,
    }


def _state(paper: Paper, back_fen: int, voided: bool) -> str:
    if voided:
        return "voided"
    if paper.about_id is not None:
        return "red"
    if not back_fen:
        return "valid"
    return "part" if paper.amount_fen + back_fen > 0 else "reversed"
