"""Simulated concentrators: Q/GDW 376.1 terminals that dial in, with meters on their ports.

A terminal logs in, beats, holds the archive that is downloaded to it, reads its electricity
meters into its store, keeps 31 days' and 12 months' freezes of them, hands frames through to
whatever hangs on its ports, and uploads by itself; with faults to order.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, Final

from collectors.frames import FrameError, qgdw3761
from collectors.frames.qgdw3761 import Message
from collectors.frames.qgdw3761_encode import (
    ANSWER_SIZE,
    HEARTBEAT,
    LOGIN,
    LOGOUT,
    Address,
    Unit,
    encode_answers,
    encode_confirm,
    encode_link,
    encode_upload,
)
from collectors.frames.qgdw3761_tables import (
    CLASS_1,
    CLASS_2,
    CLASS_3,
    CONFIRM,
    CONTROL,
    FORWARD,
    PASSWORD_SIZE,
    QUERY,
    SET,
    V2009,
)
from collectors.simulator.bus import Clock, SimulatedBus
from collectors.simulator.dialler import Call, Dialler
from collectors.simulator.faults import DtuFault, Fault, FaultPlan, Occasion
from collectors.simulator.terminal_store import Store
from collectors.simulator.times import LOCAL

REPEAT_S: Final = 1.0  # until an upload is confirmed
METER_S: Final = 0.25  # what a meter on a port is given to answer a forwarded frame

LINK_STATE: Final = 0x0B  # function code of what confirms logins and heartbeats
VERSION: Final = {
    "maker": "NUAN",
    "device": "SIM00001",
    "software": "1.00",
    "software_day": date(2026, 11, 1),
    "capacity": "DJGZ221002R",
    "protocol": "3761",
    "hardware": "1.00",
    "hardware_day": date(2026, 11, 1),
}


class SimulatedConcentrator(Dialler):
    """A terminal that dials host:port, with a `SimulatedBus` (not listening) on each port.

    address         A1 and A2, as buses name it: "0171-2082"
    login_s         waited between dialling and logging in
    frame_size      bytes of data units in a frame of an answer
    password        PW it wants in orders; None takes any
    repeats         how often an upload is sent that nobody confirms
    faults          what befalls its answers, in turn; None is no fault
    clock_ahead     by how much its own clock is wrong, until it is set
    """

    def __init__(
        self,
        buses: Mapping[int, SimulatedBus],
        address: str,
        port: int,
        *,
        clock: Clock,
        host: str = "127.0.0.1",
        heartbeat_s: float = 60.0,
        redial_s: float = 0.1,
        login_s: float = 0.0,
        frame_size: int = ANSWER_SIZE,
        version: int = V2009,
        password: bytes | None = None,
        clock_ahead: timedelta = timedelta(0),
        repeats: int = 3,
        faults: Sequence[Fault | DtuFault | None] = (),
    ):
        super().__init__(host, port, heartbeat_s=heartbeat_s, redial_s=redial_s)
        a1, _, a2 = address.partition("-")
        self.name, self.address, self.version = address, Address(a1, int(a2)), version
        self.buses, self.clock = dict(buses), clock
        self.login_s, self.frame_size, self.password = login_s, frame_size, password
        self.clock_ahead, self.repeats = clock_ahead, repeats
        self.store = Store(self.buses)
        self.events: list[tuple[int, bytes]] = []  # important ones: ERC and record
        self.counts: Counter[str] = Counter()  # requests by AFN and what they came to
        self.faults = FaultPlan(faults)
        self.is_logged_in = False
        self._number = 0
        self._unconfirmed: dict[int, asyncio.Task[None]] = {}

    def _call(self) -> _Line:
        return _Line(self)

    async def stop(self) -> None:
        for task in self._unconfirmed.values():
            task.cancel()
        await super().stop()

    def wall(self, at: datetime) -> datetime:
        """The terminal's own wall time (Asia/Shanghai, naive) at a moment."""
        return (at + self.clock_ahead).astimezone(LOCAL).replace(tzinfo=None)

    def link_frame(self, function: int) -> bytes:
        """LOGIN, LOGOUT or HEARTBEAT under a number of its own; the first after a STRANGER fault
        is another terminal's."""
        frame = encode_link(self.address, function, number=self._next(), version=self.version)
        if not self.is_stranger:
            return frame
        self.is_stranger = False
        return _readdressed(frame)

    def closed(self, call: Call) -> None:
        self.is_logged_in = self.is_logged_in and not call.is_current
        super().closed(call)

    def log_out(self) -> None:
        """Say goodbye; the master hangs up."""
        self.send(self.link_frame(LOGOUT))

    def _next(self) -> int:
        self._number = (self._number + 1) & 0x0F
        return self._number

    # Uploads --------------------------------------------------------------------------------

    def upload(self, points: Sequence[int], on: date | None = None) -> None:
        """Send points' current registers by itself, or those frozen at the end of the day `on`;
        again every REPEAT_S until the master confirms."""
        at = self.clock.now()
        if on is None:
            afn, units = CLASS_1, self.store.current(points, at, self.wall(at))
        else:
            afn, units = CLASS_2, [self.store.frozen_day(p, on, at) for p in points]
        self._send_until_confirmed(afn, units)

    def report_event(self, code: int, record: bytes) -> None:
        """An important event, which is sent by itself and can be asked for."""
        self.events.append((code, record))
        last = len(self.events)
        self._send_until_confirmed(CLASS_3, [self._events({"first": last - 1, "last": last})])

    def _send_until_confirmed(self, afn: int, units: Sequence[Unit]) -> None:
        number = self._next()
        counters = (len(self.events) & 0xFF, 0) if self.events else None
        frame = encode_upload(
            self.address, afn, units, number=number, events=counters, version=self.version
        )
        self._unconfirmed[number] = asyncio.create_task(self._repeat(frame))

    async def _repeat(self, frame: bytes) -> None:
        for _ in range(self.repeats):
            self.counts["uploads_sent"] += 1
            self.send(frame)
            await asyncio.sleep(REPEAT_S)

    def confirmed(self, message: Message) -> None:
        """The master has confirmed what was sent under that number."""
        self.counts["confirmed"] += 1
        if message.control & 0x0F == LINK_STATE:
            self.is_logged_in = True
            return  # a login or heartbeat, which count their frames with the uploads
        if task := self._unconfirmed.pop(message.number, None):
            self.counts["uploads_confirmed"] += 1
            task.cancel()

    # Requests -------------------------------------------------------------------------------

    async def answer(self, request: Message) -> list[bytes]:
        """The frames of the answer; none for what is not understood."""
        self.counts[f"afn_{request.afn:02X}"] += 1
        if request.afn in (SET, CONTROL, FORWARD) and not self._admits(request):
            return [encode_confirm(request, is_good=False)]
        if request.afn in (SET, CONTROL):
            return [encode_confirm(request, is_good=self._obey(request))]
        units = await self._units(request)
        if not units:
            return [encode_confirm(request, is_good=False)]
        events = (len(self.events) & 0xFF, 0) if self.events else None
        return encode_answers(request, units, size=self.frame_size, events=events)

    def _admits(self, request: Message) -> bool:
        wanted = self.password or bytes(PASSWORD_SIZE[self.version])
        return self.password is None or request.password == wanted

    def _obey(self, request: Message) -> bool:
        """Carry out settings and orders; whether all were understood."""
        done = [self._obeys(request.afn, item) for item in request.items]
        return all(done)

    def _obeys(self, afn: int, item: qgdw3761.Item) -> bool:
        if item.values is None:
            return False
        if (afn, item.fn) == (CONTROL, 31) and item.values["clock"] is not None:
            real = self.clock.now().astimezone(LOCAL).replace(tzinfo=None)
            self.clock_ahead = item.values["clock"] - real
            return True
        return afn == SET and self.store.set(item.pn, item.fn, item.values)

    async def _units(self, request: Message) -> list[Unit]:
        if request.afn == FORWARD:
            return await self._forward(request)
        found: list[Unit] = []
        for item in request.items:
            found += self._unit(request.afn, item)
        return found

    def _unit(self, afn: int, item: qgdw3761.Item) -> list[Unit]:
        at, values = self.clock.now(), item.values or {}
        if (afn, item.fn) == (CLASS_1, 1):
            return [(0, 1, VERSION)]
        if (afn, item.fn) == (CLASS_1, 2):
            return [(0, 2, {"clock": self.wall(at)})]
        if (afn, item.fn) == (CLASS_1, 129):
            return self.store.current([item.pn], at, self.wall(at))
        if (afn, item.fn) == (CLASS_2, 161):
            return [self.store.frozen_day(item.pn, values["freeze_day"], at)]
        if (afn, item.fn) == (CLASS_2, 177):
            return [self.store.frozen_month(item.pn, values["freeze_month"], at)]
        if (afn, item.fn) == (CLASS_3, 1):
            return [self._events(values)]
        return self.store.get(item.pn, item.fn, values) if afn == QUERY else []

    def _events(self, values: Mapping[str, Any]) -> Unit:
        rows = self.events[values["first"] : values["last"]]
        records = [{"code": code, "record": record} for code, record in rows]
        counters = {"important_events": len(self.events) & 0xFF, "general_events": 0}
        return 0, 1, {**counters, **values, "events": records}

    async def _forward(self, request: Message) -> list[Unit]:
        """What a meter on the port answers; nothing where none does."""
        item = request.items[0]
        bus = self.buses.get(item.values["port"]) if item.values else None
        if bus is None or item.values is None:
            return []
        inner = await _ask(bus, item.values["inner"])
        return [(0, 1, {"port": item.values["port"], "inner": inner})] if inner else []


class _Line(Call):
    """One connection of a terminal."""

    def __init__(self, terminal: SimulatedConcentrator):
        super().__init__(terminal)
        self._terminal = terminal
        self._buffer = self._said = b""
        self._login: asyncio.TimerHandle | None = None
        self._working: set[asyncio.Task[None]] = set()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        later = asyncio.get_running_loop().call_later
        self._login = later(self._terminal.login_s, lambda: self.say(self._frame(LOGIN)))

    def connection_lost(self, exc: Exception | None) -> None:
        if self._login is not None:
            self._login.cancel()
        super().connection_lost(exc)

    def _frame(self, function: int) -> bytes:
        return self._terminal.link_frame(function)

    def heartbeat(self) -> bytes:
        return self._frame(HEARTBEAT)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._buffer:
            try:
                message, consumed = qgdw3761.decode(self._buffer)
            except FrameError as error:
                self._buffer = self._buffer[error.consumed :]
                continue
            self._buffer = self._buffer[consumed:]
            if message is None:
                return
            self._take(message)

    def _take(self, message: Message) -> None:
        terminal = self._terminal
        if (message.a1, message.a2) != (terminal.address.a1, terminal.address.a2) or message.is_up:
            terminal.counts["not_mine"] += 1
        elif message.afn == CONFIRM:
            terminal.confirmed(message)
        else:
            task = asyncio.create_task(self._reply(message))
            self._working.add(task)
            task.add_done_callback(self._working.discard)

    async def _reply(self, request: Message) -> None:
        for frame in await self._terminal.answer(request):
            self._send(frame, request.raw)

    def _send(self, frame: bytes, question: bytes) -> None:
        """Send a frame of an answer, in the way the next fault says."""
        occasion = Occasion(
            frame,
            question=question,
            stranger=lambda: _readdressed(frame),
            previous=self._said,
            beat=self.heartbeat(),
        )
        self._said = frame
        self.reply(occasion, self._terminal.faults.next())


def _readdressed(frame: bytes) -> bytes:
    """The same good frame from the terminal with the next number."""
    other = bytearray(frame)
    other[9] = (other[9] + 1) & 0xFF
    other[-2] = sum(other[6:-2]) & 0xFF
    return bytes(other)


class _Port(asyncio.Transport):
    """What a bus takes for its socket while a frame is handed through."""

    def __init__(self, heard: bytearray, some: asyncio.Event):
        super().__init__()
        self._heard, self._some = heard, some

    def write(self, data: Any) -> None:
        self._heard += data
        self._some.set()

    def abort(self) -> None:
        self._some.set()


async def _ask(bus: SimulatedBus, frame: bytes) -> bytes:
    """What the bus answers within METER_S."""
    heard, some = bytearray(), asyncio.Event()
    door = bus.door()
    door.connection_made(_Port(heard, some))
    door.data_received(frame)
    try:
        await asyncio.wait_for(some.wait(), METER_S)
        await asyncio.sleep(0)
    except TimeoutError:
        pass
    door.connection_lost(None)
    return bytes(heard)
