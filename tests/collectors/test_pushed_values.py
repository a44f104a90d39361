"""Values a platform has taken apart become readings through a field map, over real sockets."""

import json

import pytest
import sqlalchemy as sa

from backend.archive.models import Bus, Meter
from backend.base.db import db
from backend.metering.models import MeterState
from collectors.map_files import field_maps
from collectors.pushed import PushIntake
from collectors.pushing import NoPushes, pushing
from collectors.simulator.platform import onenet_sign
from tests.collectors.test_pushed import (
    EUI,
    IMEI,
    TOKEN,
    heat_frame,
    port,
    readings,
    refused,
    storing_of,
    town,
)

KEY = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQ"


def ms(clock):
    return int(clock.now().timestamp() * 1000)


def mapped(platform, kind, profile, device=IMEI, **options):
    """A meter of `town` whose platform pushes values."""
    [meter_id] = town((platform, kind, "fields", device, options))
    db.session.get(Meter, meter_id).profile = profile
    db.session.commit()
    return meter_id


def signed(msg):
    text = json.dumps(msg)
    return {"msg": text, "nonce": "n", "msg_signature": onenet_sign(TOKEN, "n", text)}


def ctwing(clock, data, **more):
    return {
        "messageType": "dataReport",
        "deviceId": "a",
        "IMEI": IMEI,
        "timestamp": ms(clock),
        "payload": {"serviceId": "notification", "serviceData": data},
        **more,
    }


async def push(here, name, body):
    async with here.platform(name) as platform:
        return await platform.send(json.dumps(body).encode())


def state(meter_id):
    db.session.rollback()
    return db.session.get(MeterState, meter_id)


async def test_ctwings_service_data_is_a_reading_with_signal_and_battery(app, clock):
    meter = mapped("ctwing", "water", "ctwing-water")
    data = {"total_flow": 12.345, "RSRP": 114, "SNR": 1, "Battery_Level": 100, "CSQ": 5}
    async with port(app, clock) as here:
        assert await push(here, "ctwing", ctwing(clock, data)) == 200
        assert await push(here, "ctwing", ctwing(clock, data)) == 200  # sent again
    [reading] = readings()
    assert (reading.meter_id, reading.register, reading.read_at) == (meter, 12_345, clock.now())
    assert reading.source == "push"
    assert json.loads(reading.frame)["serviceData"] == data  # what the bill can be walked back to
    found = state(meter)
    assert (found.signal_dbm, found.snr_ddb, found.battery_percent) == (-114, 10, 100)
    assert found.signal_at == clock.now()
    assert refused() == []


async def test_onenets_thing_model_carries_its_own_times(app, clock):
    mapped("onenet", "heat", "onenet-heat")
    at = ms(clock) - 60_000
    params = {
        "heat": {"value": 54427.88, "time": at},
        "supply_temp": {"value": "41.57", "time": at},
        "csq": {"value": 20, "time": at},
    }
    msg = {
        "notifyType": "property",
        "deviceName": IMEI,
        "productId": "p",
        "data": {"params": params},
    }
    async with port(app, clock) as here:
        assert await push(here, "onenet", signed(msg)) == 200
    assert [r.reason for r in refused()] == []
    [reading] = readings()
    assert (reading.register, reading.supply_cdeg) == (54_427_880, 4_157)
    assert int(reading.read_at.timestamp() * 1000) == at
    assert state(reading.meter_id).signal_dbm == -73


async def test_onenets_data_streams_of_one_moment_are_one_reading(app, clock):
    meter = mapped("onenet", "water", "onenet-streams-water")
    rows = [
        {"type": 1, "dev_id": 7, "imei": IMEI, "at": ms(clock), "ds_id": ds_id, "value": value}
        for ds_id, value in (("3424_0_1", "00012345"), ("4_0_2", -97), ("3_0_9", 81))
    ]
    async with port(app, clock) as here:
        assert await push(here, "onenet", signed(rows)) == 200
    [reading] = readings()
    assert reading.register == 12_345_000  # eight digits are a number here, no bytes
    assert (state(meter).signal_dbm, state(meter).battery_percent) == (-97, 81)
    assert refused() == []


async def test_oceanconnects_services_of_one_moment_are_one_reading(app, clock):
    meter = mapped("oceanconnect", "water", "oceanconnect-water")
    when = f"{clock.now():%Y%m%dT%H%M%SZ}"
    services = [
        {"serviceId": name, "data": data, "eventTime": when}
        for name, data in (
            ("Battery", {"batteryLevel": 55}),
            ("WaterMeter", {"currentReading": 3.5}),
            ("Connectivity", {"signalStrength": -101}),
        )
    ]
    body = {"notifyType": "deviceDatasChanged", "deviceId": IMEI, "services": services}
    async with port(app, clock) as here:
        assert await push(here, "oceanconnect", body) == 200
    [reading] = readings()
    assert reading.register == 3_500
    found = state(meter)
    assert (found.signal_dbm, found.battery_percent) == (-101, 55)


async def test_chirpstacks_object_is_read_and_its_best_gateway_heard(app, clock):
    meter = mapped("chirpstack", "heat", "chirpstack-heat", EUI)
    body = {
        "deviceInfo": {"devEui": EUI.lower(), "applicationId": "x"},
        "time": clock.now().isoformat(),
        "fCnt": 4,
        "fPort": 1,
        "data": "AQID",
        "object": {"energy": 54427.88, "battery_voltage": 3.61},
        "rxInfo": [{"rssi": -110, "snr": -3.2}, {"rssi": -48, "snr": 9.0}, {"rssi": "x"}],
    }
    async with port(app, clock) as here:
        assert await push(here, "chirpstack", body) == 200
    assert [r.register for r in readings()] == [54_427_880]
    found = state(meter)
    assert (found.signal_dbm, found.snr_ddb, found.battery_mv) == (-48, 90, 3_610)
    assert refused() == []


async def test_a_framed_meters_signal_and_a_battery_event_are_kept_too(app, clock):
    [meter] = town(("chirpstack", "heat", "cjt188", EUI, {}))
    head = {"deviceInfo": {"devEui": EUI.lower()}, "time": clock.now().isoformat()}
    async with port(app, clock) as here:
        async with here.platform("chirpstack") as platform:
            assert await platform.push(EUI, heat_frame(clock.now()), clock.now()) == 200
        battery = {**head, "margin": 7, "externalPowerSource": False, "batteryLevel": 75.5}
        assert await push(here, "chirpstack", battery) == 200
    assert len(readings()) == 1
    found = state(meter)
    assert (found.signal_dbm, found.snr_ddb, found.battery_percent) == (-48, 90, 76)
    assert refused() == []


async def test_a_bus_may_name_the_map_of_all_its_meters(app, clock):
    mapped("ctwing", "water", "default")
    bus = db.session.scalars(sa.select(Bus).where(Bus.code == "ctwing")).one()
    bus.link = "push://ctwing?fields=ctwing-water"
    db.session.commit()
    async with port(app, clock) as here:
        assert await push(here, "ctwing", ctwing(clock, {"total_flow": 1})) == 200
    assert [r.register for r in readings()] == [1000]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        ({"total_flow": "viel"}, "unreadable"),
        ({"RSRP": 114}, "unreadable"),
        ({"total_flow": -1}, "unreadable"),
        ({"total_flow": 1, "time": 99}, "time_too_old"),
        ({"total_flow": 1, "time": "gestern"}, "unreadable"),
        ({"total_flow": 1, "time": 1895147200000}, "time_ahead"),
        ([], "unreadable"),
    ],
)
async def test_values_that_cannot_be_believed_are_kept_and_no_reading(app, clock, data, code):
    mapped("ctwing", "water", "ctwing-water")
    async with port(app, clock) as here:
        assert await push(here, "ctwing", ctwing(clock, data)) == 200
    assert readings() == []
    [kept] = refused()
    assert kept.code == code
    assert b"serviceData" in kept.frame


async def test_a_map_nobody_knows_and_another_kind_of_meter_are_refused(app, clock):
    mapped("ctwing", "heat", "ctwing-water")
    async with port(app, clock) as here:
        assert await push(here, "ctwing", ctwing(clock, {"total_flow": 1})) == 200
        db.session.execute(sa.update(Meter).values(profile="none-such"))
        db.session.commit()
        await here.intake.reload()
        assert await push(here, "ctwing", ctwing(clock, {"total_flow": 1})) == 200
    assert readings() == []
    assert [r.code for r in refused()] == ["wrong_type", "bad_target"]
    assert "ctwing-water" in refused()[1].reason


async def test_meters_behind_one_gateway_are_told_apart_by_their_rows(app, clock, tmp_path):
    (tmp_path / "gateway.toml").write_text(
        'name = "gateway"\nprimary = "volume_l"\nrows = "list"\naddress = "no"\n'
        '[[field]]\nname = "volume_l"\npath = "v"\nunit = "m3"\n',
        "utf-8",
    )
    first, second = town(
        ("ctwing", "water", "fields", "W1", {"device": IMEI}),
        ("ctwing", "water", "fields", "W2", {"device": IMEI}),
    )
    db.session.execute(sa.update(Meter).values(profile="gateway"))
    db.session.commit()
    rows = [{"no": "w2", "v": 2}, {"no": "W9", "v": 9}, {"no": "W1", "v": 1}, {"v": 5}]
    body = ctwing(clock, {}, payload={"list": rows})
    settings = app.extensions["nuan_settings"].replace(field_maps_dir=str(tmp_path))
    app.extensions["nuan_settings"] = settings
    async with port(app, clock) as here:
        here.intake.maps = field_maps(str(tmp_path))
        assert await push(here, "ctwing", body) == 200
    assert {r.meter_id: r.register for r in readings()} == {first: 1000, second: 2000}
    assert [r.code for r in refused()] == ["unknown_device", "ambiguous_device"]


async def test_an_encrypted_onenet_push_is_opened_after_its_signature(app, clock):
    mapped("onenet", "water", "onenet-streams-water")
    row = {"type": 1, "dev_id": 7, "imei": IMEI, "at": ms(clock), "ds_id": "3424_0_1", "value": 3}
    secret = encrypt(json.dumps(row))
    body = {"enc_msg": secret, "nonce": "n", "msg_signature": onenet_sign(TOKEN, "n", secret)}
    async with port(app, clock) as here:
        assert await push(here, "onenet", body) == 503  # no key yet: it comes again
        here.intake.onenet_key = KEY
        assert await push(here, "onenet", {**body, "msg_signature": "x"}) == 401
        assert await push(here, "onenet", body) == 200
    assert [r.register for r in readings()] == [3_000]
    assert [r.code for r in refused()] == ["not_opened", "signature"]
    with pytest.raises(ValueError, match="key"):
        PushIntake(app, clock, storing_of(app, clock).put, TOKEN, onenet_key="short")


def encrypt(text):
    """As OneNET does: AES-CBC under the key, its first half the start vector."""
    import base64

    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

    secret = base64.b64decode(KEY + "=")
    plain = bytes(16) + len(text).to_bytes(4, "big") + text.encode()
    plain += bytes([n := 32 - len(plain) % 32]) * n
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(secret[:16])).encryptor()
    return base64.b64encode(encryptor.update(plain) + encryptor.finalize()).decode()


async def test_a_map_that_is_wrong_is_said_before_anything_begins(app, clock, tmp_path):
    (tmp_path / "bad.toml").write_text('name = "bad"', "utf-8")
    settings = app.extensions["nuan_settings"].replace(
        push_port=1, push_secrets="ctwing=" + "c" * 20, field_maps_dir=str(tmp_path)
    )
    with pytest.raises(NoPushes, match=r"bad\.toml: map: needs \[\[field\]\] tables"):
        async with pushing(app, clock, settings, storing_of(app, clock).put):
            raise AssertionError("must not begin")
