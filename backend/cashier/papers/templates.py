"""What papers look like: versions a person edits as drafts and a second person puts into use.

Those that come with Nuan stand in `sheets/`; each is stored as a version the first time it is
needed, so that a paper always names rows that never change.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import date, datetime
from pathlib import Path
from string import Template

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

from backend.base.clock import business_day
from backend.base.db import db, hold
from backend.base.errors import Problem
from backend.cashier.papers import rules
from backend.cashier.papers.models import PaperTemplate
from backend.people.service import Principal, audit

SHEETS = Path(__file__).with_name("sheets")
KINDS = ("receipt", "invoice")
SIZE_TITLES = {"a5": "A5（210×148 mm）", "a4": "A4（210×297 mm）", "pin": "针打 241×93 mm"}
MAX_SOURCE = 64 * 1024
MAX_VERSIONS = 500
# size -> (style, body, what of the style is the size's own)
_PARTS: dict[str, tuple[str, str, dict[str, str]]] = {
    "a4": (
        "page.css",
        "page",
        {
            "edge": "14mm 15mm 12mm 15mm",
            "title": "20pt",
            "text": "9.5pt",
            "small": "9pt",
            "gap": "2.5mm",
            "cell": "1.3mm",
        },
    ),
    "a5": (
        "page.css",
        "page",
        {
            "edge": "8mm 10mm 7mm 10mm",
            "title": "17pt",
            "text": "9pt",
            "small": "8pt",
            "gap": "1.5mm",
            "cell": "0.8mm",
        },
    ),
    "pin": ("pin.css", "pin", {}),
}
_FIRST_DAY = date(2020, 1, 1)
_CAME_WITH = "随系统"


def kind_of(paper_kind: str) -> str:
    """Which templates a kind of paper is printed by."""
    return "receipt" if paper_kind == "receipt" else "invoice"


def in_force(paper_kind: str, day: date) -> dict[str, int]:
    """{size: template id}: what a paper issued on a day is printed by, for ever."""
    kind = kind_of(paper_kind)
    found = _live(kind, day)
    if len(found) < len(rules.SIZES):
        _store_missing(kind)
        found = _live(kind, day)
    return found


def _live(kind: str, day: date) -> dict[str, int]:
    newest = (PaperTemplate.effective_from.desc(), PaperTemplate.version.desc())
    query = (
        sa.select(PaperTemplate.size, PaperTemplate.id)
        .ext(distinct_on(PaperTemplate.size))
        .where(
            PaperTemplate.kind == kind,
            PaperTemplate.state == "live",
            PaperTemplate.effective_from <= day,
        )
        .order_by(PaperTemplate.size, *newest)
    )
    return {row.size: row.id for row in db.session.execute(query)}


def _store_missing(kind: str) -> None:
    """Version 1 of every size is the one that came with Nuan."""
    rows = [
        {
            "kind": kind,
            "size": size,
            "version": 1,
            "name": _CAME_WITH,
            "source": came_with(kind, size),
            "state": "live",
            "effective_from": _FIRST_DAY,
        }
        for size in rules.SIZES
    ]
    db.session.execute(insert(PaperTemplate).values(rows).on_conflict_do_nothing())


def renew(day: date) -> int:
    """Take what comes with a newer Nuan into use from a day on; how many.  The caller commits.

    Only where the newest version is no company's own, and each text once: an older program that
    still runs beside this one does not bring its own back.
    """
    made = 0
    for kind in KINDS:
        _store_missing(kind)
        for size in rules.SIZES:
            hold(f"template:{kind}:{size}")
            same = sa.select(PaperTemplate).filter_by(kind=kind, size=size)
            every = db.session.scalars(same.order_by(PaperTemplate.version)).all()
            ours = [row for row in every if row.created_by is None]
            newest = [row for row in every if row.state == "live"][-1]
            source = came_with(kind, size)
            if newest.created_by is not None or source in {row.source for row in ours}:
                continue
            version = every[-1].version + 1
            db.session.add(
                PaperTemplate(
                    kind=kind,
                    size=size,
                    version=version,
                    name=_CAME_WITH,
                    source=source,
                    state="live",
                    effective_from=day,
                )
            )
            made += 1
    db.session.flush()
    return made


def came_with(kind: str, size: str) -> str:
    """The source of the template that comes with Nuan."""
    style, body, values = _PARTS[size]
    css = Template((SHEETS / style).read_text()).substitute(values)
    return f"<style>\n{css}</style>\n" + (SHEETS / f"{kind}-{body}.html").read_text()


def versions() -> Sequence[PaperTemplate]:
    """Every version, the newest of each kind and size first."""
    for kind in KINDS:
        _store_missing(kind)
    order = (PaperTemplate.kind, PaperTemplate.size, PaperTemplate.version.desc())
    return db.session.scalars(sa.select(PaperTemplate).order_by(*order).limit(MAX_VERSIONS)).all()


def template_of(template_id: int) -> PaperTemplate:
    """A version; not_found."""
    found = db.session.get(PaperTemplate, template_id, populate_existing=True)
    if found is None:
        raise Problem("not_found")
    return found


def draft(
    kind: str,
    size: str,
    name: str,
    source: str,
    effective_from: date,
    actor: Principal,
    now: datetime,
) -> PaperTemplate:
    """A new version, not in use yet; the caller commits.  Problem validation."""
    _checked(kind, size, source)
    hold(f"template:{kind}:{size}")
    _store_missing(kind)
    newest = sa.select(sa.func.max(PaperTemplate.version)).filter_by(kind=kind, size=size)
    made = PaperTemplate(
        kind=kind,
        size=size,
        version=(db.session.scalar(newest) or 0) + 1,
        name=name,
        source=source,
        effective_from=effective_from,
        created_by=actor.id,
        created_at=now,
    )
    db.session.add(made)
    db.session.flush()
    audit("paper.template_drafted", "paper_template", made.id, actor, now=now)
    return made


def edit(
    template_id: int,
    name: str,
    source: str,
    effective_from: date,
    seen: str,
    actor: Principal,
    now: datetime,
) -> PaperTemplate:
    """Change a draft; `seen` is the fingerprint of the source the editor began with.

    Problems not_found, template_not_draft, template_changed, validation.
    """
    found = _held_draft(template_id)
    if seen != fingerprint(found):
        raise Problem("template_changed")
    _checked(found.kind, found.size, source)
    found.name, found.source, found.effective_from = name, source, effective_from
    found.created_by = actor.id  # whoever wrote it last may not approve it
    db.session.flush()
    audit("paper.template_edited", "paper_template", found.id, actor, now=now)
    return found


def approve(template_id: int, seen: str, actor: Principal, now: datetime) -> PaperTemplate:
    """Put a draft into use from its day on, after `specimens.prove`; the caller commits.

    Problems not_found, template_not_draft, template_changed, second_person; validation where its
    day is over (papers of that day have their template).
    """
    found = _held_draft(template_id)
    if seen != fingerprint(found):
        raise Problem("template_changed")
    if found.created_by == actor.id:
        raise Problem("second_person", "模板须由另一位同事启用，不能启用自己编写的。")
    if found.effective_from < business_day(now):
        raise Problem("validation", "启用日期不能早于今天。", field="effective_from")
    found.state, found.approved_by, found.approved_at = "live", actor.id, now
    db.session.flush()
    audit("paper.template_approved", "paper_template", found.id, actor, now=now)
    return found


def drop(template_id: int, actor: Principal, now: datetime) -> PaperTemplate:
    """Give a draft up; it is kept.  Problems not_found, template_not_draft."""
    found = _held_draft(template_id)
    found.state = "dropped"
    db.session.flush()
    audit("paper.template_dropped", "paper_template", found.id, actor, now=now)
    return found


def fingerprint(template: PaperTemplate) -> str:
    """Of what an editor or an approver has in front of them."""
    seen = f"{template.name}\0{template.effective_from}\0{template.source}"
    return hashlib.sha256(seen.encode()).hexdigest()[:16]


def _held_draft(template_id: int) -> PaperTemplate:
    found = db.session.get(PaperTemplate, template_id, with_for_update=True, populate_existing=True)
    if found is None:
        raise Problem("not_found")
    if found.state != "draft":
        raise Problem("template_not_draft")
    return found


def _checked(kind: str, size: str, source: str) -> None:
    if kind not in KINDS:
        raise Problem("validation", field="kind")
    if size not in rules.SIZES:
        raise Problem("validation", field="size")
    if not source.strip() or len(source) > MAX_SOURCE:
        raise Problem(
            "validation", f"模板须为 1 到 {MAX_SOURCE // 1024} KB 的文字。", field="source"
        )
