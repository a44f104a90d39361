"""Data ids of DL/T 645-2007 (appendix A): which items an answer to DI3 DI2 DI1 DI0 holds.

FF in one of the three low bytes asks for the block of all items of that byte; only the blocks the
standard lists are known here. Ids outside the tables have no layout, so they never become values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Final

from collectors.frames.dlt645_parameters import EVENTS, PARAMETERS, Items, parameter_block
from collectors.frames.dlt645_value import SIGNED, UNSIGNED, Field, Layout

BLOCK: Final = 0xFF
TARIFFS: Final = 63  # DI1 of table A.1
SETTLEMENTS: Final = 12  # DI0 of table A.1

DI_FORWARD_ENERGY: Final = 0x00010000
DI_FORWARD_ENERGY_TARIFFS: Final = 0x0001FF00
DI_BALANCE_ENERGY: Final = 0x00900100
DI_BALANCE_MONEY: Final = 0x00900200
DI_VOLTAGES: Final = 0x0201FF00
DI_CURRENTS: Final = 0x0202FF00
DI_DATE: Final = 0x04000101
DI_TIME: Final = 0x04000102
DI_STATUS_WORD_3: Final = 0x04000503

# Tables A.1 and A.2, DI2: name, Chinese, unit of the energy, signed.
_KINDS: Final = {
    0x00: ("combined_active", "组合有功", "kWh", SIGNED),
    0x01: ("forward_active", "正向有功", "kWh", UNSIGNED),
    0x02: ("reverse_active", "反向有功", "kWh", UNSIGNED),
    0x03: ("combined_reactive_1", "组合无功1", "kvarh", SIGNED),
    0x04: ("combined_reactive_2", "组合无功2", "kvarh", SIGNED),
    0x05: ("quadrant_1_reactive", "第一象限无功", "kvarh", UNSIGNED),
    0x06: ("quadrant_2_reactive", "第二象限无功", "kvarh", UNSIGNED),
    0x07: ("quadrant_3_reactive", "第三象限无功", "kvarh", UNSIGNED),
    0x08: ("quadrant_4_reactive", "第四象限无功", "kvarh", UNSIGNED),
    0x09: ("forward_apparent", "正向视在", "kVAh", UNSIGNED),
    0x0A: ("reverse_apparent", "反向视在", "kVAh", UNSIGNED),
}
_ENERGY_ONLY: Final = {
    0x80: ("associated", "关联", "kWh", SIGNED),
    0x81: ("forward_fundamental", "正向有功基波", "kWh", UNSIGNED),
    0x82: ("reverse_fundamental", "反向有功基波", "kWh", UNSIGNED),
    0x83: ("forward_harmonic", "正向有功谐波", "kWh", UNSIGNED),
    0x84: ("reverse_harmonic", "反向有功谐波", "kWh", UNSIGNED),
    0x85: ("copper_loss", "铜损有功补偿", "kWh", UNSIGNED),
    0x86: ("iron_loss", "铁损有功补偿", "kWh", UNSIGNED),
}
_PHASES: Final = {0x14: ("a", "A相"), 0x28: ("b", "B相"), 0x3C: ("c", "C相")}
_POWER_UNIT: Final = {"kWh": "kW", "kvarh": "kvar", "kVAh": "kVA"}


def _energy(di2: int, tariff: int, back: int) -> Field:
    name, zh, unit, form = (_KINDS | _ENERGY_ONLY)[di2]
    return Field(f"{name}_energy", f"{zh}电能", 4, form, -2, unit, tariff, back)


def _demand(di2: int, tariff: int, back: int) -> tuple[Field, Field]:
    name, zh, unit, form = _KINDS[di2]
    return (
        Field(f"{name}_demand", f"{zh}最大需量", 3, form, -4, _POWER_UNIT[unit], tariff, back),
        Field(f"{name}_demand_time", f"{zh}最大需量发生时间", 5, "YMDhm", 0, "", tariff, back),
    )


def _phase_of(di2: int) -> tuple[int, tuple[str, str] | None]:
    """The kind behind a phase's DI2 (table A.1: 15H to 1EH are phase A's 01H to 0AH, and so on)."""
    for shift, phase in _PHASES.items():
        plain = di2 - shift
        if 0x01 <= plain <= 0x0A or 0x80 <= plain <= 0x86:
            return plain, phase
    return di2, None


def _on_phase(field: Field, phase: tuple[str, str] | None) -> Field:
    if phase is None:
        return field
    return replace(field, name=f"{field.name}_{phase[0]}", zh=phase[1] + field.zh)


def _steps(byte: int, last: int) -> range:
    """What one byte of the data id asks for: itself, or with FF everything from 0 to `last`."""
    return range(last + 1) if byte == BLOCK else range(byte, byte + 1)


def _energy_or_demand(di: int) -> Layout | None:
    """DI3 = 00H and 01H: kind, tariff, settlement day (tables A.1 and A.2)."""
    is_demand, di2, di1, di0 = di >> 24 == 1, di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF
    blocks = (di2, di1, di0).count(BLOCK)
    if blocks > 1 or (di1 > TARIFFS and di1 != BLOCK) or (di0 > SETTLEMENTS and di0 != BLOCK):
        return None
    kind, phase = _phase_of(di2)
    kinds = list(_KINDS) if di2 == BLOCK else [kind]
    if is_demand and di2 == BLOCK:
        kinds.remove(0x00)
    if not _is_known(kinds, is_demand, phase, di1):
        return None
    fields: list[Field] = []
    for one in kinds:
        for tariff in _steps(di1, TARIFFS):
            for back in _steps(di0, SETTLEMENTS):
                group = _demand(one, tariff, back) if is_demand else (_energy(one, tariff, back),)
                fields += [_on_phase(field, phase) for field in group]
    return Layout(tuple(fields), is_block=bool(blocks), step=2 if is_demand else 1)


def _is_known(
    kinds: list[int], is_demand: bool, phase: tuple[str, str] | None, tariff: int
) -> bool:
    """Phases, harmonics and losses have no tariffs; demand has neither those nor a combination."""
    known = _KINDS if is_demand else _KINDS | _ENERGY_ONLY
    if any(kind not in known or (is_demand and kind == 0x00) for kind in kinds):
        return False
    return tariff == 0 or (phase is None and all(kind in _KINDS for kind in kinds))


_BALANCES: Final = {
    0x00900100: Field("remaining_energy", "剩余电量", 4, UNSIGNED, -2, "kWh"),
    0x00900101: Field("overdraft_energy", "透支电量", 4, UNSIGNED, -2, "kWh"),
    0x00900200: Field("remaining_money", "剩余金额", 4, UNSIGNED, -2, "yuan"),
    0x00900201: Field("overdraft_money", "透支金额", 4, UNSIGNED, -2, "yuan"),
}

# --- variables (table A.3) ----------------------------------------------------------------------

_ABC: Final = (("a", "A相"), ("b", "B相"), ("c", "C相"))
_TOTAL_ABC: Final = (("total", "总"), *_ABC)


def _row(
    name: str, zh: str, size: int, form: str, exponent: int, unit: str, *, total: bool = False
) -> tuple[Field, ...]:
    return tuple(
        Field(f"{name}_{key}", zh_key + zh, size, form, exponent, unit)
        for key, zh_key in (_TOTAL_ABC if total else _ABC)
    )


ACTIVE_POWERS: Final = _row("active_power", "有功功率", 3, SIGNED, -4, "kW", total=True)
REACTIVE_POWERS: Final = _row("reactive_power", "无功功率", 3, SIGNED, -4, "kvar", total=True)
VOLTAGES: Final = _row("voltage", "电压", 2, UNSIGNED, -1, "V")
CURRENTS: Final = _row("current", "电流", 3, SIGNED, -3, "A")
POWER_FACTORS: Final = _row("power_factor", "功率因数", 2, SIGNED, -3, "", total=True)

# DI2 -> the number DI1 begins with, and the items from there on.
_INSTANTANEOUS: Final = {
    0x01: (1, VOLTAGES),
    0x02: (1, CURRENTS),
    0x03: (0, ACTIVE_POWERS),
    0x04: (0, REACTIVE_POWERS),
    0x05: (0, _row("apparent_power", "视在功率", 3, SIGNED, -4, "kVA", total=True)),
    0x06: (0, POWER_FACTORS),
    0x07: (1, _row("phase_angle", "相角", 2, UNSIGNED, -1, "°")),
    0x08: (1, _row("voltage_distortion", "电压波形失真度", 2, UNSIGNED, -2, "%")),
    0x09: (1, _row("current_distortion", "电流波形失真度", 2, UNSIGNED, -2, "%")),
}
_HARMONICS: Final = {
    0x0A: ("voltage_harmonic", "电压谐波含量"),
    0x0B: ("current_harmonic", "电流谐波含量"),
}
FREQUENCY: Final = Field("frequency", "电网频率", 2, UNSIGNED, -2, "Hz")
ACTIVE_DEMAND: Final = Field("active_demand", "当前有功需量", 3, SIGNED, -4, "kW")
REACTIVE_DEMAND: Final = Field("reactive_demand", "当前无功需量", 3, SIGNED, -4, "kvar")
_SINGLE: Final = {
    0x01: Field("neutral_current", "零线电流", 3, SIGNED, -3, "A"),
    0x02: FREQUENCY,
    0x03: Field("average_power", "一分钟有功总平均功率", 3, SIGNED, -4, "kW"),
    0x04: ACTIVE_DEMAND,
    0x05: REACTIVE_DEMAND,
    0x06: Field("apparent_demand", "当前视在需量", 3, SIGNED, -4, "kVA"),
    0x07: Field("meter_temperature", "表内温度", 2, SIGNED, -1, "°C"),
    0x08: Field("clock_battery", "时钟电池电压", 2, UNSIGNED, -2, "V"),
    0x09: Field("reading_battery", "停电抄表电池电压", 2, UNSIGNED, -2, "V"),
    0x0A: Field("battery_minutes", "内部电池工作时间", 4, UNSIGNED, 0, "min"),
    0x0B: Field("step_price", "当前阶梯电价", 4, UNSIGNED, -4, "yuan/kWh"),
    0x20: Field("price", "当前电价", 4, UNSIGNED, -4, "yuan/kWh"),
    0x21: Field("tariff_price", "当前费率电价", 4, UNSIGNED, -4, "yuan/kWh"),
}


def _variable(di: int) -> Layout | None:
    """DI3 = 02H."""
    di2, di1, di0 = di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF
    if di2 == 0x80:
        field = _SINGLE.get(di0) if di1 == 0 else None
        return Layout((field,)) if field else None
    if di2 in _HARMONICS and 1 <= di1 <= 3:
        return _harmonics(di2, di1, di0)
    if di2 not in _INSTANTANEOUS or di0:
        return None
    first, fields = _INSTANTANEOUS[di2]
    if di1 == BLOCK:
        return Layout(fields, is_block=True)
    if not first <= di1 < first + len(fields):
        return None
    return Layout((fields[di1 - first],))


def _harmonics(di2: int, di1: int, order: int) -> Layout | None:
    """Harmonics 1 to 21 of one phase in hundredths of a percent; `tariff` carries the order."""
    if order == 0 or (order > 21 and order != BLOCK):
        return None
    (name, zh), (key, zh_key) = _HARMONICS[di2], _ABC[di1 - 1]
    orders = range(1, 22) if order == BLOCK else range(order, order + 1)
    fields = tuple(
        Field(f"{name}_{key}_{n}", f"{zh_key}{n}次{zh}", 2, UNSIGNED, -2, "%") for n in orders
    )
    return Layout(fields, is_block=order == BLOCK)


# --- freezes (table A.6) ------------------------------------------------------------------------

FREEZES: Final = {
    0x00: ("定时冻结", 60),
    0x01: ("瞬时冻结", 3),
    0x02: ("两套时区表切换冻结", 2),
    0x03: ("两套日时段表切换冻结", 2),
    0x04: ("整点冻结", 254),
    0x05: ("两套费率电价切换冻结", 2),
    0x06: ("日冻结", 62),
    0x07: ("两套阶梯切换冻结", 2),
}
HOURLY: Final = 0x04
_FREEZE_TIME: Final = Field("freeze_time", "冻结时间", 5, "YMDhm")
_FREEZE_ENERGY: Final = {number: number for number in range(0x01, 0x09)}
_FREEZE_DEMAND: Final = {0x09: 0x01, 0x0A: 0x02}
_FREEZE_VARIABLES: Final = 0x10
_MOST_FROZEN_TARIFFS: Final = 63


def _freeze(di: int) -> Layout | None:
    """DI3 = 05H: DI2 the occasion, DI1 the item, DI0 how many freezes back (1 = the last)."""
    di2, di1, back = di >> 16 & 0xFF, di >> 8 & 0xFF, di & 0xFF
    if di2 not in FREEZES or not 1 <= back <= FREEZES[di2][1]:
        return None
    if di1 == 0x00:
        return Layout((replace(_FREEZE_TIME, back=back),))
    if di2 == HOURLY:
        return Layout((_energy(di1, 0, back),)) if di1 in (0x01, 0x02) else None
    tariffs = range(_MOST_FROZEN_TARIFFS + 1)
    if di1 in _FREEZE_ENERGY:
        return Layout(tuple(_energy(di1, tariff, back) for tariff in tariffs), is_block=True)
    if di1 in _FREEZE_DEMAND:
        kind = _FREEZE_DEMAND[di1]
        fields = [field for tariff in tariffs for field in _demand(kind, tariff, back)]
        return Layout(tuple(fields), is_block=True, step=2)
    if di1 == _FREEZE_VARIABLES:
        fields = [replace(field, back=back) for field in (*ACTIVE_POWERS, *REACTIVE_POWERS)]
        return Layout(tuple(fields), is_block=True)
    return None


def _freeze_block(di: int, registers: int) -> tuple[Field, ...] | None:
    """DI1 = FF: everything of one freeze, with `registers` (the total and so many tariffs less
    one) for each energy and demand. None where there is no such freeze."""
    di2, back = di >> 16 & 0xFF, di & 0xFF
    if di2 not in FREEZES or not 1 <= back <= FREEZES[di2][1]:
        return None
    block = [replace(_FREEZE_TIME, back=back)]
    if di2 == HOURLY:
        return (*block, _energy(0x01, 0, back), _energy(0x02, 0, back))
    for kind in _FREEZE_ENERGY:
        block += [_energy(kind, tariff, back) for tariff in range(registers)]
    for kind in _FREEZE_DEMAND.values():
        block += [field for tariff in range(registers) for field in _demand(kind, tariff, back)]
    block += [replace(field, back=back) for field in (*ACTIVE_POWERS, *REACTIVE_POWERS)]
    return tuple(block)


# --- the one door -------------------------------------------------------------------------------


@lru_cache(maxsize=1024)
def layout_of(di: int) -> Layout | None:
    """The items of an answer to `di`, or None for an id the tables do not hold."""
    di3 = di >> 24
    if di in _BALANCES:
        return Layout((_BALANCES[di],))
    if di3 in (0x00, 0x01):
        return _energy_or_demand(di)
    if di3 == 0x02:
        return _variable(di)
    if di3 == 0x03:
        return Layout(EVENTS[di]) if di in EVENTS else None
    if di3 == 0x04:
        return Layout(PARAMETERS[di]) if di in PARAMETERS else parameter_block(di)
    return _freeze(di) if di3 == 0x05 else None


def _is_freeze_block(di: int) -> bool:
    return di >> 24 == 0x05 and di >> 8 & 0xFF == BLOCK


def is_known(di: int) -> bool:
    """Whether the tables hold this id (load records are read by `dlt645_load`)."""
    return layout_of(di) is not None or (_is_freeze_block(di) and _freeze_block(di, 1) is not None)


def _freeze_block_where(
    di: int, key: Callable[[Sequence[Field]], int], wanted: int
) -> Items | None:
    """The freeze block whose items have the size or number wanted: how many tariffs a meter keeps
    is not sent, it follows from that."""
    for registers in range(1, _MOST_FROZEN_TARIFFS + 2):
        fields = _freeze_block(di, registers)
        if fields is None or key(fields) > wanted:
            return None
        if key(fields) == wanted:
            return fields
    return None


def _size(fields: Sequence[Field]) -> int:
    return sum(field.size for field in fields)


def fields_for(di: int, size: int) -> Items | None:
    """The items that fill an answer of `size` bytes; None where the id is unknown or no number of
    whole items has that size."""
    if _is_freeze_block(di):
        return _freeze_block_where(di, _size, size)
    layout = layout_of(di)
    return layout.fitting(size) if layout else None


def fields_of_count(di: int, count: int) -> Items | None:
    """The items of an answer holding `count` of them; None as in `fields_for`."""
    if _is_freeze_block(di):
        return _freeze_block_where(di, len, count)
    layout = layout_of(di)
    return layout.of_count(count) if layout else None
