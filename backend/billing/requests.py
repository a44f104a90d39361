"""Asked for by one person, decided by another: whatever costs a household or the company money.

Each kind is an entry of KINDS: what is done once somebody else has approved.  The request and what
it does are one transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from importlib import import_module
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Household, Region
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.billing import topics
from backend.billing.models import Bill, BillingRequest
from backend.people.service import Principal, audit

MIN_REASON = 2
MAX_SHOWN = 200

# Carries out an approved request; returns what came of it, for the request to keep.
Work = Callable[[BillingRequest, Principal, datetime], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of request: its name for people, who may decide, and what is then done.

    `work` names a function (module:name) of the file of this room whose subject it is, or is the
    function itself, where a room above this one adds a kind of its own.
    """

    title: str
    decides: frozenset[str]
    work: str | Work

    def carry_out(self, request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
        """Do what was asked for; returns what came of it."""
        if not isinstance(self.work, str):
            return self.work(request, actor, now)
        module, _, name = self.work.partition(":")
        work: Work = getattr(import_module(f"backend.billing.{module}"), name)
        return work(request, actor, now)


def ask(
    kind: str,
    subject_id: int,
    reason: str,
    actor: Principal | None,
    now: datetime,
    household_id: int | None = None,
    params: Mapping[str, Any] | None = None,
) -> BillingRequest:
    """Ask for something; Problem request_open where the same already waits, reason_missing."""
    if len(reason.strip()) < MIN_REASON:
        raise Problem("reason_missing", field="reason")
    values = {
        "kind": kind,
        "subject_id": subject_id,
        "household_id": household_id,
        "reason": reason.strip(),
        "params": dict(params or {}),
        "asked_by": actor.id if actor else None,
        "asked_at": now,
    }
    insert = pg.insert(BillingRequest).values(values).on_conflict_do_nothing()
    request_id = db.session.scalar(insert.returning(BillingRequest.id))
    if request_id is None:
        raise Problem("request_open")
    audit(f"request.{kind}", "request", request_id, actor, now=now, subject=subject_id)
    return request_of(request_id)


def ask_reversal(bill_id: int, reason: str, actor: Principal, now: datetime) -> BillingRequest:
    """Ask for a bill to be reversed.  Problems not_found, bill_not_standing, request_open."""
    bill = db.session.get(Bill, bill_id)
    if bill is None:
        raise Problem("not_found")
    if bill.state == "reversed":
        raise Problem("bill_not_standing")
    params = {"bill_no": bill.bill_no, "amount_fen": bill.amount_fen}
    return ask("reversal", bill_id, reason, actor, now, bill.household_id, params)


def ask_credit(
    household_id: int, utility: str, credit_fen: int, reason: str, actor: Principal, now: datetime
) -> BillingRequest:
    """Ask for money to be given back to a household as a correction.  Problem not_found."""
    if db.session.get(Household, household_id) is None:
        raise Problem("not_found")
    params = {"utility": utility, "credit_fen": credit_fen}
    return ask("credit", household_id, reason, actor, now, household_id, params)


def ask_rule(
    topic: str,
    utility: str,
    region_id: int | None,
    params: Mapping[str, Any],
    effective_from: date,
    reason: str,
    actor: Principal,
    now: datetime,
) -> BillingRequest:
    """Ask for a rule to hold for a region from a day on; its fields are checked at once."""
    if region_id is not None and db.session.get(Region, region_id) is None:
        raise Problem("validation", "没有这个区域。", field="region_id")
    wanted = {
        "topic": topic,
        "utility": utility,
        "region_id": region_id,
        "params": topics.check(topic, params),
        "effective_from": effective_from.isoformat(),
    }
    subject = int(
        db.session.scalar(sa.select(sa.func.hashtext(f"{topic}|{utility}|{region_id}"))) or 0
    )
    return ask("rule", subject, reason, actor, now, None, wanted)


@contextmanager
def unless_open() -> Iterator[None]:
    """Ask in the block; where the same already waits, nothing happens."""
    try:
        yield
    except Problem as problem:
        if problem.code != "request_open":
            raise


def overtaken(kind: str, subject_ids: Sequence[int], note: str, now: datetime) -> int:
    """End open requests that have lost their reason; how many."""
    done = db.session.execute(
        sa.update(BillingRequest)
        .where(
            BillingRequest.kind == kind,
            BillingRequest.subject_id.in_(subject_ids),
            BillingRequest.state == "open",
        )
        .values(state="refused", decided_at=now, note=note)
        .execution_options(synchronize_session="fetch")
        .returning(BillingRequest.id)
    ).all()
    for row in done:
        audit(f"request.{kind}.overtaken", "request", row.id, None, now=now, note=note)
    return len(done)


def approve(request_id: int, actor: Principal, now: datetime, note: str = "") -> BillingRequest:
    """Carry a request out.  Problems not_found, forbidden, second_person, request_decided, and
    whatever stands in its way now (nothing is done then)."""
    request = request_of(request_id)
    if not actor.roles & KINDS[request.kind].decides:
        raise Problem("forbidden")
    if request.asked_by == actor.id:
        raise Problem("second_person", "须由另一位同事核准，不能自己核准自己的申请。")
    _decide(request, "approved", actor, now, note)
    request.result = KINDS[request.kind].carry_out(request, actor, now)
    db.session.flush()
    audit(f"request.{request.kind}.approved", "request", request.id, actor, now=now)
    return request


def refuse(request_id: int, actor: Principal, now: datetime, note: str = "") -> BillingRequest:
    """Turn a request down (or take one's own back).  Problems as `approve`."""
    request = request_of(request_id)
    if request.asked_by != actor.id and not actor.roles & KINDS[request.kind].decides:
        raise Problem("forbidden")
    _decide(request, "refused", actor, now, note)
    audit(f"request.{request.kind}.refused", "request", request.id, actor, now=now, note=note)
    return request


def request_of(request_id: int) -> BillingRequest:
    """The request as it stands in the database; Problem not_found."""
    found = db.session.get(BillingRequest, request_id, populate_existing=True)
    if found is None:
        raise Problem("not_found")
    return found


def waiting() -> Sequence[BillingRequest]:
    """The requests nobody has decided yet, the oldest first (at most MAX_SHOWN)."""
    query = sa.select(BillingRequest).where(BillingRequest.state == "open")
    return db.session.scalars(query.order_by(BillingRequest.id).limit(MAX_SHOWN)).all()


def decided(limit: int = 50) -> Sequence[BillingRequest]:
    """The latest decisions."""
    query = sa.select(BillingRequest).where(BillingRequest.state != "open")
    order = BillingRequest.decided_at.desc()
    return db.session.scalars(query.order_by(order).limit(limit)).all()


def _decide(
    request: BillingRequest, state: str, actor: Principal, now: datetime, note: str
) -> None:
    done = changed(
        sa.update(BillingRequest)
        .where(BillingRequest.id == request.id, BillingRequest.state == "open")
        .values(state=state, decided_by=actor.id, decided_at=now, note=note)
        .execution_options(synchronize_session="fetch")
    )
    if done != 1:
        raise Problem("request_decided")


def put_rule(request: BillingRequest, actor: Principal, now: datetime) -> dict[str, Any]:
    """An approved rule holds from its day on."""
    wanted = request.params
    rule = topics.put(
        wanted["topic"],
        wanted["utility"],
        wanted["region_id"],
        wanted["params"],
        date.fromisoformat(wanted["effective_from"]),
        request.asked_by,
        actor.id,
        now,
    )
    return {"rule_id": rule.id}


MONEY = frozenset({"finance", "manager"})
MANAGER = frozenset({"manager"})
KINDS: dict[str, Kind] = {
    "reversal": Kind("红冲账单", MONEY, "reversal:carry_out"),
    "reallocation": Kind("重新分摊", MANAGER, "reallocation:carry_out"),
    "credit": Kind("退费/更正", MONEY, "wallet:carry_out"),
    "cold_refund": Kind("室温不达标退费", MONEY, "cold:carry_out"),
    "payout": Kind("余额退款", MONEY, "handover:pay_out"),
    "cutoff": Kind("欠费停供", MANAGER, "cutoff:close"),
    "reopen": Kind("充值后恢复供应", frozenset({"manager", "operator"}), "cutoff:reopen"),
    "rule": Kind("计费规则", MANAGER, "requests:put_rule"),
}
