"""样张: a made-up paper to try a template on; ordinary, and as awkward as they come."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date
from decimal import Decimal
from typing import Any

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.papers import press, rules, sheets, templates
from backend.cashier.papers.rules import Line
from backend.cashier.papers.titles import Party

_SELLER = {
    "name": "暖阳热力有限公司",
    "tax_id": "91350100M000100Y43",
    "address": "学府路1号",
    "phone": "0451-5550000",
    "bank": "工商银行学府支行",
    "bank_account": "3500040109006626777",
}
_CONTENT = {
    "seller": _SELLER,
    "place": "学府路暖阳小区3号楼2单元1201",
    "account_no": "A-101",
    "method": "现金",
    "reference": "000123",
    "payee": "王会计",
    "reviewer": "李复核",
    "drawer": "王会计",
    "remark": "",
    "paid_at": "2026-11-20T12:00:00+08:00",
}


def context(kind: str, *, red: bool = False) -> dict[str, Any]:
    """A paper nobody was given, as a template sees it."""
    paper_kind = "receipt" if kind == "receipt" else "invoice"
    lines = _lines(paper_kind)
    if red:
        lines = rules.taken_back(lines, [], sum(line.amount_fen for line in lines), "红冲")
    amount_fen = sum(line.amount_fen for line in lines)
    tax_fen = sum(line.tax_fen for line in lines)
    about_no = f"{rules.PREFIX[paper_kind]}01202600000001" if red else ""
    content = _CONTENT | ({"remark": f"红冲 {about_no}：样张"} if red else {})
    party = Party("company", "样张（北京）科技有限公司", "91110108551385082Q")
    return {
        **sheets.facts(paper_kind, date(2026, 11, 20), amount_fen, tax_fen, content),
        "no": f"{rules.PREFIX[paper_kind]}01202600000000",
        "about_no": about_no,
        "platform_no": "",
        "buyer": asdict(party if kind == "invoice" else Party(name="张㛃")),
        **sheets.lines_facts(lines),
        "created": "2026-11-20T04:00:00+00:00",
    }


def _lines(paper_kind: str) -> list[Line]:
    if paper_kind == "receipt":
        return [
            Line("2026年10月 热费", 123456, "heat", 1),
            Line("2026年10月 水费", 6400, "water", 2),
        ]
    area, heat = Decimal("124.80"), Decimal("12.3456")
    return [
        rules.taxed(
            Line("热费 基本热费", 99591, "heat", 1, area, "m²", Decimal("7.98")), "exempt", None
        ),
        rules.taxed(
            Line("热费 计量热费", 54827, "heat", 1, heat, "GJ", Decimal("44.41")), "exempt", None
        ),
        rules.taxed(
            Line("水费", 6400, "water", 2, Decimal(20), "m³", Decimal("3.2")), "taxed", 900
        ),
    ]


def preview(kind: str, size: str, source: str, *, red: bool = False) -> press.Sheet:
    """A template's specimen as a page to look at; Problem template_invalid names the line."""
    return press.html(source, context(kind, red=red), size, sheets.marks("样张 不作凭证"))


def proof(kind: str, size: str, source: str, *, red: bool = False) -> press.Sheet:
    """The same as a PDF, which also tells its pages."""
    return press.pdf(source, context(kind, red=red), size, sheets.marks("样张 不作凭证"))


def prove_template(template_id: int) -> None:
    """`prove` a stored version; nothing is held while the press is at work."""
    found = templates.template_of(template_id)
    kind, size, source = found.kind, found.size, found.source
    db.session.commit()
    prove(kind, size, source)


def prove(kind: str, size: str, source: str) -> None:
    """A template that is put into use prints an ordinary paper and a red one, each on one sheet.

    Problem template_invalid.
    """
    for red in (False, True):
        pages = proof(kind, size, source, red=red).pages
        if pages != 1:
            raise Problem("template_invalid", f"样张排成了 {pages} 页，应当是一页。")
