"""WeChat's 交易账单 -> rows.

UTF-8, a BOM may stand, CRLF or LF; every field begins with a backtick, so a row is split on comma +
backtick. Columns are read by their header, for older and "ordinary settlement" statements name some
otherwise and lack others.
"""

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
_OPTIONAL = frozenset({"refund_id", "out_refund_no", "refund_settled", "refund", "refund_state"})
_TOTALS: dict[str, tuple[str, ...]] = {
    "count": ("总交易单数",),
    "settled": ("应结订单总金额", "总交易额"),
    "refund_settled": ("退款总金额", "总退款金额"),
    "fee": ("手续费总金额",),
    "order": ("订单总金额",),
    "refund": ("申请退款总金额",),
}
_OPTIONAL_TOTALS = frozenset({"order", "refund"})


def parse_wechat_tradebill(data: bytes, mchid: str | None = None) -> Statement:
    """Read a WeChat 交易账单 of any type (ALL, SUCCESS, REFUND), unzipped.

    `mchid`, where given, must stand in every row. Raises StatementError; takes all or nothing.
    """
    lines = split_lines(decode_text(data, "utf-8-sig", "UTF-8"))
    columns = read_header(_titles(lines[0]), _COLUMNS, _OPTIONAL, 1)
    end = next((i for i, line in enumerate(lines[1:], 1) if not line.startswith("`")), len(lines))
    rows, problems = _rows(lines[1:end], columns, mchid)
    problems += duplicates(rows)
    if problems:
        raise StatementError(problems[:MAX_PROBLEMS])
    totals = _totals(lines, end)
    _check_totals(rows, totals, end + 2)
    return Statement(rows, totals)


def _titles(line: str) -> list[str]:
    return [title.strip().removeprefix("`") for title in line.split(",")]


def _rows(
    lines: Iterable[str], columns: Columns, mchid: str | None
) -> tuple[list[StatementRow], list[StatementProblem]]:
    rows: list[StatementRow] = []
    problems: list[StatementProblem] = []
    read = _row_reader(columns, mchid)
    for number, line in enumerate(lines, 2):
        try:
            rows.append(read(number, line))
        except RowProblem as problem:
            problems.append(StatementProblem(number, problem.code, problem.reason))
    return rows, problems


def _row_reader(columns: Columns, mchid: str | None) -> Callable[[int, str], StatementRow]:
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
            raise RowProblem("columns", f"{len(fields)} fields under {columns.count} headers")
        kind = _KINDS.get(fields[c_state])
        if kind is None:
            raise RowProblem("state", f"交易状态 {fields[c_state][:32]!r} is unknown")
        if fields[c_currency] != "CNY":
            raise RowProblem("currency", f"货币种类 {fields[c_currency][:32]!r} is not CNY")
        if mchid is not None and fields[c_mch] != mchid:
            raise RowProblem("merchant", f"商户号 {fields[c_mch][:32]!r} is not ours")
        if not fields[c_id] or not fields[c_no]:
            raise RowProblem("columns", "微信订单号 or 商户订单号 is empty")
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
            beijing_moment(fields[c_time], "交易时间"),
            fields[c_id],
            fields[c_no],
            refund_id,
            out_refund_no,
            positive_yuan(amount),
            yuan_amount(settled),
            yuan_amount(fields[c_fee]),
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
        raise RowProblem("columns", "a refund row in a statement without refund columns")
    number, amount, refund_id, settled, state = [fields[column or 0] for column in columns]
    if not refund_id or not number:
        raise RowProblem("columns", "微信退款单号 or 商户退款单号 is empty")
    return refund_id, number, settled, amount, state


def _totals(lines: list[str], at: int) -> StatementTotals:
    if len(lines) < at + 2:
        reason = "the totals are missing: the file is cut short"
        raise StatementError([StatementProblem(len(lines), "totals_missing", reason)])
    if len(lines) > at + 2:
        reason = "something follows the totals"
        raise StatementError([StatementProblem(at + 3, "trailing", reason)])
    columns = read_header(_titles(lines[at]), _TOTALS, _OPTIONAL_TOTALS, at + 1)
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
