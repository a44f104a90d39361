"""Run every measurement in tests/bench, one after another, and print one table.

A measurement is a script that prints lines like

    mbus: 52,000 frames/s, pyMeterBus 3,100 frames/s, ratio 16.8 (goal 10)

and exits 1 where a goal is missed.  Ratios are taken inside one run, so they mean the same on
every machine.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LINE = re.compile(
    r"^(?P<work>[^:]+): (?P<seen>.*?),? ratio (?P<ratio>[\d.]+) \(goal (?P<goal>[^)]+)\)"
)


def measure(script: Path) -> tuple[list[str], bool]:
    """Run one script: its lines as table rows, and whether it reached its goals."""
    print(f"==> {script.stem}", file=sys.stderr, flush=True)
    done = subprocess.run([sys.executable, script], cwd=ROOT, text=True, stdout=subprocess.PIPE)
    reached = done.returncode == 0
    found = [match for line in done.stdout.splitlines() if (match := LINE.match(line))]
    if not found:
        sys.exit(f"bench: {script.name} printed no figures")
    return [row(match, reached) for match in found], reached


def row(match: re.Match[str], reached: bool) -> str:
    """One line of the table."""
    cells = (*match.groups(), "yes" if reached else "NO")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the table; exit 1 where a goal is missed."""
    scripts = sorted((ROOT / "tests" / "bench").glob("bench_*.py"))
    results = [measure(script) for script in scripts]
    print("| work | seen | ratio | goal | reached |\n| --- | --- | --- | --- | --- |")
    print("\n".join(line for rows, _ in results for line in rows))
    if not all(reached for _, reached in results):
        sys.exit("bench: a goal was missed")


if __name__ == "__main__":
    main()
