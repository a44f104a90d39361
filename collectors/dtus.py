"""The collector's DTUs: one listener a process, and what becomes of what they send unasked."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime

from prometheus_client import Counter

from backend.base.clock import Clock
from backend.metering.refused import Refusal
from collectors.links import Link, link_of
from collectors.links.dtu import PUSH, Allowance, DtuListener, Unasked
from collectors.reading import Asked, Outcome
from collectors.unasked import Heard, NotBelieved, believe, messages

log = logging.getLogger("nuan.dtu")

UNASKED = Counter("nuan_dtu_unasked_total", "What DTUs and strangers sent unasked", ["outcome"])
SCHEME = "dtu://"
NOBODY = 0  # the bus of what is no bus's
KEPT, KEPT_PER_S = 100, 0.2  # refusals kept and logged; the rest is counted

Queue = asyncio.Queue[tuple[int, datetime, Outcome]]


class NoDtus(Exception):
    """No DTU can dial in; the message says why, in one line."""


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
        self._clock, self._outcomes, self._meters_of = clock, outcomes, meters_of
        self._buses: dict[str, int] = {}
        self._kept = Allowance(KEPT, KEPT_PER_S)

    async def start(self) -> None:
        """Listen, unless the port is 0. Raises NoDtus where it is taken."""
        if self._is_on:
            try:
                await self.listener.start()
            except OSError as error:
                raise NoDtus(error.strerror or str(error)) from error
            log.info("DTUs may dial in", extra={"port": self.listener.port})

    async def stop(self) -> None:
        """Hang up on all."""
        await self.listener.stop()

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
        if unasked.code == PUSH and bus_id is not None:
            outcome = understand(unasked.raw, self._meters_of(bus_id), now)
            if outcome.readings:
                UNASKED.labels("read").inc(len(outcome.readings))
                self._put(bus_id, now, outcome)
                return
        UNASKED.labels(unasked.code).inc()
        if self._kept.take(""):
            log.warning(
                "refused from a DTU",
                extra={"code": unasked.code, "why": unasked.detail, "raw": unasked.raw.hex()},
            )
            refusal = Refusal(bus_id, unasked.code, unasked.detail, unasked.raw, now)
            self._put(NOBODY, now, Outcome(refused=[refusal]))

    def _put(self, bus_id: int, now: datetime, outcome: Outcome) -> None:
        """Nobody waits for these, so where the database is far behind they are let go."""
        try:
            self._outcomes.put_nowait((bus_id, now, outcome))
        except asyncio.QueueFull:
            UNASKED.labels("lost").inc()


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
