"""Searching buses: single meters, crowds that collide, scans, and how a search comes to its end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.bus_search import search
from collectors.frames import cjt188, mbus, mbus_encode
from collectors.jobs import JobEnded, JobFailed
from collectors.search.base import sift
from collectors.search.digits import MAX_RANGE, low_bytes, spread
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.faults import Fault, FaultPlan
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtHeatMeter, CjtUtilityMeter
from collectors.simulator.modbus_meter import ModbusMeter
from tests.collectors.conftest import heat_values

HEATS = [f"2001010000{n:04d}" for n in (101, 102, 1101)]


class Watching:
    """A job's report: what was told, and a cancelling after so many reports."""

    def __init__(self, cancel_after=None):
        self.told, self._left = [], cancel_after

    async def __call__(self, done, total, note="", result=None):
        self.told.append((done, total, note, result))
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise JobEnded


async def find(bench, bus, report=None, **parameters):
    session = bench.session(bus, timeout_s=0.03, idle_s=0.01)
    return await search(session, [], parameters, bench.clock, report or Watching())


def addresses(result):
    return sorted(one["address"] for one in result["found"])


def counting(n):
    """A source like no other's: answers that are the same but for the address may pass for one."""
    return lambda now: {**heat_values(now), "energy_wh": 1_000_000 + 77_000 * n}


def heat_meters(*numbers, **options):
    return [CjtHeatMeter(a, counting(n), **options) for n, a in enumerate(numbers)]


async def test_a_single_cjt188_meter_tells_its_address_and_what_it_is(bench):
    bus = await bench.bus(*heat_meters(HEATS[0]))
    result = await find(bench, bus, protocol="cjt188")
    (one,) = result["found"]
    assert (one["address"], one["kind"], one["meter_type"]) == (HEATS[0], "heat", 0x20)
    assert (one["type_zh"], one["maker"]) == ("热量表（计热量）", "厂商代码 2001")
    assert result["conflicts"] == []


async def test_one_meter_of_each_type_is_told_apart_by_the_type(bench):
    water = CjtUtilityMeter("water", "10010100000101", lambda now: {"volume_l": 1})
    bus = await bench.bus(*heat_meters(HEATS[0]), water)
    result = await find(bench, bus, protocol="cjt188")
    assert addresses(result) == [water.address, HEATS[0]]
    assert bus.wire.collisions > 0 and len(result["conflicts"]) == 1  # all types at once


async def test_a_crowd_is_taken_apart_by_its_low_address_bytes(bench):
    bus = await bench.bus(*heat_meters(*HEATS, takes_wildcards=True))
    result = await find(bench, bus, protocol="cjt188")
    assert addresses(result) == HEATS
    assert bus.wire.collisions >= 2


async def test_two_answers_that_make_a_good_frame_of_nobody_find_no_third_meter(bench):
    """01 and 02 at once are 00, and their checksums agree with it."""
    bus = await bench.bus(*heat_meters(*HEATS[:2]))
    result = await find(bench, bus, protocol="cjt188")
    assert result["found"] == []


async def test_a_crowd_that_takes_no_wildcards_is_reported_and_found_by_its_range(bench):
    bus = await bench.bus(*heat_meters(*HEATS[:2]))
    result = await find(bench, bus, protocol="cjt188")
    assert result["found"] == [] and any("热量表（计热量）" in c for c in result["conflicts"])
    result = await find(
        bench, bus, protocol="cjt188", how="range", first=HEATS[0], last="20010100000110"
    )
    assert addresses(result) == HEATS[:2] and result["probes"] == 10


async def test_noise_does_not_hide_a_meter(bench):
    noisy = heat_meters(HEATS[0], faults=FaultPlan([Fault.NOISE], for_ever=True))
    result = await find(bench, await bench.bus(*noisy), protocol="cjt188")
    assert addresses(result) == [HEATS[0]]


POWERS = ["000000001234", "000000101235", "990000000007"]


@pytest.mark.parametrize(("protocol", "is_1997"), [("dlt645_2007", False), ("dlt645_1997", True)])
async def test_dlt645_meters_that_collide_are_found_by_their_low_digits(bench, protocol, is_1997):
    meters = [Dlt645Meter(a, counting(n), is_1997=is_1997) for n, a in enumerate(POWERS)]
    bus = await bench.bus(*meters)
    result = await find(bench, bus, protocol=protocol)
    assert addresses(result) == POWERS
    assert {one["kind"] for one in result["found"]} == {"electricity"}


async def test_a_single_dlt645_meter_answers_the_question_for_its_address(bench):
    bus = await bench.bus(Dlt645Meter(POWERS[0], lambda now: {"energy_wh": 1}))
    result = await find(bench, bus, protocol="dlt645_2007")
    assert addresses(result) == [POWERS[0]] and result["probes"] == 3


def mbus_meters(*ids, **options):
    return [MbusHeatMeter(str(n), counting(n), id=i, **options) for n, i in enumerate(ids, 1)]


async def test_mbus_secondary_search_takes_collisions_apart_digit_by_digit(bench):
    bus = await bench.bus(*mbus_meters("24120001", "24120002", "24129001", "90000000"))
    report = Watching()
    result = await find(bench, bus, report, protocol="mbus")
    ids = [a[:8] for a in addresses(result)]
    assert ids == ["24120001", "24120002", "24129001", "90000000"]
    (one, *_) = result["found"]
    assert (one["maker"], one["kind"], one["type_zh"]) == ("NUA", "heat", "热量（回水安装）")
    assert one["names"] == [one["address"], one["address"][:8], "1"] and len(one["address"]) == 16
    assert result["conflicts"] == [] and bus.wire.collisions > 0
    done = [told[0] for told in report.told]
    assert done == sorted(done) and {told[1] for told in report.told} == {1000}


async def test_mbus_twins_of_one_number_are_told_apart_by_their_medium_or_reported(bench):
    twins = mbus_meters("24120001", "24120001")
    twins[1].medium = 0x07
    result = await find(bench, await bench.bus(*twins), protocol="mbus")
    assert sorted(one["kind"] for one in result["found"]) == ["heat", "water"]
    same = await bench.bus(*mbus_meters("24120001", "24120001"))
    result = await find(bench, same, protocol="mbus")
    assert result["found"] == [] and result["conflicts"] == ["表号 24120001"]


async def test_an_mbus_primary_scan_finds_meters_and_reports_two_at_one_address(bench):
    meters = mbus_meters("24120001", "24120002", "24120003")
    meters[2].address = "2"
    bus = await bench.bus(*meters)
    result = await find(bench, bus, protocol="mbus", how="primary", first="0", last="5")
    assert addresses(result) == ["1"] and result["found"][0]["names"][-1] == "24120001"
    assert result["conflicts"] == ["一次地址 2"]


@pytest.mark.parametrize(("protocol", "is_tcp"), [("modbus", False), ("modbus_tcp", True)])
async def test_modbus_units_are_found_whether_they_answer_or_refuse(bench, protocol, is_tcp):
    meters = [ModbusMeter(unit, heat_values, is_tcp=is_tcp) for unit in ("3", "7")]
    meters[1].exception = 0x02
    bus = await bench.bus(*meters)
    result = await find(bench, bus, protocol=protocol, first="1", last="10")
    assert addresses(result) == ["3", "7"] and result["probes"] == 10


async def test_a_gateway_that_reaches_nobody_is_no_meter(bench):
    meter = ModbusMeter("3", heat_values, is_tcp=True, exception=0x0B)
    bus = await bench.bus(meter)
    result = await find(bench, bus, protocol="modbus_tcp", first="3", last="3")
    assert result["found"] == []


async def test_a_cancelled_search_asks_nobody_more_and_has_told_what_it_found(bench):
    bus = await bench.bus(*mbus_meters("00000001", "24120001", "24120002"))
    report = Watching(cancel_after=12)
    with pytest.raises(JobEnded):
        await find(bench, bus, report, protocol="mbus")
    asked = bus.asked
    assert asked < 40 and report.told[-1][3]["found"]


async def test_a_dead_wire_ends_a_search_after_three_questions(bench):
    bus = await bench.bus(*mbus_meters("24120001"))
    await bus.stop()
    report = Watching()
    with pytest.raises(JobFailed, match="link_down"):
        await find(bench, bus, report, protocol="mbus", how="primary")
    assert len(report.told) == 3


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"protocol": "smoke_signals"},
        {"protocol": "cjt188", "how": "range", "first": "1", "last": "2"},
        {"protocol": "cjt188", "how": "range", "first": "2" * 14, "last": "1" * 14},
        {"protocol": "cjt188", "how": "range", "first": "0" * 14, "last": "9" * 14},
        {"protocol": "mbus", "how": "primary", "first": "0", "last": "251"},
        {"protocol": "modbus", "first": "0"},
        {"protocol": "modbus", "first": "x"},
        {"protocol": "cjt188", "wait_ms": "soon"},
    ],
)
async def test_parameters_that_name_no_search_are_refused(bench, parameters):
    bus = await bench.bus(*heat_meters(HEATS[0]))
    with pytest.raises(JobFailed, match="bad_parameters"):
        await find(bench, bus, **parameters)


async def test_a_job_may_wait_shorter_for_each_answer_than_its_session(bench):
    bus = await bench.bus(*mbus_meters("24120001"))
    session = bench.session(bus, timeout_s=30)
    report = Watching()
    parameters = {"protocol": "mbus", "how": "primary", "last": "3", "wait_ms": 50}
    result = await search(session, [], parameters, bench.clock, report)
    assert addresses(result) == ["1"]  # and it did not take minutes


@given(st.text("0123456789", min_size=12, max_size=12), st.integers(0, 5))
def test_narrower_masks_match_each_address_exactly_once(address, known):
    pattern = "AA" * (6 - known) + address[12 - 2 * known :]
    matching = [m for m in low_bytes(pattern) if address.endswith(m.lstrip("A"))]
    assert len(matching) == 1


def test_an_address_without_wildcards_cannot_be_taken_apart():
    assert low_bytes("123456789012") == []


def test_a_range_is_bounded():
    assert spread("000099", "000101", 6) == ["000099", "000100", "000101"]
    with pytest.raises(ValueError, match="2001 addresses"):
        spread("000000", f"{MAX_RANGE:06d}", 6)


def test_sifting_tells_frames_from_noise():
    frame = cjt188.encode_read("11111111111111", 0x20)
    assert [len(x) if isinstance(x, list) else x for x in sift(cjt188.decode, frame * 2)] == [
        2,
        False,
    ]
    assert sift(cjt188.decode, b"\x00" + frame)[1] and sift(cjt188.decode, frame + b"\x68\x20")[1]
    starts = b"\xe5\x10\x68"
    answer = mbus_encode.encode_snd_nke(1)
    assert (
        not sift(mbus.decode, answer, starts)[1] and sift(mbus.decode, b"\x55" + answer, starts)[1]
    )
    assert sift(mbus.decode, b"", starts) == ([], False)


@given(st.binary(max_size=60))
def test_sifting_ends_whatever_is_heard(heard):
    for decode in (cjt188.decode, mbus.decode):
        sift(decode, heard)
