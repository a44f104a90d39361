"""A day's proof written down: the three sums of a channel or an account, and every difference."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg
from sqlalchemy.dialects.postgresql import insert

from backend.base.db import db
from backend.cashier import aside, cases, rules
from backend.cashier.case_models import MoneyCase
from backend.cashier.matching import Difference, Sums
from backend.cashier.models import Break, Reconciliation
from backend.people.models import Staff

BY_ITSELF = "再次对账时已相符"


def kept(channel: str, day: date) -> Reconciliation | None:
    """What was found last, if anybody looked."""
    query = sa.select(Reconciliation).where(
        Reconciliation.channel == channel, Reconciliation.day == day
    )
    found: Reconciliation | None = db.session.scalar(query)
    return found


def keep(
    channel: str, day: date, sums: Sums, found: Sequence[Difference], now: datetime
) -> Reconciliation:
    """Write a day's sums and differences down, over what was found earlier."""
    row = _write(channel, day, sums, now)
    _write_breaks(row.id, found, now)
    cases.follow_breaks(row.id, now)
    aside.release(row.id, [(one.kind, one.reference) for one in found], now)
    agreed = sums.equal and not open_breaks([row.id])
    row.state = "agreed" if agreed else "breaks"
    return row


def _write(channel: str, day: date, sums: Sums, now: datetime) -> Reconciliation:
    values = {
        "state": "breaks",
        "checked_at": now,
        "ledger_fen": sums.ledger_fen,
        "channel_fen": sums.channel_fen,
        "orders_fen": sums.orders_fen,
        "fee_fen": sums.fee_fen,
        "payments": sums.payments,
        "refunds": sums.refunds,
    }
    statement = insert(Reconciliation).values(channel=channel, day=day, **values)
    statement = statement.on_conflict_do_update(index_elements=["channel", "day"], set_=values)
    returning = statement.returning(Reconciliation)
    return db.session.scalars(returning, execution_options={"populate_existing": True}).one()


# Fed with arrays: a day may have more differences than a statement takes parameters.
_BREAKS = """
INSERT INTO break AS kept
       (reconciliation_id, kind, reference, ours_fen, theirs_fen, gap_fen, suggestion)
SELECT %(proof)s, found.*
FROM unnest(%(kind)s::text[], %(reference)s::text[], %(ours_fen)s::bigint[],
            %(theirs_fen)s::bigint[], %(gap_fen)s::bigint[], %(suggestion)s::text[]) AS found
ON CONFLICT (reconciliation_id, kind, reference) DO UPDATE SET
    ours_fen = excluded.ours_fen, theirs_fen = excluded.theirs_fen, gap_fen = excluded.gap_fen,
    resolved_at = CASE WHEN kept.resolution = %(by_itself)s THEN NULL ELSE kept.resolved_at END,
    resolution = CASE WHEN kept.resolution = %(by_itself)s THEN NULL ELSE kept.resolution END
"""


def _write_breaks(reconciliation_id: int, found: Sequence[Difference], now: datetime) -> None:
    """Add what is new; what is gone is resolved by itself, what comes back is open again."""
    references = sa.literal([f"{one.kind}:{one.reference}" for one in found], pg.ARRAY(sa.Text))
    gone = sa.update(Break).where(
        Break.reconciliation_id == reconciliation_id,
        Break.resolved_at.is_(None),
        (Break.kind + ":" + Break.reference) != sa.all_(references),
    )
    db.session.execute(gone.values(resolved_at=now, resolution=BY_ITSELF))
    values = {
        "proof": reconciliation_id,
        "by_itself": BY_ITSELF,
        "kind": [one.kind for one in found],
        "reference": [one.reference for one in found],
        "ours_fen": [one.ours_fen for one in found],
        "theirs_fen": [one.theirs_fen for one in found],
        "gap_fen": [one.gap_fen for one in found],
        "suggestion": [rules.SUGGESTIONS[one.kind] for one in found],
    }
    db.session.connection().exec_driver_sql(_BREAKS, values)


def open_breaks(reconciliation_ids: Sequence[int]) -> list[Break]:
    """Differences nobody has explained yet."""
    query = sa.select(Break).where(
        Break.reconciliation_id.in_(reconciliation_ids), Break.resolved_at.is_(None)
    )
    query = query.order_by(Break.id).execution_options(populate_existing=True)
    return list(db.session.scalars(query))


def breaks_view(reconciliation_id: int) -> list[dict[str, Any]]:
    """Every difference, those still open first, with the case and who has it."""
    names = ["id", "kind", "reference", "ours_fen", "theirs_fen", "suggestion", "owner"]
    names += ["resolved_at", "resolution"]
    about = sa.cast(Break.id, sa.Text) == MoneyCase.reference
    query = (
        sa.select(Break, MoneyCase.id.label("case_id"), Staff.name.label("case_owner"))
        .outerjoin(MoneyCase, (MoneyCase.kind == "break") & about)
        .outerjoin(Staff, Staff.id == MoneyCase.owner_id)
        .where(Break.reconciliation_id == reconciliation_id)
        .order_by(Break.resolved_at.is_not(None), Break.id)
    )
    return [
        {
            **{name: getattr(row.Break, name) for name in names},
            "case_id": row.case_id,
            "case_owner": row.case_owner,
        }
        for row in db.session.execute(query)
    ]
