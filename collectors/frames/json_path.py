"""Where a value stands in a JSON tree: `serviceData.flow`, `list[0].v`, `b[id=222].v`.

A name goes down into an object, `[n]` to a list's member (from 0), `[name=value]` to the first
member in which that name has that value. A name with other characters stands in quotes.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

MAX_STEPS: Final = 12

_STEP: Final = re.compile(
    r'(?:^|\.)(?P<name>[^.\[\]"=]+)'
    r'|(?:^|\.)"(?P<quoted>[^"]+)"'
    r"|\[(?P<index>[0-9]{1,4})\]"
    r'|\[(?P<key>[^.\[\]"=]+)=(?P<value>[^\[\]"]+)\]'
)


@dataclass(frozen=True, slots=True)
class _Step:
    name: str = ""
    index: int | None = None
    key: str = ""
    value: str = ""

    def take(self, tree: Any) -> Any:
        """One level down; None where there is nothing."""
        if self.name:
            return tree.get(self.name) if isinstance(tree, dict) else None
        if not isinstance(tree, list):
            return None
        if self.index is not None:
            return tree[self.index] if self.index < len(tree) else None
        return next((row for row in tree if self._is_meant(row)), None)

    def _is_meant(self, row: Any) -> bool:
        return isinstance(row, dict) and str(row.get(self.key)) == self.value


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A checked path; the empty one is the tree itself."""

    text: str
    steps: tuple[_Step, ...] = ()

    def find(self, tree: Any) -> Any:
        """What stands there, None where nothing does."""
        for step in self.steps:
            tree = step.take(tree)
        return tree


def parse(text: str) -> JsonPath:
    """The path a text means. Raises ValueError saying at which character it is none."""
    steps: list[_Step] = []
    at = 0
    while at < len(text):
        match = _STEP.match(text, at)
        if match is None or len(steps) == MAX_STEPS:
            raise ValueError(f"{text!r} is no path at character {at + 1}")
        index = match["index"]
        name = match["name"] or match["quoted"] or ""
        step = _Step(name, int(index) if index else None, match["key"] or "", match["value"] or "")
        steps.append(step)
        at = match.end()
    return JsonPath(text, tuple(steps))
