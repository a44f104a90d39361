"""What the cashier keeps for a while only: forged notices, and the answers of old requests."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import sqlalchemy as sa

from backend.base.db import changed
from backend.cashier.models import IdempotencyKey, RawNotice

REJECTED_KEPT_FOR: Final = timedelta(days=90)
ANSWERS_KEPT_FOR: Final = timedelta(days=90)


def forget(now: datetime) -> int:
    """Delete rejected notices and keys of requests that are older than that; how many.

    Authentic notices stay: they are what a payment was posted by.
    """
    rejected = sa.delete(RawNotice).where(
        RawNotice.is_rejected, RawNotice.received_at < now - REJECTED_KEPT_FOR
    )
    answered = sa.delete(IdempotencyKey).where(IdempotencyKey.created_at < now - ANSWERS_KEPT_FOR)
    return changed(rejected) + changed(answered)
