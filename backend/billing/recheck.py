"""A bill made again from what was read: equal, or where not.

From the bottom up: the frames say the registers and samples, these the usage (or the building's
heat, whose sharing is done again), usage and tariff version the lines, the lines the ledger. A
bill that stands on other bills (a season's settlement, a late fee, a reversal) is walked through
them. What is no bill, but money all the same, is `recheck_accounts`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.allocation.models import AllocationRun, AllocationShare
from backend.archive.models import Household
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.money import yuan_str
from backend.billing import (
    lateness,
    preview,
    pricing,
    recheck_frames,
    recheck_season,
    season,
    season_cap,
    topics,
    usage,
)
from backend.billing.lines import Line
from backend.billing.models import Bill, BillPayment
from backend.billing.recheck_frames import Decode, Frames
from backend.ledger import service as ledger


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found: differences ([]: equal), how many frames were decoded anew, and what could
    not be walked further back (`notes`)."""

    bill_no: str
    differences: list[str]
    frames: int
    notes: list[str] = field(default_factory=list)


def check_bill(bill_id: int, decode: Decode | None = None) -> Checked:
    """Do a bill again and compare; nothing is changed.  Problem not_found."""
    return Checker(decode).bill(bill_id)


class Checker:
    """Checks bills one after the other; what several of them stand on is walked once."""

    def __init__(self, decode: Decode | None = None):
        self.frames = Frames(decode)
        self._bills: dict[int, list[str]] = {}
        self._runs: dict[int, tuple[list[str], list[str], int]] = {}
        self._notes: list[str] = []

    def bill(self, bill_id: int) -> Checked:
        """One bill.  Problem not_found."""
        bill = db.session.get(Bill, bill_id)
        if bill is None:
            raise Problem("not_found")
        before, self._notes = self.frames.asked, []
        differences = self._of(bill)
        return Checked(bill.bill_no, differences, self.frames.asked - before, self._notes)

    def _of(self, bill: Bill) -> list[str]:
        if bill.id not in self._bills:
            self._bills[bill.id] = [
                *(_KINDS[bill.kind](self, bill)),
                *_amounts(bill),
                *_posted(bill),
            ]
        return self._bills[bill.id]

    def run(self, run_id: int) -> list[str]:
        """A building's heat shared again, from the frames of its meters and sensors up."""
        if run_id not in self._runs:
            before = self.frames.asked
            run = db.session.get_one(AllocationRun, run_id)
            found = list(self.readings(recheck_frames.run_readings(run)))
            told, bare = recheck_frames.samples(run, self.frames)
            found += told
            if not allocation.replay(run_id).equal:
                found.append(f"分摊 {run_id} 按其保存的输入重算，结果不同。")
            found += _refusal_told(lambda: allocation.recheck(run_id))
            notes = [f"有 {bare} 个传感器日的采样没有原始读数可核。"] if bare else []
            self._runs[run_id] = (found, notes, self.frames.asked - before)
            self.frames.asked = before
        found, notes, asked = self._runs[run_id]
        self._notes += notes
        self.frames.asked += asked
        return found

    def readings(self, ids: set[int]) -> Iterator[str]:
        """Readings that something stands on: there, and as their frames say."""
        rows = recheck_frames.by_id(ids)
        yield from (f"读数 {i} 已不在库中。" for i in sorted(ids - {r.id for r, _ in rows}))
        yield from self.frames.check(rows)

    def of_others(self, bills: Sequence[Bill]) -> Iterator[str]:
        """What is found in bills that this one stands on, each by its number."""
        for bill in bills:
            yield from (f"{bill.bill_no}：{said}" for said in self._of(bill))


def _refusal_told(check: Callable[[], list[str]]) -> list[str]:
    """What a check says, or why it can no longer be made."""
    try:
        return check()
    except Problem as problem:
        return [f"不能重新分摊：{problem.detail}"]


def _usage(checker: Checker, bill: Bill) -> Iterator[str]:
    """The usage counted again: by the meters, or the building's heat shared out anew."""
    yield from _repriced(bill, lambda: _priced(bill))
    if bill.basis.get("advance"):
        return
    yield from _prior(bill)
    yield from _season(bill)
    if bill.run_id is not None:
        share = db.session.get_one(AllocationShare, (bill.run_id, bill.household_id))
        if share.energy_wh != bill.basis["used"]:
            yield f"分摊结果为 {share.energy_wh} Wh，账单用的是 {bill.basis['used']} Wh。"
        yield from checker.run(bill.run_id)
        return
    yield from _metered(checker, bill)


def _metered(checker: Checker, bill: Bill) -> Iterator[str]:
    parts: Sequence[Mapping[str, object]] = bill.basis.get("meters", [])
    ids = {i for part in parts for i in recheck_frames.reading_ids(part)}
    yield from checker.readings(ids)
    yield from _kept(parts)
    if "schedule" in bill.tariff.params:  # every register in between says when it was used
        meters = {int(str(part["meter_id"])) for part in parts}
        every = recheck_frames.between(meters, bill.period_from, bill.period_to)
        yield from recheck_frames.short(checker.frames.check(every), "报文")
    household = db.session.get_one(Household, bill.household_id)
    again = usage.metered([household], bill.utility, bill.period_from, bill.period_to)
    amount = again[household.id].amount if household.id in again else None
    if amount != bill.basis.get("used"):
        yield f"按现有读数用量为 {amount}，账单用的是 {bill.basis.get('used')}。"


def _kept(parts: Sequence[Mapping[str, object]]) -> Iterator[str]:
    """The registers a bill kept are still those of its readings."""
    kept = {
        part[f"{end}_reading_id"]: part[end]
        for part in parts
        for end in ("open", "close")
        if part.get(f"{end}_reading_id") is not None and not part.get("estimated_between")
    }
    for reading, _ in recheck_frames.by_id({int(str(i)) for i in kept}):
        if reading.register != kept[reading.id]:
            yield f"读数 {reading.id} 为 {reading.register}，账单用的是 {kept[reading.id]}。"


# What the bills before it had counted of a year; what was taken back since counts as it did then.
_PRIOR = """
SELECT coalesce(sum((b.basis -> 'years' ->> :year)::bigint), 0)::bigint
  FROM bill b LEFT JOIN bill r ON r.about_id = b.id AND r.kind = 'reversal'
 WHERE b.household_id = :household AND b.utility = :utility AND b.kind = 'usage' AND b.id < :id
   AND (r.id IS NULL OR r.id > :id) AND b.period_to > :since
   AND NOT EXISTS (SELECT 1 FROM handover h WHERE h.household_id = b.household_id
                   AND h.state = 'done' AND b.period_from < h.moved_on AND h.done_at <= :at)
"""


def _prior(bill: Bill) -> Iterator[str]:
    """What a tier went on from is what the year's bills before had used."""
    if "tiers" not in bill.tariff.params:
        return
    for year, _used, prior, _months in bill.basis.get("facts", {}).get("years", []):
        counted = db.session.scalar(
            sa.text(_PRIOR),
            {
                "year": str(year),
                "household": bill.household_id,
                "utility": bill.utility,
                "id": bill.id,
                "since": date(bill.period_from.year, 1, 1),
                "at": bill.issued_at,
            },
        )
        if counted != prior:
            yield f"{year} 年此前各账单已计用量 {counted}，账单从 {prior} 起分档。"


# The season's bills as they stood when this one was made; see usage.so_far_of.
_SO_FAR = """
SELECT coalesce(sum(l.fee), 0)::bigint, coalesce(sum(b.amount_fen), 0)::bigint,
       coalesce(sum(b.period_to - b.period_from), 0)::int
  FROM bill b LEFT JOIN bill r ON r.about_id = b.id AND r.kind = 'reversal'
 CROSS JOIN LATERAL (SELECT coalesce(sum(amount_fen), 0) AS fee FROM bill_line
                      WHERE bill_id = b.id AND code <> :cap) l
 WHERE b.household_id = :household AND b.utility = 'heat' AND b.kind = 'usage' AND b.id < :id
   AND (r.id IS NULL OR r.id > :id) AND NOT b.basis ? 'advance'
   AND b.period_from >= :season AND b.period_to <= :day
   AND NOT EXISTS (SELECT 1 FROM handover h WHERE h.household_id = b.household_id
                   AND h.state = 'done' AND b.period_from < h.moved_on AND h.done_at <= :at)
"""


def _season(bill: Bill) -> Iterator[str]:
    """What a cap on monthly bills went on from is what the season's bills before came to."""
    kept = bill.basis.get("facts", {}).get("so_far")
    if kept is None:
        return
    row = db.session.execute(
        sa.text(_SO_FAR),
        {
            "cap": season_cap.CODE,
            "household": bill.household_id,
            "id": bill.id,
            "season": usage.season_of(bill.period_from).day_from,
            "day": bill.period_from,
            "at": bill.issued_at,
        },
    ).one()
    if list(row) != kept:
        yield f"本季此前各账单合计（费用、已出账、天数）为 {list(row)}，账单用的是 {kept}。"


def _priced(bill: Bill) -> list[Line]:
    if bill.basis.get("advance"):
        household = db.session.get_one(Household, bill.household_id)
        return season.advance_lines(household, bill.tariff, bill.period_from, bill.period_to)
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


def _repriced(bill: Bill, price: Callable[[], Sequence[Line]]) -> Iterator[str]:
    """The lines priced again, each to the fen."""
    try:
        lines = price()
    except ValueError as error:
        yield f"不能重新计价：{error}。"
        return
    if [line.code for line in lines] != [line.code for line in bill.lines]:
        yield "重新计价后的费用项目与账单不同。"
        return
    for now, kept in zip(lines, bill.lines, strict=True):
        if now.amount_fen != kept.amount_fen:
            yield (
                f"{kept.title}重算为 {yuan_str(now.amount_fen)} 元，"
                f"账单为 {yuan_str(kept.amount_fen)} 元。"
            )


def _settlement(checker: Checker, bill: Bill) -> Iterator[str]:
    """A season: its bills walked back one by one, its heat counted, its fee priced again."""
    again = recheck_season.again(bill.household_id, bill.period_from, bill.period_to, bill.tariff)
    listed = bill.basis.get("bills", [])
    if sorted(b.bill_no for b in again.billed) != sorted(listed):
        numbers = "、".join(b.bill_no for b in again.billed)
        yield f"本季现有账单为 {numbers}，结算用的是 {'、'.join(listed)}。"
    if again.heat_wh != bill.basis["used"]:
        yield f"本季用热重算为 {again.heat_wh} Wh，结算用的是 {bill.basis['used']} Wh。"
    else:
        yield from _repriced(bill, lambda: again.lines)
    yield from checker.of_others(again.billed)
    if again.run_id is not None:
        yield from checker.run(again.run_id)


def _reversal(checker: Checker, bill: Bill) -> Iterator[str]:
    """The negative of a bill that stands no longer; that one is walked back too."""
    about = db.session.get_one(Bill, bill.about_id)
    if about.amount_fen + bill.amount_fen or about.state != "reversed":
        yield f"红冲单与 {about.bill_no} 不符。"


def _late(checker: Checker, bill: Bill) -> Iterator[str]:
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
    yield from checker.of_others([about])


_KINDS: dict[str, Callable[[Checker, Bill], Iterator[str]]] = {
    "usage": _usage,
    "settlement": _settlement,
    "late_fee": _late,
    "reversal": _reversal,
}


def _amounts(bill: Bill) -> Iterator[str]:
    """The bill is the sum of its lines, and what is paid on it the sum of its payments."""
    total = sum(line.amount_fen for line in bill.lines)
    if total != bill.amount_fen:
        yield f"各行合计 {yuan_str(total)} 元，账单为 {yuan_str(bill.amount_fen)} 元。"
    query = sa.select(sa.func.sum(BillPayment.amount_fen)).where(BillPayment.bill_id == bill.id)
    paid = int(db.session.scalar(query) or 0)
    if paid != bill.paid_fen:
        yield f"缴费记录合计 {yuan_str(paid)} 元，账单记为已缴 {yuan_str(bill.paid_fen)} 元。"


def _posted(bill: Bill) -> Iterator[str]:
    """The ledger has the bill, with its sum."""
    if not bill.amount_fen:
        return
    entry = ledger.entry_by_key(f"bill:{bill.bill_no}")
    posted = max((abs(p.amount_fen) for p in entry.postings), default=0) if entry else 0
    if posted != abs(bill.amount_fen):
        yield f"总账记了 {yuan_str(posted)} 元，账单为 {yuan_str(bill.amount_fen)} 元。"
