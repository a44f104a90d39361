"""A concentrator's archive and plans are downloaded, read back and compared; its clock is set."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.base.clock import SystemClock
from backend.base.db import db
from backend.metering import bus_jobs
from backend.metering.models import BusJob
from backend.people.service import Principal
from collectors import concentrator_setup
from collectors.concentrator_archive import Archive, compare, plan_of, row_of
from collectors.concentrator_session import ConcentratorSession
from collectors.dialects import Point, Target
from collectors.jobs import JobEnded, JobFailed
from collectors.reading import Asked
from collectors.session import Session
from collectors.simulator.faults import DtuFault, Fault
from collectors.terminal import Terminal
from tests.builders import make_staff
from tests.collectors.conftest import HEAT
from tests.collectors.test_concentrator import PORT, address, archived, serving, until
from tests.collectors.test_concentrators import COUNT, collecting

WATER = "11223344556677"


def asked(n, **point):
    target = Target("dlt645_2007", address(n), 0x40, point=Point(n, **{"port": PORT, **point}))
    return Asked(100 + n, "electricity", target)


def water(n):
    return Asked(100 + n, "water", Target("cjt188", WATER, 0x10, point=Point(n, 3)))


class Notes:
    """A report that keeps what it was told, and ends the job after `most` steps."""

    def __init__(self, most=1000):
        self.told, self.most = [], most

    async def __call__(self, done, total, note="", result=None):
        self.told.append((done, total, note))
        self.result = dict(result or {})
        if len(self.told) > self.most:
            raise JobEnded


class Job:
    """Set-up of one simulated concentrator whose archive is empty at first."""

    def __init__(self, site, terminal):
        self.site, self.terminal, self.notes = site, terminal, Notes()

    async def __call__(self, name, meters=(), **parameters):
        handler = getattr(concentrator_setup, name)
        return await handler(
            self.site.session, list(meters), parameters, self.site.clock, self.notes
        )


@pytest.fixture
async def job(bench):
    async with serving(bench.clock) as site:
        terminal = await site.dial()
        terminal.store.archive.clear()
        yield Job(site, terminal)


# --- rows ------------------------------------------------------------------------------------


def test_a_row_of_an_electricity_meter():
    assert row_of(asked(1)) == archived(1)


def test_a_water_meters_seventh_address_byte_stands_beside_its_address():
    row = row_of(water(7))
    assert (row["protocol"], row["address"], row["digits"]) == (32, WATER[2:], 0x11)
    assert (row["user_class"], row["port_rate"]) == (0x10, 0x63)


@pytest.mark.parametrize(
    "meter",
    [
        Asked(1, "heat", Target("mbus", "1", point=Point(1))),
        Asked(1, "heat", Target("cjt188", WATER)),
        Asked(1, "heat", Target("cjt188", "1122334455667F", point=Point(1))),
        asked(1, baud=115_200),
        asked(1, port=32),
    ],
    ids=["protocol", "no point", "address", "baud", "port"],
)
def test_a_meter_the_archive_cannot_hold_is_left_out_with_a_reason(meter):
    archive = Archive.of([meter, asked(2)])
    assert list(archive.rows) == [2]
    assert [(one["meter_id"], bool(one["words"])) for one in archive.left_out] == [
        (meter.meter_id, True)
    ]


def test_two_meters_on_one_point_are_told_apart_from_one():
    archive = Archive.of([asked(1), replace(asked(1), meter_id=9)])
    assert list(archive.rows) == [1]
    assert archive.left_out[0]["meter_id"] == 9


@pytest.mark.parametrize("bad", [{"interval_min": 0}, {"interval_min": 256}, {"reading_time": "x"}])
def test_a_plan_that_is_none_is_refused(bad):
    with pytest.raises(ValueError):
        plan_of(2, bad)


def test_an_archive_is_compared_line_by_line():
    ours = {n: archived(n) for n in (1, 2, 3)}
    theirs = {1: archived(1), 2: archived(2) | {"address": "9" * 12}, 5: archived(5)}
    lines = compare(ours, theirs)
    assert [(one["index"], one["field"]) for one in lines] == [
        (2, "address"),
        (3, "row"),
        (5, "row"),
    ]
    assert lines[0]["words"] == f"序号 2：表地址应为 {address(2)}，集中器为 {'9' * 12}"
    assert (lines[1]["theirs"], lines[2]["ours"]) == (None, None)


# --- over the wire ---------------------------------------------------------------------------


async def test_what_is_downloaded_is_there_and_read_back_without_a_difference(job):
    meters = [asked(n) for n in range(1, 51)] + [water(60)]
    done = await job("download", meters, interval_min=30, reading_time="00:10")
    assert (done["written"], done["left_out"], done["differences"]) == (51, [], [])
    assert len(job.terminal.store.archive) == 51
    assert [p["port"] for p in job.terminal.store.parameters[0, 33]] == [PORT, 3]
    assert job.terminal.counts["afn_04"] == 4  # three of rows, one of plans
    assert [done for done, *_ in job.notes.told] == list(range(len(job.notes.told)))
    assert all(done < total for done, total, _ in job.notes.told)


async def test_what_was_downloaded_is_read_from_the_store_at_once(job):
    await job("download", [asked(1)])
    read = await job.site.session.read(asked(1).target)
    assert read.values["energy_wh"] > 0
    assert job.terminal.counts["afn_10"] == 0


async def test_differences_are_found_and_said(job):
    meters = [asked(1), asked(2)]
    await job("download", meters)
    job.terminal.store.archive[2]["address"] = "123456789012"
    job.terminal.store.archive[7] = archived(7)
    job.terminal.store.parameters[0, 33][0]["interval_min"] = 15
    found = (await job("read_back", meters))["differences"]
    assert [(one["index"], one["field"]) for one in found] == [
        (2, "address"),
        (7, "row"),
        (PORT, "interval_min"),
    ]


async def test_foreign_rows_stay_unless_they_are_to_go(job):
    job.terminal.store.archive[7] = archived(7)
    kept = await job("download", [asked(1)])
    assert [one["index"] for one in kept["differences"]] == [7]
    gone = await job("download", [asked(1)], remove_others=True)
    assert (gone["removed"], gone["differences"]) == ([7], [])
    assert list(job.terminal.store.archive) == [1]


async def test_reading_back_tells_version_and_clock(job):
    job.terminal.clock_ahead = timedelta(seconds=125)
    told = await job("read_back", [])
    assert told["version"]["maker"] == "NUAN"
    assert told["version"]["software_day"] == "2026-11-01"
    assert told["clock_drift_s"] == 125


async def test_the_clock_is_set_and_seen_to_be_right(job):
    job.terminal.clock_ahead = timedelta(hours=-3)
    assert await job("clock") == {"before_s": -10_800}
    assert await job("clock", action="set") == {"before_s": -10_800, "after_s": 0}


async def test_a_wrong_password_changes_nothing_and_says_so(job):
    job.terminal.password = b"\x01" * 16
    with pytest.raises(JobFailed, match="refused"):
        await job("download", [asked(1)])
    assert job.terminal.store.archive == {}
    job.site.session = ConcentratorSession(
        Terminal(job.site.link, timeout_s=0.5, password=b"\x01" * 16), clock=job.site.clock
    )
    assert (await job("download", [asked(1)]))["differences"] == []


@pytest.mark.parametrize("fault", [Fault.SILENCE, Fault.TWICE, DtuFault.HALVES, DtuFault.DROP])
async def test_a_fault_on_the_way_does_not_spoil_a_download(job, fault):
    job.terminal.faults = type(job.terminal.faults)([fault])
    assert (await job("download", [asked(1), asked(2)]))["differences"] == []


async def test_an_archive_of_2005_is_not_written_in_the_widths_of_2009(bench):
    async with serving(bench.clock) as site:
        job = Job(site, await site.dial(version=1))
        await until(lambda: job.terminal.is_logged_in)
        with pytest.raises(JobFailed, match="not_supported"):
            await job("download", [asked(1)])
        assert job.terminal.counts["afn_04"] == 0
        assert (await job("clock", action="set"))["after_s"] == 0


async def test_a_concentrator_that_is_silent_fails_the_job(job):
    job.terminal.faults = type(job.terminal.faults)([Fault.SILENCE], for_ever=True)
    with pytest.raises(JobFailed, match="silent"):
        await job("read_back", [])


async def test_a_job_that_is_cancelled_stops_between_two_conversations(job):
    job.notes = Notes(most=2)
    with pytest.raises(JobEnded):
        await job("download", [asked(n) for n in range(1, 51)])
    assert job.terminal.counts["afn_04"] == 2
    assert job.notes.result["written"] == 40  # what it has confirmed, and no more


async def test_bad_parameters_and_other_buses_are_refused_before_anything_is_sent(job, bench):
    with pytest.raises(JobFailed, match="bad_parameters"):
        await job("download", [asked(1)], interval_min="often")
    job.site.session = bench.session(await bench.cjt_bus())
    assert isinstance(job.site.session, Session)
    with pytest.raises(JobFailed, match="not_supported"):
        await job("read_back", [])
    job.site.session = ConcentratorSession(Terminal(job.site.link), clock=bench.clock)


async def test_a_port_is_searched_for_meters_nobody_has_written_down(job):
    one = {"protocol": "dlt645_2007", "how": "range", "first": address(2), "last": address(2)}
    found = await job("search", port=PORT, **one)
    assert [each["address"] for each in found["found"]] == [address(2)]
    heat = await job("search", port=3, protocol="cjt188")
    assert [each["address"] for each in heat["found"]] == [HEAT]
    for bad in ({"port": PORT, "baud": 115_200, "protocol": "cjt188"}, {"protocol": "smoke"}):
        with pytest.raises(JobFailed, match="bad_parameters"):
            await job("search", **bad)


# --- the whole way ---------------------------------------------------------------------------


async def test_a_download_asked_for_in_the_database_is_done_by_the_collector(app):
    async with collecting(app) as (terminal, collector):
        terminal.store.archive.clear()
        await until(lambda: collector.sessions)
        bus_id = next(iter(collector.sessions))
        staff = make_staff("operator")
        actor = Principal("staff", staff.id)
        asked_for = bus_jobs.ask(bus_id, "download", {}, actor, SystemClock().now())
        db.session.commit()
        await ended(asked_for.id)
        assert len(terminal.store.archive) == COUNT + 1
    job = db.session.get(BusJob, asked_for.id, populate_existing=True)
    assert (job.state, job.error) == ("done", None)
    assert job.result["differences"] == []


async def ended(job_id):
    for _ in range(400):
        db.session.rollback()
        if db.session.scalar(sa.select(BusJob.ended_at).where(BusJob.id == job_id)):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the job did not end")
