"""What a bank's result may say of a batch: pure, every bad row with its line and a reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

MAX_LINES = 50_000
MAX_BILLS_A_LINE = 20
# After that long an order at the bank is somebody's job: it shows on the batch's page.
ORDER_DAYS = 60
_UNDECIDED = "银行尚未给出结果"
_OUTCOMES_ZH = {"success": "成功", "failed": "失败", "unknown": "处理中"}


@dataclass(frozen=True, slots=True)
class Known:
    """A line of ours as it stands."""

    seq: int
    order_id: int
    household_id: int
    amount_fen: int
    state: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What a result changes about a line."""

    order_no: str
    known: Known
    outcome: str  # success, failed, unknown
    code: str
    reason: str
    serial: str | None


@dataclass(frozen=True, slots=True)
class RowFault:
    """Why a row cannot be believed."""

    line: int
    code: str
    reason: str


def batch_no(bank: str, day: date, number: int) -> str:
    """'ICBC2026112001': the bank, the day, the how manieth of that day."""
    return f"{bank.upper()}{day:%Y%m%d}{number:02d}"


def judge(
    rows: Sequence[tuple[int, Mapping[str, Any]]],
    known: Mapping[str, Known],
    reasons: Mapping[str, str],
) -> tuple[list[Decided], list[RowFault]]:
    """What the rows change, and what is wrong with them; `known` are the batch's lines.

    A line already as the row says is left as it is; one that ended otherwise is a fault: a bank
    that changes its mind is spoken to, not believed.
    """
    decided: list[Decided] = []
    faults: list[RowFault] = []
    seen: dict[str, int] = {}
    for line, row in rows:
        number = row["order_no"]
        ours = known.get(number)
        fault = _fault(line, row, ours, seen)
        if fault is not None:
            faults.append(fault)
        elif ours is not None and ours.state != row["result"]:
            decided.append(_decide(number, ours, row, reasons))
    return decided, faults


def _fault(
    line: int, row: Mapping[str, Any], ours: Known | None, seen: dict[str, int]
) -> RowFault | None:
    first = seen.setdefault(row["order_no"], line)
    if first != line:
        return RowFault(line, "duplicate", f"与第 {first} 行重复")
    if ours is None:
        return RowFault(line, "unknown_line", f"本批次没有明细 {row['order_no'][:32]}")
    if ours.state == "withdrawn":
        return RowFault(line, "withdrawn", "这笔明细没有送银行")
    if row["amount_fen"] != ours.amount_fen:
        said = f"金额 {row['amount_fen']} 分，送银行的是 {ours.amount_fen} 分"
        return RowFault(line, "amount", said)
    if ours.state in ("success", "failed") and row["result"] != ours.state:
        said = f"此前结果为{_OUTCOMES_ZH[ours.state]}，本次为{_OUTCOMES_ZH[row['result']]}"
        return RowFault(line, "conflict", said)
    return None


def _decide(
    number: str, ours: Known, row: Mapping[str, Any], reasons: Mapping[str, str]
) -> Decided:
    code = str(row["outcome"])
    nothing = _UNDECIDED if row["result"] == "unknown" else f"银行返回码 {code}"
    said = reasons.get(code) or row.get("message") or nothing
    reason = "" if row["result"] == "success" else said
    return Decided(number, ours, row["result"], code, reason, row.get("serial"))
