"""A channel's statement written by hand, kept and proven: what it tells of a day."""

from backend.base.db import db
from backend.cashier import asking, reconcile, statements
from backend.cashier.case_models import MoneyCase
from backend.cashier.models import Statement
from payments.statement import RowKind, StatementRow


def line(order, amount_fen=None, fee_fen=0, transaction_id=None, kind=RowKind.PAYMENT):
    """A statement's row about an order."""
    amount_fen = amount_fen or order.amount_fen
    known = asking.order_by_number(order.out_trade_no)
    return StatementRow(
        0,
        kind,
        known.paid_at,
        transaction_id or known.transaction_id,
        order.out_trade_no,
        "",
        "",
        amount_fen,
        amount_fen,
        fee_fen,
        *[""] * 6,
    )


def told(day, rows, clock):
    """The channel's word on a day, kept and proven."""
    kept = Statement(
        channel="wechat", day=day, fetched_at=clock.now(), sha1="", file=b"", rows=len(rows)
    )
    db.session.add(kept)
    db.session.flush()
    statements._copy(kept.id, rows)
    db.session.commit()
    return again(day, clock)


def again(day, clock):
    """Prove a day; the cases of its open differences by kind."""
    reconcile.reconcile("wechat", day, clock.now())
    db.session.commit()
    query = db.session.query(MoneyCase).filter(
        MoneyCase.kind == "break", MoneyCase.day == day, MoneyCase.state == "open"
    )
    return {one.type: one for one in query}
