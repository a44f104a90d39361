"""What a top-up is credited to: the household's balance, its prepaid account, or debts first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from backend.archive.models import Binding, Household
from backend.base.clock import business_day
from backend.base.db import db
from backend.billing import ahead, topics, wallet
from backend.billing import service as billing
from backend.ledger import chart
from backend.ledger.chart import AccountRef

WALLET = "wallet"
Credited = list[tuple[AccountRef, int]]


@dataclass(frozen=True, slots=True)
class Topup:
    """What an order tops up: the wallet, or the prepaid account of a utility."""

    household_id: int
    resident_id: int
    into: str
    amount_fen: int


def credit(topup: Topup, paid_at: datetime, now: datetime) -> Credited:
    """What each account is credited with.

    Nothing where the payer has left the household, or the account was closed, meanwhile.
    """
    if not _still_his(topup):
        return []
    if topup.into == WALLET:
        wallet.one_at_a_time(topup.household_id)
        return [(chart.wallet(topup.household_id), topup.amount_fen)]
    if ahead.locked(topup.household_id, topup.into) is None:
        return []
    debts = _debts(topup, paid_at, now)
    rest_fen = topup.amount_fen - sum(fen for _, fen in debts)
    account = chart.prepaid(topup.into, topup.household_id)
    return [*debts, (account, rest_fen)] if rest_fen else debts


def after(topup: Topup, now: datetime) -> None:
    """What follows once the entry is posted: debts are paid, supplies come back."""
    if topup.into == WALLET:
        wallet.pay_oldest(topup.household_id, now)
        return
    account = ahead.locked(topup.household_id, topup.into)
    if account is not None:
        ahead.good_again(account, now)


def _still_his(topup: Topup) -> bool:
    """Whoever took the household over since must not get another's money."""
    bound = sa.exists().where(
        Binding.resident_id == topup.resident_id,
        Binding.household_id == topup.household_id,
        Binding.ended_at.is_(None),
    )
    return bool(db.session.scalar(sa.select(bound)))


def _debts(topup: Topup, paid_at: datetime, now: datetime) -> Credited:
    """Open bills of the utility paid first, where the company's rule says so."""
    building_id = db.session.get_one(Household, topup.household_id).building_id
    rule = topics.in_force(building_id, "balance", topup.into, business_day(now))
    if not rule["topup_pays_debts"]:
        return []
    paid, most = [], topup.amount_fen
    for bill in wallet.open_bills([topup.household_id], topup.into):
        part = min(most, bill.open_fen)
        if part and billing.apply_payment(bill.id, part, paid_at):
            paid.append((chart.receivable(topup.into, topup.household_id), part))
            most -= part
    return paid
