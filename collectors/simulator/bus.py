"""A bus behind a serial server: many simulated meters on one TCP port."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from collectors.frames import FrameError, cjt188, mbus, modbus
from collectors.simulator import faults
from collectors.simulator.faults import Fault
from collectors.simulator.meters import Meter


class Clock(Protocol):
    """Tells the simulated time, aware of its zone."""

    def now(self) -> datetime: ...


_DECODERS: dict[str, Any] = {
    "cjt188": cjt188.decode,
    "mbus": mbus.decode,
    "modbus": partial(modbus.decode_rtu, side="request"),
    "modbus_tcp": partial(modbus.decode_tcp, side="request"),
}


class SimulatedBus:
    """Meters of one protocol on one TCP port of `host`; port 0 takes a free one.

    Every connection hears every meter, as on a real wire. With `baud`, an answer takes as long
    as the bits of question and answer would (11 a byte); without, none.
    """

    def __init__(
        self,
        bus_id: str,
        meters: Sequence[Meter],
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        port: int = 0,
        baud: int | None = None,
    ):
        protocols = {meter.protocol for meter in meters}
        if len(protocols) != 1:
            raise ValueError(f"bus {bus_id} needs meters of one protocol, not {sorted(protocols)}")
        self.bus_id, self.meters, self.clock = bus_id, list(meters), clock
        self.host, self.port, self.baud = host, port, baud
        self.protocol = protocols.pop()
        self.decode = _DECODERS[self.protocol]
        self.asked = 0
        # CJ/T 188 requests name their meter; M-Bus meters must all hear a selection.
        self._by_address = {m.address: m for m in meters} if self.protocol == "cjt188" else {}
        self._server: asyncio.Server | None = None
        self._lines: set[_Line] = set()

    def meter(self, address: str) -> Meter:
        """The meter of that address. Raises KeyError."""
        for meter in self.meters:
            if meter.address == address:
                return meter
        raise KeyError(f"bus {self.bus_id} has no meter {address}")

    async def start(self) -> None:
        """Listen. Raises OSError where the port is taken."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self), self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._server is None:
            return
        self._server.close()
        for line in list(self._lines):
            line.hang_up()
        await asyncio.sleep(0)
        await self._server.wait_closed()
        self._server = None

    def line(self) -> asyncio.Protocol:
        """One more connection to the bus, to be given a transport: what a modem carries."""
        return _Line(self)

    def hearers(self, request: Any) -> Sequence[Meter]:
        """The meters a request can concern."""
        if not self._by_address or request.address == cjt188.BROADCAST:
            return self.meters
        meter = self._by_address.get(request.address)
        return (meter,) if meter else ()

    def joined(self, line: _Line) -> None:
        self._lines.add(line)

    def left(self, line: _Line) -> None:
        self._lines.discard(line)


class _Line(asyncio.Protocol):
    """One connection to a bus."""

    def __init__(self, bus: SimulatedBus):
        self._bus = bus
        self._buffer = b""
        self._wire_s = 0.0  # how long the question under way was on the wire
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._bus.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._bus.left(self)

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
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
        self._wire_s = 11 * len(frame) / self._bus.baud if self._bus.baud else 0.0
        if fault is None:
            self._send(answer)
        elif fault is Fault.ECHO:
            self._send(frame + answer)
        elif fault is Fault.NOISE:
            self._send(_noise() + answer + _noise())
        elif fault is Fault.HALF_FRAME:
            self._send(answer[: len(answer) // 2])
        elif fault is Fault.BAD_CHECKSUM:
            self._send(_spoilt(answer))
        elif fault is Fault.WRONG_ADDRESS:
            self._send(meter.stranger(request, now) or b"")
        elif fault is Fault.SLOW:
            self._send(answer, delay_s=faults.SLOW_S)
        elif fault is Fault.DRIP:
            for n, byte in enumerate(answer):
                self._send(bytes((byte,)), delay_s=0.002 * (n + 1))
        elif fault is Fault.DISCONNECT:
            self.hang_up()

    def _send(self, data: bytes, *, delay_s: float = 0.0) -> None:
        if self._bus.baud:
            delay_s += self._wire_s + 11 * len(data) / self._bus.baud
        if delay_s:
            asyncio.get_running_loop().call_later(delay_s, self._write, data)
        else:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._transport is not None and data:
            self._transport.write(data)


def _noise() -> bytes:
    """A burst such as a badly ended line gives: any bytes but those that begin a frame, which
    would only make the answer late."""
    return bytes(random.choices([b for b in range(256) if b not in (0x10, 0x68, 0xE5)], k=7))


def _spoilt(answer: bytes) -> bytes:
    """The answer with its checksum off by one; an acknowledgement becomes another byte."""
    if len(answer) == 1:
        return b"\xa5"
    return answer[:-2] + bytes(((answer[-2] + 1) & 0xFF, answer[-1]))
