"""What finance has on its desk: the counter, bank collection, movements, an acquirer, the ERP.

All of it happened yesterday and came in today: a shift with cash and cards, a batch the bank has
answered (most taken, one account empty, one still unknown) and the next one waiting for a second
person, two days of the company's account with a credit nobody knows, and the acquirer's settlement
with a card that is not ours.  Each step may be repeated after an interruption.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime, timedelta

import sqlalchemy as sa
from flask import current_app

from backend.archive import owner
from backend.archive.models import Building, Household
from backend.base.clock import day_start
from backend.base.db import db
from backend.billing.models import Bill
from backend.cashier import (
    acquirers,
    bank_accounts,
    bank_day,
    collection,
    collection_export,
    collection_results,
    collection_views,
    counter,
    mandates,
    shifts,
    vouchers,
)
from backend.cashier.counter_rules import DENOMINATIONS_FEN, Taking, Tender
from backend.cashier.models import CounterPayment, PosTerminal, Reconciliation, Shift
from backend.people.models import Staff
from backend.people.service import Principal
from collectors.demo.history import Calendar, Say
from collectors.demo.people import PEOPLE
from payments import bank
from payments.flat_format import formats
from payments.sandbox import bank_desk

BANK, ACQUIRER, TERMINAL, ACCOUNT_NO = "icbc", "icbc", "10650001", "3500040109000012345"
FEE_FEN = 30  # the bank's, of a deduction
AT_COUNTER, SIGNED, SIGNED_LATER = 4, 6, 3  # households, in this order
# Ends of the cards: what becomes of the deduction (payments.sandbox.bank_desk.FATES).
CARD_ENDS = ("7712", "0001", "3348", "0009", "5526", "9180", "6604", "4471", "2093")
DRAWER_COUNTS = {10000: 2, 5000: 4, 1000: 8, 500: 2, 100: 10}  # 500 yuan of float


def fill(calendar: Calendar, now: datetime, say: Say) -> None:
    """Put it all there."""
    yesterday = calendar.today - timedelta(days=1)
    then = day_start(yesterday) + timedelta(hours=10)
    clerk, manager = _staff("caiwu"), _staff("jingli")
    _set_up(yesterday)
    households = _households()
    _at_counter(households[:AT_COUNTER], calendar, clerk, then)
    signed = households[AT_COUNTER : AT_COUNTER + SIGNED]
    batch_no = _collect(signed, clerk, manager, then)
    _sign(households[AT_COUNTER + SIGNED :][:SIGNED_LATER], SIGNED, clerk, then)
    if len(collection_views.batches()) == 1:
        collection.draft(BANK, calendar.today, _choice(calendar.today), clerk, now)
    vouchers.load_sample(clerk, now)
    db.session.commit()
    _settle(clerk, yesterday, now)
    _movements(batch_no, clerk, yesterday, now)
    bank_day.examine_all(yesterday, now)
    db.session.commit()
    say("代扣、银行流水、收单结算与凭证科目已备好")


def _staff(login: str) -> Principal:
    found = db.session.scalars(sa.select(Staff).where(Staff.login == login)).one()
    return Principal("staff", found.id, frozenset(found.roles))


def _account() -> str:
    """The account the drawers' cash is paid into."""
    code: str = current_app.extensions["nuan_settings"].counter_bank
    return code


def _set_up(since: date) -> None:
    """The bank that collects, the account, the acquirer."""
    if mandates.banks():
        return
    mandates.add_bank(
        BANK, "工商银行道里支行", "collection-fixed", "M2300001"
    ).fee_per_line_fen = FEE_FEN
    bank_accounts.add_account(_account(), "工行基本户", ACCOUNT_NO, "account-csv", since)
    acquirers.add(ACQUIRER, "工商银行收单", "acquirer-csv", since)
    db.session.commit()


def _households() -> Sequence[Household]:
    """Households that pay, less those whose residents a visitor signs in as."""
    rows = db.session.execute(
        sa.select(Household, Building.code)
        .join(Building, Building.id == Household.building_id)
        .order_by(Household.id)
    )
    known = {(person.building, person.flat) for person in PEOPLE}
    return [
        household
        for household, code in rows
        if (code, household.unit_no) not in known and not household.unit_no.startswith("4")
    ]


def _at_counter(
    households: Sequence[Household], calendar: Calendar, clerk: Principal, then: datetime
) -> None:
    """A shift of yesterday: the first household paid in cash, the others by card."""
    if db.session.scalar(sa.select(Shift.id).where(Shift.closed_at.is_not(None)).limit(1)):
        return
    terminal = db.session.scalars(sa.select(PosTerminal)).one()
    drawer = shifts.drawers()[0]
    if shifts.my_shift(clerk) is None:
        shifts.open_shift(clerk, drawer.id, DRAWER_COUNTS, then, issued_fen=_float_fen())
        db.session.commit()
    cash_fen = cards_fen = 0
    for n, household in enumerate(households):
        bills, fen = _owed(household, calendar.periods[1][0])
        tender = Tender("pos", fen, terminal.id, f"{120 + n:06d}") if n else Tender("cash", fen)
        taking = Taking(household.id, bills, 0, fen, tender)
        counter.take(clerk, f"demo-{n}", taking, then + timedelta(minutes=7 * n))
        cash_fen, cards_fen = (cash_fen, cards_fen + fen) if n else (fen, cards_fen)
    shift = shifts.my_shift(clerk)
    assert shift is not None
    closing = shifts.Closing(
        counts=_counted(_float_fen() + cash_fen),
        slips_fen={terminal.id: cards_fen},
        left_fen=_float_fen(),
        deposit_reference="JK000128",
    )
    shifts.close_shift(clerk, shift.id, closing, then + timedelta(hours=7))
    db.session.commit()


def _float_fen() -> int:
    return sum(fen * pieces for fen, pieces in DRAWER_COUNTS.items())


def _counted(fen: int) -> dict[int, int]:
    """So much money in the fewest notes and coins."""
    counts = {}
    for piece in DENOMINATIONS_FEN:
        counts[piece], fen = divmod(fen, piece)
    return counts


def _owed(household: Household, period_from: date) -> tuple[tuple[int, ...], int]:
    """(bills of that period, fen) of a household, paid or not: the same tap is the same payment."""
    rows = db.session.execute(
        sa.select(Bill.id, Bill.amount_fen)
        .where(Bill.household_id == household.id, Bill.period_from == period_from)
        .order_by(Bill.id)
    ).all()
    return tuple(row.id for row in rows), sum(row.amount_fen for row in rows)


def _sign(households: Sequence[Household], first: int, clerk: Principal, then: datetime) -> None:
    for n, household in enumerate(households, first):
        if not mandates.listed(household.account_no):
            agreed = mandates.Agreement(
                household.account_no,
                BANK,
                f"DK2026{n + 1:06d}",
                owner.name_of(household),
                f"622202350001{n:03d}{CARD_ENDS[n]}",
                then.date(),
            )
            mandates.sign(agreed, clerk, then)
            db.session.commit()


def _choice(day: date) -> collection.Choice:
    return collection.Choice(day + timedelta(days=31))


def _collect(
    households: Sequence[Household], clerk: Principal, manager: Principal, then: datetime
) -> str:
    """Yesterday's batch from its draft to the bank's answer."""
    _sign(households, 0, clerk, then)
    day = then.date()
    found = collection_views.batches()
    if found:
        batch_no = str(found[-1]["batch_no"])
    else:
        batch_no = collection.draft(BANK, day, _choice(day), clerk, then).batch_no
        db.session.commit()
    if collection.locked(batch_no).state == "drafted":
        collection.approve(batch_no, manager, then)
    db.session.commit()
    collection_export.export(batch_no, clerk, then)
    _, data = collection_export.file_of(batch_no, clerk, then)
    db.session.commit()
    answer = bank_desk.answer(formats()["collection-fixed"], data, day)
    collection_results.take(BANK, f"HP_{batch_no}.txt", answer, clerk, then + timedelta(hours=6))
    return batch_no


def _settle(clerk: Principal, yesterday: date, now: datetime) -> None:
    """The acquirer's file of today about yesterday's cards, and one that was never taken here."""
    rows = [
        _card(payment.reference, payment.amount_fen, yesterday)
        for payment in db.session.scalars(
            sa.select(CounterPayment)
            .where(CounterPayment.terminal_id.is_not(None))
            .order_by(CounterPayment.id)
        )
    ]
    rows.append(_card("000977", 8800, yesterday))
    head = {"settlement_no": f"SD{yesterday:%Y%m%d}01", "day": yesterday + timedelta(days=1)}
    data = bank.write(formats()["acquirer-csv"].sheets["settlement"], head, rows)
    acquirers.take(ACQUIRER, f"{head['settlement_no']}.csv", data, clerk, now)
    db.session.commit()


def _card(reference: str | None, amount_fen: int, day: date) -> dict[str, object]:
    return {
        "terminal_no": TERMINAL,
        "reference": reference,
        "traded_on": day,
        "amount_fen": amount_fen,
        "fee_fen": amount_fen * 38 // 10_000,
        "card_kind": "借记卡",
    }


def _movements(batch_no: str, clerk: Principal, yesterday: date, now: datetime) -> None:
    """Two days of the account: WeChat's payout, cash, somebody's money; then the bank's payout."""
    deposit = db.session.execute(
        sa.select(Shift.deposit_reference, Shift.deposited_fen).order_by(Shift.id)
    ).first()
    batch = collection_views.batch(batch_no)
    payout_fen = batch["success_fen"] - FEE_FEN * batch["success"]
    days = {
        yesterday: [
            ("结算款", _wechat_net_fen(yesterday - timedelta(days=1)), "财付通支付科技有限公司"),
            ("转账 往来款", 8600, "哈尔滨样张商贸有限公司"),
        ],
        yesterday + timedelta(days=1): [(f"批量代扣 {batch_no}", payout_fen, "代收付过渡户")],
    }
    if deposit is not None and deposit.deposited_fen:
        named = f"现金缴存 {deposit.deposit_reference}"
        days[yesterday].append((named, deposit.deposited_fen, "本单位"))
    for day, credits_ in days.items():
        came = [credit for credit in credits_ if credit[1] > 0]
        data = bank_desk.account_file(formats()["account-csv"], ACCOUNT_NO, day, came)
        bank_accounts.take(_account(), f"流水{day:%Y%m%d}.csv", data, clerk, now)
        db.session.commit()


def _wechat_net_fen(day: date) -> int:
    """What WeChat pays out of a day: taken less given back, less its fee."""
    found = db.session.execute(
        sa.select(Reconciliation.channel_fen, Reconciliation.fee_fen).where(
            Reconciliation.channel == "wechat", Reconciliation.day == day
        )
    ).first()
    return found.channel_fen - found.fee_fen if found else 0
