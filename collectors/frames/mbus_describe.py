"""An M-Bus frame in words: as a dictionary for machines, as rows for an installer."""

from __future__ import annotations

from typing import Any

from collectors.frames.errors import FrameError
from collectors.frames.mbus import (
    Ack,
    ApplicationError,
    Fixed,
    Long,
    Message,
    Record,
    Short,
    Variable,
    decode,
)
from collectors.frames.mbus_names import FIXED_MEDIA, medium_zh, status_zh
from collectors.frames.mbus_record import ERROR_STATE, FUNCTION_NAMES, MAXIMUM, MINIMUM

PREAMBLE = 0xFE
_STARTS = (0x68, 0x10, 0xE5)
Row = tuple[str, str, str]


def read(data: bytes, *, stream: bool = False) -> Message:
    """The one frame that `data` is, or with `stream` the first good frame inside it.

    Preamble bytes FE are let pass. Raises FrameError for anything else around or inside the frame.
    """
    return _first_good(data) if stream else _only(data)


def _only(data: bytes) -> Message:
    start = next((i for i, byte in enumerate(data) if byte != PREAMBLE), len(data))
    if start == len(data) or data[start] not in _STARTS:
        raise FrameError("not a frame: no start byte", at=start, code="start")
    message, consumed = decode(data[start:])
    if message is None:
        raise FrameError("frame is not complete", at=len(data), code="short")
    if start + consumed != len(data):
        raise FrameError("bytes after the frame", at=start + consumed, code="length")
    return message


def _first_good(data: bytes) -> Message:
    failure = FrameError("no frame in the stream", at=len(data), code="start")
    pos = 0
    while pos < len(data):
        try:
            message, consumed = decode(data[pos:])
        except FrameError as error:
            failure = FrameError(error.reason, at=pos + error.at, code=error.code)
            pos += error.consumed
            continue
        if message is not None:
            return message
        pos += max(consumed, 1)  # a start byte that promises more than there is was noise
    raise failure


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """What one frame says, as JSON types; `row` has "hex" and maybe "input": "stream".

    Raises FrameError where the frame must be refused, ValueError where "hex" is not hex.
    """
    message = read(bytes.fromhex(row["hex"]), stream=row.get("input") == "stream")
    return {**_frame(message), "meaning": message.meaning()}


def _frame(message: Message) -> dict[str, Any]:
    if isinstance(message, Ack):
        return {"frame": "ack"}
    head: dict[str, Any] = {
        "control": f"{message.control:02X}",
        "primary_address": message.address,
    }
    if isinstance(message, Short):
        return {"frame": "short", **head}
    head |= {"frame": "long", "ci": f"{message.ci:02X}"}
    if isinstance(message, ApplicationError):
        return {**head, "application_error": message.meaning()}
    if isinstance(message, Long):
        kind = "long" if message.data else "control"
        return {**head, "frame": kind, "data": message.data.hex().upper()}
    if isinstance(message, Fixed):
        return {**head, **_fixed(message)}
    return {**head, **_variable(message)}


def _variable(message: Variable) -> dict[str, Any]:
    records = [_record(record) for record in message.records]
    return {
        "manufacturer": message.manufacturer,
        "id": message.id,
        "version": message.version,
        "medium": message.medium_name,
        "medium_code": _hex(message.medium, 2),
        "access_no": message.access_no,
        "status": _hex(message.status, 2),
        "signature": _hex(message.signature, 4),
        "more_follows": message.more_follows,
        "records_count": len(records),
        "records": records,
    }


def _hex(value: int | None, digits: int) -> str | None:
    return None if value is None else f"{value:0{digits}X}"


def _record(record: Record) -> dict[str, Any]:
    header = record.header
    told: dict[str, Any] = {
        "function": FUNCTION_NAMES[header.function],
        "storage": header.storage,
        "tariff": header.tariff,
        "device": header.subunit,
        "unit": header.vif.unit,
        "quantity": header.vif.quantity,
        "value": record.value,
        "dib": header.dib.hex().upper(),
        "vib": header.vib.hex().upper(),
        "data": record.data.hex().upper(),
    }
    if header.qualifiers:
        told["qualifiers"] = [q.name for q in header.qualifiers]
    if record.problem:
        told["problem"] = record.problem
    return told


def _fixed(message: Fixed) -> dict[str, Any]:
    function = "Stored value" if message.stored else "Actual value"
    counters = zip(message.records, message.labels, strict=True)
    return {
        "manufacturer": None,
        "id": message.id,
        "version": None,
        "medium": message.medium_name,
        "access_no": message.access_no,
        "status": f"{message.status:02X}",
        "records_count": 2,
        "records": [_counter(record, label, function) for record, label in counters],
    }


def _counter(record: Record, label: str, function: str) -> dict[str, Any]:
    """A fixed counter is told in the unit its meter uses, so "10 kWh" counts tens of kWh."""
    told = {
        "function": function,
        "storage": None,
        "unit": label,
        "quantity": record.header.vif.quantity,
        "value": record.raw,
        "data": record.data.hex().upper(),
    }
    return told | ({"problem": record.problem} if record.problem else {})


# --- for people ---------------------------------------------------------------------------------

_FUNCTIONS_ZH = {MAXIMUM: "最大值", MINIMUM: "最小值", ERROR_STATE: "故障期间值"}
_PROBLEMS_ZH = {
    "not_bcd": "非BCD数字，不可用",
    "not_a_number": "不是有效浮点数",
    "bad_variable_data": "变长数据无效",
    "bad_date": "无效日期",
    "fill_value": "无效标记，不可用",
}


def explain(data: bytes) -> list[Row]:
    """Rows (中文, English term, value) for a table; raises FrameError like describe."""
    message = read(data)
    if isinstance(message, Ack):
        return [("应答", "ACK", "E5")]
    rows = [
        ("含义", "meaning", message.meaning()),
        ("控制码", "C field", f"{message.control:02X}"),
        ("主地址", "primary address", str(message.address)),
    ]
    if isinstance(message, (Short, Long, ApplicationError)):
        return rows
    rows += _identity(message)
    if isinstance(message, Fixed):
        counters = zip(message.records, message.labels, strict=True)
        return rows + [
            (r.header.vif.zh, r.header.vif.quantity, f"{_shown(r, r.raw)} {label}")
            for r, label in counters
        ]
    return rows + [_record_row(record) for record in message.records]


def _identity(message: Variable | Fixed) -> list[Row]:
    rows: list[Row] = []
    if isinstance(message, Variable):
        if message.id is None:
            return rows
        rows += [
            ("厂家", "manufacturer", str(message.manufacturer)),
            ("版本", "version", str(message.version)),
        ]
        medium = (message.medium_name, medium_zh(message.medium))
    else:
        medium = FIXED_MEDIA[message.medium]
    return [
        ("表号", "identification", str(message.id)),
        *rows,
        ("介质", "medium", f"{medium[1]} ({medium[0]})"),
        ("访问次数", "access number", str(message.access_no)),
        ("状态", "status", f"{message.status:02X} {status_zh(message.status or 0)}"),
    ]


def _record_row(record: Record) -> Row:
    header = record.header
    if not header.vib:
        zh = "厂家数据，后续还有报文" if header.dib == b"\x1f" else "厂家数据"
        return zh, FUNCTION_NAMES[header.function], str(record.value)
    words = [header.vif.zh, *(q.zh for q in header.qualifiers if q.effect != "exponent")]
    if header.function:
        words.append(_FUNCTIONS_ZH[header.function])
    for zh, number in (
        ("存储", header.storage),
        ("费率", header.tariff),
        ("子单元", header.subunit),
    ):
        if number:
            words.append(f"{zh}{number}")
    bare = header.vif.unit == "-" or record.problem is not None
    unit = "" if bare else header.vif.unit.replace("^3", "³")
    return " ".join(words), header.vif.quantity, f"{_shown(record, record.value)} {unit}".strip()


def _shown(record: Record, value: object) -> str:
    if record.problem is None:
        return "-" if value is None else str(value).replace("T", " ")
    by_meter = "表具报告该项有误"
    return f"[{_PROBLEMS_ZH.get(record.problem, by_meter)}: {record.data.hex(' ').upper()}]"
