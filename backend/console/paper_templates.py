"""票据模板: versions, an editor with a live specimen, and a second person who puts it into use."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.base.clock import business_day
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.papers import press, specimens, templates
from backend.console.papers import sheet_answer
from backend.console.sessions import attempt, now, roles
from backend.people import access

ID = "int(max=9223372036854775807)"
KIND_TITLES = {"receipt": "收据", "invoice": "发票"}
STATES = {"draft": "草稿", "live": "启用", "dropped": "作废"}


def register(blueprint: Blueprint) -> None:
    """The pages and their buttons."""
    add, one = blueprint.add_url_rule, f"/paper-templates/<{ID}:template_id>"
    add("/paper-templates", "paper_templates", template_list)
    add("/paper-templates/preview", "paper_template_preview", preview, methods=["POST"])
    add(one, "paper_template", template_page)
    add(f"{one}/sheet", "paper_template_sheet", template_sheet)
    add(f"{one}/copy", "paper_template_copy", copy, methods=["POST"])
    add(one, "paper_template_edit", edit, methods=["POST"])
    add(
        f"{one}/decide",
        "paper_template_decide",
        decide,
        methods=["POST"],
    )


@access.allow("finance", "manager")
def template_list() -> str:
    """Every version, the newest of each kind and size first."""
    rows = templates.versions()
    db.session.commit()  # those that come with Nuan are stored when first looked at
    return render_template("console/paper_templates.html", rows=rows, **_words())


@access.allow("finance", "manager")
def template_page(template_id: int) -> str:
    """A version with its specimen; a draft can be edited."""
    found = templates.template_of(template_id)
    return render_template(
        "console/paper_template.html",
        t=found,
        seen=templates.fingerprint(found),
        mine=found.created_by == access.principal().id,
        is_manager="manager" in roles(),
        **_words(),
    )


def _words() -> dict[str, Any]:
    return {
        "kinds": KIND_TITLES,
        "sizes": templates.SIZE_TITLES,
        "states": STATES,
        "today": business_day(now()),
    }


@access.allow("finance", "manager")
def template_sheet(template_id: int) -> Response:
    """A version's specimen."""
    found = templates.template_of(template_id)
    return _specimen(found.kind, found.size, found.source, red="red" in request.args)


@access.allow("finance", "manager")
def preview() -> Response:
    """The specimen of what stands in the editor now."""
    form = request.form
    return _specimen(
        form.get("kind", ""), form.get("size", ""), form.get("source", ""), red="red" in form
    )


def _specimen(kind: str, size: str, source: str, *, red: bool) -> Response:
    """The sheet, or what is wrong with its template and in which line."""
    if kind not in templates.KINDS or size not in templates.SIZE_TITLES:
        raise Problem("validation", field="kind")
    if len(source) > templates.MAX_SOURCE:
        raise Problem("validation", "模板太长。", field="source")
    try:
        return sheet_answer(specimens.preview(kind, size, source, red=red))
    except Problem as problem:
        page = render_template("console/paper_template_bad.html", problem=problem)
        return sheet_answer(press.Sheet(page.encode(), 0, ()))


@access.allow("finance", "manager")
def copy(template_id: int) -> Response:
    """A new draft that begins as a copy of a version."""
    made: list[int] = []

    def work() -> None:
        like = templates.template_of(template_id)
        tomorrow = business_day(now()) + timedelta(days=1)
        draft = templates.draft(
            *(like.kind, like.size, f"{like.name}（改）", like.source, tomorrow),
            access.principal(),
            now(),
        )
        made.append(draft.id)

    attempt(work, "已另存为草稿。")
    return redirect(url_for("console.paper_template", template_id=made[0]), 303)


@access.allow("finance", "manager")
def edit(template_id: int) -> Response:
    """Save a draft."""
    form = request.form

    def work() -> None:
        templates.edit(
            template_id,
            form.get("name", "").strip()[:60] or "未命名",
            form.get("source", "").replace("\r\n", "\n").replace("\x00", ""),
            _day(form.get("effective_from", "")),
            form.get("seen", ""),
            access.principal(),
            now(),
        )

    attempt(work, "草稿已保存。")
    return redirect(url_for("console.paper_template", template_id=template_id), 303)


@access.allow("finance", "manager")
def decide(template_id: int) -> Response:
    """Put a draft into use (a manager who has not written it), or give it up."""
    who = access.principal()

    def work() -> None:
        if request.form.get("verb") == "drop":
            templates.drop(template_id, who, now())
            return
        if "manager" not in who.roles:
            raise Problem("forbidden")
        specimens.prove_template(template_id)
        templates.approve(template_id, request.form.get("seen", ""), who, now())

    attempt(work, "已处理。")
    return redirect(url_for("console.paper_template", template_id=template_id), 303)


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise Problem("validation", "启用日期格式不正确。", field="effective_from") from None
