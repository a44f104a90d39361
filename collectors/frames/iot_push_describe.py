"""Platform pushes as plain JSON-able objects and as an installer's table in Chinese."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from collectors.frames import iot_push
from collectors.frames.iot_push import OCEAN, ONENET, Push, Report

_PLATFORMS_ZH: Final = {
    "ctwing_aep": "中国电信 CTWing (AEP)",
    "onenet": "中国移动 OneNET",
    "huawei_oceanconnect": "华为 OceanConnect / IoTDA",
    "chirpstack": "ChirpStack (LoRaWAN)",
}
_KINDS_ZH: Final = {
    "answer": "指令应答",
    "data": "数据上报",
    "event": "事件",
    "online": "上下线",
    "other": "其他",
}


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """{"json" or "hex", "platform"?} as the first report's fields, and all of them in "reports".

    Raises FrameError, ValueError where hex is none."""
    if "json" in row:
        body = json.dumps(row["json"], ensure_ascii=False).encode("utf-8", "surrogatepass")
    else:
        body = bytes.fromhex(row["hex"])
    push = iot_push.decode(body, row.get("platform"))
    reports = [_report(push, report) for report in push.reports]
    return {"platform": push.platform, **reports[0], **_services(push), "reports": reports}


def _services(push: Push) -> dict[str, Any]:
    return {"services": len(push.reports)} if push.platform == OCEAN else {}


def _report(push: Push, report: Report) -> dict[str, Any]:
    when = _utc(report.time, has_ms=push.platform in ("ctwing_aep", ONENET))
    return {
        "type": report.kind,
        "device_id": report.device_id,
        "product_id": report.product_id,
        "imei": report.imei,
        "time_utc": when,
        "at_utc": when,
        "payload_hex": None if report.payload is None else report.payload.hex().upper(),
        "payload_json": report.values,
        "stream": report.stream,
        "sequence": report.sequence,
        **{name: value for name, value in asdict(report.radio).items() if value is not None},
    }


def _utc(moment: datetime | None, *, has_ms: bool) -> str | None:
    """Milliseconds where the platform counts them, or where there are some."""
    if moment is None:
        return None
    spec = "milliseconds" if has_ms or moment.microsecond else "seconds"
    return moment.replace(tzinfo=None).isoformat(timespec=spec) + "Z"


def explain(data: bytes) -> list[tuple[str, str, str]]:
    """Rows (中文, English term, value) for one body; raises FrameError."""
    push = iot_push.decode(data)
    rows = [("平台", "platform", _PLATFORMS_ZH[push.platform])]
    for report in push.reports:
        rows.extend(_report_rows(_report(push, report)))
    return rows


_LABELS: Final = {
    "device_id": "设备编号",
    "product_id": "产品编号",
    "imei": "IMEI",
    "time_utc": "时间（UTC）",
    "stream": "数据流/服务/端口",
    "sequence": "序号",
    "payload_hex": "透传内容",
    "payload_json": "数据",
    "signal_dbm": "信号强度（dBm）",
    "snr_ddb": "信噪比（0.1 dB）",
    "battery_percent": "电量（%）",
}


def _report_rows(report: dict[str, Any]) -> list[tuple[str, str, str]]:
    rows = [("上报种类", "type", _KINDS_ZH[report["type"]])]
    for key, label in _LABELS.items():
        value = report.get(key)
        if value is not None:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            rows.append((label, key, text))
    return rows
