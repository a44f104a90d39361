"""Raw timestamped samples -> a common grid, by sample-and-hold."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from backend.allocation.inputs import Floats, Refused

# Seconds since the start of the window, then one value a series, None where missing.
Sample = tuple[float, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Grid:
    """`dt_s` [samples]; `series` [series][households x samples] with NaN for gaps."""

    dt_s: Floats
    series: list[Floats]


def hold_samples(
    households: Sequence[Sequence[Sample]], count: int, length_s: float, max_hold_s: float
) -> Grid:
    """Each sample stands until the next one, for at most `max_hold_s`; the rest is a gap.

    Order does not matter; of two at the same instant the later in the list replaces the former; a
    sample lacking any of its `count` values is not there. Time before the first sample is a gap;
    one from before the window is held into it. Raises Refused for an empty window.
    """
    if length_s <= 0 or max_hold_s <= 0:
        raise Refused("the window and max_hold_s must be longer than 0 s")
    holds = [_holds(samples, count, length_s, max_hold_s) for samples in households]
    cuts = [np.array([0.0, length_s]), *(times for held in holds for times in held[:2])]
    edges = np.unique(np.concatenate(cuts))
    series = [np.full((len(households), len(edges) - 1), np.nan) for _ in range(count)]
    for row, held in enumerate(holds):
        _fill(series, row, edges[:-1], held)
    return Grid(np.diff(edges), series)


# Begin and end [pieces] of each usable sample inside the window, and its values [pieces x series].
_Held = tuple[Floats, Floats, Floats]


def _holds(samples: Sequence[Sample], count: int, length_s: float, max_hold_s: float) -> _Held:
    latest = dict(samples)
    usable = sorted((t, v) for t, v in latest.items() if all(x is not None for x in v))
    begins = np.array([t for t, _ in usable], dtype=np.float64)
    values = np.array([v for _, v in usable], dtype=np.float64).reshape(-1, count)
    ends = np.minimum(np.append(begins[1:], np.inf), np.minimum(begins + max_hold_s, length_s))
    begins = np.maximum(begins, 0.0)
    inside = begins < ends
    return begins[inside], ends[inside], values[inside]


def _fill(series: Sequence[Floats], row: int, edges: Floats, held: _Held) -> None:
    """Each of the grid's pieces (by its left edge) takes the sample that stands over it."""
    begins, ends, values = held
    if not len(begins):
        return
    at = np.searchsorted(begins, edges, side="right") - 1
    known = (at >= 0) & (edges < ends[at])
    for index, array in enumerate(series):
        array[row, known] = values[at[known], index]
