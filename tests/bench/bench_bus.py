"""Buses at 2,400 baud read by one process: what their wires allow, and how much of it is reached.

The buses, each with its meters behind a TCP socket of its own, run in a process of their own on
simulated wires where every byte takes 11 bits.  A bus's ratio is the time its questions and answers
are on the wire, divided by the time from its first question to its last answer.  One bus of each
protocol alone, one behind a pseudo-terminal, then 1,000 buses of heat meters at once.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from backend.base.clock import SystemClock
from collectors.links.named import link_of
from collectors.session import Read, Session, Target
from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.mbus_meter import MbusHeatMeter
from collectors.simulator.meters import CjtHeatMeter, Meter
from collectors.simulator.modbus_meter import ModbusMeter
from collectors.simulator.serial_port import SerialPort
from collectors.simulator.wire import BITS_PER_BYTE

BAUD, BUSES, METERS = 2400, 1_000, 12
JITTER_S = 0.4  # the time of one meter; a collector's jobs begin within seconds
GOAL = 0.9
VALUES = {
    "energy_wh": 54_427_880,
    "volume_l": 7_156_080,
    "flow_lph": 182,
    "power_w": 3_210,
    "supply_cdeg": 4_157,
    "return_cdeg": 3_513,
    "working_h": 1_000,
}


def values(now: object) -> dict[str, int]:
    return VALUES


@dataclass(frozen=True)
class Kind:
    """A protocol: how a meter of a number is made, and asked."""

    make: Callable[[int], Meter]
    target: Callable[[int], Target]


KINDS = {
    "CJ/T 188": Kind(
        lambda n: CjtHeatMeter(f"{n:014d}", values), lambda n: Target("cjt188", f"{n:014d}")
    ),
    "M-Bus": Kind(
        lambda n: MbusHeatMeter(str(n), values, id=f"{n:08d}"), lambda n: Target("mbus", str(n))
    ),
    "DL/T 645": Kind(
        lambda n: Dlt645Meter(f"{n:012d}", values), lambda n: Target("dlt645_2007", f"{n:012d}")
    ),
    "Modbus": Kind(lambda n: ModbusMeter(str(n), values), lambda n: Target("modbus", str(n))),
}


@dataclass(frozen=True)
class Bus:
    """What the reading side knows of a bus."""

    address: str
    targets: tuple[Target, ...]


def many_sockets() -> None:
    """Let this process open as many sockets as it may."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# --- the meters' process --------------------------------------------------------------------


def simulate(kinds: Sequence[str], has_port: bool, orders: Connection) -> None:
    """A bus a kind, the first also behind a pseudo-terminal; ends when told to."""
    many_sockets()
    asyncio.run(_simulate(kinds, has_port, orders))


async def _simulate(kinds: Sequence[str], has_port: bool, orders: Connection) -> None:
    clock, addresses, buses = SystemClock(), [], []
    for number, kind in enumerate(kinds):
        meters = [KINDS[kind].make(n) for n in range(1, METERS + 1)]
        bus = SimulatedBus(f"bus-{number}", meters, clock=clock, baud=BAUD)
        await bus.start()
        buses.append(bus)
        addresses.append(f"tcp://127.0.0.1:{bus.port}")
    port = SerialPort(buses[0]) if has_port else None
    if port is not None:
        await port.start()
        addresses[0] = port.address
    orders.send(addresses)
    await asyncio.to_thread(orders.recv)
    orders.send([bus.wire.said_bytes for bus in buses])
    await asyncio.to_thread(orders.recv)


# --- the reading process ----------------------------------------------------------------------


async def read_bus(bus: Bus, wait_s: float) -> tuple[float, int]:
    """Seconds from the first question to the last answer, and how many meters were read at once."""
    await asyncio.sleep(wait_s)
    session = Session(link_of(bus.address), clock=SystemClock(), timeout_s=5)
    await session.link.connect()
    began = time.perf_counter()
    outcomes = [await session.read(target) for target in bus.targets]
    taken_s = time.perf_counter() - began
    await session.close()
    return taken_s, sum(isinstance(o, Read) and o.tries == 1 for o in outcomes)


async def read_all(buses: Sequence[Bus]) -> list[tuple[float, int]]:
    """All buses at once; as in a collector they do not begin in the same instant."""
    starts = (JITTER_S * n / len(buses) for n in range(len(buses)))
    return list(await asyncio.gather(*map(read_bus, buses, starts)))


def measure(kinds: Sequence[str], *, has_port: bool = False) -> tuple[list[float], float]:
    """Each bus's ratio, and this process's own seconds; raises where a meter was not read."""
    ours, theirs = multiprocessing.Pipe()
    meters: Any = multiprocessing.get_context("spawn").Process(
        target=simulate, args=(kinds, has_port, theirs)
    )
    meters.start()
    try:
        addresses = ours.recv()
        buses = [
            Bus(address, tuple(KINDS[kind].target(n) for n in range(1, METERS + 1)))
            for address, kind in zip(addresses, kinds, strict=True)
        ]
        began = time.process_time()
        results = asyncio.run(read_all(buses))
        busy_s = time.process_time() - began
        ours.send("count")
        said = ours.recv()
        ours.send("end")
    finally:
        meters.join(10)
        meters.kill()
    if any(read != METERS for _, read in results):
        raise SystemExit("a meter was not read at the first try")
    ratios = [
        said_bytes * BITS_PER_BYTE / BAUD / taken_s
        for said_bytes, (taken_s, _) in zip(said, results, strict=True)
    ]
    return ratios, busy_s


def main() -> int:
    """One line a measurement; 1 where one is below the goal."""
    many_sockets()
    reached = True
    for kind in KINDS:
        (ratio,), _ = measure([kind])
        reached &= ratio >= GOAL
        print(f"{kind} bus at {BAUD:,} baud: {METERS} meters, ratio {ratio:.3f} (goal {GOAL})")
    (ratio,), _ = measure(["CJ/T 188"], has_port=True)
    reached &= ratio >= GOAL
    print(f"the same over serial: {METERS} meters, ratio {ratio:.3f} (goal {GOAL})")
    ratios, busy_s = measure(["CJ/T 188"] * BUSES)
    worst = min(ratios)
    reached &= worst >= GOAL
    print(
        f"{BUSES:,} buses at {BAUD:,} baud at once: {BUSES * METERS:,} meters, median "
        f"{statistics.median(ratios):.3f}, {busy_s / BUSES / METERS * 1e6:.0f} us a meter in the "
        f"reading process, memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB, "
        f"worst bus's ratio {worst:.3f} (goal {GOAL})"
    )
    return not reached


if __name__ == "__main__":
    sys.exit(main())
