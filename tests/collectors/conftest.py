"""A town of a few meters on real loopback sockets, and sessions which read it."""

import asyncio
import os
import shutil
import socket
import subprocess
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from backend.base.db import db
from backend.billing.recheck_frames import Frames, by_id
from backend.metering.models import Reading
from collectors.links import TcpLink
from collectors.map_files import field_maps
from collectors.redecode import decoder
from collectors.session import Session
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.faults import FaultPlan
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtHeatMeter, CjtRoomSensor, CjtUtilityMeter
from collectors.simulator.town import SimulatedClock

NOON = datetime(2024, 12, 1, 4, 0, tzinfo=UTC)
HEAT_VALUES = {
    "energy_wh": 54_427_880,
    "volume_l": 7_156_080,
    "flow_lph": 182,
    "power_w": 3_210,
    "supply_cdeg": 4_157,
    "return_cdeg": 3_513,
    "working_h": 1_000,
}
HEAT, ROOM, WATER, GAS, POWER = (
    "20010100000101",
    "20020100000101",
    "10010100000101",
    "30010100000101",
    "40010100000101",
)


def heat_values(now):
    return HEAT_VALUES


class Bench:
    """Buses and sessions that are closed when the test ends."""

    def __init__(self):
        self.clock = SimulatedClock(NOON)
        self._open = []

    async def bus(self, *meters, **options):
        bus = SimulatedBus("test", meters, clock=self.clock, **options)
        await bus.start()
        self._open.append(bus.stop)
        return bus

    async def cjt_bus(self, faults=(), for_ever=False):
        """A heat meter with the ordered faults, and a room, water, gas and power meter."""
        return await self.bus(
            CjtHeatMeter(HEAT, heat_values, faults=FaultPlan(faults, for_ever=for_ever)),
            CjtRoomSensor(ROOM, lambda now: {"room_cdeg": 2068}),
            CjtUtilityMeter("water", WATER, lambda now: {"volume_l": 123_450}),
            CjtUtilityMeter("gas", GAS, lambda now: {"volume_l": 98_760}),
            CjtUtilityMeter("electricity", POWER, lambda now: {"energy_wh": 5_432_100}),
        )

    async def mbus_bus(self, faults=(), for_ever=False):
        plan = FaultPlan(faults, for_ever=for_ever)
        return await self.bus(
            MbusHeatMeter("1", heat_values, id="24120001", faults=plan),
            MbusHeatMeter("2", lambda now: {**HEAT_VALUES, "energy_wh": 7}, id="24120002"),
        )

    def session(self, bus, **options):
        options = {"timeout_s": 0.25, "idle_s": 0.05, "retries": 0, **options}
        session = Session(TcpLink(bus.host, bus.port), clock=self.clock, **options)
        self._open.append(session.close)
        return session

    async def close(self):
        for close in reversed(self._open):
            await close()


@pytest.fixture(autouse=True)
def every_frame_says_what_was_stored(request):
    """Whatever a test has brought into the database, its frames decode to it once more."""
    app = request.getfixturevalue("app") if "app" in request.fixturenames else None
    yield
    if app is None:
        return
    with app.app_context():
        ids = set(db.session.scalars(sa.select(Reading.id).where(Reading.source != "test")))
        frames = Frames(decoder(field_maps(app.extensions["nuan_settings"].field_maps_dir)))
        assert list(frames.check(by_id(ids))) == []
        db.session.rollback()


@pytest.fixture
async def bench():
    bench = Bench()
    yield bench
    await bench.close()


USER, PASSWORD = "nuan", "p@ss:word"


def find_mosquitto():
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Broker:
    """A Mosquitto of its own on a free loopback port, that wants a password."""

    def __init__(self, directory, *options):
        self.directory, self.process = directory, None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        passwords = directory / "passwords"
        subprocess.run(
            ["mosquitto_passwd", "-b", "-c", str(passwords), USER, PASSWORD],
            check=True,
            capture_output=True,
        )
        lines = [
            f"listener {self.port} 127.0.0.1",
            f"password_file {passwords}",
            "allow_anonymous false",
            "max_queued_messages 10000",
            *options,
        ]
        if os.geteuid() == 0:
            lines.append("user root")
        (directory / "mosquitto.conf").write_text("\n".join(lines) + "\n")

    @property
    def url(self):
        return f"mqtt://{USER}:p%40ss%3Aword@127.0.0.1:{self.port}"

    async def start(self):
        self.process = await asyncio.create_subprocess_exec(
            find_mosquitto(),
            "-c",
            str(self.directory / "mosquitto.conf"),
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        for _ in range(100):
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", self.port)
            except OSError:
                await asyncio.sleep(0.05)
                continue
            writer.close()
            await writer.wait_closed()
            return
        raise AssertionError("mosquitto does not listen")

    async def stop(self, *, by_force=False):
        if self.process is not None and self.process.returncode is None:
            self.process.kill() if by_force else self.process.terminate()
            await self.process.wait()

    def publish(self, *messages, topic="application/7/device/0102030405060708/event/up"):
        """Publish with QoS 1 and wait until the broker has every message (call in a thread)."""
        client = Client(CallbackAPIVersion.VERSION2)
        client.username_pw_set(USER, PASSWORD)
        client.connect("127.0.0.1", self.port)
        client.loop_start()
        sent = [client.publish(topic, message, qos=1) for message in messages]
        for one in sent:
            one.wait_for_publish(10)
        client.disconnect()
        client.loop_stop()


def need_mosquitto():
    if find_mosquitto() is None or shutil.which("mosquitto_passwd") is None:
        pytest.skip("no mosquitto here (apt-get install mosquitto)")


@pytest.fixture
async def broker(tmp_path):
    need_mosquitto()
    broker = Broker(tmp_path)
    await broker.start()
    yield broker
    await broker.stop()
