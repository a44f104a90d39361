"""A channel's daily statement, fetched and kept once: the file as it came, and its rows."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from datetime import date, datetime

import sqlalchemy as sa

from backend.base.db import db, straight
from backend.base.errors import Problem
from backend.cashier import rules
from backend.cashier.channels import channel_for, fingerprint, parse_statement
from backend.cashier.models import Statement
from backend.people.service import audit
from payments.channel import ChannelError
from payments.statement import RowKind, StatementError, StatementRow

_COPY = """
COPY statement_line (statement_id, seq, kind, at, transaction_id, out_trade_no, out_refund_no,
                     amount_fen, fee_fen) FROM STDIN
"""
# Beyond this many new rows the planner has to be told what has come.
_ANALYZE_ROWS = 5_000
_CHUNK_ROWS = 5_000


def fetch_statement(channel: str, day: date, now: datetime) -> Statement:
    """Fetch a day's statement and keep it; the same file again is the same row.

    Ends the caller's transaction before it asks the channel, and leaves its own to be committed.
    A day on which the channel knows of nothing is an empty statement.  Problems:
    statement_not_ready, statement_broken (with the lines), statement_changed (a different file
    was kept earlier; that one stands), channel_unavailable.
    """
    if not rules.day_is_over(day, now):
        raise Problem("statement_not_ready")
    data = _download(channel, day, now)
    same = fingerprint(channel, data)
    sha1 = hashlib.sha1(same, usedforsecurity=False).hexdigest()
    _one_at_a_time(channel, day)
    kept = kept_statement(channel, day)
    if kept is None:
        return _keep(channel, day, data, sha1, now)
    if kept.sha1 != sha1:
        _note_change(kept, sha1, now)
        raise Problem("statement_changed")
    return kept


def kept_statement(channel: str, day: date) -> Statement | None:
    """The statement kept for a day, if any."""
    query = sa.select(Statement).where(Statement.channel == channel, Statement.day == day)
    found: Statement | None = db.session.scalar(query)
    return found


def _download(channel: str, day: date, now: datetime) -> bytes:
    gateway = channel_for(channel)
    db.session.commit()  # no transaction is held while the channel is asked
    try:
        return gateway.download_statement(day)
    except ChannelError as error:
        if error.code == "no_statement" and rules.statement_ready(day, now):
            return b""
        if error.code in ("no_statement", "statement_creating"):
            raise Problem("statement_not_ready") from error
        raise Problem("channel_unavailable", f"取对账单失败：{error}") from error


def _one_at_a_time(channel: str, day: date) -> None:
    """Two people fetching at once keep one file: the second waits for the first's commit."""
    key = sa.func.hashtextextended(f"statement:{channel}:{day}", 0)
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def _keep(channel: str, day: date, data: bytes, sha1: str, now: datetime) -> Statement:
    rows = _parse(channel, data, day)
    made = Statement(channel=channel, day=day, fetched_at=now, sha1=sha1, file=data, rows=len(rows))
    db.session.add(made)
    db.session.flush()
    _copy(made.id, rows)
    if len(rows) > _ANALYZE_ROWS:
        db.session.execute(
            sa.text("ANALYZE statement_line (statement_id, seq, kind, out_trade_no)")
        )
    return made


def _parse(channel: str, data: bytes, day: date) -> list[StatementRow]:
    if not data:
        return []
    try:
        return parse_statement(channel, data, day).rows
    except StatementError as error:
        shown = [f"第 {p.line} 行 {p.code}: {p.reason}" for p in error.problems[:5]]
        detail = f"对账单内容有误，未入库（{len(error.problems)} 处）：" + "；".join(shown)
        raise Problem("statement_broken", detail) from error


def _copy(statement_id: int, rows: Sequence[StatementRow]) -> None:
    """Rows through COPY in the session's own transaction, as text: twice as fast as by rows."""
    with straight() as driver, driver.cursor() as cursor, cursor.copy(_COPY) as copy:
        for start in range(0, len(rows), _CHUNK_ROWS):
            some = _escaped(rows[start : start + _CHUNK_ROWS])
            copy.write("".join(_lines(statement_id, start + 1, some)))


def _lines(statement_id: int, first: int, rows: Sequence[StatementRow]) -> Iterator[str]:
    """Rows in COPY's text format.

    What of an amount never reaches us (a coupon the merchant pays for) counts as fee.
    """
    payment = RowKind.PAYMENT
    for seq, row in enumerate(rows, first):
        # Taken apart at once: half the time of asking for each by its name.
        _, kind, at, transaction_id, out_trade_no, _, refund_no, amount, settled, fee, *_ = row
        if kind is payment:
            name, fee_fen, refund_no = "payment", fee + amount - settled, _NULL
        else:
            name, fee_fen = "refund", fee - amount + settled
        yield (
            f"{statement_id}\t{seq}\t{name}\t{at}\t{transaction_id}\t{out_trade_no}"
            f"\t{refund_no}\t{amount}\t{fee_fen}\n"
        )


_NULL = "\\N"
# What COPY's text format would read otherwise than it stands (PostgreSQL, COPY, File Formats).
_ODD = re.compile(r"[\\\t\r\n]")
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\t", "\r": "\\r", "\n": "\\n"})


def _escaped(rows: Sequence[StatementRow]) -> Sequence[StatementRow]:
    """The rows with their numbers as COPY wants them, looked through at once: few are odd."""
    numbers = [f"{row[3]}{row[4]}{row[6]}" for row in rows]
    if not _ODD.search("".join(numbers)):
        return rows
    return [
        row._replace(
            transaction_id=row.transaction_id.translate(_ESCAPES),
            out_trade_no=row.out_trade_no.translate(_ESCAPES),
            out_refund_no=row.out_refund_no.translate(_ESCAPES),
        )
        for row in rows
    ]


def _note_change(kept: Statement, sha1: str, now: datetime) -> None:
    reference = f"{kept.channel}:{kept.day}"
    audit("cashier.statement_changed", "statement", reference, None, now=now, new_sha1=sha1)
    db.session.commit()
