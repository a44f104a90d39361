"""A closed day in ten numbers instead of 432: S(B) = sum dT^B dtau at 8 Chebyshev nodes.

ln S is smooth in B, so the polynomial through its values at 8 nodes of [1, 1.6] gives S for any
exponent there to about 1e-10 on an ordinary day. A settlement, or a new identification of B, then
never touches the samples again. A day too ragged for that says so (`error`), and its samples,
which are kept anyway, serve instead.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from backend.allocation.inputs import WHOLE, Floats, Household, Id, Measured, Refused, Rules
from backend.allocation.series import (
    SeriesMethod,
    constant,
    coverage_of,
    is_missing,
    steady,
)
from backend.base.exact import exact
from backend.metering.rules import MISSING

LOW_B, HIGH_B, NODES = 1.0, 1.6, 8
_ANGLES = (2 * np.arange(NODES) + 1) * np.pi / (2 * NODES)
# First kind, ascending: the interpolation error is largest at the two ends of the interval.
NODE_B: Floats = (LOW_B + HIGH_B) / 2 - (HIGH_B - LOW_B) / 2 * np.cos(_ANGLES)
# Of barycentric interpolation at these nodes.
NODE_WEIGHTS: Floats = np.sin(_ANGLES) * (-1.0) ** np.arange(NODES)
# From here on a day's interpolation is no longer as good as its samples.
MAX_ERROR = 1e-9


@dataclass(frozen=True, slots=True)
class CondensedDay:
    """One flat's day. `nodes` [8] is S at NODE_B in K^B s; `room_k_s` is the integral of tn in C s.

    `covered_s` counts seconds with all three temperatures, `room_s` those with the room's.
    `error` is the relative error of the interpolation where it is worst (either end).
    """

    nodes: Floats
    covered_s: float
    room_k_s: float
    room_s: float
    error: float

    @property
    def is_smooth(self) -> bool:
        """Whether the nodes may stand for the samples."""
        return self.error <= MAX_ERROR


@dataclass(frozen=True, slots=True)
class CondensedDays:
    """One flat's season: `nodes` [days x 8] and `covered_s` [days].

    `ragged`: S of days too ragged for nodes, integrated from their samples; their nodes are 0.
    """

    nodes: Floats
    covered_s: Floats
    ragged: float = 0.0


def condense_day(
    tg_cdeg: NDArray[np.int16],
    th_cdeg: NDArray[np.int16],
    tn_cdeg: NDArray[np.int16],
    dt_s: float | Floats,
) -> CondensedDay:
    """A day's samples in hundredths of C (MISSING where missing) -> its condensed numbers.

    `dt_s`: seconds of each sample, one number or [samples]. Raises Refused where lengths differ.
    """
    if not tg_cdeg.shape == th_cdeg.shape == tn_cdeg.shape or tg_cdeg.ndim != 1:
        raise Refused("a day's three series must have the same number of samples")
    seconds = np.broadcast_to(np.asarray(dt_s, dtype=np.float64), tg_cdeg.shape)
    room = tn_cdeg != MISSING
    whole = room & (tg_cdeg != MISSING) & (th_cdeg != MISSING)
    # int32: the sum of two int16 overflows. 2 tp - 2 tn in whole hundredths is exact.
    twice = tg_cdeg.astype(np.int32) + th_cdeg - 2 * tn_cdeg.astype(np.int32)
    warm = whole & (twice > 0)
    excess, spans = twice[warm] / 200.0, seconds[warm]
    nodes = _sums(excess, spans, NODE_B)
    return CondensedDay(
        nodes=nodes,
        covered_s=float(seconds[whole].sum()),
        room_k_s=float((tn_cdeg[room] / 100.0) @ seconds[room]),
        room_s=float(seconds[room].sum()),
        error=_end_error(excess, spans, nodes),
    )


def _sums(excess: Floats, spans: Floats, exponents: Floats) -> Floats:
    logs = np.log(excess)
    total: Floats = np.exp(exponents[:, np.newaxis] * logs) @ spans
    return total


def _end_error(excess: Floats, spans: Floats, nodes: Floats) -> float:
    if not len(excess):
        return 0.0
    ends = np.array([LOW_B, HIGH_B])
    direct = _sums(excess, spans, ends)
    guessed = [weights_from_condensed(nodes[np.newaxis], end)[0] for end in ends]
    return float(np.max(np.abs(np.array(guessed) / direct - 1)))


def weights_from_condensed(nodes: Floats, exponent: float) -> Floats:
    """S(exponent) [days] from `nodes` [days x 8], by barycentric interpolation of ln S.

    A day with S = 0 stays 0. Raises Refused outside [1, 1.6]: extrapolating would invent heat.
    """
    if not LOW_B <= exponent <= HIGH_B:
        raise Refused(f"B = {exponent} is outside [{LOW_B}, {HIGH_B}]: allocate from the samples")
    if exponent in NODE_B:
        exactly: Floats = nodes[:, exponent == NODE_B][:, 0]
        return exactly
    warm = nodes[:, 0] > 0
    logs = np.log(np.where(warm[:, np.newaxis], nodes, 1.0))
    sums = np.exp(interpolated_logs(logs[np.newaxis], np.array([exponent]))[0])
    result: Floats = np.where(warm, sums, 0.0)
    return result


def season_sums(nodes: Floats, exponents: Floats) -> Floats:
    """S(exponent) over all days [flats] from `nodes` [flats x days x 8] at `exponents` [flats].

    The days' nodes are added up first: ln of their sum is as smooth in B as that of one day, so
    a season costs one interpolation a flat. Raises Refused outside [1, 1.6].
    """
    if np.any((exponents < LOW_B) | (exponents > HIGH_B)):
        raise Refused(f"an exponent is outside [{LOW_B}, {HIGH_B}]: allocate from the samples")
    whole = np.einsum("fdk->fk", nodes)  # four times as fast as sum(axis=1), which strides
    warm = whole[:, :1] > 0
    logs = np.log(np.where(warm, whole, 1.0))
    sums = np.exp(interpolated_logs(logs[:, np.newaxis], exponents))
    result: Floats = np.where(warm, sums, 0.0)[:, 0]
    return result


def interpolated_logs(logs: Floats, exponents: Floats) -> Floats:
    """ln S at `exponents` [flats] within [1, 1.6] from `logs` of S [flats x days x 8]."""
    distance = exponents[:, np.newaxis] - NODE_B
    on_node = distance == 0
    pull = NODE_WEIGHTS / np.where(on_node, 1.0, distance)
    pull /= pull.sum(axis=1, keepdims=True)
    pull = np.where(on_node.any(axis=1, keepdims=True), on_node, pull)
    interpolated: Floats = (logs @ pull[:, :, np.newaxis])[:, :, 0]
    return interpolated


def condensed_measures(
    days: Mapping[Id, CondensedDays],
    households: Sequence[Household],
    rules: Rules,
    seconds: float,
    method: SeriesMethod,
) -> list[Measured]:
    """The weights of a method on tp - tn over a season of `seconds` from condensed days.

    A household's days are those of its active time only; its constants as ever.
    """
    if rules.gap_rule == "building_profile":
        raise Refused("building_profile needs the samples: allocate from them")
    measured = [_coverage(h, days.get(h.id), rules, seconds) for h in households]
    known = [
        n
        for n, one in enumerate(measured)
        if one.weight is None and not is_missing(one.coverage, rules)
    ]
    if not known:
        return measured
    mine = [days[households[n].id] for n in known]
    exponents = np.array([constant(households[n], "B") for n in known])
    sums = season_sums(np.array([one.nodes.sum(axis=0) for one in mine])[:, np.newaxis], exponents)
    for n, one, total in zip(known, mine, sums.tolist(), strict=True):
        weight = steady(method.factor(households[n]) * (total + one.ragged))
        scale = measured[n].coverage if rules.gap_rule != "zero" else WHOLE
        measured[n] = replace(measured[n], weight=weight / scale)
    return measured


def _coverage(
    household: Household, days: CondensedDays | None, rules: Rules, seconds: float
) -> Measured:
    """Active time and coverage; a weight only where it is 0 for want of active time."""
    begin, end = max(household.active_from_s, 0.0), min(household.active_to_s, seconds)
    if household.suspended or end <= begin:
        return Measured(household, Fraction(0), Fraction(0))
    active = exact(end - begin)
    covered_s = 0.0 if days is None else float(days.covered_s.sum())
    return Measured(household, None, active, coverage_of(covered_s, active))
