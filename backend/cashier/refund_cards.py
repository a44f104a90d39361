"""A refund the payer's account could not take, sent on to the payer's bank card (异常退款).

The card is sealed for the channel when it is typed: what is kept, shown and sent is that and the
last four digits.  One person types it, another agrees, and then a task sends it, once.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.base import tasks
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.billing import requests
from backend.billing.models import BillingRequest
from backend.cashier import cases, refunds
from backend.cashier.channels import CHANNELS, channel_for
from backend.cashier.models import PaymentOrder, Refund
from backend.people.service import Principal, audit
from payments.channel import ChannelError
from payments.wechat_cards import BANKS_ZH, MAX_HOLDER, BankCard, SealedCard, SendsToCards

__all__ = ["BANKS_ZH", "MAX_HOLDER", "agreed", "ask", "offered"]

_WRONG = {
    "bank": "请选择开户银行（仅支持所列银行的借记卡）。",
    "number": "银行卡号有误，请核对。",
    "holder": "请填写持卡人姓名。",
}


def offered(refund: Refund, channel: str) -> bool:
    """Whether this refund can be sent on to a card now."""
    sends = channel in CHANNELS and isinstance(channel_for(channel), SendsToCards)
    return sends and refund.state == "abnormal"


def ask(
    refund: Refund,
    bank: str,
    number: str,
    holder: str,
    reason: str,
    actor: Principal,
    now: datetime,
) -> BillingRequest:
    """Ask a second person to agree that an abnormal refund goes to this card; the caller commits.

    Problems refund_moved_on, validation (bank, number, holder), reason_missing, request_open,
    channel_unavailable.
    """
    text = cases.words(reason)
    order = db.session.get_one(PaymentOrder, refund.order_id)
    if not offered(refund, order.channel):
        raise Problem("refund_moved_on")
    card = _sealed(order.channel, bank, number, holder)
    params = {
        "out_refund_no": refund.out_refund_no,
        "amount_fen": refund.amount_fen,
        "card": asdict(card),
    }
    made = requests.ask(refunds.CARD, refund.id, text, actor, now, order.household_id, params)
    _note(refund, actor, "card_asked", text, now, card)
    return made


def _sealed(channel: str, bank: str, number: str, holder: str) -> SealedCard:
    try:
        card = BankCard(bank, "".join(number.split()), holder.strip())
    except ValueError as error:
        field = str(error)
        raise Problem("validation", _WRONG[field], field=field) from None
    gateway = channel_for(channel)
    assert isinstance(gateway, SendsToCards)  # `offered` said so
    try:
        return gateway.seal_card(card)
    except ChannelError:
        raise Problem("channel_unavailable") from None


def agreed(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """Approved: the refund is under way to the card; a task sends it.  Problem refund_moved_on."""
    moved = changed(
        sa.update(Refund)
        .where(Refund.id == request.subject_id, Refund.state == "abnormal")
        .values(state=refunds.TO_CARD)
        .execution_options(synchronize_session="fetch")
    )
    if moved != 1:
        raise Problem("refund_moved_on")
    refund = db.session.get_one(Refund, request.subject_id)
    tasks.defer("cashier.send_refund", refund_id=refund.id, step=0)
    card = SealedCard(**request.params["card"])
    _note(refund, actor, "card_agreed", request.reason, now, card)
    return {"card": card.words()}


def _note(
    refund: Refund, actor: Principal, verb: str, text: str, now: datetime, card: SealedCard
) -> None:
    one = cases.found("refund", refund.out_refund_no)
    if one is not None:
        cases.note(one, actor, verb, text, now, card=card.words())
    number = refund.out_refund_no
    audit(f"cashier.refund_{verb}", "refund", number, actor, now=now, card=card.words())


requests.KINDS[refunds.CARD] = requests.Kind("异常退款转银行卡", requests.MONEY, agreed)
