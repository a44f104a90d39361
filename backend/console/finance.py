"""日结: does the ledger, the channel and our orders say the same, to the fen; close the day."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from flask import Blueprint, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.base.clock import business_day, day_bounds
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import bank_day, reconcile
from backend.console import queries
from backend.console.days import asked_day, parse_day
from backend.console.sessions import current, now, roles
from backend.people import access

STRIP_DAYS = 14
MIN_REASON = 4
MAX_REASON = 500

STRIP_TITLES = {
    "closed": "已日结",
    "signed": "带差异日结",
    "agreed": "相符未结",
    "breaks": "有差异",
    "open": "未对账",
}


def register(blueprint: Blueprint) -> None:
    """The page of a day, and its two buttons."""
    blueprint.add_url_rule("/finance", "finance_day", finance_day)
    blueprint.add_url_rule(
        "/finance/<day>/statement", "finance_statement", finance_statement, methods=["POST"]
    )
    blueprint.add_url_rule("/finance/<day>/banks", "finance_banks", finance_banks, methods=["POST"])
    blueprint.add_url_rule("/finance/<day>/close", "finance_close", finance_close, methods=["POST"])


@access.allow("finance", "manager")
def finance_day() -> str:
    """The finance day asked for (default: yesterday, the newest that can be closed)."""
    today = business_day(now())
    return _page(asked_day(default=today - timedelta(days=1), latest=today))


@access.allow("finance")
def finance_statement(day: str) -> Response:
    """Fetch one channel's statement of the day and reconcile it; then the page again."""
    when = _posted_day(day)
    channel = request.form.get("channel", "")
    try:
        reconcile.fetch_statement(channel, when, now())
        found = reconcile.reconcile(channel, when, now())
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
    else:
        agreed = found.state == "agreed"
        flash(
            "对账完成，三方相符。" if agreed else "对账完成，有差异。", "good" if agreed else "bad"
        )
    return _to_page(when)


@access.allow("finance")
def finance_banks(day: str) -> Response:
    """Hold the banks' part of the day against the ledger once more; then the page again."""
    when = _posted_day(day)
    agreed = all(row.state == "agreed" for row in bank_day.examine_all(when, now()))
    db.session.commit()
    flash(
        "银行核对完成，相符。" if agreed else "银行核对完成，有差异。", "good" if agreed else "bad"
    )
    return _to_page(when)


@access.allow("finance")
def finance_close(day: str) -> Response | tuple[str, int]:
    """Close the day under the name of whoever is signed in; over open breaks with a reason."""
    when = _posted_day(day)
    reason = request.form.get("reason", "").strip()[:MAX_REASON]
    if "reason" in request.form and len(reason) < MIN_REASON:
        bad = f"请写明原因，至少 {MIN_REASON} 个字。"
        return _page(when, reason=reason, reason_bad=bad), 422
    try:
        reconcile.close_day(when, _staff_id(), reason or None, now())
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
    else:
        flash("已日结。", "good")
    return _to_page(when)


def _staff_id() -> int:
    staff = current()
    if staff is None:  # the guard has let nobody else through
        raise Problem("not_signed_in")
    return staff.id


def _posted_day(text: str) -> date:
    return parse_day(text, latest=business_day(now()))


def _to_page(day: date) -> Response:
    return redirect(url_for("console.finance_day", day=day.isoformat()), 303)


def _page(day: date, **form: Any) -> str:
    today = business_day(now())
    last = today if today - day < timedelta(days=STRIP_DAYS) else day
    strip = queries.finance_strip(last, STRIP_DAYS)
    summary = reconcile.day_summary(day)
    channels = [_row(channel) for channel in summary["channels"]]
    counter = summary["counter"]
    accounts = summary["accounts"]
    proven = [*channels, *accounts]
    breaks = [{**b, "channel": c["channel"]} for c in proven for b in c["breaks"]]
    return render_template(
        "console/finance.html",
        day=day,
        today=today,
        over=now() >= day_bounds(day)[1],
        strip=strip,
        shown=next(row for row in strip if row["day"] == day),
        titles=STRIP_TITLES,
        may_act="finance" in roles(),
        channels=channels,
        reconciled=all(c["state"] != "unchecked" for c in channels),
        accounts=accounts,
        must_sign=any(c["state"] == "breaks" for c in proven)
        or bool(counter.unequal or counter.open_shifts),
        counter=counter,
        breaks=breaks,
        open_breaks=sum(b["resolved_at"] is None for b in breaks),
        **form,
    )


def _row(channel: dict[str, Any]) -> dict[str, Any]:
    """A channel's sums with their differences from the ledger; None where not known yet."""
    fetched = channel["statement_fetched_at"] is not None
    channel_fen = channel["channel_fen"] if fetched else None
    return {
        **channel,
        "channel_fen": channel_fen,
        "channel_gap_fen": None if channel_fen is None else channel_fen - channel["ledger_fen"],
        "orders_gap_fen": channel["orders_fen"] - channel["ledger_fen"],
    }
