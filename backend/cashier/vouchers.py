"""凭证导出: a closed month condensed into vouchers by day and kind, in the ERP's own accounts.

Numbered from 1 in the order of day and kind.  What a month was first exported by (the ERP's
accounts, the company's name) is kept, so the same month is the same bytes ever after, in each
format; a month opened and closed again is another run, and says so.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from importlib import resources
from itertools import groupby
from tempfile import TemporaryFile
from typing import IO, Any

import sqlalchemy as sa
from flask import current_app
from sqlalchemy.dialects.postgresql import insert

from backend.base.clock import add_months
from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier import voucher_layouts
from backend.cashier.voucher_layouts import Layout, Row
from backend.cashier.voucher_models import VoucherAccount, VoucherRun
from backend.ledger import periods
from backend.ledger.models import LedgerMonth
from backend.people.service import Principal, audit

_CHUNK = 2_000
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MAX_ACCOUNTS = 500
KINDS_ZH = {
    "bill": "账单应收",
    "payment": "渠道收款",
    "refund": "渠道退款",
    "fee": "渠道手续费",
    "payout": "到账",
    "settlement": "收单结算",
    "wallet": "余额支付账单",
    "adjustment": "退费与调整",
    "reversal": "红冲",
    "counter": "柜台收款",
    "shift": "柜台交接",
    "prepaid": "预付费扣款",
    "topup": "充值",
}
Accounts = Mapping[str, tuple[str, str, str]]  # prefix -> ERP code, name, auxiliary dimensions


@dataclass(frozen=True, slots=True)
class Exported:
    """A file, and whether this month's vouchers have been handed out in it before."""

    run: VoucherRun
    name: str
    file: IO[bytes]
    again: bool

    @property
    def mimetype(self) -> str:
        """What a browser is told it is."""
        return "text/csv" if self.name.endswith(".csv") else _XLSX

    def pieces(self) -> Iterator[bytes]:
        """The file a piece at a time; closed when it is read."""
        with self.file:
            while piece := self.file.read(1 << 16):
                yield piece


def accounts() -> dict[str, tuple[str, str, str]]:
    """The ERP's accounts by our prefix."""
    rows = db.session.scalars(sa.select(VoucherAccount).order_by(VoucherAccount.prefix))
    return {row.prefix: (row.erp_code, row.erp_name, row.aux) for row in rows}


def set_account(
    prefix: str, erp_code: str, erp_name: str, aux: str, actor: Principal, now: datetime
) -> None:
    """Say which of the ERP's accounts ours are; an empty code takes the line away.  Audited.

    Months exported already keep what they were made by.  The caller commits.  Problem validation.
    """
    if not 0 < len(prefix) <= 100 or any(c.isspace() for c in prefix):
        raise Problem("validation", "本方科目前缀不能为空，也不能有空格。", field="prefix")
    if erp_code and not erp_name:
        raise Problem("validation", "请填写 ERP 科目名称。", field="erp_name")
    if not erp_code:
        db.session.execute(sa.delete(VoucherAccount).where(VoucherAccount.prefix == prefix))
    else:
        if len(accounts()) >= MAX_ACCOUNTS:
            raise Problem("validation", f"对应关系不超过 {MAX_ACCOUNTS} 条。", field="prefix")
        values = {
            "erp_code": erp_code,
            "erp_name": erp_name,
            "aux": aux,
            "set_by": actor.id,
            "set_at": now,
        }
        statement = insert(VoucherAccount).values(prefix=prefix, **values)
        db.session.execute(statement.on_conflict_do_update(index_elements=["prefix"], set_=values))
    audit(
        "voucher.account_set", "voucher_account", prefix, actor, now=now,
        erp_code=erp_code, erp_name=erp_name, aux=aux,
    )  # fmt: skip


def load_sample(actor: Principal, now: datetime) -> int:
    """Fill in the sample's accounts that are not set yet; how many.  The caller commits."""
    text = (resources.files("backend.cashier") / "voucher_accounts.toml").read_text()
    known, added = accounts(), 0
    for prefix, (code, name, aux) in tomllib.loads(text)["accounts"].items():
        if prefix not in known:
            set_account(prefix, code, name, aux, actor, now)
            added += 1
    return added


def layouts() -> dict[str, Layout]:
    """The formats there are."""
    return voucher_layouts.layouts(current_app.extensions["nuan_settings"].voucher_formats_dir)


def unmapped(month: date, known: Accounts) -> list[str]:
    """Groups of accounts that moved in a month and have no account in the ERP."""
    moved = [row.code for row in periods.groups(month) if row.debit_fen or row.credit_fen]
    return [code for code in moved if mapped(code, known) is None]


def mapped(code: str, known: Accounts) -> tuple[str, str, str] | None:
    """The ERP's account of ours: that of the longest prefix."""
    fits = [prefix for prefix in known if code.startswith(prefix)]
    return known[max(fits, key=len)] if fits else None


def export(month: date, layout_name: str, actor: Principal, now: datetime) -> Exported:
    """A closed month's vouchers as a file; the caller commits and closes the file.

    Handed out again it is the same bytes, counted and said.  Problems: month_not_closed,
    not_found (no such format), vouchers_unmapped naming our accounts, vouchers_changed where the
    bytes are no longer those handed out first (a format was edited).
    """
    layout = layouts().get(layout_name)
    if layout is None:
        raise Problem("not_found", field="format")
    closed = db.session.get(LedgerMonth, month, with_for_update=True)
    if closed is None or closed.state != "closed":
        raise Problem("month_not_closed")
    earlier = runs(month, closed.runs)
    fixed = earlier[0].fixed if earlier else _fix(month)
    file, sha256, counts = _write(month, layout, fixed)
    run = next((one for one in earlier if one.format == layout_name), None)
    again = run is not None
    if run is None:
        run = VoucherRun(
            month=month,
            month_run=closed.runs,
            format=layout_name,
            sha256=sha256,
            vouchers=counts[0],
            lines=counts[1],
            fixed=fixed,
            made_at=now,
            made_by=actor.id,
        )
        db.session.add(run)
    elif run.sha256 != sha256:
        file.close()
        raise Problem("vouchers_changed")
    else:
        run.exports += 1
    db.session.flush()
    audit(
        "voucher.exported", "voucher_run", run.id, actor, now=now,
        month=month.isoformat(), format=layout_name, sha256=sha256, again=again,
    )  # fmt: skip
    name = f"凭证-{month:%Y%m}-第{closed.runs}版{'-重复导出' if again else ''}.{layout.file}"
    return Exported(run, name, file, again)


def runs(month: date, month_run: int | None = None) -> list[VoucherRun]:
    """What was exported of a month, oldest first; of one closing of it where asked."""
    query = sa.select(VoucherRun).where(VoucherRun.month == month)
    if month_run is not None:
        query = query.where(VoucherRun.month_run == month_run)
    return list(db.session.scalars(query.order_by(VoucherRun.id)))


def _fix(month: date) -> dict[str, Any]:
    known = accounts()
    missing = unmapped(month, known)
    if missing:
        shown = "、".join(missing[:8])
        raise Problem(
            "vouchers_unmapped", f"还有科目没有对应的 ERP 科目：{shown}。", accounts=missing[:100]
        )
    company: str = current_app.extensions["nuan_settings"].company
    return {"accounts": {prefix: list(erp) for prefix, erp in known.items()}, "company": company}


def _write(
    month: date, layout: Layout, fixed: Mapping[str, Any]
) -> tuple[IO[bytes], str, tuple[int, int]]:
    """(file on disk, at its start, sha256, (vouchers, lines))."""
    file: IO[bytes] = TemporaryFile()  # noqa: SIM115  (the caller closes it)
    counts = [0, 0]

    def counted() -> Iterator[Row]:
        for row in rows(month, fixed):
            counts[0], counts[1] = row.number, counts[1] + 1
            yield row

    try:
        voucher_layouts.write(layout, counted(), file)
    except BaseException:
        file.close()
        raise
    digest = hashlib.sha256()
    file.seek(0)
    while piece := file.read(1 << 16):
        digest.update(piece)
    file.seek(0)
    return file, digest.hexdigest(), (counts[0], counts[1])


_CONDENSED = f"""
SELECT * FROM (SELECT e.day, e.kind, {periods.GROUP} AS code,
       coalesce(sum(p.amount_fen) FILTER (WHERE p.amount_fen > 0), 0)::bigint AS debit_fen,
       coalesce(-sum(p.amount_fen) FILTER (WHERE p.amount_fen < 0), 0)::bigint AS credit_fen
  FROM entry e JOIN posting p ON p.entry_id = e.id JOIN account a ON a.id = p.account_id
 WHERE e.day >= :month AND e.day < :next
 GROUP BY 1, 2, 3) moved ORDER BY day, kind COLLATE "C", code COLLATE "C"
"""


def rows(month: date, fixed: Mapping[str, Any]) -> Iterator[Row]:
    """The lines of a month's vouchers in order, a voucher a day and kind, each balanced."""
    known: Accounts = {prefix: tuple(erp) for prefix, erp in fixed["accounts"].items()}
    values = {"month": month, "next": add_months(month, 1)}
    found = db.session.execute(sa.text(_CONDENSED), values, execution_options={"yield_per": _CHUNK})
    for number, ((day, kind), moves) in enumerate(groupby(found, lambda r: (r.day, r.kind)), 1):
        lines = _lines(list(moves), known)
        debit_fen, credit_fen = sum(line[1] for line in lines), sum(line[2] for line in lines)
        if debit_fen != credit_fen:
            raise AssertionError(f"voucher {number} of {month}: {debit_fen} <> {credit_fen}")
        summary = f"{day.month}月{day.day}日{KINDS_ZH.get(kind, kind)}"
        for line, (code, debit, credit, (erp_code, erp_name, aux)) in enumerate(lines, 1):
            yield Row(
                day, number, line, kind, summary, code, erp_code, erp_name, aux,
                debit, credit, str(fixed["company"]),
            )  # fmt: skip


def _lines(moves: list[Any], known: Accounts) -> list[tuple[str, int, int, tuple[str, str, str]]]:
    """(our code, debit, credit, the ERP's account): a line a side, debits first."""
    lines = []
    for side in ("debit_fen", "credit_fen"):
        for move in moves:
            fen = getattr(move, side)
            if not fen:
                continue
            erp = mapped(move.code, known)
            if erp is None:  # the month was frozen when its accounts were asked for
                raise Problem("vouchers_unmapped", accounts=[move.code])
            debit, credit = (fen, 0) if side == "debit_fen" else (0, fen)
            lines.append((move.code, debit, credit, erp))
    return lines
