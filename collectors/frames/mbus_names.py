"""Names behind M-Bus codes: media, status bits, application errors (EN 13757-3 §5.7, §5.10)."""

from __future__ import annotations

MEDIA = {
    0x00: ("Other", "其他"),
    0x01: ("Oil", "油"),
    0x02: ("Electricity", "电"),
    0x03: ("Gas", "燃气"),
    0x04: ("Heat: Outlet", "热量（回水安装）"),
    0x05: ("Steam", "蒸汽"),
    0x06: ("Warm water (30-90°C)", "温水（30-90°C）"),
    0x07: ("Water", "水"),
    0x08: ("Heat Cost Allocator", "热分配计"),
    0x09: ("Compressed Air", "压缩空气"),
    0x0A: ("Cooling load meter: Outlet", "冷量（回水安装）"),
    0x0B: ("Cooling load meter: Inlet", "冷量（供水安装）"),
    0x0C: ("Heat: Inlet", "热量（供水安装）"),
    0x0D: ("Heat / Cooling load meter", "冷热两用表"),
    0x0E: ("Bus/System", "总线/系统"),
    0x0F: ("Unknown Medium", "未知介质"),
    0x14: ("Calorific value", "热值"),
    0x15: ("Hot water (>=90°C)", "热水（≥90°C）"),
    0x16: ("Cold water", "冷水"),
    0x17: ("Dual water", "冷热水双用表"),
    0x18: ("Pressure", "压力"),
    0x19: ("A/D Converter", "模数转换器"),
    0x1A: ("Smoke detector", "烟感"),
    0x1B: ("Room sensor", "室温传感器"),
    0x1C: ("Gas detector", "燃气探测器"),
    0x20: ("Breaker (electricity)", "断路器"),
    0x21: ("Valve (gas or water)", "阀门"),
    0x25: ("Customer unit", "用户显示单元"),
    0x28: ("Waste water", "污水"),
    0x29: ("Garbage", "垃圾"),
    0x2A: ("Carbon dioxide", "二氧化碳"),
    0x31: ("Communication controller", "通信控制器"),
    0x32: ("Unidirectional repeater", "单向中继"),
    0x33: ("Bidirectional repeater", "双向中继"),
    0x36: ("Radio converter (system side)", "无线转换器（系统侧）"),
    0x37: ("Radio converter (meter side)", "无线转换器（表侧）"),
}
FIXED_MEDIA = (
    ("Other", "其他"),
    ("Oil", "油"),
    ("Electricity", "电"),
    ("Gas", "燃气"),
    ("Heat", "热量"),
    ("Steam", "蒸汽"),
    ("Hot water", "热水"),
    ("Water", "水"),
    ("Heat Cost Allocator", "热分配计"),
    ("Reserved", "保留"),
    ("Gas (mode 2)", "燃气（模式2）"),
    ("Heat (mode 2)", "热量（模式2）"),
    ("Hot water (mode 2)", "热水（模式2）"),
    ("Water (mode 2)", "水（模式2）"),
    ("Heat Cost Allocator (mode 2)", "热分配计（模式2）"),
    ("Reserved", "保留"),
)
APPLICATION_ERRORS = (
    "Unspecified error",
    "Unimplemented CI-Field",
    "Buffer too long, truncated",
    "Too many records",
    "Premature end of record",
    "More than 10 DIFE´s",
    "More than 10 VIFE´s",
    "Reserved",
    "Application busy",
    "Too many readouts",
)
_APPLICATION_STATE = (None, "应用忙", "应用错误", "异常/告警")
_STATUS_BITS = (
    (0x04, "电池电量低"),
    (0x08, "永久故障"),
    (0x10, "暂时故障"),
    (0x20, "厂家位5"),
    (0x40, "厂家位6"),
    (0x80, "厂家位7"),
)
CONTROLS = {
    0x40: "SND_NKE",
    0x53: "SND_UD",
    0x73: "SND_UD",
    0x5A: "REQ_UD1",
    0x7A: "REQ_UD1",
    0x5B: "REQ_UD2",
    0x7B: "REQ_UD2",
    0x08: "RSP_UD",
    0x18: "RSP_UD",
    0x28: "RSP_UD",
    0x38: "RSP_UD",
}
CI_NAMES = {
    0x50: "application reset",
    0x51: "data send",
    0x52: "selection of slaves",
    0x54: "synchronise",
    0x55: "data send (high byte first)",
    0x70: "application error",
    0x71: "alarm status",
    0x72: "variable data",
    0x73: "fixed data",
    0x76: "variable data (high byte first)",
    0x77: "fixed data (high byte first)",
    0x78: "variable data without header",
    0x7A: "variable data with short header",
    0xB8: "set 300 baud",
    0xB9: "set 600 baud",
    0xBA: "set 1200 baud",
    0xBB: "set 2400 baud",
    0xBC: "set 4800 baud",
    0xBD: "set 9600 baud",
    0xBE: "set 19200 baud",
    0xBF: "set 38400 baud",
}


def medium_name(code: int | None) -> str | None:
    """English name as the standard's tools print it; unknown codes keep their number."""
    return None if code is None else MEDIA.get(code, (f"Unknown ({code:02X})", ""))[0]


def medium_zh(code: int | None) -> str:
    return "" if code is None else MEDIA.get(code, ("", f"未知（{code:02X}）"))[1]


def status_zh(status: int) -> str:
    """The status byte of a telegram header in words; "正常" where no bit is set."""
    words = [w for w in (_APPLICATION_STATE[status & 3],) if w]
    words += [word for bit, word in _STATUS_BITS if status & bit]
    return "、".join(words) or "正常"


def application_error(code: int | None) -> str:
    """What a slave complains about in CI 70; without a code the error is unspecified."""
    if code is None:
        return APPLICATION_ERRORS[0]
    if code < len(APPLICATION_ERRORS):
        return APPLICATION_ERRORS[code]
    return f"Unknown error (0x{code:02X})"


def control_name(control: int) -> str:
    return CONTROLS.get(control, f"C={control:02X}")
