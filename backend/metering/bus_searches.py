"""Searches of buses: what can be asked for, what was found against the archive, taking it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from backend.archive.models import Bus, Household, Meter
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import bus_jobs, service
from backend.metering.models import BusJob
from backend.metering.quality import REGISTER_MAX
from backend.metering.service import NewReading
from backend.people.service import Principal, audit


@dataclass(frozen=True, slots=True)
class Search:
    """A way to search that a protocol has.

    digits   of an address, where a range of addresses is asked for; 0 where none is
    numbers  (lowest, highest) where short addresses are scanned, from `first` to `last`
    is_whole whether it finds whoever is there, so that who is not found is missing
    """

    title: str
    digits: int = 0
    numbers: tuple[int, int] | None = None
    is_whole: bool = True


SEARCHES: Final[dict[tuple[str, str], Search]] = {
    ("cjt188", "wildcard"): Search("CJ/T 188 通配地址，冲突逐段排查", is_whole=False),
    ("cjt188", "range"): Search("CJ/T 188 按地址段逐个询问", digits=14, is_whole=False),
    ("dlt645_2007", "wildcard"): Search("DL/T 645-2007 通配地址，冲突逐段排查"),
    ("dlt645_2007", "range"): Search("DL/T 645-2007 按地址段逐个询问", digits=12, is_whole=False),
    ("dlt645_1997", "wildcard"): Search("DL/T 645-1997 通配地址，冲突逐段排查"),
    ("dlt645_1997", "range"): Search("DL/T 645-1997 按地址段逐个询问", digits=12, is_whole=False),
    ("mbus", "secondary"): Search("M-Bus 二次地址，逐位排查"),
    ("mbus", "primary"): Search("M-Bus 一次地址扫描 0–250", numbers=(0, 250)),
    ("modbus", "scan"): Search("Modbus RTU 从站扫描 1–247", numbers=(1, 247)),
    ("modbus_tcp", "scan"): Search("Modbus TCP 从站扫描 1–247", numbers=(1, 247)),
}
MIN_WAIT_MS, MAX_WAIT_MS = 50, 10_000
MAX_RANGE: Final = 2000
MAX_TYPE: Final = 0xFF
KINDS: Final = ("heat", "water", "gas", "electricity", "room")
LONG: Final = 8  # digits from which on an address is one meter's in the whole company


def parameters(
    protocol: str,
    how: str,
    *,
    first: str = "",
    last: str = "",
    meter_type: int | None = None,
    wait_ms: int | None = None,
) -> dict[str, Any]:
    """A search job's parameters.  Problem validation, naming the field, for what is none."""
    search = SEARCHES.get((protocol, how))
    if search is None:
        raise Problem("validation", "请选择搜表方式。", field="how")
    made: dict[str, Any] = {"protocol": protocol, "how": how}
    if search.digits or (search.numbers and (first or last)):
        made |= _span(search, first, last)
    if search.digits == 14 and meter_type is not None:
        if not 0 <= meter_type <= MAX_TYPE:
            raise Problem("validation", "表类型是一个字节。", field="meter_type")
        made["meter_type"] = meter_type
    if wait_ms is not None:
        if not MIN_WAIT_MS <= wait_ms <= MAX_WAIT_MS:
            words = f"等待时间为 {MIN_WAIT_MS} 到 {MAX_WAIT_MS} 毫秒。"
            raise Problem("validation", words, field="wait_ms")
        made["wait_ms"] = wait_ms
    return made


def _span(search: Search, first: str, last: str) -> dict[str, str]:
    lowest, highest = search.numbers or (0, 10**search.digits - 1)
    first, last = first or str(lowest), last or str(highest)
    for field, text in (("first", first), ("last", last)):
        is_number = text.isascii() and text.isdecimal() and len(text) <= 18
        if not is_number or (search.digits and len(text) != search.digits):
            words = f"请填写 {search.digits} 位数字。" if search.digits else "请填写数字。"
            raise Problem("validation", words, field=field)
    if not lowest <= int(first) <= int(last) <= highest:
        raise Problem("validation", "起止地址超出范围或颠倒。", field="last")
    if int(last) - int(first) >= MAX_RANGE:
        raise Problem("validation", f"一次最多 {MAX_RANGE} 个地址。", field="last")
    return {"first": first, "last": last}


@dataclass(frozen=True, slots=True)
class Finding:
    """A meter that was found, and what the archive knows of it.

    status    here (on this bus), elsewhere (on another), or new
    meter_id  of the archive's row, and the code of its bus
    """

    found: Mapping[str, Any]
    status: str
    meter_id: int | None = None
    bus_code: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What a search has found, and the meters of the archive it should have and has not."""

    found: list[Finding]
    missing: list[Any]
    conflicts: list[str]


def findings(job: BusJob) -> Findings:
    """A search's result against the archive as it is now: two statements."""
    rows: list[Mapping[str, Any]] = job.result.get("found", [])
    names = {(one["protocol"], name) for one in rows for name in one["names"]}
    known = _known(job.bus_id, names)
    found = [_finding(one, job.bus_id, known) for one in rows]
    here = {one.meter_id for one in found if one.status == "here"}
    missing = _missing(job, here) if _tells_missing(job) else []
    return Findings(found, missing, list(job.result.get("conflicts", [])))


Known = dict[tuple[str, str], list[tuple[int, int, str]]]


def _known(bus_id: int, names: set[tuple[str, str]]) -> Known:
    """Live meters by protocol and address: (meter, bus, its code)."""
    known: Known = {}
    if names:
        rows = db.session.execute(
            sa.select(Meter.protocol, Meter.address, Meter.id, Meter.bus_id, Bus.code)
            .join(Bus, Bus.id == Meter.bus_id)
            .where(Meter.removed_on.is_(None))
            .where(sa.tuple_(Meter.protocol, Meter.address).in_(sorted(names)))
            .where((Meter.bus_id == bus_id) | (sa.func.length(Meter.address) >= LONG))
            .order_by(Meter.id)
        )
        for protocol, address, meter_id, on, code in rows:
            known.setdefault((protocol, address), []).append((meter_id, on, code))
    return known


def _finding(one: Mapping[str, Any], bus_id: int, known: Known) -> Finding:
    rows = [row for name in one["names"] for row in known.get((one["protocol"], name), ())]
    for meter_id, on, code in rows:
        if on == bus_id:
            return Finding(one, "here", meter_id, code)
    if rows:
        meter_id, _, code = rows[0]
        return Finding(one, "elsewhere", meter_id, code)
    return Finding(one, "new")


def _tells_missing(job: BusJob) -> bool:
    asked = job.parameters.get("protocol", ""), job.parameters.get("how", "")
    search = SEARCHES.get(asked)
    is_part = "first" in job.parameters
    return job.state == "done" and search is not None and search.is_whole and not is_part


def _missing(job: BusJob, here: set[int | None]) -> list[Any]:
    live = sa.select(Meter).where(
        Meter.bus_id == job.bus_id,
        Meter.protocol == job.parameters["protocol"],
        Meter.removed_on.is_(None),
    )
    return [m for m in db.session.scalars(live.order_by(Meter.address)) if m.id not in here]


@dataclass(frozen=True, slots=True)
class Adoption:
    """What a person says of a meter that was found.

    account_no      its household's; None makes it the building's
    first_register  what it shows now (Wh or litres): usage is counted from here on; None only
                    for a thermometer
    """

    address: str
    kind: str
    account_no: str | None = None
    first_register: int | None = None
    profile: str = "default"


def adopt(job_id: int, new: Adoption, actor: Principal, now: datetime) -> Meter:
    """Write a meter a search has found into the archive, on the bus it was found on.

    Problems not_found (the job, or no such find), address_taken where it is known, validation
    (kind, first_register) and household_unknown.
    """
    job = bus_jobs.job_of(job_id)
    one = next((f for f in findings(job).found if f.found["address"] == new.address), None)
    if job.kind != "search" or one is None:
        raise Problem("not_found")
    if one.status != "new":
        raise Problem("address_taken")
    register = _register(new)
    bus = db.session.get_one(Bus, job.bus_id)
    household = _household(bus, new.account_no) if new.account_no else None
    meter = Meter(
        bus_id=bus.id,
        building_id=bus.building_id,
        household_id=household.id if household else None,
        scope="household" if household else "building",
        kind=new.kind,
        protocol=one.found["protocol"],
        address=new.address,
        profile=new.profile,
        installed_on=business_day(now),
        first_register=register or 0,
        options={"installed_at": now.isoformat(), **_told(one.found)},
    )
    _insert(meter)
    if register is not None:
        first = NewReading(meter.id, now, "console", kind="manual", register=register)
        service.record([replace(first, author_id=actor.id, reason="建档底数")])
    audit(
        "meter.adopted", "meter", meter.id, actor, now=now,
        job=job_id, address=new.address, first_register=register,
    )  # fmt: skip
    return meter


def _told(found: Mapping[str, Any]) -> dict[str, int]:
    """What a meter has told that it has to be asked with: its type byte (CJ/T 188)."""
    told = found.get("meter_type")
    return {"meter_type": told} if isinstance(told, int) else {}


def _register(new: Adoption) -> int | None:
    """The register a meter begins with; None for a thermometer, which has none."""
    if new.kind not in KINDS:
        raise Problem("validation", "请选择表的种类。", field="kind")
    if new.kind == "room":
        return None
    if new.first_register is None:
        raise Problem("validation", "请填写表上现在的底数。", field="first_register")
    if not 0 <= new.first_register < REGISTER_MAX:
        raise Problem("register_impossible", field="first_register")
    return new.first_register


def _household(bus: Bus, account_no: str) -> Household:
    """The household of that number in the bus's building."""
    wanted = sa.select(Household).where(
        Household.account_no == account_no, Household.building_id == bus.building_id
    )
    found = db.session.scalars(wanted).first()
    if found is None:
        raise Problem("household_unknown", field="account_no")
    return found


def _insert(meter: Meter) -> None:
    """Against a second person who adopts the same meter this instant the index decides."""
    try:
        with db.session.begin_nested():
            db.session.add(meter)
    except IntegrityError as error:
        raise Problem("address_taken") from error
