"""Receipts, invoices, titles, templates and tax rates for the finance desk (票据)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response

from backend.api import answers
from backend.api.fields import ID
from backend.api.schemas_bills import IdempotencyHeader
from backend.api.schemas_papers import (
    InvoiceableOut,
    InvoiceIn,
    PaperDetailOut,
    PapersIn,
    PapersOut,
    PlatformIn,
    PrintOut,
    RedIn,
    SeriesOut,
    SizeIn,
    TaxRateIn,
    TaxRateOut,
    TaxRatesOut,
    TitleIn,
    TitleOut,
    TitlesOut,
    VoidPaperIn,
    WorklistOut,
)
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import shifts
from backend.cashier.papers import (
    deductions,
    invoices,
    numbering,
    platform,
    sheets,
    tax,
    titles,
    undoing,
    views,
    worklist,
)
from backend.people.access import allow, principal
from backend.people.service import Principal

bp = APIBlueprint("staff_papers", __name__, url_prefix="/api/v1/staff", tag="票据")
NO = "string(maxlength=32)"


@bp.get("/papers")
@bp.input(PapersIn, location="query", arg_name="query")
@bp.output(PapersOut)
@allow("finance", "manager")
def papers(query: dict[str, Any]) -> dict[str, Any]:
    """Papers by number, account number, kind and day, the newest first."""
    return page_of(views.search(views.Search(**query)), query["limit"])


def page_of(found: list[dict[str, Any]], limit: int) -> dict[str, Any]:
    """As many as were asked for, and where the next page begins."""
    shown = found[:limit]
    return {"papers": shown, "next_before": shown[-1]["id"] if len(found) > limit else None}


@bp.get("/paper-series")
@bp.output(SeriesOut)
@allow("finance", "manager")
def series() -> dict[str, Any]:
    """The numbering report: every series, and whether a number is missing."""
    return {"series": numbering.report()}


@bp.get("/paper-worklist")
@bp.output(WorklistOut)
@allow("finance", "manager")
def work() -> dict[str, Any]:
    """Papers that say more than was paid and kept."""
    return {"papers": worklist.waiting()}


@bp.get(f"/papers/<{NO}:paper_no>")
@bp.output(PaperDetailOut)
@bp.doc(responses=[404])
@allow("finance", "manager")
def paper(paper_no: str) -> dict[str, Any]:
    """A paper with its lines and what takes it back."""
    return views.detail(paper_no)


@bp.get(f"/papers/<{NO}:paper_no>/pdf")
@bp.input(SizeIn, location="query", arg_name="query")
@bp.output(FileSchema(type="string", format="binary"), content_type="application/pdf")
@bp.doc(responses=[404, 503])
@allow("finance", "manager")
def paper_pdf(paper_no: str, query: dict[str, Any]) -> Response:
    """The paper as a PDF."""
    return pdf_answer(paper_no, query["size"])


def pdf_answer(paper_no: str, size: str) -> Response:
    """A paper's PDF; X-Missing-Glyphs names characters that had to be spelled out."""
    sheet = sheets.electronic(views.by_number(paper_no), size)
    answer = Response(sheet.document, content_type="application/pdf")
    answer.headers["Content-Disposition"] = f'inline; filename="{paper_no}.pdf"'
    answer.headers["Cache-Control"] = "no-store"
    if sheet.missing:
        answer.headers["X-Missing-Glyphs"] = " ".join(f"U+{ord(c):04X}" for c in sheet.missing)
    return answer


@bp.post(f"/papers/<{NO}:paper_no>/prints")
@bp.input(SizeIn, arg_name="body")
@bp.output(PrintOut, status_code=201)
@bp.doc(responses=[404])
@allow("finance", "manager")
def print_paper(paper_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """Write a print down and get its page; from the second one on it is marked 补打."""
    found = views.by_number(paper_no)
    made = sheets.print_once(found, body["size"], principal(), answers.now())
    db.session.commit()
    sheet = sheets.printed(found, made.seq)
    return {"seq": made.seq, "size": made.size, "html": sheet.document.decode()}


@bp.post(f"/papers/<{NO}:paper_no>/void")
@bp.input(VoidPaperIn, arg_name="body")
@bp.output(PaperDetailOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def void(paper_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """Void a paper: a receipt on its day, an invoice in its month; above a limit two sign."""
    second = _second(body)
    undoing.void(paper_no, body["reason"], principal(), second, answers.now())
    db.session.commit()
    return views.detail(paper_no)


@bp.post(f"/papers/<{NO}:paper_no>/red")
@bp.input(RedIn, arg_name="body")
@bp.output(PaperDetailOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def red(paper_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """Take a paper back, whole or a part, by a red-letter paper; above a limit two sign."""
    second, amount_fen = _second(body), body["amount_fen"]
    reason, now = body["reason"], answers.now()
    made = undoing.take_back(paper_no, amount_fen, reason, principal(), second, now)
    db.session.commit()
    return views.detail(made.paper_no)


@bp.post(f"/papers/<{NO}:paper_no>/platform")
@bp.input(PlatformIn, arg_name="body")
@bp.output(PaperDetailOut)
@bp.doc(responses=[404, 409])
@allow("finance", "manager")
def record(paper_no: str, body: dict[str, Any]) -> dict[str, Any]:
    """Write down the number the tax platform gave its own document (数电票)."""
    who, now = principal(), answers.now()
    platform.record(paper_no, body["platform"], body["platform_no"], who, now)
    db.session.commit()
    return views.detail(paper_no)


@bp.get(f"/households/<{ID}:household_id>/invoiceable")
@bp.output(InvoiceableOut)
@allow("finance", "manager")
def invoiceable(household_id: int) -> dict[str, Any]:
    """A household's paid bills and prepaid deductions that no invoice stands for yet."""
    return invoiceable_of(household_id)


def invoiceable_of(household_id: int, since: date | None = None) -> dict[str, Any]:
    """Bills, of those from a day on, and months."""
    return {
        "bills": invoices.invoiceable(household_id, since),
        "months": deductions.invoiceable(household_id, business_day(answers.now())),
    }


@bp.post(f"/households/<{ID}:household_id>/invoices")
@bp.input(IdempotencyHeader, location="headers", arg_name="header")
@bp.input(InvoiceIn, arg_name="body")
@bp.output(PaperDetailOut, status_code=201)
@bp.doc(responses=[400, 404, 409])
@allow("finance")
def issue_invoice(
    household_id: int, header: dict[str, Any], body: dict[str, Any]
) -> dict[str, Any]:
    """Issue an invoice; the same Idempotency-Key is the same invoice."""
    return issue_for(household_id, header["key"], body)


def issue_for(household_id: int, key: str | None, body: Mapping[str, Any]) -> dict[str, Any]:
    """Issue an invoice for whoever asks; the key is kept with the paper itself."""
    if key is None:
        raise Problem("idempotency_key_missing", field="Idempotency-Key")
    who = principal()
    wanted = invoices.Wanted(
        household_id,
        tuple(sorted(set(body["bill_ids"]))),
        body["kind"],
        body["title_id"],
        f"{who.kind}:{who.id}:{key}",
        body["remark"],
        tuple((one["utility"], deductions.month_of(one["month"])) for one in body["months"]),
    )
    made = invoices.issue(wanted, who, answers.now())
    db.session.commit()
    return views.detail(made.paper_no)


@bp.get(f"/households/<{ID}:household_id>/titles")
@bp.output(TitlesOut)
@allow("finance", "manager")
def household_titles(household_id: int) -> dict[str, Any]:
    """Whom a household's invoices can be made to."""
    return {"titles": titles.of_household(household_id)}


@bp.post(f"/households/<{ID}:household_id>/titles")
@bp.input(TitleIn, arg_name="body")
@bp.output(TitleOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("finance")
def add_title(household_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """A new title of a household."""
    return add_for(household_id, body)


def add_for(household_id: int, body: Mapping[str, Any]) -> dict[str, Any]:
    """Keep a title for whoever asks."""
    party = titles.checked(body["kind"], body)
    made = titles.add(household_id, party, body["is_default"], principal(), answers.now())
    db.session.commit()
    return titles.view(made)


@bp.get("/tax-rates")
@bp.output(TaxRatesOut)
@allow("finance", "manager")
def tax_rates() -> dict[str, Any]:
    """Every tax rate, with the days it holds and the notice it rests on."""
    return {"rates": tax.rates()}


@bp.post("/tax-rates")
@bp.input(TaxRateIn, arg_name="body")
@bp.output(TaxRateOut, status_code=201)
@bp.doc(responses=[409])
@allow("finance", "manager")
def put_tax_rate(body: dict[str, Any]) -> Any:
    """A tax rate from a day on; two sign, and the one before it ends there."""
    second = _second(body)
    given = {name: value for name, value in body.items() if not name.startswith("second_")}
    made = tax.put(**given, actor=principal(), second=second)
    db.session.commit()
    return made


def _second(body: Mapping[str, Any]) -> Principal | None:
    return shifts.signer(body["second_login"], body["second_password"], answers.now())
