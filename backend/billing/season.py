"""The season's account: an advance by area before it, and after it what it really came to.

Either a household paid the fee by area in advance, or it was billed by the month; at the end its
whole season is priced once, capped where the price says so, and the difference is a bill or is
given back into its balance.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.energy import gj_from_wh
from backend.base.errors import Problem
from backend.base.exact import exact, plain
from backend.base.money import yuan_str
from backend.billing import pricing, season_rules, service, tariffs, topics, usage, wallet
from backend.billing.lines import Line, adjusted
from backend.billing.models import Adjustment, Bill, Tariff
from backend.billing.service import Period
from backend.billing.usage import standing


@dataclass(frozen=True)
class Settled:
    """Bills to pay, sums given back, and whom it left out and why (household id -> reason)."""

    bills: list[Bill] = field(default_factory=list)
    credits: list[Adjustment] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)


def advance(building_id: int, begin: date, end: date, due_on: date, now: datetime) -> list[Bill]:
    """Bill the season's fee by area before it; again bills nobody twice.

    The price must be in two parts with an area_price, in force over the season.  Problem
    tariff_missing.
    """
    households = service.unbilled(building_id, "heat", begin, end)
    if not households:
        return []
    held = _prices(building_id, households, begin, end)
    period = Period("heat", begin, end, due_on)
    bills = []
    for household in households:
        tariff = held[household.customer_class]
        bills.append(
            service.new_bill(
                household.id,
                period,
                tariff.id,
                advance_lines(household, tariff, begin, end),
                basis={"advance": True, "used": None},
                bill_no=f"A{end:%Y%m%d}{household.id:08d}",
                business_key=f"advance:heat:{household.id}:{begin}:{end}",
                issued_at=now,
            )
        )
    service.keep(bills, now)
    return bills


def advance_lines(household: Household, tariff: Tariff, begin: date, end: date) -> list[Line]:
    """The season's fee by area, by the area price of a price in two parts."""
    days = (end - begin).days
    facts = pricing.Facts(household.area_dm2, None, days, usage.suspended(household, begin))
    params = {"price": pricing.area_price(tariff.params), **_area_only(tariff.params)}
    return pricing.price("area", {**params, "season_days": days}, facts)


def _area_only(params: Any) -> dict[str, Any]:
    return {name: params[name] for name in ("suspension_ratio",) if name in params}


def settle(building_id: int, begin: date, end: date, now: datetime) -> Settled:
    """Settle a building's season [begin, end); again settles nobody twice.

    Problem period_not_over; a household whose season has days nobody billed is left out, by name.
    """
    if end > business_day(now):
        raise Problem("period_not_over", f"采暖季到 {end} 才结束，不能结算。")
    settled = Settled()
    households = _unsettled(building_id, begin, end)
    if not households:
        return settled
    billed = standing_bills([h.id for h in households], begin, end)
    heat = _heat(building_id, households, billed, begin, end, now)
    held = _prices(building_id, households, begin, end)
    ready = []
    for household in households:
        why = _not_ready(
            household, billed.get(household.id, []), heat.get(household.id), begin, end
        )
        if why:
            settled.left_out[household.id] = why
        else:
            ready.append(household)
    for name, tariff in held.items():
        mine = [h for h in ready if h.customer_class == name]
        _settle_class(mine, tariff, billed, heat, (begin, end), now, settled)
    return settled


def _settle_class(
    households: Sequence[Household],
    tariff: Tariff,
    billed: dict[int, list[Bill]],
    heat: dict[int, int],
    season: tuple[date, date],
    now: datetime,
    settled: Settled,
) -> None:
    """Price all of one class at once, then a bill or a credit for each."""
    paid = [sum(b.amount_fen for b in billed[h.id]) for h in households]
    fees = season_rules.season_fees(
        np.array([h.area_dm2 for h in households], dtype=np.int64),
        np.array([heat[h.id] for h in households], dtype=np.int64),
        np.array(paid, dtype=np.int64),
        tariff.params,
    )
    begin, end = season
    building_id = households[0].building_id if households else 0
    due_days = topics.in_force(building_id, "cycle", "heat", end)["due_days"] if households else 0
    period = Period("heat", begin, end, business_day(now) + timedelta(days=due_days))
    bills, credits, before = [], [], _taken_back([h.id for h in households], begin, end)
    for n, household in enumerate(households):
        lines = season_lines(household, heat[household.id], tariff, fees, n, paid[n])
        due_fen = int(fees.due_fen[n])
        key = f"season:heat:{household.id}:{begin}:{end}"
        if due_fen < 0:
            sentences = [line.detail["explain_zh"] for line in lines]
            reason = f"采暖季结算退费 {yuan_str(-due_fen)} 元"
            credits.append(
                wallet.Credit(
                    key,
                    household.id,
                    "heat",
                    "season",
                    -due_fen,
                    reason,
                    detail={"sentences": sentences},
                )
            )
            continue
        again = f"-{before[household.id] + 1}" if household.id in before else ""
        bills.append(
            service.new_bill(
                household.id,
                period,
                tariff.id,
                lines,
                kind="settlement",
                basis={
                    "used": heat[household.id],
                    "bills": [b.bill_no for b in billed[household.id]],
                },
                bill_no=f"S{end:%Y%m%d}{household.id:08d}{again}",
                business_key=key + again,
                issued_at=now,
            )
        )
    service.keep(bills, now)
    settled.bills.extend(bills)
    settled.credits.extend(wallet.credit_all(credits, now))


def season_lines(
    household: Household,
    heat_wh: int,
    tariff: Tariff,
    fees: season_rules.SeasonFees,
    n: int,
    paid_fen: int,
) -> list[Line]:
    """The settlement's lines with their sentences: two parts, the cap's relief, what was billed."""
    area, params = Decimal(household.area_dm2).scaleb(-2), tariff.params
    heat_gj = gj_from_wh(heat_wh)
    basic, metered, relief = (
        int(part[n]) for part in (fees.basic_fen, fees.metered_fen, fees.relief_fen)
    )
    lines = [
        _line("basic", "基本热费", area, "平方米", params["k1"], basic),
        _line("metered", "计量热费", heat_gj, "吉焦", params["k2"], metered),
    ]
    if relief:
        assert fees.cap_fen is not None
        most = yuan_str(int(fees.cap_fen[n]))
        said = f"两部制热费高于封顶额 {most} 元，减免 {yuan_str(relief)} 元"
        lines.append(adjusted("cap", "封顶减免", -relief, explain_zh=said))
    if paid_fen:
        said = f"本季已出账 {yuan_str(paid_fen)} 元"
        lines.append(adjusted("billed", "已出账", -paid_fen, explain_zh=said))
    return lines


def _line(code: str, title: str, quantity: Decimal, unit: str, price: str, amount_fen: int) -> Line:
    said = (
        f"{plain(exact(quantity), 12)} {unit} × {price} 元/{unit}，四舍五入到分为"
        f" {yuan_str(amount_fen)} 元"
    )
    return Line(code, title, quantity, unit, Decimal(price), amount_fen, {"explain_zh": said})


def _prices(
    building_id: int, households: Sequence[Household], begin: date, end: date
) -> dict[str, Tariff]:
    classes = {h.customer_class for h in households}
    held = tariffs.in_force(building_id, "heat", classes, begin, end)
    for tariff in held.values():
        if tariff.kind != "two_part":
            raise Problem("tariff_missing", f"价格“{tariff.name}”不是两部制，不能按季结算。")
        if "area_price" not in tariff.params:
            sentence = f"价格“{tariff.name}”没有写明面积热价 area_price，不能预收和按季结算。"
            raise Problem("tariff_missing", sentence)
    return held


def _unsettled(building_id: int, begin: date, end: date) -> Sequence[Household]:
    settled = (
        sa.exists()
        .where(Bill.household_id == Household.id, Bill.utility == "heat")
        .where(standing("settlement"), Bill.period_from == begin, Bill.period_to == end)
    )
    credited = sa.func.concat("season:heat:", Household.id, f":{begin}:{end}")
    query = sa.select(Household).where(
        Household.building_id == building_id,
        ~settled,
        ~sa.exists().where(Adjustment.business_key == credited),
    )
    return db.session.scalars(query.order_by(Household.id).with_for_update()).all()


def _taken_back(ids: Sequence[int], begin: date, end: date) -> dict[int, int]:
    """household -> how often its settlement of this season has been reversed."""
    rows = db.session.execute(
        sa.select(Bill.household_id, sa.func.count())
        .where(
            Bill.household_id.in_(ids),
            Bill.kind == "settlement",
            Bill.state == "reversed",
            Bill.period_from == begin,
            Bill.period_to == end,
        )
        .group_by(Bill.household_id)
    )
    return {row[0]: row[1] for row in rows}


def standing_bills(ids: Sequence[int], begin: date, end: date) -> dict[int, list[Bill]]:
    """household -> its standing heat bills inside a season, by their days."""
    query = sa.select(Bill).where(
        Bill.household_id.in_(ids),
        Bill.utility == "heat",
        standing(),
        Bill.period_from >= begin,
        Bill.period_to <= end,
    )
    found: dict[int, list[Bill]] = {}
    for bill in db.session.scalars(query.order_by(Bill.period_from)):
        found.setdefault(bill.household_id, []).append(bill)
    return found


def _heat(
    building_id: int,
    households: Sequence[Household],
    billed: dict[int, list[Bill]],
    begin: date,
    end: date,
    now: datetime,
) -> dict[int, int]:
    """household -> the season's heat: of its bills, or measured where it paid in advance."""
    heat = {
        household_id: sum(b.basis.get("used") or 0 for b in bills)
        for household_id, bills in billed.items()
        if all(b.basis.get("used") is not None for b in bills)
    }
    ahead = [h for h in households if h.id not in heat and billed.get(h.id)]
    if ahead:
        if allocation.rule_of(building_id, begin) is not None:
            measured = usage.shared(building_id, begin, end, now)
        else:
            measured = usage.metered(ahead, "heat", begin, end)
        for household in ahead:
            used = measured.get(household.id)
            if used is not None and used.amount is not None:
                heat[household.id] = used.amount
    return heat


def _not_ready(
    household: Household, bills: Sequence[Bill], heat_wh: int | None, begin: date, end: date
) -> str | None:
    """Why a household cannot be settled yet; None where it can."""
    if usage.suspended(household, begin):
        return "整季停热，不参加结算"
    day = begin
    for bill in bills:
        if bill.period_from > day:
            return f"{day} 至 {bill.period_from - timedelta(1)} 尚未出账，请先出账再结算"
        day = max(day, bill.period_to)
    if day < end:
        return f"{day} 至 {end - timedelta(1)} 尚未出账，请先出账再结算"
    return "本季用热量未知，请补录读数后再结算" if heat_wh is None else None
