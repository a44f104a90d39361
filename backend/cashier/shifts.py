"""班次: a cashier opens a drawer over a counted float and closes it over a counted drawer.

Every difference between what was counted and what the ledger says is posted with its reason, and
beyond a limit with a second person's name.  What is in a drawer is one ledger account, so what one
shift leaves is what the next one is expected to find (交接).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.exc import IntegrityError

from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import counter_rules as rules
from backend.cashier.models import CounterPayment, CounterVoid, Drawer, PosTerminal, Shift
from backend.cashier.papers.models import Paper
from backend.ledger import chart
from backend.ledger import service as ledger
from backend.ledger.chart import AccountRef
from backend.ledger.models import Entry
from backend.people import service as people
from backend.people.service import Principal, audit

SIGNERS = frozenset({"finance", "manager"})


@dataclass(frozen=True, slots=True)
class Closing:
    """What is counted at the end: {denomination in fen: pieces}, {terminal id: slips' fen}."""

    counts: Mapping[int, int]
    slips_fen: Mapping[int, int]
    left_fen: int = 0
    deposit_reference: str = ""


def add_drawer(code: str, name: str) -> Drawer:
    """A new cash drawer."""
    made = Drawer(code=code, name=name)
    db.session.add(made)
    db.session.flush()
    return made


def add_terminal(code: str, name: str, acquirer: str) -> PosTerminal:
    """A new card terminal."""
    made = PosTerminal(code=code, name=name, acquirer=acquirer)
    db.session.add(made)
    db.session.flush()
    return made


def drawers() -> Sequence[Drawer]:
    """The drawers in use."""
    return db.session.scalars(sa.select(Drawer).where(Drawer.active).order_by(Drawer.code)).all()


def terminals() -> Sequence[PosTerminal]:
    """The card terminals in use."""
    query = sa.select(PosTerminal).where(PosTerminal.active).order_by(PosTerminal.code)
    return db.session.scalars(query).all()


def signer(login: str, password: str, now: datetime) -> Principal | None:
    """The colleague who signs on the spot, by own login and password; None where none is named.

    Problems sign_in_failed, account_locked (failures are counted), forbidden.  Ask first: a wrong
    password commits.
    """
    if not login:
        return None
    staff = people.check_password(login, password, now)
    found = Principal("staff", staff.id, frozenset(staff.roles))
    if not found.roles & SIGNERS:
        raise Problem("forbidden", "核准人须是财务或管理岗位。", field="second_login")
    return found


def signed_by(
    differences_fen: Sequence[int], setting: str, actor: Principal, second: Principal | None
) -> int | None:
    """The second person's id where one is needed; Problem approval_needed or second_person."""
    limit_fen: int = getattr(current_app.extensions["nuan_settings"], setting)
    if not rules.needs_second(differences_fen, limit_fen):
        return None
    if second is None:
        raise Problem("approval_needed", field="second_login", limit_fen=limit_fen)
    if second.id == actor.id:
        raise Problem("second_person", "须由另一位同事核准，不能自己核准。", field="second_login")
    return second.id


def open_shift(
    actor: Principal,
    drawer_id: int,
    counts: Mapping[int, int],
    now: datetime,
    *,
    issued_fen: int = 0,
    reason: str = "",
    second: Principal | None = None,
) -> Shift:
    """Begin a shift over a counted drawer; the caller commits.

    `issued_fen` is float brought from the bank for it.  Problems: not_found (no such drawer),
    shift_open, reason_missing and approval_needed where the count is not what was left.
    """
    drawer = db.session.get(Drawer, drawer_id, with_for_update=True)
    if drawer is None or not drawer.active:
        raise Problem("not_found")
    if _open_already(drawer.id, actor.id):
        raise Problem("shift_open")
    if not 0 <= issued_fen <= rules.MAX_PAYMENT_FEN:
        raise Problem("validation", field="issued_fen")
    carried_fen = ledger.balance_fen(chart.cash(drawer.code).code)
    difference_fen = _counted(counts) - carried_fen - issued_fen
    made = Shift(
        drawer_id=drawer.id,
        cashier_id=actor.id,
        day=business_day(now),
        opened_at=now,
        opening={str(fen): pieces for fen, pieces in counts.items()},
        carried_fen=carried_fen,
        issued_fen=issued_fen,
        opening_difference_fen=difference_fen,
        opening_reason=_reason(reason, [difference_fen]),
        opening_second_by=_signed([difference_fen], actor, second),
    )
    db.session.add(made)
    try:
        db.session.flush()
    except IntegrityError:
        db.session.rollback()
        raise Problem("shift_open") from None
    _post(made, drawer, "float", now, _bank(), issued_fen)
    _post(made, drawer, "opening", now, chart.over_short(drawer.code), difference_fen)
    audit("counter.shift_opened", "shift", made.id, actor, now=now, drawer=drawer.code)
    return made


def _open_already(drawer_id: int, cashier_id: int) -> bool:
    theirs = sa.or_(Shift.drawer_id == drawer_id, Shift.cashier_id == cashier_id)
    return bool(db.session.scalar(sa.select(sa.exists().where(theirs, Shift.closed_at.is_(None)))))


def my_shift(actor: Principal) -> Shift | None:
    """The shift somebody has open."""
    mine = sa.select(Shift).where(Shift.cashier_id == actor.id, Shift.closed_at.is_(None))
    found: Shift | None = db.session.scalar(mine)
    return found


def locked_shift(actor: Principal, now: datetime) -> Shift:
    """The actor's open shift of today, held until commit; shift_missing, shift_stale."""
    mine = sa.select(Shift).where(Shift.cashier_id == actor.id, Shift.closed_at.is_(None))
    found: Shift | None = db.session.scalar(
        mine.with_for_update().execution_options(populate_existing=True)
    )
    if found is None:
        raise Problem("shift_missing")
    if rules.is_stale(found.day, business_day(now)):
        raise Problem("shift_stale")
    return found


def close_shift(
    actor: Principal,
    shift_id: int,
    closing: Closing,
    now: datetime,
    *,
    reason: str = "",
    second: Principal | None = None,
) -> Shift:
    """End a shift over what was counted; what is not left in the drawer goes to the bank.

    The caller commits.  Its own cashier may, or a manager.  Problems: not_found, forbidden,
    shift_ended, shift_unproven (rows and ledger differ: nothing is closed over that),
    reason_missing, approval_needed, validation.
    """
    shift = _shift_to_close(actor, shift_id)
    drawer = db.session.get_one(Drawer, shift.drawer_id)
    expected_fen = _proven(shift, drawer)
    counted_fen = _counted(closing.counts)
    if not 0 <= closing.left_fen <= counted_fen:
        raise Problem("validation", "留存金额不能多于清点金额。", field="left_fen")
    cards = _cards(shift, closing.slips_fen)
    gaps = [counted_fen - expected_fen, *(c["slips_fen"] - c["ledger_fen"] for c in cards)]
    shift.reason = _reason(reason, gaps)
    shift.second_by = _signed(gaps, actor, second)
    shift.closed_at, shift.closed_by = now, actor.id
    shift.expected_fen, shift.counted_fen = expected_fen, counted_fen
    shift.difference_fen = counted_fen - expected_fen
    shift.left_fen, shift.deposited_fen = closing.left_fen, counted_fen - closing.left_fen
    shift.deposit_reference = closing.deposit_reference or None
    counts = {str(fen): pieces for fen, pieces in closing.counts.items()}
    shift.closing = {"counts": counts, "pos": cards}
    db.session.flush()
    _post(shift, drawer, "over_short", now, chart.over_short(drawer.code), shift.difference_fen)
    _post(shift, drawer, "deposit", now, _bank(), -shift.deposited_fen)
    audit("counter.shift_closed", "shift", shift.id, actor, now=now, difference_fen=gaps[0])
    return shift


def _shift_to_close(actor: Principal, shift_id: int) -> Shift:
    shift = db.session.get(Shift, shift_id, with_for_update=True, populate_existing=True)
    if shift is None:
        raise Problem("not_found")
    if shift.cashier_id != actor.id and "manager" not in actor.roles:
        raise Problem("forbidden", "只能由本班收银员或管理岗位交班。")
    if shift.closed_at is not None:
        raise Problem("shift_ended")
    return shift


def _proven(shift: Shift, drawer: Drawer) -> int:
    """What must be in the drawer: the shift's own rows and the ledger have to agree on it."""
    taken_fen = sum(row.amount_fen for row in payments(shift.id) if row.counts_as("cash"))
    start_fen = shift.carried_fen + shift.issued_fen + shift.opening_difference_fen
    if start_fen + taken_fen != ledger.balance_fen(chart.cash(drawer.code).code):
        raise Problem("shift_unproven")
    if db.session.scalar(_unposted(shift.id)):
        raise Problem("shift_unproven")
    return start_fen + taken_fen


def _unposted(shift_id: int) -> sa.Select[Any]:
    key = sa.func.concat("counter:", CounterPayment.receipt_no)
    posted = sa.exists().where(Entry.business_key == key)
    return (
        sa.select(sa.func.count())
        .select_from(CounterPayment)
        .where(CounterPayment.shift_id == shift_id, ~posted)
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A payment of a shift and whether it was given back."""

    payment: CounterPayment
    void: CounterVoid | None
    account_no: str
    paper_no: str | None  # the receipt's number

    @property
    def amount_fen(self) -> int:
        """What was paid."""
        return self.payment.amount_fen

    def counts_as(self, method: str) -> bool:
        """Paid that way and not given back."""
        return self.void is None and self.payment.method == method


def payments(shift_id: int) -> list[Row]:
    """What a shift took, in order."""
    return _payment_rows(CounterPayment.shift_id == shift_id)


def payment_row(receipt_no: str) -> Row | None:
    """One payment by its number, if it is there."""
    return next(iter(_payment_rows(CounterPayment.receipt_no == receipt_no)), None)


def _payment_rows(which: sa.ColumnElement[bool]) -> list[Row]:
    """As the database has them: what is proven must not come from memory."""
    rows = db.session.execute(
        sa.select(CounterPayment, CounterVoid, Household.account_no, Paper.paper_no)
        .join(Household, Household.id == CounterPayment.household_id)
        .outerjoin(CounterVoid, CounterVoid.payment_id == CounterPayment.id)
        .outerjoin(
            Paper,
            Paper.business_key == sa.func.concat("receipt:counter:", CounterPayment.receipt_no),
        )
        .where(which)
        .order_by(CounterPayment.id)
        .execution_options(populate_existing=True)
    )
    return [Row(*row) for row in rows]


def card_totals(shift_id: int) -> dict[int, int]:
    """{terminal id: fen} a shift took by card and did not give back."""
    totals: dict[int, int] = {}
    for row in payments(shift_id):
        terminal_id = row.payment.terminal_id
        if terminal_id is not None:
            part = row.amount_fen if row.void is None else 0
            totals[terminal_id] = totals.get(terminal_id, 0) + part
    return totals


def _cards(shift: Shift, slips_fen: Mapping[int, int]) -> list[dict[str, Any]]:
    """Each terminal used or named: what we have, and what its own slip says."""
    ours = card_totals(shift.id)
    ids = sorted({*ours, *(t for t, fen in slips_fen.items() if fen)})
    codes = dict(
        db.session.execute(
            sa.select(PosTerminal.id, PosTerminal.code).where(PosTerminal.id.in_(ids))
        ).all()
    )
    if set(ids) - set(codes):
        raise Problem("not_found")
    return [
        {"terminal": codes[t], "ledger_fen": ours.get(t, 0), "slips_fen": slips_fen.get(t, 0)}
        for t in ids
    ]


def _counted(counts: Mapping[int, int]) -> int:
    try:
        return rules.total_fen(counts)
    except ValueError:
        raise Problem("validation", "清点的张数有误。", field="counts") from None


def _reason(reason: str, gaps: Sequence[int]) -> str | None:
    """The reason given; Problem reason_missing where there is a difference and none."""
    text = reason.strip()
    if any(gaps) and len(text) < rules.MIN_REASON:
        raise Problem("reason_missing", "清点与账面不符，请写明原因。", field="reason")
    return text or None


def _signed(gaps: Sequence[int], actor: Principal, second: Principal | None) -> int | None:
    return signed_by(gaps, "counter_difference_limit_fen", actor, second)


def _bank() -> AccountRef:
    return chart.bank(current_app.extensions["nuan_settings"].counter_bank)


def _post(
    shift: Shift, drawer: Drawer, what: str, now: datetime, other: AccountRef, into_fen: int
) -> None:
    """Move money into the drawer (or out of it, where negative) against another account."""
    if into_fen:
        lines = [(chart.cash(drawer.code), into_fen), (other, -into_fen)]
        ledger.post(rules.shift_key(shift.id, what), what, now, lines, shift_id=shift.id)
