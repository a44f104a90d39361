"""The sandbox's orders and refunds: what WeChat Pay keeps of them and says about them."""

import json
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from payments.sandbox.keys import SandboxKeys
from payments.sandbox.state import Row, State
from payments.sandbox.tradebill import BEIJING

PREPAY_LIFE_S = 2 * 3600
MAX_REFUNDS = 50
REFUND_WINDOW = timedelta(days=365)

TRADE_DESC = {
    "SUCCESS": "支付成功",
    "REFUND": "转入退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
}


class ApiError(Exception):
    """An error answer of the v3 API: HTTP status, WeChat's code, its sentence."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message


class PayRefused(Exception):
    """The WeChat client would not let the resident pay; the text is what it would show."""


@dataclass(frozen=True)
class SandboxSettings:
    """How the sandbox departs from life: `notice_speed` divides WeChat's notice intervals.

    `templates` adds subscribe-message templates: id -> (title, {field: label}).
    """

    notice_speed: float = 60.0
    fee_rate: Decimal = Decimal("0.006")
    statement_hour: int = 10
    notice_timeout_s: float = 5.0
    templates: Mapping[str, tuple[str, Mapping[str, str]]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sandbox:
    """What every part of the sandbox leans on. `notify(number, event, plain, url)` queues."""

    state: State
    keys: SandboxKeys
    settings: SandboxSettings
    clock: Callable[[], datetime]
    notify: Callable[[str, str, dict[str, Any], str], None]

    def now_s(self) -> float:
        """The sandbox clock in epoch seconds."""
        return self.clock().timestamp()


def rfc3339(seconds: float) -> str:
    """'2026-01-31T08:00:00+08:00'."""
    return datetime.fromtimestamp(seconds, BEIJING).isoformat(timespec="seconds")


def open_order(box: Sandbox, request: Mapping[str, Any], expires_at: float) -> str:
    """Take a checked JSAPI request; its prepay_id (the same again for the very same request)."""
    canonical = json.dumps(request, sort_keys=True, ensure_ascii=False)
    number = request["out_trade_no"]
    with box.state.transaction():
        known = box.state.one("SELECT * FROM orders WHERE out_trade_no = ?", number)
        if known:
            return _opened_before(known, canonical)
        prepay_id = f"wx{box.clock().astimezone(BEIJING):%d%H%M%S}{secrets.token_hex(13)}"
        box.state.insert(
            "orders",
            out_trade_no=number,
            prepay_id=prepay_id,
            request=canonical,
            description=request["description"],
            attach=request.get("attach", ""),
            notify_url=request["notify_url"],
            total_fen=request["amount"]["total"],
            openid=request["payer"]["openid"],
            created_at=box.now_s(),
            expires_at=expires_at,
            state="NOTPAY",
        )
    return prepay_id


def _opened_before(known: Row, canonical: str) -> str:
    if known["state"] in ("SUCCESS", "REFUND"):
        raise ApiError(400, "ORDERPAID", "该订单已支付")
    if known["state"] == "CLOSED":
        raise ApiError(400, "ORDER_CLOSED", "该订单已关闭")
    if known["request"] != canonical:
        raise ApiError(400, "INVALID_REQUEST", "请求重入时，参数与首次请求时不一致")
    return str(known["prepay_id"])


def find_order(box: Sandbox, out_trade_no: str) -> Row:
    """The order, or ORDER_NOT_EXIST."""
    row = box.state.one("SELECT * FROM orders WHERE out_trade_no = ?", out_trade_no)
    if row is None:
        raise ApiError(404, "ORDER_NOT_EXIST", "订单不存在")
    return row


def close_order(box: Sandbox, out_trade_no: str) -> None:
    """Close; closing a closed order is fine, a paid one is refused."""
    with box.state.transaction():
        if find_order(box, out_trade_no)["state"] in ("SUCCESS", "REFUND"):
            raise ApiError(400, "ORDERPAID", "订单已支付，不能关单")
        box.state.run("UPDATE orders SET state = 'CLOSED' WHERE out_trade_no = ?", out_trade_no)


def pay_order(
    box: Sandbox, prepay_id: str, openid: str | None, paid_at: datetime | None = None
) -> Row:
    """The resident's tap; queues the notice. PayRefused says what the client would show.

    `paid_at` lets a demonstration lay down history; limits of time do not apply to it.
    """
    moment = paid_at.timestamp() if paid_at else box.now_s()
    with box.state.transaction():
        order = box.state.one("SELECT * FROM orders WHERE prepay_id = ?", prepay_id)
        _check_payable(order, openid, box.now_s() if paid_at is None else None)
        assert order is not None
        total = _paid_amount(box, order)
        box.state.run(
            "UPDATE orders SET state = 'SUCCESS', transaction_id = ?, paid_at = ?, fee_fen = ?,"
            " total_fen = ? WHERE prepay_id = ?",
            _long_number(box, "4200", moment),
            moment,
            fee_of(total, box.settings.fee_rate),
            total,
            prepay_id,
        )
    paid = find_order(box, order["out_trade_no"])
    box.notify(
        paid["out_trade_no"], "TRANSACTION.SUCCESS", transaction(box, paid), paid["notify_url"]
    )
    return paid


def _check_payable(order: Row | None, openid: str | None, now_s: float | None) -> None:
    if order is None:
        raise PayRefused("预支付交易会话不存在")
    if order["state"] in ("SUCCESS", "REFUND"):
        raise PayRefused("该订单已支付")
    if order["state"] == "CLOSED":
        raise PayRefused("该订单已关闭")
    if openid is not None and openid != order["openid"]:
        raise PayRefused("下单账号与支付账号不一致")
    if now_s is not None and now_s >= order["created_at"] + PREPAY_LIFE_S:
        raise PayRefused("预支付交易会话已过期")
    if now_s is not None and now_s >= order["expires_at"]:
        raise PayRefused("该订单已过期")


def _paid_amount(box: Sandbox, order: Row) -> int:
    """The order's amount, unless a wrong one was ordered (the channel then believes in it)."""
    taken = box.state.take_behaviour("payment", order["out_trade_no"])
    return int(taken[1]["amount_fen"]) if taken else int(order["total_fen"])


def transaction(box: Sandbox, order: Row) -> dict[str, Any]:
    """The order as queries and notices tell it; amounts only once it is paid."""
    told = {
        "appid": box.keys.appid,
        "mchid": box.keys.mchid,
        "out_trade_no": order["out_trade_no"],
        "attach": order["attach"],
        "trade_state": order["state"],
        "trade_state_desc": TRADE_DESC[order["state"]],
    }
    if order["paid_at"] is None:
        return told
    return told | {
        "transaction_id": order["transaction_id"],
        "trade_type": "JSAPI",
        "bank_type": "OTHERS",
        "success_time": rfc3339(order["paid_at"]),
        "payer": {"openid": order["openid"]},
        "amount": {
            "total": order["total_fen"],
            "payer_total": order["total_fen"],
            "currency": "CNY",
            "payer_currency": "CNY",
        },
    }


def open_refund(box: Sandbox, request: Mapping[str, Any]) -> Row:
    """Take a checked refund request; the same number again returns the same refund."""
    number, amount = request["out_refund_no"], request["amount"]["refund"]
    with box.state.transaction():
        known = box.state.one("SELECT * FROM refunds WHERE out_refund_no = ?", number)
        order = _refundable(box, request)
        if known:
            if (known["out_trade_no"], known["refund_fen"]) != (order["out_trade_no"], amount):
                raise ApiError(400, "INVALID_REQUEST", "请求参数与首次退款请求不一致")
            return known
        _check_refundable(box, order, amount)
        status = _refund_status(box, order["out_trade_no"])
        if status != "NOT_ENOUGH":
            _insert_refund(box, order, request, status)
    if status == "NOT_ENOUGH":
        raise ApiError(403, "NOT_ENOUGH", "基本账户余额不足，请充值后重新发起")
    made = find_refund(box, number)
    if status != "PROCESSING":
        notify_refund(box, made)
    return made


def _refundable(box: Sandbox, request: Mapping[str, Any]) -> Row:
    column = "transaction_id" if request.get("transaction_id") else "out_trade_no"
    order = box.state.one(f"SELECT * FROM orders WHERE {column} = ?", request.get(column))
    if order is None or order["paid_at"] is None:
        raise ApiError(404, "RESOURCE_NOT_EXISTS", "订单不存在或未支付")
    if order["total_fen"] != request["amount"]["total"]:
        raise ApiError(400, "PARAM_ERROR", "订单金额或退款金额与之前请求不一致")
    return order


def _check_refundable(box: Sandbox, order: Row, amount_fen: int) -> None:
    earlier = box.state.all(
        "SELECT refund_fen FROM refunds WHERE out_trade_no = ? AND status <> 'CLOSED'",
        order["out_trade_no"],
    )
    if sum(row["refund_fen"] for row in earlier) + amount_fen > order["total_fen"]:
        raise ApiError(400, "INVALID_REQUEST", "订单已全额退款或退款金额大于可退金额")
    if len(earlier) >= MAX_REFUNDS:
        raise ApiError(400, "INVALID_REQUEST", "部分退款次数超过50次")
    if box.now_s() - order["paid_at"] > REFUND_WINDOW.total_seconds():
        raise ApiError(400, "INVALID_REQUEST", "订单已超过可退款期限")


def _refund_status(box: Sandbox, out_trade_no: str) -> str:
    taken = box.state.take_behaviour("refund", out_trade_no)
    return taken[0].upper() if taken else "SUCCESS"


def _insert_refund(box: Sandbox, order: Row, request: Mapping[str, Any], status: str) -> None:
    now_s, amount = box.now_s(), request["amount"]["refund"]
    share = Decimal(order["fee_fen"]) * amount / order["total_fen"]
    box.state.insert(
        "refunds",
        out_refund_no=request["out_refund_no"],
        refund_id=_long_number(box, "5030", now_s),
        out_trade_no=order["out_trade_no"],
        refund_fen=amount,
        reason=request.get("reason", ""),
        notify_url=request.get("notify_url", ""),
        status=status,
        created_at=now_s,
        success_at=now_s if status == "SUCCESS" else None,
        fee_fen=int(share.quantize(Decimal(1), ROUND_HALF_UP)),
    )
    if status != "CLOSED":
        number = order["out_trade_no"]
        box.state.run("UPDATE orders SET state = 'REFUND' WHERE out_trade_no = ?", number)


def settle_refund(box: Sandbox, out_refund_no: str, status: str) -> Row:
    """Bring a refund held in PROCESSING to its end and notify."""
    success_at = box.now_s() if status == "SUCCESS" else None
    box.state.run(
        "UPDATE refunds SET status = ?, success_at = ? WHERE out_refund_no = ?",
        status,
        success_at,
        out_refund_no,
    )
    row = find_refund(box, out_refund_no)
    notify_refund(box, row)
    return row


def find_refund(box: Sandbox, out_refund_no: str) -> Row:
    """The refund, or RESOURCE_NOT_EXISTS."""
    row = box.state.one("SELECT * FROM refunds WHERE out_refund_no = ?", out_refund_no)
    if row is None:
        raise ApiError(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
    return row


def refund_answer(box: Sandbox, refund: Row, *, fresh: bool = False) -> dict[str, Any]:
    """The refund as the API tells it; a fresh one is still PROCESSING to whoever asked for it."""
    order = find_order(box, refund["out_trade_no"])
    amount, total = refund["refund_fen"], order["total_fen"]
    status = "PROCESSING" if fresh and refund["status"] == "SUCCESS" else refund["status"]
    told = {
        "refund_id": refund["refund_id"],
        "out_refund_no": refund["out_refund_no"],
        "transaction_id": order["transaction_id"],
        "out_trade_no": order["out_trade_no"],
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": rfc3339(refund["created_at"]),
        "status": status,
        "funds_account": "UNSETTLED",
        "amount": _refund_amount(amount, total)
        | {"settlement_refund": amount, "settlement_total": total, "discount_refund": 0}
        | {"currency": "CNY"},
    }
    return told | _success_time(refund) if status == "SUCCESS" else told


def notify_refund(box: Sandbox, refund: Row) -> None:
    """Queue REFUND.SUCCESS, .ABNORMAL or .CLOSED where the merchant asked to be told."""
    if not refund["notify_url"]:
        return
    order = find_order(box, refund["out_trade_no"])
    plain = {
        "mchid": box.keys.mchid,
        "out_trade_no": order["out_trade_no"],
        "transaction_id": order["transaction_id"],
        "out_refund_no": refund["out_refund_no"],
        "refund_id": refund["refund_id"],
        "refund_status": refund["status"],
        "user_received_account": "支付用户零钱",
        "amount": _refund_amount(refund["refund_fen"], order["total_fen"]),
    }
    box.notify(
        order["out_trade_no"],
        f"REFUND.{refund['status']}",
        plain | _success_time(refund),
        refund["notify_url"],
    )


def _refund_amount(refund_fen: int, total_fen: int) -> dict[str, Any]:
    return {
        "total": total_fen,
        "refund": refund_fen,
        "payer_total": total_fen,
        "payer_refund": refund_fen,
    }


def _success_time(refund: Row) -> dict[str, str]:
    return {"success_time": rfc3339(refund["success_at"])} if refund["success_at"] else {}


def fee_of(amount_fen: int, rate: Decimal) -> int:
    """The channel's fee, half-up to the fen."""
    return int((amount_fen * rate).quantize(Decimal(1), ROUND_HALF_UP))


def _long_number(box: Sandbox, prefix: str, moment_s: float) -> str:
    """28 digits, as WeChat's own: prefix, day in Beijing, running number."""
    day = datetime.fromtimestamp(moment_s, BEIJING).strftime("%Y%m%d")
    return f"{prefix}00{day}{box.state.next_number(prefix):014d}"
