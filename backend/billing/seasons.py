"""The season's account of many buildings: advances and settlements, run as heat settlements are.

A building is an item of the run; its bills, its credits and what the item says of them are one
transaction.  Runs over the same building wait for each other, so that the second finds the first's
bills: asked twice, nobody is billed twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from backend.allocation import settling
from backend.allocation.models import Settlement, SettlementItem
from backend.archive.models import Building, Household
from backend.base.db import db
from backend.billing import season
from backend.people.service import Principal

TASK = "billing.season_run"
KINDS = ("advance", "season")
# How the desk and the API name them.
VERBS = {"advance": "advance", "settle": "season"}

_HEATED = """
    EXISTS (SELECT 1 FROM household h WHERE h.building_id = b.id)
    AND EXISTS (SELECT 1 FROM meter m WHERE m.building_id = b.id AND m.kind = 'heat')
"""
_BILLED = "本季已经出账，不再预收"
_NONE = "所选范围内没有供热的楼栋。"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a season's run did: how many bills and credits, their sums, whom it left out and why.

    Of a building it is kept in its item, `left_out` as [{"household_id", "why"}].
    """

    bills: int = 0
    bills_fen: int = 0
    credits: int = 0
    credits_fen: int = 0
    left_out: Any = ()


def start(
    verb: str,
    region_id: int | None,
    day_from: date,
    day_to: date,
    due_on: date | None,
    actor: Principal,
    now: datetime,
) -> Settlement:
    """Begin to bill [day_from, day_to) in advance, or to settle it, a task a building; audited.

    `verb`: a key of VERBS; `due_on`: an advance's (none: its first day).  Problem as
    settling.start.
    """
    kind = VERBS[verb]
    due = (due_on or day_from) if kind == "advance" else None
    return settling.start(region_id, day_from, day_to, actor, now, kind, due)


def run(settlement_id: int, building_id: int, now: datetime) -> SettlementItem:
    """Do one building of a run; one that is no longer waiting is left as it is.  Commits."""
    return settling.settle(settlement_id, building_id, now)


def _advance(item: SettlementItem, parent: Settlement, now: datetime) -> None:
    assert parent.due_on is not None
    _hold(item.building_id)
    begin, end = parent.period_from, parent.period_to
    bills = season.advance(item.building_id, begin, end, parent.due_on, now)
    homes = db.session.scalars(
        sa.select(Household.id).where(Household.building_id == item.building_id)
    )
    rest = set(homes) - {bill.household_id for bill in bills}
    _keep(item, season.Settled(bills, left_out=dict.fromkeys(rest, _BILLED)))


def _settle(item: SettlementItem, parent: Settlement, now: datetime) -> None:
    _hold(item.building_id)
    _keep(item, season.settle(item.building_id, parent.period_from, parent.period_to, now))


def _hold(building_id: int) -> None:
    """Wait for another run over the building; foreign keys to it do not."""
    held = sa.select(Building.id).where(Building.id == building_id)
    db.session.execute(held.with_for_update(key_share=True))


def _keep(item: SettlementItem, came: season.Settled) -> None:
    item.outcome = asdict(
        Outcome(
            len(came.bills),
            sum(bill.amount_fen for bill in came.bills),
            len(came.credits),
            sum(credit.credit_fen for credit in came.credits),
            [{"household_id": n, "why": why} for n, why in sorted(came.left_out.items())],
        )
    )


settling.KINDS["advance"] = settling.Kind(_advance, TASK, _HEATED, _NONE, past=False)
settling.KINDS["season"] = settling.Kind(_settle, TASK, _HEATED, _NONE)

_SUMS = sa.text("""
    SELECT coalesce(sum((outcome ->> 'bills')::bigint), 0)::bigint AS bills,
           coalesce(sum((outcome ->> 'bills_fen')::bigint), 0)::bigint AS bills_fen,
           coalesce(sum((outcome ->> 'credits')::bigint), 0)::bigint AS credits,
           coalesce(sum((outcome ->> 'credits_fen')::bigint), 0)::bigint AS credits_fen,
           coalesce(sum(jsonb_array_length(outcome -> 'left_out')), 0)::bigint AS left_out
      FROM settlement_item WHERE settlement_id = :id AND state = 'done'
""")
_BUILDINGS = sa.text("""
    SELECT b.id AS building_id, b.code AS building_code, b.name AS building_name,
           (i.outcome ->> 'bills')::bigint AS bills,
           (i.outcome ->> 'bills_fen')::bigint AS bills_fen,
           (i.outcome ->> 'credits')::bigint AS credits,
           (i.outcome ->> 'credits_fen')::bigint AS credits_fen,
           jsonb_array_length(i.outcome -> 'left_out') AS left_out
      FROM settlement_item i JOIN building b ON b.id = i.building_id
     WHERE i.settlement_id = :id AND i.state = 'done'
     ORDER BY b.code LIMIT :most
""")
_LEFT_OUT = sa.text("""
    SELECT h.id AS household_id, b.name AS building_name, h.unit_no, h.account_no, o.why
      FROM settlement_item i
      CROSS JOIN LATERAL jsonb_to_recordset(i.outcome -> 'left_out')
           AS o(household_id bigint, why text)
      JOIN household h ON h.id = o.household_id
      JOIN building b ON b.id = i.building_id
     WHERE i.settlement_id = :id AND i.state = 'done'
     ORDER BY b.code, h.unit_no LIMIT :most
""")


def totals(settlement_id: int) -> dict[str, int]:
    """What the run has done so far; `left_out` is how many households."""
    return dict(db.session.execute(_SUMS, {"id": settlement_id}).mappings().one())


def buildings(settlement_id: int) -> Sequence[Any]:
    """Up to MAX_SHOWN buildings that are done, with their counts and sums."""
    asked = {"id": settlement_id, "most": settling.MAX_SHOWN}
    return db.session.execute(_BUILDINGS, asked).all()


def left_out(settlement_id: int) -> Sequence[Any]:
    """Up to MAX_SHOWN households left out: building, unit, account number, why."""
    asked = {"id": settlement_id, "most": settling.MAX_SHOWN}
    return db.session.execute(_LEFT_OUT, asked).all()
