"""What is wrong with a map in TOML, gathered, so that its author mends it all at once."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any


class MapError(ValueError):
    """A map that can not be used; the message has every flaw, one a line."""


class Flaws:
    """The flaws of one map; each reader notes what is wrong and gives something to go on with."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def add(self, where: str, what: str) -> None:
        self.lines.append(f"{where}: {what}")

    def settle(self) -> None:
        """Raise MapError where there are any."""
        if self.lines:
            raise MapError("\n".join(self.lines))

    def unknown(self, where: str, table: Mapping[str, Any], known: set[str]) -> None:
        for key in sorted(set(table) - known):
            self.add(where, f"unknown key {key!r}")

    def integer(
        self, where: str, table: Mapping[str, Any], key: str, span: tuple[int, int], default: int
    ) -> int:
        value = table.get(key, default)
        low, high = span
        if type(value) is int and low <= value <= high:
            return value
        self.add(where, f"{key} must be an integer from {low} to {high}, not {value!r}")
        return default

    def text(self, where: str, table: Mapping[str, Any], key: str, default: str | None) -> str:
        value = table.get(key, default)
        if isinstance(value, str) and value:
            return value
        if value != default or default is None:
            self.add(where, f"{key} must be a text" if key in table else f"{key} is missing")
        return default or ""

    def decimal(self, where: str, table: Mapping[str, Any], key: str, default: str) -> Fraction:
        value = table.get(key, default)
        try:
            # A TOML float would already have lost the digits the author wrote.
            if isinstance(value, str) and "/" not in value:
                return Fraction(value)
        except (ValueError, ZeroDivisionError):
            pass
        self.add(where, f'{key} must be a decimal in quotes such as "0.01", not {value!r}')
        return Fraction(1)
