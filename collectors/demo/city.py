"""`nuan install-town N`: the archive of the town that `nuan simulate --town N` serves.

Regions, buildings, households, thermal data, allocation rules, buses and meters, in sets. Not for
production, and not beside somebody's buildings.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any, Final

import click
import sqlalchemy as sa

from backend.allocation.models import AllocationRule
from backend.archive import owner
from backend.archive.models import Building, Bus, Household, HouseholdThermal, Meter, Region
from backend.base import schema
from backend.base.clock import business_day
from backend.base.command import application
from backend.base.db import db
from backend.commands import fail
from collectors.demo.archive import ensure_staff, ensure_tariffs
from collectors.demo.people import owner_of
from collectors.simulator.city import (
    DEFAULT_PORT,
    DEFAULT_SEED,
    MOST_HOUSEHOLDS,
    city,
    figures,
    season_start,
)
from collectors.simulator.town import BuildingSpec, MeterSpec, Town

BUILDINGS_A_STATION: Final = 20
CODE: Final = "T"  # what the codes of a simulated town's buildings begin with


@click.command("install-town")
@click.argument("households", type=click.IntRange(1, MOST_HOUSEHOLDS))
@click.option("--seed", default=DEFAULT_SEED, show_default=True, help="As for nuan simulate.")
@click.option("--start", help="As for nuan simulate (ISO date; default the last 15 October).")
@click.option("--base-port", default=DEFAULT_PORT, show_default=True, help="As for nuan simulate.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Where it serves.")
@click.option(
    "--every", "every_s", default=600, show_default=True, help="Seconds between readings."
)
def install_town(
    households: int, seed: int, start: str | None, base_port: int, host: str, every_s: int
) -> None:
    """Write the archive of `nuan simulate --town N` into the database (模拟城区建档)."""
    with application() as app:
        if app.extensions["nuan_settings"].env == "production":
            fail("a simulated town is not for NUAN_ENV=production")
        schema.migrate()
        if reason := refuse_foreign():
            fail(reason)
        today = business_day(app.extensions["nuan_clock"].now())
        begin = date.fromisoformat(start) if start else season_start(today)
        town = city(households, seed=seed, base_port=base_port, start=begin.isoformat())
        install(town, begin, every_s, host)
        db.session.commit()
        click.echo(figures(town))


def refuse_foreign() -> str | None:
    """Why this database is not for a simulated town: buildings stand in it."""
    if db.session.scalar(sa.select(sa.func.count()).select_from(Building)):
        return "the database holds buildings; a simulated town wants one of its own"
    return None


def install(town: Town, start: date, every_s: int, host: str = "127.0.0.1") -> None:
    """Every row of the town, in the caller's transaction."""
    buildings = _buildings(town.buildings)
    flats = _flats(town.buildings, buildings, start)
    _insert(
        AllocationRule,
        [
            {
                "building_id": building_id,
                "effective_from": start,
                "method": "three_temperature",
                "options": {},
            }
            for building_id in buildings.values()
        ],
    )
    ids = _ids(
        Bus,
        [
            {
                "building_id": buildings[bus.meters[0].building],
                "code": bus.bus_id,
                "name": bus.bus_id,
                "link": bus.link(host),
                "read_every_s": every_s,
            }
            for bus in town.buses
        ],
    )
    _insert(
        Meter,
        [
            _meter(meter, bus_id, buildings, flats, start)
            for bus, bus_id in zip(town.buses, ids, strict=True)
            for meter in bus.meters
        ],
    )
    ensure_tariffs(start)
    ensure_staff()
    db.session.flush()


def _ids(table: type[Any], rows: Sequence[dict[str, Any]]) -> list[int]:
    """Insert rows; their ids in the same order."""
    insert = sa.insert(table).returning(table.id, sort_by_parameter_order=True)
    return list(db.session.scalars(insert, list(rows)))


def _insert(table: type[Any], rows: Sequence[dict[str, Any]]) -> None:
    db.session.execute(sa.insert(table), list(rows))


def _buildings(specs: Sequence[BuildingSpec]) -> dict[str, int]:
    """Stations of BUILDINGS_A_STATION buildings each, under one company and its branch."""
    (company,) = _ids(Region, [{"name": "模拟热力有限公司", "kind": "company"}])
    (branch,) = _ids(Region, [{"name": "模拟分公司", "kind": "branch", "parent_id": company}])
    count = -(-len(specs) // BUILDINGS_A_STATION)
    stations = _ids(
        Region,
        [
            {"name": f"模拟换热站 {n}", "kind": "station", "parent_id": branch}
            for n in range(1, count + 1)
        ],
    )
    ids = _ids(
        Building,
        [
            {
                "region_id": stations[n // BUILDINGS_A_STATION],
                "code": spec.building_id,
                "name": f"模拟小区 {n + 1} 号楼",
                "address": f"模拟路 {n + 1} 号",
            }
            for n, spec in enumerate(specs)
        ],
    )
    return dict(zip((spec.building_id for spec in specs), ids, strict=True))


def _flats(
    specs: Sequence[BuildingSpec], buildings: dict[str, int], start: date
) -> dict[tuple[str, str], int]:
    """Households with their equivalent radiators: (building, flat) -> id."""
    places = [(spec.building_id, flat) for spec in specs for flat in spec.flats]
    ids = _ids(
        Household,
        [
            {
                "building_id": buildings[building],
                "account_no": f"27{building.removeprefix(CODE)}{int(flat.name):05d}",
                "unit_no": flat.name,
                "floor": int(flat.name[:-2]),
                "area_dm2": round(flat.area_m2 * 100),
                **owner.sealed(*owner_of("A", index % 10_000)),
            }
            for index, (building, flat) in enumerate(places)
        ],
    )
    _insert(
        HouseholdThermal,
        [
            {
                "household_id": household_id,
                "effective_from": start,
                "gamma": Decimal(str(flat.gamma)),
                "exponent": Decimal(str(flat.b)),
                "source": "simulated",
            }
            for household_id, (_, flat) in zip(ids, places, strict=True)
        ],
    )
    return {(building, flat.name): id_ for (building, flat), id_ in zip(places, ids, strict=True)}


def _meter(
    spec: MeterSpec,
    bus_id: int,
    buildings: dict[str, int],
    flats: dict[tuple[str, str], int],
    start: date,
) -> dict[str, Any]:
    return {
        "bus_id": bus_id,
        "building_id": buildings[spec.building],
        "household_id": flats[spec.building, spec.flat] if spec.flat else None,
        "scope": "household" if spec.flat else "building",
        "kind": "heat" if spec.kind == "building" else spec.kind,
        "protocol": spec.protocol,
        "address": spec.address,
        "installed_on": start - timedelta(days=30),
        "options": _options(spec),
    }


def _options(spec: MeterSpec) -> dict[str, Any]:
    """What a platform or a concentrator knows the meter by."""
    known = {"device": spec.device, "point": spec.point}
    return {name: value for name, value in known.items() if value}
