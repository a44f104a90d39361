"""Idempotency-Key: a POST that moves money answers the same key and body the same way again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import sqlalchemy as sa
from flask import Response

from backend.api.answers import quick_json
from backend.base.db import db
from backend.base.errors import Problem
from backend.people.service import Principal

# A claim this old belongs to a process that died: whoever asks next takes it over.
ABANDONED_AFTER_S = 120

_CLAIM = sa.text("""
INSERT INTO idempotency_key AS held (principal, key, body_hash) VALUES (:who, :key, :hash)
    ON CONFLICT (principal, key) DO UPDATE SET created_at = now()
       WHERE held.status IS NULL AND held.body_hash = :hash
         AND held.created_at < now() - make_interval(secs => :abandoned)
RETURNING key
""")
_HELD = sa.text(
    "SELECT body_hash, status, response FROM idempotency_key WHERE principal = :who AND key = :key"
)
_KEEP = sa.text("""
UPDATE idempotency_key SET status = :status, response = CAST(:response AS jsonb)
 WHERE principal = :who AND key = :key
""")
_LET_GO = sa.text(
    "DELETE FROM idempotency_key WHERE principal = :who AND key = :key AND status IS NULL"
)


def once(
    who: Principal,
    key: str | None,
    body: Mapping[str, Any],
    act: Callable[[], dict[str, Any]],
    *,
    status: int,
) -> Response:
    """Run `act` once for a key; later the first answer, without acting.

    Problems: idempotency_key_missing; idempotency_key_reused for another body;
    request_in_progress while the first is still at work.  A refusal is not kept: nothing was done,
    so the same key may try again.
    """
    if key is None:
        raise Problem("idempotency_key_missing", field="Idempotency-Key")
    claim = {"who": f"{who.kind}:{who.id}", "key": key}
    kept = _claim(claim, _digest(body))
    if kept is not None:
        return quick_json(kept, status)
    try:
        answer = quick_json(act(), status)
    except BaseException:
        db.session.rollback()
        _run(_LET_GO, claim)
        raise
    _run(_KEEP, {**claim, "status": status, "response": answer.get_data(as_text=True)})
    return answer


def _digest(body: Mapping[str, Any]) -> bytes:
    """Of what was asked for, not of its spelling: a resend may order its keys differently."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, default=str).encode()).digest()


def _claim(claim: dict[str, str], digest: bytes) -> Any:
    """None where the key is ours now, else the first answer; in a transaction of its own."""
    with db.engine.begin() as connection:
        values = {**claim, "hash": digest, "abandoned": ABANDONED_AFTER_S}
        if connection.execute(_CLAIM, values).first() is not None:
            return None
        held = connection.execute(_HELD, claim).first()
    if held is None:  # let go between the two statements
        raise Problem("request_in_progress")
    if bytes(held.body_hash) != digest:
        raise Problem("idempotency_key_reused", field="Idempotency-Key")
    if held.status is None:
        raise Problem("request_in_progress")
    return held.response


def _run(statement: sa.TextClause, values: dict[str, Any]) -> None:
    with db.engine.begin() as connection:
        connection.execute(statement, values)
