"""What a terminal's event records are called (Q/GDW 376.1-2009 appendix E, ERC1 to ERC35)."""

from __future__ import annotations

from typing import Final

EVENT_NAMES: Final = {
    1: "数据初始化和版本变更",
    2: "参数丢失",
    3: "参数变更",
    4: "状态量变位",
    5: "遥控跳闸",
    6: "功控跳闸",
    7: "电控跳闸",
    8: "电能表参数变更",
    9: "电流回路异常",
    10: "电压回路异常",
    11: "相序异常",
    12: "电能表时间超差",
    13: "电能表故障信息",
    14: "终端停/上电",
    15: "谐波越限告警",
    16: "直流模拟量越限",
    17: "电压/电流不平衡度越限",
    18: "电容器投切自锁",
    19: "购电参数设置",
    20: "消息认证错误",
    21: "终端故障",
    22: "有功总电能量差动越限",
    23: "电控告警",
    24: "电压越限",
    25: "电流越限",
    26: "视在功率越限",
    27: "电能表示度下降",
    28: "电能量超差",
    29: "电能表飞走",
    30: "电能表停走",
    31: "终端485抄表失败",
    32: "终端与主站通信流量超门限",
    33: "电能表运行状态字变位",
    34: "CT异常",
    35: "发现未知电表",
}


def event_name(code: int) -> str:
    """The name of an ERC, "ERC<n>" for one the standard does not list."""
    return EVENT_NAMES.get(code, f"ERC{code}")
