"""Every fault on every protocol, over real sockets, ends in the meter's own value or in a counted
failure, and never in another value."""

import random

import pytest

from collectors.links import TcpLink
from collectors.session import REASONS, Failed, Read, Session, Target
from collectors.simulator import faults as table
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.faults import (
    EFFECTS,
    PUSH_EFFECTS,
    DtuFault,
    Fault,
    FaultPlan,
    Occasion,
    PushFault,
)
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtHeatMeter, CjtUtilityMeter
from collectors.simulator.modbus_meter import ModbusMeter
from tests.collectors.conftest import HEAT_VALUES

STEP_WH = 100_000  # how much the register has moved by the next question
# What costs the answer; everything else only disturbs it.
FATAL = {
    Fault.HALF_FRAME,
    Fault.COLLISION,
    Fault.SILENCE,
    Fault.SLOW,
    Fault.REPLAY,
    Fault.WRONG_ADDRESS,
    Fault.BAD_CHECKSUM,
    Fault.DISCONNECT,
}


class Register:
    """A register that moves with every question, and remembers what it has shown."""

    def __init__(self, first_wh):
        self.now_wh, self.shown = first_wh, set()

    def __call__(self, now):
        self.now_wh += STEP_WH
        self.shown.add(self.now_wh)
        return {**HEAT_VALUES, "energy_wh": self.now_wh, "volume_l": self.now_wh // 10}


def cjt_heat(n, source, plan):
    return CjtHeatMeter(f"{n:014d}", source, faults=plan)


def cjt_water(n, source, plan):
    return CjtUtilityMeter("water", f"{n:014d}", source, faults=plan)


def mbus(n, source, plan):
    return MbusHeatMeter(str(n), source, id=f"{24120000 + n}", faults=plan)


def modbus(n, source, plan):
    return ModbusMeter(str(n), source, faults=plan)


def tuf(n, source, plan):
    return ModbusMeter(str(n), source, map_name="tuf-2000", faults=plan)


def modbus_tcp(n, source, plan):
    return ModbusMeter(str(n), source, is_tcp=True, faults=plan)


def dlt645(n, source, plan):
    return Dlt645Meter(f"{n:012d}", source, faults=plan)


def dlt645_1997(n, source, plan):
    return Dlt645Meter(f"{n:012d}", source, is_1997=True, faults=plan)


# name -> a meter of that number, how a session names it, what its register is called
PROTOCOLS = {
    "cjt188 heat": (cjt_heat, lambda n: Target("cjt188", f"{n:014d}"), "energy_wh"),
    "cjt188 water": (cjt_water, lambda n: Target("cjt188", f"{n:014d}", 0x10), "volume_l"),
    "mbus primary": (mbus, lambda n: Target("mbus", str(n)), "energy_wh"),
    "mbus secondary": (mbus, lambda n: Target("mbus", f"{24120000 + n}"), "energy_wh"),
    "dlt645 2007": (dlt645, lambda n: Target("dlt645_2007", f"{n:012d}"), "energy_wh"),
    "dlt645 1997": (dlt645_1997, lambda n: Target("dlt645_1997", f"{n:012d}"), "energy_wh"),
    "modbus": (modbus, lambda n: Target("modbus", str(n)), "energy_wh"),
    "modbus blocks": (tuf, lambda n: Target("modbus", str(n), profile="tuf-2000"), "energy_wh"),
    "modbus tcp": (modbus_tcp, lambda n: Target("modbus_tcp", str(n)), "energy_wh"),
}
# An M-Bus acknowledgement is one byte without a sum: among noise it is none.
ALSO_FATAL = {("mbus primary", Fault.NOISE), ("mbus secondary", Fault.NOISE)}
# MBAP has no checksum: TCP has one, and no meter changes what is under it.
NOT_THERE = {("modbus tcp", Fault.BAD_CHECKSUM), ("modbus tcp", Fault.COLLISION)}
CASES = [
    (protocol, fault)
    for protocol in PROTOCOLS
    for fault in Fault
    if (protocol, fault) not in NOT_THERE
]


def register_of(source, name):
    return {wh // 10 if name == "volume_l" else wh for wh in source.shown}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(table, "SLOW_S", 0.25)
    monkeypatch.setattr(table, "PIECE_S", 0.01)
    monkeypatch.setattr(table, "DRIP_S", 0.0002)


class TestWire:
    @pytest.mark.parametrize(
        ("protocol", "fault"), CASES, ids=lambda part: getattr(part, "value", part)
    )
    async def test_a_faulty_answer_is_the_true_value_or_a_counted_failure(
        self, bench, monkeypatch, protocol, fault
    ):
        """The neighbour is read first, so that there is something to replay."""
        # Later than any patience here, or a stalled machine hears it in the second try.
        monkeypatch.setattr(table, "SLOW_S", 20)
        make, target, name = PROTOCOLS[protocol]
        source, other = Register(5_000_000), Register(900_000_000)
        plan = FaultPlan([fault], for_ever=True)
        bus = await bench.bus(make(17, source, plan), make(18, other, FaultPlan()))
        is_fatal = fault in FATAL or (protocol, fault) in ALSO_FATAL
        # However busy the machine is, an answer that comes is waited for.
        session = bench.session(bus, timeout_s=0.1 if is_fatal else 5, retries=1)
        assert isinstance(await bench.session(bus, timeout_s=5).read(target(18)), Read)
        outcome = await session.read(target(17))
        if isinstance(outcome, Read):
            assert outcome.values[name] in register_of(source, name)
            assert not register_of(source, name) & register_of(other, name)
        else:
            assert outcome.reason in REASONS
            assert session.counts == {outcome.reason: 1}
        assert isinstance(outcome, Failed) == is_fatal, outcome

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_faults_of_every_kind_in_any_order_leave_only_true_values(self, bench, protocol):
        make, target, name = PROTOCOLS[protocol]
        dice = random.Random(f"faults/{protocol}")
        kinds = [f for f in Fault if (protocol, f) not in NOT_THERE] + [None] * 6
        meters = [Register(n * 100_000_000) for n in range(1, 5)]
        bus = await bench.bus(
            *(
                make(n, source, FaultPlan(dice.choices(kinds, k=12), for_ever=True))
                for n, source in enumerate(meters, 1)
            )
        )
        session = bench.session(bus, timeout_s=0.15, idle_s=0.03, retries=2)
        for n, source in list(enumerate(meters, 1)) * 3:
            outcome = await session.read(target(n))
            if isinstance(outcome, Read):
                assert outcome.values[name] in register_of(source, name)
        assert session.counts.total() == 12
        assert session.counts["read"] > 0

    @pytest.mark.parametrize("protocol", PROTOCOLS)
    async def test_an_old_answer_of_the_same_meter_is_its_own_value_of_then(self, bench, protocol):
        """Modbus TCP numbers its questions and refuses it. Nothing in the other frames tells it
        from a new one but the meter's clock, where it shows one."""
        make, target, name = PROTOCOLS[protocol]
        source = Register(5_000_000)
        bus = await bench.bus(make(17, source, FaultPlan([None, None, Fault.REPLAY, Fault.REPLAY])))
        session = bench.session(bus, timeout_s=0.1)
        await session.read(target(17))
        outcome = await session.read(target(17))
        if isinstance(outcome, Read):
            assert outcome.values[name] in register_of(source, name)
        else:
            assert outcome.reason in ("wrong_answer", "garbled", "silent")
        if protocol == "modbus tcp":
            assert isinstance(outcome, Failed) or outcome.values[name] == source.now_wh

    async def test_a_clock_that_drifts_is_seen_in_the_reading(self, bench):
        plan = FaultPlan([None, Fault.CLOCK_DRIFT])
        bus = await bench.bus(CjtHeatMeter(f"{1:014d}", Register(0), faults=plan))
        session = bench.session(bus)
        sound, drifted = [await session.read(Target("cjt188", f"{1:014d}")) for _ in range(2)]
        assert drifted.meter_time - sound.meter_time == table.CLOCK_DRIFT

    async def test_a_bus_that_is_lost_in_mid_answer_is_down_and_comes_back(self, bench):
        plan = FaultPlan([Fault.DISCONNECT, Fault.DISCONNECT])
        bus = await bench.bus(CjtHeatMeter(f"{1:014d}", Register(0), faults=plan))
        session = Session(TcpLink(bus.host, bus.port), clock=bench.clock, timeout_s=0.2, retries=1)
        target = Target("cjt188", f"{1:014d}")
        assert (await session.read(target)).reason == "link_down"
        assert isinstance(await session.read(target), Read)
        await session.close()


@pytest.mark.parametrize("fault", EFFECTS, ids=lambda fault: fault.value if fault else "none")
def test_every_fault_has_its_row_and_ends(fault):
    """No fault says more than a few times the answer, nor later than a few seconds."""
    occasion = Occasion(
        b"\x68" + bytes(30) + b"\x16",
        question=b"\x10\x40\x01\x41\x16",
        stranger=lambda: b"\x68other\x16",
        previous=b"old",
        prefix=b"imei",
        beat=b"ping",
    )
    pieces = EFFECTS[fault](occasion)
    assert all(0 <= delay_s <= table.SLOW_S for delay_s, _ in pieces)
    assert sum(len(p) for _, p in pieces if isinstance(p, bytes)) <= 200


def test_the_table_has_a_row_for_every_fault():
    assert set(EFFECTS) == {None, *Fault, *DtuFault}
    assert set(PUSH_EFFECTS) == {None, *PushFault}


async def test_late_pieces_of_one_answer_come_in_their_order(bench):
    """A byte takes longer on the wire than the drip leaves between two: they queue up."""
    plan = FaultPlan([Fault.DRIP])
    bus = await bench.bus(CjtHeatMeter(f"{1:014d}", Register(0), faults=plan), baud=4_800)
    read = await bench.session(bus, timeout_s=2).read(Target("cjt188", f"{1:014d}"))
    assert isinstance(read, Read)
