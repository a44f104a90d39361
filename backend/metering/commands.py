"""Orders to valves and relays: asked, approved by a second person, sent, done once it is seen.

    queued -> approved -> sent -> acknowledged -> done
    (any of the first four) -> failed; queued, approved -> expired or withdrawn

A valve stands in water, gas or heat, a relay in electricity; `open` and `close` are what becomes of
the supply (a relay that is "open" to power is switched on, 合闸).

An order goes onto the wire only after `sent` has been committed, and goes out again only after a
read-back has shown that nothing has moved: a collector that dies in between never moves a valve or
relay twice.  Every step is a conditional update on the state it comes from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from backend.archive.models import Bus, Meter
from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.metering.models import MeterCommand
from backend.people.service import Principal, audit

ACTIONS: Final = ("open", "close")
NEEDS_APPROVAL: Final = ("close",)  # what leaves a household without
OPEN_STATES: Final = ("queued", "approved", "sent", "acknowledged")
VALVE, RELAY = "valve", "relay"
# What a meter of a protocol and kind can be ordered to move: CJ/T 188 A017, DL/T 645-2007 1C.
# Whether it is fitted is `options["valve"]` or `options["relay"]`; where that does not say, heat
# meters have none and all others do.
SUPPLIES: Final = {
    ("cjt188", "water"): VALVE,
    ("cjt188", "gas"): VALVE,
    ("cjt188", "heat"): VALVE,
    ("cjt188", "electricity"): RELAY,
    ("dlt645_2007", "electricity"): RELAY,
}
SELDOM_FITTED: Final = ("heat",)
NEVER_ASKED: Final = "push://"  # a bus nobody can send an order over
EXPIRES_AFTER = timedelta(minutes=30)
LEASE = timedelta(seconds=30)  # longer than one order and one read-back may take
SETTLE = timedelta(seconds=15)  # a supply not moved after so long has not heard the order
VERIFY_EVERY = timedelta(seconds=3)
VERIFY_FOR = timedelta(minutes=5)
MAX_SENDS = 3


@dataclass(frozen=True, slots=True)
class Order:
    """A command a collector has taken: to be sent where `is_new`, else only to be verified."""

    command_id: int
    meter_id: int
    bus_id: int
    is_open: bool
    is_new: bool
    lease: str
    until: datetime  # the lease's end: nothing may be sent after it


def ask(meter_id: int, action: str, reason: str, actor: Principal, now: datetime) -> MeterCommand:
    """Ask for a supply to be moved.  Opening goes on at once, closing waits for `approve`.

    Problems not_found, no_supply, and command_open where the meter has one under way.
    """
    meter = db.session.get(Meter, meter_id)
    if meter is None or meter.removed_on is not None:
        raise Problem("not_found")
    supply = supply_of(meter)
    if supply is None or db.session.get_one(Bus, meter.bus_id).link.startswith(NEVER_ASKED):
        raise Problem("no_supply")
    state = "queued" if action in NEEDS_APPROVAL else "approved"
    values = {
        "meter_id": meter_id,
        "bus_id": meter.bus_id,
        "supply": supply,
        "action": action,
        "reason": reason,
        "state": state,
        "asked_by": actor.id,
        "asked_at": now,
        "expires_at": now + EXPIRES_AFTER,
        "due_at": now,
    }
    insert = pg.insert(MeterCommand).values(values).on_conflict_do_nothing()
    command_id = db.session.scalar(insert.returning(MeterCommand.id))
    if command_id is None:
        raise Problem("command_open")
    _audit(command_id, "asked", actor, now, meter=meter_id, order=action, reason=reason)
    return command_of(command_id)


def supply_of(meter: Meter) -> str | None:
    """What of a household's meter can be ordered over its wire: VALVE, RELAY or nothing."""
    supply = SUPPLIES.get((meter.protocol, meter.kind))
    if supply is None or meter.scope != "household":
        return None
    return supply if meter.options.get(supply, meter.kind not in SELDOM_FITTED) else None


def stands_closed(meter_id: int) -> bool:
    """Whether the last order that was carried out closed the meter's supply."""
    query = sa.select(MeterCommand.action).where(
        MeterCommand.meter_id == meter_id, MeterCommand.state == "done"
    )
    return db.session.scalar(query.order_by(MeterCommand.id.desc()).limit(1)) == "close"


def approve(command_id: int, actor: Principal, now: datetime) -> MeterCommand:
    """A second person lets an order go.  Problems not_found, second_person, command_moved_on."""
    command = command_of(command_id)
    if command.asked_by == actor.id:
        raise Problem("second_person")
    approval = {"approved_by": actor.id, "approved_at": now, "due_at": now}
    in_time = MeterCommand.expires_at > now
    if not _move(command_id, ("queued",), "approved", in_time, **approval):
        raise Problem("command_moved_on")
    _audit(command_id, "approved", actor, now)
    return command_of(command_id)


def withdraw(command_id: int, actor: Principal, now: datetime) -> MeterCommand:
    """Take an order back, or refuse it, before it is sent.  Problem command_moved_on after."""
    command_of(command_id)
    if not _move(command_id, ("queued", "approved"), "withdrawn", ended_at=now):
        raise Problem("command_moved_on")
    _audit(command_id, "withdrawn", actor, now)
    return command_of(command_id)


def command_of(command_id: int) -> MeterCommand:
    """The command as it stands in the database; Problem not_found."""
    found = db.session.get(MeterCommand, command_id, populate_existing=True)
    if found is None:
        raise Problem("not_found")
    return found


# One order a bus at a time.  What is approved becomes sent by being taken: from here on nobody
# sends it without having looked at the meter.
_TAKE = sa.text("""
WITH due AS MATERIALIZED (
    SELECT d.* FROM unnest(CAST(:buses AS bigint[])) AS b(bus_id)
     CROSS JOIN LATERAL (
           SELECT id, state FROM meter_command
            WHERE bus_id = b.bus_id AND state IN ('approved', 'sent', 'acknowledged')
              AND due_at <= :now AND (state <> 'approved' OR expires_at > :now)
            ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED) AS d
)
UPDATE meter_command c
   SET lease = :lease, due_at = :until,
       state = CASE WHEN due.state = 'approved' THEN 'sent' ELSE due.state END,
       sends = c.sends + (due.state = 'approved')::int,
       sent_at = CASE WHEN due.state = 'approved' THEN CAST(:now AS timestamptz)
                      ELSE c.sent_at END
  FROM due WHERE c.id = due.id
RETURNING c.id, c.meter_id, c.bus_id, c.action, due.state AS was
""")


def take(buses: Sequence[int], now: datetime) -> list[Order]:
    """Take the next due command of each bus for LEASE; the caller commits before it sends."""
    lease = uuid4().hex
    until = now + LEASE
    values = {"lease": lease, "until": until, "now": now, "buses": list(buses)}
    return [
        Order(c.id, c.meter_id, c.bus_id, c.action == "open", c.was == "approved", lease, until)
        for c in db.session.execute(_TAKE, values)
    ]


def acknowledged(order: Order, now: datetime) -> bool:
    """The meter has said yes; now its state has to show it.  False where no longer held."""
    changes = {"acknowledged_at": now, "due_at": now + LEASE}
    return _step(order, ("sent",), "acknowledged", **changes)


def refused(order: Order, why: str, now: datetime) -> bool:
    """The meter has said no, or cannot be asked: nothing moved."""
    if not _step(order, ("sent",), "failed", error=why, ended_at=now):
        return False
    _audit(order.command_id, "failed", None, now, why=why)
    return True


def seen(order: Order, is_open: bool | None, reading_id: int | None, now: datetime) -> str:
    """What a read-back has shown (None: nothing); the state the command is in after it.

    As ordered: done.  Not so: an acknowledged order is looked at again until VERIFY_FOR is over;
    one whose answer was lost goes out again after SETTLE, MAX_SENDS times in all.
    """
    if is_open is order.is_open:
        if _step(order, ("sent", "acknowledged"), "done", ended_at=now, reading_id=reading_id):
            _audit(order.command_id, "done", None, now, reading=reading_id)
    elif not (is_open is not None and _send_again(order, now)):
        _look_again(order, "no_answer" if is_open is None else "not_moved", now)
    return command_of(order.command_id).state


def _send_again(order: Order, now: datetime) -> bool:
    """Back to approved where the meter, given time, shows that the order never arrived."""
    unheard = (
        MeterCommand.sent_at <= now - SETTLE,
        MeterCommand.sends < MAX_SENDS,
        MeterCommand.expires_at > now,
    )
    return _step(order, ("sent",), "approved", *unheard, due_at=now, lease=None)


def _look_again(order: Order, why: str, now: datetime) -> None:
    """Later, or never where it has been looked at for long enough."""
    over = MeterCommand.sent_at <= now - VERIFY_FOR
    held = ("sent", "acknowledged")
    if _step(order, held, "failed", over, error=why, ended_at=now):
        _audit(order.command_id, "failed", None, now, why=why)
        return
    later = {"due_at": now + VERIFY_EVERY, "lease": None, "error": why}
    db.session.execute(_held(order, held).values(**later))


def sweep(now: datetime) -> int:
    """End what has expired unsent, or was sent and could not be verified; how many."""
    ended = [
        *_end(MeterCommand.expires_at <= now, ("queued", "approved"), "expired", None, now),
        *_end(
            MeterCommand.sent_at <= now - VERIFY_FOR - LEASE,
            ("sent", "acknowledged"),
            "failed",
            "not_verified",
            now,
        ),
    ]
    for command_id, state in ended:
        _audit(command_id, state, None, now)
    return len(ended)


def _end(
    when: sa.ColumnElement[bool],
    states: Sequence[str],
    to: str,
    error: str | None,
    now: datetime,
) -> list[tuple[int, str]]:
    update = sa.update(MeterCommand).where(when, MeterCommand.state.in_(states))
    values = {"state": to, "ended_at": now, "error": sa.func.coalesce(error, MeterCommand.error)}
    ids = db.session.scalars(update.values(**values).returning(MeterCommand.id)).all()
    return [(command_id, to) for command_id in ids]


def _move(
    command_id: int,
    states: Sequence[str],
    to: str,
    *when: sa.ColumnElement[bool],
    **changes: Any,
) -> bool:
    update = sa.update(MeterCommand).where(
        MeterCommand.id == command_id, MeterCommand.state.in_(states), *when
    )
    return bool(changed(update.values(state=to, **changes)))


def _held(order: Order, states: Sequence[str]) -> sa.Update:
    """The command, while this collector still holds it."""
    return sa.update(MeterCommand).where(
        MeterCommand.id == order.command_id,
        MeterCommand.lease == order.lease,
        MeterCommand.state.in_(states),
    )


def _step(
    order: Order,
    states: Sequence[str],
    to: str,
    *when: sa.ColumnElement[bool],
    **changes: Any,
) -> bool:
    return bool(changed(_held(order, states).where(*when).values(state=to, **changes)))


def _audit(command_id: int, step: str, actor: Principal | None, now: datetime, **more: Any) -> None:
    audit(f"command.{step}", "meter_command", command_id, actor, now=now, **more)
