"""Residents, staff, their tokens, and the trail of what they did."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from backend.base.db import Base, BigId, Created, Instant, Json, Tags, ref

ROLES = ("reader", "finance", "operator", "manager")


class Resident(Base):
    """A person known by the WeChat openid of the company's mini-program."""

    __tablename__ = "resident"

    id: Mapped[BigId]
    openid: Mapped[str] = mapped_column(unique=True)
    unionid: Mapped[str | None]
    created_at: Mapped[Created]


class Staff(Base):
    """A member of staff; `roles` are some of ROLES."""

    __tablename__ = "staff"

    id: Mapped[BigId]
    login: Mapped[str] = mapped_column(unique=True)
    password_hash: Mapped[str]
    name: Mapped[str]
    roles: Mapped[Tags]
    active: Mapped[bool] = mapped_column(server_default=sa.true())
    failed_logins: Mapped[int] = mapped_column(server_default="0")
    locked_until: Mapped[datetime | None]
    created_at: Mapped[Created]


class AccessToken(Base):
    """A bearer token (only its SHA-256 is kept) of one resident or one member of staff."""

    __tablename__ = "access_token"
    __table_args__ = (
        sa.CheckConstraint("(resident_id IS NULL) <> (staff_id IS NULL)", name="one_owner"),
    )

    id: Mapped[BigId]
    token_hash: Mapped[bytes] = mapped_column(pg.BYTEA, unique=True)
    resident_id: Mapped[int | None] = ref("resident", nullable=True)
    staff_id: Mapped[int | None] = ref("staff", nullable=True)
    created_at: Mapped[Created]
    expires_at: Mapped[Instant]
    revoked_at: Mapped[datetime | None]


class AuditEvent(Base):
    """Who did what to which thing, when; a trigger refuses UPDATE and DELETE."""

    __tablename__ = "audit_event"

    id: Mapped[BigId]
    at: Mapped[Instant] = mapped_column(index=True)
    actor_kind: Mapped[str]  # resident, staff, system
    actor_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    action: Mapped[str]
    subject_kind: Mapped[str]
    subject_id: Mapped[str]
    detail: Mapped[Json]
    request_id: Mapped[str | None]


class SharedSecret(Base):
    """A short-lived outside token every process shares (WeChat's stable_token), sealed."""

    __tablename__ = "shared_secret"

    name: Mapped[str] = mapped_column(primary_key=True)
    value_sealed: Mapped[Any] = mapped_column(pg.BYTEA)
    expires_at: Mapped[Instant]
