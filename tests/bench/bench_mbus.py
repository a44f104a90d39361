"""M-Bus decoding against pyMeterBus in one run: the public frames, every record's value read.

Both decoders get the same bytes and must give the same numbers wherever both give one; digits
that are no numbers are refused here and are not counted as a disagreement.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import meterbus

from collectors.frames.mbus import decode

FRAMES = Path(__file__).parents[1] / "frames" / "data" / "mbus.jsonl"
ROUNDS = 7
GOAL = 10.0
Values = list[object]


def ours(frame: bytes) -> Values:
    message, _ = decode(frame)
    return [record.value for record in message.records]


def theirs(frame: bytes) -> Values:
    return [record.value for record in meterbus.load(frame).records]


def tried(decoder: Callable[[bytes], Values], frame: bytes) -> Values | None:
    """Values, or None where that decoder gives up; pyMeterBus raises many kinds of error."""
    try:
        return decoder(frame)
    except Exception:
        return None


def disagreements(frames: list[bytes]) -> list[str]:
    """Records where both decoders give a number and the numbers differ."""
    found = []
    for frame in frames:
        mine, other = tried(ours, frame), tried(theirs, frame)
        for n, (a, b) in enumerate(zip(mine or [], other or [], strict=False)):
            if not isinstance(a, (int, float)) or isinstance(b, str) or b is None:
                continue
            if abs(a - float(b)) > 1e-6 * max(1.0, abs(a)):
                found.append(f"{frame[:12].hex()} record {n}: {a} and {b}")
    return found


def frames_per_second(decoder: Callable[[bytes], Values], frames: list[bytes]) -> float:
    started = time.perf_counter()
    for frame in frames:
        decoder(frame)
    return len(frames) / (time.perf_counter() - started)


def main() -> int:
    """Print one line with the figures and the ratio; 1 where the goal is missed."""
    rows = [json.loads(line) for line in FRAMES.read_text("utf-8").splitlines()]
    frames = [bytes.fromhex(row["hex"]) for row in rows]
    wrong = disagreements(frames)
    read = [sum(tried(d, frame) is not None for frame in frames) for d in (ours, theirs)]
    common = [frame for frame in frames if tried(theirs, frame) is not None]
    # Turn by turn, so that a busy moment of the machine hits both.
    speeds = [
        (frames_per_second(ours, common), frames_per_second(theirs, common)) for _ in range(ROUNDS)
    ]
    mine, other = max(s[0] for s in speeds), max(s[1] for s in speeds)
    print(
        f"mbus: {mine:,.0f} frames/s, pyMeterBus {other:,.0f} frames/s, ratio {mine / other:.1f} "
        f"(goal {GOAL:.0f}); decoded {read[0]}/{len(frames)}, pyMeterBus {read[1]}/{len(frames)}; "
        f"disagreements {len(wrong)}"
    )
    for line in wrong:
        print(line, file=sys.stderr)
    return int(bool(wrong) or mine / other < GOAL or read[0] < len(frames))


if __name__ == "__main__":
    raise SystemExit(main())
