"""A town with bank mandates, for the tests of collection: who owes what, at which bank."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

from backend.base.clock import business_day
from backend.base.db import db
from backend.cashier import (
    collection,
    collection_export,
    collection_results,
    mandates,
)
from backend.cashier.collection import Choice
from backend.cashier.mandates import Agreement
from backend.people.service import Principal
from payments.flat_format import formats
from payments.sandbox import bank_desk
from tests import builders

TODAY = business_day(builders.NOON)
LAYOUT = formats()["collection-fixed"]
GOOD, POOR, STRANGE, SLOW = "62220000", "62220000001", "62220000002", "62220000009"


def staff(login: str, *roles: str) -> Principal:
    """Somebody at a desk."""
    made = builders.make_staff(login, roles=list(roles) or ["finance"])
    return Principal("staff", made.id, frozenset(roles or ("finance",)))


@dataclass
class Town:
    """A building, a bank, and two of finance."""

    building: Any
    zhou: Principal
    li: Principal
    bills: list[Any] = field(default_factory=list)
    households: list[Any] = field(default_factory=list)
    day: date = TODAY  # from which the mandates hold, and on which bills are due
    issued_at: datetime = builders.NOON - timedelta(days=15)

    def flat(self, card_no: str, *amounts_fen: int, due_on: date | None = None) -> Any:
        """A household with a mandate and bills."""
        number = len(self.households) + 1
        household = builders.make_household(self.building, f"{number:03d}")
        self.households.append(household)
        contract_no = f"C{number:05d}"
        agreed = Agreement(household.account_no, "icbc", contract_no, "张三丰", card_no, self.day)
        mandates.sign(agreed, self.zhou, builders.NOON)
        db.session.commit()
        self.bills += [
            builders.make_bill(
                household, fen, due_on or self.day, utility=utility, issued_at=self.issued_at
            )
            for fen, utility in zip(amounts_fen, ("heat", "water", "gas"), strict=False)
        ]
        return household


def make_town(**when: Any) -> Town:
    """One bank, nobody signed yet."""
    town = Town(builders.make_building(), staff("zhou"), staff("li"), **when)
    mandates.add_bank("icbc", "工商银行城东支行", "collection-fixed", "M0001")
    db.session.commit()
    return town


def draft(town: Town, now: Any, **choice: Any) -> Any:
    """A drafted batch, committed."""
    made = collection.draft(
        "icbc", business_day(now), Choice(town.day + timedelta(days=30), **choice), town.zhou, now
    )
    db.session.commit()
    return made


def sent(town: Town, now: Any, **choice: Any) -> Any:
    """A batch whose file is at the bank."""
    batch = draft(town, now, **choice)
    collection.approve(batch.batch_no, town.li, now)
    db.session.commit()
    return collection_export.export(batch.batch_no, town.zhou, now)


def file_of(town: Town, batch: Any, now: Any) -> bytes:
    """The batch's file."""
    data = collection_export.file_of(batch.batch_no, town.zhou, now)[1]
    db.session.commit()
    return data


def answered(town: Town, batch: Any, now: Any, fate: str = "") -> bytes:
    """What the sandbox's bank says of the batch."""
    return bank_desk.answer(LAYOUT, file_of(town, batch, now), business_day(now), fate)


def take(town: Town, data: bytes, now: Any) -> Any:
    """The result taken in: (it, whether it is new)."""
    return collection_results.take("icbc", "回盘.txt", data, town.zhou, now)
