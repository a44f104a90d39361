"""Modbus frames as plain JSON-able objects, for `nuan decode --jsonl`, and as rows for a person.

Nothing says which framing a row of hex has, so the evidence does: RTU where the CRC over all of
it is right, then MBAP where its length field is, then ASCII where a colon is followed by digits.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

from collectors.frames import modbus
from collectors.frames import modbus_pdu as pdus
from collectors.frames.errors import FrameError
from collectors.frames.modbus import Message

Row = tuple[str, str, str]
Decode = Callable[[bytes], tuple[Message | None, int]]

_PREAMBLE: Final = b"\xfe"

KINDS_ZH: Final = {
    "request": "请求",
    "response": "应答",
    "exception": "异常应答",
    "unknown": "未知",
}
FUNCTIONS_ZH: Final = {
    pdus.READ_COILS: "读线圈",
    pdus.READ_DISCRETE: "读离散输入",
    pdus.READ_HOLDING: "读保持寄存器",
    pdus.READ_INPUT: "读输入寄存器",
    pdus.WRITE_COIL: "写单个线圈",
    pdus.WRITE_REGISTER: "写单个寄存器",
    pdus.WRITE_COILS: "写多个线圈",
    pdus.WRITE_REGISTERS: "写多个寄存器",
    pdus.MASK_WRITE: "屏蔽写寄存器",
    pdus.READ_WRITE: "读写多个寄存器",
    pdus.ENCAPSULATED: "读设备标识",
}
EXCEPTIONS_ZH: Final = {
    0x01: "非法功能码",
    0x02: "非法数据地址",
    0x03: "非法数据值",
    0x04: "从站设备故障",
    0x05: "已确认，处理中",
    0x06: "从站忙",
    0x08: "存储奇偶校验错",
    0x0A: "网关路径不可用",
    0x0B: "网关目标设备无响应",
}


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """One input row {"hex", "input"?} as {"frame": {...}, ...} or {"reject": why}.

    input: absent = one frame, maybe after FE preambles or, in ASCII, after anything; "stream" =
    the first good frame in it; "register-block" = big-endian registers without a frame. Never
    raises for bad hex or a bad frame.
    """
    try:
        data = bytes.fromhex(row["hex"])
    except (KeyError, TypeError, ValueError):
        return {"reject": "not hexadecimal"}
    try:
        if row.get("input") == "register-block":
            return _describe_block(data)
        if row.get("input") == "stream":
            return _describe_stream(data)
        messages = frames_of(data)
    except FrameError as error:
        return {"reject": f"{error.code}: {error}"}
    return _describe_message(messages[0]) | _others(messages[1:])


def frames_of(data: bytes) -> list[Message]:
    """The frame, or the frames without a gap between them, that `data` wholly consists of.

    Raises FrameError where it does not; of the framings tried the likeliest one's error.
    """
    if not data:
        raise FrameError("no bytes", code="short")
    first_error = None
    for attempt in _attempts(data):
        try:
            return attempt(data)
        except FrameError as error:
            first_error = first_error or error
    assert first_error is not None
    raise first_error


def _attempts(data: bytes) -> list[Callable[[bytes], list[Message]]]:
    """Whole RTU first: a CRC proves more than a length field. Then whichever it looks like."""
    if len(data) >= modbus.MIN_RTU and _is_rtu(data):
        return [lambda found: [modbus.parse_rtu(found)]]
    if _is_text(data):
        return [_ascii_frames]
    glued = [lambda found: _tile(found, modbus.decode_tcp), _rtu_frames]
    return glued if data[2:4] == b"\0\0" and len(data) > 6 and data[4] == 0 else glued[::-1]


def _is_rtu(data: bytes) -> bool:
    return modbus.crc16(data[:-2]) == int.from_bytes(data[-2:], "little")


def _is_text(data: bytes) -> bool:
    return b":" in data and all(byte in b"\r\n" or 0x20 <= byte < 0x7F for byte in data)


def _rtu_frames(data: bytes) -> list[Message]:
    """RTU frames end to end. One alone is told its own error, not that of a guessed length."""
    stripped = data.lstrip(_PREAMBLE)
    for candidate in (data, stripped):
        with suppress(FrameError):
            if candidate:
                return _tile(candidate, modbus.decode_rtu)
    return [modbus.parse_rtu(stripped or data)]


def _ascii_frames(data: bytes) -> list[Message]:
    """Everything before the first colon is stepped over (serial line §2.5.2.1)."""
    return _tile(data[data.index(b":") :], modbus.decode_ascii)


def _tile(data: bytes, decode: Decode) -> list[Message]:
    found, at = [], 0
    while at < len(data):
        message, consumed = decode(data[at:])
        if message is None:
            raise FrameError("the frame is not complete", at=len(data), code="short")
        if message.offset:
            raise FrameError("bytes that are no frame", at=at, code="start")
        found.append(message)
        at += consumed
    return found


def _describe_stream(data: bytes) -> dict[str, Any]:
    """The first good frame. Where exactly one damaged frame comes first, that is said instead,
    with the good one beside it: dropping a frame in silence would hide a bad line."""
    messages, error = _walk(data)
    if not messages:
        raise error or FrameError("no frame", at=len(data), code="short")
    first, offset = messages[0]
    out = _describe_message(first, offset) | _others([message for message, _ in messages[1:]])
    if offset and _is_damaged_rtu(data[:offset]):
        out["reject"] = f"checksum: CRC of the first frame, {offset} bytes, is wrong"
        out["second_frame"] = first.raw.hex().upper()
    return out


def _walk(data: bytes) -> tuple[list[tuple[Message, int]], FrameError | None]:
    """All good frames with their offsets, in the framing that finds any; and the first error."""
    first_error = None
    for decode in (modbus.decode_ascii,) if _is_text(data) else (_next_rtu, modbus.decode_tcp):
        found, at = [], 0
        while at < len(data):
            try:
                message, consumed = decode(data[at:])
            except FrameError as error:
                first_error = first_error or error
                at += error.consumed
                continue
            if message is None:
                break
            found.append((message, at + message.offset))
            at += consumed
        if found:
            return found, first_error
    return [], first_error


def _next_rtu(data: bytes) -> tuple[Message | None, int]:
    return modbus.decode_rtu(data)


def _is_damaged_rtu(data: bytes) -> bool:
    """Whether bytes that failed have all the shape of one RTU frame but for the CRC."""
    if len(data) < modbus.MIN_RTU:
        return False
    return any(pdus.size(data[1:-2], kind) == len(data) - 3 for kind in pdus.kinds("any"))


def _describe_message(message: Message, offset: int | None = None) -> dict[str, Any]:
    pdu = message.pdu
    out: dict[str, Any] = {
        "kind": pdu.kind,
        "transport": message.framing,
        "frame": {
            "transport": message.framing,
            "transaction": message.transaction,
            "unit": message.unit,
            "function": pdu.function,
            "exception": pdu.code,
            "pdu": pdu.raw.hex().upper(),
            "offset": message.offset if offset is None else offset,
        },
    }
    return out | {name: value for name, value in _content(message).items() if value is not None}


def _content(message: Message) -> dict[str, Any]:
    pdu = message.pdu
    return {
        "address": pdu.address,
        "count": pdu.count,
        "registers": None if pdu.registers is None else list(pdu.registers),
        "coils": None if pdu.bits is None else pdu.bits.hex().upper(),
        "code": pdu.code,
        "write_address": pdu.write_address,
        "masks": None if pdu.masks is None else [f"{mask:04X}" for mask in pdu.masks],
        "objects": {str(n): text.decode("latin-1") for n, text in pdu.objects.items()} or None,
    }


def _others(messages: list[Message]) -> dict[str, Any]:
    return {"more": [_describe_message(message) for message in messages]} if messages else {}


def _describe_block(data: bytes) -> dict[str, Any]:
    if not data or len(data) % 2:
        raise FrameError("registers have two bytes each", at=len(data), code="length")
    return {"registers": list(pdus.words(data)), "count": len(data) // 2}


def explain(data: bytes) -> list[Row]:
    """Rows (中文, English term, value) for all frames in `data`; raises FrameError."""
    rows: list[Row] = []
    for message in frames_of(data):
        rows += _rows(message)
    return rows


def _rows(message: Message) -> list[Row]:
    pdu = message.pdu
    rows = [
        ("传输方式", "framing", {"rtu": "RTU", "tcp": "TCP", "ascii": "ASCII"}[message.framing]),
        ("从站地址", "unit", str(message.unit)),
        ("功能码", "function", f"{pdu.function:02X} {FUNCTIONS_ZH.get(pdu.function, '')}".strip()),
        ("帧方向", "kind", KINDS_ZH[pdu.kind]),
    ]
    if message.transaction is not None:
        rows.insert(1, ("事务号", "transaction", str(message.transaction)))
    return rows + [row for row in _content_rows(message) if row[2]]


def _content_rows(message: Message) -> list[Row]:
    pdu = message.pdu
    registers = [] if pdu.registers is None else [f"{n} ({n:04X})" for n in pdu.registers]
    return [
        (
            "起始地址",
            "address",
            "" if pdu.address is None else f"{pdu.address} ({pdu.address:04X})",
        ),
        ("数量", "count", "" if pdu.count is None else str(pdu.count)),
        ("写入地址", "write_address", "" if pdu.write_address is None else str(pdu.write_address)),
        ("寄存器", "registers", ", ".join(registers)),
        ("线圈", "coils", "" if pdu.bits is None else pdu.bits.hex(" ").upper()),
        ("掩码", "masks", " ".join(f"{mask:04X}" for mask in pdu.masks or ())),
        ("异常码", "code", "" if pdu.code is None else _exception_text(pdu.code)),
        *((f"标识{n}", f"object_{n}", t.decode("latin-1")) for n, t in pdu.objects.items()),
        ("数据", "data", pdu.data.hex(" ").upper() if pdu.kind == "unknown" else ""),
    ]


def _exception_text(code: int) -> str:
    return f"{code:02X} {EXCEPTIONS_ZH.get(code, '')} {pdus.EXCEPTIONS.get(code, '')}".strip()
