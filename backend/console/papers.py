"""票据: papers found, issued, printed, voided and taken back; the numbering report."""

from __future__ import annotations

import secrets
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import counter
from backend.cashier.papers import (
    deductions,
    invoices,
    numbering,
    platform,
    press,
    rules,
    sheets,
    titles,
    undoing,
    views,
    worklist,
)
from backend.cashier.papers.templates import SIZE_TITLES
from backend.console import sent
from backend.console.sessions import attempt, now, roles
from backend.people import access

NO = "string(maxlength=32)"
ID = "int(max=9223372036854775807)"
PAGE = 50
# A sheet has the styles of its template and nothing else: no script, no form, no other host.
SHEET_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; font-src 'self'; img-src data:; "
    "frame-ancestors 'self'; sandbox allow-same-origin allow-modals"
)


def register(blueprint: Blueprint) -> None:
    """The pages and their buttons."""
    add = blueprint.add_url_rule
    add("/papers", "papers", paper_list)
    add("/papers/report", "paper_report", paper_report)
    add("/papers/invoice", "invoice_new", invoice_new)
    add("/papers/invoice", "invoice_issue", invoice_issue, methods=["POST"])
    add("/papers/title", "title_add", title_add, methods=["POST"])
    add(f"/papers/<{NO}:paper_no>", "paper", paper_page)
    add(f"/papers/<{NO}:paper_no>/sheet", "paper_sheet", paper_sheet)
    add(f"/papers/<{NO}:paper_no>/pdf", "paper_pdf", paper_pdf)
    add(f"/papers/<{NO}:paper_no>/print", "paper_print", paper_print, methods=["POST"])
    add(f"/papers/<{NO}:paper_no>/prints/<{ID}:seq>", "paper_printed", paper_printed)
    add(f"/papers/<{NO}:paper_no>/void", "paper_void", paper_void, methods=["POST"])
    add(f"/papers/<{NO}:paper_no>/red", "paper_red", paper_red, methods=["POST"])
    add(f"/papers/<{NO}:paper_no>/platform", "paper_record", paper_record, methods=["POST"])


@access.allow("finance", "manager")
def paper_list() -> str:
    """Papers by number, account number or kind, the newest first."""
    before = request.args.get("before", "")
    text, kind = request.args.get("text", "")[:64], request.args.get("kind", "")
    older = int(before) if before.isascii() and before.isdigit() and len(before) < 18 else None
    wanted = views.Search(text, kind if kind in rules.TITLES else "", before=older, limit=PAGE)
    found = views.search(wanted)
    return render_template(
        "console/papers.html",
        rows=found[:PAGE],
        more=len(found) > PAGE,
        text=text,
        kind=kind,
        kinds=rules.TITLES,
        states=views.STATES,
        waiting=len(worklist.waiting()),
        may_issue="finance" in roles(),
    )


@access.allow("finance", "manager")
def paper_report() -> str:
    """The numbering report, and what papers say too much."""
    return render_template(
        "console/paper_report.html",
        series=numbering.report(),
        waiting=worklist.waiting(),
        kinds=rules.TITLES,
    )


@access.allow("finance", "manager")
def paper_page(paper_no: str) -> str:
    """A paper and everything that can be done with it."""
    return render_template(
        "console/paper.html", paper=views.detail(paper_no), states=views.STATES, sizes=SIZE_TITLES
    )


@access.allow("finance", "manager")
def paper_sheet(paper_no: str) -> Response:
    """The paper to look at."""
    return sheet_answer(sheets.on_screen(views.by_number(paper_no), _size(request.args)))


@access.allow("finance", "manager")
def paper_pdf(paper_no: str) -> Response:
    """The paper as a PDF."""
    sheet = sheets.electronic(views.by_number(paper_no), _size(request.args))
    answer = Response(sheet.document, content_type="application/pdf")
    answer.headers["Content-Disposition"] = f'inline; filename="{paper_no}.pdf"'
    return answer


@access.allow("finance", "manager")
def paper_print(paper_no: str) -> Response:
    """Write a print down, then its sheet."""
    size = _size(request.form)
    made = sheets.print_once(views.by_number(paper_no), size, access.principal(), now())
    db.session.commit()
    return redirect(url_for("console.paper_printed", paper_no=paper_no, seq=made.seq), 303)


@access.allow("finance", "manager")
def paper_printed(paper_no: str, seq: int) -> Response:
    """The sheet of a print: from the second one on it is marked 补打."""
    return sheet_answer(sheets.printed(views.by_number(paper_no), seq))


def sheet_answer(sheet: press.Sheet) -> Response:
    """A sheet by itself, under a policy of its own."""
    answer = Response(sheet.document, content_type="text/html; charset=utf-8")
    answer.headers["Content-Security-Policy"] = SHEET_POLICY
    answer.headers["X-Frame-Options"] = "SAMEORIGIN"
    return answer


@access.allow("finance", "manager")
def paper_void(paper_no: str) -> Response:
    """Void a paper; its number is kept."""
    attempt(
        lambda: undoing.void(
            paper_no, sent.text("reason"), access.principal(), sent.second(), now()
        ),
        "已作废，号码保留。",
    )
    return redirect(url_for("console.paper", paper_no=paper_no), 303)


@access.allow("finance", "manager")
def paper_red(paper_no: str) -> Response:
    """Take a paper back, whole or a part."""
    made: list[str] = []

    def work() -> None:
        second = sent.second()
        amount_fen = sent.yuan("amount") if sent.text("amount") else None
        who, why = access.principal(), sent.text("reason")
        made.append(undoing.take_back(paper_no, amount_fen, why, who, second, now()).paper_no)

    done = attempt(work, "红字票据已开具。")
    return redirect(url_for("console.paper", paper_no=made[0] if done else paper_no), 303)


@access.allow("finance", "manager")
def paper_record(paper_no: str) -> Response:
    """Write the tax platform's number down."""
    number = sent.text("platform_no")

    def work() -> None:
        if not number.isascii() or not number.isalnum() or not 8 <= len(number) <= 32:
            raise Problem("validation", "税务平台号码应为 8 到 32 位数字或字母。")
        platform.record(paper_no, "etax", number, access.principal(), now())

    attempt(work, "税务平台号码已登记。")
    return redirect(url_for("console.paper", paper_no=paper_no), 303)


@access.allow("finance")
def invoice_new() -> str:
    """A household by 户号: what can be invoiced, and to whom."""
    account_no = request.args.get("account_no", "").strip()[:64]
    household, missing, today = None, None, business_day(now())
    if account_no:
        try:
            household = counter.household_by_account(account_no)
        except Problem as problem:
            missing = problem.detail
    return render_template(
        "console/invoice_new.html",
        account_no=account_no,
        household=household,
        missing=missing,
        bills=invoices.invoiceable(household["id"]) if household else [],
        months=deductions.invoiceable(household["id"], today) if household else [],
        titles=titles.of_household(household["id"]) if household else [],
        key=secrets.token_hex(16),
    )


@access.allow("finance")
def invoice_issue() -> Response:
    """Issue the invoice; then its page."""
    made: list[str] = []

    def work() -> None:
        title = sent.text("title_id")
        wanted = invoices.Wanted(
            sent.whole("household_id"),
            tuple(sorted({sent.number(b, "bill_ids") for b in request.form.getlist("bill")})),
            "special" if sent.text("kind") == "special" else "invoice",
            sent.number(title, "title_id") if title else None,
            f"console:{access.principal().id}:{sent.text('key')}",
            sent.text("remark")[:100],
            tuple(_month(month) for month in request.form.getlist("month")),
        )
        made.append(invoices.issue(wanted, access.principal(), now()).paper_no)

    if attempt(work, "发票已开具。"):
        return redirect(url_for("console.paper", paper_no=made[0]), 303)
    return redirect(url_for("console.invoice_new", account_no=sent.text("account_no")), 303)


def _month(sent_key: str) -> deductions.Key:
    """'water:2026-10' -> the deductions of that month."""
    utility, _, month = sent_key.partition(":")
    return utility[: sent.MAX_TEXT], deductions.month_of(month)


@access.allow("finance")
def title_add() -> Response:
    """A new title of a household."""

    def work() -> None:
        kind = "company" if sent.text("kind") == "company" else "person"
        party = titles.checked(kind, {name: sent.text(name) for name in request.form})
        household_id = sent.whole("household_id")
        titles.add(household_id, party, bool(sent.text("is_default")), access.principal(), now())

    attempt(work, "抬头已保存。")
    return redirect(url_for("console.invoice_new", account_no=sent.text("account_no")), 303)


def _size(given: Any) -> str:
    size = given.get("size", "a5")
    if size not in rules.SIZES:
        raise Problem("validation", "没有这种纸张。", field="size")
    return str(size)
