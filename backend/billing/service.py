"""Bills from stored usage: issued once, posted to the ledger, never edited."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import changed, db, read_again
from backend.base.errors import Problem
from backend.billing import pricing, tariffs, topics, usage
from backend.billing.lines import Line, explain_zh, total_fen
from backend.billing.models import Bill, BillLine, BillPayment, Tariff
from backend.billing.season_cap import SoFar
from backend.billing.usage import Used
from backend.ledger import chart
from backend.ledger import service as ledger

PREFIX = {"heat": "H", "water": "W", "gas": "G", "electricity": "E"}


@dataclass(frozen=True)
class Issued:
    """What a billing run made, and whom it left out and why (household id -> reason)."""

    bills: list[Bill] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Period:
    """What is billed: a utility over [begin, end), payable by `due_on`."""

    utility: str
    begin: date
    end: date
    due_on: date


def issue(
    building_id: int,
    utility: str,
    period_from: date,
    period_to: date,
    now: datetime,
    only: Collection[int] | None = None,
) -> Issued:
    """Issue the bills of one building, utility and period; issuing again issues nothing new.

    Heat of a building with an allocation rule is shared out and the run locked; everything else
    is billed from the household's own meters.  A household whose usage is not known is left out
    with a reason, never billed from a guess.  `only`: these households (a final bill).
    """
    if period_to > business_day(now):
        raise Problem("period_not_over", f"计费期到 {period_to} 零点才结束，请在那之后再出账。")
    households = unbilled(building_id, utility, period_from, period_to, only)
    if not households:
        return Issued()
    priced = tariffs.in_force(
        building_id, utility, {h.customer_class for h in households}, period_from, period_to
    )
    if utility == "heat" and allocation.rule_of(building_id, period_from) is not None:
        usages = usage.shared(building_id, period_from, period_to, now)
    else:
        usages = usage.metered(households, utility, period_from, period_to)
    usages = _with_area_only(usages, households, priced)
    by_household = {h.id: priced[h.customer_class] for h in households}
    usages = usage.by_the_clock(usages, by_household, period_from, period_to)
    usages = usage.in_the_season(usages, by_household, period_from)
    cycle = topics.in_force(building_id, "cycle", utility, period_from)
    period = Period(
        utility, period_from, period_to, business_day(now) + timedelta(days=cycle["due_days"])
    )
    prior = usage.prior_of([h.id for h in households], utility, period_from)
    issued, revisions = Issued(), _revisions(households, period)
    for household in households:
        # A household without such a meter is no customer of this utility.
        if household.id in usages:
            one = usages[household.id]
            tariff, past = by_household[household.id], prior.get(household.id, {})
            made = _price_one(household, period, one, tariff, past)
            if isinstance(made, str):
                issued.left_out[household.id] = made
            else:
                _number(made, revisions.get(household.id, 0))
                made.issued_at = now
                issued.bills.append(made)
    keep(issued.bills, now)
    return issued


def _with_area_only(
    usages: dict[int, Used], households: Sequence[Household], priced: dict[str, Tariff]
) -> dict[int, Used]:
    """Heat by area needs no meter: who has none is billed for the area all the same."""
    by_area = {h.id for h in households if priced[h.customer_class].kind == "area"}
    missing = by_area - set(usages)
    return usages | {household_id: Used(None, {}) for household_id in missing}


def _price_one(
    household: Household, period: Period, used: Used, tariff: Tariff, prior: dict[int, int]
) -> Bill | str:
    """One household's bill, or the reason why it has none."""
    facts = usage.facts_of(household, used, period.begin, period.end, prior)
    try:
        lines = pricing.price(tariff.kind, tariff.params, facts)
    except ValueError as error:
        return str(error)
    if total_fen(lines) < 0:
        return "账单金额为负，请核对读数后再出账"
    if len(facts.years) > 1 and "tiers" in tariff.params:
        used = replace(used, flags=(*used.flags, usage.NEW_YEAR))
    basis = {
        "used": used.amount,
        **used.basis,
        "years": {str(part.year): part.used for part in facts.years},
        "facts": {
            "area_dm2": facts.area_dm2,
            "days": facts.days,
            "suspended": facts.suspended,
            "persons": facts.persons,
            "years": [[p.year, p.used, p.prior, p.months] for p in facts.years],
            **_season_facts(tariff, facts.so_far),
        },
        "notes": list(used.flags),
    }
    return new_bill(household.id, period, tariff.id, lines, run_id=used.run_id, basis=basis)


def _season_facts(tariff: Tariff, so_far: SoFar) -> dict[str, list[int]]:
    """What a cap on monthly bills was counted from."""
    if "monthly_cap" not in tariff.params:
        return {}
    return {"so_far": [so_far.fee_fen, so_far.billed_fen, so_far.days]}


def keep(bills: Sequence[Bill], now: datetime) -> None:
    """Store the bills and post them together: revenue is recognised when billed."""
    db.session.add_all(bills)
    db.session.flush()
    ledger.post_many(
        ledger.Draft(
            f"bill:{bill.bill_no}",
            "reversal" if bill.kind == "reversal" else "bill",
            now,
            [
                (chart.receivable(bill.utility, bill.household_id), bill.amount_fen),
                (chart.revenue(revenue_of(bill)), -bill.amount_fen),
            ],
            memo=f"{bill.utility} {bill.period_from}..{bill.period_to}",
        )
        for bill in bills
        if bill.amount_fen
    )


def revenue_of(bill: Bill) -> str:
    """Late fees are an income of their own, also where one is taken back."""
    late = bill.kind == "late_fee" or bill.bill_no.startswith("RL")
    return "late_fee" if late else bill.utility


def new_bill(
    household_id: int,
    period: Period,
    tariff_id: int,
    lines: Sequence[Line],
    **more: Any,
) -> Bill:
    """A bill of these lines, not stored yet; a usage bill unless `more` says otherwise."""
    amount_fen = total_fen(lines)
    return Bill(
        household_id=household_id,
        utility=period.utility,
        period_from=period.begin,
        period_to=period.end,
        amount_fen=amount_fen,
        state="issued" if amount_fen else "paid",
        due_on=period.due_on,
        tariff_id=tariff_id,
        lines=[_line(seq, line) for seq, line in enumerate(lines, 1)],
        **{"kind": "usage", "basis": {}} | more,
    )


def _number(bill: Bill, revision: int) -> None:
    """Number and key of a bill; made again after a reversal it has one of its own."""
    again = f"-{revision + 1}" if revision else ""
    bill.bill_no = f"{PREFIX[bill.utility]}{bill.period_to:%Y%m%d}{bill.household_id:08d}{again}"
    bill.business_key = (
        f"{bill.utility}:{bill.household_id}:{bill.period_from}:{bill.period_to}{again}"
    )


def _revisions(households: Sequence[Household], period: Period) -> dict[int, int]:
    """household -> how many bills that end on this day have been reversed."""
    rows = db.session.execute(
        sa.select(Bill.household_id, sa.func.count())
        .where(
            Bill.household_id.in_([h.id for h in households]),
            Bill.utility == period.utility,
            Bill.kind == "usage",
            Bill.state == "reversed",
            Bill.period_to == period.end,
        )
        .group_by(Bill.household_id)
    )
    return {row[0]: row[1] for row in rows}


def _line(seq: int, line: Line) -> BillLine:
    return BillLine(
        seq=seq,
        code=line.code,
        title=line.title_zh,
        quantity=line.quantity,
        unit=line.unit,
        price=line.price,
        amount_fen=line.amount_fen,
        explanation=explain_zh(line),
    )


def unbilled(
    building_id: int,
    utility: str,
    period_from: date,
    period_to: date,
    only: Collection[int] | None = None,
) -> Sequence[Household]:
    """The building's households no day of whose period has been billed yet."""
    billed = sa.select(Bill.household_id).where(
        Bill.utility == utility,
        usage.standing(),
        Bill.period_from < period_to,
        Bill.period_to > period_from,
    )
    query = sa.select(Household).where(
        Household.building_id == building_id, Household.id.not_in(billed)
    )
    if only is not None:
        query = query.where(Household.id.in_(only))
    return db.session.scalars(query.order_by(Household.id)).all()


# Counting payments, written by hand: parts of a statement.  HELD, over `part` (bill_id, amount_fen)
# has those that still owe their whole part, held by rising id as everywhere.  COUNTED, over `due`
# (the same columns), counts them and writes it down.
HELD = """
held AS (
    SELECT bill.id, part.amount_fen, bill.utility, bill.household_id
    FROM part JOIN bill ON bill.id = part.bill_id
    WHERE bill.state = 'issued' AND bill.paid_fen + part.amount_fen <= bill.amount_fen
    ORDER BY bill.id FOR UPDATE OF bill
)"""
COUNTED = """
counted AS (
    UPDATE bill SET
        paid_fen = paid_fen + due.amount_fen,
        state = CASE WHEN paid_fen + due.amount_fen = bill.amount_fen THEN 'paid' ELSE state END,
        paid_at = CASE WHEN paid_fen + due.amount_fen = bill.amount_fen
                       THEN %(paid_at)s::timestamptz END
    FROM due WHERE bill.id = due.id
), written AS (
    INSERT INTO bill_payment (bill_id, amount_fen, paid_at, day)
    SELECT id, amount_fen, %(paid_at)s::timestamptz, %(paid_on)s::date FROM due
)"""
_APPLY = f"""
WITH part AS (
    SELECT * FROM unnest(%(bills)s::bigint[], %(fen)s::bigint[]) AS p (bill_id, amount_fen)
), {HELD}, due AS (SELECT * FROM held), {COUNTED}
SELECT id FROM due
"""


def apply_payments(parts: Mapping[int, int], at: datetime) -> set[int]:
    """Count a payment towards bills, {bill id: fen}; which of them took it.

    A bill that is no longer owed, or not by so much, takes nothing: the caller gives it back.
    """
    if not parts:
        return set()
    bills = sorted(parts)
    fen = [parts[bill_id] for bill_id in bills]
    values = {"bills": bills, "fen": fen, "paid_at": at, "paid_on": business_day(at)}
    db.session.flush()
    taken = set(db.session.connection().exec_driver_sql(_APPLY, values).scalars())
    read_again(Bill, taken)
    return taken


def apply_payment(bill_id: int, amount_fen: int, at: datetime) -> bool:
    """Count a payment towards one bill; False where it is no longer owed."""
    return bool(apply_payments({bill_id: amount_fen}, at))


def take_back_payment(bill_id: int, amount_fen: int, at: datetime) -> bool:
    """Count a payment no longer, the day it was made; False where the bill stands no longer."""
    done = changed(
        sa.update(Bill)
        .where(Bill.id == bill_id, Bill.state.in_(("issued", "paid")), Bill.paid_fen >= amount_fen)
        .values(paid_fen=Bill.paid_fen - amount_fen, state="issued", paid_at=None)
        .execution_options(synchronize_session="fetch")
    )
    if done != 1:
        return False
    _count(bill_id, -amount_fen, at)
    return True


def _count(bill_id: int, amount_fen: int, at: datetime) -> None:
    values = {"bill_id": bill_id, "amount_fen": amount_fen, "paid_at": at, "day": business_day(at)}
    db.session.execute(sa.insert(BillPayment).values(values))


def upsert_tariff(**values: Any) -> Tariff:
    """A live tariff version by (utility, class, effective_from), for a town being laid out."""
    key = ("utility", "customer_class", "effective_from")
    found = db.session.scalars(
        sa.select(Tariff).filter_by(**{name: values[name] for name in key}, state="live")
    ).one_or_none()
    if found is None:
        found = Tariff(**values, state="live")
        db.session.add(found)
        db.session.flush()
    return found
