"""One M-Bus data record: header bytes, data bytes, and what they say (EN 13757-3 §6.3, §6.4).

A header (DIF, DIFEs, VIF, VIFEs) means the same wherever it stands, so each distinct one is read
once and kept; a record is then a look-up, a slice and one conversion. Values stay exact: the raw
number with a factor and a power of ten, turned into Wh, litres, hundredths of a degree or watts
in integers, rounded half up.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

from collectors.frames.errors import FrameError
from collectors.frames.mbus_data import (
    LENGTHS,
    VARIABLE_LENGTH,
    Raw,
    lvar_length,
    nothing,
    reader,
)
from collectors.frames.mbus_vif import FB, FD, MAIN, Vif
from collectors.frames.mbus_vife import Qualifier, apply, qualifiers

Value = int | float | str | None

FUNCTIONS = (
    "Instantaneous value",
    "Maximum value",
    "Minimum value",
    "Value during error state",
)
INSTANTANEOUS, MAXIMUM, MINIMUM, ERROR_STATE = range(4)
MAKER_BLOCK, MORE_FOLLOWS = 4, 5
FUNCTION_NAMES = (*FUNCTIONS, "Manufacturer specific", "More records follow")

MAX_EXTENSIONS = 10  # §6.3.3 and §6.4.1: at most ten DIFEs, at most ten VIFEs
_CACHE_LIMIT = 8192  # headers come off a wire; noise must not fill the memory


@dataclass(frozen=True, slots=True)
class Header:
    """What DIB and VIB say. The value in `unit` is raw * factor * 10**exponent (+ offset).

    storage, tariff, subunit are 0 where nothing is said; length is in bytes, -1 for LVAR.
    `trusted` is False where the meter itself or an unknown extension spoils the number.
    """

    dib: bytes
    vib: bytes
    function: int
    storage: int
    tariff: int
    subunit: int
    vif: Vif
    qualifiers: tuple[Qualifier, ...]
    length: int
    read: Callable[[bytes], Raw]
    multiply: int
    divide: int
    offset: float
    trusted: bool

    @property
    def quantity(self) -> str:
        return self.vif.quantity

    @property
    def unit(self) -> str:
        return self.vif.unit


class Record(NamedTuple):
    """One value as the meter sent it. `raw` is None where the data is missing or not believable."""

    header: Header
    data: bytes
    raw: Raw

    @property
    def value(self) -> Value:
        """The number in `header.unit`, a text, an ISO date or time, or None; for people and JSON.

        Floats may round in the last place: count with the as_ methods instead.
        """
        raw, header = self.raw, self.header
        if isinstance(raw, (int, float)):
            if header.divide != 1:
                return raw * header.multiply / header.divide + header.offset
            return raw * header.multiply + header.offset if header.offset else raw * header.multiply
        if raw is None or isinstance(raw, str):
            return raw
        return raw.isoformat()

    @property
    def problem(self) -> str | None:
        """Why there is no value, as a stable code; None for a good record or one without data."""
        header = self.header
        errors = [q for q in header.qualifiers if q.effect == "error"]
        if errors:
            return f"meter_error_{errors[0].amount:02x}"
        if self.raw is not None or not header.length:
            return None
        field = header.dib[0] & 0x0F
        if field == 0x05:
            return "not_a_number"
        if field in (0x09, 0x0A, 0x0B, 0x0C, 0x0E):
            return "not_bcd"
        if field == 0x0D:
            return "bad_variable_data"
        return "bad_date" if header.vif.kind == "time" else "fill_value"

    def _in(self, units: dict[str, Fraction]) -> int | None:
        """Raw times scale times the unit's weight as an integer, half up; None if not meant."""
        header, raw = self.header, self.raw
        weight = units.get(header.vif.unit)
        if weight is None or not header.trusted or not isinstance(raw, (int, float)):
            return None
        exact = Fraction(raw) * header.multiply / header.divide * weight
        return math.floor(exact + Fraction(1, 2))

    def as_wh(self) -> int | None:
        """Energy in whole Wh (joules divided by 3600), None where this is no trusted energy."""
        return self._in(_WH)

    def as_litres(self) -> int | None:
        """Volume in whole litres, None where this is no trusted volume in metric units."""
        return self._in(_LITRES)

    def as_cdeg(self) -> int | None:
        """Temperature (°C) or difference (K) in hundredths of a degree, else None."""
        return self._in(_CDEG)

    def as_watts(self) -> int | None:
        """Power in whole W (J/h divided by 3600), None where this is no trusted power."""
        return self._in(_WATTS)

    def as_litres_per_hour(self) -> int | None:
        """Volume flow in whole l/h, None where this is no trusted flow in metric units."""
        return self._in(_LITRES_PER_HOUR)


_WH = {"Wh": Fraction(1), "J": Fraction(1, 3600)}
_LITRES = {"m^3": Fraction(1000)}
_CDEG = {"°C": Fraction(100), "K": Fraction(100)}
_WATTS = {"W": Fraction(1), "J/h": Fraction(1, 3600)}
_LITRES_PER_HOUR = {
    "m^3/h": Fraction(1000),
    "m^3/min": Fraction(60_000),
    "m^3/s": Fraction(3_600_000),
}


# --- headers ---------------------------------------------------------------------------------


def _extension_end(body: bytes, i: int, end: int, what: str) -> int:
    """Index after a chain whose bytes carry a "more" bit, starting with the byte at i."""
    first = i
    while i < end and body[i] & 0x80:
        i += 1
        if i - first > MAX_EXTENSIONS:
            raise FrameError(f"more than ten {what} extensions", at=i)
    if i >= end:
        raise FrameError(f"record ends inside its {what}", at=end)
    return i + 1


def _vib_end(body: bytes, i: int, end: int) -> int:
    """Index after the VIB at i; a plain-text VIF (7C, FC) carries its text before the VIFEs."""
    if i >= end:
        raise FrameError("record ends before its VIF", at=end)
    if body[i] & 0x7F != 0x7C:
        return _extension_end(body, i, end, "VIF")
    after = i + 2 + (body[i + 1] if i + 1 < end else 0)
    if i + 1 >= end or after > end:
        raise FrameError("text VIF is longer than the frame", at=i + 1)
    return _extension_end(body, after, end, "VIF") if body[i] & 0x80 else after


def _storage(dib: bytes) -> tuple[int, int, int]:
    """Storage, tariff and subunit, low bits first in DIF and DIFEs (§6.3.3)."""
    storage, tariff, subunit = dib[0] >> 6 & 1, 0, 0
    for n, dife in enumerate(dib[1:]):
        storage |= (dife & 0x0F) << (1 + 4 * n)
        tariff |= (dife >> 4 & 3) << 2 * n
        subunit |= (dife >> 6 & 1) << n
    return storage, tariff, subunit


def _meaning(vib: bytes) -> tuple[Vif, tuple[Qualifier, ...]]:
    """True VIF and its qualifiers (§6.4.2 to §6.4.6)."""
    first = vib[0]
    if first & 0x7F == 0x7C:
        end = 2 + vib[1]
        text = vib[2:end][::-1].decode("latin-1")
        base, rest = Vif(text, text, "-"), vib[end:]
    elif first in (0xFD, 0xFB):
        base, rest = (FD if first == 0xFD else FB)[vib[1] & 0x7F], vib[2:]
    elif first & 0x7F == 0x7F:
        return MAIN[0x7F], ()
    else:
        base, rest = MAIN[first & 0x7F], vib[1:]
    found = qualifiers(rest)
    return apply(base, found), found


def make_header(dib: bytes, vib: bytes, *, at: int = 0) -> Header:
    """Read one record header; the bytes must be whole (no extension bit left open).

    Raises FrameError, naming byte `at`, for a data field or an extended VIF that means nothing.
    """
    field = dib[0] & 0x0F
    if field == 0x0F:
        raise FrameError(f"special function {dib[0]:02X} is reserved", at=at, code="unsupported")
    if vib[0] in (0xFD, 0xFB) and len(vib) < 2:
        raise FrameError("extended VIF without its VIFE", at=at + len(dib))
    vif, found = _meaning(vib)
    storage, tariff, subunit = _storage(dib)
    function = dib[0] >> 4 & 3
    spoilt = any(q.effect in ("error", "maker", "offset") for q in found)
    return Header(
        dib=dib, vib=vib, function=function, storage=storage, tariff=tariff, subunit=subunit,
        vif=vif, qualifiers=found, length=LENGTHS[field], read=reader(field, vif.kind),
        multiply=vif.factor * 10 ** max(vif.exponent, 0), divide=10 ** max(-vif.exponent, 0),
        offset=sum((10.0**q.amount for q in found if q.effect == "offset"), 0.0),
        trusted=function != ERROR_STATE and not spoilt,
    )  # fmt: skip


def special_header(dif: int) -> Header:
    """0F (manufacturer's block) and 1F (the same, more records in the next telegram)."""
    function = MORE_FOLLOWS if dif == 0x1F else MAKER_BLOCK
    return Header(
        dib=bytes((dif,)), vib=b"", function=function, storage=0, tariff=0, subunit=0,
        vif=Vif("", "", "", kind="flags"), qualifiers=(), length=0, read=nothing,
        multiply=1, divide=1, offset=0.0, trusted=False,
    )  # fmt: skip


_SPECIAL = {dif: special_header(dif) for dif in (0x0F, 0x1F)}
_SHORT: dict[int, Header] = {}  # dif << 8 | vif, neither with extensions
_LONG: dict[bytes, Header] = {}  # whole DIB and VIB, three bytes or more


def _new_header(body: bytes, i: int, end: int) -> tuple[Header, int]:
    """The header at i and the index of its data, remembered by its bytes."""
    if body[i] < 0x80 and i + 1 < end and body[i + 1] < 0x80 and body[i + 1] != 0x7C:
        header = make_header(body[i : i + 1], body[i + 1 : i + 2], at=i)
        _SHORT[body[i] << 8 | body[i + 1]] = header
        return header, i + 2
    vib_at = _extension_end(body, i, end, "DIF")
    data_at = _vib_end(body, vib_at, end)
    key = body[i:data_at]
    known = _LONG.get(key)
    if known is None:
        if len(_LONG) >= _CACHE_LIMIT:
            _LONG.clear()
        known = _LONG[key] = make_header(body[i:vib_at], body[vib_at:data_at], at=i)
    return known, data_at


def _data_end(body: bytes, at: int, length: int, end: int) -> int:
    """Index after a record's data; raises where the frame ends first."""
    if length == VARIABLE_LENGTH:
        if at >= end:
            raise FrameError("record ends before its length byte", at=end)
        length = lvar_length(body[at]) + 1
        if not length:
            raise FrameError(f"variable length {body[at]:02X} is reserved", at=at)
    if at + length > end:
        raise FrameError("record ends inside its data", at=end)
    return at + length


def _natural(header: Header, data: bytes) -> bytes:
    """Data of a high-byte-first telegram (CI 76) turned low byte first."""
    if header.length == VARIABLE_LENGTH:
        return data[:1] + data[:0:-1]
    return data[::-1]


def read_records(body: bytes, i: int, end: int, high_first: bool = False) -> list[Record]:
    """All records in body[i:end]. Idle fillers (2F) are skipped; 0F and 1F take what is left.

    Raises FrameError, `at` counted from the start of body, where the bytes do not make records.
    """
    records: list[Record] = []
    short, extended, new = _SHORT, _LONG, tuple.__new__
    last = end - 1
    while i < end:
        dif = body[i]
        header = short.get(dif << 8 | body[i + 1]) if i < last else None
        at = i + 2
        if header is None:  # one extension: no header is the beginning of another, so try the key
            header = extended.get(body[i : i + 3])
            at = i + 3
        if header is None:  # more extensions, a special function, or seen for the first time
            if dif == 0x2F:
                i += 1
                continue
            if dif in _SPECIAL:
                rest = body[i + 1 : end]
                records.append(Record(_SPECIAL[dif], rest, rest.hex(" ").upper()))
                break
            header, at = _new_header(body, i, end)
        length = header.length
        i = at + length if length >= 0 else _data_end(body, at, length, end)
        if i > end:
            raise FrameError("record ends inside its data", at=end)
        data = body[at:i]
        raw = header.read(_natural(header, data) if high_first else data)
        records.append(new(Record, (header, data, raw)))
    return records
