"""The published 18-flat building, put into a database the ordinary way (rows and readings)."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from backend.allocation.models import AllocationRule
from backend.archive.models import Building, Household, HouseholdThermal, Meter
from backend.base.clock import day_start
from backend.base.db import db
from backend.metering import series
from backend.metering.rules import pack_day
from backend.metering.service import NewReading, record
from tests import builders

CASES = Path(__file__).parent / "data" / "cases"
DAYS = 2
QUANTITIES = {"tg": "supply_cdeg", "th": "return_cdeg", "tn": "room_cdeg"}


def case() -> dict[str, Any]:
    """The three-temperature case: `input` and `expected` units by flat."""
    cases = json.loads((CASES / "paper18.json").read_text(encoding="utf-8"))["cases"]
    return next(c for c in cases if c["input"]["method"] == "three_temperature")


def load(first_day: date, *, days: int = DAYS) -> tuple[Building, dict[str, Household]]:
    """The building with its meters, constants and `days` of samples from `first_day` on."""
    building = builders.make_building("P18")
    flats: dict[str, Household] = {}
    meters: dict[tuple[str, str], Meter] = {}
    bus = builders.make_bus(building)
    for flat in case()["input"]["households"]:
        unit = flat["id"]
        home = builders.make_household(
            building, unit, area_dm2=int(Decimal(str(flat["area"])) * 100)
        )
        flats[unit] = home
        db.session.add(
            HouseholdThermal(
                household_id=home.id,
                effective_from=first_day - timedelta(days=30),
                source="published",
                gamma=Decimal(str(flat["gamma"])),
                exponent=Decimal(str(flat["B"])),
            )
        )
        for kind in ("heat", "room"):
            meters[unit, kind] = builders.make_meter(building, home, kind, bus)
    building_meter = builders.make_meter(building, None, "heat", bus, protocol="mbus")
    db.session.add(
        AllocationRule(
            building_id=building.id,
            method="three_temperature",
            options={},
            effective_from=first_day - timedelta(days=30),
        )
    )
    _samples(meters, first_day, days)
    total = case()["input"]["total_units"]
    record(
        [
            NewReading(
                building_meter.id,
                day_start(first_day + timedelta(days=n)),
                "collector",
                register=1_000_000 + total * n // DAYS,
            )
            for n in range(days + 1)
        ]
    )
    db.session.commit()
    return building, flats


def _samples(meters: dict[tuple[str, str], Meter], first_day: date, days: int) -> None:
    found: dict[Any, list[tuple[int, int]]] = defaultdict(list)
    with (CASES / "paper18_2day.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            day, slot = divmod(int(row["sample"]), series.SLOTS)
            for name, quantity in QUANTITIES.items():
                meter = meters[row["household"], "room" if name == "tn" else "heat"]
                cdeg = int(Decimal(row[name]) * 100)
                for later in range(day, days, DAYS):
                    key = (meter.id, quantity, first_day + timedelta(days=later))
                    found[key].append((slot * series.INTERVAL_S, cdeg))
    series.store({key: pack_day(samples, series.INTERVAL_S) for key, samples in found.items()})
