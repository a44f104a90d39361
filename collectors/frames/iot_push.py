"""What NB-IoT and LoRa platforms push when a meter reports: CTWing, OneNET, OceanConnect, ChirpStack.

Each platform wraps the meter's bytes in JSON of its own. `decode` unwraps: who sent, when, and the
bytes or values inside, which the caller hands to the codec the meter's archive names. A push may
carry several reports. Nothing of a push is believed where its shape is wrong: FrameError. Whether
it is the platform's at all is `iot_signature`'s to say, over the raw body, before this.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from collectors.frames.errors import FrameError

MAX_BODY: Final = 65_536
MAX_PAYLOAD: Final = 8_192
MAX_REPORTS: Final = 256
MAX_DEPTH: Final = 16

CTWING, ONENET = "ctwing_aep", "onenet"
OCEAN, CHIRPSTACK = "huawei_oceanconnect", "chirpstack"
_ALIASES: Final = {
    "ctwing": CTWING,
    "aep": CTWING,
    "oceanconnect": OCEAN,
    "huawei": OCEAN,
    "iotda": OCEAN,
    "chirpstack_v3": CHIRPSTACK,
    "chirpstack_v4": CHIRPSTACK,
}
_EARLIEST: Final = datetime(2010, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)

Json = dict[str, Any]


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
    reports = tuple(_READERS[name](envelope))
    if not 1 <= len(reports) <= MAX_REPORTS:
        code = "length" if reports else "structure"
        raise FrameError(f"{len(reports)} reports in one push", code=code)
    return Push(name, reports)


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


def _platform(envelope: Json, platform: str | None) -> str:
    if platform is not None:
        name = _ALIASES.get(platform, platform)
        if name not in _READERS:
            raise FrameError(f"unknown platform {platform[:40]!r}", code="unsupported")
        return name
    for name, keys in _MARKS:
        if any(all(key in envelope for key in group) for group in keys):
            return name
    raise FrameError("no platform pushes such an envelope", code="unsupported")


_MARKS: Final = (
    (CHIRPSTACK, (("deviceInfo",), ("devEUI",))),
    (OCEAN, (("notifyType", "deviceId"), ("notify_data",))),
    (ONENET, (("msg", "nonce"), ("enc_msg",))),
    (CTWING, (("messageType", "deviceId"), ("tenantId", "deviceId"))),
)

# --- fields -------------------------------------------------------------------------------------


def _object(value: Any, what: str) -> Json:
    if not isinstance(value, dict):
        raise FrameError(f"{what} is no object")
    return value


def _rows(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise FrameError(f"{what} is no list")
    if len(value) > MAX_REPORTS:
        raise FrameError(f"{len(value)} reports in one push", code="length")
    return value


def _name(value: Any, what: str) -> str:
    """An identifier: a string or an integer, not empty, at most 128 characters."""
    text = _maybe_name(value)
    if text is None:
        raise FrameError(f"{what} is no identifier")
    return text


def _maybe_name(value: Any) -> str | None:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return None
    text = str(value).strip()
    return text if 0 < len(text) <= 128 and text.isprintable() else None


def _imei(*values: Any) -> str | None:
    """The first that is one; platforms write "undefined" or leave it empty where they have none."""
    for value in values:
        text = _maybe_name(value) or ""
        if re.fullmatch(r"[0-9]{15}", text):
            return text
    return None


def _believable(moment: datetime) -> datetime:
    if not _EARLIEST <= moment < _LATEST:
        raise FrameError(f"no time of a report: {moment.isoformat()}")
    return moment


def _from_ms(value: Any) -> datetime | None:
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


def _from_text(value: Any) -> datetime | None:
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


def _hex_bytes(value: Any) -> bytes | None:
    """Bytes of a text which can be nothing but hexadecimal: even, eight digits or more."""
    if not isinstance(value, str) or len(value) < 8 or len(value) % 2:
        return None
    if len(value) > 2 * MAX_PAYLOAD or not re.fullmatch(r"[0-9A-Fa-f]+", value):
        return None
    return bytes.fromhex(value)


def _json_inside(data: bytes) -> Any:
    """The object or list a payload is itself, None where it is bytes of a meter."""
    if data.lstrip()[:1] not in (b"{", b"["):
        return None
    try:
        return load_json(data.strip(b"\0"))
    except FrameError:
        return None


# --- CTWing (AEP) --------------------------------------------------------------------------------

_CTWING_KINDS: Final = {
    "dataReport": "data",
    "dataReportTx": "data",
    "eventReport": "event",
    "deviceOnlineOfflineReport": "online",
    "commandResponse": "answer",
}


def _ctwing(envelope: Json) -> list[Report]:
    """payload.APPdata is base64 (transparent products); other products give their values."""
    kind = _CTWING_KINDS.get(_name(envelope.get("messageType"), "messageType"), "other")
    data, values = None, envelope.get("payload")
    if kind == "data":
        data, values = _ctwing_payload(values)
    sequence = envelope.get("upPacketSN")
    report = Report(
        kind,
        _name(envelope.get("deviceId"), "deviceId"),
        _maybe_name(envelope.get("productId")),
        _imei(envelope.get("IMEI"), envelope.get("imei")),
        _from_ms(envelope.get("timestamp")),
        data,
        values,
        _maybe_name(envelope.get("serviceId")),
        None if sequence == -1 else _maybe_name(sequence),
    )
    return [report]


def _ctwing_payload(payload: Any) -> tuple[bytes | None, Any]:
    inner = _object(payload, "payload")
    if "APPdata" not in inner:
        if not inner:
            raise FrameError("payload is empty")
        return None, inner
    data = base64_bytes(inner["APPdata"], "APPdata")
    return data, _json_inside(data)


# --- OneNET --------------------------------------------------------------------------------------

_ONENET_KINDS: Final = {1: "data", 2: "online", 7: "answer"}


def _onenet(envelope: Json) -> list[Report]:
    """msg is an object, a list of them, or (OneNET Studio) such JSON in a string."""
    if "msg" not in envelope and "enc_msg" in envelope:
        raise FrameError("the push is encrypted", code="unsupported")
    message = envelope.get("msg")
    if isinstance(message, str):
        message = load_json(message.encode("utf-8", "surrogatepass"))
    rows = message if isinstance(message, list) else [message]
    return [_onenet_report(_object(row, "msg")) for row in _rows(rows, "msg")]


def _onenet_report(row: Json) -> Report:
    if "dev_id" not in row:
        return _onenet_studio(row)
    number = row.get("type")
    if isinstance(number, bool) or not isinstance(number, int):
        raise FrameError("type is no number")
    kind = _ONENET_KINDS.get(number, "other")
    stream = _maybe_name(row.get("ds_id"))
    if kind == "data" and (stream is None or "value" not in row):
        raise FrameError("a data point without stream or value")
    value = row.get("value") if kind == "data" else row
    return Report(
        kind,
        _name(row["dev_id"], "dev_id"),
        _maybe_name(row.get("product_id")),
        _imei(row.get("imei"), row.get("auth_info")),
        _from_ms(row.get("at")),
        _hex_bytes(value) if kind == "data" else None,
        value,
        stream,
        None,
    )


def _onenet_studio(row: Json) -> Report:
    """{"deviceName", "productId", "notifyType", "data": {...}} of the newer platform."""
    kind = {"property": "data", "event": "event", "lifecycle": "online"}
    return Report(
        kind.get(str(row.get("notifyType")), "other"),
        _name(row.get("deviceName", row.get("deviceId")), "device"),
        _maybe_name(row.get("productId")),
        _imei(row.get("imei"), row.get("deviceName")),
        _from_ms(row.get("time", row.get("timestamp"))),
        None,
        row.get("data"),
        None,
        _maybe_name(row.get("messageId")),
    )


# --- OceanConnect and IoTDA ----------------------------------------------------------------------

_OCEAN_RAW: Final = ("rawData", "raw_data", "binaryData", "payload", "data")


def _ocean(envelope: Json) -> list[Report]:
    """deviceDataChanged carries one service, deviceDatasChanged a list of them."""
    if "notify_data" in envelope:
        return _iotda(envelope)
    notice = _name(envelope.get("notifyType"), "notifyType")
    device = _name(envelope.get("deviceId"), "deviceId")
    if notice == "deviceDataChanged":
        services = [envelope.get("service")]
    elif notice == "deviceDatasChanged":
        services = _rows(envelope.get("services"), "services")
    else:
        kind = "answer" if notice in ("commandRsp", "messageConfirm") else "event"
        return [Report(kind, device, None, None, None, None, envelope, notice, None)]
    sequence = _maybe_name(envelope.get("requestId"))
    return [
        _service(_object(one, "service"), device, ("serviceId", "data", "eventTime"), sequence)
        for one in services
    ]


def _iotda(envelope: Json) -> list[Report]:
    """{"event_time", "notify_data": {"header": {...}, "body": {"services": [...]}}}."""
    notify = _object(envelope["notify_data"], "notify_data")
    header = _object(notify.get("header"), "header")
    device = _name(header.get("device_id"), "device_id")
    body = _object(notify.get("body"), "body")
    product = _maybe_name(header.get("product_id"))
    imei = _imei(header.get("node_id"))
    keys = ("service_id", "properties", "event_time")
    if "services" not in body:
        return [Report("event", device, product, imei, None, None, body, None, None)]
    return [
        _service(_object(one, "service"), device, keys, None, product, imei)
        for one in _rows(body["services"], "services")
    ]


def _service(
    row: Json, device: str, keys: tuple[str, str, str], sequence: str | None,
    product: str | None = None, imei: str | None = None,
) -> Report:  # fmt: skip
    name, data, when = keys
    values = row.get(data)
    if not isinstance(values, (dict, str)):
        raise FrameError(f"{data} of a service is no object")
    return Report(
        "data",
        device,
        product,
        imei,
        _from_text(row.get(when)),
        _raw_bytes(values),
        values,
        _name(row.get(name), name),
        sequence,
    )


def _raw_bytes(values: Json | str) -> bytes | None:
    """Bytes a transparent profile keeps in one text, base64 or hexadecimal; None for plain data."""
    if isinstance(values, dict):
        text = next((values[key] for key in _OCEAN_RAW if isinstance(values.get(key), str)), None)
    else:
        text = values
    if text is None:
        return None
    found = _hex_bytes(text)
    if found is None and len(text) >= 8:
        try:
            found = base64_bytes(text, "data")
        except FrameError:
            return None
    return found


# --- ChirpStack ----------------------------------------------------------------------------------


def _chirpstack(envelope: Json) -> list[Report]:
    """v4 names the device in deviceInfo; v3 beside, its DevEUI hexadecimal or (raw JSON) base64."""
    info = envelope.get("deviceInfo")
    if info is not None:
        info = _object(info, "deviceInfo")
        eui, product = _eui(info.get("devEui")), info.get("applicationId")
    else:
        info = {}
        eui, product = _eui(envelope.get("devEUI")), envelope.get("applicationID")
    port = envelope.get("fPort")
    has_data = envelope.get("data") not in (None, "")
    if has_data and (isinstance(port, bool) or not isinstance(port, int) or not 0 <= port <= 255):
        raise FrameError("fPort is no port")
    values = _loose_object(envelope.get("object", envelope.get("objectJSON")))
    return [
        Report(
            "data" if has_data or values else _lora_event(envelope),
            eui,
            _maybe_name(product),
            _imei(_tags(info, envelope).get("imei")),
            _lora_time(envelope),
            base64_bytes(envelope["data"], "data") if has_data else None,
            values,
            _maybe_name(port),
            _maybe_name(envelope.get("fCnt")),
        )
    ]


def _lora_event(envelope: Json) -> str:
    """A join, a battery status, an acknowledgement: nothing a meter measured."""
    if "acknowledged" in envelope:
        return "answer"
    return "online" if "devAddr" in envelope and "fCnt" not in envelope else "event"


def _eui(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    if re.fullmatch(r"[0-9A-Fa-f]{16}", text):
        return text.upper()
    data = base64_bytes(text, "devEUI")
    if len(data) != 8:
        raise FrameError("devEUI is not eight bytes")
    return data.hex().upper()


def _tags(info: Json, envelope: Json) -> Json:
    tags = info.get("tags", envelope.get("tags"))
    return tags if isinstance(tags, dict) else {}


def _loose_object(value: Any) -> Any:
    """v3 gives decoded values as JSON in a string."""
    if isinstance(value, str) and value:
        return load_json(value.encode("utf-8", "surrogatepass"))
    return value or None


def _lora_time(envelope: Json) -> datetime | None:
    """When the server heard it (v4), else a gateway's own time, else when it was published."""
    for gateway in ({}, *_gateways(envelope)):
        when = _from_text(gateway.get("time") if gateway else envelope.get("time"))
        if when is not None:
            return when
    return _from_text(envelope.get("publishedAt"))


def _gateways(envelope: Json) -> list[Json]:
    rows = envelope.get("rxInfo") or []
    return [_object(row, "rxInfo") for row in _rows(rows, "rxInfo")]


_READERS: Final[dict[str, Callable[[Json], list[Report]]]] = {
    CTWING: _ctwing,
    ONENET: _onenet,
    OCEAN: _ocean,
    CHIRPSTACK: _chirpstack,
}

__all__ = ["CHIRPSTACK", "CTWING", "OCEAN", "ONENET", "Push", "Report", "decode", "load_json"]
