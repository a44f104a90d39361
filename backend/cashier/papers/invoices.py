"""发票: over bills that have been paid and prepaid deductions, to a title, never twice.

What can still be invoiced of a household's utility is what was really paid on its standing bills
and deducted from its prepaid account, less what was given back as a credit (income that is none
any more), less what valid invoices already say.  A bill paid out of a credit is therefore
invoiced with a discount line, and so is a month after a deduction was corrected.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.orm import selectinload

from backend.archive import owner
from backend.archive.models import Household
from backend.base.clock import business_day
from backend.base.db import db, hold
from backend.base.errors import Problem
from backend.billing.models import Bill
from backend.cashier.papers import deductions, issuing, rules, tax, titles
from backend.cashier.papers.models import Paper, TaxRate
from backend.cashier.papers.receipts import bill_line_title
from backend.cashier.papers.rules import Line
from backend.cashier.papers.titles import Party
from backend.people.service import Principal

DISCOUNT = "折扣（退费抵扣）"
MAX_SHOWN = 200
_KEY = "invoice:"

# Per utility: paid on standing bills or deducted in advance, credited, invoiced.  Of one household
# whatever it has; of all (:household NULL) only what has been invoiced.
_UTILITIES = sa.text("""
WITH invoiced AS (
    SELECT p.household_id, l.utility, sum(l.amount_fen) AS fen
      FROM paper p JOIN paper_line l ON l.paper_id = p.id
     WHERE p.kind IN ('invoice', 'special')
       AND (CAST(:household AS bigint) IS NULL OR p.household_id = :household)
       AND NOT EXISTS (SELECT 1 FROM paper_void v WHERE v.paper_id = p.id)
     GROUP BY 1, 2
), known AS (
    SELECT household_id, utility FROM invoiced
     UNION SELECT household_id, utility FROM bill WHERE household_id = :household
     UNION SELECT household_id, utility FROM adjustment WHERE household_id = :household
     UNION SELECT household_id, utility FROM prepaid_account WHERE household_id = :household
), found AS (
    SELECT household_id, utility,
           (SELECT coalesce(sum(b.paid_fen), 0) FROM bill b
             WHERE b.household_id = k.household_id AND b.utility = k.utility
               AND b.kind <> 'reversal' AND b.state <> 'reversed')
           + (SELECT coalesce(sum(d.deduction_fen), 0) FROM prepaid_day d
               WHERE d.household_id = k.household_id AND d.utility = k.utility) AS paid,
           (SELECT coalesce(sum(a.credit_fen), 0) FROM adjustment a
             WHERE a.household_id = k.household_id AND a.utility = k.utility) AS credited,
           coalesce(i.fen, 0) AS invoiced
      FROM known k LEFT JOIN invoiced i USING (household_id, utility)
)
SELECT household_id, utility, paid::bigint AS paid_fen, credited::bigint AS credited_fen,
       invoiced::bigint AS invoiced_fen
  FROM found WHERE NOT :too_much OR invoiced > greatest(0, paid - credited)
 ORDER BY household_id, utility LIMIT :most
""")
_INVOICED = sa.text("""
SELECT l.bill_id, sum(l.amount_fen)::bigint
  FROM paper_line l JOIN paper p ON p.id = l.paper_id
 WHERE l.bill_id = ANY(:bills) AND p.kind IN ('invoice', 'special')
   AND NOT EXISTS (SELECT 1 FROM paper_void v WHERE v.paper_id = p.id)
 GROUP BY 1
""")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What somebody wants an invoice over; `title_id` None is the household's default, or else
    its owner in person.  `key` makes the request one.  `months`: (utility, month) of deductions.
    """

    household_id: int
    bill_ids: tuple[int, ...]
    kind: str
    title_id: int | None
    key: str
    remark: str = ""
    months: tuple[deductions.Key, ...] = ()

    @property
    def fingerprint(self) -> str:
        """Of all that is asked for: another one under the same key is another request."""
        asked: tuple[object, ...]
        asked = (sorted(self.bill_ids), self.kind, self.title_id, self.remark)
        if self.months:  # without them as it was before there were any
            asked += (sorted(self.months),)
        return hashlib.sha256(repr(asked).encode()).hexdigest()


def sums(household_id: int | None, *, too_much: bool = False) -> Sequence[sa.Row[Any]]:
    """(household_id, utility, paid_fen, credited_fen, invoiced_fen); `too_much`: only where the
    invoices say more than was paid and kept."""
    values = {"household": household_id, "too_much": too_much, "most": MAX_SHOWN}
    return db.session.execute(_UTILITIES, values).all()


def invoiceable(household_id: int, since: Any = None) -> list[dict[str, Any]]:
    """Paid bills of a household that no invoice stands for yet, with what is left of each."""
    query = sa.select(Bill).where(
        Bill.household_id == household_id, Bill.state != "reversed", Bill.paid_fen > 0
    )
    if since is not None:
        query = query.where(Bill.period_from >= since)
    rows = db.session.scalars(query.order_by(Bill.id.desc()).limit(MAX_SHOWN)).all()
    invoiced = _invoiced([row.id for row in rows])
    return [
        {
            "bill_id": row.id,
            "bill_no": row.bill_no,
            "title": bill_line_title(row),
            "utility": row.utility,
            "paid_fen": row.paid_fen,
            "left_fen": row.paid_fen - invoiced.get(row.id, 0),
        }
        for row in rows
        if row.paid_fen > invoiced.get(row.id, 0)
    ]


def known(household_id: int, actor: Principal, key: str | None) -> Paper | None:
    """What somebody's key has been answered with already."""
    return issuing.known(f"{_KEY}{household_id}:{actor.kind}:{actor.id}:{key}")


def issue(wanted: Wanted, actor: Principal, now: datetime) -> Paper:
    """An invoice over what is left of the bills; the caller commits.

    The same request again is the invoice already there.  Problems: idempotency_key_reused for
    another request under its key; not_found, validation, nothing_to_invoice, special_refused,
    tax_rate_missing, too_many_lines.
    """
    household = db.session.get(Household, wanted.household_id)
    if household is None:
        raise Problem("not_found", field="household_id")
    hold(f"papers:{household.id}")
    key = f"{_KEY}{household.id}:{wanted.key}"
    made = issuing.known(key)
    if made is not None:
        # Papers of before the fingerprint was kept have none: their key alone is believed.
        if made.content.get("asked", wanted.fingerprint) != wanted.fingerprint:
            raise Problem("idempotency_key_reused", field="Idempotency-Key")
        return made
    party = _party(household, wanted.title_id)
    lines = _lines(household, wanted, now)
    if wanted.kind == "special":
        _refuse_special(party, lines)
    content = {"remark": wanted.remark, "payee": "", "method": "", "reference": ""}
    content["asked"] = wanted.fingerprint
    draft = issuing.Draft(wanted.kind, key, household, lines, party, content)
    return issuing.issue(draft, actor, now)


def _party(household: Household, title_id: int | None) -> Party:
    if title_id is not None:
        return titles.opened(titles.title_of(household.id, title_id).sealed)
    default = titles.default_of(household.id)
    if default is not None:
        return titles.opened(default.sealed)
    return Party(name=owner.name_of(household))


def _refuse_special(party: Party, lines: Sequence[Line]) -> None:
    """增值税暂行条例 第二十一条: none to consumers in person, none over what is exempt."""
    if party.kind != "company":
        raise Problem("special_refused", "专用发票只能开给企业抬头。", field="title_id")
    if not all((party.address, party.phone, party.bank, party.bank_account)):
        detail = "开专用发票须补全抬头的地址、电话、开户行和账号。"
        raise Problem("special_refused", detail, field="title_id")
    if any(line.treatment != "taxed" for line in lines):
        raise Problem("special_refused", "免税或不征税的费用不能开专用发票。", field="bill_ids")


def _lines(household: Household, wanted: Wanted, now: datetime) -> list[Line]:
    """The lines of an invoice over bills and deductions, discounts and all; their rows held."""
    if not wanted.bill_ids and not wanted.months:
        raise Problem("not_found", field="bill_ids")
    held = tax.holding(household.customer_class, business_day(now))
    bills = _held(household, wanted.bill_ids) if wanted.bill_ids else []
    invoiced = _invoiced(wanted.bill_ids)
    lines = [line for bill in bills for line in _bill_lines(bill, invoiced.get(bill.id, 0), held)]
    if wanted.months:
        lines += deductions.lines(household.id, wanted.months, held, business_day(now))
    return lines + _discounts(household.id, lines)


def _held(household: Household, bill_ids: Sequence[int]) -> Sequence[Bill]:
    bills = db.session.scalars(
        sa.select(Bill)
        .where(Bill.id.in_(bill_ids), Bill.household_id == household.id)
        .options(selectinload(Bill.lines))
        .order_by(Bill.id)
        .with_for_update(of=Bill)
        .execution_options(populate_existing=True)
    ).all()
    if {bill.id for bill in bills} != set(bill_ids):
        raise Problem("not_found", field="bill_ids")
    return bills


def _bill_lines(bill: Bill, invoiced_fen: int, held: dict[tuple[str, str], TaxRate]) -> list[Line]:
    """A bill as it was priced where all of it is invoiced; one line where only a part is."""
    left_fen = bill.paid_fen - invoiced_fen
    if bill.state == "reversed" or left_fen <= 0:
        raise Problem("nothing_to_invoice", field="bill_ids", bill_no=bill.bill_no)
    title = bill_line_title(bill)
    rates = {tax.rate_for(held, bill.utility, line.code) for line in bill.lines}
    if left_fen < bill.amount_fen or any(line.amount_fen < 0 for line in bill.lines):
        if len(rates) > 1:
            raise Problem(
                "nothing_to_invoice",
                f"账单 {bill.bill_no} 含不同税率的项目，须全部缴清后再开票。",
                field="bill_ids",
            )
        part = "" if left_fen == bill.amount_fen else "（部分）"
        return [rules.taxed(Line(title + part, left_fen, bill.utility, bill.id), *rates.pop())]
    return [
        rules.taxed(
            Line(
                f"{title} {line.title}",
                line.amount_fen,
                bill.utility,
                bill.id,
                line.quantity,
                line.unit,
                line.price,
            ),
            *tax.rate_for(held, bill.utility, line.code),
        )
        for line in bill.lines
        if line.amount_fen
    ]


def _discounts(household_id: int, lines: Sequence[Line]) -> list[Line]:
    """What of these lines was paid out of credits; Problem where nothing else is left."""
    free = {
        row.utility: max(0, row.paid_fen - row.credited_fen - row.invoiced_fen)
        for row in sums(household_id)
    }
    found = []
    for utility in sorted({line.utility for line in lines}):
        theirs = [line for line in lines if line.utility == utility]
        asked_fen = sum(line.amount_fen for line in theirs)
        over_fen = asked_fen - free.get(utility, 0)
        if over_fen >= asked_fen:
            raise Problem("nothing_to_invoice", field="bill_ids")
        if over_fen > 0:
            found += rules.discounts(theirs, over_fen, DISCOUNT)
    return found


def _invoiced(bill_ids: Sequence[int]) -> dict[int, int]:
    """bill id -> what valid invoices say of it."""
    rows = db.session.execute(_INVOICED, {"bills": list(bill_ids)})
    return {row[0]: row[1] for row in rows}
