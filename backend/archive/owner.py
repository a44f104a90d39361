"""The owner of a household: sealed at rest, compared without telling how much was right."""

from __future__ import annotations

from backend.archive.models import Household
from backend.base.sealed import same_text, seal, unseal

# What each text is sealed as: a sealed name never opens as a phone.
NAME, PHONE = "household.owner_name", "household.owner_phone"


def sealed(name: str, phone: str) -> dict[str, bytes]:
    """The two sealed columns of a household, as keyword arguments of `Household`."""
    return {"owner_name_sealed": seal(name, NAME), "owner_phone_sealed": seal(phone, PHONE)}


def name_of(household: Household) -> str:
    """The owner's name in clear."""
    return unseal(household.owner_name_sealed, NAME)


def phone_of(household: Household) -> str:
    """The owner's phone number in clear."""
    return unseal(household.owner_phone_sealed, PHONE)


def proves(household: Household | None, name: str, phone_last4: str) -> bool:
    """Whether somebody knows the owner's name and the end of the phone number.

    Both are always compared, also for no household at all, so time tells nothing.
    """
    known_name = name_of(household) if household else unseal(seal("?", NAME), NAME)
    known_phone = phone_of(household) if household else unseal(seal("????", PHONE), PHONE)
    right = (same_text(known_name, name), same_text(known_phone[-4:], phone_last4))
    return household is not None and all(right)
