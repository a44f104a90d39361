"""What of the money waits for a person, and every step that was taken."""

from __future__ import annotations

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.orm import Mapped, mapped_column

from backend.base.db import Base, BigId, Day, Instant, Json, ref


class MoneyCase(Base):
    """Money that waits for a person: parked, stuck on its way back, or differing.

    `kind` and `reference` say what it is about (cashier.cases), once each.  `left_fen` is what of
    `amount_fen` nobody has decided on yet.
    """

    __tablename__ = "money_case"
    __table_args__ = (
        sa.UniqueConstraint("kind", "reference"),
        sa.CheckConstraint("kind IN ('order', 'refund', 'break', 'notice')", name="kind"),
        sa.CheckConstraint("state IN ('open', 'suspense', 'done')", name="state"),
        sa.CheckConstraint("left_fen >= 0", name="left"),
        sa.Index("ix_money_case_open", "id", postgresql_where=sa.text("state = 'open'")),
    )

    id: Mapped[BigId]
    kind: Mapped[str]
    reference: Mapped[str]
    type: Mapped[str]
    channel: Mapped[str]
    day: Mapped[Day] = mapped_column(index=True)
    amount_fen: Mapped[int | None] = mapped_column(sa.BigInteger)
    left_fen: Mapped[int | None] = mapped_column(sa.BigInteger)
    household_id: Mapped[int | None] = ref("household", nullable=True)
    out_trade_no: Mapped[str | None]
    owner_id: Mapped[int | None] = ref("staff", nullable=True)
    state: Mapped[str] = mapped_column(server_default="open")
    opened_at: Mapped[Instant]
    ended_at: Mapped[datetime | None]


class CaseNote(Base):
    """A step of a case: who did what, when, and in what words; never edited."""

    __tablename__ = "case_note"

    id: Mapped[BigId]
    case_id: Mapped[int] = ref("money_case")
    at: Mapped[Instant]
    staff_id: Mapped[int | None] = ref("staff", nullable=True, index=False)
    verb: Mapped[str]
    text: Mapped[str]
    detail: Mapped[Json]
