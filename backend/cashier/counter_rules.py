"""What the counter decides, without a session or a clock: counts of cash, tenders, signatures."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import date

# Notes and coins of the renminbi that are in circulation, in fen.
DENOMINATIONS_FEN = (10000, 5000, 2000, 1000, 500, 100, 50, 10, 5, 2, 1)
MAX_PIECES = 100_000
MAX_PAYMENT_FEN = 10**9  # 10 million yuan over one counter at once is a typing error
MIN_REASON = 2


@dataclass(frozen=True, slots=True)
class Tender:
    """How somebody pays: cash handed over, or a card terminal's slip of the exact amount."""

    method: str
    tendered_fen: int
    terminal_id: int | None = None
    reference: str | None = None


@dataclass(frozen=True, slots=True)
class Taking:
    """What a cashier wants to take; `amount_fen` is what the household was told."""

    household_id: int
    bill_ids: tuple[int, ...]
    topup_fen: int
    amount_fen: int
    tender: Tender


def refusal(taking: Taking) -> tuple[str, str] | None:
    """(problem code, field) of a taking that cannot be right, or None."""
    if taking.topup_fen < 0 or (not taking.bill_ids and taking.topup_fen == 0):
        return "validation", "topup_fen"
    if not 0 < taking.amount_fen <= MAX_PAYMENT_FEN:
        return "validation", "amount_fen"
    return _tender_refusal(taking.tender, taking.amount_fen)


def _tender_refusal(tender: Tender, amount_fen: int) -> tuple[str, str] | None:
    if tender.method == "cash":
        if tender.terminal_id is not None or tender.reference:
            return "validation", "method"
        return ("tendered_short", "tendered_fen") if tender.tendered_fen < amount_fen else None
    if tender.method != "pos":
        return "validation", "method"
    if tender.terminal_id is None:
        return "validation", "terminal_id"
    if not tender.reference:
        return "validation", "reference"
    return ("validation", "tendered_fen") if tender.tendered_fen != amount_fen else None


def digest(taking: Taking) -> bytes:
    """Of what was asked for: the same tap again is the same payment, another one is not."""
    return hashlib.sha256(json.dumps(asdict(taking), sort_keys=True).encode()).digest()


def total_fen(counts: Mapping[int, int]) -> int:
    """What counted notes and coins add up to; ValueError for what is no denomination or count."""
    for fen, pieces in counts.items():
        if fen not in DENOMINATIONS_FEN or not 0 <= pieces <= MAX_PIECES:
            raise ValueError(f"{pieces} pieces of {fen} fen")
    return sum(fen * pieces for fen, pieces in counts.items())


def needs_second(differences_fen: Iterable[int], limit_fen: int) -> bool:
    """Whether another person has to sign: one of these is beyond the limit, either way."""
    return any(abs(fen) > limit_fen for fen in differences_fen)


def is_stale(opened_on: date, today: date) -> bool:
    """A shift takes money on the day it was opened and no other, so that days can be proven."""
    return opened_on != today


def payment_key(receipt_no: str) -> str:
    """The ledger's business key of a counter payment."""
    return f"counter:{receipt_no}"


def void_key(receipt_no: str) -> str:
    """The ledger's business key of its reversal."""
    return f"counter:void:{receipt_no}"


def shift_key(shift_id: int, what: str) -> str:
    """The ledger's business key of a shift's float, opening, over_short or deposit."""
    return f"shift:{shift_id}:{what}"
