"""A bus named dtu://<id> is read by the collector through the modem that dials in."""

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from backend.archive.models import Bus
from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering.models import Reading, RefusedFrame
from collectors.collector import Collector
from collectors.dtus import understand
from collectors.frames import cjt188
from collectors.reading import Asked
from collectors.session import Target
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dtu import SimulatedDtu
from collectors.simulator.meters import CjtUtilityMeter
from tests.builders import make_building, make_bus, make_meter

PHONE = "13800138000"
ADDRESSES = tuple(f"{n:014d}" for n in (10_010_101, 10_010_102, 10_010_103))


def water_meters():
    return [CjtUtilityMeter("water", a, lambda now: {"volume_l": 123_450}) for a in ADDRESSES]


def answer_of(meter):
    """What the meter would send to a question for its current values."""
    question, _ = cjt188.decode(cjt188.encode_read(meter.address, meter.meter_type))
    return meter.answer(question, datetime(2026, 11, 20, 4, tzinfo=UTC))


@asynccontextmanager
async def collecting(app, *, every_s, late=False):
    """A collector with a listener, one DTU bus in the database, and the DTU that dials in; a late
    one is for the test to start."""
    port = _free_port()
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(dtu_host="127.0.0.1", dtu_port=port)
    building = make_building()
    bus = make_bus(building, link=f"dtu://{PHONE}")
    bus.read_every_s = every_s
    for address in ADDRESSES:
        make_meter(building, kind="water", bus=bus, address=address)
    db.session.commit()
    collector = Collector(app, SystemClock(), timeout_s=0.5)
    stop = asyncio.Event()
    running = asyncio.create_task(collector.run(stop))
    dtu = SimulatedDtu(SimulatedBus("x", water_meters(), clock=SystemClock()), PHONE, port)
    if not late:
        await dtu.start()
    try:
        yield dtu, collector
    finally:
        stop.set()
        await running
        await dtu.stop()


def _free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


async def until(condition, seconds=20):
    for _ in range(seconds * 20):
        db.session.rollback()
        if condition():
            return
        await asyncio.sleep(0.05)
    raise AssertionError("did not come true in time")


def count(model):
    return db.session.scalar(sa.select(sa.func.count()).select_from(model))


async def test_the_meters_behind_a_dtu_are_read_and_stored(app):
    async with collecting(app, every_s=3600):
        await until(lambda: count(Reading) == len(ADDRESSES))
    assert db.session.scalar(sa.select(Bus.state)) in ("idle", "reading")
    assert set(db.session.scalars(sa.select(Reading.register))) == {123_450}


async def test_a_modem_that_dials_after_it_was_waited_for_is_read_at_once(app):
    """Its bus's next turn is an hour off; a collector that was restarted has many such."""
    async with collecting(app, every_s=3600, late=True) as (dtu, collector):
        await until(lambda: collector.sessions)
        [(_, session)] = collector.sessions.values()
        await until(lambda: session.counts["link_down"] == len(ADDRESSES))
        await until(lambda: not collector.reading)
        await dtu.start()
        await until(lambda: count(Reading) == len(ADDRESSES))


async def test_a_reading_pushed_unasked_is_stored_and_anything_else_is_kept_raw(app):
    async with collecting(app, every_s=3600) as (dtu, collector):
        await until(lambda: count(Reading) == len(ADDRESSES))
        await asyncio.sleep(1.6)  # the last answer's time is over
        dtu.send(answer_of(dtu.bus.meters[1]))
        await until(lambda: count(Reading) == len(ADDRESSES) + 1)
        dtu.send(b"\x68\x99 this is nobody's frame")
        await until(lambda: count(RefusedFrame) == 1)
        assert collector.dtus.listener.counts["dtu_push"] == 2
    kept = db.session.scalars(sa.select(RefusedFrame)).one()
    assert (kept.code, kept.frame[:2]) == ("dtu_push", b"\x68\x99")
    assert kept.bus_id is not None


async def test_a_stranger_is_refused_and_the_dispatcher_sees_its_bytes(app):
    async with collecting(app, every_s=3600) as (_, collector):
        port = collector.dtus.listener.port
        await until(lambda: count(Reading) == len(ADDRESSES))
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"IMEI:490154203237518")
        await until(lambda: count(RefusedFrame) == 1)
        writer.close()
    kept = db.session.scalars(sa.select(RefusedFrame)).one()
    assert (kept.code, kept.frame, kept.bus_id) == ("dtu_unknown", b"IMEI:490154203237518", None)


async def test_without_a_port_a_dtus_bus_is_left_out_and_says_so(app):
    with pytest.raises(ValueError, match="NUAN_DTU_PORT"):
        Collector(app, SystemClock(), timeout_s=0.5).dtus.link(1, f"dtu://{PHONE}")


class TestUnderstanding:
    NOON = datetime(2026, 11, 20, 4, tzinfo=UTC)
    ASKED = [Asked(n, "water", Target("cjt188", a, 0x10)) for n, a in enumerate(ADDRESSES)]

    def test_answers_glued_to_noise_are_all_found(self):
        frames = [answer_of(meter) for meter in water_meters()]
        raw = b"\x00\x68" + frames[2] + b"\x99" + frames[0]
        assert [r.meter_id for r in understand(raw, self.ASKED, self.NOON).readings] == [0, 2]

    def test_a_spoilt_answer_a_question_and_a_meter_of_another_bus_are_no_readings(self):
        answer = bytearray(answer_of(water_meters()[0]))
        answer[-2] ^= 1
        stranger = answer_of(CjtUtilityMeter("water", 14 * "9", lambda now: {"volume_l": 1}))
        question = cjt188.encode_read(ADDRESSES[0], 0x10)
        for raw in (bytes(answer), stranger, question, b"", b"\xff" * 1024):
            assert len(understand(raw, self.ASKED, self.NOON)) == 0

    def test_a_meter_of_an_unknown_protocol_does_not_hide_the_others(self):
        asked = [Asked(9, "water", Target("smoke", "1")), *self.ASKED]
        assert len(understand(answer_of(water_meters()[0]), asked, self.NOON).readings) == 1


async def test_a_signal_a_dtu_tells_in_its_heartbeat_is_the_buss_and_no_refused_frame(app):
    async with collecting(app, every_s=3600) as (dtu, _):
        await until(lambda: count(Reading) == len(ADDRESSES))
        await asyncio.sleep(1.6)  # the last answer's time is over
        dtu.send(b'{"type":"status","csq":23}\r\n')
        await until(lambda: db.session.scalar(sa.select(Bus.signal_dbm)) == -67)
    assert count(RefusedFrame) == 0
