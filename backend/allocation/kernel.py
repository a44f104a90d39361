"""The hot loop: sum over samples of max(0, dT)^B x duration.

A city's season is 2.6e10 samples, so the loop stays inside the cache (blocks of 512 KB, every
step in place), takes the power as exp2(B log2 x), which numpy vectorises better than its own
power, and runs on two threads where there is enough to do (numpy lets go of the GIL).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from backend.allocation.inputs import Floats, Refused

BLOCK = 65_536
THREADS = 2
# Below this many samples starting a thread costs more than it saves.
THREAD_FROM = 200_000


@dataclass(frozen=True, slots=True)
class Integral:
    """Per household: the sum over its covered samples, and the seconds they cover."""

    sums: Floats
    covered_s: Floats


def integrate(
    excess: str,
    arrays: Sequence[Floats],
    reference: Floats | float,
    exponents: Floats | None,
    seconds: Floats,
) -> Integral:
    """sum max(0, excess)^B x seconds, and the covered seconds, for each row.

    `arrays` [households x samples] in C with NaN for missing; `reference` [samples] or a number;
    `exponents` [households] or None for 1; `seconds` [samples] or [households x samples].
    """
    rows, columns = arrays[0].shape
    spans = _common_span(seconds)
    result = Integral(np.zeros(rows), np.zeros(rows))
    width = min(columns, BLOCK) or 1
    height = max(1, BLOCK // width)

    def work(begin: int, end: int) -> None:
        buffer = np.empty(height * width)
        with np.errstate(divide="ignore"):  # log2(0) = -inf, and exp2(-inf) = 0
            for top in range(begin, end, height):
                for left in range(0, columns, width):
                    part = (slice(top, min(top + height, end)), slice(left, left + width))
                    _block(excess, arrays, reference, exponents, spans, part, buffer, result)

    _on_threads(work, rows, rows * columns)
    return result


def _on_threads(work: Callable[[int, int], None], rows: int, samples: int) -> None:
    if samples < THREAD_FROM or not 1 < THREADS <= rows:
        work(0, rows)
        return
    bounds = np.linspace(0, rows, THREADS + 1).astype(int)
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(work, bounds[:-1].tolist(), bounds[1:].tolist()))


def _block(
    excess: str,
    arrays: Sequence[Floats],
    reference: Floats | float,
    exponents: Floats | None,
    spans: Floats | float,
    part: tuple[slice, slice],
    buffer: Floats,
    result: Integral,
) -> None:
    """One block in place: difference, gaps, clip, power, weighted sum."""
    rows, columns = part
    pieces = [array[part] for array in arrays]
    out = buffer[: pieces[0].size].reshape(pieces[0].shape)
    here = reference if isinstance(reference, float) else reference[columns]
    span = _span_of(spans, part)
    _difference(excess, pieces, here, out)
    # A NaN spreads into the minimum, so one cheap pass shows an ordinary block to be one.
    if out.size and out.min() > 0:
        covered = _seconds_in(span, out.shape)
    else:
        covered = _clear_gaps(out, pieces, here, span)
    if exponents is not None:
        _power(out, exponents[rows, np.newaxis])
    result.sums[rows] += _weighted(out, span)
    result.covered_s[rows] += covered


def _difference(
    excess: str, pieces: Sequence[Floats], reference: Floats | float, out: Floats
) -> None:
    if excess == "radiator":  # (tg + th)/2 - tn
        np.add(pieces[0], pieces[1], out=out)
        out *= 0.5
        out -= pieces[2]
    elif excess == "drop":  # tg - th
        np.subtract(pieces[0], pieces[1], out=out)
    else:  # 'room': tn - reference
        np.subtract(pieces[0], reference, out=out)


def _clear_gaps(
    out: Floats, pieces: Sequence[Floats], reference: Floats | float, span: Floats | float
) -> Floats:
    """Covered seconds of each row; missing and negative differences become 0 (rule: weight 0)."""
    if any(np.isinf(piece).any() for piece in (*pieces, np.asarray(reference))):
        raise Refused("a temperature is infinite")
    missing = np.isnan(out)
    out[missing] = 0.0
    np.maximum(out, 0.0, out=out)
    return _weighted(np.where(missing, 0.0, 1.0), span)


def _common_span(seconds: Floats) -> Floats | float:
    """The one duration all samples have, where they have one: it is multiplied once, not each."""
    if seconds.ndim == 1 and seconds.size and (seconds == seconds[0]).all():
        return float(seconds[0])
    return seconds


def _span_of(spans: Floats | float, part: tuple[slice, slice]) -> Floats | float:
    if isinstance(spans, float):
        return spans
    return spans[part[1]] if spans.ndim == 1 else spans[part]


def _seconds_in(span: Floats | float, shape: tuple[int, ...]) -> Floats | float:
    """Seconds of the whole block, for each of its rows."""
    if isinstance(span, float):
        return span * shape[1]
    whole: Floats = span.sum(axis=-1)
    return whole


def _weighted(block: Floats, span: Floats | float) -> Floats:
    """sum of block x span along each row; `block` is spent.

    Not a matrix product: BLAS would start threads of its own, which wait on each other here.
    """
    if isinstance(span, float):
        uniform: Floats = block.sum(axis=1) * span
        return uniform
    np.multiply(block, span, out=block)
    total: Floats = block.sum(axis=1)
    return total


def _power(block: Floats, exponents: Floats) -> None:
    """block ** exponents in place, 0 staying 0; the base is never negative."""
    np.log2(block, out=block)
    block *= exponents
    np.exp2(block, out=block)


def excess_rates(
    excess: str,
    arrays: Sequence[Floats],
    reference: Floats | float,
    exponents: Floats | None,
) -> Floats:
    """max(0, excess)^B of every sample [households x samples], NaN where missing."""
    out = np.empty(arrays[0].shape)
    _difference(excess, arrays, reference, out)
    missing = np.isnan(out)
    np.maximum(np.where(missing, 0.0, out), 0.0, out=out)
    if exponents is not None:
        with np.errstate(divide="ignore"):
            _power(out, exponents[:, np.newaxis])
    out[missing] = np.nan
    return out
