"""数电票: the number a tax platform gave its own document is kept beside ours, once."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy.exc import IntegrityError

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.papers import views
from backend.cashier.papers.models import PaperPlatform
from backend.people.service import Principal, audit


def record(
    paper_no: str, platform: str, platform_no: str, actor: Principal, now: datetime
) -> PaperPlatform:
    """Write the platform's number down, for ever; the caller commits.

    The same again is the one already there.  Problems not_found, validation (a receipt has none),
    platform_no_taken (the paper has another, or another paper has it).
    """
    paper = views.by_number(paper_no)
    if paper.kind == "receipt":
        raise Problem("validation", "收据没有税务平台号码。", field="platform_no")
    held = db.session.get(PaperPlatform, paper.id)
    if held is not None:
        if (held.platform, held.platform_no) == (platform, platform_no):
            return held
        raise Problem("platform_no_taken", field="platform_no")
    made = PaperPlatform(
        paper_id=paper.id,
        platform=platform,
        platform_no=platform_no,
        recorded_at=now,
        recorded_by=actor.id,
    )
    db.session.add(made)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        raise Problem("platform_no_taken", field="platform_no") from None
    audit("paper.platform_no", "paper", paper_no, actor, now=now, platform_no=platform_no)
    return made
