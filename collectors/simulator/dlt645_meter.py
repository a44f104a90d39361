"""A simulated electricity meter on DL/T 645, either edition: tariffs, freezes, clock, relay."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta
from types import ModuleType
from typing import Final

from collectors.frames import dlt645, dlt645_1997
from collectors.frames.dlt645_di import DI_DATE, DI_STATUS_WORD_3, DI_TIME
from collectors.frames.dlt645_frame import BROADCAST, addressed_to
from collectors.frames.dlt645_message import Credentials, Message
from collectors.frames.dlt645_value import Raw
from collectors.frames.dlt645_words import (
    RELAY_ALLOW_CLOSE,
    RELAY_BIT,
    RELAY_CLOSE,
    RELAY_OPEN,
    RELAY_ORDER_BIT,
)
from collectors.simulator.faults import FaultPlan
from collectors.simulator.meters import Answer, Source, earlier_month, month_start
from collectors.simulator.times import LOCAL

OTHER_ERROR: Final = 0x01
NO_SUCH_DATA: Final = 0x02
WRONG_PASSWORD: Final = 0x04
# What each tariff (sharp, peak, flat, valley) has of the total, in hundredths.
_SHARES: Final = (10, 40, 30, 20)
_TIME_REACH: Final = timedelta(minutes=5)  # how far a broadcast may move the clock
_ILLEGAL_1997: Final = 0x02


@dataclass
class Dlt645Meter:
    """A flat's electricity meter.

    address       12 digits
    source        gives energy_wh
    is_1997       speaks the older edition: no daily freezes, two months back, no relay
    days, months  how many freezes it keeps
    skipped       midnights without power, on which nothing was frozen
    part          most bytes of items in a frame; longer answers go on in follow-up frames
    clock_error   what its clock is ahead of the bus's
    """

    address: str
    source: Source
    is_1997: bool = False
    credentials: Credentials = field(default_factory=lambda: Credentials("02", "123456"))
    days: int = 62
    months: int = 12
    skipped: frozenset[datetime] = frozenset()
    part: int = 192
    clock_error: timedelta = timedelta(0)
    faults: FaultPlan = field(default_factory=FaultPlan)
    is_relay_closed: bool = True
    relay_orders: int = 0  # how often the relay has been told to move
    frozen_now: list[datetime] = field(default_factory=list)
    _rest: list[bytes] = field(default_factory=list)

    @property
    def protocol(self) -> str:
        return "dlt645_1997" if self.is_1997 else "dlt645_2007"

    @property
    def codec(self) -> ModuleType:
        return dlt645_1997 if self.is_1997 else dlt645

    def answer(self, request: Message, now: datetime) -> Answer:
        if request.is_answer or not addressed_to(request.address, self.address):
            return None
        answer = self._answer_as(self.address, request, now)
        return None if request.address == BROADCAST else answer

    def stranger(self, request: Message, now: datetime) -> Answer:
        other = f"{(int(self.address) + 1) % 10**12:012d}"
        return self._answer_as(other, request, now)

    def _answer_as(self, address: str, request: Message, now: datetime) -> Answer:
        act = self._acts().get(request.function)
        outcome: bytes | int | None = OTHER_ERROR if act is None else act(request, address, now)
        if isinstance(outcome, int):
            refusal: bytes = self.codec.encode_refusal(request, outcome, address=address)
            return refusal
        return outcome

    def _acts(self) -> dict[int, Callable[[Message, str, datetime], bytes | int | None]]:
        """Function -> what is done: an answer, an error word, or nothing said."""
        acts: dict[int, Callable[[Message, str, datetime], bytes | int | None]] = {
            self.codec.READ: self._read,
            self.codec.READ_NEXT: self._read_next,
            self.codec.BROADCAST_TIME: self._set_clock,
            self.codec.WRITE: self._write,
            self.codec.WRITE_ADDRESS: self._write_address,
        }
        if not self.is_1997:
            acts |= {
                dlt645.READ_ADDRESS: self._acknowledge,
                dlt645.RELAY: self._move_relay,
                dlt645.FREEZE: self._freeze,
            }
        return acts

    def _acknowledge(self, request: Message, address: str, now: datetime) -> bytes:
        answer: bytes = self.codec.encode_answer(request, address=address)
        return answer

    # --- reading ------------------------------------------------------------------------------

    def _read(self, request: Message, address: str, now: datetime) -> bytes | int:
        shown_at = now + self.clock_error + self.faults.clock_shift
        items = self._items(request.di or 0, shown_at)
        if items is None or request.di is None:
            return _ILLEGAL_1997 if self.is_1997 else NO_SUCH_DATA
        payload: bytes = self.codec.EDITION.items(request.di, items)
        parts = [payload[at : at + self.part] for at in range(0, len(payload), self.part)]
        self._rest = parts[1:]
        return self._part(request, parts[0], address, more=bool(self._rest))

    def _read_next(self, request: Message, address: str, now: datetime) -> bytes | int:
        if not self._rest:
            return _ILLEGAL_1997 if self.is_1997 else NO_SUCH_DATA
        part = self._rest.pop(0)
        return self._part(request, part, address, more=bool(self._rest))

    def _part(self, request: Message, data: bytes, address: str, *, more: bool) -> bytes:
        part: bytes = self.codec.encode_part(request, data, address=address, more=more)
        return part

    def _items(self, di: int, now: datetime) -> Sequence[Raw] | None:
        wall = now.astimezone(LOCAL).replace(tzinfo=None, microsecond=0)
        if self.is_1997:
            return self._items_1997(di, wall, now)
        if di == DI_DATE:
            return (wall.date(),)
        if di == DI_TIME:
            return (wall.time(),)
        if di == DI_STATUS_WORD_3:
            return (0 if self.is_relay_closed else RELAY_BIT | RELAY_ORDER_BIT,)
        if di >> 16 in (0x0000, 0x0001):
            return self._energies(di >> 8 & 0xFF, 0xFF, di & 0xFF, now)
        if di >> 16 == 0x0506:
            return self._frozen(di >> 8 & 0xFF, di & 0xFF, now)
        return None

    def _items_1997(self, di: int, wall: datetime, now: datetime) -> Sequence[Raw] | None:
        if di == 0xC010:
            return (wall.date(),)
        if di == 0xC011:
            return (wall.time(),)
        if di & 0xF3F0 != 0x9010 or di >> 10 & 3 > min(self.months, 2):
            return None
        return self._energies(di & 0xF, 0xF, di >> 10 & 3, now)

    def _energies(self, tariff: int, block: int, back: int, now: datetime) -> list[Raw] | None:
        """The total and its tariffs, in hundredths of a kWh, now or settlement months back."""
        if back > self.months or (tariff > len(_SHARES) and tariff != block):
            return None
        moment = earlier_month(month_start(now), back - 1) if back else now
        registers = self._registers(moment)
        return registers if tariff == block else [registers[tariff]]

    def _registers(self, moment: datetime) -> list[Raw]:
        total = self.source(moment)["energy_wh"] // 10 % 10**8
        tariffs = [total * share // 100 for share in _SHARES]
        return [total, *tariffs]

    def _frozen(self, item: int, back: int, now: datetime) -> Sequence[Raw] | None:
        midnight = self._midnight(back, now) if 1 <= back <= self.days else None
        if midnight is None:
            return None
        if item == 0x00:
            return (midnight.astimezone(LOCAL).replace(tzinfo=None),)
        return self._registers(midnight) if item == 0x01 else None

    def _midnight(self, back: int, now: datetime) -> datetime | None:
        """The moment of the freeze that many before now."""
        midnight = datetime.combine(now.astimezone(LOCAL).date(), time(), LOCAL)
        for _ in range(self.days * 2):
            back -= midnight not in self.skipped
            if not back:
                return midnight
            midnight -= timedelta(days=1)
        return None

    # --- orders -------------------------------------------------------------------------------

    def _move_relay(self, request: Message, address: str, now: datetime) -> bytes | int:
        order = request.relay
        if request.credentials != self.credentials:
            return WRONG_PASSWORD
        wall = (now + self.clock_error).astimezone(LOCAL).replace(tzinfo=None)
        if order is None or order.expiry is None or order.expiry < wall:
            return OTHER_ERROR
        if order.n1 not in (RELAY_OPEN, RELAY_ALLOW_CLOSE, RELAY_CLOSE):
            return OTHER_ERROR
        self.relay_orders += 1
        self.is_relay_closed = order.n1 != RELAY_OPEN
        return self._acknowledge(request, address, now)

    def _freeze(self, request: Message, address: str, now: datetime) -> bytes:
        self.frozen_now.append(now)
        return self._acknowledge(request, address, now)

    def _set_clock(self, request: Message, address: str, now: datetime) -> None:
        """Nobody answers a broadcast; a step of more than five minutes is not taken."""
        if request.when is None:
            return
        step = request.when.replace(tzinfo=LOCAL) - (now + self.clock_error)
        if abs(step) <= _TIME_REACH:
            self.clock_error += step

    def _write(self, request: Message, address: str, now: datetime) -> bytes | int:
        """Date and time can be written, with the password, by any number of hours."""
        if request.credentials is None or not self._is_trusted(request.credentials):
            return WRONG_PASSWORD
        wall = (now + self.clock_error).astimezone(LOCAL).replace(tzinfo=None)
        part = request.reading.values[0].raw if request.reading else None
        if isinstance(part, time):
            new = datetime.combine(wall.date(), part)
        elif isinstance(part, date):
            new = datetime.combine(part, wall.time())
        else:
            return OTHER_ERROR
        self.clock_error += new - wall
        return self._acknowledge(request, address, now)

    def _is_trusted(self, who: Credentials) -> bool:
        """The older edition has no operator, and its level is the password's first byte."""
        own = self.credentials
        return (who.level, who.password) == (own.level, own.password)

    def _write_address(self, request: Message, address: str, now: datetime) -> bytes | int:
        if request.named is None:
            return OTHER_ERROR
        self.address = request.named
        return self._acknowledge(request, self.address, now)
