"""Combinable value information extensions (EN 13757-3 §6.4.6): what bends a quantity's meaning."""

from __future__ import annotations

from typing import NamedTuple

from collectors.frames.mbus_vif import SECONDS, Vif


class Qualifier(NamedTuple):
    """One combinable VIFE. `effect` says what it does to the value, with `amount` as its size.

    effect  "none" only a name · "per" unit suffix · "exponent" power of ten · "offset" 10**amount
            added · "count" a number of events · "time" a date instead of the quantity ·
            "duration" seconds (factor `amount`) · "error" the record reports that error ·
            "maker" this and all further bytes are the manufacturer's
    """

    name: str
    zh: str
    effect: str = "none"
    amount: int = 0
    suffix: str = ""


_PER = (
    "s", "min", "h", "d", "week", "month", "year", "revolution",
    "pulse (input 0)", "pulse (input 1)", "pulse (output 0)", "pulse (output 1)",
    "l", "m^3", "kg", "K", "kWh", "GJ", "kW", "(K*l)", "V", "A",
)  # fmt: skip
_TIMES = ("s", "s/V", "s/A")
_PLAIN = {
    0x1E: ("compact profile with registers", "带寄存器曲线"),
    0x1F: ("compact profile", "曲线"),
    0x39: ("start of", "开始时间"),
    0x3A: ("uncorrected", "未修正"),
    0x3B: ("only positive contributions", "仅正向累计"),
    0x3C: ("only negative contributions", "仅反向累计"),
    0x3D: ("non-metric units", "非公制单位"),
    0x3E: ("at base conditions", "标准工况"),
    0x3F: ("OBIS declaration", "OBIS声明"),
    0x40: ("lower limit", "下限"),
    0x48: ("upper limit", "上限"),
    0x68: ("during lower limit exceed", "低于下限期间"),
    0x6C: ("during upper limit exceed", "高于上限期间"),
    0x69: ("leakage", "泄漏"),
    0x6D: ("overflow", "溢出"),
    0x7E: ("future value", "未来值"),
}
# §6.4.8 and §9: what a slave says about one record instead of giving a good value.
RECORD_ERRORS = {
    0x01: "too many DIFEs",
    0x02: "storage number not implemented",
    0x03: "unit number not implemented",
    0x04: "tariff number not implemented",
    0x05: "function not implemented",
    0x06: "data class not implemented",
    0x07: "data size not implemented",
    0x0B: "too many VIFEs",
    0x0C: "illegal VIF group",
    0x0D: "illegal VIF exponent",
    0x0E: "VIF/DIF mismatch",
    0x0F: "unimplemented action",
    0x15: "no data available",
    0x16: "data overflow",
    0x17: "data underflow",
    0x18: "data error",
    0x1C: "premature end of record",
}
_EXTENDED = {
    0x01: ("phase L1", "L1相"),
    0x02: ("phase L2", "L2相"),
    0x03: ("phase L3", "L3相"),
    0x04: ("neutral", "中性线"),
    0x05: ("between L1 and L2", "L1-L2"),
    0x06: ("between L2 and L3", "L2-L3"),
    0x07: ("between L3 and L1", "L3-L1"),
    0x10: ("absolute accumulation", "绝对值累计"),
}


def _limits(code: int) -> Qualifier:
    """E100 uf1b, E101 ufnn, E110 0fnn, E110 1f1b: when and how long (§6.4.6, table 15)."""
    side = "upper" if code & 0x08 else "lower"
    which = "last" if code & 0x04 else "first"
    if code < 0x50 and code & 0x07 == 1:
        return Qualifier(f"number of {side} limit exceeds", "越限次数", "count")
    edge = "end" if code & 0x01 else "begin"
    if code < 0x50 and code & 0x02:
        return Qualifier(f"{edge} of {which} {side} limit exceed", "越限时刻", "time")
    if 0x50 <= code < 0x60:
        name = f"duration of {which} {side} limit exceed"
        return Qualifier(name, "越限时长", "duration", SECONDS[code & 3])
    if 0x60 <= code < 0x68:
        return Qualifier(f"duration of {which}", "时长", "duration", SECONDS[code & 3])
    if code >= 0x68 and code & 0x02:
        return Qualifier(f"{edge} of {which}", "时刻", "time")
    return Qualifier(f"reserved {code:02X}", "保留", "maker")


def _qualifier(code: int) -> Qualifier:
    if code == 0:
        return Qualifier("no error", "无错误")
    if code in RECORD_ERRORS:
        return Qualifier(RECORD_ERRORS[code], "记录错误", "error", code)
    if code in _PLAIN:
        name, zh = _PLAIN[code]
        return Qualifier(name, zh, "time" if code == 0x39 else "none")
    if 0x20 <= code <= 0x35:
        unit = _PER[code - 0x20]
        return Qualifier(f"per {unit}", f"每{unit}", "per", suffix=f"/{unit}")
    if 0x36 <= code <= 0x38:
        unit = _TIMES[code - 0x36]
        return Qualifier(f"times {unit}", f"乘{unit}", "per", suffix=f"*{unit}")
    if 0x40 <= code < 0x70:
        return _limits(code)
    if 0x70 <= code <= 0x77:
        return Qualifier(f"10^{code - 0x76}", "修正系数", "exponent", code - 0x76)
    if 0x78 <= code <= 0x7B:
        return Qualifier(f"plus 10^{code - 0x7B}", "修正常数", "offset", code - 0x7B)
    if code == 0x7D:
        return Qualifier("10^3", "修正系数", "exponent", 3)
    if code == 0x7F:
        return Qualifier("manufacturer specific", "厂家自定义", "maker")
    return Qualifier(f"reserved {code:02X}", "保留", "maker")


TABLE = [_qualifier(code) for code in range(128)]
EXTENSION = 0x7C


def qualifiers(codes: bytes) -> tuple[Qualifier, ...]:
    """Read the VIFEs after the true VIF. After 7F the rest is the maker's and stays unread."""
    found: list[Qualifier] = []
    extended = False
    for byte in codes:
        code = byte & 0x7F
        if extended:
            name, zh = _EXTENDED.get(code, (f"reserved 7C{code:02X}", "保留"))
            found.append(Qualifier(name, zh, "none" if code in _EXTENDED else "maker"))
            extended = False
        elif code == EXTENSION:
            extended = True
        else:
            found.append(TABLE[code])
            if code == 0x7F:
                break
    return tuple(found)


def apply(vif: Vif, found: tuple[Qualifier, ...]) -> Vif:
    """The quantity as the qualifiers leave it: unit, scale and kind changed where they say so."""
    for q in found:
        if q.effect == "per":
            vif = vif._replace(unit=vif.unit + q.suffix)
        elif q.effect == "exponent":
            vif = vif._replace(exponent=vif.exponent + q.amount)
        elif q.effect == "count":
            vif = vif._replace(unit="", factor=1, exponent=0, kind="number")
        elif q.effect == "time":
            vif = vif._replace(unit="-", factor=1, exponent=0, kind="time")
        elif q.effect == "duration":
            vif = vif._replace(unit="s", factor=q.amount, exponent=0, kind="number")
    return vif
