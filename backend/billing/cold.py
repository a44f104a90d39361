"""A report of a cold room: taken, measured on site, decided, refunded through the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Building, Household, Meter
from backend.archive.service import place
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.money import yuan_str
from backend.billing import cold_room, pricing, regions, requests, tariffs, topics, wallet
from backend.billing.models import Adjustment, BillingRequest, ColdReport
from backend.metering import series
from backend.metering.rules import MISSING
from backend.people.service import Principal, audit

MAX_DAYS = 200
MAX_TO_MEASURE = 200
SOURCES = ("series", "measurement")


def report(
    household_id: int,
    room: str,
    note: str,
    actor: Principal | None,
    now: datetime,
    visit_at: datetime | None = None,
) -> ColdReport:
    """Take a report, and the visit it books; Problem cold_report_open where one is being seen to,
    validation for a time nobody may measure at."""
    if visit_at is not None:
        _check_visit(household_id, visit_at, now)
    resident = actor.id if actor is not None and actor.kind == "resident" else None
    values = {
        "household_id": household_id,
        "resident_id": resident,
        "reported_at": now,
        "room": room,
        "note": note,
        "visit_at": visit_at,
    }
    made = pg.insert(ColdReport).values(values).on_conflict_do_nothing().returning(ColdReport.id)
    report_id = db.session.scalar(made)
    if report_id is None:
        raise Problem("cold_report_open")
    audit("cold.reported", "household", household_id, actor, now=now, report=report_id)
    return report_of(report_id)


def _check_visit(household_id: int, visit_at: datetime, now: datetime) -> None:
    rule = _rule(db.session.get_one(Household, household_id), business_day(now))
    faults = cold_room.measurement_faults(now, visit_at, (True, True), rule)
    if faults:
        raise Problem("validation", "；".join(faults) + "。", field="visit_at")


@dataclass(frozen=True, slots=True)
class Terms:
    """What a resident is told before he reports: the rule, and when somebody may come."""

    sentences: list[str]
    visits: list[datetime]


def terms(household: Household, now: datetime) -> Terms:
    """The rule in force at a household, in words, and the hours that can be booked."""
    rule = _rule(household, business_day(now))
    return Terms(cold_room.rule_zh(rule), cold_room.visits(now, rule))


def to_measure() -> list[dict[str, Any]]:
    """Reports nobody has measured yet, the earliest visit first, with place and last hour."""
    rows = db.session.execute(
        sa.select(ColdReport, Household, Building)
        .join(Household, Household.id == ColdReport.household_id)
        .join(Building, Building.id == Household.building_id)
        .where(ColdReport.state == "open")
        .order_by(sa.func.coalesce(ColdReport.visit_at, ColdReport.reported_at), ColdReport.id)
        .limit(MAX_TO_MEASURE)
    ).all()
    rules = topics.rules_of("cold_room", "heat")
    above = {region: regions.chain_from(region) for region in {b.region_id for _, _, b in rows}}
    found = []
    for row, household, building in rows:
        day = business_day(row.reported_at)
        rule = topics.resolve(above[building.region_id], rules, "cold_room", day)
        found.append(
            {
                "id": row.id,
                "place": place(building.name, household.unit_no),
                "account_no": household.account_no,
                "room": row.room,
                "note": row.note,
                "reported_at": row.reported_at,
                "visit_at": row.visit_at,
                "measure_by": row.reported_at + timedelta(hours=rule["measure_within_hours"]),
            }
        )
    return found


def measure(
    report_id: int,
    measured_at: datetime,
    measured_cdeg: int,
    resident_signature: str,
    staff_signature: str,
    actor: Principal,
    now: datetime,
) -> ColdReport:
    """Keep an on-site measurement with both signatures.

    Problem measurement_invalid says which rule it breaks; nothing is kept then.
    """
    found = report_of(report_id, lock=True)
    signatures = (resident_signature, staff_signature)
    if _kept(found) == (measured_at, measured_cdeg, *signatures):
        return found  # a phone sends again what it has had no answer to
    if found.state == "decided":
        raise Problem("request_decided")
    household = db.session.get_one(Household, found.household_id)
    rule = _rule(household, business_day(found.reported_at))
    signed = (bool(resident_signature.strip()), bool(staff_signature.strip()))
    faults = cold_room.measurement_faults(found.reported_at, measured_at, signed, rule)
    if measured_at > now:
        faults.append("测温时间不能晚于现在")
    if faults:
        raise Problem("measurement_invalid", "；".join(faults) + "。", field="measured_at")
    found.state, found.measured_at, found.measured_cdeg = "measured", measured_at, measured_cdeg
    found.measured_by = actor.id
    found.resident_signature, found.staff_signature = resident_signature, staff_signature
    db.session.flush()
    audit("cold.measured", "cold_report", report_id, actor, now=now, cdeg=measured_cdeg)
    return found


def _kept(found: ColdReport) -> tuple[Any, ...]:
    signed = (found.resident_signature, found.staff_signature)
    return (found.measured_at, found.measured_cdeg, *signed)


def decide(
    report_id: int, source: str, begin: date, end: date, actor: Principal, now: datetime
) -> ColdReport:
    """Find the cold days of [begin, end) and ask for the refund; none cold: decided at once.

    `source` series: each day by its samples; measurement: the measured temperature for every day.
    Problems: validation, cold_disabled (as validation), request_open, measurement_invalid.
    """
    found = report_of(report_id, lock=True)
    if found.state == "decided":
        raise Problem("request_decided")
    household = db.session.get_one(Household, found.household_id)
    _check_days(found, begin, end, now)
    if not _rule(household, begin)["enabled"]:
        raise Problem("validation", "本区域未设置室温不达标退费规则，请先设置。", field="source")
    days = _not_refunded(household.id, _days(begin, end))
    back = _found(found, household, source, days, begin, end)
    found.finding = {
        "source": source,
        "begin": begin.isoformat(),
        "end": end.isoformat(),
        "days": back.days,
        "sentences": back.sentences,
        "refund_fen": back.refund_fen,
        "decided_by": actor.id,
    }
    if not back.refund_fen:
        found.state, found.decided_at = "decided", now
    else:
        params = {"utility": "heat", "credit_fen": back.refund_fen}
        reason = f"室温不达标退费 {yuan_str(back.refund_fen)} 元"
        requests.ask("cold_refund", found.id, reason, actor, now, household.id, params)
    db.session.flush()
    audit("cold.decided", "cold_report", report_id, actor, now=now, refund_fen=back.refund_fen)
    return found


@dataclass(frozen=True, slots=True)
class Found:
    """What the days of a report come to: day -> [0.01 C, share of the fee, why not decided]."""

    days: dict[str, list[Any]]
    sentences: list[str]
    refund_fen: int


def _found(
    report: ColdReport,
    household: Household,
    source: str,
    days: Sequence[date],
    begin: date,
    end: date,
) -> Found:
    rule = _rule(household, begin)
    if source == "measurement":
        findings = _measured(report, days, rule)
    else:
        findings = _by_series(household, days, rule)
    back = _refund(household, findings, begin, end)
    listed = {d.day.isoformat(): [d.cdeg, str(d.ratio), d.why] for d in findings}
    return Found(listed, back.sentences, back.refund_fen)


def found_again(report: ColdReport) -> Found:
    """A decided report's days found once more, from the samples as they are stored now."""
    household = db.session.get_one(Household, report.household_id)
    kept = report.finding
    begin, end = (date.fromisoformat(kept[name]) for name in ("begin", "end"))
    days = [date.fromisoformat(day) for day in kept["days"]]
    return _found(report, household, kept["source"], days, begin, end)


def carry_out(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved refund: an adjustment in the ledger, once a report."""
    found = report_of(request.subject_id, lock=True)
    wish = wallet.Credit(
        f"cold:{found.id}",
        found.household_id,
        "heat",
        "cold_room",
        request.params["credit_fen"],
        request.reason,
        request.asked_by,
        actor.id,
        {
            "days": [day for day, row in found.finding["days"].items() if row[1] != "0"],
            "sentences": found.finding["sentences"],
        },
    )
    made = wallet.credit(wish, now)
    found.state, found.decided_at, found.adjustment_id = "decided", now, made.id
    return {"adjustment_id": made.id}


def report_of(report_id: int, *, lock: bool = False) -> ColdReport:
    """The report as it stands; Problem not_found."""
    found = db.session.get(ColdReport, report_id, populate_existing=True, with_for_update=lock)
    if found is None:
        raise Problem("not_found")
    return found


def reports(limit: int = 100, *, household_id: int | None = None) -> Sequence[ColdReport]:
    """The latest reports, those not decided first."""
    query = sa.select(ColdReport).order_by(ColdReport.state == "decided", ColdReport.id.desc())
    if household_id is not None:
        query = query.where(ColdReport.household_id == household_id)
    return db.session.scalars(query.limit(limit)).all()


def _rule(household: Household, day: date) -> dict[str, Any]:
    return topics.in_force(household.building_id, "cold_room", "heat", day)


def _days(begin: date, end: date) -> list[date]:
    return [begin + timedelta(n) for n in range((end - begin).days)]


def _check_days(found: ColdReport, begin: date, end: date, now: datetime) -> None:
    if not begin < end <= business_day(now):
        raise Problem("validation", "起止日期有误：只能判定已结束的日期。", field="day_to")
    if (end - begin).days > MAX_DAYS:
        raise Problem("range_too_long", field="day_to")
    if begin < business_day(found.reported_at):
        raise Problem("validation", "不能早于报修当日。", field="day_from")


def _not_refunded(household_id: int, days: Sequence[date]) -> list[date]:
    """The days no earlier refund has paid for."""
    rows = db.session.scalars(
        sa.select(Adjustment.detail).where(
            Adjustment.household_id == household_id, Adjustment.kind == "cold_room"
        )
    )
    paid = {day for detail in rows for day in detail.get("days", ())}
    return [day for day in days if day.isoformat() not in paid]


def _measured(
    found: ColdReport, days: Sequence[date], rule: dict[str, Any]
) -> list[cold_room.DayFinding]:
    if found.measured_cdeg is None:
        raise Problem("measurement_invalid", "还没有现场测温记录。", field="source")
    ratio = cold_room.ratio_of(found.measured_cdeg, rule)
    return [cold_room.DayFinding(day, found.measured_cdeg, ratio) for day in days]


def _by_series(
    household: Household, days: Sequence[date], rule: dict[str, Any]
) -> list[cold_room.DayFinding]:
    sensors = db.session.scalars(
        sa.select(Meter.id).where(Meter.household_id == household.id, Meter.kind == "room")
    ).all()
    found = series.load(sensors, "room_cdeg", days)
    return [
        cold_room.day_finding(
            day,
            [slots[n * series.SLOTS : (n + 1) * series.SLOTS] for slots in found.values()],
            MISSING,
            rule,
        )
        for n, day in enumerate(days)
    ]


def _refund(
    household: Household, findings: Sequence[cold_room.DayFinding], begin: date, end: date
) -> cold_room.Refund:
    """By the standard fee of the price in force; Problem tariff_missing without an area price."""
    held = tariffs.in_force(household.building_id, "heat", {household.customer_class}, begin, end)
    params = held[household.customer_class].params
    try:
        price = pricing.area_price(params)
    except KeyError:
        sentence = "现行热价没有写明面积热价（area_price），不能算出日标准热费。"
        raise Problem("tariff_missing", sentence) from None
    return cold_room.refund(findings, household.area_dm2, price, int(params["season_days"]))
