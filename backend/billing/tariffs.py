"""Versions of prices: drafted by one person, let live by another, ended, found for a bill."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from backend.archive.models import Building, Household, Region
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import regions, tariff_params
from backend.billing.models import Bill, Tariff
from backend.people.service import Principal, audit

UTILITIES_ZH = {"heat": "热", "water": "水", "gas": "燃气", "electricity": "电"}
CLASSES_ZH = {
    "residential": "居民",
    "commercial": "商业",
    "public": "公共机构",
    "industrial": "工业",
}


def draft(actor: Principal, now: datetime, **fields: Any) -> Tariff:
    """A new version nobody is billed by yet; Problem validation with the field that is wrong.

    Fields: name, utility, customer_class, kind, params, effective_from; region_id, effective_to.
    """
    _check(fields)
    tariff = Tariff(
        code=f"{fields['utility']}-{fields['customer_class']}",
        state="draft",
        created_by=actor.id,
        created_at=now,
        **fields,
    )
    db.session.add(tariff)
    db.session.flush()
    _audit("drafted", tariff, actor, now)
    return tariff


def _check(fields: dict[str, Any]) -> None:
    end = fields.get("effective_to")
    if end is not None and end <= fields["effective_from"]:
        raise Problem("validation", "失效日须晚于生效日。", field="effective_to")
    region_id = fields.get("region_id")
    if region_id is not None and db.session.get(Region, region_id) is None:
        raise Problem("validation", "没有这个区域。", field="region_id")
    found = tariff_params.faults(fields["utility"], fields["kind"], fields["params"])
    if found:
        sentence = "；".join(f"{fault.field}：{fault.sentence}" for fault in found)
        raise Problem("validation", sentence, field=found[0].field)


def drop(tariff_id: int, actor: Principal, now: datetime) -> Tariff:
    """Give a draft up; Problem tariff_not_draft for one that is live or dropped."""
    tariff = _draft_of(tariff_id)
    tariff.state = "dropped"
    _audit("dropped", tariff, actor, now)
    return tariff


def approve(tariff_id: int, actor: Principal, now: datetime) -> Tariff:
    """Let a draft live: by somebody else than who wrote it.

    The open-ended version before it ends where it begins.  Problems: tariff_not_draft,
    second_person, tariff_overlap (a version with days of its own is in the way, or comes later
    while this one has no end), tariff_in_use (bills already reach past its first day).
    """
    tariff = _draft_of(tariff_id)
    if tariff.created_by == actor.id:
        raise Problem("second_person", "价格须由另一位同事核准，不能自己核准自己的方案。")
    _one_at_a_time(tariff.utility)
    before = _standing(tariff)
    _refuse_billed(tariff)
    if before is not None:
        before.effective_to = tariff.effective_from
        db.session.flush()
    tariff.state, tariff.approved_by, tariff.approved_at = "live", actor.id, now
    db.session.flush()
    _audit("approved", tariff, actor, now, ended=before.id if before else None)
    return tariff


def _standing(tariff: Tariff) -> Tariff | None:
    """The open-ended version this one follows; Problem tariff_overlap for any other in the way."""
    standing = None
    for other in versions(tariff.utility, [tariff.customer_class], live_only=True):
        if other.region_id != tariff.region_id or not _meet(other, tariff):
            continue
        if other.effective_to is None and other.effective_from < tariff.effective_from:
            standing = other
            continue
        raise Problem(
            "tariff_overlap",
            f"与已生效的“{other.name}”（{_days_zh(other)}）日期重叠："
            f"{_days_zh(tariff)}。请先改期，或为新方案写明失效日。",
            field="effective_from",
        )
    return standing


def _meet(one: Tariff, other: Tariff) -> bool:
    return (one.effective_to is None or other.effective_from < one.effective_to) and (
        other.effective_to is None or one.effective_from < other.effective_to
    )


def _refuse_billed(tariff: Tariff) -> None:
    """A price is not changed under bills that were made: those would have to be reversed first."""
    billed = (
        sa.select(Bill.bill_no)
        .join(Household, Household.id == Bill.household_id)
        .join(Building, Building.id == Household.building_id)
        .where(
            Bill.utility == tariff.utility,
            Bill.kind == "usage",
            Bill.state != "reversed",
            Bill.period_to > tariff.effective_from,
            Household.customer_class == tariff.customer_class,
        )
    )
    if tariff.effective_to is not None:
        billed = billed.where(Bill.period_from < tariff.effective_to)
    if tariff.region_id is not None:
        billed = billed.where(Building.region_id.in_(regions.below(tariff.region_id)))
    number = db.session.scalar(billed.limit(1))
    if number is not None:
        raise Problem(
            "tariff_in_use",
            f"{tariff.effective_from} 之后已有账单（如 {number}）按现行价格出账，"
            "请把生效日改到已出账的日期之后，或先红冲这些账单。",
            field="effective_from",
        )


def versions(
    utility: str, classes: Collection[str] | None = None, *, live_only: bool = False
) -> Sequence[Tariff]:
    """The versions of a utility by class, region and first day."""
    query = sa.select(Tariff).where(Tariff.utility == utility)
    if classes is not None:
        query = query.where(Tariff.customer_class.in_(classes))
    if live_only:
        query = query.where(Tariff.state == "live")
    order = (Tariff.customer_class, Tariff.region_id, Tariff.effective_from, Tariff.id)
    return db.session.scalars(query.order_by(*order)).all()


def in_force(
    building_id: int, utility: str, classes: Collection[str], begin: date, end: date
) -> dict[str, Tariff]:
    """class -> the one version that holds over all of [begin, end) at a building.

    Problem tariff_missing: no price, a gap (which days), or a change inside the period (bill the
    parts apart: `cuts`).
    """
    chain = regions.chain_of(building_id)
    every = versions(utility, classes, live_only=True)
    return {
        name: _only(
            utility,
            name,
            regions.over([v for v in every if v.customer_class == name], chain, begin, end),
        )
        for name in sorted(classes)
    }


def _only(
    utility: str, customer_class: str, pieces: Sequence[tuple[date, date, Tariff | None]]
) -> Tariff:
    what = f"{UTILITIES_ZH[utility]}（{CLASSES_ZH.get(customer_class, customer_class)}）"
    gaps = [f"{a} 至 {b - timedelta(1)}" for a, b, tariff in pieces if tariff is None]
    if gaps:
        raise Problem(
            "tariff_missing",
            f"{what}在 {'、'.join(gaps)} 没有生效的价格，不能出账；"
            "请先核准覆盖这些日期的价格方案。",
        )
    if len(pieces) > 1:
        days = "、".join(str(begin) for begin, _, _ in pieces[1:])
        raise Problem(
            "tariff_missing", f"{what}的价格在计费期内于 {days} 变动，请按变动日分段出账。"
        )
    only = pieces[0][2]
    assert only is not None
    return only


def cuts(building_id: int, utility: str, begin: date, end: date) -> list[date]:
    """The days inside (begin, end) on which a price changes at a building: bills end there."""
    chain = regions.chain_of(building_id)
    every = [v for v in versions(utility, live_only=True) if v.region_id in chain]
    days: set[date] = set()
    for name in {v.customer_class for v in every}:
        mine = [v for v in every if v.customer_class == name]
        days |= {lower for lower, _, _ in regions.over(mine, chain, begin, end)[1:]}
    return sorted(days)


def _draft_of(tariff_id: int) -> Tariff:
    tariff = db.session.get(Tariff, tariff_id, with_for_update=True, populate_existing=True)
    if tariff is None:
        raise Problem("not_found")
    if tariff.state != "draft":
        raise Problem("tariff_not_draft")
    return tariff


def _one_at_a_time(utility: str) -> None:
    key = sa.func.hashtextextended(f"tariff:{utility}", 0)
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))


def _days_zh(tariff: Tariff) -> str:
    return f"{tariff.effective_from} 起" + (
        f"至 {tariff.effective_to - timedelta(1)}" if tariff.effective_to else ""
    )


def _audit(verb: str, tariff: Tariff, actor: Principal, now: datetime, **detail: Any) -> None:
    audit(f"tariff.{verb}", "tariff", tariff.id, actor, now=now, name=tariff.name, **detail)
