"""`nuan ledger`: look at the books and prove them sound."""

from __future__ import annotations

import shutil
from datetime import date
from importlib import import_module
from pathlib import Path
from typing import Any

import click

from backend.base.command import application
from backend.base.db import db
from backend.base.money import yuan_str
from backend.ledger import periods, service


@click.group()
def ledger() -> None:
    """The double-entry ledger: check it, see its balances."""


@ledger.command()
def check() -> None:
    """Say every break in the ledger and what must follow it; exit 1 where there is one."""
    with application():
        breaks = service.check()
    for sentence in breaks:
        click.echo(sentence)
    if breaks:
        raise SystemExit(1)
    click.echo("ledger sound: entries, balances, bills, orders and refunds agree")


@ledger.command()
def balances() -> None:
    """Print the trial balance in yuan: account, kind, balance (debit positive)."""
    with application():
        rows = service.trial_balance()
    for code, kind, balance_fen in rows:
        click.echo(f"{code:40} {kind:10} {yuan_str(balance_fen):>16}")


def _month(text: str) -> date:
    try:
        return date.fromisoformat(f"{text}-01")
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a month like 2026-11") from None


@ledger.command("trial-balance")
@click.argument("month")
def trial(month: str) -> None:
    """Print a MONTH's trial balance by group: carried over, debit, credit, carried on."""
    with application():
        found = periods.month_of(_month(month))
        for row in periods.groups(_month(month)):
            figures = (row.opening_fen, row.debit_fen, row.credit_fen, row.closing_fen)
            click.echo(f"{row.code:32}" + "".join(f"{yuan_str(fen):>18}" for fen in figures))
        state = f"{found.state}, sha256 {found.sha256}" if found else "open"
        click.echo(f"{month}: {state}")


@ledger.command("close-month")
@click.argument("month")
@click.option("--staff", "login", required=True, help="Login of whoever closes it.")
@click.option("--reason", help="Why, although a day of it is not closed.")
def close_month(month: str, login: str, reason: str | None) -> None:
    """Close a MONTH of the books: freeze its trial balance, take no entry of it any more."""
    with application() as app:
        months, actor = _above(login)
        made = months.close_month(_month(month), reason, actor, app.extensions["nuan_clock"].now())
        db.session.commit()
        click.echo(f"{month}: closed with {made.entries} entries, sha256 {made.sha256}")


@ledger.command("reopen-month")
@click.argument("month")
@click.option("--staff", "login", required=True, help="Login of whoever asks or agrees.")
@click.option("--reason", default="", help="Why; asking wants one, agreeing (another person) none.")
def reopen_month(month: str, login: str, reason: str) -> None:
    """Open the last closed MONTH again: one person asks with a reason, another agrees."""
    with application() as app:
        months, actor = _above(login)
        now = app.extensions["nuan_clock"].now()
        if reason:
            months.ask_reopen(_month(month), reason, actor, now)
        else:
            months.reopen(_month(month), actor, now)
        db.session.commit()
        click.echo(f"{month}: {'asked for' if reason else 'open again'}")


@ledger.command("vouchers")
@click.argument("month")
@click.option("--format", "layout", required=True, help="As in 月结, e.g. generic-csv.")
@click.option("--staff", "login", required=True, help="Login of whoever exports.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Where to write it.")
def export_vouchers(month: str, layout: str, login: str, out: Path) -> None:
    """Write a closed MONTH's vouchers for the ERP; again they are the same bytes."""
    with application() as app:
        _, actor = _above(login)
        vouchers = import_module("backend.cashier.vouchers")
        made = vouchers.export(_month(month), layout, actor, app.extensions["nuan_clock"].now())
        with made.file, out.open("wb") as file:
            shutil.copyfileobj(made.file, file)
        db.session.commit()
        said = f"exported before, {made.run.exports} times now" if made.again else "exported"
        click.echo(f"{month}: {made.run.vouchers} vouchers {said}, sha256 {made.run.sha256}")


def _above(login: str) -> tuple[Any, Any]:
    """(cashier.months, the principal): rooms above are found by name, as in ledger.checks."""
    actor = import_module("backend.cashier.cli").actor(login)
    return import_module("backend.cashier.months"), actor
