"""A modem's packets as plain JSON-able objects and as an installer's table in Chinese."""

from __future__ import annotations

from typing import Any, Final

from collectors.frames import dtu

_KINDS_ZH: Final = {"registration": "注册包", "heartbeat": "心跳包", "data": "数据"}


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """{"hex"} as {"kind", "id", "form", "payload", "text"}; raises FrameError or ValueError."""
    packet = dtu.classify(bytes.fromhex(row["hex"]))
    return {
        "kind": packet.kind,
        "id": packet.id,
        "form": packet.form,
        "payload": packet.payload.hex().upper(),
        "text": _text(packet),
    }


def _text(packet: dtu.Packet) -> str | None:
    text = packet.raw.rstrip(b"\r\n\0").decode("ascii", "replace")
    return text if text.isprintable() and "\ufffd" not in text else None


def explain(data: bytes) -> list[tuple[str, str, str]]:
    """Rows (中文, English term, value) for one packet; raises FrameError."""
    packet = dtu.classify(data)
    rows = [("报文种类", "kind", f"{_KINDS_ZH[packet.kind]} ({packet.kind})")]
    if packet.id is not None:
        rows.append(("模块编号", "id", packet.id))
    rows.append(("编号形式", "form", packet.form))
    if packet.payload:
        rows.append(("数据", "payload", packet.payload.hex(" ").upper()))
    text = _text(packet)
    return rows if text is None else [*rows, ("文本", "text", text)]
