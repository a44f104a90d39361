"""What programs send and get of bank collection: mandates, batches, results."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.api.fields import BusinessDay, FileBytes, Text, Whole, one_of
from backend.api.outs import text, whole
from backend.cashier.collection_views import LINE_STATES


class MandateIn(Schema):
    """An agreement; the card's number never comes out again."""

    account_no = Text(1, 64, required=True)
    bank = Text(1, 12, required=True)
    contract_no = Text(1, 32, required=True)
    holder = Text(1, 30, required=True)
    card_no = Text(8, 32, required=True)
    valid_from = BusinessDay(required=True)
    valid_to = BusinessDay(load_default=None, allow_none=True)


class MandatesIn(Schema):
    """Whose, and the page."""

    account_no = Text(0, 64, load_default="")
    before = Whole(1, query=True, load_default=None)


class OptionalReasonIn(Schema):
    """Why."""

    reason = Text(0, 200, load_default="")


class MandateOut(Schema):
    """An agreement, masked."""

    id = whole()
    account_no = text()
    bank = text()
    contract_no = text()
    holder = text("masked")
    card = text("the last four digits")
    valid_from = fields.Date()
    valid_to = fields.Date(allow_none=True)
    signed_by = text()
    signed_at = fields.AwareDateTime()
    cancelled_at = fields.AwareDateTime(allow_none=True)
    cancel_reason = text(allow_none=True)


class MandateRowOut(MandateOut):
    """The same in a list."""


class MandatesOut(Schema):
    """A page of them, newest first."""

    items = fields.List(fields.Nested(MandateRowOut))


class DraftIn(Schema):
    """Which bills a batch takes."""

    bank = Text(1, 12, required=True)
    day = BusinessDay(required=True)
    due_by = BusinessDay(required=True)
    region_id = Whole(1, load_default=None, allow_none=True)
    utility = Text(1, 16, load_default=None, allow_none=True)
    account_no = Text(1, 64, load_default=None, allow_none=True)
    by = Text(1, 16, load_default="household", validate=[one_of("household", "bill")])


class LineOut(Schema):
    """One deduction."""

    seq = whole()
    order_no = text()
    account_no = text()
    card_tail = text()
    amount_fen = whole()
    state = text(", ".join(LINE_STATES))
    code = text("the bank's", allow_none=True)
    reason = text(allow_none=True)
    serial = text(allow_none=True)
    settled_on = fields.Date(allow_none=True)


class BatchOut(Schema):
    """A batch and what became of its lines."""

    batch_no = text()
    bank_code = text()
    day = fields.Date()
    state = text("drafted, approved, exporting, exported, closed, cancelled")
    lines = whole("without those withdrawn")
    total_fen = whole()
    waiting = whole()
    success = whole()
    success_fen = whole()
    failed = whole()
    undecided = whole("the bank does not know yet", attribute="unknown", data_key="unknown")
    withdrawn = whole()
    file_name = text(allow_none=True)
    sha256 = text(allow_none=True)
    end_reason = text(allow_none=True)


class BatchRowOut(BatchOut):
    """The same in a list."""


class BatchesOut(Schema):
    """A page of them, newest first."""

    items = fields.List(fields.Nested(BatchRowOut))


class LinesIn(Schema):
    """Which lines, and the page."""

    after = Whole(0, query=True, load_default=0)
    state = Text(0, 16, load_default="", validate=[one_of("", *LINE_STATES)])


class LinesOut(Schema):
    """A page of a batch's lines."""

    items = fields.List(fields.Nested(LineOut))


class ResultIn(Schema):
    """A bank's result file, as it came, in base64."""

    bank = Text(1, 12, required=True)
    name = Text(1, 200, required=True)
    file = FileBytes(required=True)


class ResultOut(Schema):
    """What came of a result; `new` is false for a file taken before."""

    id = whole()
    outcome = text()
    new = fields.Boolean()
    success_count = whole()
    success_fen = whole()
    failed_count = whole()
    unknown_count = whole()
    still_waiting = whole("lines of its batch without a result")
