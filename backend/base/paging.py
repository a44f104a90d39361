"""A list a page at a time: one row more is asked for than shown, so nobody counts them all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import sqlalchemy as sa

from backend.base.db import db

PAGE: Final = 50
MAX_PAGE: Final = 10_000


@dataclass(frozen=True, slots=True)
class Page:
    """The rows of one page, and whether there is another behind it."""

    rows: Sequence[Any]
    number: int
    has_next: bool


def page_of(
    query: str | sa.Select[*tuple[Any, ...]], number: int = 1, *, size: int = PAGE, **values: Any
) -> Page:
    """Page `number` (from 1) of a query; SQL text ends in LIMIT :limit OFFSET :offset."""
    number = min(max(number, 1), MAX_PAGE)
    limit, offset = size + 1, (number - 1) * size
    if isinstance(query, str):
        values |= {"limit": limit, "offset": offset}
        rows = db.session.execute(db.text(query), values).all()
    else:
        rows = db.session.execute(query.limit(limit).offset(offset), values).all()
    return Page(rows[:size], number, len(rows) > size)
