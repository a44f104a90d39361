"""What programs send and get of months of the books: closes, statements, vouchers."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.api.fields import BusinessDay, Text, Whole
from backend.api.outs import maybe_whole, text, whole


class TrialOut(Schema):
    """A line of a trial balance, debit positive."""

    code = text()
    opening_fen = whole()
    debit_fen = whole()
    credit_fen = whole()
    closing_fen = whole()


class MonthOut(Schema):
    """A month of the books, and what blocks it while it is open."""

    month = fields.Date()
    state = text("open, closed, reopened")
    runs = whole("how often it was closed")
    sha256 = text("of the frozen trial balance", allow_none=True)
    reopen_asked_by = maybe_whole("staff id; another person agrees")
    reopen_asked_at = fields.AwareDateTime(allow_none=True)
    reopen_reason = text(allow_none=True)
    blocked = fields.List(text(), metadata={"description": "codes nobody can sign away"})
    open_days = fields.List(fields.Date(), metadata={"description": "want a signed reason"})
    trial = fields.List(fields.Nested(TrialOut))


class StatementIn(Schema):
    """An account's days, and the page (from the one before)."""

    code = Text(1, 100, required=True)
    day_from = BusinessDay(required=True)
    day_to = BusinessDay(required=True)
    after_day = BusinessDay(load_default=None)
    after_id = Whole(0, query=True, load_default=0)


class PostingOut(Schema):
    """One posting, and the balance after it."""

    id = whole()
    day = fields.Date()
    at = fields.AwareDateTime()
    kind = text()
    business_key = text()
    memo = text()
    amount_fen = whole("debit positive")
    balance_fen = whole()


class AccountStatementOut(Schema):
    """Opening, a page of postings, closing."""

    code = text()
    opening_fen = whole()
    closing_fen = whole()
    postings = fields.List(fields.Nested(PostingOut))
    after_day = fields.Date(allow_none=True, metadata={"description": "of the next page"})
    after_id = maybe_whole("of the next page")


class ExportIn(Schema):
    """In which format."""

    format = Text(1, 64, required=True)


class ExportOut(Schema):
    """What was exported; `month_run` is which closing of the month it was."""

    format = text()
    month_run = whole()
    sha256 = text("of the file")
    vouchers = whole()
    lines = whole()
    exports = whole("how often it was handed out")
    made_at = fields.AwareDateTime()


class VouchersOut(Schema):
    """A month's exports, oldest first."""

    month = fields.Date()
    unmapped = fields.List(text(), metadata={"description": "groups without an ERP account"})
    formats = fields.List(text())
    exports = fields.List(fields.Nested(ExportOut))


class VoucherAccountIn(Schema):
    """Accounts of ours that begin so are this one of the ERP; no code: none."""

    prefix = Text(1, 100, required=True)
    erp_code = Text(0, 64, required=True)
    erp_name = Text(0, 100, load_default="")
    aux = Text(0, 200, load_default="")


class VoucherAccountOut(Schema):
    """A line of it."""

    prefix = text()
    erp_code = text()
    erp_name = text()
    aux = text("auxiliary dimensions")


class VoucherAccountsOut(Schema):
    """All of them, by prefix."""

    items = fields.List(fields.Nested(VoucherAccountOut))
