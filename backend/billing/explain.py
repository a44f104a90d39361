"""Why a bill is what it is: back through lines, tariff, share and building heat to the readings.

Neighbours appear only added together, never one by one.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import sqlalchemy as sa

from backend.allocation.methods import METHODS
from backend.allocation.models import AllocationRun, AllocationShare
from backend.archive.models import Household, Meter
from backend.base.clock import add_months
from backend.base.db import db
from backend.base.energy import gj_from_wh, kwh_from_wh
from backend.base.errors import Problem
from backend.base.exact import exact, plain
from backend.base.money import yuan_str
from backend.billing import peers, yearly
from backend.billing.models import Bill, BillLine
from backend.billing.usage import standing
from backend.metering.models import Reading

FLAGS = {
    "substituted:building_mean_per_area": "本户数据不足，按全楼单位面积平均值计算",
    "substituted:neighbours_mean": "本户数据不足，按相邻住户平均值计算",
    "substituted:last_period": "本户数据不足，按上期份额计算",
    "whole_building_by_area": "全楼数据不足，本期按面积分摊",
    "all_zero_weights_by_area": "全楼无有效散热量，本期按面积分摊",
    "rollover": "表计满量程归零，已按归零计算",
    "stale_boundary": "零点前后一刻钟内没有读数，采用此前最近一次读数",
    "estimated": "零点没有读数，按前后两次读数推算，收到表内冻结数据后自动更正",
    "changed_after_billing": "出账后读数有更正，差额将另行调整",
    "tou_coarse": "部分时段没有逐时读数，按时间均摊，属估算",
    "new_year_by_days": "计费期跨年，用量按天数分到两年，阶梯从新年重新累计",
    "meter_replaced": "期内更换过表计，新旧表的用量已合并计算",
}
CALIBRATED = (
    "说明：系数 γ 和 B 由本楼实测数据辨识，已包含邻户间传热，是按室内舒适度校准的结果，"
    "不是单户热量表的读数。"
)
UTILITIES = {"heat": "热费", "water": "水费", "gas": "燃气费", "electricity": "电费"}
# Registers as people read them: utility -> (divisor exponent, unit).
UNITS = {"heat": (-3, "kWh"), "electricity": (-3, "kWh"), "water": (-3, "m³"), "gas": (-3, "m³")}


def bill_title(utility: str, period_from: date, period_to: date) -> str:
    """2026年10月 热费, or the days where it is not a calendar month."""
    name = UTILITIES.get(utility, utility)
    if period_from.day == 1 and period_to == add_months(period_from, 1):
        return f"{period_from.year}年{period_from.month}月 {name}"
    last = period_to - timedelta(days=1)
    since = f"{period_from.year}年{period_from.month}月{period_from.day}日"
    return f"{since}至{last.month}月{last.day}日 {name}"


def explain(bill_id: int) -> dict[str, Any]:
    """The derivation of a bill as data and as sentences (docs/api.md, bills/{id}/explain)."""
    bill = db.session.get(Bill, bill_id)
    if bill is None:
        raise Problem("not_found")
    household = db.session.get_one(Household, bill.household_id)
    heat = _heat(bill) if bill.run_id is not None else None
    comparison = _comparison(bill, household)
    return {
        "bill": bill,
        "lines": bill.lines,
        "heat": heat,
        "sentences": _sentences(bill, heat, comparison),
        "tariff": {
            "id": bill.tariff.id,
            "name": bill.tariff.name,
            "effective_from": bill.tariff.effective_from,
            "params": bill.tariff.params,
        },
        "readings": _readings(_reading_ids(bill, heat)),
        "comparison": comparison,
    }


def _heat(bill: Bill) -> dict[str, Any]:
    """The run behind the bill: building heat, own part, the others added together."""
    run = db.session.get_one(AllocationRun, bill.run_id)
    own = db.session.get_one(AllocationShare, (run.id, bill.household_id))
    others_weight, others = db.session.execute(
        sa.select(sa.func.sum(AllocationShare.weight), sa.func.count()).where(
            AllocationShare.run_id == run.id, AllocationShare.household_id != bill.household_id
        )
    ).one()
    method = METHODS[run.method]
    meters = run.inputs["building"]
    codes = [*own.flags, *([run.building_flag] if run.building_flag else [])]
    codes += {flag: None for m in meters for flag in m["flags"] if flag in FLAGS}
    return {
        "run_id": run.id,
        "method": run.method,
        "method_title": method.title_zh,
        "building_wh": run.total_wh,
        "building_from_register_wh": meters[0]["open"],
        "building_to_register_wh": meters[-1]["close"],
        "building_reading_ids": _ids_of(meters),
        "share_percent": plain(exact(own.share) * 100, 6),
        "own_wh": own.energy_wh,
        "own_weight": own.weight,
        "others_weight": float(others_weight or 0.0),
        "others": others,
        "formula": method.formula_zh,
        "flags": [{"code": code, "text": FLAGS.get(code, code)} for code in codes],
        "coverage": str(own.coverage.normalize()) if own.coverage is not None else None,
    }


def _sentences(bill: Bill, heat: dict[str, Any] | None, comparison: dict[str, Any]) -> list[str]:
    last_day = bill.period_to.fromordinal(bill.period_to.toordinal() - 1)
    period = f"{bill.period_from:%Y年%-m月%-d日}至{last_day:%Y年%-m月%-d日}"
    said = _heat_sentences(heat, period) if heat else _meter_sentences(bill, period)
    said += [f"说明：{FLAGS.get(note, note)}。" for note in bill.basis.get("notes", ())]
    said += [line.explanation for line in bill.lines]
    parts = " + ".join(f"{yuan_str(line.amount_fen)}" for line in bill.lines)
    return [
        *said,
        *_compared(bill, comparison),
        f"合计：{parts} = {yuan_str(bill.amount_fen)} 元。",
    ]


def _heat_sentences(heat: dict[str, Any], period: str) -> list[str]:
    whole, own = kwh_from_wh(heat["building_wh"]), kwh_from_wh(heat["own_wh"])
    said = [
        f"{period}，整栋楼的总热量表用热 {_number(whole)} 千瓦时"
        f"（表底 {_number(kwh_from_wh(heat['building_from_register_wh']))} → "
        f"{_number(kwh_from_wh(heat['building_to_register_wh']))}）。",
        f"按{heat['method_title']}分摊，同等舒适、同等费用：您家散热权重 "
        f"{heat['own_weight']:,.0f}，其余 {heat['others']} 户合计 {heat['others_weight']:,.0f}，"
        f"您家占 {heat['share_percent']}%。",
        f"算式：{_number(whole)} × {heat['own_weight']:,.0f} ÷ "
        f"（{heat['own_weight']:,.0f} + {heat['others_weight']:,.0f}）= {_number(own)} 千瓦时；"
        f"权重 {heat['formula']}。",
        f"您家分得 {_number(own)} 千瓦时，即 {plain(exact(gj_from_wh(heat['own_wh'])), 8)} 吉焦。",
    ]
    if heat["method"] == "three_temperature":
        said.append(CALIBRATED)
    return said + [f"说明：{flag['text']}。" for flag in heat["flags"]]


def _meter_sentences(bill: Bill, period: str) -> list[str]:
    exponent, unit = UNITS[bill.utility]
    said = []
    for part in bill.basis.get("meters", []):
        opened = Decimal(part["open"]).scaleb(exponent)
        closed = Decimal(part["close"]).scaleb(exponent)
        times = Decimal(part.get("ratio", 1))
        by = f"乘以倍率 {_number(times)}，" if times != 1 else ""
        said.append(
            f"{period}，您家表底从 {_number(opened)} 走到 {_number(closed)} {unit}，{by}"
            f"用量 {_number((closed - opened) * times)} {unit}。"
        )
        said += [f"说明：{FLAGS.get(flag, flag)}。" for flag in part["flags"]]
    return said


def _number(value: Decimal) -> str:
    """With thousands separators and no trailing zeros: 10,530 or 463.019."""
    text = f"{value:,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _ids_of(parts: Sequence[dict[str, Any]]) -> list[int]:
    found = [p[key] for p in parts for key in ("open_reading_id", "close_reading_id")]
    return [reading_id for reading_id in found if reading_id is not None]


def _reading_ids(bill: Bill, heat: dict[str, Any] | None) -> list[int]:
    return heat["building_reading_ids"] if heat else _ids_of(bill.basis.get("meters", []))


def _readings(ids: Sequence[int]) -> list[dict[str, Any]]:
    """The readings a bill stands on, in order of time, with what the wire said."""
    rows = db.session.execute(
        sa.select(
            Reading.id,
            Reading.read_at,
            Reading.register,
            Reading.source,
            Reading.frame,
            Meter.address,
            Meter.kind,
        )
        .join(Meter, Meter.id == Reading.meter_id)
        .where(Reading.id.in_(ids))
        .order_by(Reading.read_at)
    )
    return [
        {
            "id": row.id,
            "meter_address": row.address,
            "read_at": row.read_at,
            "register": row.register,
            "unit": "l" if row.kind in ("water", "gas") else "wh",
            "source": row.source,
            "frame": bytes(row.frame).hex().upper() if row.frame else None,
        }
        for row in rows
    ]


def _previous(bill: Bill) -> Bill | None:
    return db.session.scalars(
        sa.select(Bill)
        .where(
            Bill.household_id == bill.household_id,
            Bill.utility == bill.utility,
            Bill.period_to <= bill.period_from,
            standing(),
        )
        .order_by(Bill.period_to.desc())
        .limit(1)
    ).first()


def _comparison(bill: Bill, household: Household) -> dict[str, Any]:
    """Beside the bill before, the same days a year ago (by the weather, too), homes like this."""
    before = _previous(bill)
    return {
        "previous_bill": before,
        "previous_used": before.basis.get("used") if before else None,
        **yearly.last_year(bill),
        "similar": peers.beside(bill, household),
    }


def _compared(bill: Bill, found: dict[str, Any]) -> list[str]:
    """The comparisons in words, as far as there is anything to compare with."""
    said = [_before(bill, found["previous_bill"]), yearly.sentence(bill.utility, found)]
    if found["similar"] is not None:
        said.append(_beside(bill.utility, found["similar"]))
    return [sentence for sentence in said if sentence]


def _before(bill: Bill, before: Bill | None) -> str:
    """A day of this bill against a day of the one before: their lengths may differ."""
    used = bill.basis.get("used")
    if before is None or used is None or not before.basis.get("used"):
        return ""
    spans = [(b.period_to - b.period_from).days for b in (bill, before)]
    now, then = used / spans[0], before.basis["used"] / spans[1]
    change = round((now / then - 1) * 100)
    more = "持平" if not change else f"{'多' if change > 0 else '少'} {abs(change)}%"
    days = [yearly.amount_zh(bill.utility, spent) for spent in (now * 30, then * 30)]
    return f"按 30 天折算，本期用量 {days[0]}，上一张账单 {days[1]}，{more}。"


def _beside(utility: str, found: peers.Similar) -> str:
    said = (f"{_small(utility, amount)}" for amount in (found.median, found.low, found.high))
    median, low, high = said
    each = "每平方米" if found.unit == "wh_per_m2" else "每户"
    return (
        f"{found.of_zh}共 {found.homes} 户（含您家），{each}用量的中位数为 {median}，"
        f"半数在 {low} 到 {high} 之间；您家 {_small(utility, found.mine)}。"
    )


def _small(utility: str, amount: int) -> str:
    """Wh or litres as kWh or m3 to two places."""
    unit = "千瓦时" if utility in ("heat", "electricity") else "立方米"
    return f"{_number(Decimal(amount).scaleb(-3).quantize(Decimal('0.01')))} {unit}"


def line_view(line: BillLine) -> dict[str, Any]:
    """A line as the API and the command show it."""
    return {
        "code": line.code,
        "title": line.title,
        "quantity": plain(exact(line.quantity)),
        "unit": line.unit,
        "price": plain(exact(line.price)),
        "amount_fen": line.amount_fen,
        "explanation": line.explanation,
    }
