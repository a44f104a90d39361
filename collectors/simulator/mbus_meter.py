"""Simulated M-Bus meters: link layer with frame counts, selection, telegrams, and a past."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import ClassVar, Final

from collectors.frames import mbus
from collectors.frames import mbus_encode as mb
from collectors.simulator.faults import FaultPlan
from collectors.simulator.meters import Answer, Source, earlier_month, month_start
from collectors.simulator.times import LOCAL

HEAT_MEDIUM, WATER_MEDIUM = 0x04, 0x07
UNKNOWN_CI: Final = 1  # application error of EN 13757-3 §10
_BAUDS: Final = {ci: baud for baud, ci in mb.BAUD_RATES.items()}
_PAST_A_TELEGRAM: Final = 8  # stored values one telegram has room for
_FIRST_DAY: Final = 32  # months have the storage numbers 1 to 31, days those from here on


@dataclass
class MbusMeter:
    """What all M-Bus meters do on the link: answer by primary address and when selected, obey the
    frame count bit, reset, take orders.

    `address` is the primary address in decimals, `id` the eight digits printed on the meter.
    """

    address: str
    source: Source
    id: str = "00000001"
    manufacturer: str = "NUA"
    version: int = 1
    medium: int = HEAT_MEDIUM
    faults: FaultPlan = field(default_factory=FaultPlan)
    has_fcb: bool = True  # False: always begins with its first telegram
    is_selected: bool = False
    baud: int = 2400
    application: int = 0
    clock_error: timedelta = timedelta(0)
    error: int | None = None  # says this application error instead of anything else
    resets: int = 0  # how often the link was
    _access_no: int = 0
    _fcb: bool | None = None  # of the last question
    _next: int = 0
    _last: bytes = b""
    protocol: ClassVar[str] = "mbus"

    @property
    def primary(self) -> int:
        return int(self.address)

    def answer(self, request: mbus.Message, now: datetime) -> Answer:
        if isinstance(request, mbus.Long) and request.ci == mb.CI_SELECT:
            return self._select(request.data)
        if not isinstance(request, (mbus.Short, mbus.Long, mbus.Variable)):
            return None
        if request.address == mb.BROADCAST:
            self._answer_as(self.primary, request, now)
            return None
        is_meant = request.address in (self.primary, mb.BROADCAST_REPLY) or (
            request.address == mb.SELECTED and self.is_selected
        )
        return self._answer_as(self.primary, request, now) if is_meant else None

    def stranger(self, request: mbus.Message, now: datetime) -> Answer:
        control = request.control if isinstance(request, mbus.Short) else 0
        if control & ~mb.FCB != mb.REQ_UD2:
            return mb.ACK
        return self._telegram(0, (self.primary + 1) % 251, f"{int(self.id) + 1:08d}", now)

    def _select(self, mask: bytes) -> Answer:
        """Compare with id (a digit F is any), manufacturer, version and medium (FF is any)."""
        digits = zip(mask[3::-1].hex().upper(), self.id, strict=False)
        own = mb.manufacturer_bytes(self.manufacturer) + bytes((self.version, self.medium))
        rest = zip(mask[4:], own, strict=False)
        self.is_selected = (
            len(mask) == 8
            and all(a in ("F", b) for a, b in digits)
            and all(a in (0xFF, b) for a, b in rest)
        )
        if not self.is_selected:
            return None
        self._fcb, self._next = None, 0
        return mb.ACK

    def _answer_as(
        self, address: int, request: mbus.Short | mbus.Long | mbus.Variable, now: datetime
    ) -> Answer:
        control = request.control
        if control == mb.SND_NKE:
            return self._reset(request.address)
        if isinstance(request, mbus.Short):
            is_asked = control & ~mb.FCB == mb.REQ_UD2
            return self._asked(address, bool(control & mb.FCB), now) if is_asked else None
        if control & ~mb.FCB == mb.SND_UD:
            return self._ordered(request, bool(control & mb.FCB), now)
        return None

    def _reset(self, address: int) -> bytes:
        self._fcb, self._next, self._last = None, 0, b""
        self.resets += 1
        if address == mb.SELECTED:
            self.is_selected = False
        return mb.ACK

    def _asked(self, address: int, fcb: bool, now: datetime) -> bytes:
        """The next telegram; the last once more where the frame count bit has not turned."""
        if self.has_fcb and fcb == self._fcb and self._last:
            return self._last
        self._access_no = (self._access_no + 1) & 0xFF
        if self.error is not None:
            self._last = mb.encode_application_error(address, self.error)
        else:
            number = self._next if self.has_fcb else 0
            self._last = self._telegram(number, address, self.id, now + self.clock_error)
            self._next = (number + 1) % self.telegrams
        self._fcb = fcb
        return self._last

    def _ordered(self, request: mbus.Long | mbus.Variable, fcb: bool, now: datetime) -> bytes:
        if self.has_fcb and fcb == self._fcb:
            return mb.ACK  # heard before
        self._fcb = fcb
        if isinstance(request, mbus.Variable):
            self._write(request.records, now)
        elif request.ci == mb.CI_RESET:
            self.application, self._next = request.data[0] if request.data else 0, 0
        elif request.ci in _BAUDS:
            self.baud = _BAUDS[request.ci]
        else:
            self.error = UNKNOWN_CI
        return mb.ACK

    def _write(self, records: list[mbus.Record], now: datetime) -> None:
        for record in records:
            if record.header.quantity == "Bus Address" and isinstance(record.raw, int):
                self.address = str(record.raw)
            elif isinstance(record.raw, datetime):
                self.clock_error = record.raw.replace(tzinfo=LOCAL) - now

    @property
    def telegrams(self) -> int:
        """How many there are."""
        return 1

    def _telegram(self, number: int, address: int, identity: str, now: datetime) -> bytes:
        raise NotImplementedError


_ENERGY = mb.vif("Energy", "Wh", 0)
_VOLUME = mb.vif("Volume", "m^3", -3)
_POWER = mb.vif("Power", "W", 0)
_FLOW = mb.vif("Volume flow", "m^3/h", -3)
_SUPPLY = mb.vif("Flow temperature", "°C", -2)
_RETURN = mb.vif("Return temperature", "°C", -2)


@dataclass
class MbusHeatMeter(MbusMeter):
    """A building's heat meter, variable data. The source is that of CjtHeatMeter; energy goes out
    in Wh (48 bits), so that what a building used is known to the Wh.

    months, days  how many past ones it keeps, as storage numbers 1 … and 32 …, each with its date
    dates_ends    dates its past by the day that ended, without a time, as many makers do
    past_in       the application the past belongs to; 0: sent after the current values
    """

    months: int = 0
    days: int = 0
    dates_ends: bool = False
    past_in: int = 0

    @property
    def _has_past(self) -> bool:
        return self.application == self.past_in

    @property
    def telegrams(self) -> int:
        past = self.months + self.days if self._has_past else 0
        return 1 + -(-past // _PAST_A_TELEGRAM)

    def _telegram(self, number: int, address: int, identity: str, now: datetime) -> bytes:
        records = self._past(number, now) if number else self._current(self.source(now), now)
        return mb.encode_variable_response(
            address, identity, self.manufacturer, self.version, self.medium, self._access_no, 0,
            records, more_follows=number + 1 < self.telegrams,
        )  # fmt: skip

    def _current(self, values: Mapping[str, int], now: datetime) -> list[bytes]:
        return [
            mb.record_int(_ENERGY, values["energy_wh"], length=6),
            mb.record_int(_VOLUME, values["volume_l"], length=6),
            mb.record_int(_POWER, values["power_w"]),
            mb.record_int(_FLOW, values["flow_lph"]),
            mb.record_int(_SUPPLY, values["supply_cdeg"], length=2),
            mb.record_int(_RETURN, values["return_cdeg"], length=2),
            mb.record_datetime(now.astimezone(LOCAL).replace(tzinfo=None)),
        ]

    def _past(self, number: int, now: datetime) -> list[bytes]:
        months = [(n + 1, earlier_month(month_start(now), n)) for n in range(self.months)]
        midnight = datetime.combine(now.astimezone(LOCAL).date(), time(), LOCAL)
        days = [(_FIRST_DAY + n, midnight - timedelta(days=n)) for n in range(self.days)]
        first = (number - 1) * _PAST_A_TELEGRAM
        records = []
        for storage, moment in (months + days)[first : first + _PAST_A_TELEGRAM]:
            records += self._stored(storage, moment)
        return records

    def _stored(self, storage: int, moment: datetime) -> list[bytes]:
        values, wall = self.source(moment), moment.replace(tzinfo=None)
        if self.dates_ends:
            stamp = mb.record_date(wall.date() - timedelta(days=1), storage=storage)
        else:
            stamp = mb.record_datetime(wall, storage=storage)
        return [
            stamp,
            mb.record_int(_ENERGY, values["energy_wh"], length=6, storage=storage),
            mb.record_int(_VOLUME, values["volume_l"], length=4, storage=storage),
        ]


@dataclass
class MbusFixedMeter(MbusMeter):
    """An old water or heat meter that answers in the fixed structure (CI 73): its register in
    litres or kWh, and what it was at the last due date. The source gives volume_l or energy_wh."""

    medium: int = WATER_MEDIUM
    is_binary: bool = False

    def _telegram(self, number: int, address: int, identity: str, now: datetime) -> bytes:
        # Codes of EN 1434-3: 29H counts litres, 05H kWh, 3EH "the same, but historic".
        unit, register, divide = (
            (0x29, "volume_l", 1) if self.medium == WATER_MEDIUM else (0x05, "energy_wh", 1_000)
        )
        counters = tuple(
            (code, self.source(moment)[register] // divide % 10**8)
            for code, moment in ((unit, now), (0x3E, month_start(now)))
        )
        return mb.encode_fixed_response(
            address, identity, self._access_no, int(self.is_binary), self.medium,
            (counters[0], counters[1]),
        )  # fmt: skip
