"""The hot loop: sum over samples of max(0, dT)^B x duration.

A city's season is 2.6e10 samples, so the loop stays inside the cache (blocks of 128 KB, every
step in place), takes the power as exp2(B log2 x), which numpy vectorises better than its own
power, and runs on two threads where there is enough to do (numpy lets go of the GIL).
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from backend.allocation.inputs import Floats, Refused

BLOCK = 16_384
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
    result = Integral(np.zeros(rows), np.zeros(rows))
    width = min(columns, BLOCK) or 1
    height = max(1, BLOCK // width)

    def work(begin: int, end: int) -> None:
        buffer = np.empty(height * width)
        for top in range(begin, end, height):
            for left in range(0, columns, width):
                part = (slice(top, min(top + height, end)), slice(left, left + width))
                _block(excess, arrays, reference, exponents, seconds, part, buffer, result)

    _on_threads(work, rows, rows * columns)
    return result


def _on_threads(work: Callable[[int, int], None], rows: int, samples: int) -> None:
    if samples < THREAD_FROM or rows < THREADS:
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
    seconds: Floats,
    part: tuple[slice, slice],
    buffer: Floats,
    result: Integral,
) -> None:
    """One block in place: difference, gaps, clip, power, weighted sum."""
    rows, columns = part
    pieces = [array[part] for array in arrays]
    out = buffer[: pieces[0].size].reshape(pieces[0].shape)
    here = reference if isinstance(reference, float) else reference[columns]
    span = seconds[columns] if seconds.ndim == 1 else seconds[part]
    _difference(excess, pieces, here, out)
    covered = _clear_gaps(out, pieces, here, span)
    np.maximum(out, 0.0, out=out)
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
    out: Floats, pieces: Sequence[Floats], reference: Floats | float, span: Floats
) -> Floats | float:
    """Covered seconds of each row; missing differences become 0.

    One sum tells whether anything is missing at all: a NaN or an infinity spreads into it.
    """
    if np.isfinite(out.sum()):
        return float(span.sum()) if span.ndim == 1 else span.sum(axis=1)
    if any(np.isinf(piece).any() for piece in (*pieces, np.asarray(reference))):
        raise Refused("a temperature is infinite")
    missing = np.isnan(out)
    out[missing] = 0.0
    return _weighted(np.where(missing, 0.0, 1.0), span)


def _weighted(block: Floats, span: Floats) -> Floats:
    total: Floats = block @ span if span.ndim == 1 else np.einsum("ij,ij->i", block, span)
    return total


def _power(block: Floats, exponents: Floats) -> None:
    """block ** exponents in place, 0 staying 0; the base is never negative."""
    with np.errstate(divide="ignore"):  # log2(0) = -inf, and exp2(-inf) = 0
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
        _power(out, exponents[:, np.newaxis])
    out[missing] = np.nan
    return out
