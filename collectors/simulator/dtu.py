"""Simulated DTUs: they dial the listener and carry a simulated bus's meters, faults to order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from collectors.simulator.bus import SimulatedBus
from collectors.simulator.dialler import Call, Dialler
from collectors.simulator.faults import Act, DtuFault, FaultPlan, Occasion


class SimulatedDtu(Dialler):
    """A modem with `bus` (which need not listen itself) on its serial port.

    registration    what it says first; the device id unless told otherwise
    is_prefixed     it says so before every answer too
    heartbeat_s     between heartbeats
    faults          what befalls its answers, in turn; None is no fault
    """

    def __init__(
        self,
        bus: SimulatedBus,
        device_id: str,
        port: int,
        *,
        host: str = "127.0.0.1",
        registration: bytes | None = None,
        is_prefixed: bool = False,
        heartbeat: bytes = b"ping",
        heartbeat_s: float = 60.0,
        redial_s: float = 0.1,
        faults: Sequence[DtuFault | None] = (),
        faults_for_ever: bool = False,
    ):
        super().__init__(host, port, heartbeat_s=heartbeat_s, redial_s=redial_s)
        self.bus, self.device_id = bus, device_id
        self.registration = registration or device_id.encode()
        self.heartbeat = heartbeat
        self.prefix = self.registration if is_prefixed else b""
        self.faults = FaultPlan(faults, for_ever=faults_for_ever)

    def _call(self) -> _Modem:
        return _Modem(self)

    def introduction(self) -> bytes:
        """The registration; a stranger's once after a STRANGER fault."""
        if not self.is_stranger:
            return self.registration
        self.is_stranger = False
        return b"0000" + self.registration[::-1]


class _Modem(Call):
    """One connection of a DTU: bytes for the bus come in, answers go out through `_Wire`."""

    def __init__(self, dtu: SimulatedDtu):
        super().__init__(dtu)
        self._dtu = dtu
        self._door = dtu.bus.door()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._door.connection_made(_Wire(self))
        self.say(self._dtu.introduction())

    def connection_lost(self, exc: Exception | None) -> None:
        self._door.connection_lost(exc)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._door.data_received(data)

    def heartbeat(self) -> bytes:
        return self._dtu.heartbeat

    def answer(self, data: bytes) -> None:
        """Pass a meter's answer on, in the way the next fault says."""
        dtu = self._dtu
        self.reply(Occasion(data, prefix=dtu.prefix, beat=dtu.heartbeat), dtu.faults.next())

    def _do(self, piece: bytes | Act) -> None:
        if piece is Act.REDIAL:
            self._door.connection_lost(None)
        super()._do(piece)


class _Wire(asyncio.Transport):
    """What the bus takes for its socket."""

    def __init__(self, modem: _Modem):
        super().__init__()
        self._modem = modem

    def write(self, data: Any) -> None:
        self._modem.answer(bytes(data))

    def abort(self) -> None:
        self._modem.hang_up()
