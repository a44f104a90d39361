"""订单与退款: every payment order and top-up, what became of it, and giving money back."""

from __future__ import annotations

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response

from backend.base.errors import Problem
from backend.base.money import fen_from_yuan
from backend.billing.models import BillingRequest
from backend.cashier import cases, desk_views, refund_desk
from backend.cashier.channels import KINDS
from backend.console import asked
from backend.console.sessions import attempt, now, roles
from backend.people import access

STATES = {
    "created": "未支付",
    "paying": "支付中",
    "paid": "已支付",
    "parked": "待人工处理",
    "closed": "已关闭",
    "refunded": "已退回",
}
REFUND_STATES = {
    "created": "待提交",
    "processing": "渠道处理中",
    "done": "已退",
    "failed": "被拒",
    "closed": "已关闭",
    "abnormal": "退款异常",
    "to_card": "待转银行卡",
    "on_card": "转银行卡处理中",
    "paid_out": "已另行支付",
    "withdrawn": "已撤回",
}
SOURCES = {"suspense": "挂账", "wallet": "账户余额", "bill": "账单", "prepaid": "预付费"}
INTO = {
    "wallet": "余额充值",
    "heat": "热费充值",
    "water": "水费充值",
    "gas": "燃气费充值",
    "electricity": "电费充值",
}
NUMBER = "string(maxlength=64)"


def register(blueprint: Blueprint) -> None:
    """The list, an order, and giving back."""
    add = blueprint.add_url_rule
    add("/orders", "orders", order_list)
    add(f"/orders/<{NUMBER}:out_trade_no>", "order", order_page)
    add(f"/orders/<{NUMBER}:out_trade_no>/refund", "order_refund", order_refund, methods=["POST"])


@access.allow("finance", "manager")
def order_list() -> str:
    """A page of orders by number or 户号, channel, state, and what they are for."""
    given = request.args
    channel, state = given.get("channel") or None, given.get("state") or None
    if channel not in (None, *KINDS) or state not in (None, *STATES):
        raise Problem("not_found")
    found = desk_views.order_rows(
        search=given.get("search", "")[:64],
        channel=channel,
        state=state,
        topups={"topup": True, "bills": False}.get(given.get("for", "")),
        before=asked.maybe("before"),
    )
    chosen = {name: value for name, value in given.items() if name != "before" and value}
    return render_template(
        "console/orders.html", **found, states=STATES, into=INTO, channels=KINDS, chosen=chosen
    )


@access.allow("finance", "manager")
def order_page(out_trade_no: str) -> str:
    """One order."""
    return render_template(
        "console/order.html",
        order=desk_views.order_view(out_trade_no),
        states=STATES,
        refund_states=REFUND_STATES,
        sources=SOURCES,
        into=INTO,
        types=cases.TYPES_ZH,
        may_act="finance" in roles(),
    )


@access.allow("finance")
def order_refund(out_trade_no: str) -> Response:
    """Give a top-up or a bill's payment back, whole or in part."""
    form = request.form

    def give() -> str:
        try:
            amount_fen = fen_from_yuan(form.get("amount", "").strip())
        except ValueError:
            detail = "金额请填写元，最多两位小数。"
            raise Problem("validation", detail, field="amount") from None
        bill_id = asked.number(form.get("bill_id", ""))
        then = form.get("then", refund_desk.DUE)
        wanted = refund_desk.Wanted(out_trade_no, amount_fen, bill_id, then)
        key, reason = form.get("key", "")[:64], form.get("text", "")
        made = refund_desk.ask(wanted, reason, key, access.principal(), now())
        waits = isinstance(made, BillingRequest)
        return "已提交，须由另一位同事在“待核准”核准。" if waits else "退款已提交给渠道。"

    attempt(give)
    return redirect(url_for("console.order", out_trade_no=out_trade_no), 303)
