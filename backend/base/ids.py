"""Numbers that leave the house: order numbers, bill numbers, request ids."""

from __future__ import annotations

import secrets
from datetime import datetime

from backend.base.clock import SHANGHAI


def out_trade_no(prefix: str, at: datetime) -> str:
    """A merchant order or refund number: prefix, local second, 10 random base-32 digits.

    At most 32 characters of [0-9A-Z], which every channel accepts.
    """
    alphabet = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    tail = "".join(secrets.choice(alphabet) for _ in range(10))
    return f"{prefix}{at.astimezone(SHANGHAI):%Y%m%d%H%M%S}{tail}"


def request_id() -> str:
    """An id for one request, 16 hex digits."""
    return secrets.token_hex(8)
