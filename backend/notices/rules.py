"""When a reminder is due and what it says; pure."""

from __future__ import annotations

from datetime import date, timedelta

from backend.base.money import yuan_str

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
        "date3": f"{due_on.year}年{due_on.month:02d}月{due_on.day:02d}日",
        "thing4": OVERDUE[days],
    }


def household_thing(account_no: str, place: str) -> str:
    """Account number and place in 20 characters: the number whole, of the place its end."""
    room = THING_LENGTH - len(account_no) - 1
    if room <= 1:
        return account_no[-THING_LENGTH:]
    return f"{account_no} {place if len(place) <= room else '…' + place[1 - room :]}"
