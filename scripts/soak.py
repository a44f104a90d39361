"""Run the money machine and the killings for as long as they are given; a round can be repeated.

Every round is one pytest run with a seed of its own, SEED + the round's number, so that whatever a
round finds can be found again.  How far a seed has come is kept in var/soak.json: the same command
goes on from there.  Ends early, with the round's output, where a round fails.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STATE = ROOT / "var" / "soak.json"
MACHINE = "tests/cashier/test_money_machine.py"
KILLS = "tests/faults/test_money_kills.py"
ROUND_CASES, ROUND_KILLS = 100, 50
COUNT = re.compile(r"^(\d+) (?P<what>steps|kills)\b", re.MULTILINE)


def main() -> None:
    """Rounds until so many steps and kills have been made or the time is over."""
    wanted = _arguments()
    done = _resume(wanted.seed)
    until = time.monotonic() + wanted.minutes * 60
    print(f"soak: seed {done['seed']}, from round {done['round']}: {_told(done)}", flush=True)
    while time.monotonic() < until:
        script, what = _next(done, wanted)
        if not script:
            break
        done[what] += _round(script, done["seed"] + done["round"])
        done["round"] += 1
        STATE.write_text(json.dumps(done))
        print(f"soak: round {done['round']}: {_told(done)}", flush=True)
    print(f"soak: seed {done['seed']}: {_told(done)}, nothing lost, nothing doubled")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=1_000)
    parser.add_argument("--minutes", type=float, default=600, help="no round begins after this")
    parser.add_argument("--seed", type=int, help="begin anew with this seed")
    return parser.parse_args()


def _resume(seed: int | None) -> dict[str, Any]:
    """Where an earlier run of the same seed (or the last one) stopped."""
    STATE.parent.mkdir(exist_ok=True)
    kept = json.loads(STATE.read_text()) if STATE.exists() else {}
    if kept and seed in (None, kept["seed"]):
        return dict(kept)
    begin = secrets.randbelow(10**9) if seed is None else seed
    return {"seed": begin, "round": 0, "steps": 0, "kills": 0}


def _next(done: dict[str, Any], wanted: argparse.Namespace) -> tuple[str, str]:
    """Which of the two is further behind; ("", "") where both are through."""
    goals = {"steps": wanted.steps, "kills": wanted.kills}
    left = {name: 1 - done[name] / goal for name, goal in goals.items() if goal}
    what = max(left, key=lambda name: left[name], default="")
    if not what or left[what] <= 0:
        return "", ""
    return (MACHINE if what == "steps" else KILLS), what


def _round(script: str, seed: int) -> int:
    """One run; how many steps or kills it made.  Ends the soak where it fails."""
    env = {"NUAN_SOAK_CASES": str(ROUND_CASES), "NUAN_SOAK_KILLS": str(ROUND_KILLS)}
    words = ["-m", "pytest", "-q", "-s", "-x", f"--hypothesis-seed={seed}", script]
    env |= {"NUAN_SOAK_SEED": str(seed)}
    # A root of its own: pytest clears away what other runs of a day have left in the common one.
    with tempfile.TemporaryDirectory(prefix="nuan-soak-") as root:
        ran = subprocess.run(
            [sys.executable, *words],
            cwd=ROOT,
            env=os.environ | env | {"PYTEST_DEBUG_TEMPROOT": root},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    found = COUNT.search(ran.stdout)
    if ran.returncode or found is None:
        print(ran.stdout)
        again = " ".join(f"{name}={value}" for name, value in env.items())
        sys.exit(f"soak: failed; again: {again} .venv/bin/python {' '.join(words)}")
    return int(found[1])


def _told(done: dict[str, Any]) -> str:
    return f"{done['steps']:,} steps, {done['kills']:,} kills"


if __name__ == "__main__":
    main()
