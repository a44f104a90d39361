"""What the codes of DL/T 645 mean, in English and Chinese: controls, errors, N1, status words."""

from __future__ import annotations

from typing import Final

Words = tuple[str, str]

# --- control codes, without direction, refusal and follow-up bits -------------------------------

CONTROLS_2007: Final[dict[int, Words]] = {
    0x03: ("security authentication", "安全认证"),
    0x08: ("broadcast time", "广播校时"),
    0x11: ("read data", "读数据"),
    0x12: ("read follow-up data", "读后续数据"),
    0x13: ("read address", "读通信地址"),
    0x14: ("write data", "写数据"),
    0x15: ("write address", "写通信地址"),
    0x16: ("freeze", "冻结命令"),
    0x17: ("change speed", "更改通信速率"),
    0x18: ("change password", "修改密码"),
    0x19: ("clear maximum demand", "最大需量清零"),
    0x1A: ("clear meter", "电表清零"),
    0x1B: ("clear events", "事件清零"),
    0x1C: ("relay control", "跳合闸、报警、保电"),
    0x1D: ("terminal output", "多功能端子输出控制"),
}
CONTROLS_1997: Final[dict[int, Words]] = {
    0x01: ("read data", "读数据"),
    0x02: ("read follow-up data", "读后续数据"),
    0x03: ("read again", "重读数据"),
    0x04: ("write data", "写数据"),
    0x08: ("broadcast time", "广播校时"),
    0x0A: ("write address", "写设备地址"),
    0x0C: ("change speed", "更改通信速率"),
    0x0F: ("change password", "修改密码"),
    0x10: ("clear maximum demand", "最大需量清零"),
}

# --- error word of a refusal, by bit (DL/T 645-2007 §7.2 table 8, DL/T 645-1997 §7.2) -----------

ERRORS_2007: Final[tuple[Words, ...]] = (
    ("other error", "其他错误"),
    ("no such data", "无请求数据"),
    ("wrong password or not authorised", "密码错或未授权"),
    ("speed can not be changed", "通信速率不能更改"),
    ("too many year zones", "年时区数超"),
    ("too many day periods", "日时段数超"),
    ("too many tariffs", "费率数超"),
    ("reserved", "保留"),
)
ERRORS_1997: Final[tuple[Words, ...]] = (
    ("illegal data", "非法数据"),
    ("wrong data id", "数据标识错"),
    ("wrong password", "密码错"),
    ("reserved", "保留"),
    ("too many year zones", "年时区数超"),
    ("too many day periods", "日时段数超"),
    ("too many tariffs", "费率数超"),
    ("reserved", "保留"),
)

# --- N1 of the relay command (1CH) --------------------------------------------------------------

RELAY_OPEN: Final = 0x1A
RELAY_ALLOW_CLOSE: Final = 0x1B
RELAY_CLOSE: Final = 0x1C
ALARM: Final = 0x2A
ALARM_END: Final = 0x2B
KEEP_POWER: Final = 0x3A
KEEP_POWER_END: Final = 0x3B

RELAY_ORDERS: Final[dict[int, Words]] = {
    RELAY_OPEN: ("relay off", "跳闸"),
    RELAY_ALLOW_CLOSE: ("relay close allowed", "合闸允许"),
    RELAY_CLOSE: ("relay on", "直接合闸"),
    0x1D: ("relay off after notice 1", "预跳闸1"),
    0x1E: ("relay off after notice 2", "预跳闸2"),
    ALARM: ("alarm", "报警"),
    ALARM_END: ("alarm ended", "报警解除"),
    KEEP_POWER: ("keep power", "保电"),
    KEEP_POWER_END: ("keep power ended", "保电解除"),
}

# --- running status word 3 (04000503) -----------------------------------------------------------

RELAY_BIT: Final = 0x0010
RELAY_ORDER_BIT: Final = 0x0040
ALARM_BIT: Final = 0x0080

STATUS_3_BITS: Final[dict[int, Words]] = {
    0: ("second day table set runs", "运行第二套时段"),
    3: ("programming allowed", "编程允许"),
    4: ("relay open", "继电器断开"),
    5: ("second zone table set runs", "运行第二套时区"),
    6: ("relay ordered open", "继电器命令状态断"),
    7: ("pre-trip alarm", "预跳闸报警"),
}
SUPPLIES: Final[tuple[Words, ...]] = (
    ("mains", "主电源"),
    ("auxiliary", "辅助电源"),
    ("battery", "电池供电"),
    ("reserved", "保留"),
)


def relay_is_open(status_word_3: int) -> bool:
    """Whether the relay stands open, i.e. the household is without power (bit 4)."""
    return bool(status_word_3 & RELAY_BIT)


def error_words(error: int, is_1997: bool = False) -> list[Words]:
    """Every set bit of a refusal's error word in words."""
    table = ERRORS_1997 if is_1997 else ERRORS_2007
    return [words for bit, words in enumerate(table) if error >> bit & 1]


def status_3_words(word: int) -> list[Words]:
    """Every set bit of status word 3, and the supply, in words."""
    told = [words for bit, words in STATUS_3_BITS.items() if word >> bit & 1]
    return [*told, SUPPLIES[word >> 1 & 3]]
