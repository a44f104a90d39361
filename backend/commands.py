"""The commands that run Nuan's parts: migrate, serve, worker, settings, explain, allocate."""

from __future__ import annotations

import socket
from datetime import date
from typing import NoReturn

import click

from backend import config


def fail(message: str) -> NoReturn:
    """One line on standard error, exit 2: something outside has to be put right."""
    click.echo(f"nuan: {message}", err=True)
    raise SystemExit(2)


@click.command()
def migrate() -> None:
    """Bring the database to the newest version (升级数据库)."""
    from backend.base import schema
    from backend.base.command import application

    with application():
        schema.migrate()
    click.echo("数据库已是最新版本")


@click.command()
@click.option("--host", help="Address to listen on (default: NUAN_HTTP_HOST).")
@click.option("--port", type=click.IntRange(1, 65535), help="Port (default: NUAN_HTTP_PORT).")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes (NUAN_WEB_WORKERS).")
def serve(host: str | None, port: int | None, workers: int | None) -> None:
    """Run the web server: API, console and H5 pages (网页与接口)."""
    settings = _settings()
    address, number = host or settings.http_host, port or settings.http_port
    ensure_free(address, number, "NUAN_HTTP_PORT")
    from granian import Granian
    from granian.constants import Interfaces
    from granian.log import LogLevels

    Granian(
        "backend.wsgi:app",
        address=address,
        port=number,
        interface=Interfaces.WSGI,
        workers=workers or settings.web_workers,
        blocking_threads=8,
        backpressure=64,
        backlog=1024,
        respawn_failed_workers=True,
        log_level=LogLevels.warning,
    ).serve()


def ensure_free(host: str, port: int, setting: str) -> None:
    """End in one line where the port is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fail(
                f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it, "
                f"or choose another with {setting}"
            )


@click.command()
@click.option("--concurrency", default=4, show_default=True, type=click.IntRange(1, 64))
@click.option("--once", is_flag=True, help="Stop when the queue is empty.")
def worker(concurrency: int, once: bool) -> None:
    """Carry out queued tasks (后台任务)."""
    from backend.base import tasks
    from backend.base.command import application

    with application() as app:
        tasks.run_worker(app.config["NUAN_DATABASE_URL"], wait=not once, concurrency=concurrency)


@click.command()
@click.option("--markdown", is_flag=True, help="The settings page of the documentation.")
def settings(markdown: bool) -> None:
    """Show every setting and its value; secrets stay hidden (设置)."""
    if markdown:
        click.echo(config.markdown(), nl=False)
        return
    values = _settings().values
    for setting in config.SETTINGS:
        value = values[setting.field]
        shown = "(set)" if setting.secret and value else value
        click.echo(f"{setting.env:32} {shown!s:28} {setting.help}")


@click.command()
@click.argument("bill_no")
def explain(bill_no: str) -> None:
    """Show why a bill is what it is, back to the readings (账单由来)."""
    from backend.base.command import application
    from backend.base.db import db
    from backend.billing import explain as billing
    from backend.billing.models import Bill

    with application():
        bill_id = db.session.scalar(db.select(Bill.id).where(Bill.bill_no == bill_no))
        if bill_id is None:
            fail(f"no bill {bill_no}")
        found = billing.explain(bill_id)
        for sentence in found["sentences"]:
            click.echo(sentence)
        for r in found["readings"]:
            click.echo(
                f"  读数 {r['id']}  {r['read_at']:%Y-%m-%d %H:%M}Z  表 {r['meter_address']}"
                f"  {r['register']} {r['unit']}  {r['source']}"
            )
            if r["frame"]:
                click.echo(f"    报文 {r['frame']}")


@click.command()
@click.argument("building")
@click.argument("period_from", type=click.DateTime(["%Y-%m-%d"]))
@click.argument("period_to", type=click.DateTime(["%Y-%m-%d"]))
def allocate(building: str, period_from: date, period_to: date) -> None:
    """Share a building's heat over [FROM, TO) without billing it (试分摊)."""
    from backend.allocation import service
    from backend.allocation.models import AllocationShare
    from backend.archive.models import Building, Household
    from backend.base.command import application
    from backend.base.db import db

    with application() as app:
        building_id = db.session.scalar(db.select(Building.id).where(Building.code == building))
        if building_id is None:
            fail(f"no building {building}")
        now = app.extensions["nuan_clock"].now()
        first, last = (d.date() for d in (period_from, period_to))  # type: ignore[attr-defined]
        run = service.allocate(building_id, first, last, "trial", now)
        rows = db.session.execute(
            db.select(Household.unit_no, AllocationShare.energy_wh, AllocationShare.share)
            .join(AllocationShare, AllocationShare.household_id == Household.id)
            .where(AllocationShare.run_id == run.id)
            .order_by(Household.unit_no)
        ).all()
        for row in rows:
            click.echo(f"{row.unit_no}\t{row.energy_wh} Wh\t{row.share * 100:.6f} %")
        click.echo(f"合计\t{run.total_wh} Wh")
        db.session.rollback()


def _settings() -> config.Settings:
    try:
        return config.load()
    except config.SettingError as error:
        fail(str(error))
