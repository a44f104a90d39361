"""WeChat Pay's words for the sandbox's orders and refunds, its notices, its way of saying no."""

import json
import secrets
from collections.abc import Sequence
from datetime import datetime
from typing import Any, cast

from payments import wechat_cards, wechat_crypto
from payments.sandbox.desk import ApiError, Refused, Sandbox, order_of
from payments.sandbox.party import Told, long_number
from payments.sandbox.signing import Platform, Signer
from payments.sandbox.state import Row
from payments.sandbox.tradebill import BEIJING

CHANNEL = "wechat"
# 15s/15s/30s/3m/10m/20m/30m x3/60m/3h x3/6h x2 (WeChat Pay v3, 支付通知).
REPEATS_S = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600)
TRADE_DESC = {
    "SUCCESS": "支付成功",
    "REFUND": "转入退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
}
# What the desk refuses -> HTTP status and code of the v3 API.
_CODES = {
    "not_found": (404, "ORDER_NOT_EXIST"),
    "paid": (400, "ORDERPAID"),
    "closed": (400, "ORDER_CLOSED"),
    "inconsistent": (400, "INVALID_REQUEST"),
    "not_paid": (404, "RESOURCE_NOT_EXISTS"),
    "total_differs": (400, "PARAM_ERROR"),
    "too_much": (400, "INVALID_REQUEST"),
    "too_often": (400, "INVALID_REQUEST"),
    "too_late": (400, "INVALID_REQUEST"),
    "not_enough": (403, "NOT_ENOUGH"),
    "refund_not_found": (404, "RESOURCE_NOT_EXISTS"),
}
_SUMMARY = {"TRANSACTION.SUCCESS": "支付成功", "REFUND.SUCCESS": "退款成功"}
_FIELD_TWISTS = {"wrong_mchid": ("mchid", "1900000999"), "wrong_appid": ("appid", "wx0000")}


def api_error(refused: Refused) -> ApiError:
    """The desk's no in WeChat's code."""
    status, code = _CODES[refused.kind]
    return ApiError(status, code, refused.message)


def rfc3339(seconds: float) -> str:
    """'2026-01-31T08:00:00+08:00'."""
    return datetime.fromtimestamp(seconds, BEIJING).isoformat(timespec="seconds")


def transaction(box: Sandbox, order: Row) -> dict[str, Any]:
    """The order as queries and notices tell it; amounts only once it is paid."""
    asked = json.loads(order["request"])
    told = {
        "appid": asked.get("appid", box.keys.appid),
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
        "trade_type": asked.get("trade_type", "JSAPI"),
        "bank_type": "OTHERS",
        "success_time": rfc3339(order["paid_at"]),
        "payer": {"openid": order["openid"] or "o-somebody"},
        "amount": {
            "total": order["total_fen"],
            "payer_total": order["total_fen"],
            "currency": "CNY",
            "payer_currency": "CNY",
        },
    }


def refund_answer(box: Sandbox, refund: Row, *, fresh: bool = False) -> dict[str, Any]:
    """The refund as the API tells it; a fresh one is still PROCESSING to whoever asked for it."""
    order = order_of(box, refund)
    amount, total = refund["refund_fen"], order["total_fen"]
    status = "PROCESSING" if fresh and refund["status"] == "SUCCESS" else refund["status"]
    told = {
        "refund_id": refund["refund_id"],
        "out_refund_no": refund["out_refund_no"],
        "transaction_id": order["transaction_id"],
        "out_trade_no": order["out_trade_no"],
        "channel": "OTHER_BANKCARD" if refund["received"] else "ORIGINAL",
        "user_received_account": _received(refund),
        "create_time": rfc3339(refund["created_at"]),
        "status": status,
        "funds_account": "UNSETTLED",
        "amount": _refund_amount(amount, total)
        | {"settlement_refund": amount, "settlement_total": total, "discount_refund": 0}
        | {"currency": "CNY"},
    }
    return told | _success_time(refund) if status == "SUCCESS" else told


class WeChatParty:
    """WeChat Pay as the desk and the notifier know it."""

    repeats_s: Sequence[float] = REPEATS_S

    def __init__(self, platform: Platform) -> None:
        self._platform = platform

    def transaction_no(self, box: Sandbox, moment_s: float) -> str:
        """28 digits: prefix, day in Beijing, running number."""
        return long_number(box, "4200", f"00{_day(moment_s)}", 14)

    def refund_no(self, box: Sandbox, moment_s: float) -> str:
        """28 digits."""
        return long_number(box, "5030", f"00{_day(moment_s)}", 14)

    def paid(self, box: Sandbox, order: Row) -> Told:
        """TRANSACTION.SUCCESS."""
        return "TRANSACTION.SUCCESS", transaction(box, order)

    def refunded(self, box: Sandbox, refund: Row) -> Told:
        """REFUND.SUCCESS, .ABNORMAL or .CLOSED."""
        order = order_of(box, refund)
        plain = {
            "mchid": box.keys.mchid,
            "out_trade_no": order["out_trade_no"],
            "transaction_id": order["transaction_id"],
            "out_refund_no": refund["out_refund_no"],
            "refund_id": refund["refund_id"],
            "refund_status": refund["status"],
            "user_received_account": _received(refund),
            "amount": _refund_amount(refund["refund_fen"], order["total_fen"]),
        }
        return f"REFUND.{refund['status']}", plain | _success_time(refund)

    def compose(
        self, box: Sandbox, notice: Row, mode: str, twist: dict[str, Any]
    ) -> tuple[bytes, dict[str, str]]:
        """The sealed envelope and its Wechatpay-* headers, carrying the sandbox clock's time."""
        body = self._envelope(notice, mode, twist)
        signer = cast(Signer, box.state.setting("signing", "public_key"))
        headers = self._platform.signed_headers(body, box.clock(), signer, mode)
        headers |= {"Content-Type": "application/json", "Request-ID": secrets.token_hex(16)}
        return body, headers

    def is_taken(self, status: int, body: bytes) -> bool:
        """200 or 204, whatever the body."""
        return status in (200, 204)

    def _envelope(self, notice: Row, mode: str, twist: dict[str, Any]) -> bytes:
        plain = _twisted(json.loads(notice["plain"]), mode, twist)
        key = self._platform.keys.api_v3_key.encode()
        if mode == "wrong_key":
            key = secrets.token_bytes(32)
        kind = "transaction" if notice["event_type"] == "TRANSACTION.SUCCESS" else "refund"
        nonce = secrets.token_hex(6)
        sealed = wechat_crypto.encrypt(
            key, nonce, kind, json.dumps(plain, ensure_ascii=False).encode()
        )
        body = {
            "id": notice["id"],
            "create_time": rfc3339(notice["created_at"]),
            "resource_type": "encrypt-resource",
            "event_type": notice["event_type"],
            "summary": _SUMMARY.get(notice["event_type"], "退款异常或关闭"),
            "resource": {
                "original_type": kind,
                "algorithm": wechat_crypto.AEAD,
                "ciphertext": sealed,
                "associated_data": kind,
                "nonce": nonce,
            },
        }
        return json.dumps(body, ensure_ascii=False).encode()


def _day(moment_s: float) -> str:
    return datetime.fromtimestamp(moment_s, BEIJING).strftime("%Y%m%d")


def _refund_amount(refund_fen: int, total_fen: int) -> dict[str, Any]:
    return {
        "total": total_fen,
        "refund": refund_fen,
        "payer_total": total_fen,
        "payer_refund": refund_fen,
    }


def _received(refund: Row) -> str:
    """退款入账账户: the card it was sent on to, its number cut to four digits."""
    if not refund["received"]:
        return "支付用户零钱"
    bank, _holder, tail = refund["received"].split(" ")
    return f"{wechat_cards.BANKS_ZH[bank]}借记卡{tail}"


def _success_time(refund: Row) -> dict[str, str]:
    return {"success_time": rfc3339(refund["success_at"])} if refund["success_at"] else {}


def _twisted(plain: dict[str, Any], mode: str, twist: dict[str, Any]) -> dict[str, Any]:
    if mode in _FIELD_TWISTS:
        name, value = _FIELD_TWISTS[mode]
        return plain | {name: value}
    if mode == "wrong_currency":
        return plain | {"amount": plain["amount"] | {"currency": "USD"}}
    if mode == "wrong_amount":
        amount = int(twist.get("amount_fen", 1))
        field = "refund" if "refund" in plain["amount"] else "total"
        changed = {field: amount, f"payer_{field}": amount}
        return plain | {"amount": plain["amount"] | changed}
    if mode == "malformed":
        return {name: value for name, value in plain.items() if name != "amount"}
    return plain
