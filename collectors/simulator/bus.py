"""A bus: many simulated meters on one half-duplex wire, and the doors masters reach it by.

A door is a serial server's TCP port (`SimulatedBus.start`), a pseudo-terminal
(`serial_port.SerialPort`) or a modem (`dtu.SimulatedDtu`). All doors of a bus lead to the same
wire, so two masters disturb one another as they would in a cellar.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property, partial
from typing import Any, Final, Protocol

from collectors.frames import FrameError, cjt188, dlt645, dlt645_1997, mbus, modbus
from collectors.simulator.faults import EFFECTS, Act, Occasion
from collectors.simulator.meters import Meter
from collectors.simulator.wire import Wire


class Clock(Protocol):
    """Tells the simulated time, aware of its zone."""

    def now(self) -> datetime: ...


_DECODERS: dict[str, Any] = {
    "cjt188": cjt188.decode,
    "dlt645_1997": dlt645_1997.decode,
    "dlt645_2007": dlt645.decode,
    "mbus": mbus.decode,
    "modbus": partial(modbus.decode_rtu, side="request"),
    "modbus_tcp": partial(modbus.decode_tcp, side="request"),
}
# A question that breaks off for so long is over; what comes then begins another.
QUIET_S: Final = 0.25


class SimulatedBus:
    """Meters of one protocol on one wire, behind one TCP port of `host`; port 0 takes a free one.
    Instead of meters there may be a promise of them, and their `protocol`.

    With `baud`, questions and answers take as long as their bits (11 a byte, and `gap_bits` idle
    ones), and a meter begins to answer `response_s` after the question; without, nothing takes
    time. `has_echo`: the converter hands back what a master says.
    """

    def __init__(
        self,
        bus_id: str,
        meters: Sequence[Meter] | Callable[[], Sequence[Meter]],
        *,
        clock: Clock,
        protocol: str = "",
        host: str = "127.0.0.1",
        port: int = 0,
        baud: int | None = None,
        response_s: float = 0.0,
        gap_bits: int = 0,
        has_echo: bool = False,
        seed: int = 1,
    ):
        self.bus_id, self.clock, self._given = bus_id, clock, meters
        self.protocol = protocol or self._one_protocol()
        self.decode = _DECODERS[self.protocol]
        self.host, self.port = host, port
        self.response_s, self.has_echo = response_s, has_echo
        self.asked = 0
        self.wire = Wire(baud, gap_bits=gap_bits)
        self.wire.join(_Meters(self, random.Random(f"{seed}/{bus_id}")))
        self._server: asyncio.Server | None = None
        self._doors: set[Door] = set()

    def _one_protocol(self) -> str:
        protocols = {meter.protocol for meter in self.meters}
        if len(protocols) != 1:
            raise ValueError(
                f"bus {self.bus_id} needs meters of one protocol, not {sorted(protocols)}"
            )
        return protocols.pop()

    @cached_property
    def meters(self) -> list[Meter]:
        """All of them, made now where they were only promised."""
        return list(self._given() if callable(self._given) else self._given)

    @cached_property
    def _by_address(self) -> dict[str, list[Meter]]:
        """CJ/T 188 requests name their meter; M-Bus meters must all hear a selection."""
        found: dict[str, list[Meter]] = {}
        for meter in self.meters if self.protocol == "cjt188" else ():
            found.setdefault(meter.address, []).append(meter)
        return found

    @property
    def baud(self) -> int | None:
        return self.wire.baud

    @baud.setter
    def baud(self, baud: int | None) -> None:
        self.wire.baud = baud

    def meter(self, address: str) -> Meter:
        """The meter of that address. Raises KeyError."""
        for meter in self.meters:
            if meter.address == address:
                return meter
        raise KeyError(f"bus {self.bus_id} has no meter {address}")

    async def start(self) -> None:
        """Listen. Raises OSError, in one line, where the port is taken."""
        loop = asyncio.get_running_loop()
        try:
            self._server = await loop.create_server(lambda: Door(self), self.host, self.port)
        except OSError as error:
            reason = error.strerror or str(error)
            raise OSError(
                error.errno, f"bus {self.bus_id}: port {self.port} can not be used: {reason}"
            ) from error
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and hang up on everybody."""
        for door in list(self._doors):
            door.hang_up()
        await asyncio.sleep(0)
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    def door(self) -> Door:
        """One more way to the bus, to be given a transport: what a modem or a port carries."""
        return Door(self)

    def hearers(self, request: Any) -> Sequence[Meter]:
        """The meters a request can concern."""
        if not self._by_address or request.address.startswith("AA"):
            return self.meters
        return self._by_address.get(request.address, ())

    def opened(self, door: Door) -> None:
        self._doors.add(door)
        self.wire.join(door)

    def closed(self, door: Door) -> None:
        self._doors.discard(door)
        self.wire.leave(door)

    def hang_up(self) -> None:
        """The converter fails: every door slams."""
        for door in list(self._doors):
            door.hang_up()


class Door(asyncio.Protocol):
    """A master's way to the wire, and what the wire says back to it."""

    def __init__(self, bus: SimulatedBus):
        self._bus = bus
        self._transport: Any = None

    @property
    def hears_itself(self) -> bool:
        return self._bus.has_echo

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._bus.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._bus.closed(self)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._bus.wire.say(data, self)

    def hear(self, data: bytes, sender: object, lasted_s: float) -> None:
        if self._transport is not None:
            self._transport.write(data)


class _Meters:
    """All meters of a bus as one listener: they hear questions, and answer with their faults."""

    hears_itself = False

    def __init__(self, bus: SimulatedBus, dice: random.Random):
        self._bus, self._dice = bus, dice
        self._buffer = b""
        self._heard_at = 0.0
        self._last_said = b""

    def hear(self, data: bytes, sender: object, lasted_s: float) -> None:
        if not isinstance(sender, Door):
            return  # a meter's answer is no question to another
        now = asyncio.get_running_loop().time()
        if now - lasted_s - self._heard_at > QUIET_S:
            self._buffer = b""
        self._heard_at = now
        self._buffer += data
        while self._buffer:
            try:
                request, consumed = self._bus.decode(self._buffer)
            except FrameError as error:
                self._buffer = self._buffer[error.consumed :]
                continue
            frame, self._buffer = self._buffer[:consumed], self._buffer[consumed:]
            if request is None:
                return
            self._ask(request, frame)

    def _ask(self, request: Any, frame: bytes) -> None:
        self._bus.asked += 1
        now = self._bus.clock.now()
        for meter in self._bus.hearers(request):
            answer = meter.answer(request, now)
            if answer is not None:
                self._reply(meter, request, frame, answer, now)

    def _reply(
        self, meter: Meter, request: Any, frame: bytes, answer: bytes, now: datetime
    ) -> None:
        fault = meter.faults.next()
        if fault is None:
            self._do(meter, self._bus.response_s, answer)
            return
        occasion = Occasion(
            answer,
            question=frame,
            stranger=lambda: meter.stranger(request, now) or b"",
            previous=self._last_said,
            dice=self._dice,
        )
        for delay_s, piece in EFFECTS[fault](occasion):
            self._do(meter, delay_s + self._bus.response_s, piece)

    def _do(self, meter: Meter, delay_s: float, piece: bytes | Act) -> None:
        act = partial(self._now, meter, piece)
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, act)
        else:
            act()

    def _now(self, meter: Meter, piece: bytes | Act) -> None:
        if isinstance(piece, Act):
            self._bus.hang_up()
        else:
            self._last_said = piece
            self._bus.wire.say(piece, meter)
