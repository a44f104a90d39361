"""税率: how each line is taxed on a day, as data with dates and the notice it rests on."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.tariff_params import CLASSES
from backend.cashier.papers.models import TaxRate
from backend.people.service import Principal, audit

# What a company begins with (`nuan papers set-up`); its accountant ends and replaces them.
# 财政部 税务总局公告2023年第56号: heat for residents in the north is exempt up to the end of the
# 2027 heating period; 增值税暂行条例 第二条: heat, gas, water 9 %, electricity 13 %.
_LAW, _NORTH = "增值税暂行条例第二条", "财政部 税务总局公告2023年第56号"
START = (
    ("heat", "residential", "exempt", None, _NORTH),
    *(("heat", name, "taxed", 900, _LAW) for name in CLASSES if name != "residential"),
    *(("water", name, "taxed", 900, _LAW) for name in CLASSES),
    *(("gas", name, "taxed", 900, _LAW) for name in CLASSES),
    *(("electricity", name, "taxed", 1300, _LAW) for name in CLASSES),
)
SINCE = date(2020, 1, 1)


def rates() -> Sequence[TaxRate]:
    """Every rate, those that hold first."""
    order = (TaxRate.utility, TaxRate.customer_class, TaxRate.component)
    query = sa.select(TaxRate).order_by(*order, TaxRate.effective_from.desc())
    return db.session.scalars(query).all()


def holding(customer_class: str, day: date) -> dict[tuple[str, str], TaxRate]:
    """(utility, component) -> the rate that holds for a class of customers on a day."""
    query = sa.select(TaxRate).where(
        TaxRate.customer_class == customer_class,
        TaxRate.effective_from <= day,
        sa.or_(TaxRate.effective_to.is_(None), TaxRate.effective_to > day),
    )
    return {(row.utility, row.component): row for row in db.session.scalars(query)}


def rate_for(
    held: dict[tuple[str, str], TaxRate], utility: str, component: str
) -> tuple[str, int | None]:
    """(treatment, rate in hundredths of a percent) of a line; Problem tax_rate_missing."""
    found = held.get((utility, component)) or held.get((utility, ""))
    if found is None:
        raise Problem("tax_rate_missing", utility=utility)
    return found.treatment, found.rate_bp


def put(
    utility: str,
    component: str,
    customer_class: str,
    treatment: str,
    rate_bp: int | None,
    effective_from: date,
    basis: str,
    actor: Principal,
    second: Principal | None,
) -> TaxRate:
    """A rate from a day on, signed by two; the one before it ends there.  The caller commits.

    Problems: approval_needed, second_person, tax_rate_overlap (a later one is there already).
    """
    if second is None:
        raise Problem("approval_needed", "税率须由另一位同事当场核准。", field="second_login")
    if second.id == actor.id:
        raise Problem("second_person", "须由另一位同事核准，不能自己核准。", field="second_login")
    same = {"utility": utility, "component": component, "customer_class": customer_class}
    db.session.execute(
        sa.update(TaxRate)
        .filter_by(**same, effective_to=None)
        .where(TaxRate.effective_from < effective_from)
        .values(effective_to=effective_from)
    )
    made = TaxRate(
        **same,
        treatment=treatment,
        rate_bp=rate_bp,
        effective_from=effective_from,
        basis=basis,
        created_by=actor.id,
        approved_by=second.id,
    )
    db.session.add(made)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        raise Problem("tax_rate_overlap") from None
    audit("paper.tax_rate", "tax_rate", made.id, actor, second_by=second.id, basis=basis)
    return made


def begin() -> int:
    """The rates a company begins with, where it has none; how many."""
    if db.session.scalar(sa.select(sa.func.count()).select_from(TaxRate)):
        return 0
    names = ("utility", "customer_class", "treatment", "rate_bp", "basis")
    rows = [dict(zip(names, row, strict=True)) | {"effective_from": SINCE} for row in START]
    db.session.execute(sa.insert(TaxRate), rows)
    return len(rows)
