"""A serial port of this machine (RS-485, or an M-Bus level converter)."""

from __future__ import annotations

import asyncio

import serial_asyncio_fast

from collectors.links.link import BufferedLink


class SerialLink(BufferedLink):
    """Bytes over a serial port: 2,400 baud, 8 data bits, even parity, one stop bit unless told
    otherwise (CJ/T 188 §5.2 and EN 13757-2 §4.4 agree on it)."""

    def __init__(
        self, device: str, *, baud: int = 2400, parity: str = "E", connect_timeout_s: float = 5.0
    ):
        super().__init__(f"serial {device}", connect_timeout_s=connect_timeout_s)
        self.device, self.baud, self.parity = device, baud, parity

    async def _open(self) -> None:
        await serial_asyncio_fast.create_serial_connection(
            asyncio.get_running_loop(),
            lambda: self,
            self.device,
            baudrate=self.baud,
            parity=self.parity,
        )
