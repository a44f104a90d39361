"""Who looks after which household: binding by proof, and what a household is called."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import contains_eager

from backend.archive import owner
from backend.archive.models import Binding, Household
from backend.base.db import db
from backend.base.errors import Problem
from backend.people.service import Principal, audit

MAX_HOUSEHOLDS = 10


def address(household: Household) -> str:
    """学府路暖阳小区 A号楼 101, as a resident reads it."""
    building = household.building
    return f"{building.address} {place(building.name, household.unit_no)}"


def place(building_name: str, unit_no: str) -> str:
    """2号楼 301, as a reader looks for it."""
    return f"{building_name} {unit_no}"


def _bound(resident_id: int) -> sa.Select[Any]:
    """The households a resident looks after now, with their buildings, in one statement."""
    return (
        sa.select(Household)
        .join(Household.building)
        .join(Binding, Binding.household_id == Household.id)
        .options(contains_eager(Household.building))
        .where(Binding.resident_id == resident_id, Binding.ended_at.is_(None))
        .order_by(Binding.id)
    )


def households_of(resident_id: int) -> Sequence[Household]:
    """The households a resident looks after, in the order they were bound."""
    return db.session.scalars(_bound(resident_id)).all()


def household_for(resident_id: int, household_id: int) -> Household:
    """The household, if the resident looks after it; else not_found, as for no household at all."""
    mine = _bound(resident_id).where(Household.id == household_id)
    found: Household | None = db.session.scalars(mine).first()
    if found is None:
        raise Problem("not_found")
    return found


def bind(
    resident_id: int, account_no: str, owner_name: str, phone_last4: str, now: datetime
) -> Household:
    """Bind a household to a resident who knows its owner's name and end of the phone number.

    Problem bind_mismatch, the same whatever was wrong; already_bound; too_many_households.
    """
    held = _one_at_a_time(resident_id)
    household = db.session.scalars(
        sa.select(Household)
        .join(Household.building)
        .options(contains_eager(Household.building))
        .where(Household.account_no == account_no.strip())
    ).first()
    if not owner.proves(household, owner_name.strip(), phone_last4) or household is None:
        raise Problem("bind_mismatch")
    if household.id in held:
        raise Problem("already_bound")
    if len(held) >= MAX_HOUSEHOLDS:
        raise Problem("too_many_households")
    db.session.add(Binding(resident_id=resident_id, household_id=household.id, created_at=now))
    audit("household.bound", "household", household.id, Principal("resident", resident_id), now=now)
    return household


def _one_at_a_time(resident_id: int) -> set[int]:
    """The ids held now; a second binding by the same resident waits until commit."""
    key = sa.func.hashtextextended(f"bind:{resident_id}", 0)
    db.session.execute(sa.select(sa.func.pg_advisory_xact_lock(key)))
    return set(
        db.session.scalars(
            sa.select(Binding.household_id).where(
                Binding.resident_id == resident_id, Binding.ended_at.is_(None)
            )
        )
    )


def unbind(resident_id: int, household_id: int, now: datetime) -> None:
    """End a binding; not_found where there is none."""
    ended = db.session.execute(
        sa.update(Binding)
        .where(
            Binding.resident_id == resident_id,
            Binding.household_id == household_id,
            Binding.ended_at.is_(None),
        )
        .values(ended_at=now)
        .returning(Binding.id)
    ).first()
    if ended is None:
        raise Problem("not_found")
    audit(
        "household.unbound", "household", household_id, Principal("resident", resident_id), now=now
    )
