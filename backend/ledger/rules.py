"""What a well-formed entry is: pure, and checked again by the database at commit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from backend.base.errors import Problem
from backend.ledger.chart import AccountRef

# One posting beyond this is a typing error, and sums of many still fit a bigint.
MAX_POSTING_FEN = 10**14
MAX_KEY_LENGTH = 200

Line = tuple[AccountRef, int]


def merged(lines: Iterable[Line]) -> list[Line]:
    """One line an account, in order of code, lines of nothing left out.

    Raises Problem entry_unbalanced unless debits (> 0) and credits (< 0) add up to zero over at
    least two accounts.
    """
    totals: dict[AccountRef, int] = {}
    for account, amount_fen in lines:
        _check_amount(amount_fen)
        totals[account] = totals.get(account, 0) + amount_fen
    kept = [(account, total) for account, total in sorted(totals.items(), key=_code) if total]
    if len(kept) < 2 or sum(total for _, total in kept) != 0:
        parts = "，".join(f"{account.code} {total}" for account, total in kept) or "没有金额"
        raise Problem("entry_unbalanced", f"记账不平，未入账：{parts}")
    return kept


def check_key(business_key: str) -> None:
    """Raise ValueError for a key that cannot tell one event from another."""
    if not 0 < len(business_key) <= MAX_KEY_LENGTH or ":" not in business_key:
        raise ValueError(f"business key {business_key[:40]!r} must look like 'source:number'")


def same_lines(lines: Sequence[Line], posted: dict[str, int]) -> bool:
    """Whether merged lines are what was posted, {code: amount_fen}."""
    return {account.code: amount_fen for account, amount_fen in lines} == posted


def _check_amount(amount_fen: int) -> None:
    if type(amount_fen) is not int or abs(amount_fen) > MAX_POSTING_FEN:
        raise ValueError(f"{amount_fen!r} is not a number of fen")


def _code(line: Line) -> str:
    return line[0].code
