"""`nuan finance`: statements, and the close of a finance day."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from pathlib import Path

import click
import sqlalchemy as sa
from apiflask import APIFlask
from sqlalchemy.exc import IntegrityError

from backend.base.clock import business_day
from backend.base.command import application
from backend.base.db import db
from backend.base.money import yuan_str
from backend.cashier import (
    acquirers,
    bank_accounts,
    bank_formats,
    bank_views,
    collection_results,
    mandates,
    reconcile,
    shifts,
)
from backend.cashier.channels import CHANNELS
from backend.people.models import Staff
from backend.people.service import Principal

CODE = re.compile(r"[0-9A-Za-z-]{1,20}")


@click.group()
def finance() -> None:
    """Statements and the close of the day (对账与日结)."""


def _now(app: APIFlask) -> datetime:
    now: datetime = app.extensions["nuan_clock"].now()
    return now


def _day(text: str | None, now: datetime) -> date:
    """The day named, or yesterday."""
    if text is None:
        return business_day(now) - timedelta(days=1)
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(f"{text!r} is not a day like 2026-11-20") from None


@finance.command()
@click.option("--day", help="YYYY-MM-DD (default: yesterday).")
@click.option("--channel", type=click.Choice(CHANNELS), default=CHANNELS[0], show_default=True)
def statement(day: str | None, channel: str) -> None:
    """Fetch a channel's statement of a day and match it with the ledger and the orders."""
    with application() as app:
        now = _now(app)
        when = _day(day, now)
        kept = reconcile.fetch_statement(channel, when, now)
        reconcile.reconcile(channel, when, now)
        db.session.commit()
        click.echo(f"{channel} {when}: {kept.rows} rows, sha1 {kept.sha1}")
        _print_day(when)


@finance.command("close-day")
@click.option("--day", help="YYYY-MM-DD (default: yesterday).")
@click.option("--reason", help="Why it is closed although something differs; needs --staff.")
@click.option("--staff", "login", help="Login of whoever signs the reason.")
def close_day(day: str | None, reason: str | None, login: str | None) -> None:
    """Close a finance day, proving that ledger, channel and orders say the same."""
    with application() as app:
        now = _now(app)
        when = _day(day, now)
        reconcile.close_day(when, _staff_id(login), reason, now)
        db.session.commit()
        _print_day(when)


@finance.command("add-drawer")
@click.argument("code")
@click.option("--name", required=True, help="What the cashiers call it.")
def add_drawer(code: str, name: str) -> None:
    """Set up a cash drawer of a business hall (ledger account cash:CODE)."""
    _add(code, lambda: shifts.add_drawer(code, name))


@finance.command("add-terminal")
@click.argument("code")
@click.option("--name", required=True, help="What the cashiers call it.")
@click.option("--acquirer", required=True, help="The bank behind it.")
def add_terminal(code: str, name: str, acquirer: str) -> None:
    """Set up a card terminal of a business hall (ledger account pos:CODE)."""
    _add(code, lambda: shifts.add_terminal(code, name, acquirer))


@finance.command("add-bank")
@click.argument("code")
@click.option("--name", required=True, help="What finance calls it.")
@click.option("--format", "layout", required=True, help="The format of its collection files.")
@click.option("--merchant", required=True, help="Our number at the bank.")
@click.option("--fee-fen", default=0, show_default=True, help="What it keeps of a deduction.")
def add_bank(code: str, name: str, layout: str, merchant: str, fee_fen: int) -> None:
    """Set up a bank that collects by file (代扣银行), CODE of at most 12 letters and digits."""
    if len(code) > 12 or not code.isalnum():
        raise click.BadParameter(f"{code!r} is not 1 to 12 letters and digits")

    def work() -> None:
        bank_formats.sheet(layout, "collection", "deduction")
        mandates.add_bank(code, name, layout, merchant).fee_per_line_fen = fee_fen

    _add(code, work)


@finance.command("add-account")
@click.argument("code")
@click.option("--name", required=True, help="What finance calls it.")
@click.option("--number", required=True, help="The account's number.")
@click.option("--format", "layout", required=True, help="The format of its movements.")
@click.option("--since", required=True, help="YYYY-MM-DD: from then on every day is proven.")
def add_account(code: str, name: str, number: str, layout: str, since: str) -> None:
    """Set up a bank account of the company (ledger account bank:CODE)."""

    def work() -> None:
        bank_formats.sheet(layout, "account", "statement")
        bank_accounts.add_account(code, name, number, layout, date.fromisoformat(since))

    _add(code, work)


@finance.command("add-acquirer")
@click.argument("code")
@click.option("--name", required=True, help="What finance calls it.")
@click.option("--format", "layout", required=True, help="The format of its settlement files.")
@click.option("--since", required=True, help="YYYY-MM-DD: from then on every day is proven.")
def add_acquirer(code: str, name: str, layout: str, since: str) -> None:
    """Set up a card acquirer; CODE is what `add-terminal --acquirer` names."""

    def work() -> None:
        bank_formats.sheet(layout, "acquirer", "settlement")
        acquirers.add(code, name, layout, date.fromisoformat(since))

    _add(code, work)


@finance.command("take-result")
@click.argument("bank")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--staff", "login", required=True, help="Login of whoever takes it in.")
def take_result(bank: str, file: Path, login: str) -> None:
    """Take in a bank's result of a batch, whole or not at all (large files, beyond the page)."""
    with application() as app:
        made, new = collection_results.take(
            bank, file.name, file.read_bytes(), actor(login), _now(app)
        )
        said = "taken" if new else "taken before"
        click.echo(f"{file.name}: {said}; {made.success_count} taken, {made.failed_count} refused")


@finance.command("take-movements")
@click.argument("account")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--staff", "login", required=True, help="Login of whoever takes them in.")
def take_movements(account: str, file: Path, login: str) -> None:
    """Take in a bank account's movements of a day and match what came in."""
    with application() as app:
        made, new = bank_accounts.take(
            account, file.name, file.read_bytes(), actor(login), _now(app)
        )
        db.session.commit()
        click.echo(f"{made.day}: {made.rows} movements {'taken' if new else 'taken before'}")


@finance.command("take-settlement")
@click.argument("acquirer")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--staff", "login", required=True, help="Login of whoever takes it in.")
def take_settlement(acquirer: str, file: Path, login: str) -> None:
    """Take in a card acquirer's settlement and match its rows with the counter's cards."""
    with application() as app:
        made, new = acquirers.take(acquirer, file.name, file.read_bytes(), actor(login), _now(app))
        db.session.commit()
        click.echo(f"{made.number}: {made.rows} rows {'taken' if new else 'taken before'}")


@finance.command()
def movements() -> None:
    """List the newest imported days of the bank accounts, with the credits nobody knows."""
    with application():
        rows = bank_views.statements()
    for row in rows:
        click.echo(
            f"{row['id']} {row['day']} {row['code']}: {row['rows']} movements, "
            f"{row['credits']} credits of {yuan_str(row['credit_fen'])} yuan, "
            f"{row['unknown']} not known"
        )


@finance.command()
def settlements() -> None:
    """List the newest settlements of the card acquirers, with the rows that are not ours."""
    with application():
        rows = bank_views.settlements()
    for row in rows:
        click.echo(
            f"{row['id']} {row['day']} {row['code']} {row['number']}: {row['rows']} rows, "
            f"{yuan_str(row['amount_fen'])} yuan less {yuan_str(row['fee_fen'])}, "
            f"{row['unknown']} not ours"
        )


def actor(login: str) -> Principal:
    staff_id = _staff_id(login)
    assert staff_id is not None, "click asks for one"
    return Principal("staff", staff_id, frozenset({"finance"}))


def _add(code: str, work: Callable[[], object]) -> None:
    if not CODE.fullmatch(code):
        raise click.BadParameter(f"{code!r} is not 1 to 20 letters, digits or hyphens")
    with application():
        try:
            work()
            db.session.commit()
        except IntegrityError:
            raise click.BadParameter(f"{code!r} is there already") from None
    click.echo(f"{code} added")


def _staff_id(login: str | None) -> int | None:
    if login is None:
        return None
    found = db.session.scalar(sa.select(Staff).where(Staff.login == login, Staff.active))
    if found is None or "finance" not in found.roles:
        raise click.BadParameter(f"no finance staff signs in as {login!r}")
    return int(found.id)


def _print_day(day: date) -> None:
    summary = reconcile.day_summary(day)
    for row in summary["channels"]:
        click.echo(
            f"{row['channel']} {row['state']}: ledger {yuan_str(row['ledger_fen'])}"
            f", channel {yuan_str(row['channel_fen'])}, orders {yuan_str(row['orders_fen'])}"
            f" yuan; fees {yuan_str(row['fee_fen'])}; {row['payments']} payments,"
            f" {row['refunds']} refunds"
        )
        for found in row["breaks"]:
            if found["resolved_at"] is None:
                ours, theirs = _yuan(found["ours_fen"]), _yuan(found["theirs_fen"])
                click.echo(f"  {found['kind']} {found['reference']}: {ours} / {theirs}")
    closed = summary["closed_at"]
    click.echo(f"day {day}: {'closed ' + closed.isoformat() if closed else 'open'}")


def _yuan(amount_fen: int | None) -> str:
    return "-" if amount_fen is None else yuan_str(amount_fen)
