"""柜台收款 and 班次: a household by 户号, its bills, the money; a drawer opened and closed."""

from __future__ import annotations

import secrets

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import counter, counter_report, shifts
from backend.cashier.counter_rules import DENOMINATIONS_FEN, MAX_PIECES
from backend.console import sent
from backend.console.sessions import attempt, now, roles
from backend.people import access

ID = "int(max=9223372036854775807)"
NO = "string(maxlength=64)"
METHODS = {"cash": "现金", "pos": "刷卡"}


def register(blueprint: Blueprint) -> None:
    """The pages and their buttons."""
    add = blueprint.add_url_rule
    add("/counter", "counter", counter_page)
    add("/counter", "counter_take", counter_take, methods=["POST"])
    add(f"/counter/<{NO}:receipt_no>/void", "counter_void", counter_void, methods=["POST"])
    add("/shifts", "shifts", shift_list)
    add("/shifts", "shift_open", shift_open, methods=["POST"])
    add(f"/shifts/<{ID}:shift_id>", "shift", shift_page)
    add(f"/shifts/<{ID}:shift_id>/close", "shift_close", shift_close, methods=["POST"])


@access.allow("finance")
def counter_page() -> str:
    """The household asked for and what it owes; after a payment, its receipt and the change."""
    account_no = request.args.get("account_no", "").strip()
    receipt_no = request.args.get("receipt", "")
    household, missing = None, None
    if account_no:
        try:
            household = counter.household_by_account(account_no)
        except Problem as problem:
            missing = problem.detail
    return render_template(
        "console/counter.html",
        shift=shifts.my_shift(access.principal()),
        account_no=account_no[:64],
        household=household,
        missing=missing,
        receipt=counter_report.payment_view(receipt_no) if receipt_no else None,
        terminals=shifts.terminals(),
        methods=METHODS,
        client_key=secrets.token_hex(16),
    )


@access.allow("finance")
def counter_take() -> Response:
    """Take the money; then the receipt with the change to hand back."""
    account_no = sent.text("account_no")
    try:
        made = counter.take(access.principal(), sent.text("client_key"), _taking(), now())
    except Problem as problem:
        db.session.rollback()
        flash(f"未收款：{problem.detail}", "bad")
        return redirect(url_for("console.counter", account_no=account_no), 303)
    return redirect(url_for("console.counter", receipt=made.receipt_no), 303)


def _taking() -> counter.Taking:
    """Each ticked bill says what it was shown to owe, so a sum that has changed is noticed."""
    shown = dict(_pair(value) for value in request.form.getlist("bill"))
    topup_fen = sent.yuan("topup")
    amount_fen = sum(shown.values()) + topup_fen
    if request.form.get("method") == "pos":
        reference = sent.text("reference") or None
        tender = counter.Tender("pos", amount_fen, sent.whole("terminal_id"), reference)
    else:
        tender = counter.Tender("cash", sent.yuan("tendered"))
    household_id = sent.whole("household_id")
    return counter.Taking(household_id, tuple(sorted(shown)), topup_fen, amount_fen, tender)


@access.allow("finance")
def counter_void(receipt_no: str) -> Response:
    """Give a payment back; then the shift again."""
    shift = shifts.my_shift(access.principal())
    attempt(
        lambda: counter.void(
            access.principal(), receipt_no, sent.text("reason"), sent.second(), now()
        ),
        "已撤销，请把钱退给住户。",
    )
    if shift is None:
        return redirect(url_for("console.shifts"), 303)
    return redirect(url_for("console.shift", shift_id=shift.id), 303)


@access.allow("finance", "manager")
def shift_list() -> str:
    """The newest shifts; who has none open may open one."""
    return render_template(
        "console/shifts.html",
        mine=shifts.my_shift(access.principal()),
        may_open="finance" in roles(),
        rows=counter_report.recent(),
        drawers=shifts.drawers(),
        denominations=DENOMINATIONS_FEN,
    )


@access.allow("finance")
def shift_open() -> Response:
    """Open a shift over the counted drawer."""

    def work() -> None:
        second = sent.second()
        shifts.open_shift(
            access.principal(),
            sent.whole("drawer_id"),
            _counts(),
            now(),
            issued_fen=sent.yuan("issued"),
            reason=sent.text("reason"),
            second=second,
        )

    done = attempt(work, "已开班。")
    return redirect(url_for("console.counter" if done else "console.shifts"), 303)


@access.allow("finance", "manager")
def shift_page(shift_id: int) -> str:
    """A shift's report, for the screen and for paper; the form to close it while it is open."""
    found = counter_report.report(shift_id)
    mine = found["cashier_id"] == access.principal().id
    return render_template(
        "console/shift.html",
        shift=found,
        mine=mine,
        may_close=found["closed_at"] is None and (mine or "manager" in roles()),
        methods=METHODS,
        terminals=shifts.terminals(),
        denominations=DENOMINATIONS_FEN,
        printed_at=now(),
    )


@access.allow("finance", "manager")
def shift_close(shift_id: int) -> Response:
    """Close a shift over what was counted."""

    def work() -> None:
        second = sent.second()
        slips = {t.id: sent.yuan(f"slips{t.id}") for t in shifts.terminals()}
        closing = shifts.Closing(
            _counts(), slips, sent.yuan("left"), sent.text("deposit_reference")
        )
        shifts.close_shift(
            access.principal(), shift_id, closing, now(), reason=sent.text("reason"), second=second
        )

    attempt(work, "已交班。")
    return redirect(url_for("console.shift", shift_id=shift_id), 303)


def _counts() -> dict[int, int]:
    counts = {fen: sent.whole(f"n{fen}") for fen in DENOMINATIONS_FEN if sent.text(f"n{fen}")}
    if any(pieces > MAX_PIECES for pieces in counts.values()):
        raise Problem("validation", "清点的张数太多。", field="counts")
    return counts


def _pair(text: str) -> tuple[int, int]:
    """'17:12345' -> bill 17, shown to owe 12345 fen."""
    parts = text.split(":")
    if len(parts) != 2 or not all(p.isascii() and p.isdigit() and len(p) < 19 for p in parts):
        raise Problem("validation", field="bill_ids")
    return int(parts[0]), int(parts[1])
