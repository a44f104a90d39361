"""Alipay's 业务明细 -> rows.

GBK; lines with `#` in front are remarks, but the totals among them count. Ids end in a tab; refunds
are negative; 服务费 is what Alipay took (negative beside a payment in the files seen, so its sign
is not relied on).
"""

import re
from collections.abc import Callable, Iterable, Sequence

from payments.statement import (
    MAX_PROBLEMS,
    Columns,
    RowKind,
    RowProblem,
    Statement,
    StatementError,
    StatementProblem,
    StatementRow,
    StatementTotals,
    beijing_moment,
    decode_text,
    duplicates,
    fen_from_yuan,
    positive_yuan,
    read_header,
    split_lines,
    yuan_amount,
)

_KINDS = {"交易": RowKind.PAYMENT, "退款": RowKind.REFUND}
_COLUMNS: dict[str, tuple[str, ...]] = {
    "transaction_id": ("支付宝交易号",),
    "out_trade_no": ("商户订单号",),
    "kind": ("业务类型",),
    "finished": ("完成时间",),
    "payer": ("对方账户",),
    "order": ("订单金额（元）",),
    "settled": ("商家实收（元）",),
    "out_refund_no": ("退款批次号/请求号",),
    "fee": ("服务费（元）",),
    "note": ("备注",),
}
_ACCOUNT = re.compile(r"#账号：\[(\d+)\]")
# #交易合计：2笔，商家实收共36.80元，… and #退款合计：1笔，商家实收退款共-0.04元，…
_TOTAL = re.compile(r"#(交易|退款)合计：(\d+)笔，[^，]*?共(-?[\d.]+)元")
_EXPORTED = re.compile(rb"(?m)^#\xb5\xbc\xb3\xf6\xca\xb1\xbc\xe4.*$")  # 导出时间


def parse_alipay_bill(data: bytes, seller_id: str | None = None) -> Statement:
    """Read a 业务明细, unzipped. `seller_id` (PID), where given, must be the account's.

    Raises StatementError; takes all or nothing.
    """
    lines = [line.strip() for line in split_lines(decode_text(data, "gb18030", "GBK"))]
    start = next((n for n, line in enumerate(lines) if line and not line.startswith("#")), None)
    if start is None:
        raise StatementError([StatementProblem(1, "header", "no line with column names")])
    _check_account(lines[:start], seller_id)
    end = next((n for n in range(start, len(lines)) if lines[n].startswith("#")), len(lines))
    columns = read_header(_fields(lines[start]), _COLUMNS, frozenset(), start + 1)
    rows, problems = _rows(lines[start + 1 : end], columns, start + 2)
    problems += duplicates(rows)
    if problems:
        raise StatementError(problems[:MAX_PROBLEMS])
    return Statement(rows, _checked_totals(rows, lines, end))


def fingerprinted(data: bytes) -> bytes:
    """The file without the moment it was exported at, which differs each time it is fetched."""
    return _EXPORTED.sub(b"", data)


def _check_account(remarks: Sequence[str], seller_id: str | None) -> None:
    """The account is the PID and 0156 behind it."""
    for number, remark in enumerate(remarks, 1):
        found = _ACCOUNT.match(remark)
        if found and seller_id is not None and not found[1].startswith(seller_id):
            reason = f"账号 {found[1][:32]} is not ours"
            raise StatementError([StatementProblem(number, "merchant", reason)])


def _fields(line: str) -> list[str]:
    return [field.strip() for field in line.split(",")]


def _rows(
    lines: Iterable[str], columns: Columns, first: int
) -> tuple[list[StatementRow], list[StatementProblem]]:
    rows: list[StatementRow] = []
    problems: list[StatementProblem] = []
    read = _row_reader(columns)
    for number, line in enumerate(lines, first):
        try:
            rows.append(read(number, line))
        except RowProblem as problem:
            problems.append(StatementProblem(number, problem.code, problem.reason))
    return rows, problems


def _row_reader(columns: Columns) -> Callable[[int, str], StatementRow]:
    at = columns.index
    c_id, c_no, c_kind, c_time = (
        at[n] for n in ("transaction_id", "out_trade_no", "kind", "finished")
    )
    c_order, c_settled, c_refund, c_fee = (
        at[n] for n in ("order", "settled", "out_refund_no", "fee")
    )
    c_payer, c_note = at["payer"], at["note"]

    def read(number: int, line: str) -> StatementRow:
        fields = _whole(line, columns)
        kind = _KINDS.get(fields[c_kind])
        if kind is None:
            raise RowProblem("state", f"业务类型 {fields[c_kind][:32]!r} is unknown")
        if not fields[c_id] or not fields[c_no]:
            raise RowProblem("columns", "支付宝交易号 or 商户订单号 is empty")
        is_payment = kind is RowKind.PAYMENT
        if not is_payment and not fields[c_refund]:
            raise RowProblem("columns", "退款批次号/请求号 is empty")
        sign = "" if is_payment else "-"
        fee_fen = abs(yuan_amount(fields[c_fee]))
        return StatementRow(
            number,
            kind,
            beijing_moment(fields[c_time], "完成时间"),
            fields[c_id],
            fields[c_no],
            "" if is_payment else f"{fields[c_id]}:{fields[c_refund]}",
            "" if is_payment else fields[c_refund],
            positive_yuan(_without(fields[c_order], sign)),
            yuan_amount(_without(fields[c_settled], sign)),
            fee_fen if is_payment else -fee_fen,
            fields[c_kind],
            "",
            fields[c_payer],
            "",
            "",
            fields[c_note],
        )

    return read


def _whole(line: str, columns: Columns) -> list[str]:
    """A row's fields; commas inside a product's name are put back, for nothing is quoted here."""
    fields = _fields(line)
    surplus = len(fields) - columns.count
    if surplus < 0:
        raise RowProblem("columns", f"{len(fields)} fields under {columns.count} headers")
    if surplus:
        at = _NAME_AT
        fields[at : at + surplus + 1] = [",".join(fields[at : at + surplus + 1])]
    return fields


_NAME_AT = 3  # 商品名称


def _without(text: str, sign: str) -> str:
    """The amount of a refund, which stands negative; a refund that does not is refused."""
    if not sign:
        return text
    if not text.startswith(sign) and yuan_amount(text) != 0:
        raise RowProblem("amount", f"{text[:32]!r} of a refund should be negative")
    return text.removeprefix(sign)


def _checked_totals(
    rows: Sequence[StatementRow], lines: Sequence[str], end: int
) -> StatementTotals:
    stated = {found[1]: found for line in lines[end:] if (found := _TOTAL.match(line))}
    if set(stated) != {"交易", "退款"}:
        reason = "the totals are missing: the file is cut short"
        raise StatementError([StatementProblem(len(lines), "totals_missing", reason)])
    problems = []
    sums = {}
    for name, kind in _KINDS.items():
        mine = [row.settled_fen for row in rows if row.kind is kind]
        count, amount_fen = int(stated[name][2]), abs(fen_from_yuan(stated[name][3]))
        sums[kind] = sum(mine)
        for what, says, adds in (("笔数", count, len(mine)), ("商家实收", amount_fen, sum(mine))):
            if says != adds:
                reason = f"{name}合计 {what} says {says}, the rows add up to {adds}"
                problems.append(StatementProblem(end + 1, "totals_differ", reason))
    if problems:
        raise StatementError(problems)
    return StatementTotals(
        count=len(rows),
        settled_fen=sums[RowKind.PAYMENT],
        refund_settled_fen=sums[RowKind.REFUND],
        fee_fen=None,
        order_fen=None,
        refund_fen=None,
    )
