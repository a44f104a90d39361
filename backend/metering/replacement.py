"""A meter taken down and another put up: the old one's final and the new one's first register."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from backend.archive.models import Meter
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import closing, rules, service
from backend.metering.quality import REGISTER_MAX
from backend.metering.service import NewReading
from backend.people.service import Principal, audit

# What the new meter is like where nothing else is said: the same place, the same make.
INHERITED = ("bus_id", "building_id", "household_id", "scope", "kind", "protocol", "profile",
             "register_max", "max_per_day")  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewMeter:
    """What is known of the meter put up; None: as the old one (address: the same address)."""

    first_register: int = 0
    address: str | None = None
    protocol: str | None = None
    profile: str | None = None
    register_max: int | None = None


def replace_meter(
    old_meter_id: int,
    final_register: int,
    new: NewMeter,
    at: datetime,
    staff_id: int,
    now: datetime,
    *,
    reason: str,
) -> Meter:
    """End a meter's row at the moment `at` and begin its successor's, with a reading on each.

    Both readings are kept as typed ones, so a bill over the change walks back to them.  Problem
    not_found, meter_removed, reason_missing, reading_in_future, reading_too_old (also before the
    meter went up), register_decreased, register_jump, register_impossible, address_taken.
    """
    old = db.session.get(Meter, old_meter_id, with_for_update=True, populate_existing=True)
    _may_go(old, at, now, reason)
    assert old is not None
    _believable(old, final_register, at)
    if not 0 <= new.first_register < (new.register_max or old.register_max or REGISTER_MAX):
        raise Problem("register_impossible", field="first_register")
    old.removed_on, old.final_register = business_day(at), final_register
    old.options = {**old.options, "removed_at": at.isoformat()}
    db.session.flush()
    fresh = _successor(old, new, at)
    service.record(
        [
            NewReading(
                meter_id,
                at,
                "reader",
                kind="manual",
                register=register,
                author_id=staff_id,
                reason=reason,
            )
            for meter_id, register in ((old.id, final_register), (fresh.id, new.first_register))
        ]
    )
    audit(
        "meter.replaced", "meter", old.id, Principal("staff", staff_id), now=now,
        new_meter_id=fresh.id, at=at.isoformat(), final_register=final_register,
        first_register=new.first_register, reason=reason,
    )  # fmt: skip
    return fresh


def _may_go(old: Meter | None, at: datetime, now: datetime, reason: str) -> None:
    if old is None:
        raise Problem("not_found", field="meter_id")
    if old.removed_on is not None:
        raise Problem("meter_removed", field="meter_id")
    if not reason.strip():
        raise Problem("reason_missing", field="reason")
    if at > now + timedelta(minutes=5):
        raise Problem("reading_in_future", field="at")
    if at < now - service.MAX_BACKDATED or at <= closing.installed_at(old):
        raise Problem("reading_too_old", field="at")


def _believable(old: Meter, final_register: int, at: datetime) -> None:
    """The final register follows from the meter's last reading: no less, and not far more."""
    modulus = old.register_max or REGISTER_MAX
    if not 0 <= final_register < modulus:
        raise Problem("register_impossible", field="final_register")
    last = closing.last_register(old.id, at)
    if last is None:
        return
    most = closing.most_per_day(old)
    used = rules.usage(
        [rules.Reading(last.at, last.register), rules.Reading(at, final_register)],
        rules.Register(modulus, most),
    )
    if used.amount is None:
        raise Problem("register_decreased", field="final_register")
    # A register counts in steps, so an hour's worth is always believable.
    days = max((at - last.at) / timedelta(days=1), 1 / 24)
    if used.amount > most * days:
        raise Problem("register_jump", field="final_register")


def _successor(old: Meter, new: NewMeter, at: datetime) -> Meter:
    """The new meter's row; Problem address_taken where a live meter on the bus has its address."""
    options = {key: value for key, value in old.options.items() if key != "removed_at"}
    row = Meter(
        **{name: getattr(old, name) for name in INHERITED},
        address=new.address or old.address,
        installed_on=business_day(at),
        first_register=new.first_register,
        options={**options, "installed_at": at.isoformat()},
    )
    for name in ("protocol", "profile", "register_max"):
        if getattr(new, name) is not None:
            setattr(row, name, getattr(new, name))
    _address_is_free(row)
    db.session.add(row)
    db.session.flush()
    return row


def _address_is_free(row: Meter) -> None:
    taken = db.session.scalar(
        sa.select(Meter.id).where(
            Meter.bus_id == row.bus_id,
            Meter.protocol == row.protocol,
            Meter.address == row.address,
            Meter.removed_on.is_(None),
        )
    )
    if taken is not None:
        raise Problem("address_taken", field="address")
