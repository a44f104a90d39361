"""A batch of readings with its keys as arrays: what is asked of all of them is asked at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from backend.metering.service import NewReading

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings in order of meter, moment and correction; `meters` and `at` [len(readings)].

    `at` is in seconds of the epoch, in which microseconds of this century stay apart.
    """

    readings: list[NewReading]
    meters: Ints
    at: Floats

    @classmethod
    def of(cls, readings: Sequence[NewReading]) -> Batch:
        """Readings in any order."""
        meters = np.array([r.meter_id for r in readings], dtype=np.int64)
        at = np.array([r.read_at.timestamp() for r in readings], dtype=np.float64)
        corrects = np.array([r.corrects_id for r in readings], dtype=np.int64)
        order = np.lexsort((corrects, at, meters))
        return cls([readings[n] for n in order.tolist()], meters[order], at[order])

    def __len__(self) -> int:
        return len(self.readings)

    def take(self, chosen: NDArray[np.bool_]) -> Batch:
        """Those that are chosen."""
        if chosen.all():
            return self
        kept = [self.readings[n] for n in np.flatnonzero(chosen).tolist()]
        return Batch(kept, self.meters[chosen], self.at[chosen])

    def meter_ids(self) -> list[int]:
        """Each meter once, ascending."""
        found: list[int] = np.unique(self.meters).tolist()
        return found

    def months(self) -> list[Any]:
        """The UTC months of the moments, as dates of their first days."""
        months = np.unique(self.at.astype("datetime64[s]").astype("datetime64[M]"))
        found: list[Any] = months.astype("datetime64[D]").tolist()
        return found

    def may_repeat(self) -> NDArray[np.bool_]:
        """Whether a reading has its meter and moment in common with one beside it."""
        same = (self.meters[1:] == self.meters[:-1]) & (self.at[1:] == self.at[:-1])
        repeats = np.zeros(len(self), dtype=np.bool_)
        repeats[1:] |= same
        repeats[:-1] |= same
        return repeats


def literal(values: Iterable[object]) -> str:
    """Numbers, moments or names without signs of their own as one PostgreSQL array literal.

    The driver looks at every element of a list; of a batch's thousands that takes longest of all.
    """
    return "{" + ",".join(["NULL" if v is None else str(v) for v in values]) + "}"
