"""The sandbox as a page: orders to pay by a tap, behaviours to order, messages as on a phone."""

import json
from datetime import datetime
from typing import Any

from flask import Blueprint, redirect, render_template, request
from werkzeug.wrappers import Response

from payments.sandbox import desk
from payments.sandbox.control import messages_received
from payments.sandbox.desk import PayRefused, Sandbox
from payments.sandbox.people import DEFAULT_MERCHANT
from payments.sandbox.state import Row
from payments.sandbox.tradebill import BEIJING, yuan

ORDER_STATES = {"NOTPAY": "待支付", "SUCCESS": "已支付", "REFUND": "已退款", "CLOSED": "已关闭"}
CHANNEL_NAMES = {"wechat": "微信支付", "alipay": "支付宝", "unionpay": "银联"}
NOTICE_STATES = {
    "waiting": "待发送",
    "sending": "发送中",
    "delivered": "已送达",
    "held": "扣住",
    "dropped": "不发",
    "given_up": "已放弃",
}
# What the page offers for the next payment's notice: (mode, words).
NEXT_NOTICE = (
    ("late", "晚到"),
    ("twice", "发两次"),
    ("out_of_order", "乱序"),
    ("never", "不发"),
    ("wrong_amount", "金额不对"),
    ("forged_signature", "伪造签名"),
    ("wrong_serial", "证书号不对"),
)


def pages_blueprint(box: Sandbox) -> Blueprint:
    """GET /sandbox/ and the forms on it."""
    pages = Blueprint("pages", __name__, url_prefix="/sandbox", template_folder="templates")
    pages.add_app_template_filter(yuan, "yuan")
    pages.add_app_template_filter(clock_text, "clock_text")

    @pages.get("/")
    def index() -> str:
        return render_template("sandbox.html", **_shown(box), said=request.args.get("said", ""))

    @pages.post("/orders/<out_trade_no>/tap")
    def tap(out_trade_no: str) -> Response:
        """The tester's finger: no client took part, so there is no paySign to check here."""
        try:
            row = box.state.one("SELECT * FROM orders WHERE out_trade_no = ?", out_trade_no)
            desk.pay_order(box, row["prepay_id"] if row else "", None)
        except PayRefused as refusal:
            return redirect(f"/sandbox/?said={refusal}")
        return redirect("/sandbox/?said=已支付，通知已排队")

    @pages.get("/pay/<prepay_id>")
    def h5_pay(prepay_id: str) -> tuple[str, int]:
        """The cash desk a phone's browser is sent to: H5, WAP and UnionPay's front."""
        return _cash_desk(box, prepay_id)

    @pages.post("/pay/<prepay_id>")
    def h5_paid(prepay_id: str) -> Response | tuple[str, int]:
        try:
            order = desk.pay_order(box, prepay_id, None)
        except PayRefused as refusal:
            return _cash_desk(box, prepay_id, said=str(refusal))
        back = return_url(order)
        return redirect(back, 303) if back else _cash_desk(box, prepay_id, said="支付成功")

    @pages.post("/next-notice")
    def next_notice() -> Response:
        mode = request.form.get("mode", "")
        if mode in dict(NEXT_NOTICE):
            box.state.order_behaviour("payment_notice", mode, None, {}, 1)
        return redirect("/sandbox/?said=下一条支付通知已安排")

    return pages


def return_url(order: Row) -> str:
    """Where the order's request asked the browser to be sent back to; '' where nowhere."""
    asked = json.loads(order["request"])
    back = asked.get("return_url") or asked.get("frontUrl") or ""
    return str(back) if str(back).startswith(("http://", "https://")) else ""


def _cash_desk(box: Sandbox, prepay_id: str, said: str = "") -> tuple[str, int]:
    order = box.state.one("SELECT * FROM orders WHERE prepay_id = ?", prepay_id)
    shown = render_template(
        "cash_desk.html",
        order=order,
        channel=CHANNEL_NAMES.get(order["channel"], "") if order else "",
        back=return_url(order) if order else "",
        merchant=box.state.setting("merchant", DEFAULT_MERCHANT),
        said=said,
        order_states=ORDER_STATES,
    )
    return shown, 200 if order else 404


def clock_text(seconds: float | None) -> str:
    """'01-31 08:00:00' in Beijing, or a dash."""
    if seconds is None:
        return "—"
    return datetime.fromtimestamp(seconds, BEIJING).strftime("%m-%d %H:%M:%S")


def _shown(box: Sandbox) -> dict[str, Any]:
    return {
        "orders": box.state.all("SELECT * FROM orders ORDER BY created_at DESC LIMIT 50"),
        "notices": box.state.all("SELECT * FROM notices ORDER BY rowid DESC LIMIT 20"),
        "behaviours": [
            dict(row) | {"params": json.loads(row["params"])}
            for row in box.state.all("SELECT * FROM behaviours ORDER BY id")
        ],
        "messages": messages_received(box)[:20],
        "keys": box.keys,
        "now": box.now_s(),
        "order_states": ORDER_STATES,
        "channel_names": CHANNEL_NAMES,
        "notice_states": NOTICE_STATES,
        "next_notice": NEXT_NOTICE,
        "words": dict(NEXT_NOTICE),
    }
