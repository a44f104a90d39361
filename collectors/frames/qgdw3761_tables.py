"""Q/GDW 376.1-2009: what the function codes carry, as data (§5.1 to §5.16).

`layout_for` answers with the layout of one data unit, () where it has no body, None where this
codec does not read it: the bytes are then handed on as they are.
"""

from __future__ import annotations

from typing import Final

from collectors.frames.qgdw3761_data import (
    AMPERES,
    CLOCK,
    DAY,
    DAY_MINUTE,
    DEMAND,
    DIGITS_12,
    ENERGY_4,
    ENERGY_5,
    ENERGY_DAY,
    KILOWATTS,
    MINUTE,
    MONTH,
    TENTHS,
    TIME,
    U8,
    U16,
    U32,
    VOLTS,
    YEARLESS,
    Blob,
    Field,
    Group,
    Layout,
    Plain,
    Rest,
    Series,
    Tariffs,
    raw,
    text,
)

V2005, V2009 = 1, 2

CONFIRM, RESET, LINK, SET, CONTROL = 0x00, 0x01, 0x02, 0x04, 0x05
QUERY, CLASS_1, CLASS_2, CLASS_3, FILE, FORWARD = 0x0A, 0x0C, 0x0D, 0x0E, 0x0F, 0x10

AFN_NAMES: Final = {
    0x00: ("confirm", "确认/否认"),
    0x01: ("reset", "复位"),
    0x02: ("link", "链路接口检测"),
    0x03: ("relay", "中继站命令"),
    0x04: ("set parameters", "设置参数"),
    0x05: ("control", "控制命令"),
    0x06: ("authenticate", "身份认证及密钥协商"),
    0x08: ("report for cascaded", "请求被级联终端主动上报"),
    0x09: ("terminal configuration", "请求终端配置"),
    0x0A: ("query parameters", "查询参数"),
    0x0B: ("task data", "请求任务数据"),
    0x0C: ("class 1 data", "请求1类数据"),
    0x0D: ("class 2 data", "请求2类数据"),
    0x0E: ("class 3 data", "请求3类数据"),
    0x0F: ("file transfer", "文件传输"),
    0x10: ("forward", "数据转发"),
}
FUNCTION_NAMES: Final = {
    (CONFIRM, 1): ("confirm", "全部确认"),
    (CONFIRM, 2): ("deny", "全部否认"),
    (CONFIRM, 3): ("confirm", "按数据单元标识确认和否认"),
    (RESET, 1): ("hardware reset", "硬件初始化"),
    (RESET, 2): ("data reset", "数据区初始化"),
    (RESET, 3): ("parameter and data reset", "参数及全体数据区初始化"),
    (RESET, 4): ("parameter reset", "参数（除通信参数）及全体数据区初始化"),
    (LINK, 1): ("login", "登录"),
    (LINK, 2): ("logout", "退出登录"),
    (LINK, 3): ("heartbeat", "心跳"),
    (SET, 10): ("set meters", "设置电能表档案"),
    (SET, 33): ("set reading plan", "设置抄表运行参数"),
    (SET, 34): ("set downlink modules", "设置集中器下行通信模块参数"),
    (SET, 35): ("set key users", "设置台区集中抄表重点户"),
    (QUERY, 10): ("query meters", "查询电能表档案"),
    (QUERY, 33): ("query reading plan", "查询抄表运行参数"),
    (QUERY, 34): ("query downlink modules", "查询集中器下行通信模块参数"),
    (QUERY, 35): ("query key users", "查询台区集中抄表重点户"),
    (CONTROL, 31): ("set clock", "对时命令"),
    (CLASS_1, 1): ("terminal version", "终端版本信息"),
    (CLASS_1, 2): ("terminal clock", "终端日历时钟"),
    (CLASS_1, 7): ("event counters", "终端事件计数器当前值"),
    (CLASS_1, 129): ("current forward active energy", "当前正向有功电能示值"),
    (CLASS_2, 161): ("daily forward active energy", "日冻结正向有功电能示值"),
    (CLASS_2, 177): ("monthly forward active energy", "月冻结正向有功电能示值"),
    (CLASS_3, 1): ("important events", "重要事件"),
    (CLASS_3, 2): ("general events", "一般事件"),
    (FORWARD, 1): ("transparent forward", "透明转发"),
}
# Downward frames that change something carry a password PW behind their units (§5.3 and others).
PASSWORD_AFNS: Final = frozenset((RESET, SET, CONTROL, FILE, FORWARD))
PASSWORD_SIZE: Final = {V2005: 2, V2009: 16}

# --- energies: what is read when, in which of four stamps -------------------------------------

_ACTIVE, _REACTIVE = "kwh", "kvarh"


def _energy(name: str, unit: str) -> Series:
    """An active reading is A.14 (five bytes), a reactive one A.11 (four)."""
    return Series(f"{name}_{unit}", ENERGY_5 if unit == _ACTIVE else ENERGY_4)


_FORWARD: Layout = (
    _energy("forward_active", _ACTIVE),
    _energy("forward_reactive", _REACTIVE),
    _energy("quadrant_1_reactive", _REACTIVE),
    _energy("quadrant_4_reactive", _REACTIVE),
)
_REVERSE: Layout = (
    _energy("reverse_active", _ACTIVE),
    _energy("reverse_reactive", _REACTIVE),
    _energy("quadrant_2_reactive", _REACTIVE),
    _energy("quadrant_3_reactive", _REACTIVE),
)
# One register a function, in this order from F129, F161, F169 and F177 on.
_SINGLE: tuple[Series, ...] = (
    _energy("forward_active", _ACTIVE),
    _energy("forward_reactive", _REACTIVE),
    _energy("reverse_active", _ACTIVE),
    _energy("reverse_reactive", _REACTIVE),
    _energy("quadrant_1_reactive", _REACTIVE),
    _energy("quadrant_2_reactive", _REACTIVE),
    _energy("quadrant_3_reactive", _REACTIVE),
    _energy("quadrant_4_reactive", _REACTIVE),
)
# Energy used within a day or month (A.13), from F5 and F21 on.
_USED: tuple[Series, ...] = (
    Series("used_forward_active_kwh", ENERGY_DAY),
    Series("used_forward_reactive_kvarh", ENERGY_DAY),
    Series("used_reverse_active_kwh", ENERGY_DAY),
    Series("used_reverse_reactive_kvarh", ENERGY_DAY),
)
_READ: Layout = (Plain("reading_time", MINUTE), Tariffs())


def _demand(direction: str) -> Layout:
    out: list[Field] = []
    for kind, unit in (("active", "kw"), ("reactive", "kvar")):
        out.append(Series(f"demand_{direction}_{kind}_{unit}", DEMAND))
        out.append(Series(f"demand_{direction}_{kind}_time", YEARLESS))
    return tuple(out)


def _phases(name: str, form: object, which: str, unit: str) -> Layout:
    return tuple(Plain(f"{name}_{phase}_{unit}", form) for phase in which.split())  # type: ignore[arg-type]


_POWER: Layout = (
    Plain("reading_time", MINUTE),
    *_phases("active_power", KILOWATTS, "total a b c", "kw"),
    *_phases("reactive_power", KILOWATTS, "total a b c", "kvar"),
    *_phases("power_factor", TENTHS, "total a b c", "percent"),
    *_phases("voltage", VOLTS, "a b c", "v"),
    *_phases("current", AMPERES, "a b c zero", "a"),
    *_phases("apparent_power", KILOWATTS, "total a b c", "kva"),
)

_VERSION_2005: Layout = (
    Plain("maker", text(4)),
    Plain("device", text(8)),
    Plain("software", text(4)),
    Plain("software_day", DAY),
    Plain("capacity", text(11)),
)
_VERSION: Layout = (
    *_VERSION_2005,
    Plain("protocol", text(4)),
    Plain("hardware", text(4)),
    Plain("hardware_day", DAY),
)
_CURRENT: dict[int, Layout] = {
    1: _VERSION,
    2: (Plain("clock", CLOCK),),
    7: (Plain("important_events", U8), Plain("general_events", U8)),
    25: _POWER,
    33: _READ + _FORWARD,
    34: _READ + _REVERSE,
    35: _READ + _demand("forward"),
    36: _READ + _demand("reverse"),
    **{41 + n: (Tariffs(), used) for n, used in enumerate(_USED)},  # of the day
    **{45 + n: (Tariffs(), used) for n, used in enumerate(_USED)},  # of the month
    **{129 + n: (*_READ, one) for n, one in enumerate(_SINGLE)},
}

_OF_DAY, _OF_MONTH = Plain("freeze_day", DAY), Plain("freeze_month", MONTH)
_OF_CURVE: Layout = (Plain("start", MINUTE), Plain("density", U8), Plain("points", U8))


def _point(name: str, form: object) -> Layout:
    return (*_OF_CURVE, Series(name, form, count="points", more=0))  # type: ignore[arg-type]


_CURVES: dict[int, tuple[str, object]] = {
    **{81 + n: (f"active_power_{p}_kw", KILOWATTS) for n, p in enumerate(("total", *"abc"))},
    **{85 + n: (f"reactive_power_{p}_kvar", KILOWATTS) for n, p in enumerate(("total", *"abc"))},
    **{89 + n: (f"voltage_{p}_v", VOLTS) for n, p in enumerate("abc")},
    **{92 + n: (f"current_{p}_a", AMPERES) for n, p in enumerate(("a", "b", "c", "zero"))},
    **{97 + n: (used.name, ENERGY_DAY) for n, used in enumerate(_USED)},
    **{101 + n: (one.name, ENERGY_4) for n, one in enumerate(_SINGLE[:4])},
}
_FROZEN: dict[int, Layout] = {
    **dict.fromkeys((1, 9), (_OF_DAY, *_READ, *_FORWARD)),
    **dict.fromkeys((2, 10), (_OF_DAY, *_READ, *_REVERSE)),
    **{fn: (_OF_DAY, *_READ, *_demand("forward")) for fn in (3, 11)},
    **{fn: (_OF_DAY, *_READ, *_demand("reverse")) for fn in (4, 12)},
    **{5 + n: (_OF_DAY, Tariffs(), used) for n, used in enumerate(_USED)},
    17: (_OF_MONTH, *_READ, *_FORWARD),
    18: (_OF_MONTH, *_READ, *_REVERSE),
    19: (_OF_MONTH, *_READ, *_demand("forward")),
    20: (_OF_MONTH, *_READ, *_demand("reverse")),
    **{21 + n: (_OF_MONTH, Tariffs(), used) for n, used in enumerate(_USED)},
    **{fn: _point(name, form) for fn, (name, form) in _CURVES.items()},
    **{161 + n: (_OF_DAY, *_READ, one) for n, one in enumerate(_SINGLE)},
    **{169 + n: (_OF_DAY, *_READ, one) for n, one in enumerate(_SINGLE)},  # copy-day freeze
    **{177 + n: (_OF_MONTH, *_READ, one) for n, one in enumerate(_SINGLE)},
}

# --- parameters: meters (F10), reading plan (F33), report tasks (F65-F68) ---------------------

_METERS: Layout = (
    Group(
        "meters",
        2,
        (
            Plain("index", U16),
            Plain("point", U16),
            Plain("port_rate", U8),  # D7-D5 baud rate, D4-D0 port
            Plain("protocol", U8),
            Plain("address", DIGITS_12),
            Plain("password", raw(6)),
            Plain("tariffs", U8),
            Plain("digits", U8),  # D3-D2 integers less 4, D1-D0 decimals less 1
            Plain("collector", DIGITS_12),
            Plain("user_class", U8),  # D7-D4 large, D3-D0 small
        ),
    ),
)
_PLAN: Layout = (
    Group(
        "ports",
        1,
        (
            Plain("port", U8),
            Plain("control", raw(2)),
            Plain("reading_days", raw(4)),  # D0-D30: day 1 to 31
            Plain("reading_time", TIME),
            Plain("interval_min", U8),
            Plain("broadcast_time", DAY_MINUTE),
            Group("periods", 1, (Plain("start", TIME), Plain("end", TIME))),
        ),
    ),
)
_TASK: Layout = (
    Plain("period", U8),  # D7-D6 minute, hour, day, month; D5-D0 how many
    Plain("base_time", CLOCK),
    Plain("every", U8),
    Group("items", 1, (Plain("da_dt", raw(4)),)),
)
_MODULES: Layout = (
    Group("ports", 1, (Plain("port", U8), Plain("port_control", U8), Plain("baud", U32))),
)
_KEY_USERS: Layout = (Group("indices", 1, (Plain("index", U16),)),)
_PARAMETERS: dict[int, Layout] = {
    10: _METERS,
    33: _PLAN,
    34: _MODULES,
    35: _KEY_USERS,
    65: _TASK,
    66: _TASK,
    67: (Plain("enabled", U8),),  # 55 starts the task, AA stops it
    68: (Plain("enabled", U8),),
}
_QUERIES: dict[int, Layout] = {
    10: (Group("indices", 2, (Plain("index", U16),)),),
    **dict.fromkeys((33, 34), (Group("ports", 1, (Plain("port", U8),)),)),
    **dict.fromkeys((*range(1, 10), 35, 65, 66, 67, 68), ()),
}
_CONFIRMATIONS: dict[int, Layout] = {
    1: (),
    2: (),
    3: (Plain("of_afn", U8), Rest("results", (Plain("da_dt", raw(4)), Plain("error", U8)))),
}
_FORWARD_DOWN: Layout = (
    Plain("port", U8),
    Plain("port_control", U8),  # baud rate, stop bits, parity, data bits
    Plain("timeout", U8),  # D7: seconds instead of tens of milliseconds
    Plain("byte_timeout_10ms", U8),
    Blob("inner"),
)
_FORWARD_UP: Layout = (Plain("port", U8), Blob("inner"))

# Events number `first` up to the one before `last` (§5.15; counters run from 0 to 255 and on).
_EVENTS_DOWN: Layout = (Plain("first", U8), Plain("last", U8))
_EVENTS_UP: Layout = (
    Plain("important_events", U8),
    Plain("general_events", U8),
    *_EVENTS_DOWN,
    Rest("events", (Plain("code", U8), Blob("record", length_size=1))),
)

_NOTHING: dict[int, Layout] = dict.fromkeys(range(1, 249), ())
_DOWN: dict[int, dict[int, Layout]] = {
    CONFIRM: _CONFIRMATIONS,
    RESET: dict.fromkeys((1, 2, 3, 4), ()),
    SET: _PARAMETERS,
    CONTROL: {31: (Plain("clock", CLOCK),)},
    QUERY: _QUERIES,
    CLASS_1: _NOTHING,
    CLASS_3: dict.fromkeys((1, 2), _EVENTS_DOWN),
    FORWARD: {1: _FORWARD_DOWN},
}
_UP: dict[int, dict[int, Layout]] = {
    CONFIRM: _CONFIRMATIONS,
    LINK: dict.fromkeys((1, 2, 3), ()),
    QUERY: _PARAMETERS,
    CLASS_1: _CURRENT,
    CLASS_2: _FROZEN,
    CLASS_3: dict.fromkeys((1, 2), _EVENTS_UP),
    FORWARD: {1: _FORWARD_UP},
}
# Functions whose 2005 layout has other widths; read only where the frame says 2009.
_ONLY_2009: Final = frozenset(
    {(SET, 10), (QUERY, 10), (SET, 33), (QUERY, 33), (CLASS_1, 25)}
    | {(CLASS_2, fn) for fn in range(92, 96)}
)
_OF_2005: Final = {(CLASS_1, 1): _VERSION_2005}
LINK_CLOCK: Layout = (Plain("clock", CLOCK),)  # later terminals add it to login and heartbeat


def layout_for(afn: int, fn: int, *, is_up: bool, version: int = V2009) -> Layout | None:
    """The layout of one data unit; see the module's docstring."""
    if version != V2009 and (afn, fn) in _ONLY_2009:
        return None
    if afn == CLASS_2 and not is_up:
        return stamp_for(fn)
    if version != V2009 and is_up and (afn, fn) in _OF_2005:
        return _OF_2005[afn, fn]
    return (_UP if is_up else _DOWN).get(afn, {}).get(fn)


def stamp_for(fn: int) -> Layout | None:
    """What a request for frozen data says about when: Td_d, Td_m or Td_c (§5.13.1)."""
    layout = _FROZEN.get(fn)
    if layout is None:
        return None
    return _OF_CURVE if layout[:3] == _OF_CURVE else layout[:1]


def function_name(afn: int, fn: int, *, chinese: bool = False) -> str:
    """A function's name, or its application function's where it has none of its own."""
    names = FUNCTION_NAMES.get((afn, fn)) or AFN_NAMES.get(afn) or ("unknown", "未知")
    return names[1 if chinese else 0]
