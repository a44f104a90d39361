"""What platforms push becomes readings: kept safe first, acknowledged then, each exactly once.

A push is answered with 200 (an MQTT message acknowledged) only after its readings are in the
database or the spool. Where that takes too long the platform hears 503 and sends it again; what
was stored in spite of that is one reading still, since a reading is its meter, kind and moment.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from flask import Flask
from prometheus_client import Counter

from backend.base.clock import Clock
from backend.metering.refused import Refusal
from backend.metering.service import MAX_BACKDATED
from collectors.devices import NOBODY, Device, Directory, directory
from collectors.frames import FrameError, iot_push
from collectors.frames.iot_push import ONENET, Report
from collectors.frames.iot_signature import is_from_onenet, is_onenet_address_check
from collectors.links.push import Answer
from collectors.reading import Outcome
from collectors.session import Read
from collectors.storing import Batch
from collectors.unasked import Heard, NotBelieved, believe, messages

log = logging.getLogger("nuan.push")

PUSHES = Counter("nuan_pushes_total", "What platforms pushed, by what came of it", ["outcome"])

MAX_PAYLOAD = 4096  # no NB-IoT or LoRa uplink is longer, and resynchronising costs its square
MAX_AHEAD = timedelta(minutes=5)
QUEUE_LIMIT = 1000
BATCH = 200
ANSWER_S = 4.0  # OneNET gives up after 5 s
RELOAD_S, SOON_S, AGAIN_S = 60, 5, 1


class Refused(Exception):
    """A push, or a part of it, that is not believed: a short code, why, and its bytes."""

    def __init__(self, code: str, reason: str, raw: bytes):
        super().__init__(reason)
        self.code, self.reason, self.raw = code, reason, raw


@dataclass(slots=True)
class Understood:
    """What a push says: readings by bus, and what is not believed, of which no bus is to blame."""

    read: dict[int, Outcome] = field(default_factory=dict)
    not_believed: Outcome = field(default_factory=Outcome)

    def add(self, device: Device, read: Read) -> None:
        """Take a reading in."""
        outcome = self.read.setdefault(device.bus_id, Outcome())
        outcome.add(device.asked, read)
        outcome.readings[-1] = replace(outcome.readings[-1], source="push")
        PUSHES.labels("read").inc()

    def refuse(self, bus_id: int | None, error: Refused, now: datetime) -> None:
        """Take a refusal in: counted, logged, its bytes kept."""
        log.info("push refused", extra={"code": error.code, "why": error.reason})
        PUSHES.labels(error.code).inc()
        refusal = Refusal(bus_id, error.code, error.reason, error.raw, now)
        self.not_believed.refused.append(refusal)


def understand(platform: str, body: bytes, known: Directory, now: datetime) -> Understood:
    """What a push says. Never raises."""
    understood = Understood()
    bus_id = known.buses[0] if known.buses else None
    try:
        for report in iot_push.decode(body, platform).reports:
            try:
                _take_report(report, known, now, understood)
            except Refused as error:
                understood.refuse(bus_id, error, now)
    except FrameError as error:
        understood.refuse(bus_id, Refused(error.code, str(error), body), now)
    except Exception as error:
        log.exception("a push could not be understood", extra={"platform": platform})
        understood.refuse(bus_id, Refused("error", repr(error), body), now)
    return understood


def _take_report(report: Report, known: Directory, now: datetime, understood: Understood) -> None:
    """Add a report's readings. Raises Refused."""
    if report.kind != "data":
        return  # a device came online, or answered a command: nothing was read
    payload, at = report.payload, report.time
    if not payload:
        words = json.dumps(report.values, ensure_ascii=False).encode()
        raise Refused("no_frame", "values taken apart by the platform", words)
    if len(payload) > MAX_PAYLOAD:
        raise Refused("too_large", f"a payload of {len(payload)} bytes", payload)
    if at is None:
        raise Refused("no_time", "the platform does not say when", payload)
    if at > now + MAX_AHEAD:
        raise Refused("time_ahead", f"stamped {at:%Y-%m-%dT%H:%M:%SZ}, after now", payload)
    if at < now - MAX_BACKDATED:
        raise Refused("time_too_old", f"stamped {at:%Y-%m-%dT%H:%M:%SZ}", payload)
    names = _names(report)
    behind = known.behind(names)
    try:
        for device, read in _frames(payload, names, at, behind, known):
            understood.add(device, read)
    except Refused as error:
        failed = [(d.asked.meter_id, at, error.code) for d in behind]
        understood.not_believed.failures += failed
        raise


def _names(report: Report) -> tuple[str, ...]:
    """What the platform calls a device, the IMEI first."""
    return tuple(name.upper() for name in (report.imei, report.device_id) if name)


def _frames(
    payload: bytes,
    names: tuple[str, ...],
    at: datetime,
    behind: list[Device],
    known: Directory,
) -> list[tuple[Device, Read]]:
    """The readings of every frame in a payload. Raises Refused where there is none."""
    code = "unreadable" if behind else "unknown_device"
    found, why = [], Refused(code, f"no frame of a meter known by {'/'.join(names)}", payload)
    for speaker in {d.speech: d for d in behind}.values() or known.speakers.values():
        for heard in _messages(speaker, payload):
            try:
                device = _whose(_own(heard[0]), speaker.speech, behind, known, heard[1])
                found.append((device, _believe(heard, device, at)))
            except Refused as error:
                why = error
    if not found:
        raise why
    return found


def _messages(device: Device, payload: bytes) -> list[Heard]:
    """Every good frame of a device's protocol in a payload. Raises Refused."""
    try:
        return messages(device.asked.target, payload)
    except ValueError as error:
        raise Refused("bad_target", str(error), payload) from None


def _own(message: Any) -> str:
    """The address a frame carries: M-Bus the id of its header, all others the frame's."""
    return str(getattr(message, "id", None) or getattr(message, "address", "")).upper()


def _whose(
    own: str, speech: tuple[str, str], behind: list[Device], known: Directory, raw: bytes
) -> Device:
    """The meter with the frame's own address, or the one the whole device is. Raises Refused."""
    candidates = [d for d in behind or known.behind((own,)) if d.speech == speech]
    for device in candidates:
        if device.asked.target.address.upper() == own and (behind or device.is_whole):
            return device
    for device in candidates:
        if device.is_whole:
            return device
    raise Refused("unknown_device", f"no meter has the address {own}", raw)


def _believe(heard: Heard, device: Device, at: datetime) -> Read:
    """What a frame of a device says. Raises Refused."""
    # A meter known by its IMEI is asked for by the address its frames carry.
    target = replace(device.asked.target, address=_own(heard[0]))
    try:
        return believe(device.asked, target, heard, at)
    except NotBelieved as error:
        raise Refused(error.code, error.reason, heard[1]) from None


@dataclass(frozen=True, slots=True)
class _Waiting:
    """What is on its way to where it is safe, and who waits for it."""

    understood: Understood
    safe: asyncio.Future[None]


class PushIntake:
    """Takes pushes in over HTTP (`take`) and MQTT (`take_message`) while `run` runs.

    put            puts a batch where it is safe (`Storing.put`)
    onenet_token   what OneNET signs with; empty: its pushes are refused
    """

    def __init__(
        self,
        app: Flask,
        clock: Clock,
        put: Callable[[Batch], Awaitable[None]],
        onenet_token: str = "",
    ):
        self.app, self.clock, self.onenet_token = app, clock, onenet_token
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
        known = self.known.get(platform, NOBODY)
        understood = understand(platform, body, known, self.clock.now())
        return Answer(200 if await self._is_safe(understood) else 503)

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
        known = self.known.get(platform, NOBODY)
        understood = understand(platform, payload, known, self.clock.now())
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
    """Readings by their bus, and apart from them (bus 0 is nobody's) what is not believed:
    a batch of nothing but repeated readings is passed over as a whole."""
    read: dict[int, Outcome] = {}
    not_believed = Outcome()
    for understood in batch:
        not_believed.merge(understood.not_believed)
        for bus_id, outcome in understood.read.items():
            read.setdefault(bus_id, Outcome()).merge(outcome)
    parts: list[Batch] = []
    if read:
        parts.append([(bus_id, now, outcome) for bus_id, outcome in read.items()])
    if not_believed.failures or not_believed.refused:
        parts.append([(0, now, not_believed)])
    return parts
