"""`nuan decode`: what a frame says, for a program (JSON lines) or for an installer (a table)."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from importlib import import_module
from types import ModuleType
from typing import Any

from collectors.frames import FrameError

# Protocol -> module with describe(row) -> dict, and where it has one explain(bytes) -> rows.
# Loaded by name when asked for, so that one protocol never costs or breaks another.
PROTOCOLS = {
    "cjt188": "collectors.frames.cjt188_describe",
    "dlt645_1997": "collectors.frames.dlt645_1997_describe",
    "dlt645_2007": "collectors.frames.dlt645_describe",
    "dtu": "collectors.frames.dtu_describe",
    "iot_push": "collectors.frames.iot_push_describe",
    "mbus": "collectors.frames.mbus_describe",
    "mbus_errors": "collectors.frames.mbus_describe",
    "modbus": "collectors.frames.modbus_describe",
    "qgdw3761": "collectors.frames.qgdw3761_describe",
}
Row = tuple[str, str, str]

REASONS_ZH = {
    "checksum": "校验和不符",
    "fill_value": "数据为填充值",
    "length": "长度不符",
    "not_bcd": "含有非BCD数字",
    "short": "帧不完整",
    "start": "找不到帧起始符",
    "stop": "结束符不符",
    "structure": "数据记录残缺",
    "text": "不是有效文本",
    "time": "不是有效时间",
    "unsupported": "不支持的内容",
}
# Chinese for the keys a codec's describe() uses; a key without one is shown as it is.
LABELS_ZH = {
    "address": "地址",
    "ctrl": "控制码",
    "current_heat": "当前热量",
    "cumulative_volume": "累计流量",
    "data": "数据域",
    "di": "数据标识",
    "flow": "瞬时流量",
    "heat_power": "热功率",
    "length": "长度",
    "meter_time": "表内时间",
    "meter_type": "表类型",
    "preamble": "前导字节数",
    "return_temp_c": "回水温度",
    "ser": "序号",
    "balance": "剩余金额",
    "bought_now": "本次购入金额",
    "bought_total": "累计购入金额",
    "key_version": "密钥版本号",
    "price_1": "价格一",
    "price_2": "价格二",
    "price_3": "价格三",
    "purchase_no": "购买序号",
    "reading_day": "抄表日",
    "settlement_cooling": "结算日冷量",
    "settlement_day": "结算日",
    "settlement_heat": "结算日热量",
    "settlement_volume": "结算日累计流量",
    "status": "状态",
    "supply_temp_c": "供水温度",
    "valve": "阀门",
    "working_hours": "累计工作时间",
}


def _module(protocol: object) -> ModuleType:
    """The protocol's describing module; raises ValueError with one line a person understands."""
    name = PROTOCOLS.get(protocol) if isinstance(protocol, str) else None
    if name is None:
        raise ValueError(f"unknown protocol {protocol!r}, known: {', '.join(sorted(PROTOCOLS))}")
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        raise ValueError(f"protocol {protocol} is not installed here: {error}") from error


def answer_line(line: str | bytes) -> dict[str, Any]:
    """One JSON line in, one answer out: {"vector", ...} or {"vector", "reject"}; never raises."""
    vector = None
    try:
        row = json.loads(line)
        if not isinstance(row, dict):
            raise ValueError("a line must be a JSON object")
        vector = row.get("id")
        describe: Callable[[dict[str, Any]], dict[str, Any]] = _module(row.get("protocol")).describe
        return {"vector": vector, **describe(row)}
    except FrameError as error:
        return {"vector": vector, "reject": str(error), "code": error.code, "at": error.at}
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        return {"vector": vector, "reject": f"not a line of JSON: {error}"}
    except KeyError as error:
        return {"vector": vector, "reject": f"the line has no {error}"}
    except (ValueError, TypeError) as error:
        return {"vector": vector, "reject": str(error)}


def answer_lines(lines: Iterable[str | bytes]) -> Iterator[str]:
    """Answers in the order of the lines, blank lines left out, each a line of JSON."""
    for line in lines:
        if line.strip():
            yield json.dumps(answer_line(line), ensure_ascii=False, default=str) + "\n"


def parse_hex(words: Iterable[str]) -> bytes:
    """Bytes from what an installer pastes: spaces, commas, colons, dashes and 0x are let pass."""
    text = " ".join(words).lower().replace("0x", " ")
    for mark in ",:;-":
        text = text.replace(mark, " ")
    text = "".join(text.split())
    if not text or len(text) % 2:
        raise ValueError(f"{len(text)} hex digits are no whole bytes")
    return bytes.fromhex(text)


def explain(protocol: str, data: bytes) -> list[Row]:
    """Rows (中文, English term, value) for one frame; raises FrameError or ValueError."""
    module = _module(protocol)
    if hasattr(module, "explain"):
        rows: list[Row] = module.explain(data)
        return rows
    answer = module.describe({"id": "cli", "protocol": protocol, "hex": data.hex()})
    if answer.get("reject"):
        code, _, reason = str(answer["reject"]).partition(": ")
        raise FrameError(reason or code, code=code)
    return list(_flat(answer))


def _flat(answer: dict[str, Any]) -> Iterator[Row]:
    """Nested answers row by row, a value joined with its unit."""
    for key, value in answer.items():
        if key == "unreadable":
            for name, why in value.items():
                yield LABELS_ZH.get(name, name), name, f"[不可读: {why}]"
        elif isinstance(value, dict):
            yield from _flat(value)
        elif value is not None and not key.endswith("_unit"):
            unit = answer.get(f"{key}_unit") or ""
            yield LABELS_ZH.get(key, key), key, f"{value} {unit}".strip()


def refusal_zh(error: Exception) -> str:
    """One line for a person: what is wrong in Chinese, the exact finding after it."""
    if isinstance(error, FrameError):
        return f"帧有误：{REASONS_ZH.get(error.code, '无法解析')}（{error}）"
    return f"无法解析：{error}"


def table(rows: list[Row]) -> str:
    """Rows as aligned columns, full-width characters counted as two."""
    widths = [max(_width(row[n]) for row in rows) for n in (0, 1)]
    return "\n".join(
        f"{_pad(zh, widths[0])}  {_pad(term, widths[1])}  {value}".rstrip()
        for zh, term, value in rows
    )


def _width(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text)


def _pad(text: str, width: int) -> str:
    return text + " " * (width - _width(text))
