"""A platform's payload goes to the codec of its meter's protocol, whichever that is."""

import pytest

from backend.archive.models import Meter
from backend.base.db import db
from collectors.dialects import Target, dialect_for, reading_step
from collectors.frames import mbus, modbus
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.modbus_meter import ModbusMeter
from tests.collectors.test_pushed import (
    ENERGY_WH,
    EUI,
    IMEI,
    port,
    readings,
    refused,
    said,
    town,
    values,
)

POWER = "202611200001"


def asked(protocol, address, now):
    target = Target(protocol, address)
    return reading_step(dialect_for(target).steps(target, now)).request


@pytest.mark.parametrize(("protocol", "is_1997"), [("dlt645_2007", False), ("dlt645_1997", True)])
async def test_an_electricity_meters_frame_is_read(app, clock, protocol, is_1997):
    through = {"device": IMEI}
    [meter] = town(("ctwing", "electricity", protocol, POWER, through))
    simulated = Dlt645Meter(POWER, lambda now: {"energy_wh": 1_234_560}, is_1997=is_1997)
    request = asked(protocol, POWER, clock.now())
    question, _ = dialect_for(Target(protocol, POWER)).decode(request)
    answer = simulated.answer(question, clock.now())
    async with port(app, clock) as here, here.platform() as platform:
        assert await platform.push(IMEI, answer, clock.now()) == 200
        other = Dlt645Meter("202611200002", simulated.source, is_1997=is_1997)
        foreign = other._answer_as(other.address, question, clock.now())
        assert await platform.push(IMEI, foreign, clock.now()) == 200
    assert [(r.meter_id, r.register) for r in readings()] == [(meter, 1_234_560)]
    assert [r.code for r in refused()] == ["unknown_device"]


async def test_a_modbus_answer_is_read_by_its_meters_map(app, clock):
    [meter] = town(("ctwing", "heat", "modbus", "17", {"device": IMEI}))
    simulated = ModbusMeter("17", values(54_427_000))
    question, _ = modbus.decode_rtu(asked("modbus", "17", clock.now()), side="request")
    answer = simulated.answer(question, clock.now())
    async with port(app, clock) as here, here.platform() as platform:
        assert await platform.push(IMEI, answer, clock.now()) == 200
        assert await platform.push(IMEI, answer[:-1] + b"\x00", clock.now()) == 200
    assert [(r.meter_id, r.register) for r in readings()] == [(meter, 54_427_000)]
    assert len(refused()) == 1


@pytest.mark.parametrize(
    ("packing", "begin"), [("mbus_data", 6), ("mbus_records", 19), ("mbus_frames", 6)]
)
async def test_mbus_data_without_its_frame_is_put_back_into_one(app, clock, packing, begin):
    [meter_id] = town(("chirpstack", "heat", "mbus", EUI, {"payload": packing}))
    assert db.session.get(Meter, meter_id)
    frame = said(MbusHeatMeter("1", values(), id="24120001"), "mbus", clock.now())
    assert isinstance(mbus.decode(frame)[0], mbus.Variable)
    payload = frame[begin:-2]  # without link layer, checksum and stop; 19: the records alone
    async with port(app, clock) as here, here.platform("chirpstack") as platform:
        await platform.push(EUI, payload, clock.now())
        await platform.push(EUI, b"\x78" * 300, clock.now())
    if packing == "mbus_frames":  # there is no such packing
        assert readings() == []
        assert {r.code for r in refused()} == {"bad_target"}
        return
    [reading] = readings()
    assert (reading.register, reading.frame) == (ENERGY_WH, payload)
    assert [r.code for r in refused()] == ["bad_target"]
