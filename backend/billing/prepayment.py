"""Prepaid accounts in the books: charged every night (opened and topped up: billing.ahead).

The rule is billing.prepaid's; here it meets the stored days.  A day that is not closed yet makes
an account wait; a day whose usage is unknown costs nothing and is flagged once a later register
is known, because that one carries its usage.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from typing import Any

import sqlalchemy as sa

from backend.allocation import service as allocation
from backend.archive import rules as archive_rules
from backend.archive.models import Household, Meter
from backend.base.clock import business_day
from backend.base.db import db
from backend.billing import cutoff, prepaid, prepaid_pricing, regions, tariffs, topics, usage
from backend.billing.models import PrepaidAccount, PrepaidDay, Tariff
from backend.billing.prepaid_pricing import plan_of
from backend.billing.usage import TOU_COARSE, Used
from backend.ledger import chart
from backend.ledger import service as ledger

MAX_DAYS = 62  # a night catches up on so many; more wait for the next run
USAGE_FOLLOWS = "usage_follows"
CORRECTED = "corrected"
MARKS = {"warned": "is_warned", "overdrawn": "is_overdrawn", "closed": "is_closed"}


def buildings() -> Sequence[tuple[int, str]]:
    """(building, utility) with open prepaid accounts."""
    rows = db.session.execute(
        sa.select(Household.building_id, PrepaidAccount.utility)
        .join(Household, Household.id == PrepaidAccount.household_id)
        .where(PrepaidAccount.closed_on.is_(None))
        .group_by(Household.building_id, PrepaidAccount.utility)
        .order_by(Household.building_id, PrepaidAccount.utility)
    )
    return [(row[0], row[1]) for row in rows]


@dataclass
class _Night:
    """What a building's accounts are charged from, loaded in one go."""

    building_id: int
    utility: str
    households: Mapping[int, Household]
    usage: Mapping[int, Mapping[date, int | None]]
    charged: Mapping[int, int]
    topped: Mapping[int, Mapping[date, int]]
    tariffs: Mapping[tuple[str, date], Tariff | str]
    rule: Mapping[str, Any]
    season: archive_rules.Season | None
    hours: Mapping[tuple[int, date], Used]


def charge_building(building_id: int, utility: str, now: datetime) -> int:
    """Charge the days that are over and not charged yet; how many.  Again charges nothing twice."""
    last = business_day(now) - timedelta(1)
    accounts = db.session.scalars(
        sa.select(PrepaidAccount)
        .join(Household, Household.id == PrepaidAccount.household_id)
        .where(
            Household.building_id == building_id,
            PrepaidAccount.utility == utility,
            PrepaidAccount.closed_on.is_(None),
            PrepaidAccount.through < last,
        )
        .order_by(PrepaidAccount.household_id)
        .with_for_update(of=PrepaidAccount)
    ).all()
    if not accounts:
        return 0
    first = min(a.through for a in accounts) + timedelta(1)
    last = min(last, first + timedelta(MAX_DAYS - 1))
    night = _load(building_id, utility, accounts, first, last, now)
    days: list[PrepaidDay] = []
    for account in accounts:
        days += _charge(account, night, last)
    db.session.add_all(days)
    db.session.flush()
    _post(days, now)
    _ask_cutoffs(accounts, night, now)
    return len(days)


def _charge(account: PrepaidAccount, night: _Night, last: date) -> list[PrepaidDay]:
    """An account's days up to `last`, as far as they are known; why it waits stands on it."""
    state = _state_of(account)
    household = night.households[account.household_id]
    made: list[PrepaidDay] = []
    account.waiting = None
    carried = _carried(account, night)
    day = account.through + timedelta(1)
    while day <= last:
        tariff = night.tariffs[household.customer_class, day]
        used, flags = _used(night, account.household_id, day)
        if isinstance(tariff, str) or used is None:
            account.waiting = tariff if isinstance(tariff, str) else f"{day} 的用量尚未日结"
            break
        state = begun(state, day, night.season)
        topup = _topped(night, account, day)
        if carried:
            used, carried, flags = used + carried, 0, [*flags, CORRECTED]
        try:
            plan = plan_of(tariff, household, night.rule, _in_season(night, day))
            hours, coarse = _by_hours(night, tariff, household.id, day, used)
        except ValueError as error:
            account.waiting = str(error)
            break
        flags += [TOU_COARSE] if coarse else []
        besides_fen = prepaid_pricing.hours_fen(tariff.params, hours)
        quantity = prepaid_pricing.quantity(tariff.params, used)
        state, closing = prepaid.close_day(state, quantity, plan, topup, besides_fen)
        account.counted_fen += topup
        made.append(
            PrepaidDay(
                household_id=account.household_id,
                utility=account.utility,
                day=day,
                used=used,
                topup_fen=topup,
                deduction_fen=closing.deduction_fen,
                balance_fen=closing.balance_fen,
                tariff_id=tariff.id,
                events=list(closing.events),
                flags=flags,
                detail={"hours": {p: str(kwh) for p, kwh in hours.items()}} if hours else {},
            )
        )
        account.through = day
        day += timedelta(1)
    _keep_state(account, state)
    return made


def begun(
    state: prepaid.Account, day: date, season: archive_rules.Season | None
) -> prepaid.Account:
    """The account as a day finds it: New Year begins the tiers again, a heating season the equal
    parts of its basic fee."""
    if (day.month, day.day) == (1, 1):
        state = replace(state, used=Fraction(0))
    if season is not None and day == season.day_from:
        state = replace(state, day=0)
    return state


def _by_hours(
    night: _Night, tariff: Tariff, household_id: int, day: date, used: int
) -> tuple[dict[str, Fraction], bool]:
    if "schedule" not in tariff.params:
        return {}, False
    known = night.hours.get((household_id, day), Used(None, {}))
    hours = prepaid_pricing.by_hours(tariff.params, day, known.intervals, used)
    is_coarse = known.intervals is None or TOU_COARSE in known.flags
    return hours, bool(used) and is_coarse


def _state_of(account: PrepaidAccount) -> prepaid.Account:
    marks = {field: mark in account.marks for mark, field in MARKS.items()}
    return prepaid.Account(
        account.balance_fen,
        Fraction(account.used),
        account.days,
        Fraction(account.owed_fen),
        account.days_below,
        **marks,
    )


def _keep_state(account: PrepaidAccount, state: prepaid.Account) -> None:
    account.balance_fen, account.days = state.balance_fen, state.day
    account.used, account.owed_fen = str(state.used), str(state.owed_fen)
    account.days_below = state.days_below
    account.marks = [mark for mark, field in MARKS.items() if getattr(state, field)]


def _used(night: _Night, household_id: int, day: date) -> tuple[int | None, list[str]]:
    """The day's usage; None while nothing tells.  0 and a flag where a later day carries it."""
    days = night.usage.get(household_id, {})
    found = days.get(day)
    if found is not None:
        return found, []
    if any(value is not None for later, value in days.items() if later > day):
        return 0, [USAGE_FOLLOWS]
    return None, []


def _carried(account: PrepaidAccount, night: _Night) -> int:
    """What days already charged have since been counted otherwise: the next day makes it up."""
    known = sum(
        value
        for day, value in night.usage.get(account.household_id, {}).items()
        if value is not None and account.opened_on <= day <= account.through
    )
    return known - night.charged.get(account.household_id, 0)


def _topped(night: _Night, account: PrepaidAccount, day: date) -> int:
    """Top-ups of up to and including the day that are not in the balance yet."""
    by_day = night.topped.get(account.household_id, {})
    return sum(fen for when, fen in by_day.items() if when <= day) - account.counted_fen


def _in_season(night: _Night, day: date) -> bool:
    return night.season is not None and night.season.day_from <= day <= night.season.day_to


def _load(
    building_id: int,
    utility: str,
    accounts: Sequence[PrepaidAccount],
    first: date,
    last: date,
    now: datetime,
) -> _Night:
    ids = [a.household_id for a in accounts]
    found = db.session.scalars(sa.select(Household).where(Household.id.in_(ids))).all()
    households = {h.id: h for h in found}
    prices = _prices(building_id, utility, {h.customer_class for h in found}, first, last)
    return _Night(
        building_id,
        utility,
        households,
        _usage(building_id, utility, ids, min(a.opened_on for a in accounts), last),
        _charged(utility, ids),
        _topups(utility, ids),
        prices,
        topics.in_force(building_id, "prepaid", utility, business_day(now)),
        usage.season_of(last) if utility == "heat" else None,
        _hours(accounts, households, prices, utility, first, last),
    )


def _hours(
    accounts: Sequence[PrepaidAccount],
    households: Mapping[int, Household],
    prices: Mapping[tuple[str, date], Tariff | str],
    utility: str,
    first: date,
    last: date,
) -> dict[tuple[int, date], Used]:
    """(household, day) -> its energy by the clock, where the day's price goes by the hour.

    Four statements a day, for all accounts of the building; most nights have one day.
    """
    found: dict[tuple[int, date], Used] = {}
    for n in range((last - first).days + 1):
        day, following = first + timedelta(n), first + timedelta(n + 1)
        held = {
            a.household_id: prices[households[a.household_id].customer_class, day]
            for a in accounts
            if a.through < day
        }
        by_hour = {
            key: tariff
            for key, tariff in held.items()
            if not isinstance(tariff, str) and "schedule" in tariff.params
        }
        if by_hour:
            used = usage.metered([households[key] for key in by_hour], utility, day, following)
            clocked = usage.by_the_clock(used, by_hour, day, following)
            found |= {(key, day): one for key, one in clocked.items()}
    return found


def _prices(
    building_id: int, utility: str, classes: set[str], first: date, last: date
) -> dict[tuple[str, date], Tariff | str]:
    chain = regions.chain_of(building_id)
    every = tariffs.versions(utility, classes, live_only=True)
    prices: dict[tuple[str, date], Tariff | str] = {}
    for name in classes:
        mine = [v for v in every if v.customer_class == name]
        for n in range((last - first).days + 1):
            day = first + timedelta(n)
            held = regions.nearest(mine, chain, day)
            prices[name, day] = held or f"{day} 没有生效的价格，请先核准价格方案"
    return prices


_SHARES = """
SELECT s.household_id, r.period_from AS day, s.energy_wh AS used
  FROM allocation_run r JOIN allocation_share s ON s.run_id = r.id
 WHERE r.building_id = :building AND r.purpose = 'daily' AND r.superseded_by IS NULL
   AND r.period_from >= :first AND s.household_id = ANY(:ids)
"""
_METERED = """
SELECT m.household_id, d.day,
       CASE WHEN bool_and(d.usage IS NOT NULL) THEN sum(d.usage)::bigint END AS used
  FROM daily_usage d JOIN meter m ON m.id = d.meter_id
 WHERE m.household_id = ANY(:ids) AND m.kind = :utility AND d.day >= :first
 GROUP BY 1, 2
"""


def _usage(
    building_id: int, utility: str, ids: Sequence[int], first: date, last: date
) -> dict[int, dict[date, int | None]]:
    """household -> day -> Wh or litres of the closed days from `first` on; heat as shared."""
    shared = utility == "heat" and allocation.rule_of(building_id, last) is not None
    rows = db.session.execute(
        sa.text(_SHARES if shared else _METERED),
        {"building": building_id, "utility": utility, "ids": list(ids), "first": first},
    )
    found: dict[int, dict[date, int | None]] = {}
    for row in rows:
        found.setdefault(row.household_id, {})[row.day] = row.used
    return found


def _charged(utility: str, ids: Sequence[int]) -> dict[int, int]:
    """household -> Wh or litres its nights have charged so far."""
    rows = db.session.execute(
        sa.select(PrepaidDay.household_id, sa.func.sum(PrepaidDay.used))
        .where(PrepaidDay.household_id.in_(ids), PrepaidDay.utility == utility)
        .group_by(PrepaidDay.household_id)
    )
    return {row[0]: int(row[1]) for row in rows}


_TOPUPS = """
SELECT a.household_id, e.day, -sum(p.amount_fen)::bigint AS fen
  FROM account a JOIN posting p ON p.account_id = a.id JOIN entry e ON e.id = p.entry_id
 WHERE a.code = ANY(:codes) AND e.kind NOT IN ('prepaid', 'prepaid_out') GROUP BY 1, 2
"""


def _topups(utility: str, ids: Sequence[int]) -> dict[int, dict[date, int]]:
    codes = [chart.prepaid(utility, household_id).code for household_id in ids]
    found: dict[int, dict[date, int]] = {}
    for row in db.session.execute(sa.text(_TOPUPS), {"codes": codes}):
        found.setdefault(row.household_id, {})[row.day] = row.fen
    return found


def _post(days: Sequence[PrepaidDay], now: datetime) -> None:
    """Each day's deduction: less in the account, more revenue; a set of entries."""
    ledger.post_many(
        ledger.Draft(
            f"prepaid:{d.utility}:{d.household_id}:{d.day}",
            "prepaid",
            now,
            [
                (chart.prepaid(d.utility, d.household_id), d.deduction_fen),
                (chart.revenue(d.utility), -d.deduction_fen),
            ],
            memo=f"{d.day} 预付费扣费",
        )
        for d in days
        if d.deduction_fen
    )


def _ask_cutoffs(accounts: Sequence[PrepaidAccount], night: _Night, now: datetime) -> None:
    """Accounts past the rule's days below zero and past the overdraft: a request, where allowed."""
    past = [
        a
        for a in accounts
        if "closed" in a.marks and a.balance_fen < -int(night.rule["overdraft_fen"])
    ]
    if not past:
        return
    meters = db.session.scalars(
        sa.select(Meter).where(
            Meter.household_id.in_([a.household_id for a in past]),
            Meter.kind == night.utility,
            Meter.removed_on.is_(None),
        )
    ).all()
    for account in past:
        reason = f"预付费余额连续 {account.days_below} 天低于 0"
        household = night.households[account.household_id]
        mine = [m for m in meters if m.household_id == account.household_id]
        cutoff.ask(household, night.utility, mine, account.balance_fen, reason, now)
