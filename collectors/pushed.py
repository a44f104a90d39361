"""What platforms push becomes readings: kept safe first, acknowledged then, each exactly once.

A push is answered with 200 (an MQTT message acknowledged) only after its readings are in the
database or the spool. Where that takes too long the platform hears 503 and sends it again; what
was stored in spite of that is one reading still, since a reading is its meter, kind and moment.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime

from flask import Flask

from backend.base.clock import Clock
from collectors.devices import NOBODY, Directory, directory
from collectors.frames import FrameError
from collectors.frames.field_map import FieldMap
from collectors.frames.iot_push import ONENET
from collectors.frames.iot_signature import (
    check_onenet_key,
    decrypt_onenet,
    is_from_onenet,
    is_onenet_address_check,
    is_onenet_encrypted,
)
from collectors.links.push import Answer
from collectors.map_files import shipped_fields
from collectors.push_reports import PUSHES, Refused, Understood, understand
from collectors.reading import Outcome
from collectors.storing import Batch

log = logging.getLogger("nuan.push")

QUEUE_LIMIT = 1000
BATCH = 200
ANSWER_S = 4.0  # OneNET gives up after 5 s
RELOAD_S, SOON_S, AGAIN_S = 60, 5, 1


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What is on its way to where it is safe, and who waits for it."""

    understood: Understood
    safe: asyncio.Future[None]


class PushIntake:
    """Takes pushes in over HTTP (`take`) and MQTT (`take_message`) while `run` runs.

    put            puts a batch where it is safe (`Storing.put`)
    onenet_token   what OneNET signs with; empty: its pushes are refused
    onenet_key     what it encrypts with (43 characters); empty: an encrypted push is refused
    maps           the field maps by their names; those shipped where none are given
    Raises ValueError for a key that is none.
    """

    def __init__(
        self,
        app: Flask,
        clock: Clock,
        put: Callable[[Batch], Awaitable[None]],
        onenet_token: str = "",
        *,
        onenet_key: str = "",
        maps: Mapping[str, FieldMap] | None = None,
    ):
        self.app, self.clock = app, clock
        self.onenet_token, self.onenet_key = onenet_token, onenet_key
        self.maps = shipped_fields() if maps is None else maps
        if self.onenet_key:
            check_onenet_key(self.onenet_key)
        self.known: dict[str, Directory] = {}
        self._knows = asyncio.Event()  # until then nobody can be told from a stranger
        self._put = put
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(QUEUE_LIMIT)

    async def run(self) -> None:
        """Hand on what comes in, and look for new meters, until cancelled."""
        await asyncio.gather(self._put_all(), self._reload_all())

    async def reload(self) -> None:
        """Read the meters of all platforms again."""
        self.known = await asyncio.to_thread(directory, self.app)
        self._knows.set()

    async def _reload_all(self) -> None:
        while True:
            try:
                await self.reload()
            except Exception as error:  # whatever it is, it must not end the loop
                log.warning("the meters pushed for are not known", extra={"why": str(error)})
            await asyncio.sleep(RELOAD_S if self._knows.is_set() else SOON_S)

    # HTTP ----------------------------------------------------------------------------------

    def prove(self, platform: str, query: Mapping[str, str]) -> Answer:
        """OneNET's check of a URL: msg comes back where its signature is good."""
        msg, nonce = query.get("msg", ""), query.get("nonce", "")
        good = self.onenet_token and is_onenet_address_check(
            self.onenet_token, nonce, msg, query.get("signature", "")
        )
        return Answer(200, msg) if platform == ONENET and good else Answer(401)

    async def take(self, platform: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take one HTTP push in: 200 once it is safe, 401 unsigned, 503 try again."""
        if not self._knows.is_set():
            return Answer(503)
        if platform == ONENET and not self._is_signed(body):
            await self.refuse(platform, "signature", "the signature is not OneNET's", body)
            return Answer(401)
        try:
            body = self._opened(platform, body)
        except FrameError as error:  # signed, and so ours: it comes again until the key is right
            await self.refuse(platform, "not_opened", str(error), body)
            return Answer(503)
        understood = self._understand(platform, body)
        return Answer(200 if await self._is_safe(understood) else 503)

    def _understand(self, platform: str, body: bytes) -> Understood:
        known = self.known.get(platform, NOBODY)
        return understand(platform, body, known, self.clock.now(), self.maps)

    def _opened(self, platform: str, body: bytes) -> bytes:
        """The body, decrypted where OneNET encrypts. Raises FrameError."""
        if platform != ONENET or not is_onenet_encrypted(body):
            return body
        if not self.onenet_key:
            raise FrameError("encrypted, and NUAN_PUSH_ONENET_KEY is empty", code="unsupported")
        return decrypt_onenet(body, self.onenet_key)

    async def _is_safe(self, understood: Understood) -> bool:
        """Hand on; whether it was put where it is safe within the time a platform waits."""
        waiting = _Waiting(understood, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
            await asyncio.wait_for(asyncio.shield(waiting.safe), ANSWER_S)
        except (asyncio.QueueFull, TimeoutError):
            PUSHES.labels("try_again").inc()
            return False
        return True

    def _is_signed(self, body: bytes) -> bool:
        try:
            return bool(self.onenet_token) and is_from_onenet(body, self.onenet_token)
        except FrameError:
            return False

    async def refuse(self, platform: str, code: str, reason: str, raw: bytes) -> None:
        """Keep what was refused; while too much waits it is only counted and logged."""
        buses = self.known.get(platform, NOBODY).buses
        understood = Understood()
        error = Refused(code, reason, raw)
        understood.refuse(buses[0] if buses else None, error, self.clock.now())
        await self._is_safe(understood)

    # MQTT ----------------------------------------------------------------------------------

    async def take_message(self, platform: str, payload: bytes) -> None:
        """Take one MQTT message in; returns once it is safe, however long that takes."""
        await self._knows.wait()
        understood = self._understand(platform, payload)
        waiting = _Waiting(understood, asyncio.get_running_loop().create_future())
        await self._queue.put(waiting)
        await waiting.safe

    # To the database -----------------------------------------------------------------------

    async def _put_all(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while not self._queue.empty() and len(batch) < BATCH:
                batch.append(self._queue.get_nowait())
            for part in _parts([one.understood for one in batch], self.clock.now()):
                await self._put_at_last(part)
            for one in batch:
                if not one.safe.done():
                    one.safe.set_result(None)

    async def _put_at_last(self, part: Batch) -> None:
        while True:
            try:
                await self._put(part)
                return
            except Exception:
                log.exception("pushes are not safe yet; trying again")
                await asyncio.sleep(AGAIN_S)


def _parts(batch: list[Understood], now: datetime) -> list[Batch]:
    """Readings by their bus, and apart from them (bus 0 is nobody's) what is not:
    a batch of nothing but repeated readings is passed over as a whole."""
    read: dict[int, Outcome] = {}
    besides = Outcome()
    for understood in batch:
        besides.merge(understood.besides)
        for bus_id, outcome in understood.read.items():
            read.setdefault(bus_id, Outcome()).merge(outcome)
    parts: list[Batch] = []
    if read:
        parts.append([(bus_id, now, outcome) for bus_id, outcome in read.items()])
    if besides != Outcome():
        parts.append([(0, now, besides)])
    return parts
