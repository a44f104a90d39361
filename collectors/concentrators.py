"""The collector's concentrators: one listener a process, sessions for their buses, and what
becomes of what they upload.

An upload is confirmed only after its readings are in the database or the spool; a terminal that
hears nothing sends it again, and a reading is its meter, kind and moment, so it stays one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from string import hexdigits

from prometheus_client import Counter

from backend.base.clock import Clock
from backend.config import Settings
from backend.metering.refused import Refusal
from backend.metering.service import MAX_BACKDATED
from collectors.concentrator_session import ConcentratorSession, freeze_of, stored_read
from collectors.dialling import NOBODY, Queue, Refusals, listen
from collectors.frames.dlt645_message import Credentials
from collectors.frames.qgdw3761 import Item, Message
from collectors.frames.qgdw3761_events import event_name
from collectors.frames.qgdw3761_tables import CLASS_1, CLASS_2, CLASS_3, PASSWORD_SIZE
from collectors.links.concentrator import ConcentratorLink, ConcentratorListener
from collectors.links.listener import Unasked
from collectors.reading import Asked, Outcome
from collectors.storing import Batch
from collectors.terminal import Terminal

log = logging.getLogger("nuan.concentrator")

UNASKED = Counter(
    "nuan_concentrator_unasked_total", "What concentrators and strangers sent unasked", ["outcome"]
)
SCHEME = "concentrator://"
PROTOCOL = "qgdw3761"
EVENT, UNKNOWN_POINT, UNREADABLE = "terminal_event", "unknown_point", "unreadable"
UNEXPECTED = "unexpected_upload"
WAITING = 1_000  # uploads; more are not confirmed, so they come again
REMEMBERED = 16  # of each terminal's uploads, to know a repeated event
AGAIN_S = 1.0


@dataclass(frozen=True, slots=True)
class ConcentratorSettings:
    """Where concentrators dial in, and how they are spoken to; port 0: none do."""

    host: str
    port: int
    timeout_s: float
    password: bytes | None

    @classmethod
    def of(cls, settings: Settings) -> ConcentratorSettings:
        """From the environment. Raises ValueError for a password of no known size."""
        digits = settings.concentrator_password
        sizes = {2 * size for size in PASSWORD_SIZE.values()}
        if digits and (len(digits) not in sizes or not set(digits) <= set(hexdigits)):
            raise ValueError("NUAN_CONCENTRATOR_PASSWORD has 32 hexadecimal digits (2005: 4)")
        word = bytes.fromhex(digits)
        return cls(
            settings.concentrator_host,
            settings.concentrator_port,
            settings.concentrator_timeout_s,
            word or None,
        )


class Concentrators:
    """Sessions for buses named concentrator://<a1>-<a2>.

    put         puts a batch where it is safe (`Storing.put`)
    outcomes    where refusals go
    meters_of   the meters of a bus, by its id
    """

    def __init__(
        self,
        settings: ConcentratorSettings,
        *,
        clock: Clock,
        put: Callable[[Batch], Awaitable[None]],
        outcomes: Queue,
        meters_of: Callable[[int], Sequence[Asked]],
        meter_s: float,
        credentials: Credentials | None = None,
    ):
        self.listener = ConcentratorListener(
            host=settings.host,
            port=settings.port,
            on_unasked=self._refuse,
            on_upload=self._take,
        )
        self._settings, self._clock, self._put, self._meters_of = settings, clock, put, meters_of
        self._meter_s, self._credentials = meter_s, credentials
        self._buses: dict[str, int] = {}
        self._refusals = Refusals(UNASKED, log, clock, outcomes)
        self._uploads: asyncio.Queue[tuple[ConcentratorLink, Message]] = asyncio.Queue(WAITING)
        self._seen: dict[str, deque[bytes]] = {}
        self._taking: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen, unless the port is 0. Raises CannotListen where it is taken."""
        if self._settings.port:
            await listen(self.listener, "concentrators", "NUAN_CONCENTRATOR_PORT", log)
            self._taking = asyncio.create_task(self._take_all())

    def bus_of(self, device_id: str) -> int | None:
        """The bus a device carries."""
        return self._buses.get(device_id)

    async def stop(self) -> None:
        """Hang up on all; what is not stored is not confirmed, and comes again."""
        await self.listener.stop()
        if self._taking is not None:
            self._taking.cancel()
            with suppress(asyncio.CancelledError):
                await self._taking

    def session(self, bus_id: int, address: str) -> ConcentratorSession:
        """The session of a bus. Raises ValueError for an address that is none, or whose
        terminal is another bus's."""
        if not self._settings.port:
            raise ValueError("no concentrator can dial in: NUAN_CONCENTRATOR_PORT is 0")
        link = self.listener.link(address.removeprefix(SCHEME))
        self._buses[link.device_id] = bus_id
        terminal = Terminal(
            link, timeout_s=self._settings.timeout_s, password=self._settings.password
        )
        return ConcentratorSession(
            terminal,
            clock=self._clock,
            meter_s=self._meter_s,
            credentials=self._credentials,
            on_events=self._take,
        )

    def _refuse(self, unasked: Unasked) -> None:
        self._refusals.refuse(unasked, self._buses.get(unasked.device_id), PROTOCOL)

    # Uploads --------------------------------------------------------------------------------

    def _take(self, link: ConcentratorLink, message: Message) -> None:
        try:
            self._uploads.put_nowait((link, message))
        except asyncio.QueueFull:
            UNASKED.labels("try_again").inc()

    async def _take_all(self) -> None:
        """Store uploads and confirm them, one after another, for ever."""
        while True:
            link, message = await self._uploads.get()
            seen = self._seen.setdefault(link.device_id, deque(maxlen=REMEMBERED))
            try:
                if message.raw not in seen:
                    await self._store(link.device_id, message)
                    seen.append(message.raw)
            except Exception:  # whatever it is, the next terminal is heard
                log.exception("an upload could not be taken in", extra={"from": link.device_id})
                continue
            if message.wants_confirm:
                link.confirm(message)

    async def _store(self, device_id: str, message: Message) -> None:
        bus_id, now = self._buses.get(device_id, NOBODY), self._clock.now()
        told = understand(message, bus_id, self._meters_of(bus_id), now)
        UNASKED.labels("read").inc(len(told.read.readings))
        for refusal in told.kept.refused:
            UNASKED.labels(refusal.code).inc()
            log.warning(
                "uploaded by a concentrator",
                extra={"from": device_id, "code": refusal.code, "why": refusal.reason},
            )
        if told.read.readings:
            await self._put_at_last([(bus_id, now, told.read)])
        if told.kept.refused:
            await self._put_at_last([(NOBODY, now, told.kept)])

    async def _put_at_last(self, batch: Batch) -> None:
        while True:
            try:
                await self._put(batch)
                return
            except Exception:
                log.exception("an upload is not safe yet; trying again")
                await asyncio.sleep(AGAIN_S)


@dataclass(slots=True)
class Told:
    """What an upload says: readings of the bus's meters, and what a person should see."""

    read: Outcome = field(default_factory=Outcome)
    kept: Outcome = field(default_factory=Outcome)


def understand(message: Message, bus_id: int, meters: Sequence[Asked], now: datetime) -> Told:
    """What a terminal says by itself: registers now or frozen, and events. Never raises."""
    told = Told()
    by_point = {a.target.point.number: a for a in meters if a.target.point is not None}

    def keep(code: str, reason: str) -> None:
        told.kept.refused.append(
            Refusal(bus_id or None, code, reason, message.raw, now, protocol=PROTOCOL)
        )

    if message.afn not in (CLASS_1, CLASS_2, CLASS_3):
        keep(UNEXPECTED, f"AFN {message.afn:02X} F{message.functions}")
    for item in message.items:
        if message.afn == CLASS_3:
            for code in _events(item):
                keep(EVENT, f"ERC{code} {event_name(code)}")
        elif (asked := by_point.get(item.pn)) is None:
            keep(UNKNOWN_POINT, f"no meter is point {item.pn} of this concentrator")
        elif not item.is_missing and message.afn in (CLASS_1, CLASS_2):
            _take_item(asked, item, message, now, told, keep)
    return told


def _take_item(
    asked: Asked,
    item: Item,
    message: Message,
    now: datetime,
    told: Told,
    keep: Callable[[str, str], None],
) -> None:
    freeze = freeze_of(item)
    target = replace(asked.target, freeze=freeze)
    read = stored_read(target, item, message.raw, now, fresh=MAX_BACKDATED)
    is_wanted = freeze is not None or message.afn == CLASS_1
    if read is None or not is_wanted:
        keep(UNREADABLE, f"p{item.pn} F{item.fn}: no register of a known moment")
        return
    told.read.add(asked, read)


def _events(item: Item) -> list[int]:
    return [row["code"] for row in (item.values or {}).get("events", ()) if row["code"] is not None]
