"""What a household has paid ahead: opened, topped up, taken out again, and how long it will last.

The nights that charge it are billing.prepayment's.  What is left is always the ledger's: the row
of the account knows only what the last night has counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Household, Meter
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.money import yuan_str
from backend.billing import cutoff, tariffs, topics, wallet
from backend.billing.models import PrepaidAccount, PrepaidDay
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal, audit

TAKEN_OUT = "prepaid_out"  # entries of this kind are no top-ups: the row has followed already
RECENT_DAYS = 7


def open_account(
    household_id: int, utility: str, first_day: date, actor: Principal, now: datetime
) -> PrepaidAccount:
    """Begin paying ahead on a day; Problem prepaid_open where it has been begun."""
    if db.session.get(Household, household_id) is None:
        raise Problem("not_found")
    values = {
        "household_id": household_id,
        "utility": utility,
        "opened_on": first_day,
        "through": first_day - timedelta(1),
    }
    made = pg.insert(PrepaidAccount).values(values).on_conflict_do_nothing()
    if db.session.execute(made.returning(PrepaidAccount.household_id)).first() is None:
        raise Problem("prepaid_open")
    audit("prepaid.opened", "household", household_id, actor, now=now, utility=utility)
    return db.session.get_one(PrepaidAccount, (household_id, utility))


def top_up(
    household_id: int,
    utility: str,
    amount_fen: int,
    business_key: str,
    source: chart.AccountRef,
    now: datetime,
) -> None:
    """Put money into an account, once a business key; it counts before that day's charge."""
    if amount_fen <= 0:
        raise Problem("validation", "充值金额须大于 0。", field="amount_fen")
    account = locked(household_id, utility)
    if account is None:
        raise Problem("not_found")
    lines = [(source, amount_fen), (chart.prepaid(utility, household_id), -amount_fen)]
    ledger.post(f"topup:{business_key}", "topup", now, lines, memo="预付费充值")
    good_again(account, now)


def from_wallet(household_id: int, utility: str, amount_fen: int, key: str, now: datetime) -> None:
    """Move part of the household's balance into its prepaid account.  Problem balance_short."""
    wallet.one_at_a_time(household_id)
    known = ledger.entry_by_key(f"topup:{key}") is not None
    if not known and wallet.held_fen(household_id) < amount_fen:
        raise Problem("balance_short")
    top_up(household_id, utility, amount_fen, key, chart.wallet(household_id), now)


def close_account(
    household_id: int, utility: str, day: date, actor: Principal, now: datetime
) -> PrepaidAccount:
    """End paying ahead on a day (its first unpaid one); what is left goes into the balance.

    Problems not_found, range_reversed, handover_not_ready (nights to come, an overdraft).
    """
    account = locked(household_id, utility)
    if account is None:
        raise Problem("not_found")
    if not account.opened_on <= day <= business_day(now):
        raise Problem("range_reversed", "销户日须在开户之后、今天之前（含）。", field="day")
    close(account, day, now)
    audit("prepaid.closed", "household", household_id, actor, now=now, utility=utility)
    return account


def close(account: PrepaidAccount, day: date, now: datetime) -> None:
    """Move what an account holds into the household's balance; Problem handover_not_ready."""
    code = chart.prepaid(account.utility, account.household_id)
    held = held_fen(account.household_id, account.utility)
    name = tariffs.UTILITIES_ZH[account.utility]
    if (day - account.through).days > 1:
        why = f"{name}预付费只扣到 {account.through}，请等日结扣费到 {day - timedelta(1)}。"
        raise Problem("handover_not_ready", why)
    if held < 0:
        why = f"{name}预付费透支 {yuan_str(-held)} 元，请先充值。"
        raise Problem("handover_not_ready", why)
    account.closed_on = day
    if held:
        lines = [(code, held), (chart.wallet(account.household_id), -held)]
        key = f"prepaid_closed:{account.utility}:{account.household_id}:{day}"
        ledger.post(key, "prepaid_closed", now, lines)


def held_fen(household_id: int, utility: str) -> int:
    """What is left of what was paid ahead; below zero an overdraft."""
    return -ledger.balance_fen(chart.prepaid(utility, household_id).code)


def locked(household_id: int, utility: str) -> PrepaidAccount | None:
    """The open account, held until commit; None where there is none to top up."""
    return db.session.scalars(
        sa.select(PrepaidAccount)
        .where(
            PrepaidAccount.household_id == household_id,
            PrepaidAccount.utility == utility,
            PrepaidAccount.closed_on.is_(None),
        )
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()


def moved(account: PrepaidAccount, amount_fen: int) -> None:
    """The row follows money taken out (below zero) or put back outside of its nights.

    Its entry is of kind TAKEN_OUT, which no night counts as a top-up.
    """
    account.balance_fen += amount_fen
    db.session.flush()


def good_again(account: PrepaidAccount, now: datetime) -> None:
    """After a top-up: a household no longer below zero is not cut off, or may be opened again."""
    if "closed" not in account.marks or held_fen(account.household_id, account.utility) < 0:
        return
    meters = db.session.scalars(
        sa.select(Meter).where(
            Meter.household_id == account.household_id,
            Meter.kind == account.utility,
            Meter.removed_on.is_(None),
        )
    ).all()
    household = db.session.get_one(Household, account.household_id)
    cutoff.ask_reopening(household, account.utility, meters, now)


@dataclass(frozen=True, slots=True)
class Ahead:
    """A prepaid account as it stands this moment; `lasts_days` None where nothing was charged."""

    account: PrepaidAccount
    balance_fen: int
    marks: list[str]
    daily_fen: int | None
    lasts_days: int | None


def standing(household_id: int, building_id: int, today: date) -> list[Ahead]:
    """The household's open accounts, top-ups since the last night included."""
    accounts = db.session.scalars(
        sa.select(PrepaidAccount)
        .where(PrepaidAccount.household_id == household_id, PrepaidAccount.closed_on.is_(None))
        .order_by(PrepaidAccount.utility)
    ).all()
    return [standing_of(account, building_id, today) for account in accounts]


def standing_of(account: PrepaidAccount, building_id: int, today: date) -> Ahead:
    """One account, top-ups since the last night included."""
    left_fen = held_fen(account.household_id, account.utility)
    daily_fen = _daily_fen(account)
    lasts = None if not daily_fen else max(0, left_fen // daily_fen)
    rule = topics.in_force(building_id, "prepaid", account.utility, today)
    return Ahead(account, left_fen, marks(account, left_fen, rule["warn_fen"]), daily_fen, lasts)


def marks(account: PrepaidAccount, left_fen: int, warn_fen: int | None) -> list[str]:
    """The last night's marks that what is left now still deserves."""
    deserved = {
        "warned": warn_fen is not None and left_fen < warn_fen,
        "overdrawn": left_fen < 0,
        "closed": left_fen < 0,
    }
    return [mark for mark in account.marks if deserved[mark]]


def _daily_fen(account: PrepaidAccount) -> int | None:
    """What a day cost lately, rounded up; None where no day has been charged."""
    recent = (
        sa.select(PrepaidDay.deduction_fen)
        .where(
            PrepaidDay.household_id == account.household_id,
            PrepaidDay.utility == account.utility,
            PrepaidDay.day > account.through - timedelta(RECENT_DAYS),
        )
        .subquery()
    )
    row = db.session.execute(
        sa.select(sa.func.sum(recent.c.deduction_fen), sa.func.count()).select_from(recent)
    ).one()
    return -(-int(row[0]) // row[1]) if row[1] else None
