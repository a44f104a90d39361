"""A building's heat shared for a period, from stored series and registers, and kept as a run."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from backend.allocation import case as cases
from backend.allocation import inputs, records, rules, ruling
from backend.allocation.case import Case
from backend.allocation.methods import METHODS
from backend.allocation.models import AllocationRule, AllocationRun, AllocationShare
from backend.allocation.ruling import rule_of, rule_over
from backend.allocation.seasons import condense
from backend.archive.models import Building, Household, Meter
from backend.base.clock import day_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing
from backend.people.service import Principal, audit

__all__ = ["allocate", "condense", "lock", "recheck", "replay", "rule_of", "supersede"]


@dataclass(frozen=True)
class Heat:
    """The building meter's heat over a period and the readings it was taken from."""

    total_wh: int
    spans: list[closing.Span]


def allocate(
    building_id: int, period_from: date, period_to: date, purpose: str, now: datetime
) -> AllocationRun:
    """Share the heat of [period_from, period_to) and keep the run; the same inputs, the same run.

    A daily run replaces an earlier one.  A locked (billed) run is never replaced: Problem
    run_locked.  Problem building_meter_missing where the building's heat is not known, rule_*
    where no one rule holds for the period, parameters_missing, outdoor_missing, nobody_active.
    """
    ruling.one_at_a_time(building_id)
    rule = rule_over(building_id, period_from, period_to)
    run, shares = _new_run(rule, period_from, period_to, purpose, now)
    earlier = _live(run)
    if earlier is not None:
        if earlier.locked_at is not None:
            raise Problem("run_locked")
        earlier.superseded_by = run.id
        run.corrects_id, run.reason = earlier.corrects_id, earlier.reason
        db.session.flush()
    _keep(run, shares)
    return run


def supersede(run_id: int, reason: str, actor: Principal, now: datetime) -> AllocationRun:
    """Correct a billed run by a new one, from what is known now, which names it; audited.

    The old run and its shares stay as they were billed; whoever calls this reverses the bills
    that stand on it and issues the new ones, in the same transaction.  Problem run_superseded
    where the run has been corrected already, run_not_billed where it can simply be run again.
    """
    old = db.session.get(AllocationRun, run_id)
    if old is None:
        raise Problem("not_found")
    ruling.one_at_a_time(old.building_id)
    db.session.refresh(old)
    if old.superseded_by is not None:
        raise Problem("run_superseded")
    if old.locked_at is None:
        raise Problem("run_not_billed")
    if not reason.strip():
        raise Problem("reason_missing", field="reason")
    rule = rule_over(old.building_id, old.period_from, old.period_to)
    run, shares = _new_run(rule, old.period_from, old.period_to, old.purpose, now)
    run.corrects_id, run.reason = old.id, reason.strip()
    old.superseded_by = run.id
    db.session.flush()
    _keep(run, shares)
    audit("allocation.superseded", "allocation_run", old.id, actor, now=now, by=run.id)
    return run


def lock(run: AllocationRun, now: datetime) -> None:
    """A billed run is never replaced; locking it twice is harmless."""
    db.session.execute(
        sa.update(AllocationRun)
        .where(AllocationRun.id == run.id, AllocationRun.locked_at.is_(None))
        .values(locked_at=now)
    )


@dataclass(frozen=True, slots=True)
class Replay:
    """A run done again from what it stored: its canonical bytes, and whether they are the same."""

    result: bytes
    equal: bool


def replay(run_id: int) -> Replay:
    """Do a run again from its stored inputs alone; equal means equal to the byte."""
    run, shares = _run_of(run_id)
    measured = [records.measured_of(share.basis) for share in shares]
    result = rules.share_out(run.total_wh, measured, _stored_rules(run))
    said = records.canonical(run, result)
    kept = [records.share_row(run, s.household_id, result, s.basis) for s in shares]
    stored = all(
        row[name] == getattr(share, name)
        for row, share in zip(kept, shares, strict=True)
        for name in ("energy_wh", "weight", "flags")
    )
    return Replay(said, stored and hashlib.sha256(said).hexdigest() == run.result_sha256)


def recheck(run_id: int) -> list[str]:
    """Read everything behind a run anew: a sentence for each thing that is now otherwise."""
    run, shares = _run_of(run_id)
    heat = _heat(run.building_id, run.period_from, run.period_to)
    said = []
    if heat.total_wh != run.total_wh:
        said.append(f"楼栋总热量现为 {heat.total_wh} Wh，分摊时为 {run.total_wh} Wh。")
    case = Case(
        run.building_id,
        run.method,
        run.period_from,
        run.period_to,
        [records.household_of(share.basis["household"]) for share in shares],
        run.parameters["options"],
        _stored_rules(run),
        _unit_nos(cases.households_of(run.building_id)),
    )
    found = METHODS[run.method].measure(case)
    for share, measured in zip(shares, found.measured, strict=True):
        if records.measured_json(measured) != share.basis["measured"]:
            said.append(f"住户 {case.names([share.household_id])} 的计量数据在分摊之后有变化。")
    return said


def _run_of(run_id: int) -> tuple[AllocationRun, Sequence[AllocationShare]]:
    run = db.session.get(AllocationRun, run_id)
    if run is None or run.result_sha256 is None:
        raise Problem("not_found")
    shares = db.session.scalars(
        sa.select(AllocationShare)
        .where(AllocationShare.run_id == run_id)
        .order_by(AllocationShare.household_id)
    ).all()
    return run, shares


def _stored_rules(run: AllocationRun) -> inputs.Rules:
    return ruling.rules_of({"rules": run.parameters["rules"]})


def _new_run(
    rule: AllocationRule, period_from: date, period_to: date, purpose: str, now: datetime
) -> tuple[AllocationRun, list[dict[str, Any]]]:
    """A run with an id of its own and its shares, neither stored yet."""
    heat = _heat(rule.building_id, period_from, period_to)
    case = _case(rule, period_from, period_to, purpose)
    try:
        found = METHODS[rule.method].measure(case)
        result = rules.share_out(heat.total_wh, found.measured, case.rules)
    except inputs.Refused as refused:
        raise Problem("allocation_refused", f"不能分摊：{refused}。") from refused
    run = AllocationRun(
        id=db.session.scalar(
            sa.text("SELECT nextval(pg_get_serial_sequence('allocation_run', 'id'))")
        ),
        building_id=rule.building_id,
        purpose=purpose,
        period_from=period_from,
        period_to=period_to,
        method=rule.method,
        total_wh=heat.total_wh,
        inputs={"building": [span.basis() for span in heat.spans], **found.sources},
        parameters={
            "rule_id": rule.id,
            "options": rule.options,
            "rules": ruling.rules_json(case.rules),
        },
        building_flag=result.building_flag,
        created_at=now,
    )
    run.result_sha256 = hashlib.sha256(records.canonical(run, result)).hexdigest()
    return run, records.share_rows(run, case, found, result)


def _keep(run: AllocationRun, shares: list[dict[str, Any]]) -> None:
    db.session.add(run)
    db.session.flush()
    db.session.execute(sa.insert(AllocationShare), shares)


def _heat(building_id: int, period_from: date, period_to: date) -> Heat:
    meters = db.session.scalars(
        sa.select(Meter)
        .where(Meter.building_id == building_id, Meter.scope == "building", Meter.kind == "heat")
        .order_by(Meter.id)
    ).all()
    spans = closing.spans(meters, day_start(period_from), day_start(period_to))
    if not spans:
        name = db.session.get_one(Building, building_id).name
        raise Problem(
            "building_meter_missing", f"{name}在这段时间没有热量总表，请先在档案中登记总表。"
        )
    unknown = [span.meter.address for span in spans if span.usage is None]
    if unknown:
        raise Problem(
            "building_meter_missing",
            f"总表 {'、'.join(unknown)} 在 {period_from} 或 {period_to} 零点没有可用读数，"
            "请补抄或更正后再分摊。",
        )
    return Heat(sum(span.usage or 0 for span in spans), spans)


def _case(rule: AllocationRule, period_from: date, period_to: date, purpose: str) -> Case:
    method = METHODS[rule.method]
    homes = cases.households_of(rule.building_id)
    case = Case(
        rule.building_id,
        rule.method,
        period_from,
        period_to,
        cases.as_inputs(homes, (*method.needs, *method.may_have), period_from),
        rule.options,
        _with_facts(ruling.rules_of(rule.options), homes, period_from, purpose),
        _unit_nos(homes),
    )
    cases.check(case, method.needs)
    rules.check(0, case.households)
    return case


def _unit_nos(homes: Sequence[Household]) -> dict[int, str]:
    return {h.id: h.unit_no for h in homes}


def _with_facts(
    said: inputs.Rules, homes: Sequence[Household], period_from: date, purpose: str
) -> inputs.Rules:
    """What a substitution rule looks up where the version does not say it itself."""
    if said.missing_rule == "neighbours_mean" and not said.neighbours:
        return replace(said, neighbours=neighbours_of(homes))
    if said.missing_rule == "last_period" and not said.last_shares:
        return replace(said, last_shares=_last_shares(homes, period_from, purpose))
    return said


def neighbours_of(homes: Sequence[Household]) -> dict[inputs.Id, list[inputs.Id]]:
    """Flats on the same floor, and those with the same number right above and below."""

    def beside(one: Household, other: Household) -> bool:
        floors = abs(one.floor - other.floor)
        return floors == 0 or (floors == 1 and one.unit_no[-2:] == other.unit_no[-2:])

    return {
        one.id: [other.id for other in homes if other.id != one.id and beside(one, other)]
        for one in homes
    }


def _last_shares(
    homes: Sequence[Household], period_from: date, purpose: str
) -> dict[inputs.Id, Fraction]:
    """Shares of the latest live run of the same purpose that ended by `period_from`."""
    building_ids = {h.building_id for h in homes}
    latest = (
        sa.select(AllocationRun.id)
        .where(
            AllocationRun.building_id.in_(building_ids),
            AllocationRun.purpose == purpose,
            AllocationRun.period_to <= period_from,
            AllocationRun.superseded_by.is_(None),
        )
        .order_by(AllocationRun.period_to.desc(), AllocationRun.id.desc())
        .limit(1)
        .scalar_subquery()
    )
    rows = db.session.execute(
        sa.select(AllocationShare.household_id, AllocationShare.share).where(
            AllocationShare.run_id == latest
        )
    )
    return {row.household_id: Fraction(row.share) for row in rows}


def _live(run: AllocationRun) -> AllocationRun | None:
    """The live run of the same building, purpose and period."""
    return db.session.scalars(
        sa.select(AllocationRun).where(
            AllocationRun.building_id == run.building_id,
            AllocationRun.purpose == run.purpose,
            AllocationRun.period_from == run.period_from,
            AllocationRun.period_to == run.period_to,
            AllocationRun.superseded_by.is_(None),
        )
    ).first()
