"""What programs send and get of bank accounts and card acquirers."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.api.fields import FileBytes, Text, Whole
from backend.api.outs import text, whole


class NewestIn(Schema):
    """Whose, and the page: after the one of that id."""

    code = Text(0, 20, load_default="")
    before = Whole(1, query=True, load_default=None)


class PageIn(Schema):
    """Which page: after that number."""

    after = Whole(0, query=True, load_default=0)


class BankAccountOut(Schema):
    """An account of the company; its money is the ledger's bank:<code>."""

    code = text()
    name = text()
    account_no = text()
    format = text("of its files")
    since = fields.Date(metadata={"description": "from then on every day is proven"})


class BankAccountsOut(Schema):
    """All in use."""

    items = fields.List(fields.Nested(BankAccountOut))


class StatementFileIn(Schema):
    """An account's movements of a day, as the bank gives them out."""

    account = Text(1, 20, required=True, metadata={"description": "its code"})
    name = Text(1, 200, required=True)
    file = FileBytes(required=True)


class StatementOut(Schema):
    """An account's imported day."""

    id = whole()
    code = text("of the account")
    day = fields.Date()
    file_name = text()
    sha256 = text()
    received_at = fields.AwareDateTime()
    rows = whole()
    credits = whole()
    credit_fen = whole()
    unknown_credits = whole("credits nobody knows", attribute="unknown")


class StatementRowOut(StatementOut):
    """The same in a list."""


class StatementsOut(Schema):
    """A page of them, newest first."""

    items = fields.List(fields.Nested(StatementRowOut))


class StatementTakenOut(StatementOut):
    """What was taken in; `new` is false for a file taken before."""

    new = fields.Boolean()


class MatchedOut(StatementOut):
    """The day, looked at again."""

    found = whole("credits that are known now and were not")


class MovementOut(Schema):
    """One movement."""

    seq = whole()
    serial = text()
    booked_on = fields.Date()
    direction = text("credit (came), debit (went)")
    amount_fen = whole()
    fee_fen = whole("what the bank kept by contract, booked with it")
    counterparty = text(allow_none=True)
    summary = text(allow_none=True)
    matched = text("batch:…, settlement:…, channel:…, deposit:…, or null", allow_none=True)


class MovementsOut(Schema):
    """A page of a day's movements."""

    items = fields.List(fields.Nested(MovementOut))


class AcquirerOut(Schema):
    """Whoever settles the counter's cards."""

    code = text()
    name = text()
    format = text("of its files")
    since = fields.Date(metadata={"description": "from then on every day is proven"})


class AcquirersOut(Schema):
    """All in use."""

    items = fields.List(fields.Nested(AcquirerOut))


class CardSettlementIn(Schema):
    """An acquirer's settlement file, as it came."""

    acquirer = Text(1, 20, required=True, metadata={"description": "its code"})
    name = Text(1, 200, required=True)
    file = FileBytes(required=True)


class CardSettlementOut(Schema):
    """What an acquirer settles."""

    id = whole()
    code = text("of the acquirer")
    number = text("its own")
    day = fields.Date()
    file_name = text()
    sha256 = text()
    received_at = fields.AwareDateTime()
    rows = whole()
    amount_fen = whole()
    fee_fen = whole()
    unknown_rows = whole("rows that are not ours", attribute="unknown")


class CardSettlementRowOut(CardSettlementOut):
    """The same in a list."""


class CardSettlementsOut(Schema):
    """A page of them, newest first."""

    items = fields.List(fields.Nested(CardSettlementRowOut))


class CardSettlementTakenOut(CardSettlementOut):
    """What was taken in; `new` is false for a file taken before."""

    new = fields.Boolean()


class SettledCardOut(Schema):
    """One card payment as the acquirer has it."""

    seq = whole()
    terminal_no = text()
    reference = text("the slip's number")
    traded_on = fields.Date()
    amount_fen = whole()
    fee_fen = whole()
    receipt_no = text("of the counter's payment it was found to be", allow_none=True)


class CardSettlementRowsOut(Schema):
    """A page of a settlement's rows."""

    items = fields.List(fields.Nested(SettledCardOut))
