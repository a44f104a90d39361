"""The home screen: one statement written by hand, after the one that knows the token.

It is the page everybody opens, so it stays off the ORM, and the sums over its days of heat are
counted when a day closes (allocation.heat_summary).
"""

from __future__ import annotations

from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from backend.allocation.heat_summary import season_of
from backend.api import shapes
from backend.archive import rules
from backend.base.clock import business_day, month_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.billing.estimate import Estimate, season_so_far
from backend.billing.pricing import Facts

# A span of days bounded at both ends: with one bound PostgreSQL guesses so many that it plans the
# statement anew for every household, which takes four times as long as running it.
_FACTS = sa.text("""
SELECT h.id, h.account_no, h.unit_no, h.area_dm2, h.suspended_from, h.building_id,
       b.name AS building_name, b.address AS building_address,
       room.room_cdeg, room.last_ok_at AS room_at,
       to_jsonb(owed) AS owed, to_jsonb(heat) AS heat,
       coalesce(wallet.balance_fen, 0) AS wallet_fen,
       tariff.kind AS tariff_kind, tariff.params AS tariff_params,
       EXISTS (SELECT 1 FROM allocation_rule a
                WHERE a.building_id = h.building_id AND a.effective_from <= :today) AS shared,
       latest.bill AS latest_bill, own.meters
  FROM binding g
  JOIN household h ON h.id = g.household_id
  JOIN building b ON b.id = h.building_id
  LEFT JOIN heat_summary heat ON heat.household_id = h.id
  LEFT JOIN LATERAL (
       SELECT s.room_cdeg, s.last_ok_at FROM meter m JOIN meter_state s ON s.meter_id = m.id
        WHERE m.household_id = h.id AND m.removed_on IS NULL AND s.room_cdeg IS NOT NULL
        ORDER BY s.last_ok_at DESC NULLS LAST LIMIT 1) room ON true
  LEFT JOIN LATERAL (
       SELECT coalesce(sum(amount_fen - paid_fen), 0)::bigint AS amount_fen, count(*) AS bills,
              coalesce(sum(amount_fen - paid_fen) FILTER (WHERE due_on < :today), 0)::bigint
              AS overdue_fen,
              count(*) FILTER (WHERE due_on < :today) AS overdue_bills,
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
          AND (t.region_id IS NULL OR c.id IS NOT NULL) AND t.effective_from <= :today
          AND (t.effective_to IS NULL OR t.effective_to > :today)
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
               WHERE d.meter_id = m.id AND d.day BETWEEN :month_from AND :today) used ON true
        WHERE m.household_id = h.id AND m.removed_on IS NULL
          AND m.kind IN ('heat', 'water', 'gas', 'electricity')) own ON true
 WHERE g.resident_id = :resident AND g.household_id = :household AND g.ended_at IS NULL
""")


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
    heat = _heat(facts, season)
    return {
        "household": shapes.household_row(facts, today),
        "warmth": shapes.warmth(rules.warmth(facts.room_cdeg, facts.room_at, now)),
        "season": _season(facts, heat, season, today),
        "compare": _compare(facts, heat),
        "owed": facts.owed,
        # A wallet is a liability: what we hold for the household stands on the credit side.
        "balance_fen": -facts.wallet_fen,
        "utilities": _utilities(facts),
        "latest_bill": shapes.bill_json(facts.latest_bill, today),
    }


def _row(statement: sa.TextClause, **values: Any) -> Any:
    return db.session.connection().execute(statement, values).first()


def _heat(facts: Any, season: rules.Season) -> dict[str, Any]:
    """The household's heat_summary; of a season that is over only what is not of a season."""
    heat: dict[str, Any] = facts.heat or {}
    if heat.get("season_from") == season.day_from.isoformat():
        return heat
    return heat | {"season_wh": 0, "year_wh": None, "last_wh": None}


def _season(facts: Any, heat: dict[str, Any], season: rules.Season, today: date) -> dict[str, Any]:
    known = heat.get("as_of")
    as_of = date.fromisoformat(known) if known else today - timedelta(days=1)
    passed = (min(as_of, season.day_to) - season.day_from).days + 1
    cost = _cost(facts, heat["season_wh"], max(passed, 0), today)
    return {
        "name": season.name,
        "day_from": season.day_from,
        "day_to": season.day_to,
        "used_wh": heat["season_wh"],
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


def _compare(facts: Any, heat: dict[str, Any]) -> dict[str, Any]:
    return {
        "last_month": _against(heat.get("month_wh"), heat.get("before_wh")),
        "last_year": _against(heat["year_wh"], heat["last_wh"]),
        "similar": _similar(facts, heat) if facts.heat else None,
    }


def _against(used_wh: int | None, previous_wh: int | None) -> dict[str, int] | None:
    if used_wh is None or previous_wh is None:
        return None
    pct = rules.percent_of(used_wh, previous_wh)
    return None if pct is None else {"used_wh": used_wh, "previous_wh": previous_wh, "pct": pct}


def _similar(facts: Any, heat: dict[str, Any]) -> dict[str, int] | None:
    mine, others = (heat["recent_wh"], facts.area_dm2), (heat["others_wh"], heat["others_dm2"])
    found = rules.similar_homes(mine, others, heat["others"])
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
