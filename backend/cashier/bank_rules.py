"""What a movement of a bank account is: pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

_NUMBER = re.compile(r"[0-9A-Za-z-]{4,64}")


@dataclass(frozen=True, slots=True)
class Payout:
    """Money somebody owes us: `gross_fen` less `fee_fen`, of which some may have come."""

    key: str  # batch:…, settlement:…
    channel: str  # whose clearing account it leaves
    gross_fen: int
    fee_fen: int  # by contract, kept from what is paid out
    credited_fen: int
    charged_fen: int  # fees booked already

    @property
    def left_fen(self) -> int:
        """What is still to be cleared, fee and all."""
        return self.gross_fen - self.credited_fen - self.charged_fen

    @property
    def due_fen(self) -> int:
        """What is still to arrive."""
        return self.left_fen - (self.fee_fen - self.charged_fen)


@dataclass(frozen=True, slots=True)
class Match:
    """What a credit was found to be; `channel` None: posted already by somebody else."""

    key: str
    channel: str | None
    fee_fen: int = 0


def numbers(text: str) -> list[str]:
    """What in a movement's text may be a number of ours."""
    return _NUMBER.findall(text)


def payout_words(text: str) -> dict[str, str]:
    """'财付通=wechat,…' -> {word: channel}; ValueError for what is no pair."""
    found = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        word, equals, channel = pair.partition("=")
        if not (word and equals and channel):
            raise ValueError(f"{pair!r} is not word=channel")
        found[word] = channel
    return found


def recognise(
    text: str,
    amount_fen: int,
    payouts: Mapping[str, Payout],
    deposits: Mapping[str, tuple[int, int]],
    words: Mapping[str, str],
) -> Match | None:
    """What a credit is: a payout named by its number, a drawer's deposit, a channel's payout.

    payouts by number; deposits: reference -> (shift id, fen).  More than is still owed is nothing
    of ours, and the contract's fee is booked with the credit that completes a payout.
    """
    for number in numbers(text):
        payout = payouts.get(number)
        if payout is not None and 0 < amount_fen <= payout.left_fen:
            whole = amount_fen == payout.due_fen
            fee_fen = payout.fee_fen - payout.charged_fen if whole else 0
            return Match(payout.key, payout.channel, fee_fen)
        shift = deposits.get(number)
        if shift is not None and shift[1] == amount_fen:
            return Match(f"deposit:{shift[0]}", None)
    return next((Match(f"channel:{c}", c) for word, c in words.items() if word in text), None)


def texts(rows: Sequence[tuple[str | None, ...]]) -> list[str]:
    """Each row's words as one text."""
    return [" ".join(filter(None, row)) for row in rows]
