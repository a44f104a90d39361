"""Data ids of DL/T 645-1997 (appendix A): which items an answer to DI1 DI0 holds.

A low nibble of F asks for the block of that row. Ids outside the tables have no layout.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

from collectors.frames.dlt645_value import BITS, DIGITS, UNSIGNED, Field, Layout

Items = tuple[Field, ...]

DI_FORWARD_ENERGY: Final = 0x9010
DI_FORWARD_ENERGY_TARIFFS: Final = 0x901F
DI_VOLTAGES: Final = 0xB61F

TARIFFS: Final = 14
_BLOCK: Final = 0xF

# DI1 bit 0 and DI0's high nibble (tables A.1 to A.3): name, Chinese.
_KINDS: Final = {
    (0, 1): ("forward_active", "正向有功"),
    (0, 2): ("reverse_active", "反向有功"),
    (1, 1): ("forward_reactive", "正向无功"),
    (1, 2): ("reverse_reactive", "反向无功"),
    (1, 3): ("quadrant_1_reactive", "第一象限无功"),
    (1, 4): ("quadrant_4_reactive", "第四象限无功"),
    (1, 5): ("quadrant_2_reactive", "第二象限无功"),
    (1, 6): ("quadrant_3_reactive", "第三象限无功"),
}
_ENERGY, _DEMAND, _DEMAND_TIME = 0x9, 0xA, 0xB
_ENERGY_UNITS: Final = ("kWh", "kvarh")
_DEMAND_UNITS: Final = ("kW", "kvar")


def _register(group: int, reactive: int, row: int, tariff: int, back: int) -> Field:
    name, zh = _KINDS[reactive, row]
    if group == _ENERGY:
        unit = _ENERGY_UNITS[reactive]
        return Field(f"{name}_energy", f"{zh}电能", 4, UNSIGNED, -2, unit, tariff, back)
    if group == _DEMAND:
        unit = _DEMAND_UNITS[reactive]
        return Field(f"{name}_demand", f"{zh}最大需量", 3, UNSIGNED, -4, unit, tariff, back)
    zh = f"{zh}最大需量发生时间"
    return Field(f"{name}_demand_time", zh, 4, "MDhm", 0, "", tariff, back)


def _registers(di: int) -> Layout | None:
    """9xxx energy, Axxx demand, Bxxx its time; DI1 bits 3-2 are how many months back."""
    group, back, reactive = di >> 12, di >> 10 & 3, di >> 8 & 3
    row, tariff = di >> 4 & 0xF, di & 0xF
    if back == 3 or (reactive, row) not in _KINDS:
        return None
    is_block = tariff == _BLOCK
    tariffs = range(TARIFFS + 1) if is_block else range(tariff, tariff + 1)
    return Layout(tuple(_register(group, reactive, row, t, back) for t in tariffs), is_block)


def _one(
    name: str, zh: str, size: int, form: str = UNSIGNED, exponent: int = 0, unit: str = ""
) -> Items:
    return (Field(name, zh, size, form, exponent, unit),)


def _rows(
    first: int, name: str, zh: str, size: int, form: str, exponent: int, unit: str,
    keys: tuple[tuple[str, str], ...],
) -> dict[int, Items]:  # fmt: skip
    return {
        first + n: _one(f"{name}_{key}", zh_key + zh, size, form, exponent, unit)
        for n, (key, zh_key) in enumerate(keys)
    }


_ABC: Final = (("a", "A相"), ("b", "B相"), ("c", "C相"))
_TOTAL_ABC: Final = (("total", "总"), *_ABC)

ITEMS: Final[dict[int, Items]] = {
    0xB210: _one("programmed", "最近一次编程时间", 4, "MDhm"),
    0xB211: _one("demand_cleared", "最近一次最大需量清零时间", 4, "MDhm"),
    0xB212: _one("programming_count", "编程次数", 2),
    0xB213: _one("demand_clear_count", "最大需量清零次数", 2),
    0xB214: _one("battery_minutes", "电池工作时间", 3, unit="min"),
    **_rows(0xB310, "phase_failures", "断相次数", 2, UNSIGNED, 0, "", _TOTAL_ABC),
    **_rows(0xB320, "phase_failure_minutes", "断相时间累计值", 3, UNSIGNED, 0, "min", _TOTAL_ABC),
    **_rows(0xB330, "phase_failure_began", "最近一次断相起始时刻", 4, "MDhm", 0, "", _TOTAL_ABC),
    **_rows(0xB340, "phase_failure_ended", "最近一次断相结束时刻", 4, "MDhm", 0, "", _TOTAL_ABC),
    **_rows(0xB611, "voltage", "电压", 2, UNSIGNED, 0, "V", _ABC),
    **_rows(0xB621, "current", "电流", 2, UNSIGNED, -2, "A", _ABC),
    **_rows(0xB630, "active_power", "有功功率", 3, UNSIGNED, -4, "kW", _TOTAL_ABC),
    0xB634: _one("forward_power_limit", "正向有功功率上限值", 2, UNSIGNED, -2, "kW"),
    0xB635: _one("reverse_power_limit", "反向有功功率上限值", 2, UNSIGNED, -2, "kW"),
    **_rows(0xB640, "reactive_power", "无功功率", 2, UNSIGNED, -2, "kvar", _TOTAL_ABC),
    **_rows(0xB650, "power_factor", "功率因数", 2, UNSIGNED, -3, "", _TOTAL_ABC),
    0xC010: _one("date", "日期及星期", 4, "YMDW"),
    0xC011: _one("time", "时间", 3, "hms"),
    0xC020: _one("meter_state", "电表运行状态字", 1, BITS),
    0xC021: _one("grid_state", "电网状态字", 1, BITS),
    0xC022: _one("weekend_state", "周休日状态字", 1, BITS),
    0xC030: _one("active_constant", "电表常数(有功)", 3, unit="imp/kWh"),
    0xC031: _one("reactive_constant", "电表常数(无功)", 3, unit="imp/kvarh"),
    0xC032: _one("meter_number", "表号", 6, DIGITS),
    0xC033: _one("customer_number", "用户号", 6, DIGITS),
    0xC034: _one("device_number", "设备码", 6, DIGITS),
    0xC111: _one("demand_period", "最大需量周期", 1, unit="min"),
    0xC112: _one("slip_time", "滑差时间", 1, unit="min"),
    0xC113: _one("display_seconds", "循显时间", 1, unit="s"),
    0xC114: _one("display_screens", "停显屏数", 1),
    0xC115: _one("energy_decimals", "显示电能小数位数", 1),
    0xC116: _one("power_decimals", "显示功率小数位数", 1),
    0xC117: _one("settlement_day", "自动抄表日期", 2, "Dh"),
    0xC119: _one("active_start", "有功电能起始读数", 4, UNSIGNED, -1, "kWh"),
    0xC11A: _one("reactive_start", "无功电能起始读数", 4, UNSIGNED, -1, "kvarh"),
    0xC211: _one("pulse_width", "输出脉冲宽度", 2, unit="ms"),
    0xC310: _one("year_zones", "年时区数", 1),
    0xC311: _one("day_tables", "日时段表数", 1),
    0xC312: _one("day_periods", "日时段数", 1),
    0xC313: _one("tariffs", "费率数", 1),
    0xC314: _one("holidays", "公共假日数", 1),
}


def _block(di: int) -> Layout | None:
    """A row of the table whole, in the order of its ids (B61F, B63F …)."""
    fields = tuple(field for n in range(_BLOCK) for field in ITEMS.get(di & 0xFFF0 | n, ()))
    return Layout(fields, is_block=True) if fields else None


@lru_cache(maxsize=1024)
def layout_of(di: int) -> Layout | None:
    """The items of an answer to `di`, or None for an id the tables do not hold."""
    if di in ITEMS:
        return Layout(ITEMS[di])
    if di >> 12 in (_ENERGY, _DEMAND) or (di >> 12 == _DEMAND_TIME and di >> 8 & 3 < 2):
        return _registers(di)
    return _block(di) if di & 0xF == _BLOCK else None


def is_known(di: int) -> bool:
    """Whether the tables hold this id."""
    return layout_of(di) is not None


def fields_for(di: int, size: int) -> Items | None:
    """The items that fill an answer of `size` bytes; None where the id is unknown or no number of
    whole items has that size."""
    layout = layout_of(di)
    return layout.fitting(size) if layout else None


def fields_of_count(di: int, count: int) -> Items | None:
    """The items of an answer holding `count` of them; None as in `fields_for`."""
    layout = layout_of(di)
    return layout.of_count(count) if layout else None
