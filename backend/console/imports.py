"""导入读数: a round to take along, and a file of readings checked row by row, then taken in whole
or not at all."""

from __future__ import annotations

from urllib.parse import quote

from flask import Blueprint, Response, current_app, render_template, request, stream_with_context

from backend.archive.models import Building, Region
from backend.base.db import db
from backend.base.errors import Problem
from backend.console.sessions import current, now
from backend.metering import file_layouts, imports, rounds
from backend.metering.file_layouts import DEFAULT, Layout
from backend.people import access

MAX_SHOWN = 200
MAX_CHOICES = 2000


def register(blueprint: Blueprint) -> None:
    """The page, its form, and the round to download."""
    blueprint.add_url_rule("/import", "import_readings", import_readings)
    blueprint.add_url_rule("/import", "import_file", import_file, methods=["POST"])
    blueprint.add_url_rule("/round", "round_file", round_file)


def _layouts() -> dict[str, Layout]:
    return file_layouts.layouts(current_app.extensions["nuan_settings"].file_profiles_dir)


@access.allow("operator")
def import_readings() -> str:
    """The empty form."""
    return _page()


@access.allow("operator")
def import_file() -> str | tuple[str, int]:
    """Check the file, or take it in where 'store' was pressed; the report either way."""
    sent = request.files.get("file")
    dry_run = request.form.get("do") != "store"
    layout = _layouts().get(request.form.get("layout", DEFAULT))
    if layout is None:
        return _page(refused="没有这种文件格式。"), 422
    if sent is None or not sent.filename:
        return _page(refused="请先选择文件。", layout=layout), 422
    staff = current()
    assert staff is not None, "the page is for operators"
    try:
        report = imports.import_readings(
            sent.stream, sent.filename, staff.id, now(), dry_run=dry_run, layout=layout
        )
    except Problem as problem:
        db.session.rollback()
        refused = _page(refused=problem.detail, name=sent.filename, layout=layout)
        return refused, problem.status
    db.session.commit()
    page = _page(report=report, name=sent.filename, dry_run=dry_run, layout=layout)
    return page, 422 if report.error_count else 200


def _page(
    report: imports.Report | None = None,
    name: str | None = None,
    *,
    refused: str | None = None,
    dry_run: bool = True,
    layout: Layout | None = None,
) -> str:
    found = _layouts()
    return render_template(
        "console/import.html",
        report=report,
        name=name,
        refused=refused,
        dry_run=dry_run,
        layouts=found,
        layout=layout or found[DEFAULT],
        fields=file_layouts.FIELDS,
        max_shown=MAX_SHOWN,
        regions=db.session.scalars(db.select(Region).order_by(Region.id).limit(MAX_CHOICES)).all(),
        buildings=db.session.scalars(
            db.select(Building).order_by(Building.code).limit(MAX_CHOICES)
        ).all(),
    )


@access.allow("operator", "manager")
def round_file() -> Response:
    """The round of 'region:3' or 'building:7' as a CSV."""
    scope, _, number = request.args.get("what", "").partition(":")
    coding = request.args.get("coding", "utf-8")
    is_number = number.isascii() and number.isdigit() and len(number) <= 18
    if not is_number or coding not in rounds.ENCODINGS:
        raise Problem("not_found")
    title, rows = rounds.round_of(scope, int(number))
    name = quote(f"抄表册-{title}-{now():%Y%m%d}.csv")
    return Response(
        stream_with_context(rounds.as_csv(rows, coding)),
        mimetype="text/csv",
        headers={"Content-Disposition": f"attachment; filename*=UTF-8''{name}"},
    )
