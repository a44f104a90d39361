"""A town of N households: drawn from a seed, served behind every kind of wire, and its archive
written so that a collector reads the whole of it."""

import asyncio
import json
from collections import Counter
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import date

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from backend.archive.models import Building, Household, HouseholdThermal, Meter
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering.models import MeterState, Reading
from collectors.collector import Collector
from collectors.demo import city as archive
from collectors.pushing import pushing
from collectors.simulator.city import city, figures, season_start
from collectors.simulator.cli import simulate
from collectors.simulator.doors import Outside
from collectors.simulator.town import SimulatedTown, Town
from tests.collectors.test_collector import until
from tests.ports import free_port

START = "2026-10-15"
SECRETS = "ctwing=abcdefgh12345678,oceanconnect=abcdefgh12345679"
KEYS = dict(pair.split("=") for pair in SECRETS.split(","))


@pytest.mark.parametrize("households", [1, 17, 60, 61, 79, 500])
def test_a_town_has_as_many_households_as_asked_in_buildings_of_a_likely_size(households):
    sizes = [len(b.flats) for b in city(households, start=START).buildings]
    assert sum(sizes) == households
    assert all(18 <= size <= 60 for size in sizes) or households < 18


def test_a_town_follows_from_its_seed():
    assert city(200, start=START) == city(200, start=START)
    assert city(200, start=START) != city(200, start=START, seed=7)
    assert Town.from_dict(json.loads(json.dumps(city(60, start=START).to_dict()))) == city(
        60, start=START
    )


def test_no_two_meters_modems_or_ports_of_a_town_are_mistaken_for_one_another():
    town = city(3_000, start=START)
    on_buses = [(b.bus_id, m.protocol, m.address) for b in town.buses for m in b.meters]
    own = [m.address for b in town.buses for m in b.meters if m.protocol in ("cjt188",)]
    devices = [m.device for b in town.buses for m in b.meters if m.device]
    modems = [b.device for b in town.buses if b.door in ("dtu", "concentrator")]
    ports = [b.port for b in town.buses if b.door == "tcp"]
    for names in (on_buses, own, devices, modems, ports):
        assert len(names) == len(set(names)) > 50


def test_a_town_speaks_every_protocol_behind_every_door():
    town = city(3_000, start=START)
    protocols = {m.protocol for b in town.buses for m in b.meters}
    assert protocols == {
        "cjt188",
        "mbus",
        "modbus",
        "modbus_tcp",
        "dlt645_1997",
        "dlt645_2007",
    }
    assert {b.door for b in town.buses} == {
        "tcp",
        "dtu",
        "concentrator",
        "ctwing",
        "oceanconnect",
    }
    assert figures(town).startswith("3,000 households in ")


def test_a_season_begins_on_the_last_fifteenth_of_october():
    assert season_start(date(2026, 10, 15)) == date(2026, 10, 15)
    assert season_start(date(2026, 10, 14)) == date(2025, 10, 15)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--town", "0"], "0 is not in the range"),
        (["--town", "nowhere.json"], "neither a number of households nor a file"),
        (["--town", "20", "--start", "soon"], "Invalid isoformat"),
    ],
)
def test_a_town_that_can_not_be_is_refused(words, said):
    done = CliRunner().invoke(simulate, words)
    assert done.exit_code == 2
    assert said in done.output


def test_the_command_prints_a_town_which_it_takes_again(tmp_path):
    text = CliRunner().invoke(simulate, ["--town", "40", "--start", START, "--dump"]).output
    file = tmp_path / "town.json"
    file.write_text(text, encoding="utf-8")
    again = CliRunner().invoke(simulate, ["--town", str(file), "--dump"]).output
    assert json.loads(text) == json.loads(again)
    assert Town.from_dict(json.loads(text)) == city(40, start=START)


def test_meters_and_houses_are_made_when_they_are_asked_for():
    town = SimulatedTown(city(500, start=START))
    assert not town.houses
    bus = town.buses[town.town.buses[1].bus_id]
    assert bus.meters and len(town.houses) == 1


# --- the archive, and a collector that reads it ---------------------------------------------------


def count(what):
    return db.session.scalar(sa.select(sa.func.count()).select_from(what))


def test_the_archive_is_the_towns(app, queries):
    town = city(300, start=START)
    archive.install(town, date.fromisoformat(START), 600)
    db.session.commit()
    assert count(Building) == len(town.buildings)
    assert count(Household) == count(HouseholdThermal) == 300
    kinds = Counter(m.kind for b in town.buses for m in b.meters)
    kinds["heat"] += kinds.pop("building")
    rows = db.session.execute(
        sa.select(Meter.kind, sa.func.count().label("count")).group_by(Meter.kind)
    )
    assert {row.kind: row.count for row in rows} == kinds
    assert archive.refuse_foreign()
    assert len([q for q in queries if q.startswith("INSERT")]) < 60, "sets, not rows"


def test_production_has_no_simulated_town(monkeypatch, app):
    settings = app.extensions["nuan_settings"].replace(env="production")
    app.extensions["nuan_settings"] = settings
    monkeypatch.setattr("backend.base.command.app_from_environment", lambda web_pages: app)
    done = CliRunner().invoke(archive.install_town, ["20"])
    assert done.exit_code == 2
    assert "not for NUAN_ENV=production" in done.output
    assert count(Building) == 0


def with_serial(town, directory):
    """The first serial server becomes a serial port of this machine."""
    first = next(bus for bus in town.buses if bus.door == "tcp")
    return replace(
        town,
        buses=tuple(
            replace(bus, door="serial", device=f"{directory}/tty-{bus.bus_id}")
            if bus is first
            else bus
            for bus in town.buses
        ),
    )


async def test_a_collector_reads_every_meter_of_the_town_whatever_the_wire(app, tmp_path):
    """Serial servers, a serial port, modems and concentrators that dial and platforms that push,
    at once."""
    dtu_port, terminal_port, push_port = free_port(), free_port(), free_port()
    settings = app.extensions["nuan_settings"].replace(
        dtu_host="127.0.0.1",
        dtu_port=dtu_port,
        concentrator_host="127.0.0.1",
        concentrator_port=terminal_port,
        push_host="127.0.0.1",
        push_port=push_port,
        push_secrets=SECRETS,
    )
    app.extensions["nuan_settings"] = settings
    town = with_serial(city(120, start=START, base_port=0, seed=6), tmp_path)
    outside = Outside(
        dtu_port=dtu_port,
        concentrator_port=terminal_port,
        push_urls={n: f"http://127.0.0.1:{push_port}/push/{n}/{k}" for n, k in KEYS.items()},
        push_every_s=2,
    )
    async with AsyncExitStack() as stack:
        served = await stack.enter_async_context(SimulatedTown(town, outside=outside))
        here = served.placed
        archive.install(here, date.fromisoformat(START), 8)
        db.session.commit()
        collector, stop = Collector(app, SystemClock(), timeout_s=2), asyncio.Event()
        await stack.enter_async_context(
            pushing(app, SystemClock(), settings, collector.storing.put)
        )
        running = asyncio.create_task(collector.run(stop))
        try:
            await until(lambda: answered() == count(Meter), 60)
        finally:
            stop.set()
            await running
        assert sum(len(bus.meters) for bus in here.buses) == count(Meter)
        assert {b.door for b in here.buses} >= {
            "tcp",
            "serial",
            "dtu",
            "concentrator",
            "ctwing",
            "oceanconnect",
        }
        assert len(served.houses) == len(here.buildings)
    assert db.session.scalar(sa.select(sa.func.count()).where(Reading.flags != [])) == 0


def answered():
    return db.session.scalar(sa.select(sa.func.count()).where(MeterState.last_ok_at.is_not(None)))
