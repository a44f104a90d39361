"""A serial port of this machine (RS-485, or an M-Bus level converter)."""

from __future__ import annotations

import asyncio
import termios
from contextlib import suppress
from typing import Final

import serial
import serial_asyncio_fast

from collectors.links.link import BufferedLink

CLOSE_S: Final = 2.0


class SerialLink(BufferedLink):
    """Bytes over a serial port: 2,400 baud, 8 data bits, even parity, one stop bit unless told
    otherwise (CJ/T 188 §5.2 and EN 13757-2 §4.4 agree on it).  The port is ours alone while open:
    two processes asking over one wire would hear each other's answers."""

    def __init__(
        self,
        device: str,
        *,
        baud: int = 2400,
        bits: int = 8,
        parity: str = "E",
        stop: float = 1,
        echo: str = "auto",
        connect_timeout_s: float = 5.0,
    ):
        super().__init__(f"serial {device}", echo=echo, connect_timeout_s=connect_timeout_s)
        self.device, self.baud, self.bits = device, baud, bits
        self.parity, self.stop = parity, stop
        self._let_go = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._let_go.clear()
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._let_go.set()

    async def close(self) -> None:
        """The port is closed in a thread: whoever opens it next must not find it still ours."""
        is_open = self._transport is not None
        await super().close()
        if is_open:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._let_go.wait(), CLOSE_S)

    async def _open(self) -> None:
        try:
            await serial_asyncio_fast.create_serial_connection(
                asyncio.get_running_loop(),
                lambda: self,
                self.device,
                baudrate=self.baud,
                bytesize=self.bits,
                parity=self.parity,
                stopbits=self.stop,
                exclusive=True,
            )
        except (ValueError, serial.SerialException, termios.error) as error:
            raise OSError(str(error)) from error  # settings the port does not have
