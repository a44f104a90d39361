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
    holds = [_holds(samples, length_s, max_hold_s) for samples in households]
    cuts = {0.0, float(length_s)}
    cuts.update(edge for rows in holds for begin, end, _ in rows for edge in (begin, end))
    edges = np.array(sorted(cuts))
    series = [np.full((len(households), len(edges) - 1), np.nan) for _ in range(count)]
    for row, pieces in enumerate(holds):
        for begin, end, values in pieces:
            part = slice(*np.searchsorted(edges, (begin, end)).tolist())
            for array, value in zip(series, values, strict=True):
                array[row, part] = value
    return Grid(np.diff(edges), series)


def _holds(
    samples: Sequence[Sample], length_s: float, max_hold_s: float
) -> list[tuple[float, float, Sequence[float | None]]]:
    """(begin, end, values) of each usable sample inside the window."""
    latest = dict(samples)
    usable = sorted((t, v) for t, v in latest.items() if all(x is not None for x in v))
    ends = [*(t for t, _ in usable), float("inf")][1:]
    held = [
        (max(t, 0.0), min(end, t + max_hold_s, length_s), values)
        for (t, values), end in zip(usable, ends, strict=True)
    ]
    return [piece for piece in held if piece[0] < piece[1]]
