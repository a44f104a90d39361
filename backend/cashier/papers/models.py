"""Receipts and invoices as they were issued, what they are printed by, and whom they are made to.

A paper, its lines, its void and its prints are never changed (triggers, migration `papers`): what
is wrong is voided the same day or taken back by a red-letter paper.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.base.db import Base, BigId, Created, Day, Fen, Instant, Json, ref


class PaperIssuer(Base):
    """Who issues (开票方): the company, or a branch of it for the households of a region."""

    __tablename__ = "paper_issuer"
    __table_args__ = (sa.UniqueConstraint("region_id", postgresql_nulls_not_distinct=True),)

    id: Mapped[BigId]
    code: Mapped[str] = mapped_column(unique=True)  # two digits, part of every number
    region_id: Mapped[int | None] = ref("region", nullable=True, index=False)
    name: Mapped[str]
    tax_id: Mapped[str] = mapped_column(server_default="")
    address: Mapped[str] = mapped_column(server_default="")
    phone: Mapped[str] = mapped_column(server_default="")
    bank: Mapped[str] = mapped_column(server_default="")
    bank_account: Mapped[str] = mapped_column(server_default="")
    drawer: Mapped[str] = mapped_column(server_default="")  # 开票人 of what nobody at a desk issued
    payee: Mapped[str] = mapped_column(server_default="")  # 收款人
    reviewer: Mapped[str] = mapped_column(server_default="")  # 复核


class PaperSeries(Base):
    """The numbers of one issuer, kind and year: 1 to `last_no`, each of them a paper.

    Moved on by one in the transaction that stores the paper; triggers refuse everything else.
    """

    __tablename__ = "paper_series"

    issuer_id: Mapped[int] = ref("paper_issuer", primary=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    year: Mapped[int] = mapped_column(primary_key=True)
    last_no: Mapped[int]


class Paper(Base):
    """One receipt or invoice; `about_id` names the paper a red-letter one takes back.

    `content` and the sealed party are what was printed: seller, place, payment, remark; `lines`
    the sums.  `templates`: {size: paper_template.id}, the versions it is printed by for ever.
    """

    __tablename__ = "paper"
    __table_args__ = (
        sa.UniqueConstraint("issuer_id", "kind", "year", "number"),
        sa.CheckConstraint("kind IN ('receipt', 'invoice', 'special')", name="kind"),
        sa.CheckConstraint(
            "CASE WHEN about_id IS NULL THEN amount_fen > 0 ELSE amount_fen < 0 END", name="sign"
        ),
        sa.CheckConstraint("second_by <> issued_by", name="second"),
        sa.Index("ix_paper_household_id", "household_id", "id"),
    )

    id: Mapped[BigId]
    paper_no: Mapped[str] = mapped_column(unique=True)
    business_key: Mapped[str] = mapped_column(unique=True)
    issuer_id: Mapped[int] = ref("paper_issuer", index=False)
    kind: Mapped[str]
    year: Mapped[int]
    number: Mapped[int]
    household_id: Mapped[int] = ref("household", index=False)
    about_id: Mapped[int | None] = ref("paper", nullable=True)
    amount_fen: Mapped[Fen]
    tax_fen: Mapped[Fen]
    issued_at: Mapped[Instant]
    day: Mapped[Day] = mapped_column(index=True)
    issued_by: Mapped[int | None] = ref("staff", nullable=True)  # None: by itself, or a resident
    second_by: Mapped[int | None] = ref("staff", nullable=True)
    reason: Mapped[str | None]  # of a red-letter paper
    content: Mapped[Json]
    party_sealed: Mapped[bytes] = mapped_column(pg.BYTEA)
    templates: Mapped[Json]

    lines: Mapped[list[PaperLine]] = relationship(back_populates="paper", order_by="PaperLine.seq")
    void: Mapped[PaperVoid | None] = relationship(uselist=False)


class PaperLine(Base):
    """One line of a paper; `amount_fen` has its tax in it.

    It stands for the bill `bill_id`, or for prepaid `deductions` (their sum is its amount).
    """

    __tablename__ = "paper_line"
    __table_args__ = (
        sa.CheckConstraint("treatment IN ('none', 'taxed', 'exempt', 'untaxed')", name="treatment"),
        sa.CheckConstraint("(treatment = 'taxed') = (rate_bp IS NOT NULL)", name="rate"),
        sa.CheckConstraint("treatment = 'taxed' OR tax_fen = 0", name="tax"),
    )

    paper_id: Mapped[int] = ref("paper", primary=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    bill_id: Mapped[int | None] = ref("bill", nullable=True)
    utility: Mapped[str]  # '' where it is none's (a sum put into the balance)
    title: Mapped[str]
    quantity: Mapped[Decimal | None] = mapped_column(sa.Numeric(24, 10))
    unit: Mapped[str] = mapped_column(server_default="")
    price: Mapped[Decimal | None] = mapped_column(sa.Numeric(18, 8))
    amount_fen: Mapped[Fen]
    treatment: Mapped[str]
    rate_bp: Mapped[int | None]  # hundredths of a percent
    tax_fen: Mapped[Fen]

    paper: Mapped[Paper] = relationship(back_populates="lines")
    deductions: Mapped[list[PaperDeduction]] = relationship(
        order_by="PaperDeduction.day", lazy="selectin"
    )


class PaperDeduction(Base):
    """What a line of an invoice says of one prepaid day's deduction; below zero in red letters.

    Of a day, all invoices that count never say more than was deducted (trigger).
    """

    __tablename__ = "paper_deduction"
    __table_args__ = (
        sa.ForeignKeyConstraint(
            ["paper_id", "seq"],
            ["paper_line.paper_id", "paper_line.seq"],
            name="fk_paper_deduction_line",
        ),
        sa.ForeignKeyConstraint(
            ["household_id", "utility", "day"],
            ["prepaid_day.household_id", "prepaid_day.utility", "prepaid_day.day"],
            name="fk_paper_deduction_prepaid_day",
        ),
        sa.CheckConstraint("amount_fen <> 0", name="not_zero"),
        sa.Index("ix_paper_deduction_day", "household_id", "utility", "day"),
    )

    paper_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    household_id: Mapped[int] = mapped_column(sa.BigInteger)
    utility: Mapped[str]
    amount_fen: Mapped[Fen]


class PaperVoid(Base):
    """A paper that does not count (作废): its number is kept and shown, and never used again."""

    __tablename__ = "paper_void"
    __table_args__ = (sa.CheckConstraint("second_by <> voided_by", name="second"),)

    paper_id: Mapped[int] = ref("paper", primary=True)
    voided_at: Mapped[Instant]
    day: Mapped[Day]
    voided_by: Mapped[int | None] = ref("staff", nullable=True)
    second_by: Mapped[int | None] = ref("staff", nullable=True)
    reason: Mapped[str]


class PaperPrint(Base):
    """A paper put on paper; the second and later ones are marked 补打."""

    __tablename__ = "paper_print"

    paper_id: Mapped[int] = ref("paper", primary=True)
    seq: Mapped[int] = mapped_column(primary_key=True)
    size: Mapped[str]
    printed_at: Mapped[Instant]
    printed_by: Mapped[int] = ref("staff")


class PaperPlatform(Base):
    """The number a tax platform gave its own document (数电票) for one of our papers."""

    __tablename__ = "paper_platform"

    paper_id: Mapped[int] = ref("paper", primary=True)
    platform: Mapped[str]
    platform_no: Mapped[str]
    recorded_at: Mapped[Instant]
    recorded_by: Mapped[int] = ref("staff")

    __table_args__ = (sa.UniqueConstraint("platform", "platform_no"),)


class PaperTemplate(Base):
    """One version of what a kind of paper looks like on one size of sheet.

    A draft is edited freely; a second person makes it live, and from then on it never changes.
    The live version with the newest `effective_from` up to a day holds on that day.
    """

    __tablename__ = "paper_template"
    __table_args__ = (
        sa.UniqueConstraint("kind", "size", "version"),
        sa.CheckConstraint("kind IN ('receipt', 'invoice')", name="kind"),
        sa.CheckConstraint("size IN ('a4', 'a5', 'pin')", name="size"),
        sa.CheckConstraint("state IN ('draft', 'live', 'dropped')", name="state"),
        sa.CheckConstraint("approved_by <> created_by", name="second_person"),
    )

    id: Mapped[BigId]
    kind: Mapped[str]
    size: Mapped[str]
    version: Mapped[int]
    name: Mapped[str]
    source: Mapped[str]
    state: Mapped[str] = mapped_column(server_default="draft")
    effective_from: Mapped[Day]
    created_by: Mapped[int | None] = ref("staff", nullable=True)  # None: it came with Nuan
    created_at: Mapped[Created]
    approved_by: Mapped[int | None] = ref("staff", nullable=True)
    approved_at: Mapped[datetime | None]


class InvoiceTitle(Base):
    """抬头: whom a household's invoices are made to.  All of it sealed; one default a household."""

    __tablename__ = "invoice_title"
    __table_args__ = (
        sa.CheckConstraint("kind IN ('person', 'company')", name="kind"),
        sa.Index(
            "uq_invoice_title_default",
            "household_id",
            unique=True,
            postgresql_where=sa.text("is_default AND dropped_at IS NULL"),
        ),
    )

    id: Mapped[BigId]
    household_id: Mapped[int] = ref("household")
    kind: Mapped[str]
    sealed: Mapped[bytes] = mapped_column(pg.BYTEA)  # name, tax_id, address, phone, bank, …
    is_default: Mapped[bool] = mapped_column(server_default=sa.false())
    created_at: Mapped[Instant]
    dropped_at: Mapped[datetime | None]


class TaxRate(Base):
    """How a utility's (or one of its components') income is taxed from a day on.

    `component` is a bill line's code, '' all of the utility's others; `rate_bp` in hundredths of
    a percent, NULL where nothing is levied.  Never overlapping, never changed but for its end.
    """

    __tablename__ = "tax_rate"
    __table_args__ = (
        sa.CheckConstraint("treatment IN ('taxed', 'exempt', 'untaxed')", name="treatment"),
        sa.CheckConstraint("(treatment = 'taxed') = (rate_bp IS NOT NULL)", name="rate"),
        sa.CheckConstraint("rate_bp BETWEEN 0 AND 10000", name="within"),
        sa.CheckConstraint("effective_to > effective_from", name="not_empty"),
        sa.CheckConstraint("approved_by <> created_by", name="second_person"),
    )

    id: Mapped[BigId]
    utility: Mapped[str]
    component: Mapped[str] = mapped_column(server_default="")
    customer_class: Mapped[str]
    treatment: Mapped[str]
    rate_bp: Mapped[int | None]
    effective_from: Mapped[Day]
    effective_to: Mapped[date | None]
    basis: Mapped[str]  # the notice it rests on
    created_by: Mapped[int | None] = ref("staff", nullable=True)
    approved_by: Mapped[int | None] = ref("staff", nullable=True)
