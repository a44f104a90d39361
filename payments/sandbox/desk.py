"""The sandbox's orders and refunds, as any outside party keeps them.

What a channel calls them, and how it says no, is its party's (`party`, `wechat_desk`, …).
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from payments.sandbox.keys import SandboxKeys
from payments.sandbox.party import Party
from payments.sandbox.state import Row, State
from payments.sandbox.tradebill import BEIJING

PREPAY_LIFE_S = 2 * 3600
MAX_REFUNDS = 50
REFUND_WINDOW = timedelta(days=365)


class ApiError(Exception):
    """An error answer in WeChat's shape: HTTP status, code, sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class Refused(Exception):
    """The desk says no; each channel has its own code for each `kind`.

    Kinds: not_found, paid, closed, inconsistent, not_paid, total_differs, too_much, too_often,
    too_late, not_enough, refund_not_found.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message


class PayRefused(Exception):
    """The payer's client would not let the resident pay; the text is what it would show."""


@dataclass(frozen=True)
class SandboxSettings:
    """How the sandbox departs from life: `notice_speed` divides the channels' notice intervals.

    `templates` adds subscribe-message templates: id -> (title, {field: label}).
    """

    notice_speed: float = 60.0
    fee_rate: Decimal = Decimal("0.006")
    statement_hour: int = 10
    notice_timeout_s: float = 5.0
    templates: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sandbox:
    """What every part of the sandbox leans on. `notify(channel, number, event, plain, url)`."""

    state: State
    keys: SandboxKeys
    settings: SandboxSettings
    clock: Callable[[], datetime]
    notify: Callable[[str, str, str, dict[str, Any], str], None]
    parties: Mapping[str, Party]

    def now_s(self) -> float:
        """The sandbox clock in epoch seconds."""
        return self.clock().timestamp()


@dataclass(frozen=True)
class NewOrder:
    """An order as its channel has checked it; `asked` is the whole request in one fixed form."""

    channel: str
    out_trade_no: str
    amount_fen: int
    payer: str
    description: str
    notify_url: str
    expires_at: float
    asked: str
    attach: str = ""


def open_order(box: Sandbox, new: NewOrder) -> Row:
    """Take an order; the very same request again gives the same one. Refused."""
    with box.state.transaction():
        known = box.state.one("SELECT * FROM orders WHERE out_trade_no = ?", new.out_trade_no)
        if known:
            return _opened_before(known, new)
        box.state.insert(
            "orders",
            channel=new.channel,
            out_trade_no=new.out_trade_no,
            prepay_id=_prepay_id(box),
            request=new.asked,
            description=new.description,
            attach=new.attach,
            notify_url=new.notify_url,
            total_fen=new.amount_fen,
            openid=new.payer,
            created_at=box.now_s(),
            expires_at=new.expires_at,
            state="NOTPAY",
        )
    return find_order(box, new.channel, new.out_trade_no)


def name_transaction(box: Sandbox, order: Row) -> str:
    """The payment's number, given already while it waits to be paid (Alipay, UnionPay)."""
    if order["transaction_id"]:
        return str(order["transaction_id"])
    number = box.parties[order["channel"]].transaction_no(box, box.now_s())
    box.state.run(
        "UPDATE orders SET transaction_id = ? WHERE out_trade_no = ?",
        number,
        order["out_trade_no"],
    )
    return number


def _prepay_id(box: Sandbox) -> str:
    return f"wx{box.clock().astimezone(BEIJING):%d%H%M%S}{secrets.token_hex(13)}"


def _opened_before(known: Row, new: NewOrder) -> Row:
    if known["state"] in ("SUCCESS", "REFUND"):
        raise Refused("paid", "该订单已支付")
    if known["state"] == "CLOSED":
        raise Refused("closed", "该订单已关闭")
    if (known["channel"], known["request"]) != (new.channel, new.asked):
        raise Refused("inconsistent", "请求重入时，参数与首次请求时不一致")
    return known


def find_order(box: Sandbox, channel: str, out_trade_no: str) -> Row:
    """The channel's order. Refused('not_found')."""
    row = box.state.one(
        "SELECT * FROM orders WHERE channel = ? AND out_trade_no = ?", channel, out_trade_no
    )
    if row is None:
        raise Refused("not_found", "订单不存在")
    return row


def close_order(box: Sandbox, channel: str, out_trade_no: str) -> None:
    """Close; closing a closed order is fine, a paid one is refused."""
    with box.state.transaction():
        if find_order(box, channel, out_trade_no)["state"] in ("SUCCESS", "REFUND"):
            raise Refused("paid", "订单已支付，不能关单")
        box.state.run("UPDATE orders SET state = 'CLOSED' WHERE out_trade_no = ?", out_trade_no)


def pay_order(
    box: Sandbox, prepay_id: str, payer: str | None, paid_at: datetime | None = None
) -> Row:
    """The resident's tap; queues the notice. PayRefused says what the client would show.

    `paid_at` lets a demonstration lay down history; limits of time do not apply to it.
    """
    moment = paid_at.timestamp() if paid_at else box.now_s()
    with box.state.transaction():
        order = box.state.one("SELECT * FROM orders WHERE prepay_id = ?", prepay_id)
        _check_payable(order, payer, box.now_s() if paid_at is None else None)
        assert order is not None
        total = _paid_amount(box, order)
        box.state.run(
            "UPDATE orders SET state = 'SUCCESS', transaction_id = ?, paid_at = ?, fee_fen = ?,"
            " total_fen = ? WHERE prepay_id = ?",
            order["transaction_id"] or box.parties[order["channel"]].transaction_no(box, moment),
            moment,
            fee_of(total, box.settings.fee_rate),
            total,
            prepay_id,
        )
    paid = find_order(box, order["channel"], order["out_trade_no"])
    event, plain = box.parties[paid["channel"]].paid(box, paid)
    box.notify(paid["channel"], paid["out_trade_no"], event, plain, paid["notify_url"])
    return paid


def _check_payable(order: Row | None, payer: str | None, now_s: float | None) -> None:
    if order is None:
        raise PayRefused("预支付交易会话不存在")
    if order["state"] in ("SUCCESS", "REFUND"):
        raise PayRefused("该订单已支付")
    if order["state"] == "CLOSED":
        raise PayRefused("该订单已关闭")
    if payer is not None and order["openid"] and payer != order["openid"]:
        raise PayRefused("下单账号与支付账号不一致")
    if now_s is not None and now_s >= order["created_at"] + PREPAY_LIFE_S:
        raise PayRefused("预支付交易会话已过期")
    if now_s is not None and now_s >= order["expires_at"]:
        raise PayRefused("该订单已过期")


def _paid_amount(box: Sandbox, order: Row) -> int:
    """The order's amount, unless a wrong one was ordered (the channel then believes in it)."""
    taken = box.state.take_behaviour("payment", order["out_trade_no"])
    return int(taken[1]["amount_fen"]) if taken else int(order["total_fen"])


@dataclass(frozen=True)
class NewRefund:
    """A refund as its channel has checked it; `total_fen` None: the channel does not ask."""

    channel: str
    out_trade_no: str
    out_refund_no: str
    refund_fen: int
    total_fen: int | None
    reason: str = ""
    notify_url: str = ""


def open_refund(box: Sandbox, new: NewRefund) -> Row:
    """Take a refund; the same number again returns the same refund. Refused."""
    with box.state.transaction():
        known = box.state.one("SELECT * FROM refunds WHERE out_refund_no = ?", new.out_refund_no)
        order = _refundable(box, new)
        if known:
            if (known["out_trade_no"], known["refund_fen"]) != (new.out_trade_no, new.refund_fen):
                raise Refused("inconsistent", "请求参数与首次退款请求不一致")
            return find_refund(box, new.channel, new.out_refund_no)
        _check_refundable(box, order, new.refund_fen)
        status = _refund_status(box, new.out_trade_no)
        if status != "NOT_ENOUGH":
            _insert_refund(box, order, new, status)
    if status == "NOT_ENOUGH":
        raise Refused("not_enough", "基本账户余额不足，请充值后重新发起")
    made = find_refund(box, new.channel, new.out_refund_no)
    if status != "PROCESSING":
        notify_refund(box, made)
    return made


def _refundable(box: Sandbox, new: NewRefund) -> Row:
    order = box.state.one(
        "SELECT * FROM orders WHERE channel = ? AND out_trade_no = ?",
        new.channel,
        new.out_trade_no,
    )
    if order is None or order["paid_at"] is None:
        raise Refused("not_paid", "订单不存在或未支付")
    if new.total_fen not in (None, order["total_fen"]):
        raise Refused("total_differs", "订单金额或退款金额与之前请求不一致")
    return order


def _check_refundable(box: Sandbox, order: Row, amount_fen: int) -> None:
    earlier = box.state.all(
        "SELECT refund_fen FROM refunds WHERE out_trade_no = ? AND status <> 'CLOSED'",
        order["out_trade_no"],
    )
    if sum(row["refund_fen"] for row in earlier) + amount_fen > order["total_fen"]:
        raise Refused("too_much", "订单已全额退款或退款金额大于可退金额")
    if len(earlier) >= MAX_REFUNDS:
        raise Refused("too_often", "部分退款次数超过50次")
    if box.now_s() - order["paid_at"] > REFUND_WINDOW.total_seconds():
        raise Refused("too_late", "订单已超过可退款期限")


def _refund_status(box: Sandbox, out_trade_no: str) -> str:
    taken = box.state.take_behaviour("refund", out_trade_no)
    return taken[0].upper() if taken else "SUCCESS"


def _insert_refund(box: Sandbox, order: Row, new: NewRefund, status: str) -> None:
    now_s = box.now_s()
    share = Decimal(order["fee_fen"]) * new.refund_fen / order["total_fen"]
    box.state.insert(
        "refunds",
        out_refund_no=new.out_refund_no,
        refund_id=box.parties[new.channel].refund_no(box, now_s),
        out_trade_no=new.out_trade_no,
        refund_fen=new.refund_fen,
        reason=new.reason,
        notify_url=new.notify_url,
        status=status,
        created_at=now_s,
        success_at=now_s if status == "SUCCESS" else None,
        fee_fen=int(share.quantize(Decimal(1), ROUND_HALF_UP)),
    )
    if status != "CLOSED":
        box.state.run("UPDATE orders SET state = 'REFUND' WHERE out_trade_no = ?", new.out_trade_no)


def settle_refund(box: Sandbox, out_refund_no: str, status: str) -> Row:
    """Bring a refund held in PROCESSING to its end and notify."""
    success_at = box.now_s() if status == "SUCCESS" else None
    box.state.run(
        "UPDATE refunds SET status = ?, success_at = ? WHERE out_refund_no = ?",
        status,
        success_at,
        out_refund_no,
    )
    row = find_refund(box, None, out_refund_no)
    notify_refund(box, row)
    return row


def reroute_refund(
    box: Sandbox, channel: str, refund_id: str, out_refund_no: str, card: str
) -> Row:
    """Send an abnormal refund on to `card` (its bank, holder's first sign, last digits). Refused.

    The behaviour `card_refund` says how it ends: abnormal once more, or held in processing.
    """
    with box.state.transaction():
        known = find_refund(box, channel, out_refund_no)
        if known["refund_id"] != refund_id:
            raise Refused("refund_not_found", "退款单不存在")
        if known["status"] != "ABNORMAL":
            raise Refused("inconsistent", "退款单状态不允许发起异常退款")
        taken = box.state.take_behaviour("card_refund", known["out_trade_no"])
        status = taken[0].upper() if taken else "SUCCESS"
        box.state.run(
            "UPDATE refunds SET status = 'PROCESSING', received = ? WHERE out_refund_no = ?",
            card,
            out_refund_no,
        )
    if status == "PROCESSING":
        return find_refund(box, channel, out_refund_no)
    return settle_refund(box, out_refund_no, status)


def find_refund(box: Sandbox, channel: str | None, out_refund_no: str) -> Row:
    """The refund, of any channel where None. Refused('refund_not_found')."""
    row = box.state.one(
        "SELECT r.*, o.channel FROM refunds r JOIN orders o USING (out_trade_no)"
        " WHERE r.out_refund_no = ? AND coalesce(?, o.channel) = o.channel",
        out_refund_no,
        channel,
    )
    if row is None:
        raise Refused("refund_not_found", "退款单不存在")
    return row


def order_of(box: Sandbox, refund: Row) -> Row:
    """The order a refund gives money back of."""
    return find_order(box, refund["channel"], refund["out_trade_no"])


def notify_refund(box: Sandbox, refund: Row) -> None:
    """Queue what the channel has to say of a refund, where the merchant asked to be told."""
    if not refund["notify_url"]:
        return
    told = box.parties[refund["channel"]].refunded(box, refund)
    if told is not None:
        event, plain = told
        box.notify(refund["channel"], refund["out_trade_no"], event, plain, refund["notify_url"])


def fee_of(amount_fen: int, rate: Decimal) -> int:
    """The channel's fee, half-up to the fen."""
    return int((amount_fen * rate).quantize(Decimal(1), ROUND_HALF_UP))
