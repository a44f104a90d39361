"""The ways a town's buses are reached from outside, opened and closed together.

A serial server listens, a modem or a concentrator dials, a pseudo-terminal lies under a path, and
a platform pushes what its meters say.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Protocol

import aiohttp

from collectors.frames import cjt188
from collectors.frames.qgdw3761_archive import meter_row
from collectors.simulator.bus import Clock, SimulatedBus
from collectors.simulator.concentrator import SimulatedConcentrator
from collectors.simulator.dtu import SimulatedDtu
from collectors.simulator.platform import SimulatedPlatform
from collectors.simulator.serial_port import SerialPort
from collectors.simulator.terminal_store import ELECTRICITY

log = logging.getLogger("nuan.simulate")


class Opened(Protocol):
    """Something that is started and stopped."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


@dataclass(frozen=True)
class Outside:
    """Where a town's devices turn to.

    dtu_port     what modems dial; 0: they do not
    concentrator_port   what concentrators dial; 0: they do not
    push_urls    platform -> the URL it pushes to; a platform without one is silent
    push_every_s how often each of its meters is pushed
    """

    dtu_host: str = "127.0.0.1"
    dtu_port: int = 0
    concentrator_port: int = 0
    push_urls: Mapping[str, str] = field(default_factory=dict)
    push_every_s: float = 600.0


NOWHERE: Final = Outside()


class _NamedPort:
    """A pseudo-terminal that is found under a path which stays the same."""

    def __init__(self, bus: SimulatedBus, path: Path):
        self._port, self._path = SerialPort(bus), path

    async def start(self) -> None:
        await self._port.start()
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        self._path.symlink_to(self._port.path)

    async def stop(self) -> None:
        self._path.unlink(missing_ok=True)
        await self._port.stop()


class _Shut:
    """A door that leads nowhere."""

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


DOORS: Final = ("tcp", "dtu", "serial", "concentrator")
METERS_PORT: Final = 2  # of a concentrator, where its meters hang


def door_of(kind: str, device: str, bus: SimulatedBus, outside: Outside) -> Opened:
    """The door of a kind (one of DOORS) to a bus."""
    if kind == "serial":
        return _NamedPort(bus, Path(device))
    if kind == "tcp":
        return bus
    if kind == "concentrator":
        return _concentrator(device, bus, outside) if outside.concentrator_port else _Shut()
    if not outside.dtu_port:
        return _Shut()
    return SimulatedDtu(bus, device, outside.dtu_port, host=outside.dtu_host, redial_s=1.0)


def _concentrator(device: str, bus: SimulatedBus, outside: Outside) -> SimulatedConcentrator:
    """A terminal whose archive holds the meters of its bus: point n is the n-th."""
    terminal = SimulatedConcentrator(
        {METERS_PORT: bus},
        device,
        outside.concentrator_port,
        clock=bus.clock,
        host=outside.dtu_host,
        redial_s=1.0,
    )
    rows = [
        meter_row(n, bus.protocol, meter.address, ELECTRICITY, port=METERS_PORT)
        for n, meter in enumerate(bus.meters, 1)
    ]
    terminal.store.set(0, 10, {"meters": rows})
    return terminal


# --- platforms --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Pushing:
    """A meter a platform pushes for: the platform's name of it, and its place on its bus."""

    platform: str
    device: str
    bus: SimulatedBus
    index: int


def platforms(meters: Sequence[Pushing], clock: Clock, outside: Outside) -> list[Opened]:
    """One door a platform that has somewhere to push to."""
    return [
        _Platform(name, url, [m for m in meters if m.platform == name], clock, outside.push_every_s)
        for name, url in outside.push_urls.items()
    ]


class _Platform:
    """Pushes each of its meters once in `every_s`, evenly spread; what is refused is logged."""

    def __init__(
        self, name: str, url: str, meters: Sequence[Pushing], clock: Clock, every_s: float
    ):
        self._name, self._url, self._meters = name, url, meters
        self._clock, self._every_s = clock, every_s
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def _run(self) -> None:
        async with SimulatedPlatform(self._name, self._url) as platform:
            while self._meters:
                for meter in self._meters:
                    await self._push(platform, meter)
                    await asyncio.sleep(self._every_s / len(self._meters))

    async def _push(self, platform: SimulatedPlatform, meter: Pushing) -> None:
        now = self._clock.now()
        with suppress(aiohttp.ClientError, TimeoutError):  # its next push comes by itself
            status = await platform.push(meter.device, _said(meter, now), now)
            if status != 200:
                log.warning("a push was refused", extra={"device": meter.device, "is": status})


def _said(pushing: Pushing, now: datetime) -> bytes:
    """The frame a CJ/T 188 meter hands its modem."""
    meter = pushing.bus.meters[pushing.index]
    question = cjt188.encode_read(meter.address, getattr(meter, "meter_type", 0x20))
    request, _ = cjt188.decode(question)
    return meter.answer(request, now) or b""
