"""长款 and 短款: what a channel has more or less than the ledger can explain, set apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.base.db import db
from backend.cashier import cases
from backend.cashier.case_models import MoneyCase
from backend.cashier.models import Break
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.chart import AccountRef
from backend.people.service import Principal

GONE = "差异已消失，自动转回"


# Whose balance follows the channel; what is not named moved on the way to the bank.
_FOLLOWS: dict[str, Callable[[str], AccountRef]] = {"fee": chart.fee}


def account(channel: str, amount_fen: int) -> AccountRef:
    """Where a difference stands: more is owed to somebody, less is to be had."""
    return chart.overage(channel) if amount_fen > 0 else chart.shortage(channel)


def is_somebodys(one: MoneyCase) -> bool:
    """Whether what stands aside may be a household's; a fee is between us and the channel."""
    return one.state == "suspense" and one.type not in _FOLLOWS


def standing_fen(one: MoneyCase) -> int:
    """What of a difference stands aside still: 长款 (+) or 短款 (-)."""
    left_fen = one.left_fen or 0
    return left_fen if (one.amount_fen or 0) > 0 else -left_fen


def put(one: MoneyCase, step: int, amount_fen: int, text: str, now: datetime) -> None:
    """Clearing, or the fees, follow the channel by `amount_fen`; the rest stands by itself."""
    _post(one, step, amount_fen, account(one.channel, amount_fen), text, now)
    one.state, one.amount_fen, one.left_fen = "suspense", amount_fen, abs(amount_fen)


def take_back(one: MoneyCase, step: int, text: str, now: datetime) -> None:
    """What stands by itself is where it was again."""
    amount_fen = standing_fen(one)
    _post(one, step, -amount_fen, account(one.channel, amount_fen), text, now)
    one.amount_fen = one.left_fen = None


def _post(
    one: MoneyCase, step: int, moved_fen: int, standing: AccountRef, text: str, now: datetime
) -> None:
    follows = _FOLLOWS.get(one.type, chart.clearing)(one.channel)
    lines = [(follows, moved_fen), (standing, -moved_fen)]
    ledger.post(f"break:{one.reference}:{step}", "aside", now, lines, memo=text)


def settled(one: MoneyCase, actor: Principal, now: datetime) -> None:
    """Once nothing of it stands aside any more, the case is over."""
    if not one.left_fen:
        cases.end(one, "ended", "款项已全部处理", actor, now)


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
            (Break.kind + ":" + Break.reference) != sa.all_(sa.literal(still, pg.ARRAY(sa.Text))),
        )
        .with_for_update(of=MoneyCase)
    ).all()
    for one, difference in rows:
        step = cases.note(one, None, "taken_back", GONE, now)
        take_back(one, step, GONE, now)
        difference.resolution = GONE
        cases.end(one, "ended", GONE, None, now)
