"""Conversations with a concentrator that stores (Q/GDW 376.1), in place of a `Session`.

What the terminal has in its store (electricity: current, frozen days and months) is asked of it,
many points in one question; every other meter, and what the store does not have, is asked through
it (AFN 10) in the meter's own protocol. One question at a time, as on any bus.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any, Final

from collectors.dialects import BAD_TARGET, LOCAL, Freeze, Hearing, Point, Step, Target
from collectors.frames.dlt645_message import Credentials
from collectors.frames.qgdw3761 import Item, Message
from collectors.frames.qgdw3761_archive import port_control
from collectors.frames.qgdw3761_encode import Unit
from collectors.frames.qgdw3761_series import Answer
from collectors.frames.qgdw3761_tables import CLASS_1, CLASS_2, CLASS_3
from collectors.links.concentrator import ConcentratorLink
from collectors.links.link import LinkDown
from collectors.session import GARBLED, LINK_DOWN, SILENT, Clock, Failed, Heard, Read, Session
from collectors.terminal import ForwardLink, NoAnswer, Terminal, in_parts

CURRENT, DAY, MONTH = 129, 161, 177  # F: forward active energy, now and frozen
ELECTRICITY: Final = 0x40  # the one kind a terminal reads itself
FRESH: Final = timedelta(hours=2)  # older than this, a stored register is no current one
AHEAD: Final = timedelta(minutes=10)  # of us, where the terminal's clock is wrong
_SAYS_NOTHING: Final = (LINK_DOWN, SILENT, GARBLED)
POINTS: Final = 20  # of one question; their answer fits a packet or two


class ConcentratorSession:
    """A `Conversation` with the meters of one terminal.

    meter_s      what the terminal gives a meter behind it to answer
    on_events    takes the frames of an event log that was asked for
    credentials  who orders DL/T 645 relays; None: such an order is refused before it is sent
    """

    at_once: int = POINTS

    def __init__(
        self,
        terminal: Terminal,
        *,
        clock: Clock,
        meter_s: float = 3.0,
        credentials: Credentials | None = None,
        on_events: Callable[[ConcentratorLink, Message], None] = lambda link, message: None,
    ):
        self.terminal = terminal
        self._on_events = on_events
        self._clock, self._meter_s, self._credentials = clock, meter_s, credentials
        self._turn = asyncio.Lock()
        self._ports: dict[tuple[int, int], Session] = {}

    # Conversation ---------------------------------------------------------------------------

    async def read(self, target: Target) -> Read | Failed:
        """Read one meter: from the terminal's store, else through it; never raises."""
        return (await self.read_many([target]))[0]

    async def read_many(self, targets: Sequence[Target]) -> list[Read | Failed]:
        """Read meters, those the terminal has stored POINTS at a time; never raises."""
        stored = await self._stored(targets)
        await self._ask_events()
        results: list[Read | Failed] = []
        for target in targets:
            found = stored.get(target)
            results.append(found or await self._through(target))
        return results

    async def order_supply(
        self, target: Target, *, is_open: bool, not_after: datetime
    ) -> Read | Failed:
        """Order a valve or relay through the terminal, once; never raises."""
        async with self._turn:
            session = self._session(target)
            if isinstance(session, Failed):
                return session
            return await session.order_supply(target, is_open=is_open, not_after=not_after)

    def on_port(self, point: Point) -> Port:
        """Conversations with whatever hangs on a port (the point's number is nobody's). Raises
        ValueError for a rate no port has."""
        return Port(self._turn, self._on(point))

    async def close(self) -> None:
        """Let the terminal go, once the conversation under way has ended."""
        async with self._turn:
            await self.terminal.link.close()

    async def put(self, afn: int, units: Sequence[Unit], *, confirm: bool = False) -> Answer:
        """A request to the terminal itself, in its turn. Raises NoAnswer and LinkDown."""
        async with self._turn:
            return await self.terminal.ask(afn, units, confirm=confirm)

    # The terminal's store -------------------------------------------------------------------

    async def _stored(self, targets: Sequence[Target]) -> dict[Target, Read | Failed]:
        """What the store has of these; what it has not is left out. A dead wire or a terminal
        that says nothing is one for all of them, also those that are asked through it."""
        found: dict[Target, Read | Failed] = {}
        for part in in_parts(filter(_is_stored, targets), POINTS):
            try:
                found |= await self._ask_store(part)
            except (NoAnswer, LinkDown) as error:
                reason = error.code if isinstance(error, NoAnswer) else LINK_DOWN
                if reason not in _SAYS_NOTHING:
                    continue  # it may have its meters read through it all the same
                at = self._clock.now()
                return {t: Failed(t, reason, str(error), at) for t in targets} | found
        return found

    async def _ask_store(self, targets: Sequence[Target]) -> dict[Target, Read | Failed]:
        found: dict[Target, Read | Failed] = {}
        for afn, wanted in _by_class(targets).items():
            answer = await self.put(afn, [unit for unit, _ in wanted])
            now = self._clock.now()
            for item in answer.items:
                for unit, target in wanted:
                    if _is_answer(item, unit):
                        read = stored_read(target, item, answer.raw_of(item), now)
                        found |= {target: read} if read else {}
        return found

    async def _ask_events(self) -> None:
        """Fetch the important events the terminal has said it has and not told (ACD, §4.3.4.2);
        of a log that was never seen the newest one."""
        link = self.terminal.link
        newest, told = link.events, link.events_told
        if newest is None or newest == told:
            return
        link.events_told = newest  # asked once: a terminal that has none does not hold us up
        first = (newest - 1) & 0xFF if told is None else told
        with suppress(NoAnswer, LinkDown):
            answer = await self.put(CLASS_3, [(0, 1, {"first": first, "last": newest})])
            for frame in answer.frames:
                self._on_events(link, frame)

    # Through the terminal -------------------------------------------------------------------

    async def _through(self, target: Target) -> Read | Failed:
        async with self._turn:
            session = self._session(target)
            return session if isinstance(session, Failed) else await session.read(target)

    def _session(self, target: Target) -> Session | Failed:
        """The session of the port a meter hangs on."""
        try:
            if target.point is None:
                raise ValueError("the meter's options name no measuring point")
            return self._on(target.point)
        except ValueError as error:
            return Failed(target, BAD_TARGET, str(error), self._clock.now())

    def _on(self, point: Point) -> Session:
        control = port_control(point.baud, point.parity)
        key = point.port, control
        if key not in self._ports:
            link = ForwardLink(self.terminal, point.port, control, meter_s=round(self._meter_s))
            self._ports[key] = Session(
                link,
                clock=self._clock,
                timeout_s=self.terminal.timeout_s + self._meter_s,
                retries=1,
                credentials=self._credentials,
            )
        return self._ports[key]


class Port:
    """One of a terminal's ports, for a search: a conversation is about no meter yet known."""

    def __init__(self, turn: asyncio.Lock, session: Session):
        self._turn, self._session = turn, session

    async def ask(
        self, dialect: Hearing, steps: Sequence[Step], *, retries: int | None = None
    ) -> Heard:
        """One conversation, when the terminal is free; see `Session.ask`."""
        async with self._turn:
            return await self._session.ask(dialect, steps, retries=retries)


def _is_stored(target: Target) -> bool:
    """Whether the terminal may have what is asked: of its own meters, and not how the relay is."""
    return (
        target.point is not None
        and target.meter_type == ELECTRICITY
        and not target.with_supply
        and (target.freeze is None or _unit(target) is not None)
    )


def _by_class(targets: Sequence[Target]) -> dict[int, list[tuple[Unit, Target]]]:
    """Data units by their application function, and whom they are for."""
    found: dict[int, list[tuple[Unit, Target]]] = {}
    for target in targets:
        unit = _unit(target)
        if unit is not None:
            afn = CLASS_2 if target.freeze else CLASS_1
            found.setdefault(afn, []).append((unit, target))
    return found


def _unit(target: Target) -> Unit | None:
    """The data unit that has a target's register; None where a terminal keeps none such.

    A terminal's day and month freezes are the registers at their ends (Td_d, Td_m, §5.13.1), so a
    freeze at the midnight a day begins with is that of the day before.
    """
    assert target.point is not None
    number, freeze = target.point.number, target.freeze
    if freeze is None:
        return number, CURRENT, None
    before = freeze.on - timedelta(days=1)
    if freeze.period == "day":
        return number, DAY, {"freeze_day": before}
    is_month_end = freeze.on.day == 1  # a settlement day of its own is the meter's, not a month's
    return (number, MONTH, {"freeze_month": f"{before:%Y-%m}"}) if is_month_end else None


def _is_answer(item: Item, unit: Unit) -> bool:
    """The same point and function, and the same day or month where one was asked for."""
    pn, fn, values = unit
    if (item.pn, item.fn) != (pn, fn) or item.values is None:
        return False
    return all(item.values.get(name) == value for name, value in (values or {}).items())


def stored_read(
    target: Target, item: Item, raw: bytes, now: datetime, *, fresh: timedelta = FRESH
) -> Read | None:
    """The reading in a data unit: at the moment the terminal read it, or at its freeze; None
    where it has no register, or one that is ahead of us or older than `fresh`."""
    values = item.values or {}
    energy = energy_wh(values)
    read_at = utc(values.get("reading_time"))
    if energy is None or read_at is None or read_at > now + AHEAD:
        return None
    frozen_at = target.freeze.at if target.freeze else None
    if (frozen_at is None and read_at < now - fresh) or (frozen_at and frozen_at > now):
        return None
    return Read(target, {"energy_wh": energy}, raw, read_at, frozen_at=frozen_at)


def energy_wh(values: dict[str, Any]) -> int | None:
    """The total of forward active energy; tariffs follow it."""
    kwh: Decimal | None = (values.get("forward_active_kwh") or (None,))[0]
    if kwh is None:
        return None
    return int((kwh * 1_000).quantize(Decimal(1), ROUND_HALF_UP))


def utc(wall: datetime | None) -> datetime | None:
    """A terminal's wall time (Asia/Shanghai) as an instant."""
    return wall.replace(tzinfo=LOCAL) if wall else None


def freeze_of(item: Item) -> Freeze | None:
    """Which freeze a data unit is; None for a current value, or one without its day."""
    values = item.values or {}
    day, month = values.get("freeze_day"), values.get("freeze_month")
    if day is not None:
        return Freeze("day", day + timedelta(days=1))
    if month is not None:
        first = date.fromisoformat(f"{month}-01")
        return Freeze("month", (first + timedelta(days=31)).replace(day=1))
    return None
