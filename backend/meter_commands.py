"""Commands about meters and their readings: replace, correct, export a round, import."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import IO, Any

import click

from backend.base.clock import SHANGHAI
from backend.base.command import application

LOCAL = click.DateTime(["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M"])


@click.group()
def meter() -> None:
    """Replace a meter, correct a reading (换表、更正)."""


@meter.command()
@click.argument("meter_id", type=int)
@click.option("--final", "final_register", type=int, required=True, help="Last register, Wh or l.")
@click.option("--first", type=int, default=0, show_default=True, help="The new meter's register.")
@click.option("--address", help="The new meter's address (default: the same).")
@click.option("--protocol", help="The new meter's protocol (default: the same).")
@click.option("--profile", help="The new meter's profile (default: the same).")
@click.option("--at", type=LOCAL, help="Moment of the change, local time (default: now).")
@click.option("--reason", required=True, help="Why, for the audit trail.")
@click.option("--staff", required=True, help="Login of who says so.")
def replace(
    meter_id: int,
    final_register: int,
    first: int,
    address: str | None,
    protocol: str | None,
    profile: str | None,
    at: datetime | None,
    reason: str,
    staff: str,
) -> None:
    """End a meter with its final register and begin its successor's (换表)."""
    from backend.base.db import db
    from backend.metering.replacement import NewMeter, replace_meter

    with application() as app:
        now = app.extensions["nuan_clock"].now()
        moment = at.replace(tzinfo=SHANGHAI) if at else now
        new = NewMeter(first, address, protocol, profile)
        made = replace_meter(
            meter_id, final_register, new, moment, _staff_id(staff), now, reason=reason
        )
        click.echo(f"已换表：{meter_id} → {made.id}")
        _settle(meter_id, moment, now)
        db.session.commit()


@meter.command()
@click.argument("reading_id", type=int)
@click.argument("register", type=int)
@click.option("--reason", required=True, help="Why, for the audit trail.")
@click.option("--staff", required=True, help="Login of who says so.")
def correct(reading_id: int, register: int, reason: str, staff: str) -> None:
    """Put a reading right with a new row; REGISTER in Wh or litres (更正读数)."""
    from backend.base.db import db
    from backend.metering import corrections

    with application() as app:
        now = app.extensions["nuan_clock"].now()
        made = corrections.correct(reading_id, register, _staff_id(staff), reason, now)
        click.echo(f"已更正：{reading_id} → {made.reading_id}")
        _settle(made.meter_id, made.read_at, now)
        db.session.commit()


def _settle(meter_id: int, since: datetime, now: datetime) -> None:
    from backend.billing import changes

    settled = changes.settle(meter_id, since, now)
    click.echo(f"重新计算 {len(settled.again)} 天")
    for bill_no in settled.bill_nos:
        click.echo(f"账单 {bill_no} 已出，需人工调整（冲销后重出）")


def _staff_id(login: str) -> int:
    from backend.base.db import db
    from backend.people.models import Staff

    found: int | None = db.session.scalar(
        db.select(Staff.id).where(Staff.login == login, Staff.active)
    )
    if found is None:
        raise click.ClickException(f"no active member of staff has the login {login}")
    return found


@click.command("import-readings")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--layout", default="table", show_default=True, help="How the file is laid out.")
@click.option("--dry-run", is_flag=True, help="Check everything, store nothing.")
@click.option("--staff", required=True, help="Login of who imports.")
def import_readings(file: Path, layout: str, dry_run: bool, staff: str) -> None:
    """Take in readings from a CSV, TXT or XLSX file, all or none (导入读数).

    The layout "table" has the columns 表地址 抄表时间 读数 单位, and where needed 总线 备注 类型
    (the last 抄表 or 冻结).  Exit 1 where a row is bad.
    """
    from backend.base.db import db
    from backend.metering import imports

    with application() as app, file.open("rb") as opened:
        now = app.extensions["nuan_clock"].now()
        chosen = _layout(layout, app.extensions["nuan_settings"].file_profiles_dir)
        report = imports.import_readings(
            opened, file.name, _staff_id(staff), now, dry_run=dry_run, layout=chosen
        )
        db.session.commit()
    _say(report, dry_run)


def _layout(name: str, directory: str) -> Any:
    from backend.metering.file_layouts import LayoutError, layouts

    try:
        found = layouts(directory)
    except LayoutError as error:
        raise click.ClickException(str(error)) from None
    if name not in found:
        raise click.ClickException(f"no layout is called {name}; there are {', '.join(found)}")
    return found[name]


@click.command("export-round")
@click.argument("scope", type=click.Choice(["region", "building"]))
@click.argument("scope_id", type=int)
@click.option("--out", type=click.File("wb"), default="-", help="The file (default: the terminal).")
@click.option("--encoding", type=click.Choice(["utf-8", "gbk"]), default="utf-8", show_default=True)
def export_round(scope: str, scope_id: int, out: IO[bytes], encoding: str) -> None:
    """Write the meters of a region or building as a CSV to be filled in (抄表册).

    What comes back filled in is taken in by `nuan import-readings`.
    """
    from backend.metering import rounds

    with application():
        _, rows = rounds.round_of(scope, scope_id)
        for chunk in rounds.as_csv(rows, encoding):
            out.write(chunk)


def _say(report: Any, dry_run: bool) -> None:
    for kind, notes in (("错误", report.errors), ("存疑", report.doubtful)):
        for note in notes:
            click.echo(f"{kind}：第 {note.line} 行 {note.field}：{note.sentence} ({note.code})")
    verb = "可导入" if dry_run else "已导入"
    click.echo(
        f"共 {report.rows} 行，{verb} {report.stored}，重复 {report.duplicates}，"
        f"未填 {report.blank}，错误 {report.error_count}"
    )
    if report.error_count:
        raise SystemExit(1)
