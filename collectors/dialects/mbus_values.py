"""What the telegrams of one M-Bus meter say together: values, stored values, the clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from typing import Final

from collectors.frames import mbus

# M-Bus quantity -> our name and the record's own conversion. Only instantaneous, untariffed values
# are read; a qualified record (a maximum, a phase) is another thing.
NAMES: Final = (
    ("Energy", "energy_wh", mbus.Record.as_wh),
    ("Volume", "volume_l", mbus.Record.as_litres),
    ("Volume flow", "flow_lph", mbus.Record.as_litres_per_hour),
    ("Power", "power_w", mbus.Record.as_watts),
    ("Flow temperature", "supply_cdeg", mbus.Record.as_cdeg),
    ("Return temperature", "return_cdeg", mbus.Record.as_cdeg),
)
_DATES: Final = ("Time point (date & time)", "Time point (date)")
# Media (EN 13757-3 §5.7) whose register is a volume; all others count energy. Gas, waters.
_VOLUMES: Final = frozenset((0x03, 0x06, 0x07, 0x15, 0x16, 0x17, 0x28))
_VOLUMES_FIXED: Final = frozenset((0x03, 0x06, 0x07, 0x0A, 0x0C, 0x0D))
_COOLING: Final = frozenset((0x0A, 0x0B))  # what these count is cold, never to be booked as heat
_HEAT_AND_COOLING: Final = 0x0D
_POSITIVE, _NEGATIVE = "only positive contributions", "only negative contributions"


@dataclass(frozen=True, slots=True)
class Profile:
    """How a model of meter keeps its past.

    date_is_end   a date without a time names the day whose end it was
    application   which application to select before the past is asked for; None: they are sent
                  with the rest
    """

    date_is_end: bool = False
    application: int | None = None


Telegrams = Sequence[mbus.Variable | mbus.Fixed]


def is_same(one: mbus.Variable | mbus.Fixed, other: mbus.Variable | mbus.Fixed) -> bool:
    """A meter that pays no heed to the FCB says the same for ever."""
    return [(r.header, r.data) for r in one.records] == [(r.header, r.data) for r in other.records]


def primary_register(message: mbus.Variable | mbus.Fixed) -> str:
    volumes = _VOLUMES_FIXED if isinstance(message, mbus.Fixed) else _VOLUMES
    if message.medium in volumes:
        return "volume_l"
    is_cold = isinstance(message, mbus.Variable) and message.medium in _COOLING
    return "cooling_wh" if is_cold else "energy_wh"


def values_of(telegrams: Telegrams, storage: int = 0) -> dict[str, int]:
    """The believable values of one storage number, the first of each quantity; records without
    qualifiers go before those that say "only what was positive"."""
    values: dict[str, int] = {}
    is_cold = primary_register(telegrams[0]) == "cooling_wh"
    records = sorted(_records(telegrams, storage), key=lambda r: len(r.header.qualifiers))
    for record in records:
        for quantity, name, convert in NAMES:
            if record.header.vif.quantity == quantity and not _is_cold(record.header):
                named = "cooling_wh" if is_cold and name == "energy_wh" else name
                amount = convert(record)
                if amount is not None:
                    values.setdefault(named, amount)
    cold = [r for r in records if r.header.vif.quantity == "Energy" and _is_cold(r.header)]
    if not is_cold and cold and (amount := cold[0].as_wh()) is not None:
        values["cooling_wh"] = abs(amount)
    return values


def _is_cold(header: mbus.Header) -> bool:
    """What a heat and cooling meter counts the other way: what flowed back, or tariff 1."""
    return header.tariff == 1 or any(q.name == _NEGATIVE for q in header.qualifiers)


def _records(telegrams: Telegrams, storage: int) -> list[mbus.Record]:
    found = []
    has_both = isinstance(telegrams[0], mbus.Variable) and telegrams[0].medium == _HEAT_AND_COOLING
    tariffs = (0, 1) if has_both else (0,)
    for message in telegrams:
        # A fixed telegram's counters are all of now, or all of its fixed date.
        if isinstance(message, mbus.Fixed) and message.stored and not storage:
            continue
        for record in message.records:
            h = record.header
            names = [q.name for q in h.qualifiers]
            is_ours = h.tariff in tariffs and names in ([], [_POSITIVE], [_NEGATIVE])
            if is_ours and (h.function, h.subunit, h.storage) == (0, 0, storage):
                found.append(record)
    return found


def dated(telegrams: Telegrams, profile: Profile) -> list[tuple[int, datetime]]:
    """The storage numbers that bear a date, and their moments on the meter's wall clock."""
    found: dict[int, datetime] = {}
    for message in telegrams:
        for record in message.records:
            storage, moment = record.header.storage, _moment(record, profile)
            if storage and moment is not None:
                found[storage] = moment
    return sorted(found.items())


def _moment(record: mbus.Record, profile: Profile) -> datetime | None:
    h, raw = record.header, record.raw
    if h.vif.quantity not in _DATES or h.function or h.qualifiers:
        return None
    if isinstance(raw, datetime):
        return raw
    if isinstance(raw, date):
        return datetime.combine(raw, time()) + timedelta(days=profile.date_is_end)
    return None


def clock_of(telegrams: Telegrams) -> datetime | None:
    """The meter's own time, where it sends it."""
    for record in _records(telegrams, 0):
        if record.header.vif.quantity == _DATES[0] and isinstance(record.raw, datetime):
            return record.raw
    return None
