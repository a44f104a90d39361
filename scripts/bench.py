"""Run every measurement in tests/bench, one after another, and print one table.

A measurement is a script that prints, among whatever else it likes, lines of JSON with the keys
`work`, `yardstick`, `ratio` and `target` ("≥ 0.5").  Ratios are taken inside one run, so they
mean the same on every machine.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
COLUMNS = ("work", "yardstick", "ratio", "target")


def results_in(output: str) -> list[dict[str, Any]]:
    """The JSON lines of one measurement's output."""
    rows = []
    for line in output.splitlines():
        if line.startswith('{"') and '"ratio"' in line:
            rows.append(json.loads(line))
    return rows


def reached(ratio: float, target: str) -> bool:
    """Whether a ratio is on the right side of a target such as "≥ 0.5" or "≤ 3"."""
    sign, bound = target.split()
    return ratio >= float(bound) if sign == "≥" else ratio <= float(bound)


def measure(script: Path) -> list[dict[str, Any]]:
    """Run one script; its rows.  Ends the run where it fails."""
    print(f"==> {script.stem}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, script], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    if done.returncode:
        sys.exit(f"bench: {script.name} failed")
    return results_in(done.stdout)


def main() -> None:
    """Print the table; exit 1 where a target is missed."""
    scripts = sorted((ROOT / "tests" / "bench").glob("*.py"))
    rows = [row for script in scripts for row in measure(script)]
    print("| " + " | ".join(COLUMNS) + " | reached |\n" + "| --- " * 5 + "|")
    for row in rows:
        row["reached"] = "yes" if reached(row["ratio"], row["target"]) else "NO"
        ratio = f"{row['ratio']:.2f}"
        print(
            f"| {row['work']} | {row['yardstick']} | {ratio} | {row['target']} | {row['reached']} |"
        )
    if any(row["reached"] == "NO" for row in rows):
        sys.exit("bench: a target was missed")


if __name__ == "__main__":
    main()
