"""What the dispatcher's pages call things."""

from __future__ import annotations

BUS_STATES = {
    "silent": "无响应",
    "overload": "过载",
    "no_load": "空载",
    "reading": "抄表中",
    "idle": "空闲",
}
# The console's colours: what needs a person, what should be looked at, what is well.
STATE_LOOKS = {
    "silent": "breaks",
    "overload": "signed",
    "no_load": "",
    "reading": "closed",
    "idle": "closed",
}
LINKS = {
    "tcp": "串口服务器",
    "serial": "本机串口",
    "dtu": "DTU 模块",
    "push": "平台推送",
    "concentrator": "集中器",
}
JOB_KINDS = {"search": "搜表", "clock": "时钟", "download": "下装参数", "read_back": "回读参数"}
JOB_STATES = {
    "queued": "等待采集程序",
    "running": "进行中",
    "done": "已完成",
    "failed": "失败",
    "cancelled": "已取消",
    "expired": "无人领取",
}
JOB_ERRORS = {
    "nobody_took_it": "30 分钟内没有采集程序领取，请检查该总线的采集程序",
    "out_of_time": "超过任务时限，已有结果保留",
    "collector_died": "采集程序多次中断",
    "not_supported": "这条总线不支持此任务",
    "bad_parameters": "任务参数有误",
    "no_meters": "总线上没有可操作的表",
    "link_down": "线路不通",
    "too_many": "询问次数或找到的表超出上限，已有结果保留",
    "silent": "集中器没有应答",
    "refused": "集中器否认，请核对消息认证密码和参数",
    "garbled": "集中器的应答不完整",
    "wrong_answer": "集中器答非所问",
    "internal": "程序出错，已记录",
}
FIND_STATES = {"here": "已建档", "elsewhere": "建在别的总线", "new": "未建档"}
CLOCK_OUTCOMES = {
    "right": "准",
    "off": "偏差",
    "set": "已校准（已回读）",
    "not_set": "校时未成功",
    "not_settable": "不支持校时",
    "no_clock": "表不报时间",
    "no_credentials": "未配置写表密码",
}
REASONS = {
    "silent": "没有应答",
    "garbled": "残缺、杂音或冲突",
    "checksum": "校验错误",
    "link_down": "线路不通",
    "refused": "表拒绝执行",
    "wrong_address": "别的表在应答",
    "wrong_answer": "答非所问",
    "unreadable": "读数不可信",
    "bad_target": "档案参数有误",
    "wrong_type": "表类型不符",
    "unknown_device": "未登记的设备",
    "signature": "签名不符",
    "no_frame": "没有报文",
    "no_time": "没有时间",
    "time_ahead": "时间超前",
    "time_too_old": "时间过旧",
    "too_large": "报文过长",
    "not_bcd": "含有非 BCD 数字",
    "structure": "结构残缺",
    "unsupported": "不支持的内容",
    "terminal_event": "集中器上报的事件",
    "unknown_point": "测量点没有建档",
    "unexpected_upload": "集中器上报了用不到的内容",
    "dtu_unknown": "未登记的 DTU 模块",
    "dtu_unregistered": "不是 DTU 注册包",
    "dtu_mute": "DTU 连上后不注册",
    "dtu_push": "DTU 主动发来的内容无法识别",
    "concentrator_unknown": "未登记的集中器",
    "concentrator_unregistered": "不是集中器登录帧",
    "concentrator_mute": "连上后不登录",
    "concentrator_garbled": "集中器发来的残缺或杂音",
    "concentrator_other_address": "别的集中器地址",
}
PROTOCOLS = {
    "cjt188": "CJ/T 188",
    "dlt645_2007": "DL/T 645-2007",
    "dlt645_1997": "DL/T 645-1997",
    "mbus": "M-Bus",
    "modbus": "Modbus RTU",
    "modbus_tcp": "Modbus TCP",
    "qgdw3761": "Q/GDW 376.1",
}


def link_zh(link: str) -> str:
    """How a bus is reached, in words."""
    scheme = link.partition("://")[0]
    return LINKS.get(scheme, scheme)


WORDS = {
    "bus_states": BUS_STATES,
    "state_looks": STATE_LOOKS,
    "job_kinds": JOB_KINDS,
    "job_states": JOB_STATES,
    "job_errors": JOB_ERRORS,
    "find_states": FIND_STATES,
    "clock_outcomes": CLOCK_OUTCOMES,
    "reasons": REASONS,
    "protocols": PROTOCOLS,
    "link_zh": link_zh,
}
