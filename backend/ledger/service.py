"""Posting: the one way money moves.  Nothing here commits; the caller's transaction decides.

Rows are taken in one order everywhere (keys, then account codes, then balances by account id), so
that two transactions which each post once cannot wait for each other.  Whoever has many entries
for one transaction gives them to `post_many` at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.ledger import rules
from backend.ledger.chart import AccountRef
from backend.ledger.models import Account, Balance, Entry, Posting
from backend.ledger.rules import Line

_MONTH_CLOSED = "NU001"  # what the guard of closed months raises


@dataclass(frozen=True)
class Draft:
    """An entry to be posted; `at` is when it happened, its business day is Asia/Shanghai's."""

    business_key: str
    kind: str
    at: datetime
    lines: Sequence[Line]
    memo: str = ""
    detail: dict[str, Any] = field(default_factory=dict)
    reverses_id: int | None = None


class Posted(NamedTuple):
    """An entry that is in the journal, just now or already before."""

    id: int
    business_key: str


def post(
    business_key: str,
    kind: str,
    at: datetime,
    lines: Sequence[tuple[AccountRef, int]],
    memo: str = "",
    reverses_id: int | None = None,
    **detail: Any,
) -> Posted:
    """Post one entry; debit > 0, credit < 0, in fen.

    The same key with the same lines returns the entry already there.  Raises Problem
    entry_unbalanced, or entry_conflict where the key was used for other lines.
    """
    return post_many([Draft(business_key, kind, at, lines, memo, detail, reverses_id)])[0]


def post_many(drafts: Iterable[Draft]) -> list[Posted]:
    """Post entries in one go, each at most once; returns them in the order given.

    Raises as `post`, and Problem month_closed for a day whose month is closed (ledger.periods);
    nothing is kept if the caller rolls back.
    """
    wanted = {draft.business_key: draft for draft in drafts}
    for key in wanted:
        rules.check_key(key)
    if not wanted:
        return []
    lines = {key: rules.merged(wanted[key].lines) for key in sorted(wanted)}
    try:
        fresh, accounts = _insert_entries([wanted[key] for key in lines], lines)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _MONTH_CLOSED:
            raise Problem("month_closed") from None
        raise
    if fresh:
        _insert_postings({fresh[key]: lines[key] for key in fresh}, accounts)
    ids = fresh | _existing({key: lines[key] for key in lines if key not in fresh})
    return [Posted(ids[key], key) for key in wanted]


def reverse(entry: Entry, business_key: str, at: datetime, memo: str = "") -> Posted:
    """Post the opposite of `entry`, naming it."""
    lines = [
        (AccountRef(p.account.code, p.account.kind, p.account.household_id), -p.amount_fen)
        for p in entry.postings
    ]
    return post(business_key, "reversal", at, lines, memo, reverses_id=entry.id)


def balance_fen(code: str) -> int:
    """An account's balance, debit positive; 0 for an account nothing was posted to."""
    return balances_fen([code]).get(code, 0)


def balances_fen(codes: Iterable[str]) -> dict[str, int]:
    """Balances by code, debit positive; accounts nothing was posted to are left out."""
    query = sa.select(Account.code, Balance.balance_fen).join(
        Balance, Balance.account_id == Account.id
    )
    found = db.session.execute(query.where(Account.code.in_(codes)))
    return {row.code: row.balance_fen for row in found}


def entry_by_key(business_key: str) -> Entry | None:
    """The entry posted under a key, if any."""
    found: Entry | None = db.session.scalar(
        sa.select(Entry).where(Entry.business_key == business_key)
    )
    return found


def trial_balance() -> list[tuple[str, str, int]]:
    """Every account as (code, kind, balance_fen), by code; the balances add up to zero."""
    query = sa.select(Account.code, Account.kind, Balance.balance_fen).join(
        Balance, Balance.account_id == Account.id
    )
    rows = db.session.execute(query.order_by(Account.code))
    return [(row.code, row.kind, row.balance_fen) for row in rows]


# Written by hand and fed with arrays: every payment waits for these, and a night's bills are many.
# New entries (a rival posting the same key is waited for), and the accounts there are.
_ENTRIES = """
WITH fresh AS (
    INSERT INTO entry (business_key, kind, at, day, memo, detail, reverses_id)
    SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::date[], %s::text[],
                         %s::jsonb[], %s::bigint[])
    ON CONFLICT DO NOTHING RETURNING business_key, id
)
SELECT true AS is_entry, business_key AS name, id FROM fresh
UNION ALL SELECT false, code, id FROM account WHERE code = ANY(%s)
"""
_ACCOUNTS = """
INSERT INTO account (code, kind, household_id)
SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[]) ON CONFLICT DO NOTHING
"""
# Balances are taken in the order of the arrays, so always by rising account id.
_POSTINGS = """
WITH placed AS (
    INSERT INTO posting (entry_id, account_id, amount_fen)
    SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
)
INSERT INTO balance (account_id, balance_fen) SELECT * FROM unnest(%s::bigint[], %s::bigint[])
ON CONFLICT (account_id) DO UPDATE SET balance_fen = balance.balance_fen + excluded.balance_fen
"""


def _insert_entries(
    drafts: Sequence[Draft], lines: Mapping[str, list[Line]]
) -> tuple[dict[str, int], dict[str, int]]:
    """Ids of the entries that were not there yet, by key, and of the accounts, by code."""
    accounts = {account for some in lines.values() for account, _ in some}
    db.session.flush()  # what the caller made before, as the entries refer to it
    columns = [
        (
            draft.business_key,
            draft.kind,
            draft.at,
            business_day(draft.at),
            draft.memo,
            json.dumps(draft.detail, ensure_ascii=False),
            draft.reverses_id,
        )
        for draft in drafts
    ]
    arrays = [list(column) for column in zip(*columns, strict=True)]
    codes = [account.code for account in accounts]
    rows = db.session.connection().exec_driver_sql(_ENTRIES, (*arrays, codes)).all()
    fresh = {row.name: row.id for row in rows if row.is_entry}
    found = {row.name: row.id for row in rows if not row.is_entry}
    return fresh, found | _opened({a for a in accounts if a.code not in found})


def _opened(accounts: set[AccountRef]) -> dict[str, int]:
    """{code: id} of accounts nothing was posted to before, opened now or by a rival just now."""
    if not accounts:
        return {}
    new = sorted(accounts)
    connection = db.session.connection()
    rows = [(account.code, account.kind, account.household_id) for account in new]
    connection.exec_driver_sql(_ACCOUNTS, tuple(list(column) for column in zip(*rows, strict=True)))
    found = connection.exec_driver_sql(
        "SELECT code, id FROM account WHERE code = ANY(%s)", ([account.code for account in new],)
    )
    return {row.code: row.id for row in found}


def _insert_postings(lines: Mapping[int, list[Line]], accounts: Mapping[str, int]) -> None:
    """Write postings and move the balances, by {entry id: merged lines}."""
    rows = [
        (entry_id, accounts[account.code], amount_fen)
        for entry_id, some in lines.items()
        for account, amount_fen in some
    ]
    moves: dict[int, int] = {}
    for _, account_id, amount_fen in rows:
        moves[account_id] = moves.get(account_id, 0) + amount_fen
    order = sorted(moves)
    arrays = [list(column) for column in zip(*rows, strict=True)]
    amounts = [moves[account_id] for account_id in order]
    db.session.connection().exec_driver_sql(_POSTINGS, (*arrays, order, amounts))


def _existing(lines: Mapping[str, list[Line]]) -> dict[str, int]:
    """Ids of the entries posted earlier, by key; Problem entry_conflict where they differ."""
    if not lines:
        return {}
    entries = db.session.scalars(sa.select(Entry).where(Entry.business_key.in_(lines))).all()
    posted = _posted([entry.id for entry in entries])
    for entry in entries:
        if not rules.same_lines(lines[entry.business_key], posted.get(entry.id, {})):
            raise Problem(
                "entry_conflict", f"业务号 {entry.business_key} 已有不同的记账内容，未入账。"
            )
    return {entry.business_key: entry.id for entry in entries}


def _posted(entry_ids: Sequence[int]) -> dict[int, dict[str, int]]:
    query = (
        sa.select(Posting.entry_id, Account.code, Posting.amount_fen)
        .join(Account, Account.id == Posting.account_id)
        .where(Posting.entry_id.in_(entry_ids))
    )
    posted: dict[int, dict[str, int]] = {}
    for entry_id, code, amount_fen in db.session.execute(query):
        posted.setdefault(entry_id, {})[code] = amount_fen
    return posted


def check() -> list[str]:
    """Every break of the ledger and of what must follow it, each with its origin; [] is sound."""
    from backend.ledger.checks import others_breaks, own_breaks

    return own_breaks() + others_breaks()
