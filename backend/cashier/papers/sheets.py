"""A stored paper as its template sees it, and as a document: printed, printed again, or sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime
from decimal import Decimal
from html import escape
from typing import Any

import sqlalchemy as sa

from backend.base.clock import SHANGHAI
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.money import yuan_str
from backend.cashier.papers import issuing, press, rules, titles
from backend.cashier.papers.models import Paper, PaperPlatform, PaperPrint, PaperTemplate
from backend.people.service import Principal, audit

NO_TAX = "***"  # what stands in the column of tax where none is levied


def context_of(paper: Paper) -> dict[str, Any]:
    """Everything a template may print, all of it text."""
    platform = db.session.get(PaperPlatform, paper.id)
    return {
        **facts(paper.kind, paper.day, paper.amount_fen, paper.tax_fen, paper.content),
        "no": paper.paper_no,
        "about_no": paper.content.get("about_no", ""),
        "platform_no": platform.platform_no if platform else "",
        "buyer": asdict(titles.opened(paper.party_sealed, issuing.PARTY)),
        **lines_facts(issuing.lines_of(paper)),
        "created": paper.issued_at.isoformat(timespec="seconds"),
    }


def facts(
    kind: str, day: date, amount_fen: int, tax_fen: int, content: Mapping[str, Any]
) -> dict[str, Any]:
    """What is the same whatever the paper: dates and sums as they are written."""
    paid_at = content.get("paid_at")
    red = amount_fen < 0
    return {
        "kind": kind,
        "title": ("红字" if red else "") + rules.TITLES[kind],
        "red": red,
        "day": day.isoformat(),
        "date_zh": f"{day.year}年{day.month:02d}月{day.day:02d}日",
        "seller": dict(content["seller"]),
        "place": content["place"],
        "account_no": content["account_no"],
        "method": content.get("method", ""),
        "reference": content.get("reference", ""),
        "payee": content.get("payee", ""),
        "reviewer": content.get("reviewer", ""),
        "drawer": content.get("drawer", ""),
        "remark": content.get("remark", ""),
        "paid_at": _minute(paid_at) if paid_at else "",
        "amount": yuan_str(amount_fen),
        "net": yuan_str(amount_fen - tax_fen),
        "tax": yuan_str(tax_fen),
        "capitals": rules.capitals(amount_fen),
    }


def lines_facts(lines: Sequence[rules.Line]) -> dict[str, Any]:
    """A paper's lines, and their tax: *** where tax is not spoken of on any of them."""
    tax_fen = sum(line.tax_fen for line in lines)
    is_taxed = any(line.rate_bp is not None for line in lines)
    return {
        "lines": [line_facts(line) for line in lines],
        "tax_sum": f"¥{yuan_str(tax_fen)}" if is_taxed else NO_TAX,
    }


def line_facts(row: rules.Line) -> dict[str, str]:
    """A line as it is written; `price` is the bill's, `net_price` what the net sum is by."""
    return {
        "title": row.title,
        "quantity": _plain(row.quantity),
        "unit": row.unit,
        "price": _plain(row.price),
        "net_price": _plain(rules.net_price(row)),
        "amount": yuan_str(row.amount_fen),
        "net": yuan_str(row.amount_fen - row.tax_fen),
        "rate": rules.rate_text(row.treatment, row.rate_bp),
        "tax": yuan_str(row.tax_fen) if row.rate_bp is not None else NO_TAX,
    }


def _minute(text: str) -> str:
    return f"{datetime.fromisoformat(text).astimezone(SHANGHAI):%Y-%m-%d %H:%M}"


def _plain(number: Decimal | None) -> str:
    """At most eight digits after the point, no zeros behind; '' for none."""
    if number is None:
        return ""
    return f"{number.quantize(Decimal('1e-8')).normalize():f}"


def marks(*words: str) -> str:
    """What stands in the corner of a sheet whatever its template says."""
    return "".join(f"<span>{escape(word)}</span>" for word in words)


def _state_marks(paper: Paper) -> list[str]:
    words = ["红字"] if paper.about_id is not None else []
    return words + (["作废"] if paper.void is not None else [])


def electronic(paper: Paper, size: str = "a5") -> press.Sheet:
    """The PDF a resident or a colleague downloads: the same bytes each time."""
    words = [*_state_marks(paper), "电子件"]
    return press.pdf(_source(paper, size), context_of(paper), size, marks(*words))


def on_screen(paper: Paper, size: str) -> press.Sheet:
    """The paper to look at: marked, so that nobody takes it for a print."""
    words = [*_state_marks(paper), "预览 不作凭证"]
    return press.html(_source(paper, size), context_of(paper), size, marks(*words))


def printed(paper: Paper, seq: int) -> press.Sheet:
    """The sheet of a print that has been written down; from the second one on it says 补打."""
    found = db.session.get(PaperPrint, (paper.id, seq))
    if found is None:
        raise Problem("not_found")
    words = [*_state_marks(paper), *([f"补打 第{seq}次"] if seq > 1 else [])]
    return press.html(_source(paper, found.size), context_of(paper), found.size, marks(*words))


def print_once(paper: Paper, size: str, actor: Principal, now: datetime) -> PaperPrint:
    """Write down that a paper is being printed; the caller commits, then asks for the sheet."""
    if size not in rules.SIZES:
        raise Problem("validation", field="size")
    db.session.execute(sa.select(Paper.id).where(Paper.id == paper.id).with_for_update())
    newest = sa.select(sa.func.max(PaperPrint.seq)).where(PaperPrint.paper_id == paper.id)
    seq = (db.session.scalar(newest) or 0) + 1
    made = PaperPrint(paper_id=paper.id, seq=seq, size=size, printed_at=now, printed_by=actor.id)
    db.session.add(made)
    db.session.flush()
    audit("paper.printed", "paper", paper.paper_no, actor, now=now, seq=seq, size=size)
    return made


def prints_of(paper: Paper) -> Sequence[PaperPrint]:
    """How often, when and by whom it was printed."""
    query = sa.select(PaperPrint).where(PaperPrint.paper_id == paper.id).order_by(PaperPrint.seq)
    return db.session.scalars(query).all()


def _source(paper: Paper, size: str) -> str:
    template_id = paper.templates.get(size)
    if template_id is None:
        raise Problem("validation", "没有这种纸张。", field="size")
    return db.session.get_one(PaperTemplate, template_id).source
