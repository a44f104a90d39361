"""The collector's DTUs: one listener a process, and what becomes of what they send unasked."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from prometheus_client import Counter

from backend.base.clock import Clock
from collectors.dialling import Queue, Refusals, listen
from collectors.frames.dtu import signal_dbm
from collectors.links import Link, link_of
from collectors.links.dtu import PUSH, SIGNAL, DtuListener, Unasked
from collectors.reading import Asked, Outcome
from collectors.unasked import Heard, NotBelieved, believe, messages

log = logging.getLogger("nuan.dtu")

UNASKED = Counter("nuan_dtu_unasked_total", "What DTUs and strangers sent unasked", ["outcome"])
SCHEME = "dtu://"


class Dtus:
    """Links for buses named dtu://<id>; readings and refusals go to `outcomes`.

    meters_of   the meters of a bus, by its id
    answer_s    how long after a question bytes are its answer's
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        clock: Clock,
        outcomes: Queue,
        meters_of: Callable[[int], Sequence[Asked]],
        answer_s: float,
    ):
        self.listener = DtuListener(host=host, port=port, on_unasked=self._take, answer_s=answer_s)
        self._is_on = port != 0
        self._clock, self._meters_of = clock, meters_of
        self._buses: dict[str, int] = {}
        self._refusals = Refusals(UNASKED, log, clock, outcomes)

    async def start(self) -> None:
        """Listen, unless the port is 0. Raises CannotListen where it is taken."""
        if self._is_on:
            await listen(self.listener, "DTUs", "NUAN_DTU_PORT", log)

    async def stop(self) -> None:
        """Hang up on all."""
        await self.listener.stop()

    def bus_of(self, device_id: str) -> int | None:
        """The bus a device carries."""
        return self._buses.get(device_id)

    def link(self, bus_id: int, address: str) -> Link:
        """The link of any bus: a DTU's, or what `link_of` makes of the address.

        Raises ValueError for one that is none, or whose DTU is another bus's.
        """
        if not address.startswith(SCHEME):
            return link_of(address)
        if not self._is_on:
            raise ValueError("no DTU can dial in: NUAN_DTU_PORT is 0")
        link = self.listener.link(address.removeprefix(SCHEME))
        self._buses[link.device_id] = bus_id
        return link

    def _take(self, unasked: Unasked) -> None:
        """Readings of meters we know are stored; all else is counted, logged and kept raw."""
        now, bus_id = self._clock.now(), self._buses.get(unasked.device_id)
        if bus_id is not None and self._take_signal(unasked, bus_id, now):
            return
        if unasked.code == PUSH and bus_id is not None:
            outcome = understand(unasked.raw, self._meters_of(bus_id), now)
            if outcome.readings:
                UNASKED.labels("read").inc(len(outcome.readings))
                self._refusals.put(bus_id, now, outcome)
                return
        self._refusals.refuse(unasked, bus_id)

    def _take_signal(self, unasked: Unasked, bus_id: int, now: datetime) -> bool:
        """How well a known DTU hears its network, where it tells."""
        dbm = signal_dbm(unasked.raw) if unasked.code in (PUSH, SIGNAL) else None
        if dbm is None:
            return False
        UNASKED.labels("signal").inc()
        self._refusals.put(bus_id, now, Outcome(signal_dbm=dbm))
        return True


def understand(raw: bytes, meters: Sequence[Asked], now: datetime) -> Outcome:
    """The readings in bytes that came unasked: answers which one of these meters would have given
    to a question for its current values."""
    outcome = Outcome()
    heard: dict[tuple[str, str], list[Heard]] = {}  # decoded once, however many meters there are
    for asked in meters:
        key = asked.target.protocol, asked.target.profile
        try:
            if key not in heard:
                heard[key] = messages(asked.target, raw)
        except ValueError:
            continue  # a meter nobody can ask; reading it by plan says so
        for one in reversed(heard[key]):
            with suppress(NotBelieved):
                outcome.add(asked, believe(asked, asked.target, one, now))
                break
    return outcome
