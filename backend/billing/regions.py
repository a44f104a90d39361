"""Whose price or rule holds: of the region nearest to a building, else the whole company's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, Protocol, TypeVar

import sqlalchemy as sa

from backend.base.db import db

_CHAIN = """
WITH RECURSIVE chain(id, parent_id, far) AS (
    SELECT r.id, r.parent_id, 0 FROM region r JOIN building b ON b.region_id = r.id
     WHERE b.id = :building
    UNION ALL
    SELECT r.id, r.parent_id, c.far + 1 FROM region r JOIN chain c ON r.id = c.parent_id
     WHERE c.far < 20)
SELECT id FROM chain ORDER BY far
"""
_ABOVE = """
WITH RECURSIVE above(id, parent_id, far) AS (
    SELECT id, parent_id, 0 FROM region WHERE id = :region
    UNION ALL SELECT r.id, r.parent_id, a.far + 1 FROM region r JOIN above a ON r.id = a.parent_id
     WHERE a.far < 20)
SELECT id FROM above ORDER BY far
"""
_BELOW = """
WITH RECURSIVE below(id, far) AS (
    SELECT CAST(:region AS bigint), 0
    UNION ALL SELECT r.id, b.far + 1 FROM region r JOIN below b ON r.parent_id = b.id
     WHERE b.far < 20)
SELECT id FROM below
"""


class Version(Protocol):
    """A row that holds for a region (None: all) over [effective_from, effective_to)."""

    @property
    def region_id(self) -> Any:
        """The region, or None."""

    @property
    def effective_from(self) -> Any:
        """The first day."""

    @property
    def effective_to(self) -> Any:
        """The first day it no longer holds, or None."""


V = TypeVar("V", bound=Version)
Chain = Sequence[int | None]


def chain_of(building_id: int) -> Chain:
    """The building's regions from the nearest up, then None for the whole company."""
    return [*db.session.scalars(sa.text(_CHAIN), {"building": building_id}), None]


def chain_from(region_id: int | None) -> Chain:
    """A region and those above it, then None; of None: the whole company alone."""
    if region_id is None:
        return [None]
    return [*db.session.scalars(sa.text(_ABOVE), {"region": region_id}), None]


def below(region_id: int) -> list[int]:
    """A region and every region below it."""
    return list(db.session.scalars(sa.text(_BELOW), {"region": region_id}))


def nearest(versions: Sequence[V], chain: Chain, day: date) -> V | None:
    """The version that holds on a day, of the nearest region that has one."""
    holding: Mapping[int | None, V] = {
        v.region_id: v
        for v in versions
        if v.effective_from <= day and (v.effective_to is None or day < v.effective_to)
    }
    return next((holding[region] for region in chain if region in holding), None)


def over(
    versions: Sequence[V], chain: Chain, begin: date, end: date
) -> list[tuple[date, date, V | None]]:
    """[begin, end) in pieces, each with its version; None where there is none (a gap)."""
    edges = {v.effective_from for v in versions} | {v.effective_to for v in versions} - {None}
    cuts = [begin, *sorted(e for e in edges if e is not None and begin < e < end)]
    pieces: list[tuple[date, date, V | None]] = []
    for lower, upper in zip(cuts, [*cuts[1:], end], strict=True):
        found = nearest(versions, chain, lower)
        if pieces and pieces[-1][2] is found:
            pieces[-1] = (pieces[-1][0], upper, found)
        else:
            pieces.append((lower, upper, found))
    return pieces
