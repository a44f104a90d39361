"""作废与红冲: a paper is voided while it is fresh, later taken back by a red-letter one."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa

from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import shifts
from backend.cashier.papers import issuing, rules, titles
from backend.cashier.papers.models import Paper, PaperVoid
from backend.people.service import Principal, audit

RED_TITLE = "红冲"


def void(
    paper_no: str, reason: str, actor: Principal, second: Principal | None, now: datetime
) -> Paper:
    """A paper that is not to count: its number stays, shown as voided; the caller commits.

    Problems not_found, reason_missing, paper_voided, paper_not_voidable, approval_needed.
    """
    paper = _held(paper_no, reason)
    if not rules.may_void(paper.kind, paper.day, business_day(now)) or _red_fen(paper):
        raise Problem("paper_not_voidable")
    second_by = shifts.signed_by([paper.amount_fen], "paper_limit_fen", actor, second)
    return keep_void(paper, reason.strip(), actor, second_by, now)


def keep_void(
    paper: Paper, reason: str, actor: Principal | None, second_by: int | None, now: datetime
) -> Paper:
    """Write the void down; the one who calls has seen to who may."""
    made = PaperVoid(
        paper_id=paper.id,
        voided_at=now,
        day=business_day(now),
        voided_by=actor.id if actor else None,
        second_by=second_by,
        reason=reason,
    )
    db.session.add(made)
    db.session.flush()
    db.session.expire(paper, ["void"])
    audit("paper.voided", "paper", paper.paper_no, actor, now=now, reason=reason, second=second_by)
    return paper


def undo(
    paper: Paper, reason: str, actor: Principal, second_by: int | None, now: datetime
) -> Paper | None:
    """What a paper stood for is gone: voided where it may be, else all that is left taken back.

    None where it counts for nothing already.  The one who calls has seen to who may.
    """
    if paper.void is not None:
        return None
    left_fen = paper.amount_fen + _red_fen(paper)
    if left_fen == paper.amount_fen and rules.may_void(paper.kind, paper.day, business_day(now)):
        return keep_void(paper, reason, actor, second_by, now)
    return keep_red(paper, left_fen, reason, actor, second_by, now) if left_fen else None


def take_back(
    paper_no: str,
    amount_fen: int | None,
    reason: str,
    actor: Principal,
    second: Principal | None,
    now: datetime,
) -> Paper:
    """A red-letter paper over a part of another, or (None) all that is left; the caller commits.

    Problems not_found, reason_missing, paper_voided, red_of_red, red_too_much, approval_needed,
    second_person.
    """
    paper = _held(paper_no, reason)
    left_fen = paper.amount_fen + _red_fen(paper)
    wanted_fen = left_fen if amount_fen is None else amount_fen
    if not 0 < wanted_fen <= left_fen:
        raise Problem("red_too_much", field="amount_fen", left_fen=left_fen)
    second_by = shifts.signed_by([wanted_fen], "paper_limit_fen", actor, second)
    return keep_red(paper, wanted_fen, reason.strip(), actor, second_by, now)


def keep_red(
    paper: Paper,
    amount_fen: int,
    reason: str,
    actor: Principal | None,
    second_by: int | None,
    now: datetime,
) -> Paper:
    """Issue the red-letter paper; the one who calls holds the original and has seen to who may."""
    earlier = _reds(paper)
    before = [line for red in earlier for line in issuing.lines_of(red)]
    lines = rules.taken_back(issuing.lines_of(paper), before, amount_fen, RED_TITLE)
    content = {
        **{name: paper.content.get(name, "") for name in ("method", "reference", "payee")},
        "about_no": paper.paper_no,
        "remark": f"红冲 {paper.paper_no}：{reason}",
    }
    draft = issuing.Draft(
        paper.kind,
        f"red:{paper.paper_no}:{len(earlier) + 1}",
        db.session.get_one(Household, paper.household_id),
        lines,
        titles.opened(paper.party_sealed, issuing.PARTY),
        content,
        paper,
        reason,
        second_by,
    )
    return issuing.issue(draft, actor, now)


def held(paper_no: str) -> Paper:
    """A paper that counts, held until commit; not_found, paper_voided, red_of_red."""
    query = sa.select(Paper).where(Paper.paper_no == paper_no)
    paper = db.session.scalar(query.with_for_update().execution_options(populate_existing=True))
    if paper is None:
        raise Problem("not_found")
    if paper.about_id is not None:
        raise Problem("red_of_red")
    if paper.void is not None:
        raise Problem("paper_voided")
    return paper


def _held(paper_no: str, reason: str) -> Paper:
    if len(reason.strip()) < rules.MIN_REASON:
        raise Problem("reason_missing", field="reason")
    return held(paper_no)


def _reds(paper: Paper) -> list[Paper]:
    query = sa.select(Paper).where(Paper.about_id == paper.id).order_by(Paper.id)
    return list(db.session.scalars(query))


def _red_fen(paper: Paper) -> int:
    """What has been taken back of a paper: zero or negative."""
    return sum(red.amount_fen for red in _reds(paper))
