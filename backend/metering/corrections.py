"""A wrong reading put right by a new row that names it; nothing stored is ever edited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from backend.archive.models import Meter
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import service
from backend.metering.models import Reading
from backend.metering.quality import REGISTER_MAX
from backend.metering.rules import DOUBTFUL, UNUSABLE
from backend.metering.service import NewReading
from backend.people.service import Principal, audit

# What the old row said besides its register; its frame stays with it alone.
KEPT = ("volume_l", "power_w", "flow_lph", "supply_cdeg", "return_cdeg", "room_cdeg")


@dataclass(frozen=True, slots=True)
class Corrected:
    """The new row's id, and the meter and moment it is of."""

    reading_id: int
    meter_id: int
    read_at: datetime


def correct(reading_id: int, register: int, staff_id: int, reason: str, now: datetime) -> Corrected:
    """Write a new row for the moment of an old one, with the right register, author and reason.

    The old row's flags are kept but for those that keep a row out of usage.
    Problem not_found, reason_missing, register_impossible; already_corrected where the row has a
    correction already (which is then the one to correct).  Usage is the caller's to renew:
    `billing.changes.settle`.
    """
    old = db.session.scalars(sa.select(Reading).where(Reading.id == reading_id)).first()
    if old is None or old.register is None:
        raise Problem("not_found", field="reading_id")
    if not reason.strip():
        raise Problem("reason_missing", field="reason")
    meter = db.session.get_one(Meter, old.meter_id)
    if not 0 <= register < (meter.register_max or REGISTER_MAX):
        raise Problem("register_impossible", field="register")
    new = NewReading(
        meter_id=old.meter_id,
        read_at=old.read_at,
        source="correction",
        kind=_kind(old),
        corrects_id=old.id,
        register=register,
        flags=[flag for flag in old.flags if flag not in UNUSABLE + DOUBTFUL],
        author_id=staff_id,
        reason=reason,
        **{name: getattr(old, name) for name in KEPT},
    )
    if not service.record([new]).stored:
        raise Problem("already_corrected", field="reading_id")
    audit(
        "reading.corrected", "reading", old.id, Principal("staff", staff_id), now=now,
        meter_id=old.meter_id, before=old.register, after=register, reason=reason,
    )  # fmt: skip
    return Corrected(_id_of(old), old.meter_id, old.read_at)


def _id_of(old: Reading) -> int:
    found = db.session.scalar(
        sa.select(Reading.id).where(
            Reading.meter_id == old.meter_id,
            Reading.read_at == old.read_at,
            Reading.kind == _kind(old),
            Reading.corrects_id == old.id,
        )
    )
    assert found is not None, "the row was stored a moment ago"
    return found


def _kind(old: Reading) -> str:
    """A freeze put right is a freeze still: it goes before what was read near its moment."""
    return old.kind if old.kind == "freeze" else "correction"
