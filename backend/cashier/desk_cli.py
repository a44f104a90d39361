"""`nuan desk`: what of the money waits for a person, and refunds, from a terminal."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

import click
from apiflask import APIFlask

from backend.base.command import application
from backend.base.db import db
from backend.base.errors import Problem
from backend.base.ids import out_trade_no
from backend.base.money import fen_from_yuan, yuan_str
from backend.billing.models import BillingRequest
from backend.cashier import cases, desk_views, refund_desk
from backend.cashier.cli import actor

STAFF = click.option("--staff", "login", required=True, help="Login of whoever does it.")


@click.group()
def desk() -> None:
    """Money that waits for a person, and refunds (资金待办与退款)."""


def _now(app: APIFlask) -> datetime:
    now: datetime = app.extensions["nuan_clock"].now()
    return now


@desk.command("cases")
@click.option("--kind", type=click.Choice(["order", "refund", "break", "notice"]))
@click.option("--channel", help="Of one channel.")
@click.option("--older-than", type=int, help="Days it has waited at least.")
@click.option("--nobody", is_flag=True, help="Only what nobody has taken.")
def list_cases(kind: str | None, channel: str | None, older_than: int | None, nobody: bool) -> None:
    """List what waits, the newest first (at most 50)."""
    owner = 0 if nobody else None
    wanted = cases.Filter(kind=kind, channel=channel, older_than_days=older_than, owner=owner)
    with application() as app:
        found = desk_views.case_rows(wanted, _now(app))
    for one in found["cases"]:
        amount = "-" if one["amount_fen"] is None else yuan_str(one["amount_fen"])
        number = one["out_trade_no"] or one["reference"]
        click.echo(
            f"{one['id']} {one['kind']} {one['type']} {one['channel']} {one['day']} {number}"
            f" {amount} {one['owner'] or '-'} {one['age_days']}d {one['state']}"
        )
    click.echo(f"{sum(found['counts'].values())} open")


@desk.command()
@click.argument("case_id", type=int)
def case(case_id: int) -> None:
    """Show one case: what happened, what can be done, what was done."""
    with application() as app:
        found = _told(lambda: desk_views.case_view(case_id, _now(app)))
    click.echo(f"{found['title']} ({found['type']}), {found['channel']} {found['day']}")
    click.echo(found["advice"])
    click.echo(f"can be done: {', '.join(found['actions'])}")
    for step in found["history"]:
        at = step["at"].isoformat(timespec="seconds")
        click.echo(f"  {at} {step['who'] or 'system'} {step['verb']} {step['text']}".rstrip())


@desk.command()
@click.argument("order")
@click.argument("yuan")
@click.option("--bill", "bill_id", type=int, help="Id of the bill whose payment is given back.")
@click.option(
    "--then",
    type=click.Choice([refund_desk.DUE, refund_desk.REVERSED]),
    default=refund_desk.DUE,
    show_default=True,
    help="What becomes of the bill.",
)
@click.option("--reason", required=True, help="Why; the payer reads it.")
@STAFF
def refund(order: str, yuan: str, bill_id: int | None, then: str, reason: str, login: str) -> None:
    """Give money of an order back; beyond the limit it becomes a request for a second person."""
    try:
        amount_fen = fen_from_yuan(yuan)
    except ValueError:
        raise click.BadParameter(f"{yuan!r} is no sum in yuan") from None
    wanted = refund_desk.Wanted(order, amount_fen, bill_id, then)
    with application() as app:
        now = _now(app)
        key = out_trade_no("K", now)
        made = _told(lambda: refund_desk.ask(wanted, reason, key, actor(login), now))
        db.session.commit()
        if isinstance(made, BillingRequest):
            click.echo(f"request {made.id} waits for a second person")
        else:
            click.echo(f"{made.out_refund_no} {made.state}")


@desk.command("retry-refund")
@click.argument("out_refund_no")
@STAFF
def retry_refund(out_refund_no: str, login: str) -> None:
    """Send a refused refund again under its number, or ask the channel about a stuck one."""
    with application() as app:
        made = _told(lambda: refund_desk.retry(out_refund_no, actor(login), _now(app)))
        db.session.commit()
        click.echo(f"{made.out_refund_no} {made.state}")


T = TypeVar("T")


def _told(work: Callable[[], T]) -> T:
    """Do it, or say in its own sentence why not."""
    try:
        return work()
    except Problem as problem:
        raise click.ClickException(f"{problem.code}: {problem.detail}") from None
