"""Tariffs and rules as versioned data; bills, their lines and what was paid on them."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.base.db import Base, Big, BigId, Created, Day, Fen, Instant, Json, Tags, ref


class Tariff(Base):
    """One version of one price: `params` are decimal strings, read by billing.pricing.

    A draft becomes live by a second person's approval and is never changed afterwards but for the
    day it ends.  Live versions of the same utility, class and region cannot overlap: an exclusion
    constraint (migration tariff_versions) holds that.  `region_id` NULL is the whole company; the
    version of the region nearest to a building wins.
    """

    __tablename__ = "tariff"
    __table_args__ = (
        sa.CheckConstraint("state IN ('draft', 'live', 'dropped')", name="state"),
        sa.CheckConstraint("effective_to > effective_from", name="not_empty"),
        sa.CheckConstraint("approved_by <> created_by", name="second_person"),
        sa.Index("ix_tariff_utility_state", "utility", "state"),
    )

    id: Mapped[BigId]
    code: Mapped[str]
    name: Mapped[str]
    utility: Mapped[str]  # heat, water, gas, electricity
    customer_class: Mapped[str]
    region_id: Mapped[int | None] = ref("region", nullable=True)
    kind: Mapped[str]  # a key of pricing.PRICERS
    params: Mapped[Json]
    effective_from: Mapped[Day]
    effective_to: Mapped[date | None]  # the first day it no longer holds
    state: Mapped[str] = mapped_column(server_default="draft")
    created_by: Mapped[int | None] = ref("staff", nullable=True)
    created_at: Mapped[Created]
    approved_by: Mapped[int | None] = ref("staff", nullable=True)
    approved_at: Mapped[datetime | None]


class RegionRule(Base):
    """A rule set of one topic (billing.topics) in force for a region and utility from a day on.

    Never overlapping (exclusion constraint), never changed but for the day it ends.
    """

    __tablename__ = "region_rule"
    __table_args__ = (
        sa.CheckConstraint("effective_to > effective_from", name="not_empty"),
        sa.CheckConstraint("approved_by <> created_by", name="second_person"),
        sa.Index("ix_region_rule_topic", "topic", "utility"),
    )

    id: Mapped[BigId]
    topic: Mapped[str]  # a key of topics.TOPICS
    utility: Mapped[str]
    region_id: Mapped[int | None] = ref("region", nullable=True)
    params: Mapped[Json]
    effective_from: Mapped[Day]
    effective_to: Mapped[date | None]
    created_by: Mapped[int | None] = ref("staff", nullable=True)
    approved_by: Mapped[int | None] = ref("staff", nullable=True)
    created_at: Mapped[Created]


class Bill(Base):
    """What one household owes for one utility and period.

    Issued once (`business_key`), never edited: `paid_fen` follows the ledger, and a correction
    is a reversal and a new bill.  `kind`: usage; settlement of a season; late_fee (of
    `about_id`); reversal (红冲, the negative of `about_id`: both end as reversed).
    """

    __tablename__ = "bill"
    __table_args__ = (
        sa.CheckConstraint(
            "CASE kind WHEN 'reversal' THEN amount_fen <= 0 AND paid_fen = 0"
            " ELSE paid_fen >= 0 AND paid_fen <= amount_fen END",
            name="paid_within",
        ),
        sa.CheckConstraint("(about_id IS NULL) = (kind IN ('usage', 'settlement'))", name="about"),
        sa.Index(
            "uq_bill_reversal",
            "about_id",
            unique=True,
            postgresql_where=sa.text("kind = 'reversal'"),
        ),
        sa.Index("ix_bill_household_issued", "household_id", "issued_at", "id"),
        sa.Index("ix_bill_open_due", "due_on", postgresql_where=sa.text("state = 'issued'")),
    )

    id: Mapped[BigId]
    bill_no: Mapped[str] = mapped_column(unique=True)
    business_key: Mapped[str] = mapped_column(unique=True)
    household_id: Mapped[int] = ref("household", index=False)
    utility: Mapped[str]
    kind: Mapped[str] = mapped_column(server_default="usage")
    about_id: Mapped[int | None] = ref("bill", nullable=True)
    period_from: Mapped[Day]
    period_to: Mapped[Day]
    amount_fen: Mapped[Fen]
    paid_fen: Mapped[Fen] = mapped_column(server_default="0")
    state: Mapped[str] = mapped_column(server_default="issued")  # issued, paid, reversed
    due_on: Mapped[Day]
    issued_at: Mapped[datetime]
    paid_at: Mapped[datetime | None]
    tariff_id: Mapped[int] = ref("tariff")
    run_id: Mapped[int | None] = ref("allocation_run", nullable=True)
    basis: Mapped[Json]  # reading ids and registers the bill was made from
    created_at: Mapped[Created]

    lines: Mapped[list[BillLine]] = relationship(back_populates="bill", order_by="BillLine.seq")
    tariff: Mapped[Tariff] = relationship()


class BillLine(Base):
    """One priced line, with the sentence that lets a resident check it by hand."""

    __tablename__ = "bill_line"

    bill_id: Mapped[int] = ref("bill", primary=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    code: Mapped[str]
    title: Mapped[str]
    quantity: Mapped[Decimal] = mapped_column(sa.Numeric(24, 10))
    unit: Mapped[str]
    price: Mapped[Decimal] = mapped_column(sa.Numeric(18, 8))
    amount_fen: Mapped[Fen]
    explanation: Mapped[str]

    bill: Mapped[Bill] = relationship(back_populates="lines")


class BillPayment(Base):
    """Money counted towards a bill, or (negative) taken back; late fees look at the days."""

    __tablename__ = "bill_payment"

    id: Mapped[BigId]
    bill_id: Mapped[int] = ref("bill")
    amount_fen: Mapped[Fen]
    paid_at: Mapped[Instant]
    day: Mapped[Day]


class PeerUsage(Base):
    """What homes of one region, class and size used over a period; never of fewer than the
    setting NUAN_SIMILAR_HOMES.  Heat in Wh a m2, else Wh or litres a home (billing.peers)."""

    __tablename__ = "peer_usage"

    region_id: Mapped[int] = ref("region", primary=True)
    utility: Mapped[str] = mapped_column(primary_key=True)
    customer_class: Mapped[str] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(primary_key=True)
    period_from: Mapped[date] = mapped_column(primary_key=True)
    period_to: Mapped[date] = mapped_column(primary_key=True)
    homes: Mapped[int]
    low: Mapped[Big]
    median: Mapped[Big]
    high: Mapped[Big]


class Adjustment(Base):
    """Money given back (or a fee waived) outside a bill: posted once, into the wallet.

    `kind`: cold_room, season, correction, goodwill.  `credit_fen` > 0.
    """

    __tablename__ = "adjustment"
    __table_args__ = (
        sa.CheckConstraint("credit_fen > 0", name="credit"),
        sa.CheckConstraint("approved_by <> asked_by", name="second_person"),
    )

    id: Mapped[BigId]
    business_key: Mapped[str] = mapped_column(unique=True)
    household_id: Mapped[int] = ref("household")
    utility: Mapped[str]
    kind: Mapped[str]
    credit_fen: Mapped[Fen]
    reason: Mapped[str]
    detail: Mapped[Json]  # sentences and ids it stands on
    asked_by: Mapped[int | None] = ref("staff", nullable=True)
    approved_by: Mapped[int | None] = ref("staff", nullable=True)
    at: Mapped[Instant]


class BillingRequest(Base):
    """Something one person asks for and another decides; `kind` is a key of requests.KINDS.

    `asked_by` NULL is the system itself (a cut-off after too many days below zero).
    """

    __tablename__ = "billing_request"
    __table_args__ = (
        sa.CheckConstraint("state IN ('open', 'approved', 'refused')", name="state"),
        sa.CheckConstraint("state <> 'approved' OR decided_by <> asked_by", name="second_person"),
        sa.Index(
            "uq_billing_request_open",
            "kind",
            "subject_id",
            unique=True,
            postgresql_where=sa.text("state = 'open'"),
        ),
        sa.Index("ix_billing_request_state", "state", "id"),
    )

    id: Mapped[BigId]
    kind: Mapped[str]
    subject_id: Mapped[int] = mapped_column(sa.BigInteger)
    household_id: Mapped[int | None] = ref("household", nullable=True)
    reason: Mapped[str]
    params: Mapped[Json]
    state: Mapped[str] = mapped_column(server_default="open")
    asked_by: Mapped[int | None] = ref("staff", nullable=True)
    asked_at: Mapped[Instant]
    decided_by: Mapped[int | None] = ref("staff", nullable=True)
    decided_at: Mapped[datetime | None]
    note: Mapped[str] = mapped_column(server_default="")
    result: Mapped[Json]


class PrepaidAccount(Base):
    """A household paying ahead for one utility, between two nights.

    Money stands in the ledger (`prepaid:utility:household`); here is what the rule needs to go on:
    `through` is the last day charged, `used` and `owed_fen` are exact numbers ('a' or 'a/b').
    """

    __tablename__ = "prepaid_account"

    household_id: Mapped[int] = ref("household", primary=True)
    utility: Mapped[str] = mapped_column(primary_key=True)
    opened_on: Mapped[Day]
    closed_on: Mapped[date | None]
    through: Mapped[Day]
    balance_fen: Mapped[Fen] = mapped_column(server_default="0")
    counted_fen: Mapped[Fen] = mapped_column(server_default="0")  # top-ups already in the balance
    used: Mapped[str] = mapped_column(server_default="0")
    owed_fen: Mapped[str] = mapped_column(server_default="0")
    days: Mapped[int] = mapped_column(server_default="0")
    days_below: Mapped[int] = mapped_column(server_default="0")
    marks: Mapped[Tags]  # warned, overdrawn, closed
    waiting: Mapped[str | None]  # why the next day cannot be charged yet


class PrepaidDay(Base):
    """One night's closing of a prepaid account."""

    __tablename__ = "prepaid_day"

    household_id: Mapped[int] = ref("household", primary=True)
    utility: Mapped[str] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    used: Mapped[int] = mapped_column(sa.BigInteger)
    topup_fen: Mapped[Fen]
    deduction_fen: Mapped[Fen]
    balance_fen: Mapped[Fen]
    tariff_id: Mapped[int] = ref("tariff")
    events: Mapped[Tags]
    flags: Mapped[Tags]
    detail: Mapped[Json]  # hours: period -> kWh ('a' or 'a/b'), where the price goes by the hour


class ColdReport(Base):
    """A household's report that it is cold, and what became of it: open, measured, decided."""

    __tablename__ = "cold_report"
    __table_args__ = (
        sa.CheckConstraint("state IN ('open', 'measured', 'decided')", name="state"),
        sa.Index(
            "uq_cold_report_open",
            "household_id",
            unique=True,
            postgresql_where=sa.text("state <> 'decided'"),
        ),
    )

    id: Mapped[BigId]
    household_id: Mapped[int] = ref("household")
    resident_id: Mapped[int | None] = ref("resident", nullable=True)
    reported_at: Mapped[Instant]
    room: Mapped[str]
    note: Mapped[str] = mapped_column(server_default="")
    state: Mapped[str] = mapped_column(server_default="open")
    visit_at: Mapped[datetime | None]  # when the resident expects the measuring to begin
    measured_at: Mapped[datetime | None]
    measured_cdeg: Mapped[int | None]
    measured_by: Mapped[int | None] = ref("staff", nullable=True)
    resident_signature: Mapped[str | None]
    staff_signature: Mapped[str | None]
    finding: Mapped[Json]  # source, days, sentences, refund_fen
    decided_at: Mapped[datetime | None]
    adjustment_id: Mapped[int | None] = ref("adjustment", nullable=True)


class Handover(Base):
    """过户: a household changes hands on a day; `billed` until the old owner owes nothing."""

    __tablename__ = "handover"
    __table_args__ = (
        sa.CheckConstraint("state IN ('billed', 'done')", name="state"),
        sa.Index(
            "uq_handover_open",
            "household_id",
            unique=True,
            postgresql_where=sa.text("state = 'billed'"),
        ),
    )

    id: Mapped[BigId]
    household_id: Mapped[int] = ref("household")
    moved_on: Mapped[Day]
    state: Mapped[str] = mapped_column(server_default="billed")
    old_name_sealed: Mapped[bytes] = mapped_column(pg.BYTEA)
    old_phone_sealed: Mapped[bytes] = mapped_column(pg.BYTEA)
    asked_by: Mapped[int | None] = ref("staff", nullable=True)
    asked_at: Mapped[Instant]
    done_at: Mapped[datetime | None]
    left_fen: Mapped[Fen] = mapped_column(server_default="0")  # to be paid out to who left
