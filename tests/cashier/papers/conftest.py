"""Papers are tried against the sandbox like the rest of the room."""

from datetime import date, timedelta

import pytest

from backend.base.db import db
from backend.base.errors import Problem
from backend.billing import ahead
from backend.billing.models import PrepaidDay
from backend.cashier import counter, shifts
from backend.cashier.counter import Taking, Tender
from backend.cashier.papers import invoices, tax, titles
from backend.cashier.papers.invoices import Wanted
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people.service import Principal
from tests import builders
from tests.outside import app, hook, in_threads, phone, sandbox, sandbox_keys

__all__ = ["app", "hook", "in_threads", "phone", "sandbox", "sandbox_keys"]


def refused(code):
    return pytest.raises(Problem, match=f"^{code}:")


def invoice(hall, *bills, kind="invoice", title_id=None, key="k1", household=None):
    who = household or hall.household
    wanted = Wanted(who.id, tuple(b.id for b in bills), kind, title_id, key)
    made = invoices.issue(wanted, hall.cashier, hall.clock.now())
    db.session.commit()
    return made


def company(hall, **more):
    given = {
        "name": "样张（北京）科技有限公司",
        "tax_id": "9111 0108 5513 8508 2q",
        "address": "海淀区",
        "phone": "010-5555000",
        "bank": "工商银行",
        "bank_account": "3500 0401 0900",
        **more,
    }
    party = titles.checked("company", given)
    made = titles.add(hall.household.id, party, False, hall.cashier, hall.clock.now())
    db.session.commit()
    return made


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


class Ahead:
    """A household that pays ahead for water; its nights deduct what a test says."""

    def __init__(self, hall, first=date(2026, 10, 25), paid_fen=50_000):
        self.hall, self.household, self.day = hall, hall.household, first
        self.tariff = builders.make_tariff("water", "flat", {"unit": "m3", "price": "3"})
        now = hall.clock.now()
        ahead.open_account(self.household.id, "water", first, hall.second, now)
        self.pays(paid_fen, "till-1")

    def pays(self, fen, key):
        till = chart.bank("till")
        ahead.top_up(self.household.id, "water", fen, key, till, self.hall.clock.now())
        db.session.commit()

    def nights(self, *deductions_fen, used=1000):
        for fen in deductions_fen:
            row = PrepaidDay(
                household_id=self.household.id,
                utility="water",
                day=self.day,
                used=used,
                topup_fen=0,
                deduction_fen=fen,
                balance_fen=0,
                tariff_id=self.tariff.id,
            )
            db.session.add(row)
            code = chart.prepaid("water", self.household.id)
            lines = [(code, fen), (chart.revenue("water"), -fen)]
            key = f"prepaid:water:{self.household.id}:{self.day}"
            ledger.post(key, "prepaid", self.hall.clock.now(), lines)
            self.day += timedelta(1)
        db.session.commit()


@pytest.fixture
def hall(app, clock):
    return Hall(clock)
