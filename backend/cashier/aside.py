"""长款 and 短款: what a channel has more or less than the ledger can explain, set apart."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa

from backend.base.db import db
from backend.cashier import cases
from backend.cashier.case_models import MoneyCase
from backend.cashier.models import Break
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.chart import AccountRef

GONE = "差异已消失，自动转回"


def account(channel: str, amount_fen: int) -> AccountRef:
    """Where a difference stands: more is owed to somebody, less is to be had."""
    return chart.overage(channel) if amount_fen > 0 else chart.shortage(channel)


def put(one: MoneyCase, step: int, amount_fen: int, text: str, now: datetime) -> None:
    """Clearing follows the channel by `amount_fen`; the rest stands by itself."""
    _post(one, step, amount_fen, amount_fen, text, now)


def take_back(one: MoneyCase, step: int, text: str, now: datetime) -> None:
    """What stood by itself is in clearing again."""
    amount_fen = one.amount_fen or 0
    _post(one, step, -amount_fen, amount_fen, text, now)


def _post(
    one: MoneyCase, step: int, moved_fen: int, standing_fen: int, text: str, now: datetime
) -> None:
    lines = [
        (chart.clearing(one.channel), moved_fen),
        (account(one.channel, standing_fen), -moved_fen),
    ]
    ledger.post(f"break:{one.reference}:{step}", "aside", now, lines, memo=text)


def release(reconciliation_id: int, found: Iterable[tuple[str, str]], now: datetime) -> None:
    """What stood aside and is no difference any more comes back by itself.

    Else the payment posted since, and what was put aside for it, would both stand in clearing.
    """
    still = [f"{kind}:{reference}" for kind, reference in found]
    rows = db.session.execute(
        sa.select(MoneyCase, Break)
        .join(Break, sa.cast(Break.id, sa.Text) == MoneyCase.reference)
        .where(
            Break.reconciliation_id == reconciliation_id,
            MoneyCase.kind == "break",
            MoneyCase.state == "suspense",
            (Break.kind + ":" + Break.reference).not_in(still),
        )
        .with_for_update(of=MoneyCase)
    ).all()
    for one, difference in rows:
        step = cases.note(one, None, "taken_back", GONE, now)
        take_back(one, step, GONE, now)
        difference.resolution = GONE
        cases.end(one, "ended", GONE, None, now)
