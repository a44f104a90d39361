"""What a push says: its reports become readings of the meters they are of, or refusals.

Nothing here waits or touches a database; `pushed` does, with what this makes of a body.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from prometheus_client import Counter

from backend.metering.meter_notes import Signal
from backend.metering.refused import Refusal
from backend.metering.service import MAX_BACKDATED
from collectors import unframed, valued
from collectors.devices import Device, Directory
from collectors.frames import FrameError, iot_push
from collectors.frames.field_map import FieldMap
from collectors.frames.iot_fields import Radio
from collectors.frames.iot_push import Report, gathered
from collectors.reading import Outcome
from collectors.session import Read
from collectors.unasked import Heard, NotBelieved, believe, messages

log = logging.getLogger("nuan.push")

PUSHES = Counter("nuan_pushes_total", "What platforms pushed, by what came of it", ["outcome"])

MAX_PAYLOAD = 4096  # no NB-IoT or LoRa uplink is longer, and resynchronising costs its square
MAX_AHEAD = timedelta(minutes=5)


class Refused(Exception):
    """A push, or a part of it, that is not believed: a short code, why, and its bytes."""

    def __init__(self, code: str, reason: str, raw: bytes):
        super().__init__(reason)
        self.code, self.reason, self.raw = code, reason, raw


@dataclass(slots=True)
class Understood:
    """What a push says: readings by bus, and besides them what no bus is to blame or praised for:
    what is not believed, and how devices were heard."""

    read: dict[int, Outcome] = field(default_factory=dict)
    besides: Outcome = field(default_factory=Outcome)

    def add(self, device: Device, read: Read) -> None:
        """Take a reading in."""
        outcome = self.read.setdefault(device.bus_id, Outcome())
        outcome.add(device.asked, read)
        outcome.readings[-1] = replace(outcome.readings[-1], source="push")
        PUSHES.labels("read").inc()

    def heard(self, devices: Iterable[Device], at: datetime, radio: Radio) -> None:
        """Take in how devices were heard at a moment, where anything is said of it."""
        if radio:
            told = asdict(radio)
            self.besides.signals += [Signal(d.asked.meter_id, at, **told) for d in devices]

    def refuse(self, bus_id: int | None, error: Refused, now: datetime) -> None:
        """Take a refusal in: counted, logged, its bytes kept."""
        log.info("push refused", extra={"code": error.code, "why": error.reason})
        PUSHES.labels(error.code).inc()
        refusal = Refusal(bus_id, error.code, error.reason, error.raw, now)
        self.besides.refused.append(refusal)


def understand(
    platform: str,
    body: bytes,
    known: Directory,
    now: datetime,
    maps: Mapping[str, FieldMap] | None = None,
) -> Understood:
    """What a push says; `maps` are those values are read by. Never raises."""
    understood = Understood()
    bus_id = known.buses[0] if known.buses else None
    try:
        push = iot_push.decode(body, platform)
        takers = [(_take_report, report) for report in push.reports]
        takers += [(partial(_take_values, maps or {}), report) for report in gathered(push)]
        for take, report in takers:
            try:
                take(report, known, now, understood)
            except Refused as error:
                understood.refuse(bus_id, error, now)
    except FrameError as error:
        understood.refuse(bus_id, Refused(error.code, str(error), body), now)
    except Exception as error:
        log.exception("a push could not be understood", extra={"platform": platform})
        understood.refuse(bus_id, Refused("error", repr(error), body), now)
    return understood


def _take_report(report: Report, known: Directory, now: datetime, understood: Understood) -> None:
    """Add the readings in a report's frames, and how it was heard. Raises Refused."""
    names = _names(report)
    everyone = known.behind(names)
    if report.time is not None and _is_believable(report.time, now):
        understood.heard(everyone, report.time, report.radio)
    behind = [d for d in everyone if not d.fields]
    if report.kind != "data" or (everyone and not behind):
        return  # a device came online, or answered a command; or values are read, not frames
    payload = report.payload
    if not payload and len(behind) < len(everyone):
        return
    if not payload:
        raise Refused("no_frame", "values taken apart by the platform", _plain(report.values))
    if len(payload) > MAX_PAYLOAD:
        raise Refused("too_large", f"a payload of {len(payload)} bytes", payload)
    at = _moment(report.time, now, payload)
    try:
        for device, read in _frames(payload, names, at, behind, known):
            understood.add(device, read)
    except Refused as error:
        understood.besides.failures += [(d.asked.meter_id, at, error.code) for d in behind]
        raise


def _take_values(
    maps: Mapping[str, FieldMap],
    report: Report,
    known: Directory,
    now: datetime,
    understood: Understood,
) -> None:
    """Add the readings in a report's values, for meters with a field map. Raises Refused."""
    behind = [d for d in known.behind(_names(report)) if d.fields]
    raw = _plain(report.values)
    for name in sorted({d.fields for d in behind}):
        mine = [d for d in behind if d.fields == name]
        try:
            rows = valued.rows(maps, name, report.values)
        except NotBelieved as error:
            raise _failed(error, mine, report.time or now, raw, understood) from None
        for said in rows:
            try:
                device = valued.whose(said, mine)
                at = _moment(said.time or report.time, now, raw)
                understood.heard([device], at, valued.radio(said))
                understood.add(device, valued.believe(device, maps[name], said, raw, at))
            except Refused as error:
                understood.refuse(mine[0].bus_id, error, now)
            except NotBelieved as error:
                failed = _failed(error, mine if len(mine) == 1 else [], now, raw, understood)
                understood.refuse(mine[0].bus_id, failed, now)


def _failed(
    error: NotBelieved, meters: list[Device], at: datetime, raw: bytes, understood: Understood
) -> Refused:
    """The refusal of what cannot be believed, which is a failed reading of these meters."""
    understood.besides.failures += [(d.asked.meter_id, at, error.code) for d in meters]
    return Refused(error.code, error.reason, raw)


def _plain(values: Any) -> bytes:
    """Values as the bytes that are kept of them."""
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")).encode()


def _is_believable(at: datetime, now: datetime) -> bool:
    return now - MAX_BACKDATED <= at <= now + MAX_AHEAD


def _moment(at: datetime | None, now: datetime, raw: bytes) -> datetime:
    """When it was, as it is said. Raises Refused."""
    if at is None:
        raise Refused("no_time", "the platform does not say when", raw)
    if not _is_believable(at, now):
        code, what = ("time_ahead", ", after now") if at > now else ("time_too_old", "")
        raise Refused(code, f"stamped {at:%Y-%m-%dT%H:%M:%SZ}{what}", raw)
    return at


def _names(report: Report) -> tuple[str, ...]:
    """What the platform calls a device, the IMEI first."""
    return tuple(dict.fromkeys(n.upper() for n in (report.imei, report.device_id) if n))


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
        framed = unframed.framed(device.payload, payload)
        heard = messages(device.asked.target, framed)
        return heard if framed is payload else [(message, payload) for message, _ in heard]
    except ValueError as error:
        raise Refused("bad_target", str(error), payload) from None


def _own(message: Any) -> str:
    """The address a frame carries: M-Bus the id of its header, Modbus the unit,
    all others the frame's."""
    own = getattr(message, "id", None) or getattr(message, "address", None)
    return str(getattr(message, "unit", "") if own is None else own).upper()


def _whose(
    own: str, speech: tuple[str, str, str], behind: list[Device], known: Directory, raw: bytes
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
