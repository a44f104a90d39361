"""Rows for tests, one plain function a thing; every one flushes and commits.

Whatever a test does not care about gets a sensible value: `make_household(make_building())` is a
flat of 62.40 m2 whose owner is 张三, 138****1234.
"""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from werkzeug.security import generate_password_hash

from backend.allocation import settling
from backend.allocation.models import AllocationRule, Calibration, Settlement
from backend.archive import owner as owners
from backend.archive.models import Binding, Building, Bus, Household, Meter, Region
from backend.base.clock import add_months, business_day, month_start
from backend.base.db import db
from backend.billing.models import Bill, BillLine, Tariff
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.people import service as people
from backend.people.models import Resident, Staff

NOON = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)  # 12:00 in Shanghai, as in conftest
PRICES = {
    "heat": {"k1": "7.98", "k2": "44.41", "season_days": 183},
    "water": {"price": "3.20", "unit": "m3"},
    "gas": {"price": "2.80", "unit": "m3"},
    "electricity": {"price": "0.51", "unit": "kWh"},
}
_numbers = itertools.count(1)


def _keep(row: Any) -> Any:
    db.session.add(row)
    db.session.commit()
    return row


def make_region(
    name: str = "城东分公司", kind: str = "branch", parent: Region | None = None
) -> Region:
    """A node of the company's tree."""
    return _keep(Region(name=name, kind=kind, parent_id=parent.id if parent else None))


def make_building(
    code: str = "A", region: Region | None = None, name: str | None = None
) -> Building:
    """A building in a region of its own unless one is given."""
    place = region or make_region()
    return _keep(
        Building(
            region_id=place.id, code=code, name=name or f"{code}号楼", address="学府路暖阳小区"
        )
    )


def make_household(
    building: Building,
    unit_no: str = "101",
    area_dm2: int = 6240,
    owner: str = "张三",
    phone: str = "13800001234",
    account_no: str | None = None,
    **more: Any,
) -> Household:
    """A flat; the account number is made of the building's code and the flat's number."""
    return _keep(
        Household(
            building_id=building.id,
            account_no=account_no or f"{building.code}-{unit_no}",
            unit_no=unit_no,
            floor=int(unit_no[:-2] or 1),
            area_dm2=area_dm2,
            **owners.sealed(owner, phone),
            **more,
        )
    )


def make_resident(openid: str | None = None) -> Resident:
    """A resident known by an openid."""
    return _keep(Resident(openid=openid or f"openid-{next(_numbers)}"))


def bind(resident: Resident, household: Household, at: datetime = NOON) -> Binding:
    """The resident looks after the household (no proof asked: tests of binding use the API)."""
    return _keep(Binding(resident_id=resident.id, household_id=household.id, created_at=at))


def make_staff(
    login: str = "reader",
    roles: tuple[str, ...] | list[str] = ("reader",),
    password: str = "correct horse",
    **more: Any,
) -> Staff:
    """A member of staff; the hash is a cheap one so that tests stay fast."""
    cheap = generate_password_hash(password, method="pbkdf2:sha256:1")
    name = more.pop("name", "王师傅")
    return _keep(Staff(login=login, password_hash=cheap, name=name, roles=list(roles), **more))


def token_for(person: Resident | Staff, now: datetime = NOON) -> str:
    """A bearer token of a resident or a member of staff."""
    issue = people.token_of_resident if isinstance(person, Resident) else people.token_of_staff
    token = issue(person.id, now).text
    db.session.commit()
    return token


def headers_for(person: Resident | Staff, now: datetime = NOON) -> dict[str, str]:
    """The Authorization header of a person."""
    return {"Authorization": f"Bearer {token_for(person, now)}"}


def make_bus(building: Building, code: str | None = None, link: str = "tcp://127.0.0.1:9") -> Bus:
    """A wire in a building."""
    text = code or f"{building.code}-bus-{next(_numbers)}"
    return _keep(Bus(building_id=building.id, code=text, name=text, link=link))


def make_meter(
    building: Building,
    household: Household | None = None,
    kind: str = "heat",
    bus: Bus | None = None,
    address: str | None = None,
    protocol: str = "cjt188",
    **more: Any,
) -> Meter:
    """A live meter of a household, or the building's where no household is given."""
    wire = bus or make_bus(building)
    return _keep(
        Meter(
            bus_id=wire.id,
            building_id=building.id,
            household_id=household.id if household else None,
            scope="household" if household else "building",
            kind=kind,
            protocol=protocol,
            address=address or f"{next(_numbers):014d}",
            installed_on=more.pop("installed_on", date(2025, 10, 1)),
            **more,
        )
    )


def make_tariff(
    utility: str = "heat",
    kind: str | None = None,
    params: dict[str, Any] | None = None,
    effective_from: date = date(2020, 1, 1),
    customer_class: str = "residential",
    code: str | None = None,
) -> Tariff:
    """One live version of a price; the same (utility, class, day) again is the same row.

    An open-ended version before it ends where it begins.
    """
    found = db.session.execute(
        db.select(Tariff).filter_by(
            utility=utility, customer_class=customer_class, effective_from=effective_from
        )
    ).scalar_one_or_none()
    if found is not None:
        return found
    db.session.execute(
        db.update(Tariff)
        .filter_by(utility=utility, customer_class=customer_class, effective_to=None)
        .where(Tariff.effective_from < effective_from)
        .values(effective_to=effective_from)
    )
    return _keep(
        Tariff(
            state="live",
            code=code or f"{utility}-{customer_class}",
            name={"heat": "居民热费", "water": "居民水费"}.get(utility, f"居民{utility}"),
            utility=utility,
            customer_class=customer_class,
            kind=kind or ("two_part" if utility == "heat" else "flat"),
            params=params or PRICES.get(utility, {}),
            effective_from=effective_from,
        )
    )


def make_bill(
    household: Household,
    amount_fen: int = 12345,
    due_on: date = date(2026, 11, 30),
    utility: str = "heat",
    *,
    issued_at: datetime = NOON - timedelta(days=15),
    period_from: date | None = None,
    tariff: Tariff | None = None,
) -> Bill:
    """An issued bill of the month before `issued_at`, with one line, posted to the ledger."""
    number = next(_numbers)
    begin = period_from or add_months(month_start(business_day(issued_at)), -1)
    bill = Bill(
        bill_no=f"B{number:010d}",
        business_key=f"test:{number}",
        household_id=household.id,
        utility=utility,
        period_from=begin,
        period_to=add_months(begin, 1),
        amount_fen=amount_fen,
        due_on=due_on,
        issued_at=issued_at,
        tariff_id=(tariff or make_tariff(utility)).id,
        lines=[_line(amount_fen)],
    )
    db.session.add(bill)
    db.session.flush()
    _post_bill(bill)
    db.session.commit()
    return bill


def _post_bill(bill: Bill) -> None:
    lines = [
        (chart.receivable(bill.utility, bill.household_id), bill.amount_fen),
        (chart.revenue(bill.utility), -bill.amount_fen),
    ]
    ledger.post(f"bill:{bill.bill_no}", "bill", bill.issued_at, lines)


def _line(amount_fen: int) -> BillLine:
    return BillLine(
        seq=1,
        code="usage",
        title="计量热费",
        quantity=Decimal("1.2345"),
        unit="GJ",
        price=Decimal(amount_fen).scaleb(-2) / Decimal("1.2345"),
        amount_fen=amount_fen,
        explanation="用热量 × 单价",
    )


def make_calibration(
    household: Household, asked_by: Staff, at: datetime = NOON, state: str = "proposed"
) -> Calibration:
    """B and gamma found for one flat, waiting for a second person."""
    flat = {
        "household_id": household.id,
        "unit_no": household.unit_no,
        "B": 1.312,
        "gamma": 0.6,
        "gamma25": 41.2,
        "b_error": 0.01,
        "residual": 0.02,
        "spread": 0.2,
        "blocks": 15,
        "B_before": None,
        "gamma25_before": None,
    }
    report = {"kappa_w_per_m2k": 1.4, "block_days": 2, "flats": [flat], "refused": []}
    return _keep(
        Calibration(
            building_id=household.building_id,
            window_from=business_day(at) - timedelta(days=30),
            window_to=business_day(at),
            state=state,
            report=report,
            asked_by=asked_by.id,
            asked_at=at,
        )
    )


def make_allocation(
    household: Household, operator: Staff, at: datetime
) -> tuple[AllocationRule, Settlement, Calibration]:
    """The building shared by area, a settlement of it begun, and a calibration that waits."""
    rule = _keep(
        AllocationRule(
            building_id=household.building_id,
            effective_from=date(2026, 1, 1),
            method="area",
            options={},
        )
    )
    end = business_day(at) - timedelta(days=1)
    settlement = settling.start(
        None, end - timedelta(days=2), end, people.Principal("staff", operator.id), at
    )
    return rule, _keep(settlement), make_calibration(household, operator, at)
