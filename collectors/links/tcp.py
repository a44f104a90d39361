"""A serial server (or the simulator) reached over TCP."""

from __future__ import annotations

import asyncio

from collectors.links.link import BufferedLink


class TcpLink(BufferedLink):
    """Raw bytes over TCP to `host`:`port`, as serial servers offer them."""

    def __init__(self, host: str, port: int, *, connect_timeout_s: float = 5.0):
        super().__init__(f"tcp {host}:{port}", connect_timeout_s=connect_timeout_s)
        self.host, self.port = host, port

    async def _open(self) -> None:
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, self.host, self.port)
