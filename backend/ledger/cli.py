"""`nuan ledger`: look at the books and prove them sound."""

from __future__ import annotations

import click

from backend.base.command import application
from backend.base.money import yuan_str
from backend.ledger import service


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
