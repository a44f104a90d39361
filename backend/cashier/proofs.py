"""A day's proof written down: the three sums of a channel or an account, and every difference."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa
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


def _write_breaks(reconciliation_id: int, found: Sequence[Difference], now: datetime) -> None:
    """Add what is new; what is gone is resolved by itself, what comes back is open again."""
    references = [f"{one.kind}:{one.reference}" for one in found]
    gone = sa.update(Break).where(
        Break.reconciliation_id == reconciliation_id,
        Break.resolved_at.is_(None),
        (Break.kind + ":" + Break.reference).not_in(references),
    )
    db.session.execute(gone.values(resolved_at=now, resolution=BY_ITSELF))
    if not found:
        return
    rows = [
        {
            "reconciliation_id": reconciliation_id,
            "kind": one.kind,
            "reference": one.reference,
            "ours_fen": one.ours_fen,
            "theirs_fen": one.theirs_fen,
            "suggestion": rules.SUGGESTIONS[one.kind],
        }
        for one in found
    ]
    statement = insert(Break).values(rows)
    came_back = Break.resolution == BY_ITSELF
    db.session.execute(
        statement.on_conflict_do_update(
            index_elements=["reconciliation_id", "kind", "reference"],
            set_={
                "ours_fen": statement.excluded.ours_fen,
                "theirs_fen": statement.excluded.theirs_fen,
                "resolved_at": sa.case((came_back, None), else_=Break.resolved_at),
                "resolution": sa.case((came_back, None), else_=Break.resolution),
            },
        )
    )


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
