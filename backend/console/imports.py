"""导入读数: a file of readings is checked row by row, then taken in whole or not at all."""

from __future__ import annotations

from flask import Blueprint, render_template, request

from backend.base.db import db
from backend.base.errors import Problem
from backend.console.sessions import current, now
from backend.metering import imports
from backend.people import access

MAX_SHOWN = 200
FIELDS = {name: titles[0] for name, titles in imports.COLUMNS.items()}


def register(blueprint: Blueprint) -> None:
    """The page and its form."""
    blueprint.add_url_rule("/import", "import_readings", import_readings)
    blueprint.add_url_rule("/import", "import_file", import_file, methods=["POST"])


@access.allow("operator")
def import_readings() -> str:
    """The empty form."""
    return _page()


@access.allow("operator")
def import_file() -> str | tuple[str, int]:
    """Check the file, or take it in where 'store' was pressed; the report either way."""
    sent = request.files.get("file")
    dry_run = request.form.get("do") != "store"
    if sent is None or not sent.filename:
        return _page(refused="请先选择文件。"), 422
    staff = current()
    assert staff is not None, "the page is for operators"
    try:
        report = imports.import_readings(
            sent.stream, sent.filename, staff.id, now(), dry_run=dry_run
        )
    except Problem as problem:
        db.session.rollback()
        return _page(refused=problem.detail, name=sent.filename), problem.status
    db.session.commit()
    page = _page(report=report, name=sent.filename, dry_run=dry_run)
    return page, 422 if report.error_count else 200


def _page(
    report: imports.Report | None = None,
    name: str | None = None,
    *,
    refused: str | None = None,
    dry_run: bool = True,
) -> str:
    return render_template(
        "console/import.html",
        report=report,
        name=name,
        refused=refused,
        dry_run=dry_run,
        columns=[(title, key in imports.NEEDED) for key, title in FIELDS.items()],
        fields=FIELDS,
        max_shown=MAX_SHOWN,
    )
