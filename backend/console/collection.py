"""银行代扣, 代扣签约 and 银行流水: batches by two persons, mandates, the accounts' movements."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from backend.archive.models import Region
from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import (
    acquirers,
    bank_accounts,
    bank_views,
    collection,
    collection_end,
    collection_export,
    collection_results,
    collection_views,
    mandates,
)
from backend.cashier.collection import Choice
from backend.cashier.rules import UTILITY_ZH
from backend.console import asked, sent
from backend.console.runs import MAX_CHOICES
from backend.console.sessions import attempt, now, roles
from backend.people import access

NO = "string(maxlength=64)"
ID = "int(max=9223372036854775807)"
BATCH_STATES = {
    "drafted": "待核准",
    "approved": "已核准",
    "exporting": "导出中",
    "exported": "已送银行",
    "closed": "已结束",
    "cancelled": "已作废",
}
LINE_STATES = {
    "waiting": "待回盘",
    "success": "成功",
    "failed": "失败",
    "unknown": "银行未定",
    "withdrawn": "未送银行",
}


def register(blueprint: Blueprint) -> None:
    """The pages, their forms and the file."""
    add = blueprint.add_url_rule
    add("/collection", "collection", collection_page)
    add("/collection", "collection_draft", collection_draft, methods=["POST"])
    add("/collection/results", "collection_result", collection_result, methods=["POST"])
    add(f"/collection/<{NO}:batch_no>", "collection_batch", collection_batch)
    add(f"/collection/<{NO}:batch_no>/file", "collection_file", collection_file, methods=["POST"])
    add(f"/collection/<{NO}:batch_no>/act", "collection_act", collection_act, methods=["POST"])
    add("/mandates", "mandates", mandate_list)
    add("/mandates", "mandate_sign", mandate_sign, methods=["POST"])
    add(f"/mandates/<{ID}:mandate_id>/cancel", "mandate_cancel", mandate_cancel, methods=["POST"])
    add("/bank", "bank_statements", bank_page)
    add("/bank", "bank_take", bank_take, methods=["POST"])
    add("/bank/settlements", "settlement_take", settlement_take, methods=["POST"])
    add(f"/bank/<{ID}:statement_id>", "bank_statement", bank_statement)
    add(f"/bank/<{ID}:statement_id>/match", "bank_match", bank_match, methods=["POST"])
    add(f"/bank/settlements/<{ID}:acquirer_settlement_id>", "acquirer_settlement", settlement_page)


@access.allow("finance", "manager")
def collection_page() -> str:
    """The newest batches; the form of a new one, and of a result."""
    today = business_day(now())
    regions = db.select(Region).order_by(Region.id).limit(MAX_CHOICES)
    return render_template(
        "console/collection.html",
        batches=collection_views.batches(asked.maybe("before")),
        refused=collection_views.refused(),
        banks=mandates.banks(),
        regions=db.session.scalars(regions).all(),
        utilities=UTILITY_ZH,
        today=today,
        due_by=today + timedelta(days=7),
        may_act="finance" in roles(),
        states=BATCH_STATES,
    )


@access.allow("finance")
def collection_draft() -> AnyResponse:
    """Draft a batch; then its page."""
    made: list[str] = []

    def work() -> None:
        choice = Choice(
            _day("due_by"),
            asked.number(sent.text("region_id")),
            sent.text("utility") or None,
            sent.text("account_no") or None,
            sent.text("by") or "household",
        )
        actor = access.principal()
        batch = collection.draft(sent.text("bank"), _day("day"), choice, actor, now())
        made.append(batch.batch_no)

    if attempt(work, "批次已拟，请另一位同事核准。"):
        return redirect(url_for("console.collection_batch", batch_no=made[0]), 303)
    return redirect(url_for("console.collection"), 303)


@access.allow("finance", "manager")
def collection_batch(batch_no: str) -> str:
    """A batch: who did what, its lines by state, its results; what may be done next."""
    found = collection_views.batch(batch_no)
    state = request.args.get("state", "")
    lines = collection_views.lines(found["id"], asked.maybe("after", 0) or 0, state)
    me = access.principal().id
    return render_template(
        "console/collection_batch.html",
        batch=found,
        lines=lines,
        state=state,
        more=lines[-1]["seq"] if len(lines) == collection_views.PAGE else None,
        may_act="finance" in roles(),
        may_approve=found["state"] == "drafted" and found["drafted_by"] != me,
        states=BATCH_STATES,
        line_states=LINE_STATES,
    )


@access.allow("finance", "manager")
def collection_act(batch_no: str) -> AnyResponse:
    """Approve, export, cancel or close a batch; who may, the batch says."""
    what, reason, actor = sent.text("do"), sent.text("reason"), access.principal()
    acts: dict[str, tuple[Callable[[], Any], str]] = {
        "approve": (lambda: collection.approve(batch_no, actor, now()), "已核准。"),
        "export": (
            lambda: collection_export.export(batch_no, actor, now()),
            "文件已生成，可以下载。",
        ),
        "cancel": (lambda: collection_end.cancel(batch_no, reason, actor, now()), "批次已作废。"),
        "close": (lambda: collection_end.close(batch_no, reason, actor, now()), "批次已结束。"),
    }
    if what not in acts:
        raise Problem("not_found")
    if what in ("export", "close") and "finance" not in roles():
        raise Problem("forbidden")
    attempt(*acts[what])
    return redirect(url_for("console.collection_batch", batch_no=batch_no), 303)


@access.allow("finance")
def collection_file(batch_no: str) -> Response:
    """The batch's file for the bank; that it was taken is written down."""
    name, data = collection_export.file_of(batch_no, access.principal(), now())
    db.session.commit()
    headers = {"Content-Disposition": f"attachment; filename={name}", "Cache-Control": "no-store"}
    return Response(data, mimetype="application/octet-stream", headers=headers)


@access.allow("finance")
def collection_result() -> AnyResponse:
    """Take in a bank's result file; then its batch, or why not."""
    try:
        name, data = _file()
        made, new = collection_results.take(
            sent.text("bank"), name, data, access.principal(), now()
        )
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
        return redirect(url_for("console.collection"), 303)
    said = f"成功 {made.success_count} 笔，失败 {made.failed_count} 笔"
    said += f"，未定 {made.unknown_count} 笔。" if made.unknown_count else "。"
    flash(f"回盘已入账：{said}" if new else "这个文件已经导入过，没有重复入账。", "good")
    batches = [row for row in collection_views.batches() if row["id"] == made.batch_id]
    if batches:
        return redirect(url_for("console.collection_batch", batch_no=batches[0]["batch_no"]), 303)
    return redirect(url_for("console.collection"), 303)


@access.allow("finance", "manager")
def mandate_list() -> str:
    """Mandates, masked; the form of a new one."""
    account_no = request.args.get("account_no", "").strip()[:64]
    rows = mandates.listed(account_no, asked.maybe("before"))
    return render_template(
        "console/mandates.html",
        rows=rows,
        account_no=account_no,
        more=rows[-1]["id"] if len(rows) == mandates.PAGE else None,
        banks=mandates.banks(),
        today=business_day(now()),
        may_act="finance" in roles(),
    )


@access.allow("finance")
def mandate_sign() -> AnyResponse:
    """Sign a household up."""

    def work() -> None:
        agreed = mandates.Agreement(
            sent.text("account_no"),
            sent.text("bank"),
            sent.text("contract_no"),
            sent.text("holder"),
            sent.text("card_no").replace(" ", ""),
            _day("valid_from"),
            _day("valid_to") if sent.text("valid_to") else None,
        )
        mandates.sign(agreed, access.principal(), now())

    try:
        attempt(work, "已签约。")
    except Problem as problem:  # no such household or bank: said on the page, typed again
        flash(problem.detail, "bad")
    return redirect(url_for("console.mandates"), 303)


@access.allow("finance")
def mandate_cancel(mandate_id: int) -> AnyResponse:
    """End a mandate."""
    actor = access.principal()
    attempt(lambda: mandates.cancel(mandate_id, sent.text("reason"), actor, now()), "已解约。")
    return redirect(url_for("console.mandates"), 303)


@access.allow("finance", "manager")
def bank_page() -> str:
    """The newest statements of the company's accounts; the form of another."""
    return render_template(
        "console/bank.html",
        rows=bank_views.statements(),
        accounts=bank_accounts.accounts(),
        acquirers=acquirers.in_use(),
        settlements=bank_views.settlements(),
        may_act="finance" in roles(),
    )


@access.allow("finance")
def bank_take() -> AnyResponse:
    """Take in an account's movements of a day; then their page, or why not."""
    try:
        name, data = _file()
        made, new = bank_accounts.take(sent.text("account"), name, data, access.principal(), now())
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
        return redirect(url_for("console.bank_statements"), 303)
    flash(f"已导入 {made.rows} 笔。" if new else "这一天的流水已经导入过。", "good")
    return redirect(url_for("console.bank_statement", statement_id=made.id), 303)


@access.allow("finance")
def settlement_take() -> AnyResponse:
    """Take in an acquirer's settlement; then the page, or why not."""
    try:
        name, data = _file()
        made, new = acquirers.take(sent.text("acquirer"), name, data, access.principal(), now())
        db.session.commit()
    except Problem as problem:
        db.session.rollback()
        flash(problem.detail, "bad")
    else:
        flash(f"结算单 {made.number} {'已导入' if new else '已经导入过'}。", "good")
        return redirect(url_for("console.acquirer_settlement", acquirer_settlement_id=made.id), 303)
    return redirect(url_for("console.bank_statements"), 303)


@access.allow("finance", "manager")
def settlement_page(acquirer_settlement_id: int) -> str:
    """A settlement's cards, each with the receipt it was found to be."""
    found = bank_views.settlement(acquirer_settlement_id)
    rows = bank_views.rows(acquirer_settlement_id, asked.maybe("after", 0) or 0)
    more = rows[-1]["seq"] if len(rows) == bank_views.PAGE else None
    return render_template("console/settlement_cards.html", found=found, rows=rows, more=more)


@access.allow("finance")
def bank_match(statement_id: int) -> AnyResponse:
    """Look again what the credits nobody knows are."""
    actor = access.principal()
    attempt(
        lambda: bank_accounts.rematch(statement_id, actor, now()),
        "已重新识别；仍未识别的请在资金待办中处理。",
    )
    return redirect(url_for("console.bank_statement", statement_id=statement_id), 303)


@access.allow("finance", "manager")
def bank_statement(statement_id: int) -> str:
    """A day's movements and what each was found to be."""
    found = bank_views.statement(statement_id)
    lines = bank_views.lines(statement_id, asked.maybe("after", 0) or 0)
    more = lines[-1]["seq"] if len(lines) == bank_views.PAGE else None
    return render_template(
        "console/bank_statement.html",
        found=found,
        lines=lines,
        more=more,
        may_act="finance" in roles(),
    )


def _day(name: str) -> date:
    try:
        return date.fromisoformat(sent.text(name))
    except ValueError:
        raise Problem("validation", "日期不对，例如 2026-11-20。", field=name) from None


def _file() -> tuple[str, bytes]:
    upload = request.files.get("file")
    if upload is None or not upload.filename:
        raise Problem("validation", "请先选择文件。", field="file")
    return upload.filename, upload.read()
