"""What the sandbox needs to know of a channel to keep its orders and deliver its notices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from payments.sandbox.desk import Sandbox
    from payments.sandbox.state import Row

Told = tuple[str, dict[str, Any]]  # (event, what the notice says, as JSON can hold it)


class Party(Protocol):
    """One channel's habits: its numbers, its words, its notices."""

    @property
    def repeats_s(self) -> Sequence[float]:
        """Seconds between the first sending, the second, …"""

    def transaction_no(self, box: Sandbox, moment_s: float) -> str:
        """A new number of a payment, as long as the channel's own."""

    def refund_no(self, box: Sandbox, moment_s: float) -> str:
        """A new number of a refund."""

    def paid(self, box: Sandbox, order: Row) -> Told:
        """What its notice says of a payment."""

    def refunded(self, box: Sandbox, refund: Row) -> Told | None:
        """What its notice says of a refund; None where the channel does not tell."""

    def compose(
        self, box: Sandbox, notice: Row, mode: str, twist: dict[str, Any]
    ) -> tuple[bytes, dict[str, str]]:
        """A notice as it leaves: body and headers, signed; `mode` spoils it to order."""

    def is_taken(self, status: int, body: bytes) -> bool:
        """Whether the merchant's answer ends the repeating."""


def long_number(box: Sandbox, prefix: str, middle: str, digits: int) -> str:
    """A running number behind a fixed prefix: as many as were asked for, never one twice."""
    return f"{prefix}{middle}{box.state.next_number(prefix):0{digits}d}"
