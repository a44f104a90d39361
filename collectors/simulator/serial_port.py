"""A door to a simulated bus that looks like a serial port of this machine: a pseudo-terminal.

    async with SerialPort(bus) as port:
        link = link_of(port.address)          # serial:///dev/pts/7?baud=2400&parity=N

A terminal takes 8N1 only and its bytes come at once; the bus's wire gives them the 11 bits of 8E1.
"""

from __future__ import annotations

import asyncio
import os
import tty
from typing import Any, Final

from collectors.simulator.bus import SimulatedBus

CHUNK: Final = 4096
STANDARD_BAUD: Final = 2400


class SerialPort:
    """One pseudo-terminal with a simulated bus behind it; not on Windows."""

    def __init__(self, bus: SimulatedBus):
        self.bus = bus
        self._door = bus.door()
        self._here = self._there = -1

    @property
    def path(self) -> str:
        """What a master opens, such as /dev/pts/7."""
        return os.ttyname(self._there)

    @property
    def address(self) -> str:
        """The bus's address as an archive names it."""
        return f"serial://{self.path}?baud={self.bus.baud or STANDARD_BAUD}&parity=N"

    async def start(self) -> None:
        """Open the terminal. Raises OSError where there are no more of them."""
        self._here, self._there = os.openpty()
        # Held open here too, so that masters may come and go.
        tty.setraw(self._there)
        os.set_blocking(self._here, False)
        asyncio.get_running_loop().add_reader(self._here, self._readable)
        self._door.connection_made(_Terminal(self))

    async def stop(self) -> None:
        """Pull the port out: its master reads an end of file."""
        if self._here < 0:
            return
        asyncio.get_running_loop().remove_reader(self._here)
        self._door.connection_lost(None)
        os.close(self._here)
        os.close(self._there)
        self._here = self._there = -1

    async def __aenter__(self) -> SerialPort:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _readable(self) -> None:
        try:
            data = os.read(self._here, CHUNK)
        except OSError:  # nothing after all, or the master has just gone
            return
        if data:
            self._door.data_received(data)

    def write(self, data: bytes) -> None:
        """Bytes for the master; what a full terminal does not take is lost, as on a wire nobody
        listens to."""
        if self._here >= 0:
            try:
                os.write(self._here, data)
            except BlockingIOError:
                return


class _Terminal(asyncio.Transport):
    """What the bus takes for a socket."""

    def __init__(self, port: SerialPort):
        super().__init__()
        self._port = port

    def write(self, data: Any) -> None:
        self._port.write(bytes(data))

    def abort(self) -> None:
        """A serial port does not hang up."""
