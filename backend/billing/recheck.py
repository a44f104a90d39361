"""A bill made again from what was read: equal, or where not.

From the bottom up: the frames say the registers, the registers the usage (or the building's heat,
whose sharing is done again), usage and tariff version the lines, the lines the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.allocation.models import AllocationRun, AllocationShare
from backend.archive.models import Household, Meter
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.money import yuan_str
from backend.billing import lateness, preview, pricing, topics, usage
from backend.billing.lines import Line
from backend.billing.models import Bill
from backend.ledger import service as ledger
from backend.metering.models import Reading

# What a stored frame says its meter's register was; None where it cannot be told from it.
RegisterOf = Callable[[Meter, Reading], int | None]


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found: differences ([]: equal), and how many frames were decoded anew."""

    bill_no: str
    differences: list[str]
    frames: int


def check_bill(bill_id: int, register_of: RegisterOf | None = None) -> Checked:
    """Do a bill again and compare; nothing is changed.  Problem not_found."""
    bill = db.session.get(Bill, bill_id)
    if bill is None:
        raise Problem("not_found")
    frames, found = _readings(bill, register_of)
    found += [*_usage(bill), *_amounts(bill), *_posted(bill)]
    return Checked(bill.bill_no, found, frames)


def _parts(bill: Bill) -> Sequence[dict[str, object]]:
    if bill.run_id is not None:
        parts: Sequence[dict[str, object]] = db.session.get_one(AllocationRun, bill.run_id).inputs[
            "building"
        ]
        return parts
    return bill.basis.get("meters", [])  # type: ignore[no-any-return]


def _readings(bill: Bill, register_of: RegisterOf | None) -> tuple[int, list[str]]:
    """The readings a bill names: there, as the bill has them, and as their frames say."""
    kept = {
        part[f"{end}_reading_id"]: part[end]
        for part in _parts(bill)
        for end in ("open", "close")
        if part.get(f"{end}_reading_id") is not None
    }
    rows = db.session.execute(
        sa.select(Reading, Meter)
        .join(Meter, Meter.id == Reading.meter_id)
        .where(Reading.id.in_(kept))
    ).all()
    found = [f"读数 {i} 已不在库中。" for i in kept.keys() - {reading.id for reading, _ in rows}]
    frames = 0
    for reading, meter in rows:
        if reading.register != kept[reading.id]:
            found.append(
                f"读数 {reading.id} 为 {reading.register}，账单用的是 {kept[reading.id]}。"
            )
        if register_of is None or not reading.frame:
            continue
        said = register_of(meter, reading)
        if said is not None:
            frames += 1
            if said != reading.register:
                found.append(f"读数 {reading.id} 的报文解得 {said}，入库的是 {reading.register}。")
    return frames, found


def _usage(bill: Bill) -> Iterator[str]:
    """The usage counted again: by the meters, or the building's heat shared out anew."""
    if bill.kind != "usage" or bill.basis.get("advance"):
        return
    if bill.run_id is not None:
        share = db.session.get_one(AllocationShare, (bill.run_id, bill.household_id))
        if share.energy_wh != bill.basis["used"]:
            yield f"分摊结果为 {share.energy_wh} Wh，账单用的是 {bill.basis['used']} Wh。"
        if not allocation.replay(bill.run_id).equal:
            yield f"分摊 {bill.run_id} 按其保存的输入重算，结果不同。"
        yield from allocation.recheck(bill.run_id)
        return
    household = db.session.get_one(Household, bill.household_id)
    again = usage.metered([household], bill.utility, bill.period_from, bill.period_to)
    amount = again[household.id].amount if household.id in again else None
    if amount != bill.basis.get("used"):
        yield f"按现有读数用量为 {amount}，账单用的是 {bill.basis.get('used')}。"


def _amounts(bill: Bill) -> Iterator[str]:
    """The lines priced again, each to the fen; the bill is their sum."""
    total = sum(line.amount_fen for line in bill.lines)
    if total != bill.amount_fen:
        yield f"各行合计 {yuan_str(total)} 元，账单为 {yuan_str(bill.amount_fen)} 元。"
    if bill.kind == "usage" and not bill.basis.get("advance"):
        try:
            yield from _differences(bill, _priced(bill))
        except ValueError as error:
            yield f"不能重新计价：{error}。"
    elif bill.kind == "reversal":
        about = db.session.get_one(Bill, bill.about_id)
        if about.amount_fen + bill.amount_fen or about.state != "reversed":
            yield f"红冲单与 {about.bill_no} 不符。"
    elif bill.kind == "late_fee":
        yield from _late(bill)


def _priced(bill: Bill) -> list[Line]:
    facts = preview.facts_of_basis(bill.basis)
    if "schedule" in bill.tariff.params:
        used = usage.Used(facts.used, {"meters": bill.basis.get("meters", [])})
        clocked = usage.by_the_clock(
            {bill.household_id: used},
            {bill.household_id: bill.tariff},
            bill.period_from,
            bill.period_to,
        )
        facts = replace(facts, intervals=clocked[bill.household_id].intervals)
    return pricing.price(bill.tariff.kind, bill.tariff.params, facts)


def _differences(bill: Bill, lines: Sequence[Line]) -> Iterator[str]:
    if [line.code for line in lines] != [line.code for line in bill.lines]:
        yield "重新计价后的费用项目与账单不同。"
        return
    for now, kept in zip(lines, bill.lines, strict=True):
        if now.amount_fen != kept.amount_fen:
            yield (
                f"{kept.title}重算为 {yuan_str(now.amount_fen)} 元，"
                f"账单为 {yuan_str(kept.amount_fen)} 元。"
            )


def _late(bill: Bill) -> Iterator[str]:
    """All late fees of a bill up to this one are what the rule says by its day."""
    about = db.session.get_one(Bill, bill.about_id)
    as_of = bill.period_to - timedelta(1)
    household = db.session.get_one(Household, bill.household_id)
    rule = topics.in_force(household.building_id, "late_fee", bill.utility, about.due_on)
    fee = lateness.fee_of(about, rule, lateness.payments_of([about.id]).get(about.id, ()), as_of)
    billed = db.session.scalar(
        sa.select(sa.func.sum(Bill.amount_fen)).where(
            Bill.about_id == about.id, Bill.kind == "late_fee", Bill.period_to <= bill.period_to
        )
    )
    if int(billed or 0) != fee.fee_fen:
        yield f"违约金重算为 {yuan_str(fee.fee_fen)} 元，已出 {yuan_str(int(billed or 0))} 元。"


def _posted(bill: Bill) -> Iterator[str]:
    """The ledger has the bill, with its sum."""
    if not bill.amount_fen:
        return
    entry = ledger.entry_by_key(f"bill:{bill.bill_no}")
    posted = max((abs(p.amount_fen) for p in entry.postings), default=0) if entry else 0
    if posted != abs(bill.amount_fen):
        yield f"总账记了 {yuan_str(posted)} 元，账单为 {yuan_str(bill.amount_fen)} 元。"
