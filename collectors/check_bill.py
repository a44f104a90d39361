"""`nuan check-bill`: a bill made again from its frames up; the one place that needs both sides."""

from __future__ import annotations

import click

from backend.archive.models import Meter
from backend.metering.models import Reading
from collectors.reading import REGISTERS, Asked
from collectors.unasked import NotBelieved, believe, messages


def register_of(meter: Meter, reading: Reading) -> int | None:
    """What a reading's frame says the register was; None where it is no plain current answer."""
    name = REGISTERS.get(meter.kind)
    if name is None or reading.frame is None or reading.kind != "current":
        return None
    asked = Asked.of(meter)
    try:
        heard = messages(asked.target, bytes(reading.frame))
    except ValueError:
        return None
    for one in heard:
        try:
            return believe(asked, asked.target, one, reading.read_at).values.get(name)
        except NotBelieved:
            continue
    return None


@click.command("check-bill")
@click.argument("bill_no", required=False)
@click.option("--all", "every", is_flag=True, help="Every bill, oldest first.")
def check_bill(bill_no: str | None, every: bool) -> None:
    """Make a bill again from its frames up and say equal or where not (账单复算)."""
    if (bill_no is None) == (not every):
        raise click.UsageError("a bill's number, or --all")
    from backend.base.command import application
    from backend.base.db import db
    from backend.billing import recheck
    from backend.billing.models import Bill

    different = 0
    with application():
        query = db.select(Bill.id).order_by(Bill.id)
        if bill_no is not None:
            query = query.where(Bill.bill_no == bill_no)
        ids = db.session.scalars(query).all()
        if bill_no is not None and not ids:
            click.echo(f"nuan: no bill {bill_no}", err=True)
            raise SystemExit(2)
        for bill_id in ids:
            found = recheck.check_bill(bill_id, register_of)
            different += bool(found.differences)
            said = "不符" if found.differences else "相符"
            click.echo(f"{found.bill_no}  {said}  报文 {found.frames} 帧")
            for sentence in found.differences:
                click.echo(f"  {sentence}")
            db.session.rollback()  # nothing is kept, and memory stays that of one bill
    if every:
        click.echo(f"共 {len(ids)} 张，不符 {different} 张")
    raise SystemExit(1 if different else 0)
