"""What homes like one use: medians over groups large enough that nobody shows, counted at night.

Alike are homes of one region, class of customer and size: heat by the square metre among flats of
about the same area, everything else by the household among as many persons.  A group is kept only
where it has at least `similar_homes` homes; a region without enough asks the one above it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Household
from backend.base.db import db
from backend.billing import regions
from backend.billing.models import Bill, PeerUsage

# Areas in 0.01 m2 that part the sizes of flats: below 60 m2, 60 to 90, ... 150 and above.
AREAS_DM2 = (6_000, 9_000, 12_000, 15_000)
MOST_PERSONS = 5  # five and more are one size
# A night looks at the periods of bills made or taken back since; the first night at more than a
# year's.
RECENT, EVER = timedelta(days=3), timedelta(days=430)

Period = tuple[str, date, date]

_COUNT = """
WITH RECURSIVE above(region_id, ancestor, far) AS (
    SELECT id, id, 0 FROM region
    UNION ALL
    SELECT a.region_id, r.parent_id, a.far + 1 FROM above a JOIN region r ON r.id = a.ancestor
     WHERE r.parent_id IS NOT NULL AND a.far < 20),
used AS (
    SELECT g.region_id, b.utility, h.customer_class, b.period_from, b.period_to, h.id AS household,
           CASE b.utility WHEN 'heat' THEN width_bucket(h.area_dm2, CAST(:areas AS int[]))
                          ELSE least(h.persons, :persons) END AS size,
           (b.basis ->> 'used')::numeric
             * CASE b.utility WHEN 'heat' THEN 100.0 / h.area_dm2 ELSE 1 END AS amount
      FROM bill b
      JOIN unnest(CAST(:utilities AS text[]), CAST(:froms AS date[]), CAST(:tos AS date[]))
           AS p(utility, period_from, period_to) USING (utility, period_from, period_to)
      JOIN household h ON h.id = b.household_id
      JOIN building g ON g.id = h.building_id
     WHERE b.kind = 'usage' AND b.state <> 'reversed' AND b.basis ->> 'used' IS NOT NULL
       AND NOT coalesce((b.basis -> 'facts' ->> 'suspended')::boolean, false)),
grouped AS (
    SELECT a.ancestor AS region_id, u.utility, u.customer_class, u.size, u.period_from, u.period_to,
           count(DISTINCT u.household) AS homes,
           percentile_cont(ARRAY[0.25, 0.5, 0.75])
             WITHIN GROUP (ORDER BY u.amount::double precision) AS q
      FROM used u JOIN above a ON a.region_id = u.region_id
     GROUP BY 1, 2, 3, 4, 5, 6)
INSERT INTO peer_usage (region_id, utility, customer_class, size, period_from, period_to,
                        homes, low, median, high)
SELECT region_id, utility, customer_class, size, period_from, period_to, homes,
       round(q[1]), round(q[2]), round(q[3]) FROM grouped WHERE homes >= :least
"""


def count(now: datetime) -> int:
    """Count the groups of every period that changed since last night; how many there are.

    Whatever the number of homes: three statements.
    """
    periods = _changed(now)
    if not periods:
        return 0
    utilities, froms, tos = (list(column) for column in zip(*periods, strict=True))
    which = {"utilities": utilities, "froms": froms, "tos": tos}
    db.session.execute(sa.text(_FORGET), which)
    sizes = {"areas": list(AREAS_DM2), "persons": MOST_PERSONS, "least": _least()}
    made = db.session.execute(sa.text(_COUNT), {**which, **sizes})
    return int(made.rowcount)  # type: ignore[attr-defined]


_FORGET = """
DELETE FROM peer_usage p
 USING unnest(CAST(:utilities AS text[]), CAST(:froms AS date[]), CAST(:tos AS date[]))
       AS w(utility, period_from, period_to)
 WHERE (p.utility, p.period_from, p.period_to) = (w.utility, w.period_from, w.period_to)
"""


def _changed(now: datetime) -> Sequence[Period]:
    """The periods with bills made or taken back lately; of all of a year where none is counted."""
    is_first = ~sa.exists(sa.select(PeerUsage.homes))
    since = sa.case((is_first, now - EVER), else_=now - RECENT)
    rows = db.session.execute(
        sa.select(Bill.utility, Bill.period_from, Bill.period_to)
        .where(Bill.kind.in_(("usage", "reversal")), Bill.issued_at > since)
        .distinct()
    )
    return [(row[0], row[1], row[2]) for row in rows]


def _least() -> int:
    return int(current_app.extensions["nuan_settings"].similar_homes)


@dataclass(frozen=True, slots=True)
class Similar:
    """A home beside those like it: `mine`, their `median` and the middle half `low` to `high`,
    in `unit` (wh_per_m2, wh or l); `homes` of them, `of_zh` says which."""

    unit: str
    mine: int
    median: int
    low: int
    high: int
    homes: int
    of_zh: str


def beside(bill: Bill, household: Household) -> Similar | None:
    """The bill's usage beside that of homes like this over the same days; None with too few.

    Two statements.
    """
    used = bill.basis.get("used") if bill.kind == "usage" else None
    if used is None:
        return None
    chain = [region for region in regions.chain_of(household.building_id) if region is not None]
    rows = db.session.execute(
        sa.select(PeerUsage, _REGION_NAME).where(
            PeerUsage.region_id.in_(chain),
            PeerUsage.utility == bill.utility,
            PeerUsage.customer_class == household.customer_class,
            PeerUsage.size == size_of(bill.utility, household),
            PeerUsage.period_from == bill.period_from,
            PeerUsage.period_to == bill.period_to,
            PeerUsage.homes >= _least(),
        )
    ).all()
    if not rows:
        return None
    group, region = min(rows, key=lambda row: chain.index(row[0].region_id))
    return Similar(
        unit_of(bill.utility),
        round(used * 100 / household.area_dm2) if bill.utility == "heat" else int(used),
        group.median,
        group.low,
        group.high,
        group.homes,
        f"{region} {size_zh(bill.utility, group.size)}",
    )


_REGION_NAME: Any = sa.literal_column(
    "(SELECT name FROM region WHERE region.id = peer_usage.region_id)", type_=pg.TEXT
)


def unit_of(utility: str) -> str:
    """What a home of a utility is compared by."""
    return {"heat": "wh_per_m2", "electricity": "wh"}.get(utility, "l")


def size_of(utility: str, household: Household) -> int:
    """Which size of home: by area for heat, else by persons."""
    if utility == "heat":
        return sum(household.area_dm2 >= bound for bound in AREAS_DM2)
    return min(household.persons, MOST_PERSONS)


def size_zh(utility: str, size: int) -> str:
    """A size in words: 60–90 平方米的住户, 3 口人的住户."""
    if utility != "heat":
        return f"{size} 口{'及以上' if size == MOST_PERSONS else ''}之家"
    bounds = [bound // 100 for bound in AREAS_DM2]
    if size == 0:
        return f"{bounds[0]} 平方米以下的住户"
    if size == len(bounds):
        return f"{bounds[-1]} 平方米及以上的住户"
    return f"{bounds[size - 1]}–{bounds[size]} 平方米的住户"
