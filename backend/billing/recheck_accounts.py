"""Money that is no bill, made again: credits, prepaid accounts day by day, handovers."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.allocation.models import AllocationRun, AllocationShare
from backend.archive.models import Household, Meter
from backend.base.db import db
from backend.base.money import yuan_str
from backend.billing import (
    cold,
    prepaid,
    prepaid_pricing,
    prepayment,
    recheck_season,
    tariffs,
    usage,
)
from backend.billing.models import (
    Adjustment,
    Bill,
    BillingRequest,
    ColdReport,
    Handover,
    PrepaidAccount,
    PrepaidDay,
    Tariff,
)
from backend.billing.recheck import Checked, Checker
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.models import Account, Entry, Posting
from backend.metering.models import DailyUsage


def everything(checker: Checker) -> Iterator[Checked]:
    """Every credit, prepaid account and handover, oldest first."""
    for adjustment_id in db.session.scalars(sa.select(Adjustment.id).order_by(Adjustment.id)).all():
        yield credit(checker, db.session.get_one(Adjustment, adjustment_id))
    key = (PrepaidAccount.household_id, PrepaidAccount.utility)
    for household_id, utility in db.session.execute(sa.select(*key).order_by(*key)).all():
        yield account(checker, db.session.get_one(PrepaidAccount, (household_id, utility)))
    for handover_id in db.session.scalars(sa.select(Handover.id).order_by(Handover.id)).all():
        yield handover(db.session.get_one(Handover, handover_id))


# Credits -------------------------------------------------------------------------------------


def credit(checker: Checker, made: Adjustment) -> Checked:
    """A credit: what it stands on comes to the same sum, and the ledger has it."""
    before = checker.frames.asked
    ground = {"season": _season, "cold_room": _cold}.get(made.kind, _decided)
    found = [*ground(checker, made), *_credited(made)]
    return Checked(f"退费 {made.business_key}", found, checker.frames.asked - before)


def _season(checker: Checker, made: Adjustment) -> Iterator[str]:
    """A season that came to less than was billed."""
    begin, end = (date.fromisoformat(day) for day in made.business_key.split(":")[-2:])
    household = db.session.get_one(Household, made.household_id)
    name = household.customer_class
    held = tariffs.in_force(household.building_id, "heat", {name}, begin, end)
    again = recheck_season.again(household.id, begin, end, held[name])
    if -again.due_fen != made.credit_fen:
        yield (
            f"采暖季结算重算应退 {yuan_str(-again.due_fen)} 元，"
            f"已退 {yuan_str(made.credit_fen)} 元。"
        )
    yield from checker.of_others(again.billed)
    if again.run_id is not None:
        yield from checker.run(again.run_id)


def _cold(checker: Checker, made: Adjustment) -> Iterator[str]:
    """A cold room: its days found again in the samples (or by the measurement) and priced."""
    report = db.session.scalars(
        sa.select(ColdReport).where(ColdReport.adjustment_id == made.id)
    ).one_or_none()
    if report is None:
        yield "没有找到对应的室温报告。"
        return
    again = cold.found_again(report)
    for day, row in again.days.items():
        kept = report.finding["days"].get(day)
        if kept != row:
            yield f"{day} 的室温判定重算为 {_day_zh(row)}，退费时为 {_day_zh(kept)}。"
    if again.refund_fen != made.credit_fen:
        yield (
            f"室温退费重算为 {yuan_str(again.refund_fen)} 元，已退 {yuan_str(made.credit_fen)} 元。"
        )


def _day_zh(row: list[Any] | None) -> str:
    if row is None:
        return "无"
    cdeg, ratio, _ = row
    warm = "未判定" if cdeg is None else f"{Decimal(cdeg).scaleb(-2)} ℃"
    return f"{warm}，退 {Decimal(ratio) * 100:f}%"


def _decided(checker: Checker, made: Adjustment) -> Iterator[str]:
    """What a person asked for and another approved."""
    found = db.session.scalars(
        sa.select(BillingRequest).where(
            BillingRequest.state == "approved",
            BillingRequest.result["adjustment_id"].as_integer() == made.id,
        )
    ).one_or_none()
    if found is None:
        yield "没有找到核准这笔退费的申请。"
    elif found.params.get("credit_fen") != made.credit_fen:
        yield (
            f"核准的是 {yuan_str(int(found.params.get('credit_fen', 0)))} 元，"
            f"已退 {yuan_str(made.credit_fen)} 元。"
        )


def _credited(made: Adjustment) -> Iterator[str]:
    wallet = chart.wallet(made.household_id).code
    posted = _part(f"adjustment:{made.business_key}", wallet)
    if posted != -made.credit_fen:
        yield f"总账记入余额 {yuan_str(-posted)} 元，退费为 {yuan_str(made.credit_fen)} 元。"


def _part(key: str, code: str) -> int:
    """What an entry moved in one account; 0 where there is none."""
    entry = ledger.entry_by_key(key)
    if entry is None:
        return 0
    return sum(p.amount_fen for p in entry.postings if p.account.code == code)


# Prepaid -------------------------------------------------------------------------------------


def account(checker: Checker, held: PrepaidAccount) -> Checked:
    """A prepaid account from its first night: deductions, balances, usage, ledger."""
    before = checker.frames.asked
    household = db.session.get_one(Household, held.household_id)
    days = db.session.scalars(
        sa.select(PrepaidDay)
        .where(PrepaidDay.household_id == household.id, PrepaidDay.utility == held.utility)
        .order_by(PrepaidDay.day)
    ).all()
    found = [
        *_nights(held, household, days),
        *_used(checker, held, household, days),
        *_posted_nights(held, days),
    ]
    name = f"预付费 {household.account_no} {tariffs.UTILITIES_ZH[held.utility]}"
    return Checked(name, found, checker.frames.asked - before)


def _nights(
    held: PrepaidAccount, household: Household, days: Sequence[PrepaidDay]
) -> Iterator[str]:
    """Each night's deduction and balance, by the price it names, from the one before."""
    state = prepaid.Account(0)
    season = usage.season_of(held.through) if held.utility == "heat" else None
    rule = {"warn_fen": None, "close_after_days": None}
    expected = held.opened_on
    for row in days:
        if row.day != expected:
            yield f"{expected} 没有扣费记录。"
        expected = row.day + timedelta(1)
        tariff = db.session.get_one(Tariff, row.tariff_id)
        state = prepayment.begun(state, row.day, season)
        in_season = season is not None and season.day_from <= row.day <= season.day_to
        try:
            plan = prepaid_pricing.plan_of(tariff, household, rule, in_season)
        except ValueError as error:
            yield f"{row.day} 不能重新计费：{error}。"
            return
        hours = {p: Fraction(kwh) for p, kwh in row.detail.get("hours", {}).items()}
        besides_fen = prepaid_pricing.hours_fen(tariff.params, hours)
        quantity = prepaid_pricing.quantity(tariff.params, row.used)
        if hours and sum(hours.values()) != quantity:
            yield f"{row.day} 各时段电量合计与当日用量不符。"
        state, closing = prepaid.close_day(state, quantity, plan, row.topup_fen, besides_fen)
        if (closing.deduction_fen, closing.balance_fen) != (row.deduction_fen, row.balance_fen):
            yield (
                f"{row.day} 重算扣 {yuan_str(closing.deduction_fen)} 元、余 "
                f"{yuan_str(closing.balance_fen)} 元，账上扣 {yuan_str(row.deduction_fen)} 元、余 "
                f"{yuan_str(row.balance_fen)} 元。"
            )
            state = replace(state, balance_fen=row.balance_fen)
    if state.balance_fen != held.balance_fen:
        now, kept = yuan_str(state.balance_fen), yuan_str(held.balance_fen)
        yield f"余额重算为 {now} 元，账户为 {kept} 元。"


def _used(
    checker: Checker, held: PrepaidAccount, household: Household, days: Sequence[PrepaidDay]
) -> Iterator[str]:
    """What was charged in all is what the readings say was used in all."""
    end = held.through + timedelta(1)
    if end <= held.opened_on:
        return
    charged = sum(row.used for row in days)
    shared = held.utility == "heat" and allocation.rule_of(household.building_id, held.through)
    known: int | None
    if shared:
        known = yield from _shared(checker, household, held.opened_on, end)
    else:
        ids = _boundaries(household.id, held.utility, held.opened_on, end)
        yield from checker.readings(ids)
        metered = usage.metered([household], held.utility, held.opened_on, end)
        known = metered[household.id].amount if household.id in metered else None
    if known != charged:
        yield (
            f"{held.opened_on} 至 {held.through} 按现有读数用量合计 {known}，"
            f"逐日扣费合计 {charged}；之后的更正由下一次扣费补齐。"
        )


def _shared(
    checker: Checker, household: Household, begin: date, end: date
) -> Generator[str, None, int]:
    """The household's part of each day's provisional run, each run done again."""
    rows = db.session.execute(
        sa.select(AllocationRun.id, AllocationShare.energy_wh)
        .join(AllocationShare, AllocationShare.run_id == AllocationRun.id)
        .where(
            AllocationShare.household_id == household.id,
            AllocationRun.purpose == "daily",
            AllocationRun.superseded_by.is_(None),
            AllocationRun.period_from >= begin,
            AllocationRun.period_to <= end,
        )
        .order_by(AllocationRun.period_from)
    ).all()
    for run_id, _ in rows:
        yield from checker.run(run_id)
    return sum(wh for _, wh in rows)


def _boundaries(household_id: int, utility: str, begin: date, end: date) -> set[int]:
    """The readings the daily usage of a household's meters stands on."""
    rows = db.session.execute(
        sa.select(DailyUsage.open_reading_id, DailyUsage.close_reading_id)
        .join(Meter, Meter.id == DailyUsage.meter_id)
        .where(
            Meter.household_id == household_id,
            Meter.kind == utility,
            DailyUsage.day >= begin,
            DailyUsage.day < end,
        )
    )
    return {reading_id for row in rows for reading_id in row if reading_id is not None}


def _posted_nights(held: PrepaidAccount, days: Sequence[PrepaidDay]) -> Iterator[str]:
    """The ledger has each night's deduction and the top-ups the nights counted."""
    code = chart.prepaid(held.utility, held.household_id).code
    rows = db.session.execute(
        sa.select(Entry.business_key, Entry.kind, sa.func.sum(Posting.amount_fen))
        .join(Posting, Posting.entry_id == Entry.id)
        .join(Account, Account.id == Posting.account_id)
        .where(Account.code == code)
        .group_by(Entry.id)
    ).all()
    posted = {key: int(fen) for key, kind, fen in rows if kind == "prepaid"}
    for row in days:
        key = f"prepaid:{held.utility}:{held.household_id}:{row.day}"
        if posted.get(key, 0) != row.deduction_fen:
            was, said = yuan_str(posted.get(key, 0)), yuan_str(row.deduction_fen)
            yield f"{row.day} 总账记了扣费 {was} 元，应为 {said} 元。"
    counted = sum(row.topup_fen for row in days)
    topped = -sum(int(fen) for _, kind, fen in rows if kind != "prepaid")
    if held.closed_on is None and counted > topped:
        yield f"账上计入充值 {yuan_str(counted)} 元，总账只有 {yuan_str(topped)} 元。"


# Handovers -----------------------------------------------------------------------------------


def handover(made: Handover) -> Checked:
    """Nothing billed over the day, nothing left owed by the old owner, his balance set aside."""
    household = db.session.get_one(Household, made.household_id)
    found = [*_final(made), *_left(made)]
    return Checked(f"过户 {household.account_no} {made.moved_on}", found, 0)


def _final(made: Handover) -> Iterator[str]:
    bills = db.session.scalars(
        sa.select(Bill).where(
            Bill.household_id == made.household_id,
            Bill.kind == "usage",
            Bill.state != "reversed",
            Bill.period_from < made.moved_on,
        )
    ).all()
    for bill in bills:
        over = bill.period_to > made.moved_on and not bill.basis.get("advance")
        if over:
            yield f"账单 {bill.bill_no} 跨过过户日 {made.moved_on}。"
        if made.state == "done" and bill.state == "issued" and not over:
            yield f"原户主的账单 {bill.bill_no} 尚未结清。"


def _left(made: Handover) -> Iterator[str]:
    code = chart.wallet(made.household_id).code
    aside = _part(f"handover:{made.id}", code)
    if aside != made.left_fen:
        yield (
            f"退原户主余额记为 {yuan_str(made.left_fen)} 元，总账转出余额 {yuan_str(aside)} 元。"
        )
    paid = -ledger.balance_fen(chart.payable("handover", made.id).code)
    if not 0 <= paid <= made.left_fen:
        yield f"待退原户主余额为 {yuan_str(paid)} 元，不在 0 到 {yuan_str(made.left_fen)} 元之间。"
