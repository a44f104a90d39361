"""How the console writes things: money, shares, days and moments, in Chinese."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta

from flask import Blueprint

from backend.base.clock import SHANGHAI
from backend.base.money import yuan_str
from backend.cashier.rules import UTILITY_ZH
from backend.cashier.vouchers import KINDS_ZH

MINUS = "\u2212"  # as wide as a digit, unlike the hyphen
WEEKDAYS = "一二三四五六日"

KINDS = {
    "heat": "热量表",
    "water": "水表",
    "gas": "燃气表",
    "electricity": "电表",
    "hot_water": "热水表",
    "valve": "通断阀",
    "hca": "热分配表",
    "room_integral": "室温积分仪",
    "room": "室温",
    "outdoor": "室外温度",
}
CHANNELS = {"wechat": "微信支付", "alipay": "支付宝", "unionpay": "银联", "bank": "银行代扣"}
BREAKS = {
    "missing_here": "本方缺账",
    "missing_there": "渠道缺账",
    "amount": "金额不符",
    "fee": "手续费不符",
    "refund": "退款不符",
    "duplicate": "重复收款",
    "cross_day": "跨日",
    "statement_missing": "缺流水",
    "payout_missing": "未到账",
    "payout_amount": "到账不符",
    "credit_unknown": "不明来款",
    "debit_unknown": "不明支出",
}
SIDES = {"account": "银行账户", "acquirer": "收单机构"}
PAYOUTS = {"batch": "代扣批次", "deposit": "现金缴存，班次", "settlement": "收单结算"}
GROUPS = {
    "receivable": "应收",
    "clearing": "渠道在途",
    "bank": "银行存款",
    "cash": "库存现金",
    "pos": "刷卡在途",
    "wallet": "住户余额",
    "prepaid": "预付费",
    "payable": "应退",
    "suspense": "挂账",
    "revenue": "收入",
    "fee": "手续费",
    "over_short": "长短款",
}
OWNERS = {"finance": "财务", "operator": "运维", "manager": "管理"}


def register(blueprint: Blueprint) -> None:
    """Make these the templates' filters."""
    for filter_ in FILTERS:
        blueprint.add_app_template_filter(filter_)


def yuan(amount_fen: int | None) -> str:
    """1234567 -> '12,345.67'; None -> an en dash."""
    if amount_fen is None:
        return "–"
    whole, cents = yuan_str(abs(amount_fen)).split(".")
    return f"{MINUS if amount_fen < 0 else ''}{int(whole):,}.{cents}"


def signed_yuan(amount_fen: int) -> str:
    """A difference: always with its sign."""
    return f"+{yuan(amount_fen)}" if amount_fen > 0 else yuan(amount_fen)


def percent(part: int, whole: int) -> str:
    """'98.4%', rounded down so that 100% means all of them; a dash where nothing was asked."""
    if whole == 0:
        return "–"
    tenths = part * 1000 // whole
    return "100%" if tenths >= 1000 else f"{tenths // 10}.{tenths % 10}%"


def day_zh(day: date) -> str:
    """'11月20日 周五'."""
    return f"{day.month}月{day.day}日 周{WEEKDAYS[day.weekday()]}"


def days_on(day: date, count: int) -> date:
    """The day `count` days later (or earlier)."""
    return day + timedelta(days=count)


def clock(at: datetime | None) -> str:
    """'09:05:00' in Asia/Shanghai."""
    return f"{at.astimezone(SHANGHAI):%H:%M:%S}" if at else "–"


def moment(at: datetime | None) -> str:
    """'11-20 09:05' in Asia/Shanghai."""
    return f"{at.astimezone(SHANGHAI):%m-%d %H:%M}" if at else "–"


def ago(at: datetime | None, now: datetime) -> str:
    """'3 分钟前'; 从未 where it never was."""
    if at is None:
        return "从未"
    seconds = max(0, int((now - at).total_seconds()))
    for size, unit in ((86400, "天"), (3600, "小时"), (60, "分钟")):
        if seconds >= size:
            return f"{seconds // size} {unit}前"
    return "刚刚"


def drift(seconds: int | None) -> str:
    """How far a clock is off: '快 3 分 12 秒', '慢 2 天'; a dash where it is not known."""
    if seconds is None:
        return "–"
    if abs(seconds) < 2:
        return "准"
    parts, left = [], abs(seconds)
    for size, unit in ((86400, "天"), (3600, "小时"), (60, "分"), (1, "秒")):
        if left >= size:
            parts.append(f"{left // size} {unit}")
            left %= size
    return f"{'快' if seconds > 0 else '慢'} {' '.join(parts[:2])}"


def signal(dbm: int | None) -> str:
    """'−98 dBm'; a dash where it is not known."""
    return "–" if dbm is None else f"{MINUS if dbm < 0 else ''}{abs(dbm)} dBm"


def hexadecimal(frame: bytes) -> str:
    """'68 20 …': bytes as installers write them."""
    return frame.hex(" ").upper()


def kind(name: str) -> str:
    """What a meter measures."""
    return KINDS.get(name, name)


def channel(name: str) -> str:
    """A payment channel, or a side of the proof such as `account:<code>`."""
    family, _, code = name.partition(":")
    return f"{SIDES[family]} {code}" if family in SIDES else CHANNELS.get(name, name)


def account_group(code: str) -> str:
    """An account of the ledger, or a group of them: 'receivable:heat' -> '应收 热费'."""
    family, _, rest = code.partition(":")
    name, _, number = rest.partition(":")
    words = {**UTILITY_ZH, **CHANNELS}.get(name, name)
    return " ".join(filter(None, (GROUPS.get(family, family), words, number)))


def voucher_kind(name: str) -> str:
    """What sort of entry."""
    return KINDS_ZH.get(name, name)


def payout(key: str) -> str:
    """What a movement of a bank account was found to be: 'batch:ICBC…' -> '代扣批次 ICBC…'."""
    family, _, number = key.partition(":")
    if family == "channel":
        return f"{channel(number)}结算款"
    return f"{PAYOUTS.get(family, family)} {number}"


def break_kind(name: str) -> str:
    """What sort of difference."""
    return BREAKS.get(name, name)


def owner(name: str) -> str:
    """Who has to look at it: a role, or whoever was named."""
    return OWNERS.get(name, name)


FILTERS: tuple[Callable[..., str | date], ...] = (
    yuan,
    signed_yuan,
    percent,
    day_zh,
    days_on,
    clock,
    moment,
    ago,
    drift,
    signal,
    hexadecimal,
    kind,
    channel,
    payout,
    account_group,
    voucher_kind,
    break_kind,
    owner,
)
