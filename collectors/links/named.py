"""The link a bus's address names, with its options checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from collectors.links.echo import ECHOES
from collectors.links.serial import SerialLink
from collectors.links.tcp import TcpLink

# What an address may say after "?", and which values it may have there.
_BAUDS: Final = (300, 600, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200)
_ECHO: Final = {"echo": ECHOES}
_SERIAL: Final[Mapping[str, tuple[str, ...]]] = {
    "baud": tuple(map(str, _BAUDS)),
    "bits": ("7", "8"),
    "parity": ("N", "E", "O", "M", "S"),
    "stop": ("1", "1.5", "2"),
    **_ECHO,
}


def link_of(address: str) -> TcpLink | SerialLink:
    """The link an address names.

    tcp://host:port             a serial server; ?echo=auto|0|1 (see `EchoStripper`)
    serial:///dev/ttyS0         2400 8E1; ?baud=2400&bits=8&parity=E&stop=1&echo=auto
    Raises ValueError for anything else, naming the option at fault.
    """
    parts = urlsplit(address)
    if parts.scheme == "tcp" and parts.hostname and parts.port:
        options = _options(parts, _ECHO)
        return TcpLink(parts.hostname, parts.port, echo=options.get("echo", "auto"))
    if parts.scheme == "serial" and parts.path:
        options = _options(parts, _SERIAL)
        return SerialLink(
            parts.path,
            baud=int(options.get("baud", "2400")),
            bits=int(options.get("bits", "8")),
            parity=options.get("parity", "E"),
            stop=float(options.get("stop", "1")),
            echo=options.get("echo", "auto"),
        )
    raise ValueError(f"no link is called {address!r}: tcp://host:port or serial:///dev/name")


def _options(parts: SplitResult, known: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"{parts.scheme}:// has no option {name!r}: {', '.join(known)}")
        if value not in known[name]:
            raise ValueError(f"{name}={value} is none of {', '.join(known[name])}")
    return options
