"""What operators and managers send and get of buses: states, jobs, finds, refused frames."""

from __future__ import annotations

from apiflask import Schema, fields

from backend.api.fields import Flag, Text, Whole, one_of
from backend.api.outs import maybe_whole, text, whole
from backend.base.paging import MAX_PAGE
from backend.metering.bus_rules import STATES
from backend.metering.bus_searches import KINDS, SEARCHES
from backend.metering.concentrator_jobs import (
    ACTIONS,
    INTERVAL_MIN,
    MAX_INTERVAL_MIN,
    READING_TIME,
)
from backend.metering.quality import REGISTER_MAX

PROTOCOLS = tuple(dict.fromkeys(protocol for protocol, _ in SEARCHES))
HOWS = tuple(dict.fromkeys(how for _, how in SEARCHES))
MAX_BEYOND_S = 86_400


class BusesQuery(Schema):
    """Which buses: of a region and all below it, in a state; a page of 50 at a time."""

    region_id = Whole(1, query=True)
    state = Text(1, 16, validate=[one_of(*STATES)])
    page = Whole(1, MAX_PAGE, query=True, load_default=1)


class CycleOut(Schema):
    """The last time all meters of a bus were asked."""

    asked = whole()
    answered = whole()
    garbled = whole("answers that were noise, or several meters at once")
    took_s = fields.Float()
    reasons = fields.Dict(metadata={"description": "how many failed, by reason"})
    ended_at = fields.AwareDateTime()


class BusOut(Schema):
    """A bus, its state and how its meters have answered."""

    id = whole()
    code = text()
    name = text()
    region = text()
    building = text()
    link = text("how it is reached: tcp://, serial://, dtu://, push://, concentrator://")
    state = text("idle, reading, overload, no_load or silent")
    state_since = fields.AwareDateTime(allow_none=True)
    is_stale = fields.Boolean(metadata={"description": "its collector has stopped reporting"})
    cycle = fields.Nested(CycleOut, allow_none=True)
    meters = whole()
    asked = whole("questions today")
    answered = whole("answers today")
    asked_week = whole("questions in seven days, today among them")
    answered_week = whole()
    last_seen_at = fields.AwareDateTime(allow_none=True)
    signal_dbm = maybe_whole("of its modem or concentrator")
    signal_at = fields.AwareDateTime(allow_none=True)


class BusesOut(Schema):
    """A page of buses, what needs a person first, and how many are in each state."""

    buses = fields.List(fields.Nested(BusOut))
    states = fields.Dict(metadata={"description": "buses in each state"})
    page = whole()
    has_next = fields.Boolean()


class BusMeterOut(Schema):
    """A meter of a bus."""

    id = whole()
    kind = text()
    protocol = text()
    address = text()
    unit_no = text(allow_none=True)
    last_ok_at = fields.AwareDateTime(allow_none=True)
    last_error = text(allow_none=True)
    last_error_at = fields.AwareDateTime(allow_none=True)
    clock_drift_s = maybe_whole("its clock minus ours: ahead is positive")
    clock_at = fields.AwareDateTime(allow_none=True)
    signal_dbm = maybe_whole()
    snr_ddb = maybe_whole("tenths of a decibel")
    asked = whole("questions in seven days")
    answered = whole()


class BusDetailOut(BusOut):
    """A bus with its meters."""

    meter_rows = fields.List(fields.Nested(BusMeterOut))


class SearchIn(Schema):
    """How to search a bus."""

    protocol = Text(1, 16, required=True, validate=[one_of(*PROTOCOLS)])
    how = Text(1, 16, required=True, validate=[one_of(*HOWS)])
    first = Text(0, 18, load_default="")
    last = Text(0, 18, load_default="")
    meter_type = Whole(0, 255, load_default=None, allow_none=True)
    wait_ms = Whole(0, 60_000, load_default=None, allow_none=True)


class ClockIn(Schema):
    """Read a bus's clocks, or set those that are off by more than `beyond_s`."""

    action = Text(1, 8, required=True, validate=[one_of("read", "set")])
    beyond_s = Whole(1, MAX_BEYOND_S, load_default=60)


class SetupIn(Schema):
    """What a concentrator is told, or held against: how often it reads, and from when on."""

    action = Text(1, 16, required=True, validate=[one_of(*ACTIONS)])
    interval_min = Whole(1, MAX_INTERVAL_MIN, load_default=INTERVAL_MIN)
    reading_time = Text(5, 5, load_default=READING_TIME)
    remove_others = Flag(load_default=False)


class JobsQuery(Schema):
    """Which jobs: of a bus; a page of 50 at a time."""

    bus_id = Whole(1, query=True)
    page = Whole(1, MAX_PAGE, query=True, load_default=1)


class JobOut(Schema):
    """A job on a bus and how far it is."""

    id = whole()
    bus_id = whole()
    kind = text("search, clock, download or read_back")
    parameters = fields.Dict()
    state = text("queued, running, done, failed, cancelled or expired")
    done = whole("steps behind it")
    total = whole("of so many")
    note = text("what it is at")
    error = text(allow_none=True)
    asked_at = fields.AwareDateTime()
    started_at = fields.AwareDateTime(allow_none=True)
    ended_at = fields.AwareDateTime(allow_none=True)


class JobsOut(Schema):
    """A page of jobs, the newest first."""

    jobs = fields.List(fields.Nested(JobOut))
    page = whole()
    has_next = fields.Boolean()


class FindingOut(Schema):
    """A meter that was found, and what the archive knows of it."""

    protocol = text()
    address = text()
    kind = text("what it measures; empty where its protocol does not say")
    type = text()
    maker = text()
    status = text("here, elsewhere or new")
    meter_id = maybe_whole()
    bus_code = text("of the bus it is written down on")


class MissingOut(Schema):
    """A meter of the archive that did not answer the search."""

    id = whole()
    address = text()


class JobDetailOut(JobOut):
    """A job with what it has brought."""

    result = fields.Dict()
    findings = fields.List(fields.Nested(FindingOut))
    missing = fields.List(fields.Nested(MissingOut))


class AdoptIn(Schema):
    """A found meter to be written down; register in Wh or litres, none only of a thermometer."""

    address = Text(1, 64, required=True)
    kind = Text(1, 16, required=True, validate=[one_of(*KINDS)])
    account_no = Text(1, 40, load_default=None, allow_none=True)
    first_register = Whole(0, REGISTER_MAX, load_default=None, allow_none=True)
    profile = Text(1, 40, load_default="default")


class AdoptedOut(Schema):
    """The new meter."""

    meter_id = whole()


class FramesQuery(Schema):
    """Which refused frames: of a bus, of a code; a page of 50 at a time."""

    bus_id = Whole(1, query=True)
    code = Text(1, 40)
    page = Whole(1, MAX_PAGE, query=True, load_default=1)


class FrameOut(Schema):
    """A frame that was refused, and what the codec makes of it."""

    id = whole()
    at = fields.AwareDateTime()
    bus_id = maybe_whole()
    meter_id = maybe_whole("that was asked")
    protocol = text(allow_none=True)
    code = text()
    reason = text()
    hex = text()
    explained = fields.List(fields.List(fields.String()))


class CodeWeekOut(Schema):
    """How often a code was refused on each of the last seven days, oldest first."""

    code = text()
    days = fields.List(fields.Integer())
    total = whole()


class FramesOut(Schema):
    """A page of refused frames, the newest first, and the week's counts."""

    frames = fields.List(fields.Nested(FrameOut))
    days = fields.List(fields.Date())
    week = fields.List(fields.Nested(CodeWeekOut))
    page = whole()
    has_next = fields.Boolean()
