"""The Modbus register maps that come with Nuan: `frames/maps/*.toml`, read once and checked."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from typing import Final

from collectors.frames.modbus_map import RegisterMap, parse

_FILES: Final = resources.files("collectors.frames") / "maps"


@lru_cache(maxsize=1)
def names() -> tuple[str, ...]:
    """What they are called."""
    files = (item.name for item in _FILES.iterdir())
    return tuple(sorted(name.removesuffix(".toml") for name in files if name.endswith(".toml")))


@lru_cache(maxsize=64)
def shipped(name: str) -> RegisterMap:
    """The map of that name. Raises ValueError where there is none."""
    if name not in names():
        raise ValueError(f"no register map is called {name!r}; there are {', '.join(names())}")
    return parse((_FILES / f"{name}.toml").read_text("utf-8"))
