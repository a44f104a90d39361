"""Value information: what an M-Bus number means (EN 13757-3 §6.4, main table and FB/FD tables).

The tables are written as (first code, last code, quantity, unit, what the low bits say) and
unrolled once at import, so that decoding a record is one dictionary look-up.
"""

from __future__ import annotations

from typing import NamedTuple


class Vif(NamedTuple):
    """One value information code: value in `unit` = raw * factor * 10**exponent.

    kind   "number"  a measured quantity, signed
           "id"      digits that name something, never negative
           "flags"   bits or a code, not to be calculated with
           "time"    a date, a time or both, by data length (types F, G, I, J)
    """

    quantity: str
    zh: str
    unit: str
    factor: int = 1
    exponent: int = 0
    kind: str = "number"


SECONDS = (1, 60, 3600, 86400)

# (first, last, quantity, 中文, unit, exponent of the first code); exponents rise by one a code.
_MAIN_POWERS = (
    (0x00, 0x07, "Energy", "热量/能量", "Wh", -3),
    (0x08, 0x0F, "Energy", "热量/能量", "J", 0),
    (0x10, 0x17, "Volume", "体积", "m^3", -6),
    (0x18, 0x1F, "Mass", "质量", "kg", -3),
    (0x28, 0x2F, "Power", "功率", "W", -3),
    (0x30, 0x37, "Power", "功率", "J/h", 0),
    (0x38, 0x3F, "Volume flow", "流量", "m^3/h", -6),
    (0x40, 0x47, "Volume flow", "流量", "m^3/min", -7),
    (0x48, 0x4F, "Volume flow", "流量", "m^3/s", -9),
    (0x50, 0x57, "Mass flow", "质量流量", "kg/h", -3),
    (0x58, 0x5B, "Flow temperature", "供水温度", "°C", -3),
    (0x5C, 0x5F, "Return temperature", "回水温度", "°C", -3),
    (0x60, 0x63, "Temperature difference", "温差", "K", -3),
    (0x64, 0x67, "External temperature", "环境温度", "°C", -3),
    (0x68, 0x6B, "Pressure", "压力", "bar", -3),
)
_MAIN_DURATIONS = (
    (0x20, "On time", "通电时间"),
    (0x24, "Operating time", "工作时间"),
    (0x70, "Averaging duration", "平均周期"),
    (0x74, "Actuality duration", "数据时效"),
)
_MAIN_SINGLE = {
    0x6C: Vif("Time point (date)", "日期", "-", kind="time"),
    0x6D: Vif("Time point (date & time)", "日期时间", "-", kind="time"),
    0x6E: Vif("H.C.A.", "热分配计读数", "Units for H.C.A."),
    0x6F: Vif("Reserved", "保留", "", kind="flags"),
    0x78: Vif("Fabrication No", "出厂编号", "", kind="id"),
    0x79: Vif("(Enhanced) Identification", "标识号", "", kind="id"),
    0x7A: Vif("Bus Address", "总线地址", "", kind="id"),
    0x7E: Vif("Any VIF", "任意VIF", "", kind="flags"),
    0x7F: Vif("Manufacturer specific", "厂家自定义", "", kind="flags"),
}

_FD_POWERS = (
    (0x00, 0x03, "Credit", "预付余额", "currency", -3),
    (0x04, 0x07, "Debit", "欠费金额", "currency", -3),
    (0x40, 0x4F, "Voltage", "电压", "V", -9),
    (0x50, 0x5F, "Current", "电流", "A", -12),
)
_FD_DURATIONS = (
    (0x24, "Storage interval", "存储间隔"),
    (0x2C, "Duration since last readout", "距上次抄读"),
    (0x30, "Duration of tariff", "费率时长"),
    (0x34, "Period of tariff", "费率周期"),
    (0x3C, "Period of nominal data transmissions", "发送周期"),
)
# E110 10pp and E110 11pp count hours, days, months, years; months are not a number of seconds.
_FD_LONG_DURATIONS = (
    (0x68, "Duration since last cumulation", "距上次累计"),
    (0x6C, "Operating time battery", "电池工作时间"),
)
_LONG_UNITS = (("s", 3600), ("s", 86400), ("month", 1), ("year", 1))
_FD_SINGLE = {
    0x08: Vif("Access Number (transmission count)", "访问次数", "", kind="id"),
    0x09: Vif("Medium", "介质", "", kind="id"),
    0x0A: Vif("Manufacturer", "厂家", "", kind="id"),
    0x0B: Vif("Parameter set identification", "参数集编号", "", kind="id"),
    0x0C: Vif("Model/Version", "型号版本", "", kind="id"),
    0x0D: Vif("Hardware version", "硬件版本", "", kind="id"),
    0x0E: Vif("Firmware version", "固件版本", "", kind="id"),
    0x0F: Vif("Software version", "软件版本", "", kind="id"),
    0x10: Vif("Customer location", "用户位置", "", kind="id"),
    0x11: Vif("Customer", "用户", "", kind="id"),
    0x12: Vif("Access Code User", "用户访问码", "", kind="id"),
    0x13: Vif("Access Code Operator", "操作员访问码", "", kind="id"),
    0x14: Vif("Access Code System Operator", "系统操作员访问码", "", kind="id"),
    0x15: Vif("Access Code Developer", "开发者访问码", "", kind="id"),
    0x16: Vif("Password", "密码", "", kind="id"),
    0x17: Vif("Error flags", "故障标志", "", kind="flags"),
    0x18: Vif("Error mask", "故障屏蔽", "", kind="flags"),
    0x19: Vif("Security key", "安全密钥", "", kind="flags"),
    0x1A: Vif("Digital Output", "数字输出", "", kind="flags"),
    0x1B: Vif("Digital Input", "数字输入", "", kind="flags"),
    0x1C: Vif("Baudrate", "波特率", "Baud", kind="id"),
    0x1D: Vif("Response delay time", "响应延时", "Bittimes"),
    0x1E: Vif("Retry", "重试次数", ""),
    0x1F: Vif("Remote control", "远程控制", "", kind="flags"),
    0x20: Vif("First storage number for cyclic storage", "首个存储号", "", kind="id"),
    0x21: Vif("Last storage number for cyclic storage", "末个存储号", "", kind="id"),
    0x22: Vif("Size of storage block", "存储块大小", ""),
    0x23: Vif("Descriptor for tariff and device", "费率与设备描述", "", kind="flags"),
    0x28: Vif("Storage interval", "存储间隔", "month"),
    0x29: Vif("Storage interval", "存储间隔", "year"),
    0x2A: Vif("Operator specific data", "运营商数据", "", kind="flags"),
    0x2B: Vif("Time point second", "秒", "s"),
    0x30: Vif("Start (date/time) of tariff", "费率开始时间", "-", kind="time"),
    0x38: Vif("Period of tariff", "费率周期", "month"),
    0x39: Vif("Period of tariff", "费率周期", "year"),
    0x3A: Vif("Dimensionless", "无量纲", ""),
    0x3B: Vif("Data container for wireless M-Bus", "无线数据容器", "", kind="flags"),
    0x60: Vif("Reset counter", "复位次数", ""),
    0x61: Vif("Cumulation counter", "累计次数", ""),
    0x62: Vif("Control signal", "控制信号", "", kind="flags"),
    0x63: Vif("Day of week", "星期", ""),
    0x64: Vif("Week number", "周数", ""),
    0x65: Vif("Time point of day change", "换日时刻", "-", kind="time"),
    0x66: Vif("State of parameter activation", "参数激活状态", "", kind="flags"),
    0x67: Vif("Special supplier information", "供应商信息", "", kind="flags"),
    0x70: Vif("Date and time of battery change", "电池更换时间", "-", kind="time"),
    0x71: Vif("RF level", "射频电平", "dBm"),
    0x72: Vif("Daylight saving", "夏令时", "", kind="flags"),
    0x73: Vif("Listening window management", "监听窗口", "", kind="flags"),
    0x74: Vif("Remaining battery life time", "电池剩余寿命", "s", 86400),
    0x75: Vif("Number of times the meter was stopped", "停表次数", ""),
    0x76: Vif("Data container for manufacturer protocol", "厂家数据容器", "", kind="flags"),
}

_FB_POWERS = (
    (0x00, 0x01, "Energy", "热量/能量", "Wh", 5),
    (0x02, 0x03, "Reactive energy", "无功电量", "varh", 3),
    (0x04, 0x05, "Apparent energy", "视在电量", "VAh", 3),
    (0x08, 0x09, "Energy", "热量/能量", "J", 8),
    (0x0C, 0x0F, "Energy", "热量/能量", "cal", 5),
    (0x10, 0x11, "Volume", "体积", "m^3", 2),
    (0x14, 0x17, "Reactive power", "无功功率", "var", 0),
    (0x18, 0x19, "Mass", "质量", "kg", 5),
    (0x1A, 0x1B, "Relative humidity", "相对湿度", "%", -1),
    (0x28, 0x29, "Power", "功率", "W", 5),
    (0x2C, 0x2F, "Frequency", "频率", "Hz", -3),
    (0x30, 0x31, "Power", "功率", "J/h", 8),
    (0x34, 0x37, "Apparent power", "视在功率", "VA", 0),
    (0x58, 0x5B, "Flow temperature", "供水温度", "°F", -3),
    (0x5C, 0x5F, "Return temperature", "回水温度", "°F", -3),
    (0x60, 0x63, "Temperature difference", "温差", "°F", -3),
    (0x64, 0x67, "External temperature", "环境温度", "°F", -3),
    (0x70, 0x73, "Cold / warm temperature limit", "冷热温度界限", "°F", -3),
    (0x74, 0x77, "Cold / warm temperature limit", "冷热温度界限", "°C", -3),
    (0x78, 0x7F, "Cumulative count of max power", "最大功率累计", "W", -3),
)
_FB_SINGLE = {
    0x20: Vif("Volume", "体积", "ft^3"),
    0x21: Vif("Volume", "体积", "ft^3", exponent=-1),
    0x22: Vif("Volume", "体积", "gal", exponent=-1),
    0x23: Vif("Volume", "体积", "gal"),
    0x24: Vif("Volume flow", "流量", "gal/min", exponent=-3),
    0x25: Vif("Volume flow", "流量", "gal/min"),
    0x26: Vif("Volume flow", "流量", "gal/h"),
    0x2A: Vif("Phase voltage to voltage", "电压相位差", "°", exponent=-1),
    0x2B: Vif("Phase voltage to current", "电压电流相位差", "°", exponent=-1),
}
_PowerRow = tuple[int, int, str, str, str, int]


def _unroll(
    powers: tuple[_PowerRow, ...],
    durations: tuple[tuple[int, str, str], ...],
    single: dict[int, Vif],
) -> list[Vif]:
    """All 128 codes of one table; codes the standard reserves become kind "flags"."""
    table = [Vif(f"Reserved {code:02X}", "保留", "", kind="flags") for code in range(128)]
    for first, last, quantity, zh, unit, exponent in powers:
        for code in range(first, last + 1):
            table[code] = Vif(quantity, zh, unit, exponent=exponent + code - first)
    for first, quantity, zh in durations:
        for step, factor in enumerate(SECONDS):
            table[first + step] = Vif(quantity, zh, "s", factor)
    for code, vif in single.items():
        table[code] = vif
    return table


def _long_durations(table: list[Vif]) -> list[Vif]:
    for first, quantity, zh in _FD_LONG_DURATIONS:
        for step, (unit, factor) in enumerate(_LONG_UNITS):
            table[first + step] = Vif(quantity, zh, unit, factor)
    return table


MAIN = _unroll(_MAIN_POWERS, _MAIN_DURATIONS, _MAIN_SINGLE)
FD = _long_durations(_unroll(_FD_POWERS, _FD_DURATIONS, _FD_SINGLE))
FB = _unroll(_FB_POWERS, (), _FB_SINGLE)

# Fixed structure (EN 13757-3 Annex, EN 1434-3): six bits, (unit, factor, exponent) by code.
_FIXED_LADDER = (
    (0x02, "Energy", "热量/能量", "Wh", ("Wh", "kWh", "MWh"), 0),
    (0x0B, "Energy", "热量/能量", "J", ("kJ", "MJ", "GJ"), 3),
    (0x14, "Power", "功率", "W", ("W", "kW", "MW"), 0),
    (0x1D, "Power", "功率", "J/h", ("kJ/h", "MJ/h", "GJ/h"), 3),
    (0x26, "Volume", "体积", "m^3", ("ml", "l", "m^3"), -6),
    (0x2F, "Volume flow", "流量", "m^3/h", ("ml/h", "l/h", "m^3/h"), -6),
)
_FIXED_SINGLE = {
    0x00: (Vif("Time", "时间", "h,m,s", kind="flags"), "h,m,s"),
    0x01: (Vif("Date", "日期", "D,M,Y", kind="flags"), "D,M,Y"),
    0x38: (Vif("Temperature", "温度", "°C", exponent=-3), "°C*10^-3"),
    0x39: (Vif("H.C.A.", "热分配计读数", "Units for H.C.A."), "units for HCA"),
    0x3E: (Vif("Historic", "历史值", "", kind="flags"), "reserved but historic"),
    0x3F: (Vif("No unit", "无单位", ""), "without units"),
}


def _fixed() -> list[tuple[Vif, str]]:
    table = [(Vif("Reserved", "保留", "", kind="flags"), "reserved") for _ in range(64)]
    for first, quantity, zh, base, names, exponent in _FIXED_LADDER:
        for step in range(9):
            power, name = step % 3, names[step // 3]
            label = name if power == 0 else f"{10**power} {name}"
            table[first + step] = (Vif(quantity, zh, base, exponent=exponent + step), label)
    for code, row in _FIXED_SINGLE.items():
        table[code] = row
    return table


FIXED = _fixed()
