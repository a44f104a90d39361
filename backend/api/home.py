"""The home screen: two statements written by hand, after the one that knows the token.

It is the page everybody opens, so it stays off the ORM; `facts` is all that is true of the
household now, `heat` its days of heat and the sums of the other homes in the building.
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

from flask import current_app

from backend.api import shapes
from backend.archive import rules
from backend.base.clock import add_months, business_day, month_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.estimate import Estimate, season_so_far
from backend.billing.pricing import Facts

SIMILAR_DAYS = 30

_FACTS = """
SELECT h.id, h.account_no, h.unit_no, h.area_dm2, h.suspended_from, h.building_id,
       b.name AS building_name, b.address AS building_address,
       room.room_cdeg, room.last_ok_at AS room_at,
       owed.amount_fen, owed.bills, owed.overdue_fen, owed.overdue_bills, owed.next_due_on,
       coalesce(wallet.balance_fen, 0) AS wallet_fen,
       tariff.kind AS tariff_kind, tariff.params AS tariff_params,
       EXISTS (SELECT 1 FROM allocation_rule a
                WHERE a.building_id = h.building_id AND a.effective_from <= %(today)s) AS shared,
       latest.bill AS latest_bill, own.meters
  FROM binding g
  JOIN household h ON h.id = g.household_id
  JOIN building b ON b.id = h.building_id
  LEFT JOIN LATERAL (
       SELECT s.room_cdeg, s.last_ok_at FROM meter m JOIN meter_state s ON s.meter_id = m.id
        WHERE m.household_id = h.id AND m.removed_on IS NULL AND s.room_cdeg IS NOT NULL
        ORDER BY s.last_ok_at DESC NULLS LAST LIMIT 1) room ON true
  LEFT JOIN LATERAL (
       SELECT coalesce(sum(amount_fen - paid_fen), 0)::bigint AS amount_fen, count(*) AS bills,
              coalesce(sum(amount_fen - paid_fen) FILTER (WHERE due_on < %(today)s), 0)::bigint
              AS overdue_fen,
              count(*) FILTER (WHERE due_on < %(today)s) AS overdue_bills,
              min(due_on) AS next_due_on
         FROM bill WHERE household_id = h.id AND state = 'issued') owed ON true
  LEFT JOIN LATERAL (
       SELECT w.balance_fen FROM account a JOIN balance w ON w.account_id = a.id
        WHERE a.code = 'wallet:' || h.id) wallet ON true
  LEFT JOIN LATERAL (
       WITH RECURSIVE chain(id, parent_id, far) AS (
            SELECT r.id, r.parent_id, 0 FROM region r WHERE r.id = b.region_id
            UNION ALL SELECT r.id, r.parent_id, c.far + 1
              FROM region r JOIN chain c ON r.id = c.parent_id WHERE c.far < 20)
       SELECT t.kind, t.params FROM tariff t LEFT JOIN chain c ON c.id = t.region_id
        WHERE t.state = 'live' AND t.utility = 'heat' AND t.customer_class = h.customer_class
          AND (t.region_id IS NULL OR c.id IS NOT NULL) AND t.effective_from <= %(today)s
          AND (t.effective_to IS NULL OR t.effective_to > %(today)s)
        ORDER BY c.far NULLS LAST LIMIT 1) tariff ON true
  LEFT JOIN LATERAL (
       SELECT to_jsonb(found) AS bill FROM (
              SELECT id, bill_no, utility, kind, period_from, period_to, amount_fen, paid_fen,
                     due_on, issued_at, paid_at, state FROM bill
               WHERE household_id = h.id ORDER BY issued_at DESC, id DESC LIMIT 1) found
       ) latest ON true
  LEFT JOIN LATERAL (
       SELECT jsonb_agg(jsonb_build_object(
                  'utility', m.kind, 'register', s.register, 'month_used', used.total)
                  ORDER BY m.kind, m.id) AS meters
         FROM meter m LEFT JOIN meter_state s ON s.meter_id = m.id
         LEFT JOIN LATERAL (
              SELECT coalesce(sum(d.usage), 0)::bigint AS total FROM daily_usage d
               WHERE d.meter_id = m.id AND d.day >= %(month_from)s) used ON true
        WHERE m.household_id = h.id AND m.removed_on IS NULL
          AND m.kind IN ('heat', 'water', 'gas', 'electricity')) own ON true
 WHERE g.resident_id = %(resident)s AND g.household_id = %(household)s AND g.ended_at IS NULL
"""

# A day's heat of every home of a building, from its shares or from the homes' own meters.
_SHARED = """
SELECT s.household_id, r.period_from AS day, s.energy_wh AS used
  FROM allocation_run r JOIN allocation_share s ON s.run_id = r.id
 WHERE r.building_id = %(building)s AND r.purpose = 'daily' AND r.superseded_by IS NULL
"""
_METERED = """
SELECT m.household_id, d.day, d.usage AS used
  FROM meter m JOIN daily_usage d ON d.meter_id = m.id
 WHERE m.building_id = %(building)s AND m.scope = 'household' AND m.kind = 'heat'
   AND d.usage IS NOT NULL
"""
# Own days, and the sums of the other homes over the SIMILAR_DAYS up to the last closed day.  The
# building is said twice so that its homes are found by index and not by reading them all.
_HEAT = """
WITH days AS NOT MATERIALIZED ({source}),
own AS MATERIALIZED (
    SELECT day, sum(used)::bigint AS used FROM days
     WHERE household_id = %(household)s
       AND (day BETWEEN %(season_from)s AND %(today)s OR day BETWEEN %(last_from)s AND %(last_to)s
            OR day BETWEEN %(months_from)s AND %(today)s)
     GROUP BY day),
last AS MATERIALIZED (SELECT max(day) AS day FROM own),
home AS (
    SELECT days.household_id, sum(days.used) AS used FROM last JOIN days
        ON days.day BETWEEN last.day - %(similar_days)s AND last.day GROUP BY days.household_id)
SELECT (SELECT array_agg(day ORDER BY day) FROM own) AS days,
       (SELECT array_agg(used ORDER BY day) FROM own) AS used,
       others.homes, others.used AS others_wh, others.area_dm2 AS others_dm2
  FROM (SELECT count(*) AS homes, coalesce(sum(home.used), 0)::bigint AS used,
               coalesce(sum(h.area_dm2), 0)::bigint AS area_dm2
          FROM home
          JOIN household h ON h.id = home.household_id AND h.building_id = %(building)s
         WHERE home.household_id <> %(household)s) others
"""


def home(resident_id: int, household_id: int, now: datetime) -> dict[str, Any]:
    """Everything the home screen shows; not_found for a household that is not the resident's."""
    today = business_day(now)
    facts = _row(
        _FACTS,
        today=today,
        month_from=month_start(today),
        resident=resident_id,
        household=household_id,
    )
    if facts is None:
        raise Problem("not_found")
    season = season_of(today)
    heat = _heat(facts, season, today)
    used = dict(zip(heat.days or (), heat.used or (), strict=True))
    as_of = max(used, default=today - timedelta(days=1))
    return {
        "household": shapes.household_row(facts, today),
        "warmth": shapes.warmth(rules.warmth(facts.room_cdeg, facts.room_at, now)),
        "season": _season(facts, season, used, as_of, today),
        "compare": _compare(facts, heat, season, used, as_of),
        "owed": {
            name: getattr(facts, name)
            for name in ("amount_fen", "bills", "overdue_fen", "overdue_bills", "next_due_on")
        },
        # A wallet is a liability: what we hold for the household stands on the credit side.
        "balance_fen": -facts.wallet_fen,
        "utilities": _utilities(facts),
        "latest_bill": shapes.bill_json(facts.latest_bill, today),
    }


def season_of(day: date) -> rules.Season:
    """The heating season of a day by the company's settings."""
    settings = current_app.extensions["nuan_settings"]
    start, end = settings.season_start, settings.season_end
    return rules.heating_season(day, rules.month_day(start), rules.month_day(end))


def _row(statement: str, **values: Any) -> Any:
    return db.session.connection().exec_driver_sql(statement, values).first()


def _heat(facts: Any, season: rules.Season, today: date) -> Any:
    """days and used: Wh of this season, of the last one and of three months; others' sums."""
    return _row(
        _HEAT.format(source=_SHARED if facts.shared else _METERED),
        building=facts.building_id,
        household=facts.id,
        season_from=season.day_from,
        last_from=_year_before(season.day_from),
        last_to=_year_before(season.day_to),
        months_from=add_months(today, -2),
        today=today,
        similar_days=SIMILAR_DAYS - 1,
    )


def _year_before(day: date) -> date:
    return day.replace(year=day.year - 1)


def _season(
    facts: Any, season: rules.Season, used: dict[date, int], as_of: date, today: date
) -> dict[str, Any]:
    total_wh = _total(used, season.day_from, season.day_to)
    passed = (min(as_of, season.day_to) - season.day_from).days + 1
    cost = _cost(facts, total_wh, max(passed, 0), today)
    return {
        "name": season.name,
        "day_from": season.day_from,
        "day_to": season.day_to,
        "used_wh": total_wh,
        "as_of": as_of,
        "cost_fen": cost.cost_fen,
        "cost_note": cost.note,
    }


def _cost(facts: Any, used_wh: int, days: int, today: date) -> Estimate:
    suspended = shapes.is_suspended(facts.suspended_from, today)
    return season_so_far(
        facts.tariff_kind,
        facts.tariff_params or {},
        Facts(facts.area_dm2, used_wh, days, suspended),
    )


def _total(used: dict[date, int], first: date, last: date) -> int:
    return sum(wh for day, wh in used.items() if first <= day <= last)


def _compare(
    facts: Any, heat: Any, season: rules.Season, used: dict[date, int], as_of: date
) -> dict[str, Any]:
    month = month_start(as_of)
    before = add_months(month, -1)
    # The 29th to 31st may have no fellow in the month before: then neither month's are counted.
    days = min(as_of - month, month - timedelta(days=1) - before)
    last_from = _year_before(season.day_from)
    last_to = last_from + (as_of - season.day_from)
    return {
        "last_month": _against(used, (month, month + days), (before, before + days)),
        "last_year": _against(used, (season.day_from, as_of), (last_from, last_to)),
        "similar": _similar(facts, heat, used, as_of),
    }


def _against(
    used: dict[date, int], now: tuple[date, date], before: tuple[date, date]
) -> dict[str, int] | None:
    """None unless every day of both is known: half a month is not less heat than a whole one."""
    if not (_whole(used, *now) and _whole(used, *before)):
        return None
    used_wh, previous_wh = _total(used, *now), _total(used, *before)
    pct = rules.percent_of(used_wh, previous_wh)
    if pct is None:
        return None
    return {"used_wh": used_wh, "previous_wh": previous_wh, "pct": pct}


def _whole(used: dict[date, int], first: date, last: date) -> bool:
    days = (last - first).days + 1
    return days > 0 and all(first + timedelta(n) in used for n in range(days))


def _similar(facts: Any, heat: Any, used: dict[date, int], as_of: date) -> dict[str, int] | None:
    mine_wh = _total(used, as_of - timedelta(days=SIMILAR_DAYS - 1), as_of)
    others = (heat.others_wh, heat.others_dm2)
    found = rules.similar_homes((mine_wh, facts.area_dm2), others, heat.homes)
    if found is None:
        return None
    return {
        "used_wh_per_m2": found.used_wh_per_m2,
        "mine_wh_per_m2": found.mine_wh_per_m2,
        "pct": found.pct,
        "homes": found.homes,
    }


def _utilities(facts: Any) -> list[dict[str, Any]]:
    """The household's own meters; a shared building's heat is told by the season instead."""
    return [
        {**meter, "unit": shapes.unit_of(meter["utility"])}
        for meter in facts.meters or []
        if not (facts.shared and meter["utility"] == "heat")
    ]
