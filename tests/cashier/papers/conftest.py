"""Papers are tried against the sandbox like the rest of the room."""

import pytest

from backend.base.db import db
from backend.cashier import counter, shifts
from backend.cashier.counter import Taking, Tender
from backend.cashier.papers import tax
from backend.people.service import Principal
from tests import builders
from tests.outside import app, hook, in_threads, phone, sandbox, sandbox_keys

__all__ = ["app", "hook", "in_threads", "phone", "sandbox", "sandbox_keys"]


class Hall:
    """A household that owes, a cashier with an open shift, a colleague who signs."""

    def __init__(self, clock):
        self.clock = clock
        self.building = builders.make_building()
        self.household = builders.make_household(self.building, owner="张㛃")
        self.cashier = self.person("zhou", "finance")
        self.second = self.person("wu", "manager")
        drawer = shifts.add_drawer("D1", "一号台")
        tax.begin()
        db.session.commit()
        shifts.open_shift(self.cashier, drawer.id, {}, clock.now())
        db.session.commit()
        self.taps = 0

    @staticmethod
    def person(login, role):
        staff = builders.make_staff(login, roles=(role,), name=login)
        return Principal("staff", staff.id, frozenset({role}))

    def bill(self, fen=12345, utility="heat", **more):
        return builders.make_bill(self.household, fen, utility=utility, **more)

    def pay(self, *bills, topup_fen=0, household=None):
        """Cash over the counter for all of these bills."""
        self.taps += 1
        owed = sum(bill.amount_fen - bill.paid_fen for bill in bills) + topup_fen
        who = household or self.household
        taking = Taking(who.id, tuple(b.id for b in bills), topup_fen, owed, Tender("cash", owed))
        return counter.take(self.cashier, f"tap-{self.taps}", taking, self.clock.now())


@pytest.fixture
def hall(app, clock):
    return Hall(clock)
