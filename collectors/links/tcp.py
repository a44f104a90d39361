"""A serial server (or the simulator) reached over TCP."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from collectors.links.link import BufferedLink

# A serial server that lost its power says nothing at all: asked after a minute's silence, and
# given up after three unanswered questions ten seconds apart.
_KEEPALIVE: Final = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))


def keep_alive(wire: socket.socket) -> None:
    """Let the kernel notice that the other end has gone without a word."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEPALIVE:
        if hasattr(socket, name):  # Linux; others keep their own times
            wire.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


class TcpLink(BufferedLink):
    """Raw bytes over TCP to `host`:`port`, as serial servers offer them."""

    def __init__(self, host: str, port: int, *, echo: str = "auto", connect_timeout_s: float = 5.0):
        super().__init__(f"tcp {host}:{port}", echo=echo, connect_timeout_s=connect_timeout_s)
        self.host, self.port = host, port

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_connection(lambda: self, self.host, self.port)
        keep_alive(transport.get_extra_info("socket"))
