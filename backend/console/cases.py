"""待办: what of the money waits for a person, what is known of it, and what can be done."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.base.errors import Problem
from backend.base.money import fen_from_yuan
from backend.billing.models import BillingRequest
from backend.cashier import breaks, cases, desk_views, parked, refund_cards, refund_desk
from backend.cashier.channels import CHANNELS, set_up
from backend.console import asked
from backend.console.sessions import attempt, current, now
from backend.people import access
from backend.people.service import Principal

ID = "int(max=9223372036854775807)"
KINDS = {"order": "挂账款项", "refund": "退款", "break": "对账差异", "notice": "可疑通知"}
AGES = {1: "1 天以上", 3: "3 天以上", 7: "7 天以上"}
VERBS_ZH = {
    "opened": "出现",
    "reopened": "重新打开",
    "taken": "认领",
    "assigned": "转交",
    "said": "备注",
    "moved": "转出款项",
    "move_asked": "申请转出",
    "refunded": "退款",
    "retried": "重试退款",
    "card_asked": "申请转银行卡",
    "card_agreed": "核准转银行卡",
    "payout_asked": "申请另行支付",
    "paid_out": "已另行支付",
    "withdrawn": "撤回退款",
    "adopted": "补登",
    "repaired": "询问渠道",
    "put_aside": "挂账",
    "taken_back": "转回",
    "write_off_asked": "申请核销",
    "written_off": "核销",
    "paired": "核对两日",
    "signed": "办结",
    "ended": "了结",
}


def register(blueprint: Blueprint) -> None:
    """The list, a case, and its buttons."""
    add = blueprint.add_url_rule
    add("/cases", "cases", case_list)
    add(f"/cases/<{ID}:case_id>", "case", case_page)
    add(f"/cases/<{ID}:case_id>", "case_act", case_act, methods=["POST"])


@access.allow("finance", "manager")
def case_list() -> str:
    """A page of cases by kind, channel, day, owner and age."""
    staff = current()
    wanted = _filter(staff.id if staff else 0)
    found = desk_views.case_rows(wanted, now())
    return render_template(
        "console/cases.html",
        **found,
        wanted=wanted,
        mine=request.args.get("owner") == "me",
        kinds=KINDS,
        types=cases.TYPES_ZH,
        channels=CHANNELS,
        ages=AGES,
        chosen={name: value for name, value in request.args.items() if name != "before" and value},
    )


def _filter(me: int) -> cases.Filter:
    given = request.args
    kind, kind_type = given.get("kind") or None, given.get("type") or None
    if kind not in (None, *KINDS) or kind_type not in (None, *cases.TYPES_ZH):
        raise Problem("not_found")
    owners = {"me": me, "none": 0}
    try:
        day = date.fromisoformat(given["day"]) if given.get("day") else None
    except ValueError:
        raise Problem("validation", "日期格式应为 2026-11-20。", field="day") from None
    return cases.Filter(
        kind=kind,
        type=kind_type,
        channel=given.get("channel") or None,
        day=day,
        owner=owners.get(given.get("owner", "")),
        older_than_days=asked.maybe("age"),
        ended=given.get("ended") == "1",
        before=asked.maybe("before"),
    )


@access.allow("finance", "manager")
def case_page(case_id: int) -> str:
    """One case."""
    return render_template(
        "console/case.html",
        case=desk_views.case_view(case_id, now()),
        kinds=KINDS,
        verbs=VERBS_ZH,
        colleagues=desk_views.colleagues(),
        online=set_up(),
        banks=refund_cards.BANKS_ZH,
    )


@access.allow("finance")
def case_act(case_id: int) -> Response:
    """Do something about a case, under the name of whoever is signed in."""
    act = ACTS.get(request.form.get("verb", ""))
    if act is None:
        raise Problem("bad_request")
    attempt(lambda: act(case_id, access.principal()))
    return redirect(url_for("console.case", case_id=case_id), 303)


def _text() -> str:
    return request.form.get("text", "")


def _fen() -> int:
    try:
        return fen_from_yuan(request.form.get("amount", "").strip())
    except ValueError:
        raise Problem("validation", "金额请填写元，最多两位小数。", field="amount") from None


def _said(made: Any, done: str) -> str:
    asked_for = isinstance(made, BillingRequest)
    return "已提交，须由另一位同事在“待核准”核准后执行。" if asked_for else done


def _take(case_id: int, who: Principal) -> str:
    cases.take(case_id, who, now())
    return "已认领。"


def _assign(case_id: int, who: Principal) -> str:
    owner = asked.number(request.form.get("owner_id", ""))
    cases.assign(case_id, owner, _text(), who, now())
    return "已转交。"


def _comment(case_id: int, who: Principal) -> str:
    cases.comment(case_id, _text(), who, now())
    return "已备注。"


def _move(case_id: int, who: Principal) -> str:
    form = request.form
    wanted = parked.Move(case_id, form.get("account_no", ""), _fen(), form.get("bill_no", ""))
    return _said(parked.move(wanted, _text(), who, now()), "款项已转出。")


def _refund(case_id: int, who: Principal) -> str:
    number = cases.case_of(case_id).out_trade_no or ""
    wanted = refund_desk.Wanted(number, _fen(), case_id=case_id)
    key = request.form.get("key", "")[:64]
    return _said(refund_desk.ask(wanted, _text(), key, who, now()), "退款已提交给渠道。")


def _adopt(case_id: int, who: Principal) -> str:
    parked.adopt(case_id, who, now())
    return "已向渠道核实并补登，款项已挂账。"


def _sign(case_id: int, who: Principal) -> str:
    cases.sign_off(case_id, _text(), who, now())
    return "已办结。"


def _refund_no(case_id: int) -> str:
    one = cases.case_of(case_id)
    if one.kind != "refund":
        raise Problem("case_not_so")
    return one.reference


def _retry(case_id: int, who: Principal) -> str:
    refund_desk.retry(_refund_no(case_id), who, now())
    return "已重新提交，稍后刷新看结果。"


def _pay_out(case_id: int, who: Principal) -> str:
    document = request.form.get("document", "")
    refund_desk.ask_pay_out(_refund_no(case_id), document, _text(), who, now())
    return "已提交，须由另一位同事在“待核准”核准后入账。"


def _to_card(case_id: int, who: Principal) -> str:
    form = request.form
    refund = refund_desk.refund_of(_refund_no(case_id))
    bank, number, holder = (form.get(name, "") for name in ("bank", "number", "holder"))
    refund_cards.ask(refund, bank, number, holder, _text(), who, now())
    return "卡号已加密提交，须由另一位同事在“待核准”核准后发往微信支付。"


def _withdraw(case_id: int, who: Principal) -> str:
    refund_desk.withdraw(_refund_no(case_id), _text(), who, now())
    return "已撤回，款项回到原处。"


def _repair(case_id: int, who: Principal) -> str:
    return breaks.apply(case_id, who, now())


def _put_aside(case_id: int, who: Principal) -> str:
    breaks.put_aside(case_id, _text(), who, now())
    return "已挂账。"


def _take_back(case_id: int, who: Principal) -> str:
    breaks.take_back(case_id, _text(), who, now())
    return "已转回。"


def _write_off(case_id: int, who: Principal) -> str:
    breaks.ask_write_off(case_id, _text(), who, now())
    return "已提交，须由另一位同事在“待核准”核准后核销。"


def _pair(case_id: int, who: Principal) -> str:
    breaks.pair(case_id, who, now())
    return "两日合计相符，已了结。"


def _explain(case_id: int, who: Principal) -> str:
    breaks.sign(case_id, _text(), who, now())
    return "已写明原因并办结。"


ACTS: dict[str, Callable[[int, Principal], str]] = {
    "take": _take,
    "assign": _assign,
    "comment": _comment,
    "move": _move,
    "refund": _refund,
    "adopt": _adopt,
    "sign": _sign,
    "retry": _retry,
    "to_card": _to_card,
    "pay_out": _pay_out,
    "withdraw": _withdraw,
    "repair": _repair,
    "put_aside": _put_aside,
    "take_back": _take_back,
    "write_off": _write_off,
    "pair": _pair,
    "explain": _explain,
}
