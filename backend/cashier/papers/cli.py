"""`nuan papers`: who issues, what a company begins with, the proof that no number is missing."""

from __future__ import annotations

import re
import sys

import click
import sqlalchemy as sa

from backend.base.clock import business_day
from backend.base.command import application
from backend.base.db import db
from backend.base.money import yuan_str
from backend.cashier.papers import checks, numbering, tax, tax_ids, templates, worklist
from backend.cashier.papers.models import PaperIssuer


@click.group()
def papers() -> None:
    """Receipts and invoices (收据与发票)."""


@papers.command()
def check() -> None:
    """Prove that no number is missing and every paper adds up; exit 1 where one does not."""
    with application():
        for row in numbering.report():
            said = "no gap" if row["gapless"] else "GAP"
            sums = f"{row['voided']} voided, {row['red']} red, {yuan_str(row['amount_fen'])} yuan"
            click.echo(
                f"{row['first_no']} to {row['last']}: {row['papers']} papers, {sums}, {said}"
            )
        for task in worklist.waiting():
            click.echo(f"to be taken back: {task.paper_no}, {yuan_str(task.over_fen)} yuan")
        found = checks.breaks()
    for sentence in found:
        click.echo(sentence)
    sys.exit(1 if found else 0)


@papers.command("set-up")
def set_up() -> None:
    """Store the company, the tax rates it begins with and the templates that come with Nuan.

    After an upgrade too: templates that changed are in force from today, unless the company's own
    are; papers already issued keep theirs.
    """
    with application() as app:
        issuer = numbering.company()
        count = tax.begin()
        renewed = templates.renew(business_day(app.extensions["nuan_clock"].now()))
        stored = len(templates.versions())
        db.session.commit()
        told = f"issuer {issuer.code} {issuer.name}; {count} tax rates; {stored} templates"
        click.echo(f"{told}, {renewed} of them new")


@papers.command("issuer")
@click.argument("code")
@click.option("--name", required=True)
@click.option("--region", type=int, help="Id of the region it issues for (default: all others).")
@click.option("--tax-id", default="")
@click.option("--address", default="")
@click.option("--phone", default="")
@click.option("--bank", default="")
@click.option("--bank-account", default="")
@click.option("--drawer", default="", help="开票人 of what nobody at a desk issued.")
@click.option("--payee", default="", help="收款人 where no cashier took the money.")
@click.option("--reviewer", default="", help="复核.")
def put_issuer(code: str, region: int | None, tax_id: str, **given: str) -> None:
    """Say who issues papers (开票方); CODE, two digits, is part of every number."""
    if not re.fullmatch("[0-9]{2}", code):
        raise click.BadParameter(f"{code!r} is not two digits")
    if tax_id and not tax_ids.is_tax_id(tax_ids.tidy(tax_id)):
        raise click.BadParameter(f"{tax_id!r} is no tax id: its check digit is wrong")
    with application():
        query = sa.select(PaperIssuer).where(PaperIssuer.code == code)
        row = db.session.scalars(query).one_or_none() or PaperIssuer(code=code)
        row.region_id, row.tax_id = region, tax_ids.tidy(tax_id)
        for name, value in given.items():
            setattr(row, name, value)
        db.session.add(row)
        db.session.commit()
        click.echo(f"issuer {code}: {row.name}")
