"""Q/GDW 376.1 frames as plain JSON-able objects and as an installer's table in Chinese."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any, Final

from collectors.frames import qgdw3761
from collectors.frames.errors import FrameError
from collectors.frames.qgdw3761 import ALL_POINTS, Item, Message
from collectors.frames.qgdw3761_events import event_name
from collectors.frames.qgdw3761_tables import AFN_NAMES, function_name

_LABELS: Final = {
    "address": "表地址",
    "base_time": "上报基准时间",
    "clock": "终端时钟",
    "density": "曲线密度",
    "baud": "通信速率",
    "capacity": "终端配置容量信息码",
    "code": "事件代码",
    "device": "设备编号",
    "error": "结果",
    "events": "事件记录",
    "first": "事件记录起始指针",
    "hardware": "终端硬件版本号",
    "hardware_day": "终端硬件发布日期",
    "index": "序号",
    "indices": "序号",
    "last": "事件记录结束指针",
    "maker": "厂商代号",
    "protocol": "通信协议",
    "record": "事件内容",
    "software": "终端软件版本号",
    "software_day": "终端软件发布日期",
    "freeze_day": "冻结日",
    "freeze_month": "冻结月",
    "general_events": "一般事件计数",
    "important_events": "重要事件计数",
    "inner": "转发内容",
    "meters": "电能表档案",
    "of_afn": "被确认的功能码",
    "points": "数据点数",
    "port": "终端端口号",
    "port_control": "端口通信控制字",
    "timeout": "接收等待报文超时",
    "byte_timeout_10ms": "接收等待字节超时(10ms)",
    "ports": "抄表端口",
    "reading_time": "抄表时间",
    "results": "逐项结果",
    "start": "起始时间",
    "tariffs": "费率数",
}
# Longest first; what follows such a beginning is shown behind it.
_QUANTITIES: Final = (
    ("used_forward_active", "正向有功电能量"),
    ("used_forward_reactive", "正向无功电能量"),
    ("used_reverse_active", "反向有功电能量"),
    ("used_reverse_reactive", "反向无功电能量"),
    ("forward_active", "正向有功示值"),
    ("forward_reactive", "正向无功示值"),
    ("reverse_active", "反向有功示值"),
    ("reverse_reactive", "反向无功示值"),
    ("quadrant_", "象限无功示值"),
    ("demand_", "最大需量"),
    ("active_power", "有功功率"),
    ("reactive_power", "无功功率"),
    ("apparent_power", "视在功率"),
    ("power_factor", "功率因数"),
    ("voltage", "电压"),
    ("current", "电流"),
)


_WITH_SECONDS: Final = frozenset(("clock", "base_time"))


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """One input row {"hex", "input"?} as {"frame", "values", "items"}; raises FrameError.

    input: absent = one frame; "stream" or "dtu" = the first good frame in it. A value the terminal
    does not have is null. Raises ValueError for what is not hexadecimal.
    """
    data = bytes.fromhex(row["hex"])
    message = _find(data, is_stream=row.get("input") in ("stream", "dtu"))
    return {
        "frame": _frame(message),
        "values": _values(message),
        "items": [_item(item) for item in message.items],
    }


def _find(data: bytes, *, is_stream: bool) -> Message:
    """The message in `data`; a lone frame must be good itself, in a stream bad ones are passed."""
    first: FrameError | None = None
    while data:
        try:
            message, _ = qgdw3761.decode(data)
        except FrameError as error:
            if not is_stream:
                raise
            first = first or error
            data = data[error.consumed :]
            continue
        if message is not None:
            return message
        break
    raise first or _incomplete(data)


def _incomplete(data: bytes) -> FrameError:
    if qgdw3761.START not in data:
        return FrameError("no start byte", code="start")
    return FrameError("the frame is not complete", at=len(data), code="short")


def _frame(message: Message) -> dict[str, Any]:
    return {
        "protocol_version": message.version,
        "user_length": len(message.raw) - qgdw3761.OVERHEAD,
        "ctrl": f"{message.control:02X}",
        "dir": "up" if message.is_up else "down",
        "prm": int(message.is_started),
        "function_code": message.control & 0x0F,
        "acd": message.control >> 5 & 1,
        "a1": message.a1,
        "a2": message.a2,
        "a3": f"{message.a3:02X}",
        "afn": message.afn,
        "seq": f"{message.seq:02X}",
        "tpv": message.seq >> 7,
        "fir": message.seq >> 6 & 1,
        "fin": message.seq >> 5 & 1,
        "con": message.seq >> 4 & 1,
        "pseq": message.number,
        "pn": ["all" if pn == ALL_POINTS else pn for pn in message.points],
        "fn": list(message.functions),
        "data": message.data.hex().upper(),
        "offset": message.offset,
    }


def _values(message: Message) -> dict[str, Any]:
    """The first item's values beside what the whole frame says."""
    out: dict[str, Any] = {"direction": "response" if message.is_up else "request"}
    if message.password is not None:
        out["has_pw"] = True
    if message.events is not None:
        out["important_events"], out["general_events"] = message.events
    if message.stamp is not None:
        out["has_tp"], out["tp"] = True, message.stamp.raw.hex().upper()
    if message.trailing:
        out["trailing"] = message.trailing.hex().upper()
    if message.items:
        first = message.items[0]
        out["function"] = function_name(message.afn, first.fn)
        out.update(_item_values(first))
    return out


def _item(item: Item) -> dict[str, Any]:
    pn = "all" if item.pn == ALL_POINTS else item.pn
    return {"pn": pn, "fn": item.fn, **_item_values(item)}


def _item_values(item: Item) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in (item.values or {}).items():
        out[name] = _plain(value, name)
        if isinstance(value, tuple) and value and value[0] is not None:
            out[f"total_{name}"] = _plain(value[0])
    if item.is_missing:
        out["all_values_missing"] = True
    if item.values is None and item.body:
        out["body"] = item.body.hex().upper()
    if item.faults:
        out["unreadable"] = item.faults
    return out


def _plain(value: Any, name: str = "") -> Any:
    """A decoded value in JSON's own types."""
    if isinstance(value, (tuple, list)):
        return [_plain(one, name) for one in value]
    if isinstance(value, dict):
        return {key: _plain(one, key) for key, one in value.items()}
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, bytes):
        return value.hex().upper()
    return _plain_time(value, name)


def _plain_time(value: Any, name: str) -> Any:
    if isinstance(value, datetime):
        return value.isoformat(" ", "seconds" if name in _WITH_SECONDS else "minutes")
    if isinstance(value, date):
        return value.isoformat()
    return value.strftime("%H:%M") if isinstance(value, time) else value


# --- for an installer ---------------------------------------------------------------------------

Row = tuple[str, str, str]


def explain(data: bytes) -> list[Row]:
    """Rows (中文, English term, value) of one frame; raises FrameError."""
    message = _find(data, is_stream=False)
    name, name_zh = AFN_NAMES.get(message.afn, ("unknown", "未知"))
    year = {1: "Q/GDW 130-2005", 2: "Q/GDW 376.1-2009"}[message.version]
    rows = [
        ("规约", "protocol", year),
        ("方向", "direction", "上行（终端→主站）" if message.is_up else "下行（主站→终端）"),
        ("终端地址", "terminal", f"{message.a1} {message.a2:05d} (A2={message.a2:04X}H)"),
        ("主站地址", "master", f"{message.a3:02X}"),
        ("功能码", "afn", f"{message.afn:02X} {name_zh} ({name})"),
        ("帧序号", "sequence", f"{message.number}{_flags(message)}"),
    ]
    for item in message.items:
        rows.extend(_item_rows(message, item))
    return rows + _tail_rows(message)


def _flags(message: Message) -> str:
    words = [] if message.is_whole else ["多帧"]
    if message.wants_confirm:
        words.append("要求确认")
    return f"（{'，'.join(words)}）" if words else ""


def _item_rows(message: Message, item: Item) -> list[Row]:
    point = "全部测量点" if item.pn == ALL_POINTS else f"p{item.pn}"
    name = function_name(message.afn, item.fn, chinese=True)
    rows = [("数据单元", "unit", f"{point} F{item.fn} {name}")]
    if item.is_missing:
        rows.append(("全部数据缺失", "missing", "终端无此数据（EE填充）"))
    for key, value in (item.values or {}).items():
        if not item.is_missing or not isinstance(value, tuple):
            rows.append((_label(key), key, _text(value, key)))
    for key, why in item.faults.items():
        rows.append((_label(key), key, f"[不可读: {why}]"))
    if item.values is None and item.body:
        rows.append(("未解析内容", "body", item.body.hex(" ").upper()))
    return rows


def _label(key: str) -> str:
    if key in _LABELS:
        return _LABELS[key]
    return next((zh for start, zh in _QUANTITIES if key.startswith(start)), key)


def _text(value: Any, name: str) -> str:
    if value is None:
        return "缺失"
    if isinstance(value, bytes):
        return value.hex(" ").upper()
    if isinstance(value, (tuple, list)):
        return "; ".join(_text(one, name) for one in value)
    if isinstance(value, dict):
        return ", ".join(f"{_label(key)} {_text(one, key)}" for key, one in value.items())
    if name == "code":
        return f"{value} {event_name(value)}"
    return str(_plain_time(value, name))


def _tail_rows(message: Message) -> list[Row]:
    rows = []
    if message.events is not None:
        counts = f"重要 {message.events[0]}，一般 {message.events[1]}"
        rows.append(("事件计数器", "events", counts))
    if message.password is not None:
        rows.append(("消息认证码", "password", message.password.hex().upper()))
    if message.stamp is not None:
        rows.append(("时间标签", "time_stamp", message.stamp.raw.hex(" ").upper()))
    if message.trailing:
        rows.append(("多余字节", "trailing", message.trailing.hex(" ").upper()))
    return rows
