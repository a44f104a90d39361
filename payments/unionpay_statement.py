"""UnionPay's ZM file (一般交易明细流水) -> rows.

Fixed width in bytes of GBK, one separator between columns; amounts in fen, zero-filled; fee and
settled amount carry a C (to the merchant) or D (from it) in front. Times are MMDDhhmmss: the year
is the settlement day's, whose last moment is 22:59:59.
"""

import base64
import binascii
import io
import re
import zipfile
import zlib
from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta, timezone
from itertools import accumulate

from payments.channel import ChannelError
from payments.http import MAX_FILE_BYTES, malformed
from payments.statement import (
    MAX_PROBLEMS,
    RowKind,
    RowProblem,
    Statement,
    StatementError,
    StatementProblem,
    StatementRow,
    StatementTotals,
    duplicates,
)

_MAX_ZIP_MEMBERS = 20
WIDTHS = (
    3, 11, 11, 6, 10, 19, 12, 4, 2, 21, 2, 32, 2, 6, 10, 13, 13, 4, 15, 2, 2, 6, 2, 4, 32, 1, 21,
    15, 1, 15, 32, 13, 13, 8, 32, 13, 13, 12, 2, 1, 131,
)  # fmt: skip
_STARTS = tuple(accumulate((width + 1 for width in WIDTHS[:-1]), initial=0))
# our name -> the column, from 1
_AT = {
    "time": 5,
    "amount": 7,
    "query_id": 10,
    "order_id": 12,
    "fee": 16,
    "settled": 17,
    "txn_type": 20,
    "orig_query_id": 27,
    "mer_id": 28,
}
# All but the tail, which is reserved and may be cut short.
_MIN_BYTES = _STARTS[_AT["mer_id"] - 1] + WIDTHS[_AT["mer_id"] - 1]
_KINDS = {"01": RowKind.PAYMENT, "04": RowKind.REFUND, "31": RowKind.REFUND}
_BEIJING = timezone(timedelta(hours=8))


def parse_unionpay_zm(data: bytes, mer_id: str | None = None, day: date | None = None) -> Statement:
    """Read a ZM file. `day` is its settlement day (today where not said): the year comes from it.

    StatementError; takes all or nothing. The file states no totals: ours are the rows' sums.
    """
    lines = [line.removesuffix(b"\r") for line in data.split(b"\n")]
    while lines and not lines[-1].strip():
        lines.pop()
    rows, problems = _rows(lines, mer_id, day or datetime.now(UTC).date())
    problems += duplicates(rows)
    if problems:
        raise StatementError(problems[:MAX_PROBLEMS])
    return Statement(rows, _totals(rows))


def _rows(
    lines: Iterable[bytes], mer_id: str | None, day: date
) -> tuple[list[StatementRow], list[StatementProblem]]:
    rows: list[StatementRow] = []
    problems: list[StatementProblem] = []
    for number, line in enumerate(lines, 1):
        try:
            rows.append(_row(number, line, mer_id, day))
        except RowProblem as problem:
            problems.append(StatementProblem(number, problem.code, problem.reason))
    return rows, problems


def _row(number: int, line: bytes, mer_id: str | None, day: date) -> StatementRow:
    fields = _fields(line)
    kind = _KINDS.get(fields["txn_type"])
    if kind is None:
        raise RowProblem("state", f"交易类型 {fields['txn_type']!r} is unknown")
    if mer_id is not None and fields["mer_id"] != mer_id:
        raise RowProblem("merchant", f"商户代码 {fields['mer_id']!r} is not ours")
    if not fields["query_id"] or not fields["order_id"]:
        raise RowProblem("columns", "queryId or orderId is empty")
    is_payment = kind is RowKind.PAYMENT
    if not is_payment and not fields["orig_query_id"]:
        raise RowProblem("columns", "origQryId is empty")
    fee_fen, settled_fen = _signed(fields["fee"]), _signed(fields["settled"])
    return StatementRow(
        line=number,
        kind=kind,
        trade_time=_moment(fields["time"], day),
        transaction_id=fields["query_id"] if is_payment else fields["orig_query_id"],
        out_trade_no=fields["order_id"] if is_payment else "",
        refund_id="" if is_payment else fields["query_id"],
        out_refund_no="" if is_payment else fields["order_id"],
        amount_fen=_amount(fields["amount"]),
        settled_fen=_amount(fields["amount"]),
        fee_fen=-fee_fen,
        state=fields["txn_type"],
        refund_state="" if is_payment else f"settled {settled_fen}",
        payer_id="",
        appid="",
        mchid=fields["mer_id"],
        attach="",
    )


def _fields(line: bytes) -> dict[str, str]:
    if len(line) < _MIN_BYTES:
        raise RowProblem("columns", f"{len(line)} bytes, at least {_MIN_BYTES} are needed")
    found = {}
    for name, column in _AT.items():
        start, width = _STARTS[column - 1], WIDTHS[column - 1]
        try:
            found[name] = line[start : start + width].decode("gb18030").strip()
        except UnicodeDecodeError:
            raise RowProblem("encoding", f"column {column} is not GBK") from None
    return found


def _amount(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) == 0:
        raise RowProblem("amount", f"{text[:16]!r} is no amount above zero")
    return int(text)


def _signed(text: str) -> int:
    """C (credit, to the merchant) or D (debit) and digits; nothing at all is nothing."""
    if not text:
        return 0
    sign = {"C": 1, "D": -1}.get(text[0])
    digits = text if sign is None else text[1:]
    if not (digits.isascii() and digits.isdecimal()):
        raise RowProblem("amount", f"{text[:16]!r} is no amount")
    return (sign or 1) * int(digits)


def _moment(text: str, day: date) -> datetime:
    """MMDDhhmmss near the settlement day: of the three years around it, the nearest."""
    noon = datetime(day.year, day.month, day.day, 12, tzinfo=_BEIJING)
    found = []
    for year in (day.year - 1, day.year, day.year + 1):
        try:
            found.append(datetime.strptime(f"{year}{text}", "%Y%m%d%H%M%S"))
        except ValueError:
            continue
    if not found:
        raise RowProblem("time", f"交易传输时间 {text[:16]!r} is not a moment")
    placed = [moment.replace(tzinfo=_BEIJING) for moment in found]
    return min(placed, key=lambda moment: abs(moment - noon)).astimezone(UTC)


def _totals(rows: list[StatementRow]) -> StatementTotals:
    paid = sum(row.amount_fen for row in rows if row.kind is RowKind.PAYMENT)
    back = sum(row.amount_fen for row in rows if row.kind is RowKind.REFUND)
    return StatementTotals(len(rows), paid, back, sum(row.fee_fen for row in rows), None, None)


def unpacked(content: str) -> bytes:
    """fileContent -> the ZM file's bytes. ChannelError('statement_damaged')."""
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(content, validate=True), 64 << 20)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return _detail(archive)
    except (binascii.Error, zlib.error, zipfile.BadZipFile, OSError, EOFError) as error:
        raise _damaged("the statement does not unpack") from error


def _detail(archive: zipfile.ZipFile) -> bytes:
    names = [n for n in archive.namelist()[:_MAX_ZIP_MEMBERS] if re.match(r"INN\d*.*ZM_", n)]
    if len(names) != 1:
        raise _damaged("no single ZM file in the statement")
    with archive.open(names[0]) as file:
        plain = file.read(MAX_FILE_BYTES + 1)
    if len(plain) > MAX_FILE_BYTES:
        raise malformed("the statement is too long unzipped")
    return plain


def _damaged(reason: str) -> ChannelError:
    return ChannelError("statement_damaged", reason, permanent=False, retry_after_s=60)
