"""CJ/T 188 frames as plain JSON-able objects, for `nuan decode --jsonl`."""

from __future__ import annotations

from typing import Any

from collectors.frames import cjt188, cjt188_payload
from collectors.frames.cjt188_payload import Reading
from collectors.frames.cjt188_profiles import (
    DEFAULT,
    DI_CURRENT,
    DI_CURRENT_COOLING,
    DI_VALVE,
    layouts_for,
)
from collectors.frames.errors import FrameError

_COLLECTOR_PREFIX = b"CTRL:"
_COLLECTOR_ID_LENGTH = 15
# Registers without a frame do not say what was asked: tried in this order, (data id, type).
_BARE = (
    (DI_CURRENT, 0xAA),
    (DI_CURRENT_COOLING, 0x22),
    (0xD300, 0x10),
    (0xD200, 0x20),
    (0xD120, 0x20),
    (0xD120, 0x10),
)
# 21H counts cold in the places where 20H counts heat; readers of JSON find both names.
_PLACES = {"settlement_cooling": "settlement_heat", "current_cooling": "current_heat"}


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """One input row {"hex", "input"?} as {"frame": {...}, "values": {...}} or {"reject": why}.

    input: absent = one frame, maybe after FE preambles; "stream" = the first good frame in it;
    "dtu" = the same behind a collector's header; "payload-after-ser" = registers only. Values are
    numbers in the unit sent. Never raises for bad hex or a bad frame.
    """
    try:
        data = bytes.fromhex(row["hex"])
    except (KeyError, TypeError, ValueError):
        return {"reject": "not hexadecimal"}
    kind = row.get("input")
    if kind == "payload-after-ser":
        return _describe_payload(data)
    try:
        message = _find(data, is_stream=kind in ("stream", "dtu"))
    except FrameError as error:
        return {"reject": f"{error.code}: {error}"}
    out = _describe_message(message)
    if kind == "dtu":
        out["values"].update(_collector_header(data, message))
    return out


def _find(data: bytes, *, is_stream: bool) -> cjt188.Message:
    """The message in `data`. In a stream bad candidates are stepped over; the first error is
    reported where nothing good follows. A lone frame must be good itself."""
    first: FrameError | None = None
    at = 0
    while True:
        try:
            message, _ = cjt188.decode(data[at:])
        except FrameError as error:
            first = first or error
            if not is_stream:
                raise
            at += error.consumed
            continue
        if message is None:
            raise first or FrameError("the frame is not complete", at=len(data), code="short")
        return cjt188.Message(**{**_fields(message), "offset": at + message.offset})


def _fields(message: cjt188.Message) -> dict[str, Any]:
    return {name: getattr(message, name) for name in cjt188.Message.__slots__}


def _describe_message(message: cjt188.Message) -> dict[str, Any]:
    reading = message.reading
    if reading is not None and not reading.is_readable:
        primary = reading.layout.primary
        return {"reject": f"{reading.faults[primary]}: {primary} can not be read"}
    values = _reading_values(reading) if reading else {}
    values["frame_offset"], values["frame_length"] = message.offset, len(message.raw)
    if message.control == cjt188.WRITE and message.di == DI_VALVE and message.payload:
        values["valve"] = f"{message.payload[0]:02X}"
    if message.status is not None:
        values["status"] = message.status.hex().upper()
    return {"frame": _frame(message), "values": values}


def _frame(message: cjt188.Message) -> dict[str, Any]:
    return {
        "preamble": message.preamble,
        "offset": message.offset,
        "meter_type": f"{message.meter_type:02X}",
        "address": message.address,
        "ctrl": f"{message.control:02X}",
        "length": len(message.data),
        "checksum": f"{message.raw[-2]:02X}",
        "checksum_ok": True,
        "di_wire": None if message.di is None else message.data[:2].hex().upper(),
        "di": None if message.di is None else f"{message.di:04X}",
        "di_order": "high-first" if message.di_high_first else "low-first",
        "ser": None if message.serial is None else f"{message.serial:02X}",
        "data": message.data.hex().upper(),
    }


def _reading_values(reading: Reading) -> dict[str, Any]:
    values: dict[str, Any] = {"layout": reading.layout.name}
    for value in reading.values:
        number = int(value.number) if value.decimals == 0 else float(value.number)
        for name in (value.name, _PLACES.get(value.name, value.name)):
            values.setdefault(_json_name(name, value.quantity), number)
            if value.quantity not in ("temperature", "hours"):
                values.setdefault(name + "_unit", value.unit)
    if reading.meter_time:
        values["meter_time"] = reading.meter_time.strftime("%Y-%m-%d %H:%M:%S")
    if reading.status is not None:
        values["status"] = reading.status.hex().upper()
    if reading.trailing:
        values["trailing"] = reading.trailing.hex().upper()
    if reading.faults:
        values["unreadable"] = dict(reading.faults)
    return values


def _json_name(name: str, quantity: str) -> str:
    return name + "_c" if quantity == "temperature" else name


def _describe_payload(data: bytes) -> dict[str, Any]:
    """Registers without their frame: whichever layout fits."""
    for di, meter_type in _BARE:
        reading = cjt188_payload.read(data, layouts_for(di, meter_type, DEFAULT))
        if reading is not None and reading.is_readable and reading.fits:
            return {"values": _reading_values(reading)}
    return {"reject": "structure: no layout fits the payload"}


def _collector_header(data: bytes, message: cjt188.Message) -> dict[str, Any]:
    """`CTRL:`, a length byte and fifteen characters of id, as some GPRS collectors send."""
    if not data.startswith(_COLLECTOR_PREFIX):
        return {}
    at = len(_COLLECTOR_PREFIX)
    name = data[at + 1 : at + 1 + _COLLECTOR_ID_LENGTH]
    return {
        "dtu_prefix": _COLLECTOR_PREFIX.decode(),
        "dtu_length_byte": data[at] if at < message.offset else None,
        "dtu_id": name.decode("ascii", "replace"),
    }
