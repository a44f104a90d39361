"""Millions of mutated frames through every codec; the contract must hold for each of them.

    make fuzz                                     ten million frames, two processes
    make fuzz FUZZ="--frames 100000 --seed 2"     others
    make fuzz FUZZ="--first 1200"                 go on at batch 1200 of the same seed

A batch is 5,000 frames which follow from the seed and the batch's number alone, so whatever is
found is found again. A frame that takes longer than SLOW_S, a batch that hangs, and any exception
but FrameError are findings: printed with codec and hexadecimal, and the end is 1. After --minutes
it stops and says where to go on. The codecs and what must hold are tests/frames/fuzzing.py.
"""

from __future__ import annotations

import argparse
import faulthandler
import multiprocessing
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.frames.fuzzing import CODECS, follow, mutated

BATCH = 5_000
SLOW_S = 1.0  # of this process's own time
HANG_S = 300
SAY_EVERY_S = 10.0
MOST_FINDINGS = 20


@dataclass
class Result:
    """What came of one batch."""

    batch: int
    messages: int = 0
    findings: list[str] = field(default_factory=list)


def run(job: tuple[int, int]) -> Result:
    """One batch of a seed."""
    seed, batch = job
    faulthandler.dump_traceback_later(HANG_S, exit=True)
    dice, result = random.Random(f"{seed}/{batch}"), Result(batch)
    weights = [codec.weight for codec in CODECS]
    for codec in dice.choices(CODECS, weights, k=BATCH):
        data = mutated(dice, codec)
        began = time.process_time()
        try:
            result.messages += len(follow(codec, data))
        except Exception as error:
            result.findings.append(f"{codec.name}: {error!r}: {data.hex()}")
        if (taken_s := time.process_time() - began) > SLOW_S:
            result.findings.append(f"{codec.name}: took {taken_s:.1f} s: {data.hex()}")
    faulthandler.cancel_dump_traceback_later()
    return result


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=10_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="batch to begin with")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=60.0, help="stop then, wherever it is")
    return parser.parse_args()


def main() -> int:
    """Run the batches; 1 where something was found, 3 where the time was over first."""
    wanted = arguments()
    last = wanted.first + -(-wanted.frames // BATCH)
    began, said = time.monotonic(), 0.0
    done = messages = findings = 0
    jobs = ((wanted.seed, batch) for batch in range(wanted.first, last))
    with multiprocessing.get_context("spawn").Pool(wanted.processes) as pool:
        for result in pool.imap(run, jobs):
            done, messages = done + BATCH, messages + result.messages
            findings += len(result.findings)
            for finding in result.findings:
                print(f"FOUND in batch {result.batch}: {finding}", flush=True)
            taken_s = time.monotonic() - began
            if taken_s - said > SAY_EVERY_S:
                said = taken_s
                print(f"{done:,} frames, {done / taken_s:,.0f}/s, {findings} findings", flush=True)
            is_late = taken_s > 60 * wanted.minutes
            if is_late or findings >= MOST_FINDINGS:
                print(f"stopped; go on with --seed {wanted.seed} --first {result.batch + 1}")
                pool.terminate()
                return 1 if findings else 3
    print(
        f"fuzz: {done:,} mutated frames of {len(CODECS)} codecs in {taken_s:.0f} s "
        f"({done / taken_s:,.0f}/s), {messages:,} messages, {findings} findings"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
