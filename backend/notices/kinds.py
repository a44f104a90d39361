"""The kinds of messages: which template, which page they open, and what they say when they leave.

A kind is an entry of KINDS.  Its words are made at the last moment, of how things stand then; None
means that the reason has gone, and the message is dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from backend.archive.models import Household
from backend.archive.service import place
from backend.base.clock import business_day
from backend.base.db import db
from backend.billing import ahead, cutoff
from backend.billing.models import Bill, PrepaidAccount
from backend.billing.prepaid import CLOSE, LOW, OVERDRAFT
from backend.notices import rules
from backend.notices.models import Message

Words = Callable[[Message, datetime], dict[str, str] | None]


@dataclass(frozen=True, slots=True)
class Kind:
    """`setting` names the template's setting; `page` is what a tap on the message opens."""

    setting: str
    page: Callable[[Mapping[str, Any]], str]
    words: Words


def _overdue(message: Message, now: datetime) -> dict[str, str] | None:
    """A bill as it is now; None where nothing is owed any more."""
    bill = db.session.get_one(Bill, message.payload["bill_id"], populate_existing=True)
    if bill.state != "issued":
        return None
    household = db.session.get_one(Household, message.household_id)
    owed_fen = bill.amount_fen - bill.paid_fen
    where = place(household.building.name, household.unit_no)
    days = message.payload["days"]
    return rules.overdue_data(household.account_no, where, owed_fen, bill.due_on, days)


def _prepaid(message: Message, now: datetime) -> dict[str, str] | None:
    """An account as it stands now; None where a top-up has lifted it since, or it is closed."""
    household = db.session.get_one(Household, message.household_id)
    utility, event = message.payload["utility"], message.payload["event"]
    account = db.session.get(PrepaidAccount, (household.id, utility), populate_existing=True)
    if account is None or account.closed_on is not None:
        return None
    today = business_day(now)
    found = ahead.standing_of(account, household.building_id, today)
    if rules.MARK_OF[event] not in found.marks:
        return None
    may_close = event == CLOSE and cutoff.refusal(household, utility, today) is None
    return rules.prepaid_data(
        household.account_no,
        place(household.building.name, household.unit_no),
        found.balance_fen,
        None if event == LOW else date.fromisoformat(message.payload["day"]),
        rules.advice(utility, event, may_close=may_close),
    )


def _bill_page(payload: Mapping[str, Any]) -> str:
    return f"pages/bill/index?id={payload['bill_id']}"


def _home(payload: Mapping[str, Any]) -> str:
    return "pages/home/index"


OVERDUE = "overdue"
KINDS: Mapping[str, Kind] = {
    OVERDUE: Kind("wechat_overdue_template", _bill_page, _overdue),
    LOW: Kind("wechat_low_balance_template", _home, _prepaid),
    # WeChat's template for arrears: one consent for what is owed, billed or prepaid.
    OVERDRAFT: Kind("wechat_overdue_template", _home, _prepaid),
    CLOSE: Kind("wechat_overdue_template", _home, _prepaid),
}


def kind_of(message: Message) -> Kind:
    """A message's kind; those queued before there were several are reminders of bills."""
    return KINDS[message.payload.get("event", OVERDUE)]
