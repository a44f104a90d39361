"""A channel's daily statement file -> typed rows. Yuan in the file, fen in the rows, exactly.

WeChat's 交易账单: UTF-8, a BOM may stand, CRLF or LF; every field begins with a backtick, so a
row is split on comma + backtick. Columns are read by their header, for older and "ordinary
settlement" statements name some otherwise and lack others. Everything wrong is reported with its
line, and then nothing is taken.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import NamedTuple

MAX_PROBLEMS = 100
_MAX_AMOUNT_CHARS = 24  # within Decimal's 28 digits, so nothing is ever rounded

# 交易状态 -> kind; REVOKED is a cancelled 付款码 payment and carries refund columns too.
_KINDS = {"SUCCESS": "payment", "REFUND": "refund", "REVOKED": "refund"}

# our name -> the headers it goes by, newest first
_COLUMNS: dict[str, tuple[str, ...]] = {
    "trade_time": ("交易时间",),
    "appid": ("公众账号ID",),
    "mchid": ("商户号",),
    "transaction_id": ("微信订单号",),
    "out_trade_no": ("商户订单号",),
    "payer_id": ("用户标识",),
    "trade_state": ("交易状态",),
    "currency": ("货币种类",),
    "settled": ("应结订单金额", "总金额"),
    "order": ("订单金额", "应结订单金额", "总金额"),
    "refund_id": ("微信退款单号",),
    "out_refund_no": ("商户退款单号",),
    "refund_settled": ("退款金额",),
    "refund": ("申请退款金额", "退款金额"),
    "refund_state": ("退款状态",),
    "attach": ("商户数据包",),
    "fee": ("手续费",),
}
_OPTIONAL = {"refund_id", "out_refund_no", "refund_settled", "refund", "refund_state"}
_TOTALS: dict[str, tuple[str, ...]] = {
    "count": ("总交易单数",),
    "settled": ("应结订单总金额", "总交易额"),
    "refund_settled": ("退款总金额", "总退款金额"),
    "fee": ("手续费总金额",),
    "order": ("订单总金额",),
    "refund": ("申请退款总金额",),
}
_OPTIONAL_TOTALS = {"order", "refund"}


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
    fee_fen: int
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


class _RowProblem(Exception):
    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


def parse_wechat_tradebill(data: bytes, mchid: str | None = None) -> Statement:
    """Read a WeChat 交易账单 of any type (ALL, SUCCESS, REFUND), unzipped.

    `mchid`, where given, must stand in every row. Raises StatementError; takes all or nothing.
    """
    lines = _lines(data)
    columns = _header(lines[0], _COLUMNS, _OPTIONAL, 1)
    end = next((i for i, line in enumerate(lines[1:], 1) if not line.startswith("`")), len(lines))
    rows, problems = _rows(lines[1:end], columns, mchid)
    problems += _duplicates(rows)
    if problems:
        raise StatementError(problems[:MAX_PROBLEMS])
    totals = _totals(lines, end)
    _check_totals(rows, totals, end + 2)
    return Statement(rows, totals)


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


def _lines(data: bytes) -> list[str]:
    """Split on LF alone: str.splitlines would also cut at U+2028 inside a product's name."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise StatementError([StatementProblem(line, "encoding", "not UTF-8")]) from error
    lines = [line.removesuffix("\r") for line in text.split("\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    if not lines:
        raise StatementError([StatementProblem(1, "empty", "the file is empty")])
    return lines


@dataclass(frozen=True, slots=True)
class _Columns:
    count: int
    index: dict[str, int]


def _header(
    line: str, names: dict[str, tuple[str, ...]], optional: set[str], number: int
) -> _Columns:
    titles = [title.strip().removeprefix("`") for title in line.split(",")]
    index = {}
    for ours, theirs in names.items():
        found = next((title for title in theirs if title in titles), None)
        if found is not None:
            index[ours] = titles.index(found)
        elif ours not in optional:
            reason = f"column {theirs[0]} is missing"
            raise StatementError([StatementProblem(number, "header", reason)])
    return _Columns(len(titles), index)


def _rows(
    lines: Iterable[str], columns: _Columns, mchid: str | None
) -> tuple[list[StatementRow], list[StatementProblem]]:
    rows: list[StatementRow] = []
    problems: list[StatementProblem] = []
    read = _row_reader(columns, mchid)
    for number, line in enumerate(lines, 2):
        try:
            rows.append(read(number, line))
        except _RowProblem as problem:
            problems.append(StatementProblem(number, problem.code, problem.reason))
    return rows, problems


def _row_reader(columns: _Columns, mchid: str | None) -> Callable[[int, str], StatementRow]:
    """Build the reader of one row, its column positions bound once: this runs 100k times a day."""
    at = columns.index.get
    c_time, c_state, c_currency = at("trade_time", 0), at("trade_state", 0), at("currency", 0)
    c_app, c_mch, c_payer = at("appid", 0), at("mchid", 0), at("payer_id", 0)
    c_id, c_no, c_attach = at("transaction_id", 0), at("out_trade_no", 0), at("attach", 0)
    c_order, c_settled, c_fee = at("order", 0), at("settled", 0), at("fee", 0)
    refund_columns = [at(name) for name in sorted(_OPTIONAL)]

    def read(number: int, line: str) -> StatementRow:
        fields = line[1:].split(",`")
        if len(fields) != columns.count:
            raise _RowProblem("columns", f"{len(fields)} fields under {columns.count} headers")
        kind = _KINDS.get(fields[c_state])
        if kind is None:
            raise _RowProblem("state", f"交易状态 {fields[c_state][:32]!r} is unknown")
        if fields[c_currency] != "CNY":
            raise _RowProblem("currency", f"货币种类 {fields[c_currency][:32]!r} is not CNY")
        if mchid is not None and fields[c_mch] != mchid:
            raise _RowProblem("merchant", f"商户号 {fields[c_mch][:32]!r} is not ours")
        if not fields[c_id] or not fields[c_no]:
            raise _RowProblem("columns", "微信订单号 or 商户订单号 is empty")
        refund_id = out_refund_no = refund_state = ""
        if kind == "payment":
            row_kind, amount, settled = RowKind.PAYMENT, fields[c_order], fields[c_settled]
        else:
            row_kind = RowKind.REFUND
            refund_id, out_refund_no, settled, amount, refund_state = _refund_fields(
                fields, refund_columns
            )
        return StatementRow(
            number,
            row_kind,
            _utc(fields[c_time]),
            fields[c_id],
            fields[c_no],
            refund_id,
            out_refund_no,
            _positive(amount),
            _amount(settled),
            _amount(fields[c_fee]),
            fields[c_state],
            refund_state,
            fields[c_payer],
            fields[c_app],
            fields[c_mch],
            fields[c_attach],
        )

    return read


def _refund_fields(
    fields: Sequence[str], columns: Sequence[int | None]
) -> tuple[str, str, str, str, str]:
    """Return refund id, our refund number, settled, amount, state (columns sorted by name)."""
    if any(column is None for column in columns):
        raise _RowProblem("columns", "a refund row in a statement without refund columns")
    number, amount, refund_id, settled, state = [fields[column or 0] for column in columns]
    if not refund_id or not number:
        raise _RowProblem("columns", "微信退款单号 or 商户退款单号 is empty")
    return refund_id, number, settled, amount, state


def _utc(text: str) -> datetime:
    """Read Beijing time; the fixed offset is exact (no daylight saving since 1991)."""
    try:
        if len(text) != 19:
            raise ValueError(text)
        return datetime.fromisoformat(text + "+08:00").astimezone(UTC)
    except ValueError:
        raise _RowProblem("time", f"交易时间 {text[:32]!r} is not a moment") from None


def _amount(text: str) -> int:
    try:
        return fen_from_yuan(text)
    except ValueError as error:
        raise _RowProblem("amount", str(error)) from None


def _positive(text: str) -> int:
    fen = _amount(text)
    if fen <= 0:
        raise _RowProblem("amount", f"{text[:32]!r} should be above zero")
    return fen


def _duplicates(rows: Sequence[StatementRow]) -> list[StatementProblem]:
    seen: dict[tuple[str, str], int] = {}
    problems = []
    for row in rows:
        first = seen.setdefault((row.transaction_id, row.refund_id), row.line)
        if first != row.line:
            reason = f"the same as line {first}"
            problems.append(StatementProblem(row.line, "duplicate", reason))
    return problems


def _totals(lines: list[str], at: int) -> StatementTotals:
    if len(lines) < at + 2:
        reason = "the totals are missing: the file is cut short"
        raise StatementError([StatementProblem(len(lines), "totals_missing", reason)])
    if len(lines) > at + 2:
        reason = "something follows the totals"
        raise StatementError([StatementProblem(at + 3, "trailing", reason)])
    columns = _header(lines[at], _TOTALS, _OPTIONAL_TOTALS, at + 1)
    fields = lines[at + 1].removeprefix("`").split(",`")
    try:
        if len(fields) != columns.count:
            raise ValueError(f"{len(fields)} fields under {columns.count} headers")
        return _totals_of({name: fields[i] for name, i in columns.index.items()})
    except ValueError as error:
        raise StatementError([StatementProblem(at + 2, "amount", str(error))]) from error


def _totals_of(text: dict[str, str]) -> StatementTotals:
    if not (text["count"].isascii() and text["count"].isdecimal()):
        raise ValueError("总交易单数 is not a number")
    return StatementTotals(
        count=int(text["count"]),
        settled_fen=fen_from_yuan(text["settled"]),
        refund_settled_fen=fen_from_yuan(text["refund_settled"]),
        fee_fen=fen_from_yuan(text["fee"]),
        order_fen=fen_from_yuan(text["order"]) if "order" in text else None,
        refund_fen=fen_from_yuan(text["refund"]) if "refund" in text else None,
    )


def _check_totals(rows: list[StatementRow], stated: StatementTotals, line: int) -> None:
    paid = [row for row in rows if row.kind is RowKind.PAYMENT]
    back = [row for row in rows if row.kind is RowKind.REFUND]
    expected = [
        ("总交易单数", stated.count, len(rows)),
        ("应结订单总金额", stated.settled_fen, sum(row.settled_fen for row in paid)),
        ("退款总金额", stated.refund_settled_fen, sum(row.settled_fen for row in back)),
        ("手续费总金额", stated.fee_fen, sum(row.fee_fen for row in rows)),
        ("订单总金额", stated.order_fen, sum(row.amount_fen for row in paid)),
        ("申请退款总金额", stated.refund_fen, sum(row.amount_fen for row in back)),
    ]
    problems = [
        StatementProblem(line, "totals_differ", f"{name} says {says}, the rows add up to {adds}")
        for name, says, adds in expected
        if says is not None and says != adds
    ]
    if problems:
        raise StatementError(problems)
