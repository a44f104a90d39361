"""Fields of a platform's push, each believed only where it has the shape it must have.

`load_json` and the readers here raise FrameError and nothing else, whatever they are given.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from collectors.frames.errors import FrameError

MAX_PAYLOAD: Final = 8_192
MAX_REPORTS: Final = 256
MAX_DEPTH: Final = 16

_EARLIEST: Final = datetime(2010, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Radio:
    """How a device is heard and fed, where the push says: dBm (RSSI or RSRP), tenths of a decibel,
    millivolts, percent."""

    signal_dbm: int | None = None
    snr_ddb: int | None = None
    battery_mv: int | None = None
    battery_percent: int | None = None

    def __bool__(self) -> bool:
        return self != NOTHING_HEARD


NOTHING_HEARD: Final = Radio()


@dataclass(frozen=True, slots=True)
class Report:
    """One device's report.

    kind        "data", or what the platform calls it ("online", "event", "answer", "other")
    device_id   the platform's name of the device; for LoRa the DevEUI, sixteen hex digits
    imei        fifteen digits, None where the platform names none
    time        UTC, None where the platform does not say when
    payload     the meter's bytes, None where the platform has taken them apart already
    values      the values it then gives, or the payload where that is JSON itself
    stream      OneNET's data stream, OceanConnect's service, LoRa's port; None otherwise
    sequence    the platform's or the network's number of the report, for finding repeats
    radio       how the device was heard, where the envelope itself says (LoRa)
    """

    kind: str
    device_id: str
    product_id: str | None
    imei: str | None
    time: datetime | None
    payload: bytes | None
    values: Any
    stream: str | None
    sequence: str | None
    radio: Radio = NOTHING_HEARD


def load_json(data: bytes) -> Any:
    """Strict JSON: UTF-8, no key twice, no NaN, limited depth; FrameError "structure" otherwise."""
    try:
        value = json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant
        )
    except json.JSONDecodeError as error:
        raise FrameError(f"not JSON: {error.msg}", at=error.pos) from error
    except UnicodeDecodeError as error:
        raise FrameError("not UTF-8", at=error.start) from error
    except RecursionError as error:
        raise FrameError("JSON nested too deep") from error
    except FrameError:
        raise
    except ValueError as error:  # an integer with thousands of digits
        raise FrameError(f"not JSON: {error}") from error
    if _depth(value) > MAX_DEPTH:
        raise FrameError("JSON nested too deep")
    return value


def _unique(pairs: list[tuple[str, Any]]) -> Json:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise FrameError("a key stands twice in one object")
    return out


def _no_constant(name: str) -> Any:
    raise FrameError(f"{name} is no JSON number")


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level:
        depth += 1
        inner: list[Any] = []
        for one in level:
            if isinstance(one, dict):
                inner.extend(one.values())
            elif isinstance(one, list):
                inner.extend(one)
        level = inner
    return depth


def an_object(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        raise FrameError(f"{what} is no object")
    return value


def rows_of(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise FrameError(f"{what} is no list")
    if len(value) > MAX_REPORTS:
        raise FrameError(f"{len(value)} reports in one push", code="length")
    return value


def name_of(value: Any, what: str) -> str:
    """An identifier: a string or an integer, not empty, at most 128 characters."""
    text = maybe_name(value)
    if text is None:
        raise FrameError(f"{what} is no identifier")
    return text


def maybe_name(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    return text if 0 < len(text) <= 128 and text.isprintable() else None


def whole_number(value: Any, low: int, high: int, times: int = 1) -> int | None:
    """A number times `times`, rounded; None where it is none or beyond what can be."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not low <= value * times <= high:  # not a number is in no range either
        return None
    return round(value * times)


def imei_of(*values: Any) -> str | None:
    """The first that is one; platforms write "undefined" or leave it empty where they have none."""
    for value in values:
        text = maybe_name(value) or ""
        if re.fullmatch(r"[0-9]{15}", text):
            return text
    return None


def _believable(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise FrameError(f"no time of a report: {moment.isoformat()}")
    return moment


def from_ms(value: Any) -> datetime | None:
    """Milliseconds since 1970 (a number or its digits); None where there is none."""
    if value is None or value == "":
        return None
    text = str(value)
    if isinstance(value, (bool, float)) or not re.fullmatch(r"[0-9]{1,15}", text):
        raise FrameError("a time is no number of milliseconds")
    try:
        return _believable(_EPOCH + timedelta(milliseconds=int(text)))
    except OverflowError as error:
        raise FrameError("a time is out of range") from error


_COMPACT: Final = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
_ISO: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)"
)


def from_text(value: Any) -> datetime | None:
    """20180806T093436Z or RFC 3339 with its zone; None where there is none."""
    if value is None or value == "":
        return None
    text = value if isinstance(value, str) else ""
    match = _COMPACT.fullmatch(text) or _ISO.fullmatch(text)
    if match is None or not text.isascii():
        raise FrameError("a time is not in UTC or has no zone")
    fraction = (match[7] or "" if match.re is _ISO else "").ljust(6, "0")[:6]
    zone = match[8] if match.re is _ISO else "Z"
    try:
        moment = datetime(*(int(match[n]) for n in range(1, 7)), int(fraction), tzinfo=_zone(zone))  # type: ignore[arg-type,misc]
        return _believable(moment.astimezone(UTC))
    except (ValueError, OverflowError) as error:
        if isinstance(error, FrameError):
            raise
        raise FrameError(f"no such time: {error}") from error


def _zone(text: str) -> timezone:
    if text == "Z":
        return UTC
    offset = timedelta(hours=int(text[1:3]), minutes=int(text[4:6]))
    return timezone(-offset if text[0] == "-" else offset)


def base64_bytes(value: Any, what: str) -> bytes:
    """Strict base64 of at most 8 KiB; raises FrameError "structure" or "length"."""
    if not isinstance(value, str):
        raise FrameError(f"{what} is no base64 text")
    try:
        data = base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise FrameError(f"{what} is not base64") from error
    if len(data) > MAX_PAYLOAD:
        raise FrameError(f"{what} has {len(data)} bytes", code="length")
    return data


def hex_bytes(value: Any) -> bytes | None:
    """Bytes of a text in hexadecimal: even, eight digits or more, letters of one case (base64 of
    a frame mixes them)."""
    if not isinstance(value, str) or len(value) < 8 or len(value) % 2:
        return None
    if len(value) > 2 * MAX_PAYLOAD or not re.fullmatch(r"[0-9A-F]+|[0-9a-f]+", value):
        return None
    return bytes.fromhex(value)


def json_inside(data: bytes) -> Any:
    """The object or list a payload is itself, None where it is bytes of a meter."""
    if data.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return load_json(data.strip(b"\0"))
    except FrameError:
        return None
