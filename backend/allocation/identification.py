"""B and gamma of every flat from a calibration window (辨识): pure numpy, no session, no clock.

Heat balance of a flat: what its radiators gave a square metre is what the building gave plus what
the flat, being warmer than the mean, lost more: y = Q0/F + kappa (tn - mean tn).  Each flat's
gamma mean(dt^B) is fitted to its y in relative terms; B is held by a prior which weighs as much
as the noise the fit itself shows, so that data without noise decide alone.  Conduction between
flats is absorbed in gamma: the result is comfort-calibrated, and a bill's explanation says so.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from backend.allocation.fitting import PRIOR_SD, Fit, Flags, Powers, SomeDays, fit_all
from backend.allocation.inputs import Floats, Id, Refused
from backend.allocation.mean_room import LEAST_AREA, MOST_OFF_K, balanced, guessed, known_area

MIN_DAYS, MAX_DAYS = 14, 90
LEAST_DAYS = MIN_DAYS // 2
# How often the days with a silent room are put into balance with the fit, and the fit made again.
BALANCINGS = 3
LEAST_EXCESS_K = 2.0
# sd of ln(tp - tn): with less the load has not varied, and gamma and B cannot be told apart.
LEAST_SPREAD = 0.15
# A B no better known than this has been learnt from the prior, not from the data.
MOST_B_ERROR = PRIOR_SD / 2
MOST_RESIDUAL = 0.25
REFERENCE_K = 25.0
GOLDEN = (5.0**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class CalibrationWindow:
    """What one building showed over the window, day by day.

    `areas_m2` [flats], `q0_w` [days] mean heat in W, `room_c` [flats x days] mean room
    temperatures; NaN is missing.  `outdoor_c` [days] where known.  With `block_days` above 1 each
    "day" is the mean of that many, which lets stored heat cancel.
    """

    ids: Sequence[Id]
    areas_m2: Floats
    q0_w: Floats
    room_c: Floats
    powers: Powers
    outdoor_c: Floats | None = None
    block_days: int = 1


@dataclass(frozen=True, slots=True)
class FlatFit:
    """One flat's result and what it is worth.

    `gamma` is in W/m2/K^B, scaled so that the flats add up to the building meter; `gamma25` is
    its output at 25 K.  `b_error` is the standard error of B, `residual` the relative rms,
    `spread` the sd of ln(tp - tn), `days` those that could be used.
    """

    exponent: float
    gamma: float
    gamma25: float
    b_error: float
    residual: float
    spread: float
    days: int


WHY = {
    "few_days": "only {value:g} days can be used, at least {limit:g}",
    "load_constant": "the load varied too little: sd of ln(tp - tn) {value:.3f}, at least {limit}",
    "b_at_bound": "B runs against its bound at {value:g}",
    "b_uncertain": "B is only known to {value:.2f}, at most {limit}",
    "unexplained": "the model leaves {value:.0%} unexplained, at most {limit:.0%}",
    "no_room": "no room temperature in the whole window",
    "no_whole_day": "no day has the building's heat and three quarters of the room temperatures",
}


@dataclass(frozen=True, slots=True)
class Why:
    """Why a flat, or the building, cannot be identified: a code of WHY and its numbers."""

    code: str
    value: float = 0.0
    limit: float = 0.0

    def __str__(self) -> str:
        return WHY[self.code].format(value=self.value, limit=self.limit)


@dataclass(frozen=True, slots=True)
class Identification:
    """Every flat's fit, and the flats (or the building, key None) that cannot be had and why."""

    kappa_w_per_m2k: float
    fits: dict[Id, FlatFit]
    refused: dict[Id | None, Why]


def identify(window: CalibrationWindow, kappa_w_per_m2k: float | None = None) -> Identification:
    """B and gamma of every flat; `kappa_w_per_m2k` is found from the window where not given.

    A day counts where the building's heat and the room temperatures of three quarters of its area
    are known; a flat's day where its own temperatures are and tp - tn is 2 K or more.  Raises
    Refused for arrays that do not fit, a window shorter than 14 or longer than 90 days, areas not
    above 0.
    """
    _check(window, kappa_w_per_m2k)
    told = known_area(window.areas_m2, window.room_c) >= LEAST_AREA
    whole = np.isfinite(window.q0_w) & (window.q0_w > 0) & told
    if not whole.any():
        return Identification(float("nan"), {}, _nothing_whole(window))
    window = _only(window, whole)
    mean_c = guessed(window.areas_m2, window.room_c)
    kappa = _kappa(window, mean_c) if kappa_w_per_m2k is None else kappa_w_per_m2k
    target = _target(window, kappa, mean_c)
    usable = _usable(window, target)
    spreads, counts = _spreads(window, usable), usable.sum(axis=1)
    refused = _refusals(window, spreads, counts)
    fit = _fit(window, kappa, target, usable)
    scale = _to_the_meter(window, fit, usable)
    fits = {
        key: _flat(fit, index, scale, int(counts[index]), float(spreads[index]))
        for index, key in enumerate(window.ids)
        if key not in refused
    }
    refused |= {key: why for key, one in fits.items() if (why := _unfit(one, window.powers))}
    good = {key: one for key, one in fits.items() if key not in refused}
    return Identification(kappa, good, refused)


def _fit(window: CalibrationWindow, kappa: float, target: Floats, usable: Flags) -> Fit:
    """Days with a silent room begin with the guessed mean and are put into balance by the fit.

    Where enough days lack nobody, they make the first fit alone: without noise it is exact.
    """
    gaps = known_area(window.areas_m2, window.room_c) < 1
    if not gaps.any():
        return fit_all(window.powers, target, usable)
    complete = usable & ~gaps
    enough = complete.sum(axis=1) >= LEAST_DAYS
    fit = fit_all(window.powers, target, np.where(enough.all(), complete, usable))
    most = kappa * MOST_OFF_K * (1 - known_area(window.areas_m2, window.room_c))
    for _ in range(BALANCINGS):
        lacks = balanced(window.areas_m2, window.room_c, window.powers, target, usable, fit)
        fit = fit_all(window.powers, target + np.clip(lacks, -most, most), usable)
    return fit


def _check(window: CalibrationWindow, kappa: float | None) -> None:
    flats, days = len(window.ids), len(window.q0_w)
    if flats == 0 or len(set(window.ids)) < flats or window.room_c.shape != (flats, days):
        raise Refused("a window needs flats with ids of their own and one row of days for each")
    length = days * window.block_days
    if not MIN_DAYS - window.block_days < length <= MAX_DAYS:
        raise Refused(f"a window has {MIN_DAYS} to {MAX_DAYS} days, not {length}")
    if not (np.isfinite(window.areas_m2) & (window.areas_m2 > 0)).all():
        raise Refused("every area must be above 0")
    if kappa is not None and not 0 <= kappa < float("inf"):
        raise Refused("kappa must not be negative")


def _nothing_whole(window: CalibrationWindow) -> dict[Id | None, Why]:
    """No day can be used: name the flats whose sensor never spoke, else the building."""
    return _silent(window) or {None: Why("no_whole_day")}


def _silent(window: CalibrationWindow) -> dict[Id | None, Why]:
    heard = np.isfinite(window.room_c).any(axis=1)
    mute = np.flatnonzero(~heard).tolist()
    return {window.ids[index]: Why("no_room") for index in mute}


def _only(window: CalibrationWindow, kept: Flags) -> CalibrationWindow:
    outdoor = None if window.outdoor_c is None else window.outdoor_c[kept]
    return CalibrationWindow(
        window.ids,
        window.areas_m2,
        window.q0_w[kept],
        window.room_c[:, kept],
        SomeDays(window.powers, kept),
        outdoor,
        window.block_days,
    )


def _target(window: CalibrationWindow, kappa: float, mean_c: Floats) -> Floats:
    """y [flats x days] in W/m2; NaN where the room is not known."""
    target: Floats = window.q0_w / window.areas_m2.sum() + kappa * (window.room_c - mean_c)
    return target


def _typical_excess(window: CalibrationWindow) -> Floats:
    """tp - tn of a day, as its mean at B = 1."""
    return window.powers.means(np.ones(len(window.ids)))


def _usable(window: CalibrationWindow, target: Floats) -> Flags:
    excess = _typical_excess(window)
    with np.errstate(invalid="ignore"):
        usable: Flags = (excess >= LEAST_EXCESS_K) & (target > 0)
    return usable


def _spreads(window: CalibrationWindow, usable: Flags) -> Floats:
    logs = np.log(np.where(usable, _typical_excess(window), 1.0))
    counts = np.maximum(usable.sum(axis=1), 1)
    means = (logs * usable).sum(axis=1) / counts
    spreads: Floats = np.sqrt((((logs - means[:, np.newaxis]) * usable) ** 2).sum(axis=1) / counts)
    return spreads


def _refusals(
    window: CalibrationWindow, spreads: Floats, counts: NDArray[np.int_]
) -> dict[Id | None, Why]:
    refused: dict[Id | None, Why] = _silent(window)
    for index, key in enumerate(window.ids):
        if key in refused:
            continue
        if counts[index] < LEAST_DAYS:
            refused[key] = Why("few_days", float(counts[index]), LEAST_DAYS)
        elif spreads[index] < LEAST_SPREAD:
            refused[key] = Why("load_constant", float(spreads[index]), LEAST_SPREAD)
    return refused


def _kappa(window: CalibrationWindow, mean_c: Floats) -> float:
    """Slope of Q0/F on (mean tn - outdoor); without outdoor the kappa of least residual."""
    load = window.q0_w / window.areas_m2.sum()
    if window.outdoor_c is not None:
        known = np.isfinite(window.outdoor_c)
        lift = mean_c[known] - window.outdoor_c[known]
        if known.sum() >= LEAST_DAYS and lift @ lift > 0:
            return max(float(load[known] @ lift / (lift @ lift)), 0.0)
    return _kappa_of_least_residual(window, float(load.mean()), mean_c)


def _kappa_of_least_residual(
    window: CalibrationWindow, load_w_per_m2: float, mean_c: Floats
) -> float:
    """Golden section over what a building can lose: its whole load over 5 to 200 K."""

    def residual(kappa: float) -> float:
        target = _target(window, kappa, mean_c)
        usable = _usable(window, target)
        return float(fit_all(window.powers, target, usable).cost.sum()) / max(int(usable.sum()), 1)

    low, high = load_w_per_m2 / 200, load_w_per_m2 / 5
    for _ in range(40):
        left, right = high - GOLDEN * (high - low), low + GOLDEN * (high - low)
        low, high = (low, right) if residual(left) < residual(right) else (left, high)
    return (low + high) / 2


def _flat(fit: Fit, index: int, scale: float, count: int, spread: float) -> FlatFit:
    exponent, gamma = float(fit.exponents[index]), float(fit.gammas[index]) * scale
    return FlatFit(
        exponent,
        gamma,
        gamma * REFERENCE_K**exponent,
        float(fit.b_errors[index]),
        float(np.sqrt(fit.cost[index] / count)),
        spread,
        count,
    )


def _to_the_meter(window: CalibrationWindow, fit: Fit, usable: Flags) -> float:
    """gamma's one free factor: over the days all flats are known they add up to the meter."""
    known = usable.all(axis=0)
    if not known.any():
        return 1.0
    outputs = (window.areas_m2 * fit.gammas) @ window.powers.means(fit.exponents)[:, known]
    return float(window.q0_w[known].sum() / outputs.sum())


def _unfit(fit: FlatFit, powers: Powers) -> Why | None:
    """Why a fit must not be used, or None."""
    if not powers.low < fit.exponent < powers.high:
        return Why("b_at_bound", fit.exponent)
    if not fit.b_error <= MOST_B_ERROR:
        return Why("b_uncertain", fit.b_error, MOST_B_ERROR)
    if fit.residual > MOST_RESIDUAL:
        return Why("unexplained", fit.residual, MOST_RESIDUAL)
    return None
