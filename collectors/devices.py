"""Which meter a platform's device is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

import sqlalchemy as sa
from flask import Flask

from backend.archive.models import Bus, Meter
from backend.base.db import db
from collectors.reading import PUSH_SCHEME, Asked

# The protocol of a meter whose platform pushes values instead of frames; its profile is the field
# map, "default" being its bus's.
FIELDS: Final = "fields"


@dataclass(frozen=True, slots=True)
class Device:
    """A meter that platforms push for.

    `device` is the id or IMEI it is known by there: the meter's own address, or `options.device`
    where several meters speak through one device.
    """

    bus_id: int
    asked: Asked
    device: str
    fields: str = ""  # the field map its values are read by; "" for one that sends frames
    payload: str = ""  # how its bytes are packed, where they are no frames (`unframed`)

    @property
    def speech(self) -> tuple[str, str, str]:
        """What its bytes are decoded by: packing, protocol and profile."""
        return self.payload, self.asked.target.protocol, self.asked.target.profile

    @property
    def is_whole(self) -> bool:
        """The device is this meter, whatever address its frames carry."""
        return self.device == self.asked.target.address.upper()


@dataclass(frozen=True, slots=True)
class Directory:
    """Which meter is meant, for one platform.

    speakers   one meter of each `speech`, to decode what an unknown device carries
    """

    devices: dict[str, list[Device]] = field(default_factory=dict)
    speakers: dict[tuple[str, str, str], Device] = field(default_factory=dict)
    buses: list[int] = field(default_factory=list)

    def add(self, device: Device) -> None:
        """Take a meter in."""
        self.devices.setdefault(device.device, []).append(device)
        if not device.fields:
            self.speakers.setdefault(device.speech, device)

    def behind(self, names: tuple[str, ...]) -> list[Device]:
        """The meters a device speaks for, by the names the platform gives it."""
        return [d for name in names for d in self.devices.get(name, ())]


NOBODY = Directory()


def directory(app: Flask) -> dict[str, Directory]:
    """Every platform's meters, from the buses whose link is push://<platform>."""
    found: dict[str, Directory] = {}
    with app.app_context():
        rows = db.session.execute(
            sa.select(Bus, Meter)
            .outerjoin(Meter, sa.and_(Meter.bus_id == Bus.id, Meter.removed_on.is_(None)))
            .where(Bus.link.startswith(PUSH_SCHEME))
            .order_by(Bus.id, Meter.id)
        )
        for bus, meter in rows:
            platform, fields = platform_of(bus.link)
            one = found.setdefault(platform, Directory())
            if bus.id not in one.buses:
                one.buses.append(bus.id)
            if meter is not None:
                one.add(_device(bus.id, meter, fields))
    return found


def platform_of(link: str) -> tuple[str, str]:
    """Platform and field map ("": none) of push://<platform>?fields=<map>."""
    platform, _, query = link.removeprefix(PUSH_SCHEME).partition("?")
    return platform, dict(parse_qsl(query)).get("fields", "")


def _device(bus_id: int, meter: Meter, fields_of_bus: str) -> Device:
    name = str((meter.options or {}).get("device") or meter.address).upper()
    fields = ""
    if meter.protocol == FIELDS:
        named = meter.profile if meter.profile != "default" else fields_of_bus
        fields = named or "default"  # which no map is called: refused, with those there are
    return Device(bus_id, Asked.of(meter), name, fields, str(meter.options.get("payload") or ""))
