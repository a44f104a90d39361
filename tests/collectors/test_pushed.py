"""Pushes become readings exactly once, over real sockets into a real database; the rest is kept."""

import asyncio
import socket
from contextlib import asynccontextmanager
from datetime import date, timedelta

import psycopg
import pytest
import sqlalchemy as sa
from psycopg.conninfo import conninfo_to_dict

from backend.archive.models import Building, Bus, Meter, Region
from backend.base.db import db
from backend.metering.models import MeterState, Reading, RefusedFrame
from collectors.collector import Collector
from collectors.dialects import Target, dialect_for, reading_step
from collectors.frames import cjt188
from collectors.links.push import PushReceiver
from collectors.pushed import PushIntake
from collectors.pushing import NoPushes, pushing
from collectors.simulator.faults import FaultPlan, PushFault
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtHeatMeter, CjtUtilityMeter
from collectors.simulator.platform import SimulatedPlatform
from collectors.simulator.platform import body as platform_body
from collectors.spool import Spool
from collectors.storing import Storing
from tests.collectors.conftest import Broker, need_mosquitto

SECRETS = {
    "ctwing": "c" * 20,
    "onenet": "o" * 20,
    "oceanconnect": "h" * 20,
    "chirpstack": "l" * 20,
}
TOKEN = "token-of-onenet"
IMEI, EUI = "862592051651472", "0102030405060708"
HEAT, WATER, BEHIND = "20010100000101", "10010100000101", "20010100000777"
ENERGY_WH = 54_427_880


def values(energy_wh=ENERGY_WH):
    return lambda now: {
        "energy_wh": energy_wh,
        "volume_l": 7_156_080,
        "flow_lph": 182,
        "power_w": 3_210,
        "supply_cdeg": 4_157,
        "return_cdeg": 3_513,
        "working_h": 1_000,
    }


def said(meter, protocol, now, **target):
    """The bytes a meter of ours answers a reading with."""
    dialect = dialect_for(Target(protocol, meter.address, **target))
    steps = dialect.steps(Target(protocol, meter.address, **target), now)
    request = reading_step(steps).request
    message, _ = dialect.decode(request)
    return meter.answer(message, now)


def heat_frame(now, address=HEAT, energy_wh=ENERGY_WH):
    return said(CjtHeatMeter(address, values(energy_wh)), "cjt188", now)


def town(*meters):
    """A building, a push bus for every platform, and meters (platform, kind, protocol, address,
    options); the meters' ids."""
    region = Region(name="站", kind="station")
    db.session.add(region)
    db.session.flush()
    building = Building(region_id=region.id, code="P", name="楼", address="路 1 号")
    db.session.add(building)
    db.session.flush()
    buses = {p: Bus(building_id=building.id, code=p, name=p, link=f"push://{p}") for p in SECRETS}
    db.session.add_all(buses.values())
    db.session.flush()
    rows = [
        Meter(
            bus_id=buses[platform].id,
            building_id=building.id,
            scope="building",
            kind=kind,
            protocol=protocol,
            address=address,
            options=options,
            installed_on=date(2026, 10, 1),
        )
        for platform, kind, protocol, address, options in meters
    ]
    db.session.add_all(rows)
    db.session.commit()
    return [row.id for row in rows]


def storing_of(app, clock, spool=None):
    """The collector's own way into the database."""
    return Collector(app, clock, timeout_s=1.0, spool=spool).storing


class Port:
    """A running push port, and platforms that push to it."""

    def __init__(self, app, clock, port, receiver, intake):
        self.clock, self.port, self.receiver, self.intake = clock, port, receiver, intake

    def platform(self, shape="ctwing", token=TOKEN):
        name = "chirpstack" if shape == "chirpstack3" else shape
        url = f"http://127.0.0.1:{self.port}/push/{name}/{SECRETS[name]}"
        return SimulatedPlatform(shape, url, token=token)


@asynccontextmanager
async def port(app, clock, storing=None):
    storing = storing or storing_of(app, clock)
    intake = PushIntake(app, clock, storing.put, TOKEN)
    await intake.reload()
    running = asyncio.create_task(intake.run())
    receiver = PushReceiver(intake, SECRETS)
    number = await receiver.start("127.0.0.1", 0)
    try:
        yield Port(app, clock, number, receiver, intake)
    finally:
        await receiver.stop()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        db.session.rollback()


def readings():
    db.session.rollback()
    return db.session.scalars(sa.select(Reading).order_by(Reading.read_at)).all()


def refused():
    db.session.rollback()
    return db.session.scalars(sa.select(RefusedFrame).order_by(RefusedFrame.id)).all()


@pytest.mark.parametrize(
    ("shape", "device"),
    [
        ("ctwing", IMEI),
        ("onenet", IMEI),
        ("oceanconnect", IMEI),
        ("chirpstack", EUI),
        ("chirpstack3", EUI),
    ],
)
async def test_each_platforms_push_is_a_reading_with_its_frame(app, clock, shape, device):
    name = "chirpstack" if shape == "chirpstack3" else shape
    [meter] = town((name, "heat", "cjt188", device, {}))
    frame = heat_frame(clock.now())
    async with port(app, clock) as here, here.platform(shape) as platform:
        assert await platform.push(device, frame, clock.now()) == 200
    [reading] = readings()
    assert (reading.meter_id, reading.read_at) == (meter, clock.now())
    assert (reading.register, reading.supply_cdeg) == (ENERGY_WH, 4_157)
    assert (reading.source, reading.flags) == ("push", [])
    assert frame.endswith(reading.frame)
    assert refused() == []
    bus = db.session.scalars(sa.select(Bus).where(Bus.code == name)).one()
    assert (bus.state, bus.last_seen_at) == ("idle", clock.now())


async def test_a_push_sent_again_is_one_reading(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    async with port(app, clock) as here, here.platform() as platform:
        frame, at = heat_frame(clock.now()), clock.now()
        assert await platform.push(IMEI, frame, at, PushFault.REPLAY) == 200
        answers = [platform.push(IMEI, frame, at) for _ in range(20)]
        assert set(await asyncio.gather(*answers)) == {200}
    assert len(readings()) == 1


async def test_pushes_out_of_order_are_all_kept_and_the_state_never_goes_back(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    async with port(app, clock) as here, here.platform() as platform:
        await platform.push(IMEI, heat_frame(clock.now(), energy_wh=54_430_000), clock.now())
        late = heat_frame(clock.now(), energy_wh=54_420_000)
        assert await platform.push(IMEI, late, clock.now(), PushFault.LATE) == 200
    assert [r.register for r in readings()] == [54_420_000, 54_430_000]
    assert db.session.scalars(sa.select(MeterState)).one().register == 54_430_000


@pytest.mark.parametrize("shape", ["ctwing", "onenet"])
@pytest.mark.parametrize("fault", PushFault, ids=lambda fault: fault.value)
async def test_whatever_a_platform_does_only_what_the_meter_said_is_stored(
    app, clock, shape, fault
):
    """Every second push is faulty; each register is another, and none is stored twice."""
    town((shape, "heat", "cjt188", IMEI, {}))
    said = [54_400_000 + n * 10_000 for n in range(6)]
    async with port(app, clock) as here, here.platform(shape) as platform:
        platform.faults = FaultPlan([None, fault], for_ever=True)
        for register in said:
            await platform.push(IMEI, heat_frame(clock.now(), energy_wh=register), clock.now())
            clock.advance(minutes=10)
    found = [reading.register for reading in readings()]
    assert set(said[::2]) <= set(found) <= set(said)
    assert len(found) == len(set(found))


async def test_a_stamp_ahead_of_the_clock_or_long_past_is_refused(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    frame = heat_frame(clock.now())
    async with port(app, clock) as here, here.platform() as platform:
        await platform.push(IMEI, frame, clock.now(), PushFault.CLOCK_AHEAD)
        await platform.push(IMEI, frame, clock.now() - timedelta(days=61))
    assert readings() == []
    assert [r.code for r in refused()] == ["time_ahead", "time_too_old"]
    assert refused()[0].frame == frame


async def test_a_device_nobody_knows_is_refused_with_its_bytes(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    frame = heat_frame(clock.now())
    async with port(app, clock) as here, here.platform() as platform:
        assert await platform.push("111111111111111", frame, clock.now()) == 200
    assert readings() == []
    [kept] = refused()
    assert kept.code == "unknown_device"
    assert frame.endswith(kept.frame)


async def test_a_meter_of_another_platform_is_not_taken_for_ours(app, clock):
    town(("onenet", "heat", "cjt188", IMEI, {}))
    async with port(app, clock) as here, here.platform("ctwing") as platform:
        await platform.push(IMEI, heat_frame(clock.now()), clock.now())
    assert readings() == []


async def test_a_meter_is_known_by_its_frames_own_address_too(app, clock):
    [meter] = town(("ctwing", "heat", "cjt188", HEAT, {}))
    async with port(app, clock) as here, here.platform() as platform:
        await platform.push(IMEI, heat_frame(clock.now()), clock.now())
    assert [r.meter_id for r in readings()] == [meter]


async def test_meters_behind_one_device_are_told_apart_by_their_frames(app, clock):
    through = {"device": IMEI}
    first, second, water = town(
        ("ctwing", "heat", "cjt188", HEAT, through),
        ("ctwing", "heat", "cjt188", BEHIND, through),
        ("ctwing", "water", "cjt188", WATER, through),
    )
    now = clock.now()
    meter = CjtUtilityMeter("water", WATER, lambda now: {"volume_l": 123_450})
    drops = said(meter, "cjt188", now, meter_type=0x10)
    payload = heat_frame(now) + b"\x00\xfe" + heat_frame(now, BEHIND, 7_000) + drops
    async with port(app, clock) as here, here.platform() as platform:
        await platform.push(IMEI, payload, now)
        await platform.push("111111111111111", heat_frame(now, BEHIND, 9_000), now)
    found = {r.meter_id: r.register for r in readings()}
    assert found == {first: ENERGY_WH, second: 7_000, water: 123_450}
    assert [r.code for r in refused()] == ["unknown_device"]


async def test_mbus_pushed_over_lora_is_read(app, clock):
    town(("chirpstack", "heat", "mbus", EUI, {}))
    meter = MbusHeatMeter("1", values(), id="24120001")
    frame = said(meter, "mbus", clock.now())
    async with port(app, clock) as here, here.platform("chirpstack") as platform:
        await platform.push(EUI, frame, clock.now())
    assert [r.register for r in readings()] == [ENERGY_WH]


async def test_a_damaged_frame_never_becomes_a_value(app, clock):
    [meter] = town(("ctwing", "heat", "cjt188", IMEI, {}))
    frame = heat_frame(clock.now())
    async with port(app, clock) as here, here.platform() as platform:
        for at in range(len(frame)):
            if frame[at] != 0xFE:
                damaged = frame[:at] + bytes((frame[at] ^ 0x10,)) + frame[at + 1 :]
                assert await platform.push(IMEI, damaged, clock.now()) == 200
    assert readings() == []
    assert {r.code for r in refused()} == {"unreadable"}
    state = db.session.get(MeterState, meter)
    assert (state.last_error, state.last_ok_at) == ("unreadable", None)


async def test_a_question_or_another_kind_of_meter_is_no_reading(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    meter = CjtUtilityMeter("water", WATER, lambda now: {"volume_l": 123_450})
    drops = said(meter, "cjt188", clock.now(), meter_type=0x10)
    async with port(app, clock) as here, here.platform() as platform:
        await platform.push(IMEI, cjt188.encode_read(HEAT, 0x20), clock.now())
        await platform.push(IMEI, drops, clock.now())
    assert readings() == []
    assert [r.code for r in refused()] == ["wrong_answer", "wrong_type"]


async def test_onenets_signature_is_checked_and_its_url_check_answered(app, clock):
    town(("onenet", "heat", "cjt188", IMEI, {}))
    frame = heat_frame(clock.now())
    async with port(app, clock) as here:
        async with here.platform("onenet") as platform:
            assert await platform.verify("hello") == (200, "hello")
            forged = await platform.push(IMEI, frame, clock.now(), PushFault.WRONG_SIGNATURE)
            assert forged == 401
            assert await platform.send(b'{"msg": {"type": 1}}') == 401
        async with here.platform("onenet", token="another") as stranger:
            assert (await stranger.verify("hello"))[0] == 401
        async with here.platform("ctwing") as other:
            assert (await other.verify("hello"))[0] == 401
    assert readings() == []
    assert [r.code for r in refused()] == ["signature", "signature"]


async def test_rubbish_is_kept_counted_and_stops_nothing(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    frame = heat_frame(clock.now())
    deep = b"[" * 30_000
    async with port(app, clock) as here, here.platform() as platform:
        for body in (b"", b"\xff\xfe", b"null", b"[1]", b"{}", deep, b'{"payload": 1e999}'):
            assert await platform.send(body) == 200
        await platform.push(IMEI, frame, clock.now(), PushFault.TRUNCATED)
        assert await platform.push(IMEI, frame, clock.now(), PushFault.OVERSIZE) == 413
        assert await platform.push(IMEI, b"\x00" * 4097, clock.now()) == 200
        assert readings() == []
        assert await platform.push(IMEI, frame, clock.now()) == 200
    assert len(readings()) == 1
    codes = [r.code for r in refused()]
    assert len(codes) == 10
    assert codes.count("too_large") == 2


async def test_values_without_a_frame_and_news_of_a_device_are_no_readings(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    stamp = int(clock.now().timestamp() * 1000)
    head = f'{{"deviceId": "a", "IMEI": "{IMEI}", "timestamp": {stamp}, '
    async with port(app, clock) as here, here.platform() as platform:
        online = head + '"messageType": "deviceOnlineOfflineReport", "eventType": 1}'
        assert await platform.send(online.encode()) == 200
        apart = head + '"messageType": "dataReport", "payload": {"heat": 12.5}}'
        assert await platform.send(apart.encode()) == 200
    assert readings() == []
    assert [r.code for r in refused()] == ["no_frame"]


@pytest.mark.faults
async def test_while_the_database_is_away_pushes_go_to_the_spool_and_are_stored_once(
    app, clock, database, server_url, tmp_path
):
    [meter] = town(("ctwing", "heat", "cjt188", IMEI, {}))
    admin = server_url.replace("/template_nuan", "/postgres")
    name = conninfo_to_dict(database)["dbname"]
    spool = Spool(tmp_path, 1_000_000)
    storing: Storing = storing_of(app, clock, spool)
    frame = heat_frame(clock.now())

    def allow(yes):
        with psycopg.connect(admin, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                (name,),
            )

    async with port(app, clock, storing) as here, here.platform() as platform:
        db.session.remove()
        allow(False)
        try:
            assert await platform.push(IMEI, frame, clock.now()) == 200
            assert await platform.push(IMEI, frame, clock.now()) == 200
            assert len(spool) >= 1
        finally:
            allow(True)
        draining = asyncio.create_task(storing.drain())
        for _ in range(200):
            await asyncio.sleep(0.05)
            if len(spool) == 0:
                break
        draining.cancel()
    spool.close()
    assert [r.meter_id for r in readings()] == [meter]


async def test_without_a_spool_a_push_that_cannot_be_stored_is_asked_for_again(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    intake = PushIntake(app, clock, lambda batch: asyncio.sleep(60), TOKEN)
    await intake.reload()
    running = asyncio.create_task(intake.run())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("collectors.pushed.ANSWER_S", 0.1)
        answer = await intake.take("ctwing", b"{}", {})
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert answer.status == 503


@pytest.mark.parametrize("shape", ["chirpstack", "chirpstack3"])
async def test_uplinks_over_mqtt_are_stored_once_and_rubbish_among_them_is_kept(
    app, clock, broker, shape
):
    town(("chirpstack", "heat", "cjt188", EUI, {}))
    settings = app.extensions["nuan_settings"].replace(mqtt_url=broker.url)
    storing = storing_of(app, clock)
    # The broker keeps a session of ours from here on, so nothing depends on who is faster.
    async with pushing(app, clock, settings, storing.put):
        await asyncio.sleep(0.5)
    times = [clock.now() - timedelta(hours=back) for back in range(50)]
    frame = heat_frame(clock.now())
    uplinks = [platform_body(shape, EUI, frame, at) for at in times]
    truncated = platform_body(shape, EUI, frame, clock.now(), fault=PushFault.TRUNCATED)
    await asyncio.to_thread(broker.publish, truncated, *uplinks, b"\xff", *uplinks)
    async with pushing(app, clock, settings, storing.put):
        for _ in range(200):
            await asyncio.sleep(0.05)
            if len(readings()) == 50 and len(refused()) == 2:
                break
    assert [r.read_at for r in readings()] == sorted(times)
    assert [r.code for r in refused()] == ["structure", "structure"]


async def test_uplinks_a_restarted_broker_sends_again_are_stored_once(app, clock, tmp_path):
    """Every message is in our hands and not yet safe when the broker goes away."""
    need_mosquitto()
    broker = Broker(tmp_path, "persistence true", f"persistence_location {tmp_path}/")
    await broker.start()
    town(("chirpstack", "heat", "cjt188", EUI, {}))
    settings = app.extensions["nuan_settings"].replace(mqtt_url=broker.url)
    storing, gate = storing_of(app, clock), asyncio.Event()

    async def put(batch):
        await gate.wait()
        await storing.put(batch)

    times = [clock.now() - timedelta(hours=back) for back in range(15)]
    poison = [b"\xff\xfe", b"[" * 20_000, b'{"deviceInfo": 7}', b"", b"null"]
    uplinks = [platform_body("chirpstack", EUI, heat_frame(clock.now()), at) for at in times]
    async with pushing(app, clock, settings, put):
        await asyncio.sleep(0.5)
        await asyncio.to_thread(broker.publish, *poison, *uplinks)
        await asyncio.sleep(0.5)
        await broker.stop()
        await broker.start()
        await asyncio.sleep(2.5)  # found again, and all of it sent again
        gate.set()
        for _ in range(200):
            await asyncio.sleep(0.05)
            if len(readings()) == 15 and len(refused()) >= 10:
                break
    await broker.stop()
    assert [r.read_at for r in readings()] == sorted(times)
    assert {r.code for r in refused()} == {"structure"}
    assert len(refused()) == 10  # each poison twice: it carries nothing it could be known again by


async def test_a_way_to_the_database_that_fails_is_tried_again(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    storing, failures = storing_of(app, clock), [RuntimeError("once")]

    async def put(batch):
        if failures:
            raise failures.pop()
        await storing.put(batch)

    intake = PushIntake(app, clock, put, TOKEN)
    running = asyncio.create_task(intake.run())
    body = platform_body("ctwing", IMEI, heat_frame(clock.now()), clock.now())
    await asyncio.wait_for(intake.take_message("ctwing", body), 10)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert len(readings()) == 1


async def test_collect_takes_pushes_at_the_port_of_its_settings(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        number = free.getsockname()[1]
    secrets = ",".join(f"{name}={secret}" for name, secret in SECRETS.items())
    settings = app.extensions["nuan_settings"].replace(push_port=number, push_secrets=secrets)
    url = f"http://127.0.0.1:{number}/push/ctwing/{SECRETS['ctwing']}"
    async with pushing(app, clock, settings, storing_of(app, clock).put):
        async with SimulatedPlatform("ctwing", url) as platform:
            # A moment long the meters are not known yet, and the platform is asked to come again.
            for _ in range(100):
                status = await platform.push(IMEI, heat_frame(clock.now()), clock.now())
                if status != 503:
                    break
                await asyncio.sleep(0.05)
            assert status == 200
        with pytest.raises(NoPushes, match="in use"):
            async with pushing(app, clock, settings, storing_of(app, clock).put):
                raise AssertionError("must not begin")
    assert len(readings()) == 1


async def test_collect_refuses_settings_that_would_take_nothing(app, clock):
    settings = app.extensions["nuan_settings"]
    for changes, why in (
        ({"push_port": 1}, "no platform could push"),
        ({"push_port": 1, "push_secrets": "ctwing=short"}, "16 letters"),
        ({"mqtt_url": "http://x"}, "mqtt://"),
        ({"mqtt_url": "mqtt://127.0.0.1", "mqtt_topics": "a/b"}, "platform=topic"),
    ):
        with pytest.raises(NoPushes, match=why):
            async with pushing(app, clock, settings.replace(**changes), asyncio.sleep):
                raise AssertionError("must not begin")


async def test_a_bus_that_is_pushed_to_is_never_asked(app, clock):
    town(("ctwing", "heat", "cjt188", IMEI, {}))
    collector = Collector(app, clock, timeout_s=0.1)
    rows, _ = collector._load()
    assert rows == []
