"""What the collector's listeners share: they begin to listen, and keep what is not believed."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime

from prometheus_client import Counter

from backend.base.clock import Clock
from backend.metering.refused import Refusal
from collectors.links.listener import Allowance, Listener, Unasked
from collectors.reading import Outcome

NOBODY = 0  # the bus of what is no bus's
KEPT, KEPT_PER_S = 100, 0.2  # refusals kept and logged; the rest is counted

Queue = asyncio.Queue[tuple[int, datetime, Outcome]]


class CannotListen(Exception):
    """Nobody can dial in; the message says who, why and which setting, in one line."""


async def listen(listener: Listener, who: str, setting: str, log: logging.Logger) -> None:  # type: ignore[type-arg]
    """Begin to listen. Raises CannotListen where the port is taken."""
    try:
        await listener.start()
    except OSError as error:
        why = error.strerror or str(error)
        raise CannotListen(
            f"{who} cannot dial in: {why}: stop what uses the port, or set {setting}"
        ) from error
    log.info(f"{who} may dial in", extra={"port": listener.port})


class Refusals:
    """What came in and is not believed: counted, and a sample of it logged and kept raw."""

    def __init__(self, counter: Counter, log: logging.Logger, clock: Clock, outcomes: Queue):
        self._counter, self._log, self._clock, self._outcomes = counter, log, clock, outcomes
        self._kept = Allowance(KEPT, KEPT_PER_S)

    def refuse(self, unasked: Unasked, bus_id: int | None, protocol: str | None = None) -> None:
        """Count it, and keep it while there is not too much."""
        self._counter.labels(unasked.code).inc()
        if not self._kept.take(""):
            return
        self._log.warning(
            "refused",
            extra={"code": unasked.code, "why": unasked.detail, "raw": unasked.raw.hex()},
        )
        now = self._clock.now()
        refusal = Refusal(bus_id, unasked.code, unasked.detail, unasked.raw, now, protocol=protocol)
        self.put(NOBODY, now, Outcome(refused=[refusal]))

    def put(self, bus_id: int, now: datetime, outcome: Outcome) -> None:
        """Nobody waits for these, so where the database is far behind they are let go."""
        try:
            self._outcomes.put_nowait((bus_id, now, outcome))
        except asyncio.QueueFull:
            self._counter.labels("lost").inc()
