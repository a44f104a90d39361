"""税率: how each line is taxed on a day, as data with dates and the notice it rests on."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from datetime import date
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.papers.models import TaxRate
from backend.people.service import Principal, audit

START = Path(__file__).with_name("tax_start.toml")


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
    start = tomllib.loads(START.read_text())
    rows = [
        {
            "utility": rate["utility"],
            "customer_class": name,
            "treatment": rate["treatment"],
            "rate_bp": rate.get("rate_bp"),
            "basis": rate["basis"],
            "effective_from": start["since"],
        }
        for rate in start["rate"]
        for name in rate["classes"]
    ]
    db.session.execute(sa.insert(TaxRate), rows)
    return len(rows)
