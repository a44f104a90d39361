"""A bus named concentrator://<a1>-<a2> is read by the collector through the terminal that dials
in, and what the terminal uploads is stored once and then confirmed."""

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st

from backend.archive.models import Bus, Meter
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering import runs
from backend.metering.models import Reading, ReadingRunItem, RefusedFrame
from backend.people.service import Principal
from collectors.collector import Collector
from collectors.concentrators import ConcentratorSettings, understand
from collectors.dialects import LOCAL, Point, Target
from collectors.frames import qgdw3761
from collectors.frames.qgdw3761_encode import Address, encode, encode_upload
from collectors.frames.qgdw3761_tables import CLASS_1, CLASS_2, CLASS_3, QUERY
from collectors.reading import Asked, point_of
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.concentrator import SimulatedConcentrator
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.faults import DtuFault, Fault
from collectors.simulator.meters import CjtHeatMeter
from tests.builders import make_building, make_bus, make_meter, make_staff
from tests.collectors.conftest import HEAT, HEAT_VALUES
from tests.collectors.test_concentrator import NAME, PORT, address, archived, energy
from tests.collectors.test_dtus import count, until
from tests.faults.processes import environment, process
from tests.ports import free_port

COUNT = 3


def terminal_at(port, **options):
    """A concentrator with COUNT electricity meters in its archive and a heat meter on port 3."""
    clock = SystemClock()
    power = [Dlt645Meter(address(n), lambda at, n=n: energy(n, at)) for n in range(1, COUNT + 1)]
    heat = [CjtHeatMeter(HEAT, lambda now: HEAT_VALUES)]
    buses = {
        PORT: SimulatedBus("485", power, clock=clock),
        3: SimulatedBus("heat", heat, clock=clock),
    }
    terminal = SimulatedConcentrator(buses, NAME, port, clock=clock, redial_s=0.05, **options)
    terminal.store.set(0, 10, {"meters": [archived(n) for n in range(1, COUNT + 1)]})
    return terminal


def lay_out(every_s):
    """The bus of that concentrator and its meters, in the database."""
    building = make_building()
    bus = make_bus(building, link=f"concentrator://{NAME}")
    bus.read_every_s = every_s
    for n in range(1, COUNT + 1):
        options = {"point": n, "port": PORT}
        make_meter(
            building,
            kind="electricity",
            bus=bus,
            protocol="dlt645_2007",
            address=address(n),
            options=options,
        )
    make_meter(building, kind="heat", bus=bus, address=HEAT, options={"point": 900, "port": 3})
    db.session.commit()
    return bus


@asynccontextmanager
async def collecting(app, *, every_s=3600, **options):
    """A collector with a listener, and the concentrator of its one bus."""
    port = free_port()
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(
        concentrator_host="127.0.0.1", concentrator_port=port, concentrator_timeout_s=1
    )
    lay_out(every_s)
    collector = Collector(app, SystemClock(), timeout_s=1)
    stop = asyncio.Event()
    running = asyncio.create_task(collector.run(stop))
    terminal = terminal_at(port, **options)
    await terminal.start()
    try:
        yield terminal, collector
    finally:
        stop.set()
        await running
        await terminal.stop()


async def test_stored_and_forwarded_meters_are_read_and_stored(app):
    async with collecting(app) as (terminal, _):
        await until(lambda: count(Reading) == COUNT + 1)
        assert terminal.counts["afn_0C"] == 1  # three meters, one question
    assert db.session.scalar(sa.select(Bus.last_seen_at)) is not None
    rows = db.session.scalars(sa.select(Reading).order_by(Reading.register)).all()
    assert all(row.frame for row in rows)
    stored = [row for row in rows if row.frame[12] == CLASS_1]
    assert [r.register for r in stored] == [
        energy(n, r.read_at)["energy_wh"] for n, r in enumerate(stored, 1)
    ]


async def test_a_register_read_twice_from_the_store_is_one_reading(app):
    async with collecting(app, every_s=1) as (terminal, _):
        await until(lambda: terminal.counts["afn_0C"] >= 3 and count(Reading) > COUNT + 1)
    on_point = sa.select(Reading).where(sa.func.get_byte(Reading.frame, 12) == CLASS_1)
    rows = db.session.scalars(on_point).all()
    assert {row.read_at.minute % 15 for row in rows} == {0}
    assert len(rows) in (COUNT, 2 * COUNT)  # a quarter of an hour may have passed meanwhile


async def test_faults_on_the_way_cost_no_reading(app):
    faults = [Fault.SILENCE, DtuFault.DROP, DtuFault.HALVES, Fault.HALF_FRAME, DtuFault.GLUED]
    async with collecting(app, faults=faults, every_s=2):
        await until(lambda: count_meters() == COUNT + 1)


def count_meters():
    return db.session.scalar(sa.select(sa.func.count(Reading.meter_id.distinct())))


async def test_a_run_of_a_frozen_day_takes_all_points_in_one_question(app):
    today = datetime.now(LOCAL).date()
    actor = Principal("staff", make_staff("op", ["operator"]).id, frozenset({"operator"}))
    async with collecting(app) as (terminal, _):
        await until(lambda: count(Reading) == COUNT + 1)
        power = sa.select(Meter.id).where(Meter.kind == "electricity")
        meters = list(db.session.scalars(power))
        now = SystemClock().now()
        run = runs.start("batch", meters, actor, now, what="day", frozen_on=today)
        db.session.commit()
        await until(lambda: runs.progress(run.id)["read"] == COUNT)
        assert (terminal.counts["afn_0D"], terminal.counts["afn_10"]) == (1, 1)
    midnight = datetime(today.year, today.month, today.day, tzinfo=LOCAL)
    rows = db.session.scalars(sa.select(Reading).where(Reading.kind == "freeze")).all()
    assert {(row.read_at, row.register) for row in rows} == {
        (midnight, energy(n, midnight)["energy_wh"]) for n in range(1, COUNT + 1)
    }
    items = db.session.scalars(sa.select(ReadingRunItem.reading_id)).all()
    assert set(items) == {row.id for row in rows}


async def test_uploads_are_stored_once_and_then_confirmed(app):
    async with collecting(app) as (terminal, _):
        await until(lambda: count(Reading) == COUNT + 1)
        today = datetime.now(LOCAL).date()
        for _ in range(2):
            terminal.upload([1, 2, 3], on=today - timedelta(days=1))
        await until(lambda: terminal.counts["uploads_confirmed"] == 2)
        rows = db.session.scalars(sa.select(Reading).where(Reading.kind == "freeze")).all()
        assert len(rows) == COUNT
        midnight = datetime(today.year, today.month, today.day, tzinfo=LOCAL)
        assert {row.read_at for row in rows} == {midnight.astimezone(UTC)}
        assert sorted(row.register for row in rows) == [
            energy(n, midnight)["energy_wh"] for n in range(1, COUNT + 1)
        ]


async def test_an_event_and_an_unknown_point_are_kept_for_a_person_and_confirmed(app):
    async with collecting(app) as (terminal, collector):
        await until(lambda: count(Reading) == COUNT + 1)
        terminal.report_event(35, b"\x01\x02")
        collector.meters[next(iter(collector.meters))] = []
        terminal.upload([3])
        await until(lambda: terminal.counts["uploads_confirmed"] == 2)
        await until(lambda: count(RefusedFrame) == 2)
    kept = db.session.scalars(sa.select(RefusedFrame).order_by(RefusedFrame.code)).all()
    assert [row.code for row in kept] == ["terminal_event", "unknown_point"]
    assert "发现未知电表" in kept[0].reason
    assert all(row.protocol == "qgdw3761" and row.bus_id for row in kept)
    assert kept[0].explained


async def test_events_a_concentrator_only_announces_are_asked_for_and_kept_once(app):
    async with collecting(app, every_s=1) as (terminal, _):
        await until(lambda: terminal.counts["afn_0C"] >= 1)
        terminal.events.append((31, b"\x01"))
        await until(lambda: count(RefusedFrame) == 1)
        terminal.events.append((13, b"\x02"))
        terminal.events.append((14, b"\x03"))
        await until(lambda: count(RefusedFrame) == 3)
        asked = terminal.counts["afn_0E"]
        before = terminal.counts["afn_0C"]
        await until(lambda: terminal.counts["afn_0C"] >= before + 2)
        assert terminal.counts["afn_0E"] == asked
    kept = db.session.scalars(sa.select(RefusedFrame.reason).order_by(RefusedFrame.id)).all()
    assert [words.split()[0] for words in kept] == ["ERC31", "ERC13", "ERC14"]


async def test_a_concentrator_that_is_unknown_is_refused_and_seen(app):
    async with collecting(app, faults=[DtuFault.STRANGER]):
        await until(lambda: count(Reading) == COUNT + 1)
        await until(lambda: count(RefusedFrame) >= 1)
    kept = db.session.scalars(sa.select(RefusedFrame.code)).all()
    assert "concentrator_unknown" in kept


async def test_without_a_port_the_bus_is_left_out_and_says_so(app):
    collector = Collector(app, SystemClock(), timeout_s=0.5)
    with pytest.raises(ValueError, match="NUAN_CONCENTRATOR_PORT"):
        collector.concentrators.session(1, f"concentrator://{NAME}")


def test_a_password_of_no_known_size_is_refused(app):
    settings = app.extensions["nuan_settings"]
    for word, size in (("", None), ("1234", 2), ("00" * 16, 16)):
        made = ConcentratorSettings.of(settings.replace(concentrator_password=word))
        assert (len(made.password) if made.password else None) == size
    for word in ("12", "zz"):
        with pytest.raises(ValueError):
            ConcentratorSettings.of(settings.replace(concentrator_password=word))


@pytest.mark.parametrize(
    ("options", "point"),
    [
        ({"point": 3}, Point(3)),
        ({"point": 3, "port": 31, "baud": 9600, "plan": "daily"}, Point(3, 31, 9600)),
        ({}, None),
        ({"point": 0}, None),
        ({"point": 2041}, None),
        ({"point": "3"}, None),
        ({"point": True}, None),
        ({"point": 3, "port": "2"}, None),
        ({"point": 3, "port": 32}, None),
        ({"point": 3, "baud": 115_200}, None),
        ({"point": 3, "parity": "M"}, None),
        ({"point": 3, "collector": 12}, None),
        ({"point": 3, "collector": "1" * 13}, None),
        ({"point": 3, "collector": "000000000012"}, Point(3, collector="000000000012")),
    ],
)
def test_where_a_concentrator_has_a_meter_is_in_its_options(options, point):
    assert point_of(options) == point


class TestUnderstanding:
    NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)
    ASKED = [Asked(1, "electricity", Target("dlt645_2007", address(1), 0x40, point=Point(1)))]

    def told(self, afn, units):
        frame = encode_upload(Address("0171", 2082), afn, units, number=1)
        message, _ = qgdw3761.decode(frame)
        return understand(message, 7, self.ASKED, self.NOON)

    def row(self, when, kwh="12.34", **more):
        return {"reading_time": when, "tariffs": 0, "forward_active_kwh": (kwh,), **more}

    def test_a_register_is_a_reading_at_the_moment_it_was_read(self):
        told = self.told(CLASS_1, [(1, 129, self.row(datetime(2026, 11, 20, 11, 45)))])
        (reading,) = told.read.readings
        assert (reading.register, reading.kind) == (12_340, "current")
        assert reading.read_at == datetime(2026, 11, 20, 3, 45, tzinfo=UTC)

    def test_a_month_is_a_freeze_at_the_midnight_after_it(self):
        row = self.row(datetime(2026, 11, 1, 0, 5), freeze_month="2026-10")
        (reading,) = self.told(CLASS_2, [(1, 177, row)]).read.readings
        assert (reading.kind, reading.read_at) == ("freeze", datetime(2026, 10, 31, 16, tzinfo=UTC))

    @pytest.mark.parametrize(
        ("afn", "unit", "code"),
        [
            (CLASS_1, (2, 129), "unknown_point"),
            (CLASS_1, (1, 129, datetime(2026, 11, 20, 12, 30)), "unreadable"),  # ahead
            (CLASS_1, (1, 129, datetime(2026, 8, 20, 12, 0)), "unreadable"),  # months old
            (CLASS_2, (1, 161, datetime(2026, 11, 20, 0, 5), date(2026, 11, 20)), "unreadable"),
        ],
        ids=["stranger", "ahead", "old", "a day that is not over"],
    )
    def test_what_is_not_believed_is_kept_and_is_no_reading(self, afn, unit, code):
        pn, fn, when, day = (*unit, datetime(2026, 11, 20, 11, 45), None)[:4]
        row = self.row(when, freeze_day=day) if fn == 161 else self.row(when)
        told = self.told(afn, [(pn, fn, row)])
        assert told.read.readings == []
        assert [r.code for r in told.kept.refused] == [code]
        assert told.kept.refused[0].frame[:1] == b"\x68"

    def test_what_the_terminal_does_not_have_is_no_reading_and_no_trouble(self):
        row = self.row(datetime(2026, 11, 20, 11, 45), kwh=None)
        told = self.told(CLASS_1, [(1, 129, row)])
        assert len(told.read) == 0 and told.kept.refused == []

    def test_an_upload_of_something_else_is_kept(self):
        told = self.told(QUERY, [(0, 35, {"indices": []})])
        assert [r.code for r in told.kept.refused][:1] == ["unexpected_upload"]

    @settings(max_examples=300, deadline=None)
    @given(
        st.binary(max_size=60),
        st.sampled_from([CLASS_1, CLASS_2, CLASS_3, QUERY, 0x09]),
        st.sampled_from([129, 161, 177, 1, 2, 25, 97]),
        st.integers(0, 3),
    )
    def test_whatever_is_uploaded_is_a_reading_or_kept(self, data, afn, fn, pn):
        body = qgdw3761.unit_id(pn, fn) + data
        frame = encode(Address("0171", 2082), 0xC4, afn, 0x71, body)
        message, _ = qgdw3761.decode(frame)
        told = understand(message, 7, self.ASKED, self.NOON)
        for reading in told.read.readings:
            assert reading.meter_id == 1 and reading.register is not None


# --- killed ------------------------------------------------------------------------------------


@pytest.mark.faults
async def test_a_collector_killed_and_started_again_stores_every_upload_once(
    app, database, tmp_path
):
    """kill -9 at any moment around uploads: what was not confirmed comes again, once it stays."""
    port = free_port()
    env = environment(
        app,
        database,
        NUAN_VAR_DIR=str(tmp_path),
        NUAN_CONCENTRATOR_HOST="127.0.0.1",
        NUAN_CONCENTRATOR_PORT=str(port),
    )
    lay_out(3600)
    terminal = terminal_at(port, repeats=60)
    today = datetime.now(LOCAL).date()
    days = [today - timedelta(days=n) for n in range(1, 11)]
    await terminal.start()
    try:
        for n, pause_s in enumerate((0.0, 0.02, 0.05, 5.0)):
            with process(["-m", "backend", "collect"], env, tmp_path / f"log{n}") as collector:
                await until(lambda: terminal.is_logged_in, 30)
                for day in days[3 * n : 3 * n + 3]:
                    terminal.upload([1, 2, 3], on=day)
                await asyncio.sleep(pause_s)
                if n == 3:
                    await until(lambda: terminal.counts["uploads_confirmed"] >= len(days), 60)
                collector.kill()
                collector.wait()
    finally:
        await terminal.stop()
    db.session.rollback()
    frozen = sa.select(Reading.meter_id, Reading.read_at).where(Reading.kind == "freeze")
    rows = db.session.execute(frozen).all()
    assert len(rows) == len(set(rows)) == COUNT * len(days)
