"""取号: the next number of a series, taken in the transaction that issues the paper.

The series' row is held from then until commit, so numbers follow one another without a gap: what
is rolled back, or dies, has taken nothing.  Take it last, and everybody else waits least.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert

from backend.archive.models import Household
from backend.base.clock import SHANGHAI
from backend.base.db import db
from backend.billing import regions
from backend.cashier.papers import rules
from backend.cashier.papers.models import PaperIssuer, PaperSeries

_REPORT = sa.text("""
SELECT i.code AS issuer, i.name, s.kind, s.year, s.last_no,
       count(p.id) AS papers, min(p.number) AS lowest, max(p.number) AS highest,
       count(v.paper_id) AS voided, count(p.about_id) AS red,
       coalesce(sum(p.amount_fen) FILTER (WHERE v.paper_id IS NULL), 0)::bigint AS amount_fen,
       coalesce(sum(p.tax_fen) FILTER (WHERE v.paper_id IS NULL), 0)::bigint AS tax_fen
  FROM paper_series s JOIN paper_issuer i ON i.id = s.issuer_id
  LEFT JOIN paper p ON p.issuer_id = s.issuer_id AND p.kind = s.kind AND p.year = s.year
  LEFT JOIN paper_void v ON v.paper_id = p.id
 GROUP BY i.id, s.kind, s.year, s.last_no ORDER BY s.year DESC, i.code, s.kind
""")


def take(issuer: PaperIssuer, kind: str, now: datetime) -> tuple[int, int, str]:
    """(year, number, paper number), the series held until commit."""
    year = now.astimezone(SHANGHAI).year
    first = insert(PaperSeries).values(issuer_id=issuer.id, kind=kind, year=year, last_no=1)
    number: int = db.session.execute(
        first.on_conflict_do_update(
            index_elements=["issuer_id", "kind", "year"],
            set_={"last_no": PaperSeries.last_no + 1},
        ).returning(PaperSeries.last_no)
    ).scalar_one()
    return year, number, rules.paper_no(kind, issuer.code, year, number)


def issuer_of(household: Household) -> PaperIssuer:
    """Who issues a household's papers: its nearest region's issuer, else the company.

    The company is set up from NUAN_COMPANY the first time; `nuan papers issuer` says the rest.
    """
    chain = regions.chain_of(household.building_id)
    rows = {row.region_id: row for row in db.session.scalars(sa.select(PaperIssuer))}
    for region_id in chain:
        if region_id in rows:
            return rows[region_id]
    return company()


def company() -> PaperIssuer:
    """The issuer of everybody who has no nearer one."""
    name = current_app.extensions["nuan_settings"].company
    made = insert(PaperIssuer).values(code="01", name=name).on_conflict_do_nothing()
    db.session.execute(made)
    query = sa.select(PaperIssuer).where(PaperIssuer.region_id.is_(None))
    return db.session.scalars(query).one()


def report() -> list[dict[str, Any]]:
    """Every series: how many papers it has and between which numbers; `gapless` where none is
    missing, which is where as many papers as numbers lie between 1 and the last one taken."""
    return [
        {
            **row._mapping,
            "gapless": row.papers == row.last_no == row.highest and row.lowest == 1,
            "first_no": rules.paper_no(row.kind, row.issuer, row.year, 1),
            "last": rules.paper_no(row.kind, row.issuer, row.year, row.last_no),
        }
        for row in db.session.execute(_REPORT)
    ]
