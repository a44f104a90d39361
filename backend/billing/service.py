"""Bills from stored usage: issued once, posted to the ledger, never edited."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.allocation import service as allocation
from backend.allocation.models import AllocationRun, AllocationShare
from backend.archive.models import Household, Meter
from backend.base.clock import business_day, day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import pricing
from backend.billing.lines import Line, explain_zh, total_fen
from backend.billing.models import Bill, BillLine, Tariff
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.metering import closing

DUE_DAYS = 15
PREFIX = {"heat": "H", "water": "W", "gas": "G", "electricity": "E"}


@dataclass(frozen=True)
class Issued:
    """What a billing run made, and whom it left out and why (household id -> reason)."""

    bills: list[Bill] = field(default_factory=list)
    left_out: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Used:
    """One household's usage for a bill: Wh or litres (None: not known) and where it comes from."""

    amount: int | None
    basis: dict[str, Any]
    run_id: int | None = None


def issue(
    building_id: int, utility: str, period_from: date, period_to: date, now: datetime
) -> Issued:
    """Issue the bills of one building, utility and period; issuing again issues nothing new.

    Heat of a building with an allocation rule is shared out and the run locked; everything else
    is billed from the household's own meters.  A household whose usage is not known is left out
    with a reason, never billed from a guess.
    """
    if period_to > business_day(now):
        raise Problem("period_not_over")
    households = _households(building_id, utility, period_from, period_to)
    if not households:
        return Issued()
    if utility == "heat" and allocation.rule_of(building_id, period_from) is not None:
        usages = _shared(building_id, period_from, period_to, now)
    else:
        usages = _metered(households, utility, period_from, period_to)
    tariffs = _tariffs(utility, {h.customer_class for h in households}, period_from, period_to)
    issued = Issued()
    period = (utility, period_from, period_to)
    for household in households:
        # A household without such a meter is no customer of this utility.
        if household.id in usages:
            tariff = tariffs[household.customer_class]
            _price_one(household, period, usages[household.id], tariff, now, issued)
    _keep(issued.bills, now)
    return issued


def _price_one(
    household: Household,
    period: tuple[str, date, date],
    used: Used,
    tariff: Tariff,
    now: datetime,
    issued: Issued,
) -> None:
    """One household's bill, or the reason why it has none."""
    _utility, period_from, period_to = period
    suspended = household.suspended_from is not None and household.suspended_from <= period_from
    facts = pricing.Facts(
        household.area_dm2, used.amount, (period_to - period_from).days, suspended
    )
    try:
        lines = pricing.price(tariff.kind, tariff.params, facts)
    except ValueError as error:
        issued.left_out[household.id] = str(error)
    else:
        issued.bills.append(_new_bill(household, period, used, tariff, lines, now))


def _keep(bills: Sequence[Bill], now: datetime) -> None:
    """Store the bills and post them together: revenue is recognised when billed."""
    db.session.add_all(bills)
    db.session.flush()
    ledger.post_many(
        ledger.Draft(
            f"bill:{bill.bill_no}",
            "bill",
            now,
            [
                (chart.receivable(bill.utility, bill.household_id), bill.amount_fen),
                (chart.revenue(bill.utility), -bill.amount_fen),
            ],
            memo=f"{bill.utility} {bill.period_from}..{bill.period_to}",
        )
        for bill in bills
        if bill.amount_fen
    )


def _new_bill(
    household: Household,
    period: tuple[str, date, date],
    used: Used,
    tariff: Tariff,
    lines: Sequence[Line],
    now: datetime,
) -> Bill:
    utility, period_from, period_to = period
    amount_fen = total_fen(lines)
    return Bill(
        bill_no=f"{PREFIX[utility]}{period_to:%Y%m%d}{household.id:08d}",
        business_key=f"{utility}:{household.id}:{period_from}:{period_to}",
        household_id=household.id,
        utility=utility,
        period_from=period_from,
        period_to=period_to,
        amount_fen=amount_fen,
        state="issued" if amount_fen else "paid",
        due_on=business_day(now) + timedelta(days=DUE_DAYS),
        issued_at=now,
        tariff=tariff,
        run_id=used.run_id,
        basis={"used": used.amount, **used.basis},
        lines=[_line(seq, line) for seq, line in enumerate(lines, 1)],
    )


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


def _households(
    building_id: int, utility: str, period_from: date, period_to: date
) -> Sequence[Household]:
    """The building's households no day of whose period has been billed yet."""
    billed = sa.select(Bill.household_id).where(
        Bill.utility == utility,
        Bill.period_from < period_to,
        Bill.period_to > period_from,
        Bill.state != "reversed",
    )
    return db.session.scalars(
        sa.select(Household)
        .where(Household.building_id == building_id, Household.id.not_in(billed))
        .order_by(Household.id)
    ).all()


def _shared(building_id: int, period_from: date, period_to: date, now: datetime) -> dict[int, Used]:
    """Each household's part of the building's heat; the run is locked by being billed."""
    run = _billing_run(building_id, period_from, period_to, now)
    allocation.lock(run, now)
    shares = db.session.scalars(sa.select(AllocationShare).where(AllocationShare.run_id == run.id))
    return {
        s.household_id: Used(s.energy_wh, {"run_id": run.id, "flags": s.flags}, run.id)
        for s in shares
    }


def _billing_run(
    building_id: int, period_from: date, period_to: date, now: datetime
) -> AllocationRun:
    """The period's locked run where it was already billed in part, else a new one."""
    locked = db.session.scalars(
        sa.select(AllocationRun).where(
            AllocationRun.building_id == building_id,
            AllocationRun.purpose == "billing",
            AllocationRun.period_from == period_from,
            AllocationRun.period_to == period_to,
            AllocationRun.superseded_by.is_(None),
            AllocationRun.locked_at.is_not(None),
        )
    ).first()
    return locked or allocation.allocate(building_id, period_from, period_to, "billing", now)


def _metered(
    households: Sequence[Household], utility: str, period_from: date, period_to: date
) -> dict[int, Used]:
    """Usage by the households' own meters over the period (two statements for all)."""
    meters = db.session.scalars(
        sa.select(Meter).where(
            Meter.household_id.in_([h.id for h in households]), Meter.kind == utility
        )
    ).all()
    spans = closing.spans(meters, day_start(period_from), day_start(period_to))
    found: dict[int, Used] = {}
    for span in spans:
        assert span.meter.household_id is not None
        found[span.meter.household_id] = _add(found.get(span.meter.household_id), span)
    return found


def _add(before: Used | None, span: closing.Span) -> Used:
    """A household with several meters has their sum; one unknown meter makes it unknown."""
    part = span.basis()
    if before is None:
        return Used(span.usage, {"meters": [part]})
    known = before.amount is not None and span.usage is not None
    total = before.amount + span.usage if known else None  # type: ignore[operator]
    return Used(total, {"meters": [*before.basis["meters"], part]})


def _tariffs(
    utility: str, classes: set[str], period_from: date, period_to: date
) -> dict[str, Tariff]:
    """The version in force over the whole period for each class of customer.

    Problem tariff_missing where there is none, or where the price changes inside the period.
    """
    rows = db.session.scalars(
        sa.select(Tariff)
        .where(
            Tariff.utility == utility,
            Tariff.customer_class.in_(classes),
            Tariff.effective_from < period_to,
            sa.or_(Tariff.effective_to.is_(None), Tariff.effective_to > period_from),
        )
        .order_by(Tariff.effective_from)
    ).all()
    found: dict[str, Tariff] = {}
    for row in rows:
        if row.effective_from <= period_from:
            found[row.customer_class] = row
        else:
            raise Problem("tariff_missing", "计费期内价格有变动，请按变动日分段出账。")
    missing = classes - set(found)
    if missing:
        raise Problem(
            "tariff_missing", f"{utility} 没有适用于 {'、'.join(sorted(missing))} 的价格。"
        )
    return found


def apply_payment(bill_id: int, amount_fen: int, at: datetime) -> bool:
    """Count a payment towards a bill; False where it is no longer owed (the caller refunds)."""
    paid = Bill.paid_fen + amount_fen
    done = db.session.execute(
        sa.update(Bill)
        .where(Bill.id == bill_id, Bill.state == "issued", paid <= Bill.amount_fen)
        .values(
            paid_fen=paid,
            state=sa.case((paid == Bill.amount_fen, "paid"), else_="issued"),
            paid_at=sa.case((paid == Bill.amount_fen, at), else_=None),
        )
        .execution_options(synchronize_session="fetch")
    )
    return bool(done.rowcount == 1)  # type: ignore[attr-defined]


def upsert_tariff(**values: Any) -> Tariff:
    """A tariff version by (utility, class, effective_from); a version in use keeps its prices."""
    insert = pg.insert(Tariff).values(**values)
    db.session.execute(
        insert.on_conflict_do_nothing(
            index_elements=["utility", "customer_class", "effective_from"]
        )
    )
    return db.session.scalars(
        sa.select(Tariff).filter_by(
            utility=values["utility"],
            customer_class=values["customer_class"],
            effective_from=values["effective_from"],
        )
    ).one()
