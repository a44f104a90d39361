"""A bank that collects by file: it takes a deduction file and gives back what it did, to order.

What becomes of a deduction, the end of its card number says (FATES), so a test or a demonstration
chooses by the card.  How the files misbehave, `fate` says: nothing, or one of MODES.  The bank
keeps nothing: the same file gets the same answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from flask import Blueprint, Response, render_template, request

from payments import bank
from payments.flat_format import Format, Sheet, formats
from payments.sandbox.desk import Sandbox
from payments.sandbox.tradebill import BEIJING
from payments.statement import StatementError

Rows = list[dict[str, Any]]

# End of a card number -> which of the format's reasons (by order); None: not known yet.
FATES: dict[str, int | None] = {"0001": 0, "0002": 1, "0003": 2, "0009": None}
MAX_BYTES = 16 * 1024 * 1024


def accept(layout: Format, data: bytes) -> tuple[dict[str, Any], Rows]:
    """A deduction file as the bank reads it: (its head, its rows). StatementError."""
    found = bank.read(layout.sheets["deduction"], data)
    return {**found.trailer, **found.header}, [values for _, values in found.rows]


def carry_out(layout: Format, rows: Sequence[dict[str, Any]], day: date) -> Rows:
    """What the bank did of each deduction."""
    sheet = layout.sheets["result"]
    done = []
    for seq, row in enumerate(rows, 1):
        code = _code(sheet, str(row["card_no"]))
        done.append(
            {
                "seq": row.get("seq", seq),
                "order_no": row["order_no"],
                "amount_fen": row["amount_fen"],
                "outcome": code,
                "result": bank.outcome(sheet, code),
                "serial": f"B{day:%Y%m%d}{row['order_no'][-10:]}",
            }
        )
    return done


def _code(sheet: Sheet, card_no: str) -> str:
    if card_no[-4:] not in FATES:
        return min(sheet.success)
    fate = FATES[card_no[-4:]]
    return min(sheet.unknown) if fate is None else list(sheet.reasons)[fate]


def result_file(layout: Format, head: dict[str, Any], rows: Rows, day: date) -> bytes:
    """The bank's file over what it did."""
    return bank.write(layout.sheets["result"], {**head, "day": day}, rows)


def _part(rows: Rows) -> Rows:
    return rows[: max(1, len(rows) // 2)]


def _rest(rows: Rows) -> Rows:
    return rows[max(1, len(rows) // 2) :]


def _wrong_amount(rows: Rows) -> Rows:
    return [{**rows[0], "amount_fen": rows[0]["amount_fen"] + 1}, *rows[1:]]


def _stranger(rows: Rows) -> Rows:
    return [{**rows[0], "order_no": "B99999999999999STRANGER"}, *rows[1:]]


def _doubled(rows: Rows) -> Rows:
    return [rows[0], *rows]


# mode -> what it makes of the rows; the file's own totals are right all the same.
MODES: dict[str, Callable[[Rows], Rows]] = {
    "": list,
    "first_half": _part,
    "second_half": _rest,
    "missing_row": _part,
    "wrong_amount": _wrong_amount,
    "unknown_line": _stranger,
    "row_twice": _doubled,
}
# mode -> what it makes of the bytes.
SPOILT: dict[str, Callable[[bytes], bytes]] = {
    "tampered_total": lambda data: _bumped(data),
    "wrong_encoding": lambda data: b"\xff\xfe" + data,
    "cut_off": lambda data: data[: len(data) * 2 // 3],
}


def _bumped(data: bytes) -> bytes:
    """The first line with its last digit another one."""
    at = data.index(b"\n")
    line = data[:at].rstrip(b"\r")
    digit = bytes([line[-1] ^ 1])
    return line[:-1] + digit + data[len(line) :]


def answer(layout: Format, data: bytes, day: date, fate: str = "") -> bytes:
    """The bank's result of a deduction file, misbehaving to order. StatementError, KeyError."""
    head, rows = accept(layout, data)
    done = MODES["" if fate in SPOILT else fate](carry_out(layout, rows, day))
    made = result_file(layout, head, done, day)
    return SPOILT[fate](made) if fate in SPOILT else made


def account_file(
    layout: Format,
    account_no: str,
    day: date,
    credits_: Sequence[tuple[str, int] | tuple[str, int, str]],
) -> bytes:
    """A day's movements of an account, credits all: (summary, fen), and who paid where told."""
    rows = [
        {
            "booked_on": day,
            "serial": f"J{day:%Y%m%d}{number:06d}",
            "direction": "credit",
            "amount_fen": amount_fen,
            "counterparty": payer[0] if payer else "代收付过渡户",
            "summary": summary,
        }
        for number, (summary, amount_fen, *payer) in enumerate(credits_, 1)
    ]
    sums = bank.totals(rows)
    head = {
        "account_no": account_no,
        "day": day,
        "opening_fen": 0,
        "closing_fen": sums["credit_fen"],
    }
    return bank.write(layout.sheets["statement"], head, rows)


def bank_blueprint(box: Sandbox) -> Blueprint:
    """GET /sandbox/bank, the page; POST /sandbox/bank/<format>, a file in and its result out."""
    pages = Blueprint("bank", __name__, url_prefix="/sandbox/bank")

    @pages.get("/")
    def desk() -> str:
        return render_template("bank.html", formats=_collecting(), modes=[*MODES, *SPOILT])

    @pages.post("/answer")
    def posted() -> Response | tuple[str, int]:
        sent = request.files.get("file")
        data = sent.read(MAX_BYTES) if sent else request.get_data()
        layout = _collecting().get(request.values.get("format", ""))
        fate = request.values.get("fate", "")
        if layout is None or fate not in (*MODES, *SPOILT):
            return "unknown format or fate", 404
        day = box.clock().astimezone(BEIJING).date()
        try:
            made = answer(layout, data, day, fate)
        except StatementError as error:
            return f"the bank cannot read the file: {error}", 422
        return Response(
            made,
            mimetype="application/octet-stream",
            headers={"Content-Disposition": "attachment; filename=result.txt"},
        )

    return pages


def _collecting() -> dict[str, Format]:
    return {name: one for name, one in formats().items() if one.kind == "collection"}
