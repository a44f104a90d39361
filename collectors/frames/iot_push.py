"""What NB-IoT and LoRa platforms push when a meter reports: CTWing, OneNET, OceanConnect and
ChirpStack, over HTTP or MQTT.

Each platform wraps the meter's bytes in JSON of its own. `decode` unwraps: who sent, when, and the
bytes or values inside, which the caller hands to the codec the meter's archive names. A push may
carry several reports. Nothing of a push is believed where its shape is wrong: FrameError. Whether
it is the platform's at all is `iot_signature`'s to say, over the raw body, before this.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from collectors.frames.errors import FrameError
from collectors.frames.iot_fields import MAX_REPORTS, Json, Report, load_json
from collectors.frames.iot_platforms import CHIRPSTACK, CTWING, MARKS, OCEAN, ONENET, READERS

MAX_BODY: Final = 65_536
_ALIASES: Final = {
    "ctwing": CTWING,
    "aep": CTWING,
    "oceanconnect": OCEAN,
    "huawei": OCEAN,
    "iotda": OCEAN,
    "chirpstack_v3": CHIRPSTACK,
    "chirpstack_v4": CHIRPSTACK,
}


@dataclass(frozen=True, slots=True)
class Push:
    """One HTTP body or MQTT message; `reports` holds at least one."""

    platform: str
    reports: tuple[Report, ...]


def decode(body: bytes | bytearray | memoryview, platform: str | None = None) -> Push:
    """Unwrap a push; without a platform its shape tells which. UTF-8 JSON, at most 64 KiB.

    Raises FrameError: "length" too large or too many reports, "structure" a shape that cannot be,
    "unsupported" a platform or an envelope that is not known (or still encrypted)."""
    data = bytes(body)
    if len(data) > MAX_BODY:
        raise FrameError(f"push of {len(data)} bytes", code="length", consumed=len(data))
    envelope = load_json(data)
    if not isinstance(envelope, dict):
        raise FrameError("a push is a JSON object", code="structure")
    name = _platform(envelope, platform)
    reports = tuple(READERS[name](envelope))
    if not 1 <= len(reports) <= MAX_REPORTS:
        code = "length" if reports else "structure"
        raise FrameError(f"{len(reports)} reports in one push", code=code)
    return Push(name, reports)


# Where a report's stream names what its values are, and not merely which way they came.
_NAMED_BY_STREAM: Final = frozenset((ONENET, OCEAN))


def gathered(push: Push) -> list[Report]:
    """The data reports' values, those of one device and moment in one tree: OneNET's data streams
    and OceanConnect's services under their names, all else as the platform gave it."""
    whole: dict[tuple[str, datetime | None], Report] = {}
    out: list[Report] = []
    for report in push.reports:
        if report.kind != "data" or report.values is None:
            continue
        if report.stream is None or push.platform not in _NAMED_BY_STREAM:
            out.append(report)
            continue
        key = report.device_id, report.time
        tree = whole[key].values if key in whole else {}
        if report.stream in tree or key not in whole:
            whole[key] = replace(report, values={report.stream: report.values})
            out.append(whole[key])
        else:
            tree[report.stream] = report.values
    return out


def _platform(envelope: Json, platform: str | None) -> str:
    if platform is not None:
        name = _ALIASES.get(platform, platform)
        if name not in READERS:
            raise FrameError(f"unknown platform {platform[:40]!r}", code="unsupported")
        return name
    for name, keys in MARKS:
        if any(all(key in envelope for key in group) for group in keys):
            return name
    raise FrameError("no platform pushes such an envelope", code="unsupported")


__all__ = [
    "CHIRPSTACK",
    "CTWING",
    "OCEAN",
    "ONENET",
    "FrameError",
    "Push",
    "Report",
    "decode",
    "gathered",
]
