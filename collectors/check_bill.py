"""`nuan check-bill`: bills made again from their frames up; the one place that needs both sides."""

from __future__ import annotations

from collections.abc import Iterator

import click
from flask import Flask

from backend.billing.recheck import Checked, Checker
from collectors.map_files import field_maps
from collectors.redecode import decoder


@click.command("check-bill")
@click.argument("bill_no", required=False)
@click.option("--all", "every", is_flag=True, help="Every bill, credit and prepaid account.")
def check_bill(bill_no: str | None, every: bool) -> None:
    """Make a bill again from its frames up and say equal or where not (账单复算).

    With --all every bill, oldest first, then every credit, prepaid account and handover. Exit 1
    where something differs.
    """
    if (bill_no is None) == (not every):
        raise click.UsageError("a bill's number, or --all")
    from backend.base.command import application
    from backend.base.db import db

    count = different = 0
    with application() as app:
        checker = _checker(app)
        for found in _every(checker) if bill_no is None else _one(checker, bill_no):
            count += 1
            different += bool(found.differences)
            _say(found)
            db.session.rollback()  # nothing is kept, and memory stays that of one bill
    if every:
        frames = checker.frames
        click.echo(
            f"共 {count} 项，不符 {different} 项；解码报文 {frames.decoded} 帧，"
            f"没有报文的读数 {frames.unframed} 个"
        )
    raise SystemExit(1 if different else 0)


def _checker(app: Flask) -> Checker:
    settings = app.extensions["nuan_settings"]
    return Checker(decoder(field_maps(settings.field_maps_dir)))


def _say(found: Checked) -> None:
    said = "不符" if found.differences else "相符"
    click.echo(f"{found.bill_no}  {said}  报文 {found.frames} 帧")
    for sentence in (*found.differences, *found.notes):
        click.echo(f"  {sentence}")


def _every(checker: Checker) -> Iterator[Checked]:
    from backend.base.db import db
    from backend.billing import recheck_accounts
    from backend.billing.models import Bill

    for bill_id in db.session.scalars(db.select(Bill.id).order_by(Bill.id)).all():
        yield checker.bill(bill_id)
    yield from recheck_accounts.everything(checker)


def _one(checker: Checker, bill_no: str) -> Iterator[Checked]:
    from backend.base.db import db
    from backend.billing.models import Bill

    bill_id = db.session.scalar(db.select(Bill.id).where(Bill.bill_no == bill_no))
    if bill_id is None:
        click.echo(f"nuan: no bill {bill_no}", err=True)
        raise SystemExit(2)
    yield checker.bill(bill_id)
