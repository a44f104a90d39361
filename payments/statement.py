"""What every channel's daily statement file becomes: typed rows, or a list of what is wrong.

Yuan in the files, fen in the rows, exactly. A statement is taken whole or not at all: everything
wrong is reported with its line. `wechat_statement`, `alipay_statement` and `unionpay_statement`
read the files; here is what they share.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import NamedTuple

MAX_PROBLEMS = 100
_MAX_AMOUNT_CHARS = 24  # within Decimal's 28 digits, so nothing is ever rounded


class RowKind(StrEnum):
    """What a row of a statement records."""

    PAYMENT = "payment"
    REFUND = "refund"


class StatementRow(NamedTuple):
    """One row. Amounts are positive for both kinds; `fee_fen` is negative where it came back.

    `amount_fen` is the order's or the refund's full amount, as the API says it; `settled_fen` is
    what of it reaches the merchant's account (coupons taken off). `trade_time` is UTC.
    """

    line: int
    kind: RowKind
    trade_time: datetime
    transaction_id: str
    out_trade_no: str
    refund_id: str
    out_refund_no: str
    amount_fen: int
    settled_fen: int
    fee_fen: int
    state: str
    refund_state: str
    payer_id: str
    appid: str
    mchid: str
    attach: str


@dataclass(frozen=True, slots=True)
class StatementTotals:
    """The file's own totals; None where the older layout does not state one."""

    count: int
    settled_fen: int
    refund_settled_fen: int
    fee_fen: int | None
    order_fen: int | None
    refund_fen: int | None


@dataclass(frozen=True, slots=True)
class Statement:
    """A whole day's statement whose rows add up to its totals."""

    rows: list[StatementRow]
    totals: StatementTotals


@dataclass(frozen=True, slots=True)
class StatementProblem:
    """What is wrong on which line (1-based)."""

    line: int
    code: str
    reason: str


class StatementError(Exception):
    """A statement that cannot be taken; all problems found (at most 100), the first in front.

    Codes: encoding, empty, header, columns, time, amount, state, currency, merchant, duplicate,
    totals_missing, totals_differ, trailing.
    """

    def __init__(self, problems: Sequence[StatementProblem]) -> None:
        first = problems[0]
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        super().__init__(f"line {first.line}: {first.code}: {first.reason}{more}")
        self.problems = tuple(problems)
        self.line = first.line
        self.code = first.code
        self.reason = first.reason


class RowProblem(Exception):
    """What is wrong with one row; its reader adds the line."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def fen_from_yuan(text: str) -> int:
    """Turn '12.34', '-0.06' or '0.06000' into fen; ValueError unless it is a whole number of fen.

    >>> fen_from_yuan("12.34")
    1234
    """
    if len(text) > _MAX_AMOUNT_CHARS:
        raise ValueError(f"{text[:32]!r} is not an amount in yuan")
    whole, _, cents = text.partition(".")
    if len(cents) > 2:
        cents = cents[:2] + cents[2:].rstrip("0")  # fees come with five places
    if len(cents) == 2 and (digits := whole + cents).isdecimal() and whole and text.isascii():
        return int(digits)
    return _fen_from_odd_yuan(text)


def _fen_from_odd_yuan(text: str) -> int:
    if not text.isascii() or not set(text) <= set("-.0123456789"):
        raise ValueError(f"{text!r} is not an amount in yuan")
    try:
        fen = Decimal(text) * 100
    except InvalidOperation:
        raise ValueError(f"{text!r} is not an amount in yuan") from None
    if fen != int(fen):
        raise ValueError(f"{text!r} has a fraction of a fen")
    return int(fen)


def decode_text(data: bytes, encoding: str, name: str) -> str:
    """The file as text; StatementError names the line that is not in its encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StatementError([StatementProblem(line, "encoding", f"not {name}")]) from error


def split_lines(text: str) -> list[str]:
    """Split on LF alone: str.splitlines would also cut at U+2028 inside a product's name."""
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise StatementError([StatementProblem(1, "empty", "the file is empty")])
    return lines


@dataclass(frozen=True, slots=True)
class Columns:
    """Where our names stand among a file's columns."""

    count: int
    index: dict[str, int]


def read_header(
    titles: Sequence[str],
    names: Mapping[str, tuple[str, ...]],
    optional: frozenset[str],
    number: int,
) -> Columns:
    """Find each of `names` by any of its titles; StatementError where one is missing."""
    index = {}
    for ours, theirs in names.items():
        found = next((title for title in theirs if title in titles), None)
        if found is not None:
            index[ours] = titles.index(found)
        elif ours not in optional:
            reason = f"column {theirs[0]} is missing"
            raise StatementError([StatementProblem(number, "header", reason)])
    return Columns(len(titles), index)


def beijing_moment(text: str, title: str) -> datetime:
    """Read Beijing time into UTC; the fixed offset is exact (no daylight saving since 1991)."""
    try:
        if len(text) != 19:
            raise ValueError(text)
        return datetime.fromisoformat(text + "+08:00").astimezone(UTC)
    except ValueError:
        raise RowProblem("time", f"{title} {text[:32]!r} is not a moment") from None


def yuan_amount(text: str) -> int:
    """Read a field in yuan into fen. RowProblem."""
    try:
        return fen_from_yuan(text)
    except ValueError as error:
        raise RowProblem("amount", str(error)) from None


def positive_yuan(text: str) -> int:
    """Read a field that must be above zero. RowProblem."""
    fen = yuan_amount(text)
    if fen <= 0:
        raise RowProblem("amount", f"{text[:32]!r} should be above zero")
    return fen


def duplicates(rows: Sequence[StatementRow]) -> list[StatementProblem]:
    """Rows that say the same transaction or refund twice."""
    seen: dict[tuple[str, str], int] = {}
    problems = []
    for row in rows:
        first = seen.setdefault((row.transaction_id, row.refund_id), row.line)
        if first != row.line:
            reason = f"the same as line {first}"
            problems.append(StatementProblem(row.line, "duplicate", reason))
    return problems
