"""What goes in and out about receipts, invoices, titles, templates and tax rates."""

from __future__ import annotations

from typing import Any

from apiflask import Schema, fields
from marshmallow import ValidationError, validate, validates_schema

from backend.api.fields import BusinessDay, Flag, Text, Whole, one_of
from backend.api.outs import maybe_whole, text, whole
from backend.api.schemas_counter import SecondIn
from backend.archive.rules import UTILITIES
from backend.billing.tariff_params import CLASSES
from backend.cashier.papers.rules import MAX_LINES, SIZES, TITLES
from backend.cashier.papers.templates import KINDS, MAX_SOURCE

MAX_FEN = 10**12


class PapersIn(Schema):
    """Which papers."""

    text = Text(0, 64, load_default="")
    kind = Text(0, 16, load_default="", validate=[one_of("", *TITLES)])
    day_from = BusinessDay(load_default=None)
    day_to = BusinessDay(load_default=None)
    before = Whole(1, query=True, load_default=None)
    limit = Whole(1, 100, query=True, load_default=50)


class PaperPageIn(Schema):
    """A page of a household's papers."""

    before = Whole(1, query=True, load_default=None)
    limit = Whole(1, 50, query=True, load_default=20)


class SizeIn(Schema):
    """On which sheet."""

    size = Text(1, 8, load_default="a5", validate=[one_of(*SIZES)])


class PaperOut(Schema):
    """A receipt or an invoice."""

    id = whole()
    paper_no = text()
    kind = text("receipt, invoice or special")
    title = text()
    state = text("valid, part, reversed, red or voided")
    account_no = text()
    place = text()
    buyer = text()
    buyer_tax_id = text()
    amount_fen = whole("below zero for a red-letter paper")
    tax_fen = whole("the tax in it")
    left_fen = whole("what has not been taken back")
    day = fields.Date()
    issued_at = fields.AwareDateTime()
    issued_by = text(allow_none=True)
    method = text()
    reason = text(allow_none=True)
    prints = whole("how often it was printed")
    voided_at = fields.AwareDateTime(allow_none=True)
    void_reason = text(allow_none=True)
    platform_no = text("the tax platform's number (数电票)", allow_none=True)


class PapersOut(Schema):
    """A page of papers, the newest first."""

    papers = fields.List(fields.Nested(PaperOut))
    next_before = maybe_whole()


class PaperLineOut(Schema):
    """A line of a paper, as it is printed."""

    title = text()
    quantity = text()
    unit = text()
    price = text()
    rate = text()
    amount_fen = whole("with the tax in it")
    tax_fen = whole()


class PaperDetailOut(PaperOut):
    """A paper and its lines."""

    capitals = text()
    lines = fields.List(fields.Nested(PaperLineOut))
    reds = fields.List(fields.String(), metadata={"description": "what takes it back"})
    about_no = text("what it takes back", allow_none=True)


class PrintOut(Schema):
    """A print that has been written down, and its page."""

    seq = whole("from the second one on it is marked 补打")
    size = text()
    html = text()


class VoidPaperIn(SecondIn):
    """Why a paper is voided."""

    reason = Text(2, 200, required=True)


class RedIn(SecondIn):
    """What of a paper is taken back (null: all that is left), and why."""

    reason = Text(2, 200, required=True)
    amount_fen = Whole(1, MAX_FEN, load_default=None, allow_none=True)


class PlatformIn(Schema):
    """The number of the tax platform's own document."""

    platform = Text(1, 32, load_default="etax")
    platform_no = Text(8, 32, required=True, validate=[validate.Regexp("[0-9A-Za-z]+$")])


class DeductionsIn(Schema):
    """A month of prepaid deductions."""

    utility = Text(1, 16, required=True, validate=[one_of(*UTILITIES)])
    month = Text(7, 7, required=True, validate=[validate.Regexp("20[0-9]{2}-(0[1-9]|1[0-2])$")])


class InvoiceIn(Schema):
    """What to invoice (bills, months of deductions, or both), and to whom (null: the default
    title, else the owner)."""

    bill_ids = fields.List(Whole(1), load_default=list, validate=validate.Length(0, MAX_LINES))
    months = fields.List(
        fields.Nested(DeductionsIn), load_default=list, validate=validate.Length(0, MAX_LINES)
    )
    kind = Text(1, 16, load_default="invoice", validate=[one_of("invoice", "special")])
    title_id = Whole(1, load_default=None, allow_none=True)
    remark = Text(0, 100, load_default="")

    @validates_schema
    def _something(self, data: dict[str, Any], **_: Any) -> None:
        if not data["bill_ids"] and not data["months"]:
            raise ValidationError("请选择账单或预付费月份。", "bill_ids")


class InvoiceableBillOut(Schema):
    """A paid bill that can be invoiced."""

    bill_id = whole()
    bill_no = text()
    title = text()
    utility = text()
    paid_fen = whole()
    left_fen = whole("not invoiced yet")


class InvoiceableMonthOut(Schema):
    """A month of prepaid deductions that can be invoiced."""

    utility = text()
    month = text("YYYY-MM")
    title = text()
    deducted_fen = whole("of the whole month so far, corrections included")
    left_fen = whole("paid ahead and not invoiced yet")


class InvoiceableOut(Schema):
    """What can be invoiced."""

    bills = fields.List(fields.Nested(InvoiceableBillOut))
    months = fields.List(fields.Nested(InvoiceableMonthOut))


class TitleIn(Schema):
    """A title (抬头); a company's tax id is checked by its own check digit."""

    kind = Text(1, 16, required=True, validate=[one_of("person", "company")])
    name = Text(1, 100, required=True)
    tax_id = Text(0, 40, load_default="")
    address = Text(0, 100, load_default="")
    phone = Text(0, 40, load_default="")
    bank = Text(0, 100, load_default="")
    bank_account = Text(0, 60, load_default="")
    is_default = Flag(load_default=False)


class TitleOut(Schema):
    """A title of a household."""

    id = whole()
    is_default = fields.Boolean()
    kind = text("person or company")
    name = text()
    tax_id = text()
    address = text()
    phone = text()
    bank = text()
    bank_account = text()


class TitleRowOut(TitleOut):
    """The same in a list."""


class TitlesOut(Schema):
    """A household's titles, the default one first."""

    titles = fields.List(fields.Nested(TitleRowOut))


class TemplateSourceIn(Schema):
    """A template's text (sandboxed Jinja in HTML)."""

    kind = Text(1, 16, required=True, validate=[one_of(*KINDS)])
    size = Text(1, 8, required=True, validate=[one_of(*SIZES)])
    source = fields.String(required=True, validate=validate.Length(1, MAX_SOURCE))


class TemplateIn(TemplateSourceIn):
    """A new version, as a draft."""

    name = Text(1, 60, required=True)
    effective_from = BusinessDay(required=True)


class TemplateEditIn(Schema):
    """A draft changed; `seen` is the fingerprint of what was being edited."""

    name = Text(1, 60, required=True)
    source = fields.String(required=True, validate=validate.Length(1, MAX_SOURCE))
    effective_from = BusinessDay(required=True)
    seen = Text(16, 16, required=True)


class SeenIn(Schema):
    """The fingerprint of what somebody approves."""

    seen = Text(16, 16, required=True)


class TemplateOut(Schema):
    """A version of a template."""

    id = whole()
    kind = text()
    size = text()
    version = whole()
    name = text()
    source = text()
    state = text("draft, live or dropped")
    effective_from = fields.Date()
    fingerprint = text("to be sent back as `seen`")


class TemplateRowOut(TemplateOut):
    """The same in a list."""


class TemplatesOut(Schema):
    """Every version, the newest of each kind and size first."""

    templates = fields.List(fields.Nested(TemplateRowOut))


class SpecimenOut(Schema):
    """A specimen printed by a template."""

    html = text()
    pages = whole("as a PDF")


class SeriesRowOut(Schema):
    """The numbers of one issuer, kind and year."""

    issuer = text()
    kind = text()
    year = whole()
    first_no = text()
    last = text()
    last_no = whole()
    papers = whole()
    voided = whole()
    red = whole()
    amount_fen = whole()
    tax_fen = whole()
    gapless = fields.Boolean(metadata={"description": "no number is missing"})


class SeriesOut(Schema):
    """The numbering report."""

    series = fields.List(fields.Nested(SeriesRowOut))


class WorkOut(Schema):
    """A paper that says more than was paid and kept."""

    paper_no = text()
    kind = text()
    account_no = text()
    over_fen = whole("to be taken back")
    why = text()


class WorklistOut(Schema):
    """What is to be taken back."""

    papers = fields.List(fields.Nested(WorkOut))


class TaxRateIn(SecondIn):
    """A tax rate from a day on; two sign."""

    utility = Text(1, 16, required=True, validate=[one_of(*UTILITIES)])
    component = Text(0, 40, load_default="")
    customer_class = Text(1, 16, required=True, validate=[one_of(*CLASSES)])
    treatment = Text(1, 16, required=True, validate=[one_of("taxed", "exempt", "untaxed")])
    rate_bp = Whole(0, 10_000, load_default=None, allow_none=True)
    effective_from = BusinessDay(required=True)
    basis = Text(2, 200, required=True)


class TaxRateOut(Schema):
    """A tax rate."""

    id = whole()
    utility = text()
    component = text("a bill line's code; empty: all others")
    customer_class = text()
    treatment = text()
    rate_bp = maybe_whole("hundredths of a percent")
    effective_from = fields.Date()
    effective_to = fields.Date(allow_none=True)
    basis = text("the notice it rests on")


class TaxRateRowOut(TaxRateOut):
    """The same in a list."""


class TaxRatesOut(Schema):
    """Every tax rate."""

    rates = fields.List(fields.Nested(TaxRateRowOut))
