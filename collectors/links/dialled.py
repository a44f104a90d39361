"""A link whose socket comes to us: whoever it belongs to dials in, and may dial again."""

from __future__ import annotations

import asyncio
from typing import Protocol

from collectors.links.link import BufferedLink


class Home(Protocol):
    """What a link wants of its listener: its place among the known devices, and it back again."""

    def claim(self, link: DialledLink) -> None: ...

    def forget(self, link: DialledLink) -> None: ...


class DialledLink(BufferedLink):
    """Bytes to and from the device of that id, over whichever socket it dials in with.

    A `connect` waits up to connect_timeout_s for it to dial in.
    """

    def __init__(
        self,
        home: Home,
        device_id: str,
        name: str,
        *,
        echo: str = "auto",
        connect_timeout_s: float = 5.0,
    ):
        # The wait below ends first, and says better what is missing.
        super().__init__(name, echo=echo, connect_timeout_s=connect_timeout_s + 1)
        self._dial_timeout_s = connect_timeout_s
        self.device_id = device_id
        self._home = home
        self._dialled: asyncio.Future[None] | None = None

    # The listener's side ------------------------------------------------------------------

    def attach(self, transport: asyncio.Transport, raw: bytes) -> None:
        """Speak through this socket from now on, `raw` being what it said who it is with; one
        that was there before is hung up."""
        before = self._transport
        if before is not None:
            self.connection_lost(None)
            before.abort()
        self._buffer.clear()
        self._failures, self._retry_at = 0, 0.0
        self.connection_made(transport)
        if self._dialled is None:
            self.counters.connects += 1  # else `connect` counts it
        elif not self._dialled.done():
            self._dialled.set_result(None)

    @property
    def is_missed(self) -> bool:
        """Whether somebody has waited for the device in vain since it was last there."""
        return self._failures > 0

    def is_over(self, transport: asyncio.Transport | None) -> bool:
        """Whether this socket is the one in use, and not one that was replaced."""
        return transport is not None and transport is self._transport

    def detach(self, transport: asyncio.Transport) -> None:
        """A socket is gone; of interest only where it is the one in use."""
        if self.is_over(transport):
            self.connection_lost(None)

    def heard(self, packet: bytes) -> None:
        """Take a packet of the device's."""
        raise NotImplementedError

    # The session's side -------------------------------------------------------------------

    async def _open(self) -> None:
        """Wait until the device dials in. Raises TimeoutError where it does not."""
        self._home.claim(self)
        self._dialled = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((self._dialled,), timeout=self._dial_timeout_s)
            if not self._dialled.done():
                raise TimeoutError("it has not dialled in")
        finally:
            self._dialled = None

    async def close(self) -> None:
        """Hang up and give the id back; the device is a stranger until the next `connect`."""
        self._home.forget(self)
        await super().close()
