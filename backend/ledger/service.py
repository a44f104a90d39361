"""Posting: the one way money moves.  Nothing here commits; the caller's transaction decides.

Rows are taken in one order everywhere (keys, then account codes, then balances by account id), so
that two transactions which each post once cannot wait for each other.  Whoever has many entries
for one transaction gives them to `post_many` at once.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError

from backend.base.clock import business_day
from backend.base.db import db, unprepared
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
    db.session.flush()  # what the caller made before, for the entries refer to it
    _open_accounts({account for some in lines.values() for account, _ in some})
    try:
        fresh = _insert([wanted[key] for key in lines], lines)
    except DBAPIError as error:
        if getattr(error.orig, "sqlstate", None) == _MONTH_CLOSED:
            raise Problem("month_closed") from None
        raise
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


def account_ids(codes: Iterable[str]) -> dict[str, int]:
    """Accounts' ids by code; those nothing was posted to are left out."""
    query = sa.select(Account.code, Account.id).where(Account.code.in_(codes))
    return {row.code: row.id for row in db.session.execute(query)}


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


# Posting, written by hand: parts of a statement over `event` (the entries wanted, columns as there)
# and `line` (business_key, code, amount_fen; one an account, of accounts that exist).  `fresh` is
# what was not there yet; a rival posting the same key is waited for.  Balances are taken by rising
# account id.
NEW_ENTRIES = """
fresh AS (
    INSERT INTO entry (business_key, kind, at, day, memo, detail, reverses_id)
    SELECT business_key, kind, at, day, memo, detail, reverses_id FROM event ORDER BY business_key
    ON CONFLICT DO NOTHING RETURNING id, business_key
)"""
THEIR_POSTINGS = """
placed AS (
    INSERT INTO posting (entry_id, account_id, amount_fen)
    SELECT fresh.id, account.id, line.amount_fen
    FROM fresh JOIN line USING (business_key) JOIN account USING (code)
    ORDER BY fresh.id, code
    RETURNING account_id, amount_fen
), moved AS (
    INSERT INTO balance (account_id, balance_fen)
    SELECT account_id, sum(amount_fen) FROM placed GROUP BY account_id ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE SET balance_fen = balance.balance_fen + excluded.balance_fen
)"""
_POST = f"""
WITH event AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::timestamptz[], %s::date[], %s::text[],
                         %s::jsonb[], %s::bigint[])
    AS e (business_key, kind, at, day, memo, detail, reverses_id)
), line AS (
    SELECT * FROM unnest(%s::text[], %s::text[], %s::bigint[])
    AS l (business_key, code, amount_fen)
), {NEW_ENTRIES}, {THEIR_POSTINGS}
SELECT business_key, id FROM fresh
"""
_ACCOUNTS = """
INSERT INTO account (code, kind, household_id)
SELECT a.* FROM unnest(%s::text[], %s::text[], %s::bigint[]) AS a (code, kind, household_id)
WHERE NOT EXISTS (SELECT FROM account WHERE account.code = a.code)
ON CONFLICT DO NOTHING
"""


def _open_accounts(accounts: set[AccountRef]) -> None:
    """Open those nothing was posted to before, in order of code; a rival's are waited for."""
    rows = [(one.code, one.kind, one.household_id) for one in sorted(accounts)]
    db.session.connection().exec_driver_sql(_ACCOUNTS, _columns(rows))


def _insert(drafts: Sequence[Draft], lines: Mapping[str, list[Line]]) -> dict[str, int]:
    """Ids of the entries that were not there yet, by key; posted, and the balances moved."""
    events = [
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
    rows = [(key, account.code, fen) for key, some in lines.items() for account, fen in some]
    values = (*_columns(events), *_columns(rows))
    connection = db.session.connection()
    with unprepared(connection) if len(drafts) > 1 else nullcontext():
        fresh = connection.exec_driver_sql(_POST, values).all()
    return {row.business_key: row.id for row in fresh}


def _columns(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Any], ...]:
    return tuple(list(column) for column in zip(*rows, strict=True))


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
