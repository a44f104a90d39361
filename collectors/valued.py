"""Values a platform has taken apart itself, read by their meter's field map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from collectors.devices import Device
from collectors.frames import FrameError, field_map
from collectors.frames.field_map import FieldMap, FieldReading
from collectors.frames.iot_fields import Radio
from collectors.reading import REGISTERS
from collectors.session import Read
from collectors.unasked import NotBelieved

_RADIO = ("signal_dbm", "snr_ddb", "battery_mv", "battery_percent")


def rows(maps: Mapping[str, FieldMap], name: str, values: Any) -> list[FieldReading]:
    """What a report's values say by the map called `name`.

    Raises NotBelieved: "bad_target" or "unreadable".
    """
    map_ = maps.get(name)
    if map_ is None:
        raise NotBelieved("bad_target", f"no field map is called {name!r}: {', '.join(maps)}")
    try:
        return field_map.read(map_, values)
    except FrameError as error:
        raise NotBelieved("unreadable", str(error)) from None


def whose(said: FieldReading, devices: Sequence[Device]) -> Device:
    """The meter of the row's own address, or the only one there is.

    Raises NotBelieved: "unknown_device" or "ambiguous_device".
    """
    for device in devices if said.address else ():
        if device.asked.target.address.upper() == said.address:
            return device
    whole = [d for d in devices if d.is_whole]
    if len(whole) == 1:
        return whole[0]
    if said.address:
        raise NotBelieved("unknown_device", f"no meter has the address {said.address}")
    if len(devices) > 1:
        raise NotBelieved("ambiguous_device", f"{len(devices)} meters, and no address among them")
    return devices[0]


def radio(said: FieldReading) -> Radio:
    """How the device was heard, where the values say so."""
    return Radio(*(said.values.get(name) for name in _RADIO))


def believe(device: Device, map_: FieldMap, said: FieldReading, raw: bytes, at: datetime) -> Read:
    """The reading of a meter. Raises NotBelieved "unreadable" or "wrong_type"."""
    for name in ("time", map_.primary):
        if name in said.faults:
            raise NotBelieved("unreadable", said.faults[name])
    if map_.primary not in said.values:
        raise NotBelieved("unreadable", f"{map_.primary} is not there")
    register = REGISTERS.get(device.asked.kind)
    if register is not None and register not in said.values:
        raise NotBelieved("wrong_type", f"a {device.asked.kind} meter without {register}")
    values = {name: value for name, value in said.values.items() if name not in _RADIO}
    return Read(device.asked.target, values, raw, at)
