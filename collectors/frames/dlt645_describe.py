"""DL/T 645-2007 frames as plain JSON-able objects and as rows for an installer.

`dlt645_1997_describe` does the same for the older edition with the functions here.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, datetime, time
from typing import Any, Final

from collectors.frames import dlt645
from collectors.frames.dlt645_message import Message, Relay
from collectors.frames.dlt645_value import Value
from collectors.frames.dlt645_words import (
    RELAY_ORDERS,
    Words,
    relay_is_open,
    status_3_words,
)
from collectors.frames.errors import FrameError

Decode = Callable[[bytes], tuple[Message | None, int]]
Row = tuple[str, str, str]

# Problems of a frame whose data claim to be a value and are none.
_REFUSED: Final = frozenset(("not_bcd", "fill_value", "time", "text", "structure", "checksum"))
_STATUS_3: Final = "status_word_3"


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """One input row {"hex", "input"?} as {"frame": {...}, "values": {...}}.

    input: absent = one frame, maybe after FE preambles; "stream" = the first good frame in it.
    Raises FrameError where the frame must be refused, ValueError where "hex" is not hex.
    """
    return describe_with(dlt645.decode, row)


def explain(data: bytes) -> list[Row]:
    """Rows (中文, English term, value) for a table; raises FrameError like describe."""
    return explain_with(dlt645.decode, data)


def describe_with(decode: Decode, row: dict[str, Any]) -> dict[str, Any]:
    """`describe` for the edition of that decoder."""
    message = _find(decode, bytes.fromhex(row["hex"]), row.get("input") == "stream")
    return {"frame": _frame(message), "values": _values(message)}


def _find(decode: Decode, data: bytes, is_stream: bool) -> Message:
    """The message in `data`, believable. In a stream bad candidates are stepped over; the first
    error is reported where nothing good follows. A lone frame must be good itself."""
    first: FrameError | None = None
    at = 0
    while True:
        try:
            message, _ = decode(data[at:])
        except FrameError as error:
            first = first or error
            if not is_stream:
                raise
            at += error.consumed
            continue
        if message is None:
            raise first or FrameError("the frame is not complete", at=len(data), code="short")
        return _believed(replace(message, offset=at + message.offset))


def _believed(message: Message) -> Message:
    """Raises FrameError where the data claim to be a value and are none."""
    if message.problem in _REFUSED:
        data = message.data.hex(" ").upper()
        at = message.offset + 10
        raise FrameError(f"no value can be read from {data}", at=at, code=message.problem)
    return message


def _di_text(message: Message) -> str | None:
    width = 2 * message.edition.di_size
    return None if message.di is None else f"{message.di:0{width}X}"


def _frame(message: Message) -> dict[str, Any]:
    return {
        "preamble": message.preamble,
        "offset": message.offset,
        "address": message.address,
        "ctrl": f"{message.control:02X}",
        "length": len(message.data),
        "checksum": f"{message.raw[-2]:02X}",
        "checksum_ok": True,
        "di": _di_text(message),
        "data": message.data.hex().upper(),
    }


def _values(message: Message) -> dict[str, Any]:
    told: dict[str, Any] = {
        "function": message.function_words[0],
        "address": message.named or message.address,
        "di": _di_text(message),
        "frame_offset": message.offset,
        "sequence": message.sequence,
        "more_follows": message.has_more or None,
        "freeze": message.pattern,
        "time": _text(message.when) if message.when else None,
        "problem": message.problem or None,
    }
    if message.error is not None:
        told["error"] = f"{message.error:02X}"
        told["errors"] = [english for english, _ in message.error_words]
    if message.credentials:
        told["level"], told["operator"] = message.credentials.level, message.credentials.operator
    if message.relay:
        told |= _relay(message.relay)
    if message.reading:
        told |= _items(message.reading.values)
    return {key: value for key, value in told.items() if value is not None}


def _relay(relay: Relay) -> dict[str, Any]:
    order = RELAY_ORDERS.get(relay.n1, ("unknown order", ""))[0]
    return {
        "n1": f"{relay.n1:02X}",
        "n2": f"{relay.n2:02X}",
        "order": order,
        "expiry": _text(relay.expiry) if relay.expiry else None,
    }


def _items(values: tuple[Value, ...]) -> dict[str, Any]:
    """`values` are the numbers in the order sent, None for one the meter does not have, in `unit`
    (that of the first); `items` say every item by name."""
    numbers = [value for value in values if value.field.is_number]
    told: dict[str, Any] = {"items": [_item(value) for value in values]}
    if numbers:
        told["values"] = [_number(value) for value in numbers]
        told["unit"] = numbers[0].field.unit
    moments = [value for value in values if isinstance(value.raw, (datetime, time))]
    if moments:
        told["time"] = _moment(moments[0])
    for value in values:
        if value.field.name == "date" or value.field.name == "clock":
            told |= _date(value)
        if value.field.name == _STATUS_3 and isinstance(value.raw, int):
            told["relay_open"] = relay_is_open(value.raw)
    return told


def _item(value: Value) -> dict[str, Any]:
    field = value.field
    told: dict[str, Any] = {"name": field.name, "value": _plain(value)}
    if field.unit:
        told["unit"] = field.unit
    told |= {key: n for key, n in (("tariff", field.tariff), ("back", field.back)) if n}
    return told | ({"problem": value.fault} if value.fault else {})


def _number(value: Value) -> int | float | None:
    number = value.number
    if number is None:
        return None
    return float(number) if value.field.exponent else int(number)


def _plain(value: Value) -> int | float | str | None:
    if value.field.is_number:
        return _number(value)
    if value.field.form == "bits" and isinstance(value.raw, int):
        return f"{value.raw:0{2 * value.field.size}X}"
    return None if value.raw is None else _moment(value)


def _date(value: Value) -> dict[str, Any]:
    """The date and the weekday byte as the meter sent it, 0 for Sunday."""
    if not isinstance(value.raw, date):
        return {}
    weekday = int(f"{value.data[-4 if value.field.name == 'clock' else 0]:X}")
    return {"date": value.raw.strftime("%Y-%m-%d"), "weekday": weekday}


def _moment(value: Value) -> str:
    """No seconds where the meter sends none."""
    text = _text(value.raw)
    return text[:-3] if value.field.form == "YMDhm" else text


def _text(raw: object) -> str:
    if isinstance(raw, datetime):
        return raw.strftime("%Y-%m-%d %H:%M:%S")
    return raw.isoformat() if isinstance(raw, (date, time)) else str(raw)


# --- for people ---------------------------------------------------------------------------------

_PROBLEMS_ZH: Final = {
    "unknown_di": "未收录的数据标识",
    "length": "长度与数据标识不符",
    "encrypted": "密文",
}
_FAULTS_ZH: Final = {
    "fill_value": "填充值，无此数据",
    "not_bcd": "非BCD数字，不可用",
    "time": "不是有效时间",
    "text": "不是有效文本",
}
_UNITS_ZH: Final = {"yuan": "元", "yuan/kWh": "元/kWh", "min": "分钟", "s": "秒"}


def explain_with(decode: Decode, data: bytes) -> list[Row]:
    """`explain` for the edition of that decoder."""
    message = _find(decode, data, is_stream=False)
    english, chinese = message.function_words
    kind = _kind_zh(message)
    rows = [
        ("功能", "function", f"{chinese}{kind} ({english})"),
        ("地址", "address", _address_zh(message.address)),
        ("控制码", "control", f"{message.control:02X}"),
    ]
    if message.di is not None:
        rows.append(("数据标识", "data id", str(_di_text(message))))
    rows += _header_rows(message) + _order_rows(message)
    for value in message.reading.values if message.reading else ():
        rows += _value_rows(value)
    if message.payload and not (message.reading or message.relay or message.is_refusal):
        rows.append(("数据域", "data", message.payload.hex(" ").upper()))
    if message.problem:
        said = _PROBLEMS_ZH.get(message.problem, message.problem)
        rows.append(("未解析", "not read", said))
    return rows


def _kind_zh(message: Message) -> str:
    if message.is_refusal:
        return "·异常应答"
    if message.is_answer:
        return "·应答，有后续帧" if message.has_more else "·应答"
    return "·命令"


def _address_zh(address: str) -> str:
    if address == dlt645.BROADCAST:
        return f"{address} 广播"
    return f"{address} 通配" if address.startswith("AA") else address


def _header_rows(message: Message) -> list[Row]:
    rows: list[Row] = []
    if message.sequence is not None:
        rows.append(("帧序号", "sequence", str(message.sequence)))
    if message.named:
        rows.append(("通信地址", "meter address", message.named))
    if message.when:
        rows.append(("广播时间", "broadcast time", _text(message.when)))
    if message.pattern:
        rows.append(("冻结时间(月日时分)", "freeze at MMDDhhmm", _freeze_zh(message.pattern)))
    if message.error is not None:
        words = "、".join(zh for _, zh in message.error_words) or "未指明"
        rows.append(("错误信息字", "error", f"{message.error:02X} {words}"))
    return rows


def _freeze_zh(pattern: str) -> str:
    """§7.2.7: leading 99 pairs stand for every month, day, hour; all of them for at once."""
    for head, said in (
        ("99999999", "立即"),
        ("999999", "每小时"),
        ("9999", "每日"),
        ("99", "每月"),
    ):
        if pattern.startswith(head):
            return f"{pattern} {said}"
    return pattern


def _order_rows(message: Message) -> list[Row]:
    rows: list[Row] = []
    if message.credentials:
        who = message.credentials
        rows.append(("权限", "level", who.level))
        if who.operator:
            rows.append(("操作者代码", "operator", who.operator))
    if message.relay:
        relay = message.relay
        english, chinese = RELAY_ORDERS.get(relay.n1, ("unknown order", "未知命令"))
        until = _text(relay.expiry) if relay.expiry else "[不是有效时间]"
        rows.append(("命令", "N1", f"{relay.n1:02X} {chinese} ({english})"))
        rows.append(("命令有效截止时间", "expiry", until))
    return rows


def _value_rows(value: Value) -> list[Row]:
    field = value.field
    zh = field.zh
    if field.tariff:
        zh += f" 费率{field.tariff}"
    if field.back:
        zh += f" 上{field.back}次"
    rows = [(zh, field.name.replace("_", " "), _shown(value))]
    if field.name == _STATUS_3 and isinstance(value.raw, int):
        state: Words = ("open", "断开") if relay_is_open(value.raw) else ("closed", "闭合")
        rows.append(("继电器", "relay", f"{state[1]} ({state[0]})"))
        rows.append(("状态", "bits", "、".join(zh for _, zh in status_3_words(value.raw))))
    return rows


def _shown(value: Value) -> str:
    if value.fault:
        said = _FAULTS_ZH.get(value.fault, value.fault)
        return f"[{said}: {value.data.hex(' ').upper()}]"
    if value.number is not None:
        unit = _UNITS_ZH.get(value.field.unit, value.field.unit)
        return f"{value.number:f} {unit}".strip()
    shown = _plain(value)
    return "-" if shown is None else str(shown)
