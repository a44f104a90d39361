"""月结, 科目对账单 and 凭证: what blocks a month, its trial balance, its vouchers for the ERP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend.base.clock import add_months, business_day, month_start
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import months, vouchers
from backend.cashier.rules import UTILITY_ZH
from backend.console import sent
from backend.console.sessions import attempt, now, roles
from backend.ledger import periods
from backend.ledger.models import LedgerMonth
from backend.people import access
from backend.people.models import Staff

MAX_REASON = 500
BLOCKED = {
    "month_not_over": "这个月还没有结束",
    "month_before_open": "前面的月份还没有月结",
    "month_empty": "这个月没有账",
}


def register(blueprint: Blueprint) -> None:
    """The pages and their forms."""
    add = blueprint.add_url_rule
    add("/months", "months", month_page)
    add("/months/<month>/act", "month_act", month_act, methods=["POST"])
    add("/months/<month>/vouchers", "voucher_export", voucher_export, methods=["POST"])
    add("/ledger", "ledger_account", account_page)
    add("/vouchers", "voucher_accounts", voucher_accounts)
    add("/vouchers", "voucher_account_set", voucher_account_set, methods=["POST"])


@access.allow("finance", "manager")
def month_page() -> str:
    """A month: what blocks it, its trial balance, revenue, what is carried over, its vouchers."""
    text = request.args.get("month", "")
    month = _month(text) if text else months.newest(now())
    found, trial = periods.month_of(month), periods.groups(month)
    staff = _names(found)
    me = access.principal().id
    asked_by = found.reopen_asked_by if found else None
    return render_template(
        "console/months.html",
        month=month,
        before=add_months(month, -1),
        after=add_months(month, 1),
        latest=month_start(business_day(now())),
        found=found,
        is_closed=found is not None and found.state == "closed",
        staff_names=staff,
        checks=months.checklist(month, now()),
        trial=trial,
        revenue=months.revenue(trial),
        prepaid=months.prepaid(trial),
        runs=vouchers.runs(month),
        layouts=vouchers.layouts(),
        unmapped=vouchers.unmapped(month, vouchers.accounts()),
        blocked=BLOCKED,
        utilities=UTILITY_ZH,
        may_act="finance" in roles(),
        may_reopen=asked_by is not None and asked_by != me,
    )


@access.allow("finance", "manager")
def month_act(month: str) -> AnyResponse:
    """Close a month, ask for it to be opened again, or agree to that."""
    when, reason, actor = _month(month), sent.text("reason", MAX_REASON), access.principal()
    acts: dict[str, tuple[Callable[[], Any], str]] = {
        "close": (lambda: months.close_month(when, reason, actor, now()), "已月结。"),
        "ask": (
            lambda: months.ask_reopen(when, reason, actor, now()),
            "已申请，待另一位同事同意。",
        ),
        "reopen": (lambda: months.reopen(when, actor, now()), "已重开。"),
    }
    what = sent.text("do")
    if what not in acts:
        raise Problem("not_found")
    if what == "close" and "finance" not in roles():
        raise Problem("forbidden")
    attempt(*acts[what])
    return redirect(url_for("console.months", month=f"{when:%Y-%m}"), 303)


@access.allow("finance")
def voucher_export(month: str) -> AnyResponse:
    """A closed month's vouchers as a file, streamed."""
    when = _month(month)
    try:
        made = vouchers.export(when, sent.text("format"), access.principal(), now())
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
        return redirect(url_for("console.months", month=f"{when:%Y-%m}"), 303)
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(made.name)}"}
    return Response(made.pieces(), mimetype=made.mimetype, headers=headers)


@access.allow("finance", "manager")
def account_page() -> str:
    """An account's statement of a month; or the accounts of a group to choose from."""
    code = request.args.get("code", "")[:100]
    text = request.args.get("month", "")
    month = _month(text) if text else month_start(business_day(now()))
    found, choices = None, []
    if code and not code.endswith(":"):
        try:
            last = date.fromordinal(add_months(month, 1).toordinal() - 1)
            found = periods.statement(code, month, last, _after())
        except Problem:
            choices = periods.accounts(f"{code}:", request.args.get("from", "")[:100])
            if not choices:
                raise
    return render_template(
        "console/ledger_account.html",
        code=code,
        month=month,
        found=found,
        choices=choices,
        more=choices[-1][0] if len(choices) == periods.PAGE else None,
    )


def _after() -> tuple[date, int] | None:
    """The page's place, '2026-11-20.17'."""
    day, dot, number = request.args.get("after", "").partition(".")
    if not dot or not (number.isascii() and number.isdigit() and len(number) <= 18):
        return None
    try:
        return date.fromisoformat(day), int(number)
    except ValueError:
        return None


@access.allow("finance", "manager")
def voucher_accounts() -> str:
    """Which of the ERP's accounts ours are."""
    return render_template(
        "console/voucher_accounts.html",
        rows=vouchers.accounts(),
        may_act="finance" in roles(),
    )


@access.allow("finance")
def voucher_account_set() -> AnyResponse:
    """Set a line, take one away, or fill in the sample's."""
    actor = access.principal()
    if sent.text("do") == "sample":
        attempt(lambda: vouchers.load_sample(actor, now()), "已填入样例中尚未设置的科目。")
    else:
        names = ("prefix", "erp_code", "erp_name", "aux")
        prefix, code, name, aux = (sent.text(field) for field in names)
        attempt(lambda: vouchers.set_account(prefix, code, name, aux, actor, now()), "已保存。")
    return redirect(url_for("console.voucher_accounts"), 303)


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise Problem("not_found") from None


def _names(found: LedgerMonth | None) -> dict[int, str]:
    if found is None:
        return {}
    ids = [i for i in (found.closed_by, found.reopen_asked_by, found.reopened_by) if i]
    rows = db.session.execute(db.select(Staff.id, Staff.name).where(Staff.id.in_(ids)))
    return {row.id: row.name for row in rows}
