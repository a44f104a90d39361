"""The one interface of all links, and the asyncio machinery which TCP and serial share."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from collectors.links.echo import EchoStripper

# More than any frame of ours; a line that babbles beyond it is cut from the front.
BUFFER_LIMIT = 64 * 1024
FIRST_RETRY_S = 0.5
LAST_RETRY_S = 60.0


class LinkDown(ConnectionError):
    """The wire can not be used now; the message says which and why, in one line."""


@dataclass
class Counters:
    """What a link has lived through since it was made."""

    connects: int = 0
    connect_failures: int = 0
    disconnects: int = 0
    bytes_out: int = 0
    bytes_in: int = 0
    echoes: int = 0


class Link(Protocol):
    """Bytes to and from one bus."""

    counters: Counters

    async def connect(self) -> None:
        """Open where it is not open. Raises LinkDown, at once while it backs off."""

    async def write(self, data: bytes) -> None:
        """Send; an echo of these bytes will be stripped. Raises LinkDown."""

    async def read(self, timeout_s: float) -> bytes:
        """What has come, as soon as anything has; b"" after timeout_s. Raises LinkDown."""

    def discard(self) -> int:
        """Forget what came unasked; the number of bytes."""

    async def close(self) -> None:
        """Let go of the wire. The link may be connected again."""


class BufferedLink(asyncio.Protocol):
    """A link over an asyncio transport. Subclasses say how to open one (`_open`).

    After a failed connect the next one is refused at once for 0.5 s, then 1 s, 2 s … 60 s, so a
    dead serial server costs its own meters a quick failure and nobody else anything.
    """

    def __init__(self, name: str, *, echo: str = "auto", connect_timeout_s: float = 5.0):
        self.name = name
        self.counters = Counters()
        self._connect_timeout_s = connect_timeout_s
        self._transport: asyncio.WriteTransport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[None] | None = None
        self._echo = EchoStripper(echo)
        self._failures = 0
        self._retry_at = 0.0

    # The wire's side ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.WriteTransport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.counters.bytes_in += len(data)
        before = self._echo.stripped
        self._buffer += self._echo.feed(data)
        self.counters.echoes += self._echo.stripped - before
        del self._buffer[:-BUFFER_LIMIT]
        if self._buffer:
            self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is not None:
            self.counters.disconnects += 1
        self._transport = None
        self._buffer += self._echo.release()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # The session's side -------------------------------------------------------------------

    async def _open(self) -> None:
        raise NotImplementedError

    @property
    def is_connected(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def connect(self) -> None:
        if self.is_connected:
            return
        now = asyncio.get_running_loop().time()
        if now < self._retry_at:
            raise LinkDown(f"{self.name} failed; next try in {self._retry_at - now:.1f} s")
        self._buffer.clear()
        try:
            await asyncio.wait_for(self._open(), self._connect_timeout_s)
        except (OSError, TimeoutError) as error:
            self._failed()
            reason = str(error) or type(error).__name__
            raise LinkDown(f"{self.name} can not be opened: {reason}") from error
        self.counters.connects += 1
        self._failures, self._retry_at = 0, 0.0

    def _failed(self) -> None:
        self.counters.connect_failures += 1
        delay = min(LAST_RETRY_S, FIRST_RETRY_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._retry_at = asyncio.get_running_loop().time() + delay

    async def write(self, data: bytes) -> None:
        if self._transport is None or self._transport.is_closing():
            raise LinkDown(f"{self.name} is closed")
        self._echo.expect(data)
        self.counters.bytes_out += len(data)
        self._transport.write(data)

    async def read(self, timeout_s: float) -> bytes:
        if not self._buffer:
            if self._transport is None:
                raise LinkDown(f"{self.name} was closed by the other side")
            await self._wait(timeout_s)
        chunk = bytes(self._buffer)
        self._buffer.clear()
        if not chunk and self._transport is None:
            raise LinkDown(f"{self.name} was closed by the other side")
        return chunk

    async def _wait(self, timeout_s: float) -> None:
        """Until bytes come, the wire is gone, or timeout_s has passed (then what looked like
        an echo and broke off is handed over too)."""
        loop = asyncio.get_running_loop()
        self._waiter = loop.create_future()
        timer = loop.call_later(timeout_s, self._wake)
        try:
            await self._waiter
        finally:
            timer.cancel()
            self._waiter = None
        if not self._buffer:
            self._buffer += self._echo.release()

    def discard(self) -> int:
        size = len(self._buffer)
        self._buffer.clear()
        return size

    async def close(self) -> None:
        transport, self._transport = self._transport, None
        if transport is not None:
            transport.abort()  # unsent bytes are of no use; the loss is reported in this turn
            await asyncio.sleep(0)
