"""待办: money that waits for a person, each thing once, with an owner, a history and its end.

    open -> done        open -> suspense -> done (a difference put aside: 长款, 短款)

kind      reference                    type
order     the ledger's payment key     wrong_amount, second_payment, late, withdrawn, adopted
refund    out_refund_no                failed, closed, abnormal, paid_twice
break     the break's id               as in rules.SUGGESTIONS
notice    payment key, or              unknown_order
          channel:day:code             rejected (forged and the like: one a day and code)

What came of the money itself is in the ledger; here is who sees to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from backend.base.db import changed, db
from backend.base.errors import Problem
from backend.cashier.case_models import CaseNote, MoneyCase
from backend.people.models import Staff
from backend.people.service import Principal, audit

PAGE = 50
MAX_TEXT = 500
MIN_TEXT = 2
OPEN_STATES = ("open", "suspense")
TYPES_ZH = {
    "wrong_amount": "金额不符",
    "second_payment": "同一订单重复付款",
    "late": "超时支付",
    "withdrawn": "退款已撤回",
    "adopted": "补登的收款",
    "failed": "退款被拒",
    "closed": "退款关闭",
    "abnormal": "退款异常",
    "paid_twice": "退款可能重复",
    "unknown_order": "未知订单",
    "rejected": "验证未通过的通知",
    "missing_here": "本方缺账",
    "missing_there": "渠道缺账",
    "amount": "金额差异",
    "fee": "手续费差异",
    "refund": "退款差异",
    "duplicate": "重复收款",
    "cross_day": "跨日",
}
# What is normally done about it, for whoever opens it; a break carries its own.
ADVICE = {
    "wrong_amount": "核对付款人与应缴金额：可入该户余额、冲抵账单，或原路退回。",
    "second_payment": "同一订单的第二笔款：原路退回，或按付款人意愿入余额。",
    "late": "订单超时后才付款：账单仍欠则冲抵账单，否则退回。",
    "withdrawn": "退款没有退成、款项仍挂账：改用其他方式退回，或入余额。",
    "adopted": "已向渠道核实的未知收款：找到付款人后入余额或账单，否则退回。",
    "failed": "渠道拒绝了退款（见原因）：补足商户余额等之后，按原退款单号重试。",
    "closed": "渠道已关闭这笔退款：撤回后重新退款，或凭单据另行支付。",
    "abnormal": "退款到银行失败（如卡已注销）：转到用户另一张卡，或在商户平台处理，或另行支付。",
    "paid_twice": "已另行支付的退款，渠道又退成了：联系用户追回多退的款项。",
    "unknown_order": "渠道收到了本系统没有的订单的款：向渠道核实后补登，再处理款项。",
    "rejected": "收到验证未通过的通知：若密钥刚更换请核对设置；若系伪造，记录即可，未入账。",
}


@dataclass(frozen=True, slots=True)
class Filter:
    """Which cases a page shows; None where it does not matter.  `owner` 0: nobody's."""

    kind: str | None = None
    type: str | None = None
    channel: str | None = None
    day: date | None = None
    owner: int | None = None
    older_than_days: int | None = None
    ended: bool = False
    before: int | None = None
    limit: int = PAGE


def open_case(
    kind: str,
    type: str,
    reference: str,
    channel: str,
    day: date,
    now: datetime,
    *,
    amount_fen: int | None = None,
    household_id: int | None = None,
    out_trade_no: str | None = None,
    text: str = "",
) -> None:
    """Put something before a person, once; what had ended and comes again is open again.

    `amount_fen` is money in suspense of which nobody has decided yet, else None.
    """
    values = {
        "kind": kind,
        "type": type,
        "reference": reference,
        "channel": channel,
        "day": day,
        "amount_fen": amount_fen,
        "left_fen": amount_fen,
        "household_id": household_id,
        "out_trade_no": out_trade_no,
        "opened_at": now,
    }
    again = {"state": "open", "type": type, "ended_at": None}
    statement = (
        insert(MoneyCase)
        .values(values)
        .on_conflict_do_update(
            index_elements=["kind", "reference"],
            set_=again,
            where=(MoneyCase.state == "done") | (MoneyCase.type != type),
        )
    )
    case_id = db.session.scalar(statement.returning(MoneyCase.id))
    if case_id is not None:
        _note(case_id, None, "opened", text, now)


def found(kind: str, reference: str) -> MoneyCase | None:
    """The case about something, as the database has it."""
    query = sa.select(MoneyCase).where(MoneyCase.kind == kind, MoneyCase.reference == reference)
    one: MoneyCase | None = db.session.scalar(query.execution_options(populate_existing=True))
    return one


def case_of(case_id: int, *, lock: bool = False) -> MoneyCase:
    """The case as the database has it; held until commit where `lock`.  Problem not_found."""
    one = db.session.get(MoneyCase, case_id, populate_existing=True, with_for_update=lock or None)
    if one is None:
        raise Problem("not_found")
    return one


def still_open(case_id: int) -> MoneyCase:
    """The case, held until commit; Problem not_found, case_ended."""
    one = case_of(case_id, lock=True)
    if one.state == "done":
        raise Problem("case_ended")
    return one


def take(case_id: int, actor: Principal, now: datetime) -> MoneyCase:
    """Make a case one's own."""
    return assign(case_id, actor.id, "", actor, now)


def assign(
    case_id: int, owner_id: int | None, text: str, actor: Principal, now: datetime
) -> MoneyCase:
    """Give a case to a colleague of finance (None: to nobody).  Problems not_found, case_ended."""
    one = still_open(case_id)
    name = ""
    if owner_id is not None:
        staff = db.session.get(Staff, owner_id)
        if staff is None or not staff.active or not {"finance", "manager"} & set(staff.roles):
            raise Problem("validation", "请选择财务或管理岗位的同事。", field="owner_id")
        name = staff.name
    one.owner_id = owner_id
    verb = "taken" if owner_id == actor.id else "assigned"
    _note(one.id, actor, verb, text, now, to=name)
    return one


def comment(case_id: int, text: str, actor: Principal, now: datetime) -> MoneyCase:
    """Add a remark.  Problems not_found, reason_missing."""
    one = case_of(case_id)
    _note(one.id, actor, "said", words(text), now)
    return one


def sign_off(case_id: int, text: str, actor: Principal, now: datetime) -> MoneyCase:
    """End a case with a reason, where no undecided money hangs on it; Problem case_not_so."""
    one = still_open(case_id)
    seen_to_elsewhere = one.kind == "break" or (one.kind == "refund" and one.type != "paid_twice")
    if one.left_fen or seen_to_elsewhere:
        raise Problem("case_not_so", "款项还没有处理完，不能办结。")
    end(one, "signed", words(text), actor, now)
    return one


def end(
    one: MoneyCase, verb: str, text: str, actor: Principal | None, now: datetime, **detail: Any
) -> None:
    """The case is over; audited."""
    one.state, one.ended_at = "done", now
    _note(one.id, actor, verb, text, now, **detail)
    audit(f"case.{verb}", "case", one.id, actor, now=now, reason=text, **detail)


def end_of(kind: str, reference: str, verb: str, text: str, now: datetime) -> None:
    """End the case about something, if one is open: it has come right by itself."""
    one = found(kind, reference)
    if one is not None and one.state != "done":
        end(one, verb, text, None, now)


def note(
    one: MoneyCase, actor: Principal | None, verb: str, text: str, now: datetime, **detail: Any
) -> int:
    """Write down a step; its number."""
    return _note(one.id, actor, verb, text, now, **detail)


def use(one: MoneyCase, amount_fen: int) -> None:
    """Decide on part of a case's money; Problem case_moved where so much is not left."""
    moved = changed(
        sa.update(MoneyCase)
        .where(MoneyCase.id == one.id, MoneyCase.left_fen >= amount_fen)
        .values(left_fen=MoneyCase.left_fen - amount_fen)
        .execution_options(synchronize_session="fetch")
    )
    if moved != 1:
        raise Problem("case_moved")


def give_back(case_id: int, amount_fen: int, text: str, now: datetime) -> None:
    """Money somebody had decided on is undecided again: a refund was taken back."""
    one = case_of(case_id, lock=True)
    one.left_fen = (one.left_fen or 0) + amount_fen
    one.state, one.ended_at = "open", None
    _note(one.id, None, "reopened", text, now)


def words(text: str) -> str:
    """A remark or reason as it is kept; Problem reason_missing."""
    kept = text.replace("\x00", "").strip()[:MAX_TEXT]
    if len(kept) < MIN_TEXT:
        raise Problem("reason_missing", field="text")
    return kept


def _note(
    case_id: int, actor: Principal | None, verb: str, text: str, now: datetime, **detail: Any
) -> int:
    made = CaseNote(
        case_id=case_id,
        at=now,
        staff_id=actor.id if actor else None,
        verb=verb,
        text=text,
        detail=detail,
    )
    db.session.add(made)
    db.session.flush()
    return made.id


def listed(wanted: Filter, now: datetime) -> Sequence[MoneyCase]:
    """A page of cases, newest first, one more than `limit` where there are further ones."""
    query = sa.select(MoneyCase).order_by(MoneyCase.id.desc()).limit(wanted.limit + 1)
    return db.session.scalars(query.where(*_conditions(wanted, now))).all()


def _conditions(wanted: Filter, now: datetime) -> list[sa.ColumnElement[bool]]:
    done = MoneyCase.state == "done"
    conditions = [done if wanted.ended else ~done]
    for name in ("kind", "type", "channel", "day"):
        value = getattr(wanted, name)
        if value is not None:
            conditions.append(getattr(MoneyCase, name) == value)
    if wanted.owner is not None:
        nobody = MoneyCase.owner_id.is_(None)
        conditions.append(MoneyCase.owner_id == wanted.owner if wanted.owner else nobody)
    if wanted.older_than_days is not None:
        conditions.append(MoneyCase.opened_at <= now - timedelta(days=wanted.older_than_days))
    if wanted.before is not None:
        conditions.append(MoneyCase.id < wanted.before)
    return conditions


def counts() -> dict[str, int]:
    """How many are open, by kind."""
    query = sa.select(MoneyCase.kind, sa.func.count()).where(MoneyCase.state != "done")
    return {row[0]: row[1] for row in db.session.execute(query.group_by(MoneyCase.kind))}


def history(case_id: int) -> list[dict[str, Any]]:
    """Every step of a case, the oldest first, with the name of who took it."""
    query = (
        sa.select(CaseNote, Staff.name)
        .outerjoin(Staff, Staff.id == CaseNote.staff_id)
        .where(CaseNote.case_id == case_id)
        .order_by(CaseNote.id)
        .limit(500)
    )
    return [
        {
            "at": row.CaseNote.at,
            "who": row.name,
            "verb": row.CaseNote.verb,
            "text": row.CaseNote.text,
            "detail": row.CaseNote.detail,
        }
        for row in db.session.execute(query)
    ]


def related(one: MoneyCase) -> list[dict[str, Any]]:
    """Other cases of the same order still open: where its money is decided on."""
    query = sa.select(MoneyCase.id, MoneyCase.type).where(
        MoneyCase.out_trade_no == one.out_trade_no,
        MoneyCase.id != one.id,
        MoneyCase.state != "done",
    )
    rows = db.session.execute(query.order_by(MoneyCase.id).limit(20))
    return [{"id": row.id, "title": TYPES_ZH.get(row.type, row.type)} for row in rows]


# A day's differences become cases and end with them, all in one statement each.
_OPEN_BREAKS = """
WITH fresh AS (
  INSERT INTO money_case
         (kind, type, reference, channel, day, household_id, out_trade_no, opened_at)
  SELECT 'break', b.kind, b.id::text, r.channel, r.day, o.household_id, o.out_trade_no, :now
    FROM break b JOIN reconciliation r ON r.id = b.reconciliation_id
    LEFT JOIN refund f ON f.out_refund_no = b.reference
    LEFT JOIN payment_order o ON o.id = coalesce(f.order_id,
              (SELECT p.id FROM payment_order p WHERE p.out_trade_no = b.reference))
   WHERE b.reconciliation_id = :day_id AND b.resolved_at IS NULL
  ON CONFLICT (kind, reference) DO UPDATE SET state = 'open', ended_at = NULL
   WHERE money_case.state = 'done'
  RETURNING id)
INSERT INTO case_note (case_id, at, verb, text) SELECT id, :now, 'opened', '' FROM fresh
"""
_END_BREAKS = """
WITH resolved AS MATERIALIZED (
  SELECT id::text AS reference, resolution FROM break
   WHERE reconciliation_id = :day_id AND resolved_at IS NOT NULL),
gone AS (
  UPDATE money_case m SET state = 'done', ended_at = :now
    FROM resolved b
   WHERE m.kind = 'break' AND m.reference = b.reference AND m.state = 'open'
  RETURNING m.id, b.resolution)
INSERT INTO case_note (case_id, at, verb, text)
SELECT id, :now, 'ended', coalesce(resolution, '') FROM gone
"""


def follow_breaks(reconciliation_id: int, now: datetime) -> None:
    """Every open difference of a channel's day has an open case, and no other has."""
    db.session.flush()
    values = {"day_id": reconciliation_id, "now": now}
    for statement in (_OPEN_BREAKS, _END_BREAKS):
        db.session.execute(sa.text(statement), values)
