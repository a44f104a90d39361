"""What stands where: regions, buildings, households, buses, meters."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.orm import Mapped, mapped_column, relationship

from backend.base.db import Base, Big, BigId, Created, Day, Json, ref


class Region(Base):
    """A node of the company's tree: company, branch, heat station."""

    __tablename__ = "region"

    id: Mapped[BigId]
    parent_id: Mapped[int | None] = ref("region", nullable=True)
    name: Mapped[str]
    kind: Mapped[str]  # company, branch, station


class Building(Base):
    """A building with one heat entrance and its settlement meter."""

    __tablename__ = "building"

    id: Mapped[BigId]
    region_id: Mapped[int] = ref("region")
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    address: Mapped[str]

    region: Mapped[Region] = relationship()


class Household(Base):
    """A flat: what is billed.  Owner's name and phone are sealed; see base/sealed.py."""

    __tablename__ = "household"
    __table_args__ = (
        sa.UniqueConstraint("building_id", "unit_no"),
        sa.CheckConstraint("area_dm2 > 0", name="area_positive"),
    )

    id: Mapped[BigId]
    building_id: Mapped[int] = ref("building", index=False)
    account_no: Mapped[str] = mapped_column(unique=True)
    unit_no: Mapped[str]  # "101"
    floor: Mapped[int]
    area_dm2: Mapped[int]  # 0.01 m2
    customer_class: Mapped[str] = mapped_column(server_default="residential")
    persons: Mapped[int] = mapped_column(server_default="3")
    owner_name_sealed: Mapped[bytes] = mapped_column(pg.BYTEA)
    owner_phone_sealed: Mapped[bytes] = mapped_column(pg.BYTEA)
    suspended_from: Mapped[date | None]  # heat suspended (报停) from this day on
    active_from: Mapped[date | None]
    active_to: Mapped[date | None]

    building: Mapped[Building] = relationship()


class HouseholdThermal(Base):
    """The flat's equivalent radiator from a day on: gamma and the exponent B itself."""

    __tablename__ = "household_thermal"
    __table_args__ = (sa.UniqueConstraint("household_id", "effective_from"),)

    id: Mapped[BigId]
    household_id: Mapped[int] = ref("household", index=False)
    effective_from: Mapped[Day]
    gamma: Mapped[Decimal] = mapped_column(sa.Numeric(12, 6))
    exponent: Mapped[Decimal] = mapped_column(sa.Numeric(8, 6))
    source: Mapped[str]


class HouseholdFactor(Base):
    """One constant of a flat from a day on, for the methods which need more than gamma and B.

    `name`: alpha (position correction), flow_fraction, room_constant, radiator_a, radiator_m2,
    beta (the product of the four corrections).
    """

    __tablename__ = "household_factor"
    __table_args__ = (sa.UniqueConstraint("household_id", "name", "effective_from"),)

    id: Mapped[BigId]
    household_id: Mapped[int] = ref("household", index=False)
    name: Mapped[str]
    effective_from: Mapped[Day]
    value: Mapped[Decimal] = mapped_column(sa.Numeric(16, 8))
    source: Mapped[str]


class Radiator(Base):
    """A radiator of a flat; `rated_w` is its output at the standard excess."""

    __tablename__ = "radiator"
    __table_args__ = (
        sa.UniqueConstraint("household_id", "name"),
        sa.CheckConstraint("rated_w > 0", name="rated_positive"),
    )

    id: Mapped[BigId]
    household_id: Mapped[int] = ref("household", index=False)
    name: Mapped[str]
    rated_w: Mapped[Decimal] = mapped_column(sa.Numeric(12, 3))


class RadiatorDevice(Base):
    """A meter on a radiator: an allocator (kind hca) or a valve's clock (kind valve).

    `kq`, `kc`, `kt` rate the radiator, the contact and the design temperature; `exponent` n and
    `least_excess_k` dT_min belong to an electronic device; `per_count` is what one count of the
    register means in units; `cold_evaporation` is an evaporator's loss without heat in a period.
    """

    __tablename__ = "radiator_device"
    __table_args__ = (
        sa.CheckConstraint("kq >= 0 AND kc >= 0 AND kt >= 0 AND per_count > 0", name="factors"),
    )

    meter_id: Mapped[int] = ref("meter", primary=True)
    radiator_id: Mapped[int] = ref("radiator")
    kq: Mapped[Decimal] = mapped_column(sa.Numeric(12, 6), server_default="1")
    kc: Mapped[Decimal] = mapped_column(sa.Numeric(12, 6), server_default="1")
    kt: Mapped[Decimal] = mapped_column(sa.Numeric(12, 6), server_default="1")
    exponent: Mapped[Decimal] = mapped_column(sa.Numeric(8, 6), server_default="1.15")
    least_excess_k: Mapped[Decimal] = mapped_column(sa.Numeric(8, 4), server_default="0")
    per_count: Mapped[Decimal] = mapped_column(sa.Numeric(12, 6), server_default="1")
    cold_evaporation: Mapped[Decimal] = mapped_column(sa.Numeric(12, 6), server_default="0")


class Binding(Base):
    """A resident looks after a household; ended, never deleted."""

    __tablename__ = "binding"
    __table_args__ = (
        sa.Index(
            "uq_binding_live",
            "resident_id",
            "household_id",
            unique=True,
            postgresql_where=sa.text("ended_at IS NULL"),
        ),
    )

    id: Mapped[BigId]
    resident_id: Mapped[int] = ref("resident")
    household_id: Mapped[int] = ref("household")
    created_at: Mapped[Created]
    ended_at: Mapped[datetime | None]


class Bus(Base):
    """A wire with meters on it and the link that reaches it.

    `state` (since `state_since`) is what `metering.bus_rules` makes of `cycle`, the figures of the
    last time all its meters were asked.
    """

    __tablename__ = "bus"
    __table_args__ = (
        sa.CheckConstraint(
            "state IN ('idle', 'reading', 'overload', 'no_load', 'silent')", name="state"
        ),
    )

    id: Mapped[BigId]
    building_id: Mapped[int] = ref("building")
    code: Mapped[str] = mapped_column(unique=True)
    name: Mapped[str]
    link: Mapped[str]  # tcp://host:port, serial:///dev/ttyS0?baud=2400
    read_every_s: Mapped[int] = mapped_column(server_default="600")
    state: Mapped[str] = mapped_column(server_default="idle")
    state_since: Mapped[datetime | None]
    cycle: Mapped[Json]
    last_seen_at: Mapped[datetime | None]
    signal_dbm: Mapped[int | None]  # of its modem or concentrator
    signal_at: Mapped[datetime | None]


class Meter(Base):
    """A meter or sensor on a bus.

    `kind` is what it measures (see archive.rules.KINDS), `scope` whose it is
    (building or household).  A replacement ends this row with its final register and begins a
    new one with a first register (issue: metering.usage).
    """

    __tablename__ = "meter"
    __table_args__ = (
        sa.Index(
            "uq_meter_live_address",
            "bus_id",
            "protocol",
            "address",
            unique=True,
            postgresql_where=sa.text("removed_on IS NULL"),
        ),
        sa.CheckConstraint("(scope = 'building') = (household_id IS NULL)", name="scope"),
    )

    id: Mapped[BigId]
    bus_id: Mapped[int] = ref("bus", index=False)
    building_id: Mapped[int] = ref("building")
    household_id: Mapped[int | None] = ref("household", nullable=True)
    scope: Mapped[str]
    kind: Mapped[str]
    protocol: Mapped[str]  # cjt188, mbus
    address: Mapped[str]
    profile: Mapped[str] = mapped_column(server_default="default")
    installed_on: Mapped[Day]
    removed_on: Mapped[date | None]
    first_register: Mapped[Big] = mapped_column(server_default="0")
    final_register: Mapped[int | None] = mapped_column(sa.BigInteger)
    register_max: Mapped[int | None] = mapped_column(sa.BigInteger)
    max_per_day: Mapped[int | None] = mapped_column(sa.BigInteger)
    options: Mapped[Json]
