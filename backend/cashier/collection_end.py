"""The end of a batch: taken back, or closed over what the bank has and has not decided."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.collection import locked
from backend.cashier.collection_models import CollectionBatch, CollectionLine
from backend.people.service import Principal, audit

_CANCELLABLE = ("drafted", "approved", "exporting", "exported")


def cancel(batch_no: str, reason: str, actor: Principal, now: datetime) -> CollectionBatch:
    """Take a batch back; the caller commits.

    One whose file was written only by another person than who wrote it, who vouches that the bank
    never got it: a result for it is refused from then on.  Problems: not_found,
    collection_moved_on, reason_missing, second_person.
    """
    batch = locked(batch_no)
    if batch.state not in _CANCELLABLE or _answered(batch.id):
        raise Problem("collection_moved_on")
    if batch.state == "exported" and batch.exported_by == actor.id:
        raise Problem("second_person", "文件已导出的批次须由另一位同事作废。")
    _end(batch, "cancelled", reason, actor, now)
    _end_lines(batch.id, ("waiting",), "withdrawn", "批次作废")
    return batch


def close(batch_no: str, reason: str, actor: Principal, now: datetime) -> CollectionBatch:
    """End an exported batch; the caller commits.

    Lines the bank has not decided (no result, or unknown) want a reason; their bills are free
    again, and should the bank have taken the money after all, its late result is still taken.
    Problems: not_found, collection_moved_on, collection_unfinished.
    """
    batch = locked(batch_no)
    if batch.state != "exported":
        raise Problem("collection_moved_on")
    undecided = sa.select(sa.func.count()).where(
        CollectionLine.batch_id == batch.id, CollectionLine.state.in_(("waiting", "unknown"))
    )
    if db.session.scalar(undecided) and len(reason) < 2:
        raise Problem("collection_unfinished", field="reason")
    _end(batch, "closed", reason or "结果齐全", actor, now)
    _end_lines(batch.id, ("waiting", "unknown"), "unknown", reason)
    return batch


def _answered(batch_id: int) -> bool:
    query = sa.select(CollectionLine.seq).where(
        CollectionLine.batch_id == batch_id, CollectionLine.result_id.is_not(None)
    )
    return db.session.scalar(query.limit(1)) is not None


def _end(batch: CollectionBatch, state: str, reason: str, actor: Principal, now: datetime) -> None:
    if len(reason) < 2:
        raise Problem("reason_missing", field="reason")
    batch.state, batch.ended_by, batch.ended_at, batch.end_reason = state, actor.id, now, reason
    audit(f"collection.{state}", "collection_batch", batch.batch_no, actor, now=now, reason=reason)


def _end_lines(batch_id: int, states: Sequence[str], to_state: str, reason: str) -> None:
    lines = sa.update(CollectionLine).where(
        CollectionLine.batch_id == batch_id, CollectionLine.state.in_(states)
    )
    ended = db.session.scalars(
        lines.values(state=to_state, reason=reason).returning(CollectionLine.order_id)
    ).all()
    end_orders(ended, reason)


def end_orders(order_ids: Sequence[int], note: str) -> None:
    """These orders are over and hold their bills no longer."""
    values = {"ids": list(order_ids), "note": note}
    db.session.execute(_END, values)
    db.session.execute(_RELEASE, values)


_END = sa.text("""
UPDATE payment_order SET state = 'closed', note = :note
 WHERE id = ANY(CAST(:ids AS bigint[])) AND state IN ('created', 'paying')
""")
_RELEASE = sa.text("""
UPDATE order_item SET open = false WHERE order_id = ANY(CAST(:ids AS bigint[])) AND open
""")
