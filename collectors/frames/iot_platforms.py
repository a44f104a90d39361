"""How each platform wraps a report: one reader an envelope, all of them pure."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

from collectors.frames.errors import FrameError
from collectors.frames.iot_fields import (
    Json,
    Radio,
    Report,
    an_object,
    base64_bytes,
    from_ms,
    from_text,
    hex_bytes,
    imei_of,
    json_inside,
    load_json,
    maybe_name,
    name_of,
    rows_of,
    whole_number,
)

CTWING, ONENET = "ctwing_aep", "onenet"
OCEAN, CHIRPSTACK = "huawei_oceanconnect", "chirpstack"
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
    kind = _CTWING_KINDS.get(name_of(envelope.get("messageType"), "messageType"), "other")
    data, values = None, envelope.get("payload")
    if kind == "data":
        data, values = _ctwing_payload(values)
    sequence = envelope.get("upPacketSN")
    report = Report(
        kind,
        name_of(envelope.get("deviceId"), "deviceId"),
        maybe_name(envelope.get("productId")),
        imei_of(envelope.get("IMEI"), envelope.get("imei")),
        from_ms(envelope.get("timestamp")),
        data,
        values,
        maybe_name(envelope.get("serviceId")),
        None if sequence == -1 else maybe_name(sequence),
    )
    return [report]


def _ctwing_payload(payload: Any) -> tuple[bytes | None, Any]:
    inner = an_object(payload, "payload")
    if "APPdata" not in inner:
        return None, inner
    data = base64_bytes(inner["APPdata"], "APPdata")
    return data, json_inside(data)


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
    return [_onenet_report(an_object(row, "msg")) for row in rows_of(rows, "msg")]


def _onenet_report(row: Json) -> Report:
    if "dev_id" not in row:
        return _onenet_studio(row)
    number = row.get("type")
    if isinstance(number, bool) or not isinstance(number, int):
        raise FrameError("type is no number")
    kind = _ONENET_KINDS.get(number, "other")
    stream = maybe_name(row.get("ds_id"))
    if kind == "data" and (stream is None or "value" not in row):
        raise FrameError("a data point without stream or value")
    value = row.get("value") if kind == "data" else row
    return Report(
        kind,
        name_of(row["dev_id"], "dev_id"),
        maybe_name(row.get("product_id")),
        imei_of(row.get("imei"), row.get("auth_info")),
        from_ms(row.get("at")),
        hex_bytes(value) if kind == "data" else None,
        value,
        stream,
        None,
    )


def _onenet_studio(row: Json) -> Report:
    """{"deviceName", "productId", "notifyType", "data": {...}} of the newer platform."""
    kind = {"property": "data", "event": "event", "lifecycle": "online"}
    return Report(
        kind.get(str(row.get("notifyType")), "other"),
        name_of(row.get("deviceName", row.get("deviceId")), "device"),
        maybe_name(row.get("productId")),
        imei_of(row.get("imei"), row.get("deviceName")),
        from_ms(row.get("time", row.get("timestamp"))),
        None,
        row.get("data"),
        None,
        maybe_name(row.get("messageId")),
    )


# --- OceanConnect and IoTDA ----------------------------------------------------------------------

_OCEAN_RAW: Final = ("rawData", "raw_data", "binaryData", "payload", "data")


def _ocean(envelope: Json) -> list[Report]:
    """deviceDataChanged carries one service, deviceDatasChanged a list of them."""
    if "notify_data" in envelope:
        return _iotda(envelope)
    notice = name_of(envelope.get("notifyType"), "notifyType")
    device = name_of(envelope.get("deviceId"), "deviceId")
    if notice == "deviceDataChanged":
        services = [envelope.get("service")]
    elif notice == "deviceDatasChanged":
        services = rows_of(envelope.get("services"), "services")
    else:
        kind = "answer" if notice in ("commandRsp", "messageConfirm") else "event"
        return [Report(kind, device, None, None, None, None, envelope, notice, None)]
    sequence = maybe_name(envelope.get("requestId"))
    return [
        _service(an_object(one, "service"), device, ("serviceId", "data", "eventTime"), sequence)
        for one in services
    ]


def _iotda(envelope: Json) -> list[Report]:
    """{"event_time", "notify_data": {"header": {...}, "body": {"services": [...]}}}."""
    notify = an_object(envelope["notify_data"], "notify_data")
    header = an_object(notify.get("header"), "header")
    device = name_of(header.get("device_id"), "device_id")
    body = an_object(notify.get("body"), "body")
    product = maybe_name(header.get("product_id"))
    imei = imei_of(header.get("node_id"))
    keys = ("service_id", "properties", "event_time")
    if "services" not in body:
        return [Report("event", device, product, imei, None, None, body, None, None)]
    return [
        _service(an_object(one, "service"), device, keys, None, product, imei)
        for one in rows_of(body["services"], "services")
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
        from_text(row.get(when)),
        _raw_bytes(values),
        values,
        name_of(row.get(name), name),
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
    found = hex_bytes(text)
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
        info = an_object(info, "deviceInfo")
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
            maybe_name(product),
            imei_of(_tags(info, envelope).get("imei")),
            _lora_time(envelope),
            base64_bytes(envelope["data"], "data") if has_data else None,
            values,
            maybe_name(port),
            maybe_name(envelope.get("fCnt")),
            _lora_radio(envelope),
        )
    ]


def _lora_radio(envelope: Json) -> Radio:
    """By the gateway that heard it best; a status event tells of the battery."""
    heard = [
        (rssi, whole_number(row.get("snr", row.get("loRaSNR")), -1_000, 1_000, 10))
        for row in _gateways(envelope)
        if (rssi := whole_number(row.get("rssi"), -200, 20)) is not None
    ]
    signal_dbm, snr_ddb = max(heard, key=lambda one: one[0], default=(None, None))
    has_none = envelope.get("batteryLevelUnavailable") or envelope.get("externalPowerSource")
    level = None if has_none else envelope.get("batteryLevel")
    return Radio(signal_dbm, snr_ddb, None, whole_number(level, 0, 100))


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
        when = from_text(gateway.get("time") if gateway else envelope.get("time"))
        if when is not None:
            return when
    return from_text(envelope.get("publishedAt"))


def _gateways(envelope: Json) -> list[Json]:
    rows = envelope.get("rxInfo") or []
    return [an_object(row, "rxInfo") for row in rows_of(rows, "rxInfo")]


READERS: Final[dict[str, Callable[[Json], list[Report]]]] = {
    CTWING: _ctwing,
    ONENET: _onenet,
    OCEAN: _ocean,
    CHIRPSTACK: _chirpstack,
}
# What only that platform's envelope has; the first that fits.
MARKS: Final = (
    (CHIRPSTACK, (("deviceInfo",), ("devEUI",))),
    (OCEAN, (("notifyType", "deviceId"), ("notify_data",))),
    (ONENET, (("msg", "nonce"), ("enc_msg",))),
    (CTWING, (("messageType", "deviceId"), ("tenantId", "deviceId"))),
)
