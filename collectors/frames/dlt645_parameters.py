"""Events and parameters of DL/T 645-2007 (tables A.4 and A.5): data id -> the items it holds."""

from __future__ import annotations

from typing import Final

from collectors.frames.dlt645_value import BITS, DIGITS, SIGNED, TEXT, UNSIGNED, Field, Layout

Items = tuple[Field, ...]

# --- events (DI3 = 03H): totals; the ten last records where their form is short -----------------

_PHASE_EVENTS: Final = {
    0x01: ("voltage_loss", "失压"),
    0x02: ("undervoltage", "欠压"),
    0x03: ("overvoltage", "过压"),
    0x04: ("phase_failure", "断相"),
    0x0B: ("current_loss", "失流"),
    0x0C: ("overcurrent", "过流"),
    0x0D: ("current_failure", "断流"),
    0x0E: ("power_reversal", "潮流反向"),
    0x0F: ("overload", "过载"),
}
_WHOLE_EVENTS: Final = {
    0x05: ("total_voltage_loss", "全失压"),
    0x06: ("auxiliary_power_loss", "辅助电源失电"),
    0x07: ("voltage_sequence", "电压逆相序"),
    0x08: ("current_sequence", "电流逆相序"),
    0x09: ("voltage_imbalance", "电压不平衡"),
    0x0A: ("current_imbalance", "电流不平衡"),
}
_COUNTED_EVENTS: Final = {
    0x03110000: ("power_failure", "掉电"),
    0x03300000: ("programming", "编程"),
    0x03300100: ("meter_clear", "电表清零"),
    0x03300200: ("demand_clear", "需量清零"),
    0x03300300: ("event_clear", "事件清零"),
    0x03300400: ("clock_set", "校时"),
    0x03300500: ("day_table_programming", "时段表编程"),
    0x03300600: ("zone_table_programming", "时区表编程"),
    0x03300700: ("weekend_programming", "周休日编程"),
    0x03300800: ("holiday_programming", "节假日编程"),
    0x03300900: ("active_combination_programming", "有功组合方式编程"),
    0x03300A00: ("reactive_combination_1_programming", "无功组合方式1编程"),
    0x03300B00: ("reactive_combination_2_programming", "无功组合方式2编程"),
    0x03300C00: ("settlement_day_programming", "结算日编程"),
    0x03300D00: ("cover_open", "开表盖"),
    0x03300E00: ("terminal_cover_open", "开端钮盒"),
}


def _tally(name: str, zh: str) -> Items:
    return (
        Field(f"{name}_count", f"{zh}总次数", 3),
        Field(f"{name}_minutes", f"{zh}总累计时间", 3, unit="min"),
    )


def _per_phase(name: str, zh: str) -> Items:
    phases = (("a", "A相"), ("b", "B相"), ("c", "C相"))
    return tuple(f for key, zh_key in phases for f in _tally(f"{name}_{key}", zh_key + zh))


def _moment(name: str, zh: str) -> Field:
    return Field(name, zh, 6, "YMDhms")


def _cover() -> Items:
    """When a cover was opened and closed, and six registers before and after (03300D, 03300E)."""
    kinds = (
        ("forward_active", "正向有功", "kWh"),
        ("reverse_active", "反向有功", "kWh"),
        ("quadrant_1_reactive", "第一象限无功", "kvarh"),
        ("quadrant_2_reactive", "第二象限无功", "kvarh"),
        ("quadrant_3_reactive", "第三象限无功", "kvarh"),
        ("quadrant_4_reactive", "第四象限无功", "kvarh"),
    )
    registers = (
        Field(f"{name}_energy_{when}", f"{zh}电能({zh_when})", 4, UNSIGNED, -2, unit)
        for when, zh_when in (("before", "开盖前"), ("after", "开盖后"))
        for name, zh, unit in kinds
    )
    return (_moment("began", "发生时刻"), _moment("ended", "结束时刻"), *registers)


def _voltage_quality() -> Items:
    """Monitored minutes, rates and extremes of one month (03100000, months back in DI0)."""
    return (
        Field("monitored_minutes", "电压监测时间", 3, unit="min"),
        Field("qualified_rate", "电压合格率", 3, UNSIGNED, -2, "%"),
        Field("exceeded_rate", "电压超限率", 3, UNSIGNED, -2, "%"),
        Field("above_minutes", "电压超上限时间", 3, unit="min"),
        Field("below_minutes", "电压超下限时间", 3, unit="min"),
        Field("highest_voltage", "最高电压", 2, UNSIGNED, -1, "V"),
        Field("highest_voltage_time", "最高电压出现时间", 4, "MDhm"),
        Field("lowest_voltage", "最低电压", 2, UNSIGNED, -1, "V"),
        Field("lowest_voltage_time", "最低电压出现时间", 4, "MDhm"),
    )


_DEMAND_LIMITS: Final = tuple(
    Field(f"{name}_demand_exceeded_count", f"{zh}需量超限总次数", 3)
    for name, zh in (
        ("forward_active", "正向有功"),
        ("reverse_active", "反向有功"),
        ("quadrant_1_reactive", "第一象限无功"),
        ("quadrant_2_reactive", "第二象限无功"),
        ("quadrant_3_reactive", "第三象限无功"),
        ("quadrant_4_reactive", "第四象限无功"),
    )
)
_OPERATOR: Final = Field("operator", "操作者代码", 4, BITS)
# A record's id is its total's with DI0 from 01H (the last) to 0AH; stored here without DI0.
_RECORDS: Final[dict[int, Items]] = {
    0x03050000: (
        _moment("began", "发生时刻"),
        Field("current", "电流", 3, SIGNED, -3, "A"),
        _moment("ended", "结束时刻"),
    ),
    0x03060000: (_moment("began", "发生时刻"), _moment("ended", "结束时刻")),
    0x03110000: (_moment("began", "发生时刻"), _moment("ended", "结束时刻")),
    0x03300000: (
        _moment("began", "编程时刻"),
        _OPERATOR,
        *(Field(f"programmed_di_{n}", f"编程数据标识{n}", 4, BITS) for n in range(1, 11)),
    ),
    0x03300300: (_moment("began", "清零时刻"), _OPERATOR, Field("di", "数据标识", 4, BITS)),
    0x03300D00: _cover(),
    0x03300E00: _cover(),
    0x03300400: (_OPERATOR, _moment("before", "校时前时间"), _moment("after", "校时后时间")),
}


def _event_tables() -> dict[int, Items]:
    totals: dict[int, Items] = {
        di: (Field(f"{n}_count", f"{zh}总次数", 3),) for di, (n, zh) in _COUNTED_EVENTS.items()
    }
    for di2, (name, zh) in _WHOLE_EVENTS.items():
        totals[0x03000000 | di2 << 16] = _tally(name, zh)
    for di2, (name, zh) in _PHASE_EVENTS.items():
        totals[0x03000000 | di2 << 16] = _per_phase(name, zh)
    totals[0x03120000] = _DEMAND_LIMITS
    for month in range(13):
        totals[0x03100000 | month] = _voltage_quality()
    records = {di | n: items for di, items in _RECORDS.items() for n in range(1, 11)}
    return totals | records


EVENTS: Final = _event_tables()

# --- parameters (DI3 = 04H) ---------------------------------------------------------------------


def _number(name: str, zh: str, size: int, exponent: int = 0, unit: str = "") -> Items:
    return (Field(name, zh, size, UNSIGNED, exponent, unit),)


def _time(name: str, zh: str, form: str) -> Items:
    return (Field(name, zh, len(form), form),)


def _digits(name: str, zh: str, size: int) -> Items:
    return (Field(name, zh, size, DIGITS),)


def _text(name: str, zh: str, size: int) -> Items:
    return (Field(name, zh, size, TEXT),)


def _bits(name: str, zh: str, size: int) -> Items:
    return (Field(name, zh, size, BITS),)


STATUS_WORDS: Final = tuple(
    Field(f"status_word_{n}", f"电表运行状态字{n}", 2, BITS) for n in range(1, 8)
)

_IMPEDANCES: Final = (
    ("conductance", "电导"),
    ("susceptance", "电纳"),
    ("resistance", "电阻"),
    ("reactance", "电抗"),
)
PARAMETERS: Final[dict[int, Items]] = {
    0x04000101: _time("date", "日期及星期", "YMDW"),
    0x04000102: _time("time", "时间", "hms"),
    0x04000103: _number("demand_period", "最大需量周期", 1, unit="min"),
    0x04000104: _number("slip_time", "滑差时间", 1, unit="min"),
    0x04000105: _number("pulse_width", "校表脉冲宽度", 2, unit="ms"),
    0x04000106: _time("zone_switch", "两套时区表切换时间", "YMDhm"),
    0x04000107: _time("day_table_switch", "两套日时段表切换时间", "YMDhm"),
    0x04000108: _time("price_switch", "两套费率电价切换时间", "YMDhm"),
    0x04000109: _time("step_switch", "两套阶梯切换时间", "YMDhm"),
    0x0400010C: _time("clock", "日期时间", "YMDWhms"),
    0x04000201: _number("year_zones", "年时区数", 1),
    0x04000202: _number("day_tables", "日时段表数", 1),
    0x04000203: _number("day_periods", "日时段数", 1),
    0x04000204: _number("tariffs", "费率数", 1),
    0x04000205: _number("holidays", "公共假日数", 2),
    0x04000206: _number("harmonics", "谐波分析次数", 1),
    0x04000207: _number("steps", "阶梯数", 1),
    0x04000301: _number("display_screens", "自动循环显示屏数", 1),
    0x04000302: _number("display_seconds", "每屏显示时间", 1, unit="s"),
    0x04000303: _number("energy_decimals", "显示电能小数位数", 1),
    0x04000304: _number("power_decimals", "显示功率小数位数", 1),
    0x04000305: _number("key_screens", "按键循环显示屏数", 1),
    0x04000306: _number("ct_ratio", "电流互感器变比", 3),
    0x04000307: _number("pt_ratio", "电压互感器变比", 3),
    0x04000401: _digits("address", "通信地址", 6),
    0x04000402: _digits("meter_number", "表号", 6),
    0x04000403: _text("asset_code", "资产管理编码", 32),
    0x04000404: _text("rated_voltage", "额定电压", 6),
    0x04000405: _text("rated_current", "额定电流", 6),
    0x04000406: _text("maximum_current", "最大电流", 6),
    0x04000407: _text("active_class", "有功准确度等级", 4),
    0x04000408: _text("reactive_class", "无功准确度等级", 4),
    0x04000409: _number("active_constant", "电表有功常数", 3, unit="imp/kWh"),
    0x0400040A: _number("reactive_constant", "电表无功常数", 3, unit="imp/kvarh"),
    0x0400040B: _text("meter_model", "电表型号", 10),
    0x0400040C: _text("production_date", "生产日期", 10),
    0x0400040D: _text("protocol_version", "协议版本号", 16),
    0x0400040E: _digits("customer_number", "客户编号", 6),
    **{0x04000501 + n: (field,) for n, field in enumerate(STATUS_WORDS)},
    0x04000601: _bits("active_combination", "有功组合方式特征字", 1),
    0x04000602: _bits("reactive_combination_1", "无功组合方式1特征字", 1),
    0x04000603: _bits("reactive_combination_2", "无功组合方式2特征字", 1),
    0x04000701: _bits("infrared_rate", "调制型红外光口通信速率特征字", 1),
    0x04000702: _bits("optical_rate", "接触式红外光口通信速率特征字", 1),
    0x04000703: _bits("port_1_rate", "通信口1通信速率特征字", 1),
    0x04000704: _bits("port_2_rate", "通信口2通信速率特征字", 1),
    0x04000705: _bits("port_3_rate", "通信口3通信速率特征字", 1),
    0x04000801: _bits("weekend_word", "周休日特征字", 1),
    0x04000802: _number("weekend_table", "周休日采用的日时段表号", 1),
    0x04000901: _bits("load_record_mode", "负荷记录模式字", 1),
    0x04000902: _bits("timed_freeze_mode", "定时冻结数据模式字", 1),
    0x04000903: _bits("instant_freeze_mode", "瞬时冻结数据模式字", 1),
    0x04000904: _bits("agreed_freeze_mode", "约定冻结数据模式字", 1),
    0x04000905: _bits("hourly_freeze_mode", "整点冻结数据模式字", 1),
    0x04000906: _bits("daily_freeze_mode", "日冻结数据模式字", 1),
    0x04000A01: _time("load_record_start", "负荷记录起始时间", "MDhm"),
    **{
        0x04000A01 + n: _number(f"load_interval_{n}", f"第{n}类负荷记录间隔时间", 2, unit="min")
        for n in range(1, 7)
    },
    **{0x04000B00 + n: _time(f"settlement_day_{n}", f"每月第{n}结算日", "Dh") for n in range(1, 4)},
    **{
        0x04000D01 + 4 * n + m: _number(f"{name}_{key}", f"{key.upper()}相{zh}系数", 2, -3)
        for n, key in enumerate("abc")
        for m, (name, zh) in enumerate(_IMPEDANCES)
    },
    0x04000E01: _number("forward_power_limit", "正向有功功率上限值", 3, -4, "kW"),
    0x04000E02: _number("reverse_power_limit", "反向有功功率上限值", 3, -4, "kW"),
    0x04000E03: _number("voltage_upper_limit", "电压上限值", 2, -1, "V"),
    0x04000E04: _number("voltage_lower_limit", "电压下限值", 2, -1, "V"),
    0x04000F01: _number("alarm_energy_1", "报警电量1限值", 4, -2, "kWh"),
    0x04000F02: _number("alarm_energy_2", "报警电量2限值", 4, -2, "kWh"),
    0x04000F03: _number("hoard_energy", "囤积电量限值", 4, -2, "kWh"),
    0x04000F04: _number("overdraft_energy_limit", "透支电量限值", 4, -2, "kWh"),
    0x04001001: _number("alarm_money_1", "报警金额1限值", 4, -2, "yuan"),
    0x04001002: _number("alarm_money_2", "报警金额2限值", 4, -2, "yuan"),
    0x04001003: _number("overdraft_money_limit", "透支金额限值", 4, -2, "yuan"),
    0x04001004: _number("hoard_money", "囤积金额限值", 4, -2, "yuan"),
    0x04001005: _number("close_money", "合闸允许金额限值", 4, -2, "yuan"),
    0x04001201: _time("hourly_freeze_start", "整点冻结起始时间", "YMDhm"),
    0x04001202: _number("hourly_freeze_interval", "整点冻结时间间隔", 1, unit="min"),
    0x04001203: _time("daily_freeze_time", "日冻结时间", "hm"),
    0x04001401: _number("trip_delay", "跳闸延时时间", 2, unit="min"),
    0x04800001: _text("software_version", "厂家软件版本号", 32),
    0x04800002: _text("hardware_version", "厂家硬件版本号", 32),
    0x04800003: _text("maker_code", "厂家编号", 32),
}

DI_STATUS_WORDS: Final = 0x040005FF


def _prices(di: int) -> Items | None:
    """0405xxnn and 0406xxnn: prices of tariffs, values and prices of consumption steps."""
    group, number = di >> 8, di & 0xFF
    if not 1 <= number <= 63:
        return None
    if group in (0x040501, 0x040502):
        return _number(f"tariff_price_{number}", f"费率{number}电价", 4, -4, "yuan/kWh")
    if group in (0x040600, 0x040602):
        return _number(f"step_{number}", f"第{number}阶梯值", 4, -2, "kWh")
    if group in (0x040601, 0x040603):
        return _number(f"step_price_{number}", f"第{number}阶梯电价", 4, -4, "yuan/kWh")
    return None


def _numbered(di: int) -> Items | None:
    """Public holidays (YYMMDDNN, 04030001 on) and what each screen shows (040401nn, 040402nn)."""
    group, number = di >> 8, di & 0xFF
    if not 1 <= number <= 254:
        return None
    if group == 0x040300:
        return (
            Field("day_table", f"第{number}公共假日日时段表号", 1),
            Field("holiday", f"第{number}公共假日", 3, "YMD"),
        )
    if group in (0x040401, 0x040402):
        return _bits(f"screen_{number}_di", f"第{number}屏显示数据标识", 4)
    return None


def _schedules(di: int) -> Layout | None:
    """Time zones (MMDDNN) and day tables (hhmmNN), three bytes an entry, up to fourteen."""
    table = di & 0xFF
    if di >> 16 not in (0x0401, 0x0402) or di & 0xFF00 or table > 8:
        return None
    form, zh = ("MD", "时区起始") if table == 0 else ("hm", "时段起始")
    entries = []
    for n in range(1, 15):
        entries += [
            Field(f"table_{n}", f"第{n}表号", 1),
            Field(f"start_{n}", f"第{n}{zh}", 2, form),
        ]
    return Layout(tuple(entries), is_block=True, step=2)


def parameter_block(di: int) -> Layout | None:
    """Parameters that come in numbered rows, and the block of all status words."""
    if di == DI_STATUS_WORDS:
        return Layout(STATUS_WORDS, is_block=True)
    row = _prices(di) or _numbered(di)
    return Layout(row) if row else _schedules(di)
