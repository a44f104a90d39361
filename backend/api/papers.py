"""A resident's receipts and invoices: the list, the PDF, titles, and asking for an invoice."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from apiflask.schemas import FileSchema
from flask import Response

from backend.api import answers, limits
from backend.api.fields import ID
from backend.api.schemas_bills import IdempotencyHeader
from backend.api.schemas_papers import (
    InvoiceableOut,
    InvoiceIn,
    PaperDetailOut,
    PaperPageIn,
    PapersOut,
    SizeIn,
    TitleIn,
    TitleOut,
    TitlesOut,
)
from backend.api.staff_papers import (
    NO,
    add_for,
    invoiceable_of,
    issue_for,
    page_of,
    pdf_answer,
)
from backend.archive import service as archive
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import handover
from backend.cashier import service as cashier
from backend.cashier.papers import invoices, receipts, titles, views
from backend.people.access import allow, principal

bp = APIBlueprint("papers", __name__, url_prefix="/api/v1", tag="收据与发票")


@bp.get(f"/households/<{ID}:household_id>/papers")
@bp.input(PaperPageIn, location="query", arg_name="query")
@bp.output(PapersOut)
@bp.doc(responses=[404])
@allow("resident")
def papers(household_id: int, query: dict[str, Any]) -> dict[str, Any]:
    """A household's receipts and invoices, the newest first; an earlier owner's are his."""
    archive.household_for(principal().id, household_id)
    since = handover.since(household_id)
    wanted = views.Search(household_id=household_id, day_from=since, **query)
    return page_of(views.search(wanted), query["limit"])


@bp.get(f"/households/<{ID}:household_id>/invoiceable")
@bp.output(InvoiceableOut)
@bp.doc(responses=[404])
@allow("resident")
def invoiceable(household_id: int) -> dict[str, Any]:
    """Paid bills and prepaid deductions that no invoice stands for yet."""
    archive.household_for(principal().id, household_id)
    return invoiceable_of(household_id, handover.since(household_id))


@bp.post(f"/households/<{ID}:household_id>/invoices")
@limits.papers()
@bp.input(IdempotencyHeader, location="headers", arg_name="header")
@bp.input(InvoiceIn, arg_name="body")
@bp.output(PaperDetailOut, status_code=201)
@bp.doc(responses=[400, 404, 409, 422, 429])
@allow("resident")
def issue_invoice(
    household_id: int, header: dict[str, Any], body: dict[str, Any]
) -> dict[str, Any]:
    """Ask for an invoice over paid bills and deductions; the same key is the same invoice."""
    archive.household_for(principal().id, household_id)
    mine = {
        bill["bill_id"] for bill in invoices.invoiceable(household_id, handover.since(household_id))
    }
    known = invoices.known(household_id, principal(), header["key"])
    if known is None and not mine.issuperset(body["bill_ids"]):
        raise Problem("nothing_to_invoice", field="bill_ids")
    return issue_for(household_id, header["key"], body)


@bp.get(f"/households/<{ID}:household_id>/titles")
@bp.output(TitlesOut)
@bp.doc(responses=[404])
@allow("resident")
def household_titles(household_id: int) -> dict[str, Any]:
    """Whom invoices can be made to, the default first."""
    archive.household_for(principal().id, household_id)
    return {"titles": titles.of_household(household_id)}


@bp.post(f"/households/<{ID}:household_id>/titles")
@bp.input(TitleIn, arg_name="body")
@bp.output(TitleOut, status_code=201)
@bp.doc(responses=[404, 409])
@allow("resident")
def add_title(household_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """A new title; the first is the default."""
    archive.household_for(principal().id, household_id)
    return add_for(household_id, body)


@bp.put(f"/households/<{ID}:household_id>/titles/<{ID}:title_id>")
@bp.input(TitleIn, arg_name="body")
@bp.output(TitleOut)
@bp.doc(responses=[404, 409])
@allow("resident")
def edit_title(household_id: int, title_id: int, body: dict[str, Any]) -> dict[str, Any]:
    """A title written anew under a new id; the default stays the default."""
    archive.household_for(principal().id, household_id)
    party, who = titles.checked(body["kind"], body), principal()
    made = titles.replace(household_id, title_id, party, body["is_default"], who, answers.now())
    db.session.commit()
    return titles.view(made)


@bp.post(f"/households/<{ID}:household_id>/titles/<{ID}:title_id>/default")
@bp.output(TitlesOut)
@bp.doc(responses=[404])
@allow("resident")
def default_title(household_id: int, title_id: int) -> dict[str, Any]:
    """Make a title the default."""
    archive.household_for(principal().id, household_id)
    titles.make_default(titles.title_of(household_id, title_id))
    db.session.commit()
    return {"titles": titles.of_household(household_id)}


@bp.delete(f"/households/<{ID}:household_id>/titles/<{ID}:title_id>")
@bp.output({}, status_code=204)
@bp.doc(responses=[404])
@allow("resident")
def drop_title(household_id: int, title_id: int) -> str:
    """Drop a title; invoices already issued keep it."""
    archive.household_for(principal().id, household_id)
    titles.drop(titles.title_of(household_id, title_id), principal(), answers.now())
    db.session.commit()
    return ""


@bp.get(f"/papers/<{NO}:paper_no>")
@bp.output(PaperDetailOut)
@bp.doc(responses=[404])
@allow("resident")
def paper(paper_no: str) -> dict[str, Any]:
    """A receipt or an invoice with its lines."""
    _mine(paper_no)
    return views.detail(paper_no)


@bp.get(f"/papers/<{NO}:paper_no>/pdf")
@limits.papers()
@bp.input(SizeIn, location="query", arg_name="query")
@bp.output(FileSchema(type="string", format="binary"), content_type="application/pdf")
@bp.doc(responses=[404, 429, 503])
@allow("resident")
def paper_pdf(paper_no: str, query: dict[str, Any]) -> Response:
    """The PDF to keep or pass on."""
    _mine(paper_no)
    return pdf_answer(paper_no, query["size"])


@bp.post("/orders/<string(maxlength=64):out_trade_no>/receipt")
@bp.output(PaperDetailOut)
@bp.doc(responses=[404, 409])
@allow("resident")
def receipt(out_trade_no: str) -> dict[str, Any]:
    """The receipt of a payment, issued now where it is not there yet."""
    if not out_trade_no.isascii() or not out_trade_no.isalnum():
        raise Problem("not_found")
    cashier.order_for(principal().id, out_trade_no)
    made = receipts.for_order(out_trade_no, answers.now())
    db.session.commit()
    return views.detail(made.paper_no)


def _mine(paper_no: str) -> None:
    """Problem not_found where the paper is not of a household the resident looks after, or is of
    the time before."""
    found = views.by_number(paper_no)
    archive.household_for(principal().id, found.household_id)
    since = handover.since(found.household_id)
    if since is not None and found.day < since:
        raise Problem("not_found")
