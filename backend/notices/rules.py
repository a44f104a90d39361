"""When a reminder is due and what it says; pure."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta

from backend.base.clock import SHANGHAI
from backend.base.money import yuan_str
from backend.billing.prepaid import CLOSE, LOW, OVERDRAFT

# Days overdue at which a reminder goes out, and what its last line says (thing: 20 characters).
OVERDUE: dict[int, str] = {
    1: "账单已逾期，请及时缴费。",
    7: "已逾期一周，请尽快缴费。",
    15: "已逾期半月，请尽快缴费。",
    30: "已逾期一月，请联系我们。",
}
THING_LENGTH = 20
# What one attempt can take at most: a token renewed and a message sent twice, 11 s each.
SENDING_LIMIT = timedelta(minutes=2)
# A message still queued after this long has lost its task.
FORGOTTEN = timedelta(hours=1)

# WeChat said no, and nothing was delivered: to be tried again later (payments page of docs).
TRY_AGAIN = frozenset({-1, 40001, 40014, 42001, 45009, 45011})
# The resident refused or used up what he had agreed to: our count is wrong.
NO_CONSENT = frozenset({43101, 43107, 43108})


def overdue_data(
    account_no: str, place: str, owed_fen: int, due_on: date, days: int
) -> dict[str, str]:
    """The fields of the overdue template: thing1 household, amount2, date3 due, thing4 advice."""
    return {
        "thing1": household_thing(account_no, place),
        "amount2": f"{yuan_str(owed_fen)}元",
        "date3": date_zh(due_on),
        "thing4": OVERDUE[days],
    }


MARK_OF = {LOW: "warned", OVERDRAFT: "overdrawn", CLOSE: "closed"}  # event -> the account's mark
FEES = {"heat": "热费", "water": "水费", "gas": "燃气费", "electricity": "电费"}


def advice(utility: str, event: str, *, may_close: bool) -> str:
    """The last line of a prepaid message; a closed valve is only spoken of where it may come."""
    if event == LOW:
        return f"{FEES[utility]}余额不足，请及时充值。"
    if may_close:
        return f"{FEES[utility]}已欠费，可能停供，请充值。"
    return f"{FEES[utility]}已欠费，请尽快充值。"


def prepaid_data(
    account_no: str, place: str, balance_fen: int, owing_since: date | None, advice_zh: str
) -> dict[str, str]:
    """Low: thing1 household, amount2 what is left, thing4 advice.  `owing_since`: amount2 is what
    is owed, and date3 since when."""
    amount_fen = balance_fen if owing_since is None else -balance_fen
    found = {
        "thing1": household_thing(account_no, place),
        "amount2": f"{yuan_str(amount_fen)}元",
        "thing4": advice_zh,
    }
    return found if owing_since is None else found | {"date3": date_zh(owing_since)}


def date_zh(day: date) -> str:
    """'2026年11月19日'."""
    return f"{day.year}年{day.month:02d}月{day.day:02d}日"


def quiet_until(now: datetime, quiet_hours: str) -> datetime | None:
    """The end of the quiet hours ('21:00-08:00' in Asia/Shanghai, 'off') `now` lies in, or None."""
    if quiet_hours == "off":
        return None
    begin, end = (time.fromisoformat(part) for part in quiet_hours.split("-"))
    local = now.astimezone(SHANGHAI)
    inside = begin <= local.time() < end if begin < end else not end <= local.time() < begin
    if not inside or begin == end:
        return None
    morning = local.replace(hour=end.hour, minute=end.minute, second=0, microsecond=0)
    return morning if morning > local else morning + timedelta(1)


def household_thing(account_no: str, place: str) -> str:
    """Account number and place in 20 characters: the number whole, of the place its end."""
    room = THING_LENGTH - len(account_no) - 1
    if room <= 1:
        return account_no[-THING_LENGTH:]
    return f"{account_no} {place if len(place) <= room else '…' + place[1 - room :]}"
