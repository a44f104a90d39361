"""Messages to residents, each sent at most once, and who agreed to receive them."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.base.db import Base, BigId, Created, Instant, Json, ref


class Message(Base):
    """One message to one resident; `business_key` makes it one across crashes.

    queued -> sending -> sent | refused | dropped (paid meanwhile) | uncertain.  WeChat's
    subscribe API has no idempotency key, so a crash between `sending` and the answer ends
    `uncertain`, for a person, not twice.
    """

    __tablename__ = "message"

    id: Mapped[BigId]
    business_key: Mapped[str] = mapped_column(unique=True)
    resident_id: Mapped[int] = ref("resident")
    household_id: Mapped[int] = ref("household")
    template: Mapped[str]
    payload: Mapped[Json]
    state: Mapped[str] = mapped_column(server_default="queued")
    created_at: Mapped[Instant]
    sending_at: Mapped[datetime | None]
    sent_at: Mapped[datetime | None]
    provider_id: Mapped[str | None]
    error: Mapped[str | None]


class Subscription(Base):
    """How many messages of a template a resident has still agreed to (WeChat's one-time kind)."""

    __tablename__ = "subscription"
    __table_args__ = (sa.CheckConstraint("remaining >= 0", name="remaining_counted"),)

    resident_id: Mapped[int] = ref("resident", primary=True)
    template: Mapped[str] = mapped_column(primary_key=True)
    remaining: Mapped[int] = mapped_column(server_default="0")
    updated_at: Mapped[Created]
