"""Posting: the one way money moves.  Nothing here commits; the caller's transaction decides.

Rows are taken in one order everywhere (keys, then account codes, then balances by account id), so
that two transactions which each post once cannot wait for each other.  Whoever has many entries
for one transaction gives them to `post_many` at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.ledger import rules
from backend.ledger.chart import AccountRef
from backend.ledger.models import Account, Balance, Entry, Posting
from backend.ledger.rules import Line


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


def post(
    business_key: str,
    kind: str,
    at: datetime,
    lines: Sequence[tuple[AccountRef, int]],
    memo: str = "",
    reverses_id: int | None = None,
    **detail: Any,
) -> Entry:
    """Post one entry; debit > 0, credit < 0, in fen.

    The same key with the same lines returns the entry already there.  Raises Problem
    entry_unbalanced, or entry_conflict where the key was used for other lines.
    """
    return post_many([Draft(business_key, kind, at, lines, memo, detail, reverses_id)])[0]


def post_many(drafts: Iterable[Draft]) -> list[Entry]:
    """Post entries in one go, each at most once; returns them in the order given.

    Raises as `post`, before anything is kept if the caller rolls back.
    """
    wanted = {draft.business_key: draft for draft in drafts}
    for key in wanted:
        rules.check_key(key)
    lines = {key: rules.merged(wanted[key].lines) for key in sorted(wanted)}
    fresh = _insert_entries([wanted[key] for key in lines])
    if fresh:
        _insert_postings({fresh[key].id: lines[key] for key in fresh})
    known = _existing({key: lines[key] for key in lines if key not in fresh})
    return [(fresh | known)[key] for key in wanted]


def reverse(entry: Entry, business_key: str, at: datetime, memo: str = "") -> Entry:
    """Post the opposite of `entry`, naming it."""
    lines = [
        (AccountRef(p.account.code, p.account.kind, p.account.household_id), -p.amount_fen)
        for p in entry.postings
    ]
    return post(business_key, "reversal", at, lines, memo, reverses_id=entry.id)


def balance_fen(code: str) -> int:
    """An account's balance, debit positive; 0 for an account nothing was posted to."""
    query = sa.select(Balance.balance_fen).join(Account, Account.id == Balance.account_id)
    return int(db.session.scalar(query.where(Account.code == code)) or 0)


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


# A statement takes 65,535 parameters, and an entry has seven.
_CHUNK = 2_000


def _insert_entries(drafts: Sequence[Draft]) -> dict[str, Entry]:
    """The entries that were not there yet, by key; waits for a rival posting the same key."""
    rows = [
        {
            "business_key": draft.business_key,
            "kind": draft.kind,
            "at": draft.at,
            "day": business_day(draft.at),
            "memo": draft.memo,
            "detail": draft.detail,
            "reverses_id": draft.reverses_id,
        }
        for draft in drafts
    ]
    fresh: dict[str, Entry] = {}
    for start in range(0, len(rows), _CHUNK):
        some = insert(Entry).values(rows[start : start + _CHUNK])
        statement = some.on_conflict_do_nothing().returning(Entry)
        fresh |= {entry.business_key: entry for entry in db.session.scalars(statement)}
    return fresh


# Written by hand and fed with arrays: every payment waits for these, and a night's bills are many.
_POSTINGS = """
INSERT INTO posting (entry_id, account_id, amount_fen)
SELECT * FROM unnest(%s::bigint[], %s::bigint[], %s::bigint[])
"""
_BALANCES = """
INSERT INTO balance (account_id, balance_fen) SELECT * FROM unnest(%s::bigint[], %s::bigint[])
ON CONFLICT (account_id) DO UPDATE SET balance_fen = balance.balance_fen + excluded.balance_fen
"""


def _insert_postings(lines: dict[int, list[Line]]) -> None:
    """Write postings and move the balances, by {entry id: merged lines}."""
    ids = _account_ids({account for some in lines.values() for account, _ in some})
    rows = [
        (entry_id, ids[account.code], amount_fen)
        for entry_id, some in lines.items()
        for account, amount_fen in some
    ]
    moves: dict[int, int] = {}
    for _, account_id, amount_fen in rows:
        moves[account_id] = moves.get(account_id, 0) + amount_fen
    connection = db.session.connection()
    connection.exec_driver_sql(_POSTINGS, tuple(list(column) for column in zip(*rows, strict=True)))
    # Rows are taken in the order of the arrays, so always by rising account id.
    order = sorted(moves)
    connection.exec_driver_sql(_BALANCES, (order, [moves[account_id] for account_id in order]))


def _account_ids(accounts: set[AccountRef]) -> dict[str, int]:
    """{code: id}, opening accounts that are new."""
    found = _find_accounts(accounts)
    new = sorted(account for account in accounts if account.code not in found)
    if new:
        rows = [{"code": a.code, "kind": a.kind, "household_id": a.household_id} for a in new]
        db.session.execute(insert(Account).values(rows).on_conflict_do_nothing())
        found |= _find_accounts(set(new))
    return found


def _find_accounts(accounts: set[AccountRef]) -> dict[str, int]:
    codes = [account.code for account in accounts]
    rows = db.session.connection().exec_driver_sql(
        "SELECT code, id FROM account WHERE code = ANY(%s)", (codes,)
    )
    return {row.code: row.id for row in rows}


def _existing(lines: dict[str, list[Line]]) -> dict[str, Entry]:
    """Entries posted earlier under these keys; Problem entry_conflict where they differ."""
    if not lines:
        return {}
    entries = db.session.scalars(sa.select(Entry).where(Entry.business_key.in_(lines))).all()
    posted = _posted([entry.id for entry in entries])
    for entry in entries:
        if not rules.same_lines(lines[entry.business_key], posted.get(entry.id, {})):
            raise Problem(
                "entry_conflict", f"业务号 {entry.business_key} 已有不同的记账内容，未入账。"
            )
    return {entry.business_key: entry for entry in entries}


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
