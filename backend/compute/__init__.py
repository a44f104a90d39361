"""`nuan compute`: the pure rules on JSON lines, for checking them against anybody's arithmetic."""

import sys
from typing import Any

import click

from backend.compute.jsonl import answer


@click.command()
@click.option("--jsonl", is_flag=True, required=True, help="JSON lines in, JSON lines out.")
def compute(jsonl: bool) -> None:
    """Compute allocations, usage and charges from standard input.

    Each line is {"id", "kind", "input"}; for each, in the same order, one line is written:
    {"id", "result"}, or {"id", "error"} where the input must be refused. A bad line never stops
    the stream.
    """
    out: Any = sys.stdout
    for line in sys.stdin.buffer:
        if line.strip():
            out.write(answer(line) + "\n")
            out.flush()
