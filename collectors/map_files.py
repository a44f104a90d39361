"""Maps kept as TOML files: those that come with Nuan, and a directory of the company's own."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Final, TypeVar

from collectors.frames import field_map, modbus_map
from collectors.frames.field_map import FieldMap
from collectors.frames.map_flaws import MapError
from collectors.frames.modbus_map import RegisterMap

_FRAMES: Final = resources.files("collectors.frames")
MAX_FILES, MAX_BYTES = 500, 256 * 1024

Map = TypeVar("Map")


def read_all(folder: Traversable | Path, parse: Callable[[str], Map]) -> dict[str, Map]:
    """The maps of a folder by their files' names.

    Raises MapError naming every file that is none, with what is wrong with it.
    """
    files = [f for f in folder.iterdir() if f.name.endswith(".toml")]
    if len(files) > MAX_FILES:
        raise MapError(f"{folder}: {len(files)} maps exceed {MAX_FILES}")
    found: dict[str, Map] = {}
    flaws: list[str] = []
    for file in sorted(files, key=lambda f: f.name):
        try:
            found[file.name.removesuffix(".toml")] = parse(_text(file))
        except (MapError, UnicodeDecodeError, OSError) as error:
            flaws += [f"{file.name}: {line}" for line in str(error).splitlines()]
    if flaws:
        raise MapError("\n".join(flaws))
    return found


def _text(file: Traversable | Path) -> str:
    with file.open("rb") as opened:
        data: bytes = opened.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise MapError(f"more than {MAX_BYTES} bytes")
    return data.decode("utf-8")


@lru_cache(maxsize=1)
def register_maps() -> dict[str, RegisterMap]:
    """The Modbus register maps that come with Nuan."""
    return read_all(_FRAMES / "maps", modbus_map.parse)


@lru_cache(maxsize=1)
def shipped_fields() -> dict[str, FieldMap]:
    """The field maps that come with Nuan."""
    return read_all(_FRAMES / "fields", field_map.parse)


def field_maps(directory: str = "") -> dict[str, FieldMap]:
    """The shipped field maps, and over them those of a directory. Raises MapError."""
    if not directory:
        return shipped_fields()
    path = Path(directory)
    if not path.is_dir():
        raise MapError(f"{directory} is no directory")
    return {**shipped_fields(), **read_all(path, field_map.parse)}
