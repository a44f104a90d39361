"""Readings as they came, day series packed small, usage per day, and how reading went."""

from __future__ import annotations

from datetime import date, datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column

from backend.base.db import Base, Big, BigId, Created, Day, Instant, Json, Tags, ref


class Reading(Base):
    """One reading of one meter at one moment, with the frame's bytes.  Never changed.

    A correction is a new row whose `corrects_id` names the old one (0 = an original), with its
    author and reason.  Partitioned by month of `read_at`; triggers refuse UPDATE and DELETE.
    `register` counts Wh (heat, electricity) or litres (water, gas).
    """

    __tablename__ = "reading"
    __table_args__ = (
        sa.PrimaryKeyConstraint("meter_id", "read_at", "kind", "corrects_id"),
        sa.Index("ix_reading_id", "id"),
        sa.Index("ix_reading_flagged", "read_at", postgresql_where=sa.text("flags <> '{}'")),
        {"postgresql_partition_by": "RANGE (read_at)"},
    )

    id: Mapped[int] = mapped_column(
        sa.BigInteger,
        sa.Sequence("reading_id_seq"),
        server_default=sa.text("nextval('reading_id_seq')"),
    )
    meter_id: Mapped[Big]
    read_at: Mapped[Instant]
    kind: Mapped[str] = mapped_column(server_default="current")  # current, freeze, manual
    corrects_id: Mapped[Big] = mapped_column(server_default="0")
    register: Mapped[int | None] = mapped_column(sa.BigInteger)
    volume_l: Mapped[int | None] = mapped_column(sa.BigInteger)
    power_w: Mapped[int | None] = mapped_column(sa.Integer)
    flow_lph: Mapped[int | None] = mapped_column(sa.Integer)
    supply_cdeg: Mapped[int | None] = mapped_column(sa.Integer)
    return_cdeg: Mapped[int | None] = mapped_column(sa.Integer)
    room_cdeg: Mapped[int | None] = mapped_column(sa.Integer)
    flags: Mapped[Tags]
    source: Mapped[str]  # collector, reader, import
    frame: Mapped[bytes | None] = mapped_column(pg.BYTEA)
    client_id: Mapped[str | None]
    author_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    reason: Mapped[str | None]
    recorded_at: Mapped[Created]


class ManualEntry(Base):
    """A reading typed in by a reader: its client-side id makes sending it twice harmless."""

    __tablename__ = "manual_entry"

    client_id: Mapped[str] = mapped_column(primary_key=True)
    staff_id: Mapped[int] = ref("staff")
    meter_id: Mapped[int] = ref("meter")
    reading_id: Mapped[Big]
    usage_since: Mapped[int | None] = mapped_column(sa.BigInteger)  # as the first answer said
    created_at: Mapped[Created]


class DaySeries(Base):
    """One sensor's quantity for one business day: packed little-endian int16 slots."""

    __tablename__ = "day_series"

    meter_id: Mapped[int] = mapped_column(sa.BigInteger, primary_key=True)
    quantity: Mapped[str] = mapped_column(primary_key=True)  # supply_cdeg, return_cdeg, room_cdeg
    day: Mapped[Day] = mapped_column(primary_key=True)
    interval_s: Mapped[int]
    samples: Mapped[bytes] = mapped_column(pg.BYTEA)


class CondensedDay(Base):
    """A closed day of one flat: S(B) at 8 Chebyshev nodes, so settlement skips the samples."""

    __tablename__ = "condensed_day"

    household_id: Mapped[int] = ref("household", primary=True)
    day: Mapped[Day] = mapped_column(primary_key=True)
    nodes: Mapped[list[float]] = mapped_column(pg.ARRAY(pg.DOUBLE_PRECISION))
    covered_s: Mapped[int]
    room_cdeg_s: Mapped[Big]  # integral of room temperature over the covered time
    outcome: Mapped[Json]


class DailyUsage(Base):
    """What one meter counted in one business day, and the readings it was taken from."""

    __tablename__ = "daily_usage"

    meter_id: Mapped[int] = ref("meter", primary=True)
    day: Mapped[Day] = mapped_column(primary_key=True)
    usage: Mapped[int | None] = mapped_column(sa.BigInteger)
    open_reading_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    close_reading_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    flags: Mapped[Tags]


class MeterState(Base):
    """A meter's last known state, kept with each stored batch."""

    __tablename__ = "meter_state"

    meter_id: Mapped[int] = ref("meter", primary=True)
    last_ok_at: Mapped[datetime | None]
    last_error_at: Mapped[datetime | None]
    last_error: Mapped[str | None]
    last_reading_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    register: Mapped[int | None] = mapped_column(sa.BigInteger)
    register_since: Mapped[datetime | None]  # when the register was first seen to show this
    power_w: Mapped[int | None]
    supply_cdeg: Mapped[int | None]
    return_cdeg: Mapped[int | None]
    room_cdeg: Mapped[int | None]
    clock_drift_s: Mapped[int | None]  # the meter's clock minus ours: ahead is positive
    clock_at: Mapped[datetime | None]  # when they were compared
    signal_dbm: Mapped[int | None]
    snr_ddb: Mapped[int | None]  # tenths of a decibel
    battery_mv: Mapped[int | None]
    battery_percent: Mapped[int | None]
    signal_at: Mapped[datetime | None]  # when it was heard so


class ReadSuccess(Base):
    """How often a meter answered on a day: the console's reading success comes from here."""

    __tablename__ = "read_success"

    meter_id: Mapped[int] = ref("meter", primary=True)
    day: Mapped[Day] = mapped_column(primary_key=True, index=True)  # the console reads a week
    asked: Mapped[int] = mapped_column(server_default="0")
    answered: Mapped[int] = mapped_column(server_default="0")


class RefusedFrame(Base):
    """A sample of what came over a wire and was refused, raw, for the dispatcher.

    `explained` is what the codec makes of it: rows of (中文, English term, value).
    """

    __tablename__ = "refused_frame"

    id: Mapped[BigId]
    at: Mapped[Instant] = mapped_column(index=True)
    bus_id: Mapped[int | None] = ref("bus", nullable=True)
    meter_id: Mapped[int | None] = ref("meter", nullable=True, index=False)  # that was asked
    protocol: Mapped[str | None]
    code: Mapped[str]
    reason: Mapped[str]
    frame: Mapped[bytes] = mapped_column(pg.BYTEA)
    explained: Mapped[list[list[str]]] = mapped_column(pg.JSONB, server_default="[]")


class RefusedCount(Base):
    """How many frames were refused in a business day, by code and bus (0: no bus of ours)."""

    __tablename__ = "refused_count"

    day: Mapped[Day] = mapped_column(primary_key=True)
    code: Mapped[str] = mapped_column(primary_key=True)
    bus_id: Mapped[Big] = mapped_column(primary_key=True, autoincrement=False)
    count: Mapped[Big]


class ClosedDay(Base):
    """A building's metering day that has been closed, and what was found.

    `reopened_at`: something of that day came in later; it waits to be closed again.
    """

    __tablename__ = "closed_day"

    building_id: Mapped[int] = ref("building", primary=True)
    day: Mapped[date] = mapped_column(primary_key=True)
    closed_at: Mapped[Instant]
    summary: Mapped[Json]
    reopened_at: Mapped[datetime | None]


class ReadingRun(Base):
    """Meters to be read once: by a person's order, or one period of a plan.

    `scope` says what was chosen (region, building, batch, meter, plan, missed) and `title` names
    it; `what` is asked for: the current values, or what the meters froze at 00:00 of `frozen_on`.
    Meters that do not answer are asked again until `deadline_at`.
    """

    __tablename__ = "reading_run"
    __table_args__ = (
        sa.UniqueConstraint("plan", "period_from", "what"),
        sa.CheckConstraint("state IN ('running', 'done', 'cancelled')", name="state"),
        sa.CheckConstraint(
            "what IN ('current', 'day', 'month') AND (what = 'current') = (frozen_on IS NULL)",
            name="what",
        ),
    )

    id: Mapped[BigId]
    scope: Mapped[str]
    title: Mapped[str]
    what: Mapped[str] = mapped_column(server_default="current")  # current, day, month
    frozen_on: Mapped[date | None]
    plan: Mapped[str | None]  # hourly, daily, weekly, monthly; missed: the midnight's own
    period_from: Mapped[datetime | None]
    asked_by: Mapped[int | None] = ref("staff", nullable=True)
    state: Mapped[str] = mapped_column(server_default="running")
    created_at: Mapped[Instant] = mapped_column(index=True)
    deadline_at: Mapped[Instant]
    ended_at: Mapped[datetime | None]


class ReadingRunItem(Base):
    """One meter of a run: waiting, taken (by a collector, until `due_at`), read, missed, cancelled.

    `due_at` is when it may next be taken: the next try of one that waits, the end of the lease of
    one that is taken.  Bus and rank are the meter's and the run's, kept here for the index.
    """

    __tablename__ = "reading_run_item"
    __table_args__ = (
        sa.Index(
            "ix_reading_run_item_due",
            "bus_id",
            "rank",
            "due_at",
            postgresql_where=sa.text("state IN ('waiting', 'taken')"),
        ),
        sa.CheckConstraint(
            "state IN ('waiting', 'taken', 'read', 'missed', 'cancelled')", name="state"
        ),
    )

    run_id: Mapped[int] = ref("reading_run", primary=True)
    meter_id: Mapped[int] = ref("meter", primary=True)
    bus_id: Mapped[Big]
    rank: Mapped[int] = mapped_column(sa.SmallInteger)  # smaller goes first
    state: Mapped[str] = mapped_column(server_default="waiting")
    attempts: Mapped[int] = mapped_column(server_default="0")
    due_at: Mapped[Instant]
    lease: Mapped[str | None]
    error: Mapped[str | None]
    reading_id: Mapped[int | None] = mapped_column(sa.BigInteger)
    ended_at: Mapped[datetime | None]


class MeterCommand(Base):
    """An order to a meter's valve or relay; at most one open per meter.

    queued (wants a second person) -> approved -> sent -> acknowledged -> done, or failed, expired,
    withdrawn.  `due_at` and `lease` as in ReadingRunItem.
    """

    __tablename__ = "meter_command"
    __table_args__ = (
        sa.Index(
            "uq_meter_command_open",
            "meter_id",
            unique=True,
            postgresql_where=sa.text("state IN ('queued', 'approved', 'sent', 'acknowledged')"),
        ),
        sa.Index(
            "ix_meter_command_due",
            "bus_id",
            "due_at",
            postgresql_where=sa.text("state IN ('approved', 'sent', 'acknowledged')"),
        ),
        sa.CheckConstraint(
            "state IN ('queued', 'approved', 'sent', 'acknowledged', 'done', 'failed', "
            "'expired', 'withdrawn')",
            name="state",
        ),
        sa.CheckConstraint("approved_by <> asked_by", name="second_person"),
        sa.CheckConstraint("supply IN ('valve', 'relay')", name="supply"),
    )

    id: Mapped[BigId]
    meter_id: Mapped[int] = ref("meter")
    bus_id: Mapped[Big]
    supply: Mapped[str]  # valve, relay
    action: Mapped[str]  # open, close: what becomes of the supply
    reason: Mapped[str]
    state: Mapped[str]
    asked_by: Mapped[int] = ref("staff", index=False)
    asked_at: Mapped[Instant]
    expires_at: Mapped[Instant]
    approved_by: Mapped[int | None] = mapped_column(sa.BigInteger, sa.ForeignKey("staff.id"))
    approved_at: Mapped[datetime | None]
    sends: Mapped[int] = mapped_column(server_default="0")
    sent_at: Mapped[datetime | None]
    acknowledged_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    due_at: Mapped[Instant]
    lease: Mapped[str | None]
    error: Mapped[str | None]
    reading_id: Mapped[int | None] = mapped_column(sa.BigInteger)  # that shows how it stands


class BusJob(Base):
    """Work on a whole bus, done by the collector that owns it; one open of a kind on a bus.

    queued -> running -> done, failed, cancelled; a queued one that nobody takes is expired.
    `done` of `total` steps are behind it, `note` says what it is at; `result` grows with it.
    `due_at` and `lease` as in ReadingRunItem; a running job has until `deadline_at`.
    """

    __tablename__ = "bus_job"
    __table_args__ = (
        sa.Index(
            "uq_bus_job_open",
            "bus_id",
            "kind",
            unique=True,
            postgresql_where=sa.text("state IN ('queued', 'running')"),
        ),
        sa.Index(
            "ix_bus_job_due",
            "bus_id",
            "due_at",
            postgresql_where=sa.text("state IN ('queued', 'running')"),
        ),
        sa.CheckConstraint("kind IN ('search', 'clock', 'download', 'read_back')", name="kind"),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'done', 'failed', 'cancelled', 'expired')",
            name="state",
        ),
    )

    id: Mapped[BigId]
    bus_id: Mapped[int] = ref("bus")
    kind: Mapped[str]
    parameters: Mapped[Json]
    state: Mapped[str] = mapped_column(server_default="queued")
    done: Mapped[int] = mapped_column(server_default="0")
    total: Mapped[int] = mapped_column(server_default="0")
    note: Mapped[str] = mapped_column(server_default="")
    result: Mapped[Json]
    error: Mapped[str | None]
    asked_by: Mapped[int | None] = ref("staff", nullable=True, index=False)
    asked_at: Mapped[Instant] = mapped_column(index=True)
    expires_at: Mapped[Instant]
    started_at: Mapped[datetime | None]
    deadline_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    due_at: Mapped[Instant]
    lease: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default="0")
