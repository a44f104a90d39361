"""What a resident's home screen says of its heat, counted once when a day closes.

The screen is opened by everybody and shows sums over a year of days; a row a household, written
building by building with the day's close, keeps it to one read.  Whatever changes a closed day
closes it again, and so comes by here.
"""

from __future__ import annotations

from datetime import date

from flask import current_app

from backend.archive import rules
from backend.base.clock import add_months
from backend.base.db import db

SIMILAR_DAYS = 30

# A day's heat of every home of a building, from its shares or from the homes' own meters.
_SHARED = """
SELECT s.household_id, r.period_from AS day, s.energy_wh AS used
  FROM allocation_run r JOIN allocation_share s ON s.run_id = r.id
 WHERE r.building_id = %(building)s AND r.purpose = 'daily' AND r.superseded_by IS NULL
   AND r.period_from BETWEEN %(first)s AND %(today)s
"""
_METERED = """
SELECT m.household_id, d.day, sum(d.usage)::bigint AS used
  FROM meter m JOIN daily_usage d ON d.meter_id = m.id
 WHERE m.building_id = %(building)s AND m.scope = 'household' AND m.kind = 'heat'
   AND d.usage IS NOT NULL AND d.day BETWEEN %(first)s AND %(today)s
 GROUP BY m.household_id, d.day
"""
_IS_SHARED = """
SELECT EXISTS (SELECT 1 FROM allocation_rule
                WHERE building_id = %(building)s AND effective_from <= %(today)s)
"""

# `own`: the last day known of a home, and the spans compared up to it: this month and as much of
# the last, this season and as much of the last.  A comparison stands only where every day of both
# is known: half a month is not less heat than a whole one.  The 29th to 31st may have no fellow
# in the month before: then neither month's are counted.
_REFRESH = """
WITH days AS MATERIALIZED ({source}),
own AS (
    SELECT household_id, max(day) AS as_of FROM days GROUP BY household_id),
spans AS (
    SELECT household_id, as_of, month, before, as_of - %(season_from)s AS season_n,
           least(as_of - month, month - 1 - before) AS month_n
      FROM (SELECT household_id, as_of, date_trunc('month', as_of)::date AS month,
                   (date_trunc('month', as_of) - interval '1 month')::date AS before
              FROM own) months),
sums AS (
    SELECT household_id, as_of, month_n, season_n,
           sum(used) FILTER (WHERE day BETWEEN %(season_from)s AND %(season_to)s) AS season_wh,
           sum(used) FILTER (WHERE day BETWEEN month AND month + month_n) AS month_wh,
           sum(used) FILTER (WHERE day BETWEEN before AND before + month_n) AS before_wh,
           count(*) FILTER (WHERE day BETWEEN month AND month + month_n
                               OR day BETWEEN before AND before + month_n) AS month_days,
           sum(used) FILTER (WHERE day BETWEEN %(season_from)s AND as_of) AS year_wh,
           sum(used) FILTER (WHERE day BETWEEN %(last_from)s
                                           AND %(last_from)s + season_n) AS last_wh,
           count(*) FILTER (WHERE day BETWEEN %(season_from)s AND as_of
                               OR day BETWEEN %(last_from)s AND %(last_from)s + season_n)
           AS year_days,
           sum(used) FILTER (WHERE day > as_of - %(similar_days)s) AS recent_wh
      FROM spans JOIN days USING (household_id)
     GROUP BY household_id, as_of, month_n, season_n, month, before),
recent AS (
    SELECT as_of, household_id, sum(used) AS used
      FROM (SELECT DISTINCT as_of FROM own) ends
      JOIN days ON day BETWEEN as_of - %(similar_days)s + 1 AND as_of
     GROUP BY as_of, household_id),
building AS (
    SELECT as_of, count(*) AS homes, sum(used) AS used, sum(area_dm2) AS area_dm2
      FROM recent JOIN household ON id = household_id GROUP BY as_of)
INSERT INTO heat_summary AS kept (household_id, as_of, season_from, season_wh, month_wh, before_wh,
                                  year_wh, last_wh, recent_wh, others, others_wh, others_dm2)
SELECT s.household_id, as_of, %(season_from)s, coalesce(season_wh, 0),
       CASE WHEN month_days = 2 * (month_n + 1) THEN month_wh END,
       CASE WHEN month_days = 2 * (month_n + 1) THEN before_wh END,
       CASE WHEN season_n >= 0 AND year_days = 2 * (season_n + 1) THEN year_wh END,
       CASE WHEN season_n >= 0 AND year_days = 2 * (season_n + 1) THEN last_wh END,
       recent_wh, b.homes - 1, b.used - recent_wh, b.area_dm2 - h.area_dm2
  FROM sums s JOIN building b USING (as_of) JOIN household h ON h.id = s.household_id
 ORDER BY s.household_id
ON CONFLICT (household_id) DO UPDATE SET
    (as_of, season_from, season_wh, month_wh, before_wh, year_wh, last_wh, recent_wh, others,
     others_wh, others_dm2)
  = (excluded.as_of, excluded.season_from, excluded.season_wh, excluded.month_wh,
     excluded.before_wh, excluded.year_wh, excluded.last_wh, excluded.recent_wh, excluded.others,
     excluded.others_wh, excluded.others_dm2)
"""


def season_of(day: date) -> rules.Season:
    """The heating season of a day by the company's settings."""
    settings = current_app.extensions["nuan_settings"]
    start, end = settings.season_start, settings.season_end
    return rules.heating_season(day, rules.month_day(start), rules.month_day(end))


def refresh(building_id: int, today: date) -> None:
    """Count every home of a building anew, as it is known on `today`; two statements."""
    season = season_of(today)
    last_from = season.day_from.replace(year=season.day_from.year - 1)
    values = {
        "building": building_id,
        "today": today,
        "first": min(last_from, add_months(today, -2)),
        "season_from": season.day_from,
        "season_to": season.day_to,
        "last_from": last_from,
        "similar_days": SIMILAR_DAYS,
    }
    db.session.flush()
    connection = db.session.connection()
    shared = connection.exec_driver_sql(_IS_SHARED, values).scalar()
    source = _SHARED if shared else _METERED
    connection.exec_driver_sql(_REFRESH.format(source=source), values)
