"""The town's rows: regions, buildings, flats, buses, meters, prices, people.  Safe to repeat."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import sqlalchemy as sa
from werkzeug.security import generate_password_hash

from backend.allocation.models import AllocationRule
from backend.archive import owner
from backend.archive.models import (
    Binding,
    Building,
    Bus,
    Household,
    HouseholdThermal,
    Meter,
    Region,
)
from backend.base.db import db
from backend.billing import service as billing
from backend.cashier import shifts
from backend.cashier.papers import tax
from backend.notices.models import Subscription
from backend.people.models import Resident, Staff
from collectors.demo.people import PEOPLE, STAFF, STAFF_PASSWORD, owner_of
from collectors.simulator.demo import B_FLATS
from collectors.simulator.replay import paper18
from collectors.simulator.town import BusSpec, MeterSpec, Town

NAMES = {
    "A": ("暖阳里 1 号楼", "道里区暖阳路 8 号"),
    "B": ("暖阳里 2 号楼", "道里区暖阳路 8 号"),
}
# The published two days are cold ones: some flats take more than is usual for a household's meter.
PUBLISHED_MAX_WH = 1_000_000
ACCOUNT_PREFIX = {"A": "2600101", "B": "2600102"}

TARIFFS = (
    (
        "heat",
        "heat-two-part",
        "居民两部制热价",
        "two_part",
        {"k1": "16.5", "k2": "44.41", "season_days": 183, "area_price": "38.32"},
    ),
    (
        "water",
        "water-components",
        "居民水价",
        "components",
        {
            "unit": "m3",
            "prices": {"water": "2.07", "resource": "0.30", "sewage": "0.95"},
            "titles": {"water": "水费", "resource": "水资源税", "sewage": "污水处理费"},
        },
    ),
    ("gas", "gas-flat", "居民气价", "flat", {"unit": "m3", "price": "2.80", "title": "燃气费"}),
    (
        "electricity",
        "power-flat",
        "居民电价",
        "flat",
        {"unit": "kWh", "price": "0.51", "title": "电费"},
    ),
)


def install(town: Town, start: date, read_every_s: int, template: str) -> None:
    """Make every row of the town that is missing."""
    if db.session.scalar(sa.select(sa.func.count()).select_from(Building)):
        return
    station = _regions()
    buildings = {key: _building(station, key) for key in NAMES}
    flats = {key: _flats(key, buildings[key]) for key in NAMES}
    db.session.flush()
    _thermal(flats["A"], start)
    db.session.add(
        AllocationRule(
            building_id=buildings["A"].id,
            effective_from=start,
            method="three_temperature",
            options={},
        )
    )
    for bus in town.buses:
        _bus(bus, buildings, flats, start, read_every_s)
    ensure_tariffs(start)
    ensure_staff()
    _residents(flats, template)
    db.session.flush()


def _regions() -> Region:
    company = Region(name="暖阳热力有限公司", kind="company")
    db.session.add(company)
    db.session.flush()
    branch = Region(name="道里分公司", kind="branch", parent_id=company.id)
    db.session.add(branch)
    db.session.flush()
    station = Region(name="暖阳换热站", kind="station", parent_id=branch.id)
    db.session.add(station)
    db.session.flush()
    return station


def _building(station: Region, key: str) -> Building:
    name, address = NAMES[key]
    row = Building(region_id=station.id, code=key, name=name, address=address)
    db.session.add(row)
    db.session.flush()
    return row


def _flats(key: str, building: Building) -> dict[str, Household]:
    areas = (
        [(row["id"], Decimal(str(row["area_m2"]))) for row in paper18().households]
        if key == "A"
        else [(flat.name, Decimal(str(flat.area_m2))) for flat in B_FLATS]
    )
    found = {}
    for index, (unit, area_m2) in enumerate(areas, 1):
        name, phone = _owner(key, unit, index)
        found[unit] = Household(
            building_id=building.id,
            account_no=f"{ACCOUNT_PREFIX[key]}{unit}",
            unit_no=unit,
            floor=int(unit[:-2]),
            area_dm2=int(area_m2 * 100),
            **owner.sealed(name, phone),
        )
        db.session.add(found[unit])
    return found


def _owner(key: str, unit: str, index: int) -> tuple[str, str]:
    name, phone = owner_of(key, index)
    own = next((p for p in PEOPLE if (p.building, p.flat) == (key, unit)), None)
    return (own.nickname if own else name), phone


def _thermal(flats: dict[str, Household], start: date) -> None:
    for row in paper18().households:
        db.session.add(
            HouseholdThermal(
                household_id=flats[row["id"]].id,
                effective_from=start,
                gamma=Decimal(str(row["gamma"])),
                exponent=Decimal(str(row["b"])),
                source="published table",
            )
        )


def _bus(
    spec: BusSpec,
    buildings: dict[str, Building],
    flats: dict[str, dict[str, Household]],
    start: date,
    read_every_s: int,
) -> None:
    building = buildings[spec.meters[0].building]
    bus = Bus(
        building_id=building.id,
        code=spec.bus_id,
        name=f"{building.name} {spec.bus_id}",
        link=spec.link(),
        read_every_s=read_every_s,
    )
    db.session.add(bus)
    db.session.flush()
    for meter in spec.meters:
        db.session.add(_meter(meter, bus, building, flats[meter.building], start))


def _meter(
    spec: MeterSpec, bus: Bus, building: Building, flats: dict[str, Household], start: date
) -> Meter:
    return Meter(
        bus_id=bus.id,
        building_id=building.id,
        household_id=flats[spec.flat].id if spec.flat else None,
        scope="household" if spec.flat else "building",
        kind="heat" if spec.kind == "building" else spec.kind,
        protocol=spec.protocol,
        address=spec.address,
        installed_on=start - timedelta(days=30),
        max_per_day=PUBLISHED_MAX_WH if spec.kind == "heat" and spec.building == "A" else None,
    )


def ensure_tariffs(start: date) -> None:
    """The demonstration's prices, from a month before `start`."""
    for utility, code, name, kind, params in TARIFFS:
        billing.upsert_tariff(
            utility=utility,
            code=code,
            name=name,
            kind=kind,
            params=params,
            customer_class="residential",
            effective_from=start - timedelta(days=30),
        )


def ensure_staff() -> None:
    """The demonstration's staff, and the hall where they take money."""
    shifts.add_drawer("D1", "营业厅一号台")
    tax.begin()
    shifts.add_terminal("10650001", "营业厅 POS", "icbc")
    for login, name, roles in STAFF:
        db.session.add(
            Staff(
                login=login,
                name=name,
                roles=roles,
                password_hash=generate_password_hash(STAFF_PASSWORD),
            )
        )


def _residents(flats: dict[str, dict[str, Household]], template: str) -> None:
    """The sandbox's people look after their flats; each has agreed to some reminders."""
    for person in PEOPLE:
        resident = Resident(openid=person.openid)
        db.session.add(resident)
        db.session.flush()
        household = flats[person.building][person.flat]
        db.session.add(Binding(resident_id=resident.id, household_id=household.id))
        db.session.add(Subscription(resident_id=resident.id, template=template, remaining=3))
