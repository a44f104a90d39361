"""The Modbus register maps that come with Nuan: `frames/maps/*.toml`, read once and checked."""

from __future__ import annotations

from collectors.frames.modbus_map import RegisterMap
from collectors.map_files import register_maps


def names() -> tuple[str, ...]:
    """What they are called."""
    return tuple(register_maps())


def shipped(name: str) -> RegisterMap:
    """The map of that name. Raises ValueError where there is none."""
    found = register_maps().get(name)
    if found is None:
        raise ValueError(f"no register map is called {name!r}; there are {', '.join(names())}")
    return found
