"""A house of three flats with whatever instruments a method reads, two days long."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from backend.allocation.models import AllocationRule, AllocationRun, AllocationShare
from backend.archive.models import (
    Building,
    Household,
    HouseholdFactor,
    HouseholdThermal,
    Meter,
    Radiator,
    RadiatorDevice,
)
from backend.base.clock import day_start
from backend.base.db import db
from backend.metering import series
from backend.metering.rules import pack_day
from backend.metering.service import NewReading, record
from tests import builders

FIRST = date(2026, 11, 17)
LAST = FIRST + timedelta(days=2)
DAYS = 2
AREAS_DM2 = {"101": 5000, "102": 10000, "201": 5000}
TOTAL_WH = 400_000


def house(
    method: str, options: dict[str, Any] | None = None, code: str = "H3"
) -> tuple[Building, Any]:
    """The building with its settlement meter and the rule, and flats by number."""
    building = builders.make_building(code)
    flats = {no: builders.make_household(building, no, area) for no, area in AREAS_DM2.items()}
    meter = builders.make_meter(building)
    db.session.add(
        AllocationRule(
            building_id=building.id,
            method=method,
            options=options or {},
            effective_from=FIRST - timedelta(days=60),
        )
    )
    registers(meter, 1_000_000, TOTAL_WH)
    return building, flats


def registers(meter: Meter, begin: int, used: int, days: int = DAYS) -> None:
    """A reading at every midnight; `used` in equal parts."""
    record(
        [
            NewReading(
                meter.id,
                day_start(FIRST + timedelta(days=n)),
                "collector",
                register=begin + used * n // days,
            )
            for n in range(days + 1)
        ]
    )
    db.session.commit()


def counter(flat: Household, kind: str, used: int, **more: Any) -> Meter:
    """A meter of the flat which counted `used` over the two days."""
    meter = builders.make_meter(flat.building, flat, kind, **more)
    registers(meter, 7_000, used)
    return meter


def constant_series(meter: Meter, quantity: str, cdeg: int, days: int = DAYS) -> None:
    """The same temperature all the time."""
    samples = [(slot * series.INTERVAL_S, cdeg) for slot in range(series.SLOTS)]
    packed = pack_day(samples, series.INTERVAL_S)
    series.store({(meter.id, quantity, FIRST + timedelta(days=n)): packed for n in range(days)})
    db.session.commit()


def climate(flat: Household, tg: int, th: int, tn: int) -> tuple[Meter, Meter]:
    """The flat's heat meter and room sensor, constant in hundredths of a degree."""
    pipes = builders.make_meter(flat.building, flat, "heat")
    room = builders.make_meter(flat.building, flat, "room")
    constant_series(pipes, "supply_cdeg", tg)
    constant_series(pipes, "return_cdeg", th)
    constant_series(room, "room_cdeg", tn)
    return pipes, room


def factor(flat: Household, name: str, value: str) -> None:
    """A constant of the flat, long in force."""
    db.session.add(
        HouseholdFactor(
            household_id=flat.id,
            name=name,
            effective_from=FIRST - timedelta(days=60),
            value=Decimal(value),
            source="test",
        )
    )
    db.session.commit()


def thermal(flat: Household, gamma: str, exponent: str) -> None:
    """gamma and B of the flat, long in force."""
    db.session.add(
        HouseholdThermal(
            household_id=flat.id,
            effective_from=FIRST - timedelta(days=60),
            gamma=Decimal(gamma),
            exponent=Decimal(exponent),
            source="test",
        )
    )
    db.session.commit()


def radiator(flat: Household, meter: Meter | None, rated_w: str = "1000", **device: Any) -> None:
    """A radiator, and the device on it where there is one."""
    number = db.session.query(Radiator).filter_by(household_id=flat.id).count() + 1
    row = Radiator(household_id=flat.id, name=f"R{number}", rated_w=Decimal(rated_w))
    db.session.add(row)
    db.session.flush()
    if meter is not None:
        db.session.add(RadiatorDevice(meter_id=meter.id, radiator_id=row.id, **device))
    db.session.commit()


def shares_of(run: AllocationRun) -> dict[int, int]:
    """household id -> Wh."""
    rows = db.session.execute(
        sa.select(AllocationShare.household_id, AllocationShare.energy_wh).where(
            AllocationShare.run_id == run.id
        )
    )
    return dict(map(tuple, rows))
