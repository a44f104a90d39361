"""Bank collection as a payment channel: what became of an order, its batch's line says.

It lets the ordinary rules of orders hold: one open order a bill, nothing taken at the counter
while the bank is at it, nothing closed that has been sent.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from backend.base.clock import day_start
from backend.base.db import db
from backend.cashier.collection_models import CollectionBatch, CollectionLine
from backend.cashier.rules import BANK
from payments.channel import (
    ChannelError,
    ClientPay,
    Notice,
    NoticeRejected,
    OrderRequest,
    PayWay,
    RefundRequest,
    RefundState,
    Reply,
    StatementKind,
    TradeState,
    TradeStatus,
)

NOT_SENT = ("drafted", "approved")
_STATUS = {
    "success": TradeStatus.PAID,
    "failed": TradeStatus.FAILED,
    "withdrawn": TradeStatus.CLOSED,
}


class BankCollection:
    """The channel `bank`: nobody opens an order over it but a batch; it calls nobody."""

    name = BANK
    taken = Reply(204)
    ways: frozenset[PayWay] = frozenset()
    confirms_by_asking = False

    def create(self, order: OrderRequest) -> ClientPay:
        """Orders are opened by a batch only."""
        raise ChannelError("request_invalid", "collected by file", permanent=True)

    def query(self, out_trade_no: str) -> TradeState:
        """What the bank has said of the order's line."""
        row = self._line(out_trade_no)
        status = _STATUS.get(row.state, TradeStatus.PENDING)
        if status is not TradeStatus.PAID:
            return TradeState(out_trade_no, status)
        paid_at = day_start(row.settled_on)
        return TradeState(out_trade_no, status, out_trade_no, row.amount_fen, None, paid_at)

    def close(self, out_trade_no: str) -> None:
        """Withdraw the line, where its file has not been written; the caller commits.

        ChannelError in_collection where it has: only the bank's result ends it.
        """
        row = self._line(out_trade_no)
        batch = db.session.scalar(
            sa.select(CollectionBatch.state)
            .where(CollectionBatch.id == row.batch_id)
            .with_for_update()
        )
        if batch not in NOT_SENT:
            raise ChannelError("in_collection", "sent to the bank", permanent=False)
        line = sa.update(CollectionLine).where(CollectionLine.order_no == out_trade_no)
        db.session.execute(line.values(state="withdrawn", reason="改用其他方式缴费"))

    def refund(self, request: RefundRequest) -> RefundState:
        """A bank gives nothing back by file."""
        raise ChannelError("refused", "no refunds by file", permanent=True)

    def query_refund(self, out_trade_no: str, out_refund_no: str) -> RefundState:
        """There are none."""
        raise ChannelError("refund_not_found", "no refunds by file", permanent=True)

    def parse_notice(self, headers: Mapping[str, str], raw_body: bytes, now: datetime) -> Notice:
        """A bank's results are imported."""
        raise NoticeRejected("malformed", "collected by file")

    def download_statement(self, day: date, kind: StatementKind = StatementKind.ALL) -> bytes:
        """The bank account's statement is imported."""
        raise ChannelError("no_statement", "collected by file", permanent=True)

    def _line(self, out_trade_no: str) -> Any:
        query = sa.select(
            CollectionLine.batch_id,
            CollectionLine.state,
            CollectionLine.amount_fen,
            CollectionLine.settled_on,
        ).where(CollectionLine.order_no == out_trade_no)
        row = db.session.execute(query).first()
        if row is None:
            raise ChannelError("order_not_found", out_trade_no, permanent=True)
        return row
