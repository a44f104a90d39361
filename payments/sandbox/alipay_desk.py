"""Alipay's words for the sandbox's orders and refunds, and its notices."""

import base64
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15

from payments import rsa2
from payments.alipay_gateway import beijing_text, canonical
from payments.sandbox.alipay_keys import AlipayKeys
from payments.sandbox.desk import Sandbox, order_of
from payments.sandbox.keys import read_private_key
from payments.sandbox.party import Told, long_number
from payments.sandbox.state import Row
from payments.sandbox.tradebill import yuan

CHANNEL = "alipay"
# About 8 notices in 25 h (支付宝异步通知): 4m/10m/10m/1h/2h/6h/15h.
REPEATS_S = (240, 600, 600, 3600, 7200, 21600, 54000)
# What the desk refuses -> Alipay's sub-code and sentence.
REFUSALS = {
    "not_found": ("ACQ.TRADE_NOT_EXIST", "交易不存在"),
    "paid": ("ACQ.TRADE_HAS_SUCCESS", "交易已被支付"),
    "closed": ("ACQ.TRADE_HAS_CLOSE", "交易已经关闭"),
    "inconsistent": ("ACQ.CONTEXT_INCONSISTENT", "交易信息被篡改"),
    "not_paid": ("ACQ.TRADE_STATUS_ERROR", "交易状态不合法"),
    "total_differs": ("ACQ.INVALID_PARAMETER", "参数无效"),
    "too_much": ("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款金额超限"),
    "too_often": ("ACQ.REFUND_AMT_NOT_EQUAL_TOTAL", "退款次数超限"),
    "too_late": ("ACQ.TRADE_HAS_FINISHED", "交易已结束"),
    "not_enough": ("ACQ.SELLER_BALANCE_NOT_ENOUGH", "卖家余额不足"),
    "refund_not_found": ("ACQ.TRADE_NOT_EXIST", "查询退款的交易不存在"),
}
_STATUS = {
    "NOTPAY": "WAIT_BUYER_PAY",
    "SUCCESS": "TRADE_SUCCESS",
    "REFUND": "TRADE_SUCCESS",
    "CLOSED": "TRADE_CLOSED",
}
_TWISTS = {
    "wrong_mchid": {"seller_id": "2088999999999999"},
    "wrong_appid": {"app_id": "2021999999999999"},
}


def at(seconds: float) -> str:
    """'2026-01-31 08:00:00' in Beijing."""
    return beijing_text(datetime.fromtimestamp(seconds, UTC))


def refunded_fen(box: Sandbox, order: Row) -> int:
    """What has been given back of an order."""
    row = box.state.one(
        "SELECT coalesce(sum(refund_fen), 0) AS fen FROM refunds"
        " WHERE out_trade_no = ? AND status = 'SUCCESS'",
        order["out_trade_no"],
    )
    return int(row["fen"]) if row else 0


def trade(box: Sandbox, order: Row) -> dict[str, str]:
    """The order as a query tells it."""
    told = {
        "trade_no": order["transaction_id"] or "",
        "out_trade_no": order["out_trade_no"],
        "trade_status": status_of(box, order),
        "total_amount": yuan(order["total_fen"]),
        "buyer_logon_id": "159****5620",
        "buyer_user_id": order["openid"] or "2088101117955611",
    }
    if order["paid_at"] is not None:
        told["send_pay_date"] = at(order["paid_at"])
        told["receipt_amount"] = told["buyer_pay_amount"] = yuan(order["total_fen"])
    return told


def status_of(box: Sandbox, order: Row) -> str:
    """A trade refunded in whole is TRADE_CLOSED, in part it stays TRADE_SUCCESS."""
    if order["state"] == "REFUND" and refunded_fen(box, order) == order["total_fen"]:
        return "TRADE_CLOSED"
    return _STATUS[order["state"]]


class AlipayParty:
    """Alipay as the desk and the notifier know it."""

    repeats_s: Sequence[float] = REPEATS_S

    def __init__(self, keys: AlipayKeys) -> None:
        self.keys = keys
        self._key = read_private_key(keys.alipay_key_path)
        self._stranger = rsa.generate_private_key(public_exponent=65537, key_size=2048)

    def sign(self, message: str, mode: str = "") -> str:
        """Alipay's signature; `mode` forged_signature makes it somebody else's."""
        key = self._stranger if mode == "forged_signature" else self._key
        return rsa2.sign(key, message.encode())

    def transaction_no(self, box: Sandbox, moment_s: float) -> str:
        """28 digits: the day, 2200, a running number."""
        return f"{at(moment_s)[:10].replace('-', '')}2200{long_number(box, '14', '', 14)}"

    def refund_no(self, box: Sandbox, moment_s: float) -> str:
        """Alipay has none of its own for a refund; ours to tell them apart."""
        return long_number(box, "R", "", 20)

    def paid(self, box: Sandbox, order: Row) -> Told:
        """TRADE_SUCCESS."""
        return "TRADE_SUCCESS", self._fields(order, "TRADE_SUCCESS")

    def refunded(self, box: Sandbox, refund: Row) -> Told | None:
        """The trade's notice again, with what has been given back of it by now."""
        if refund["status"] != "SUCCESS":
            return None
        order = order_of(box, refund)
        fields = self._fields(order, status_of(box, order)) | {
            "refund_fee": yuan(refunded_fen(box, order)),
            "gmt_refund": at(refund["success_at"]) + ".000",
            "out_biz_no": refund["out_refund_no"],
        }
        return "REFUND", fields

    def compose(
        self, box: Sandbox, notice: Row, mode: str, twist: dict[str, Any]
    ) -> tuple[bytes, dict[str, str]]:
        """The form, signed; SHA-1 and strangers' keys to order."""
        moment = box.clock() - (timedelta(days=2) if mode == "stale" else timedelta(0))
        fields = json.loads(notice["plain"]) | {
            "notify_id": notice["id"].replace("-", ""),
            "notify_time": beijing_text(moment),
        }
        fields |= _TWISTS.get(mode, {})
        if mode == "wrong_amount":
            fields["total_amount"] = yuan(int(twist.get("amount_fen", 1)))
        if mode == "malformed":
            del fields["total_amount"]
        signed = self._signed(fields, mode)
        headers = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
        return urlencode(signed).encode(), headers

    def is_taken(self, status: int, body: bytes) -> bool:
        """The word success and nothing else."""
        return status == 200 and body.strip() == b"success"

    def _signed(self, fields: Mapping[str, str], mode: str) -> dict[str, str]:
        message = canonical(fields)
        if mode == "unsigned":
            return {**fields, "sign_type": "RSA2"}
        if mode == "sha1":
            raw = self._key.sign(message.encode(), PKCS1v15(), hashes.SHA1())
            return {**fields, "sign_type": "RSA2", "sign": base64.b64encode(raw).decode()}
        sign = "AAAA" if mode == "wrong_serial" else self.sign(message, mode)
        return {**fields, "sign_type": "RSA2", "sign": sign}

    def _fields(self, order: Row, status: str) -> dict[str, str]:
        total = yuan(order["total_fen"])
        return {
            "gmt_create": at(order["created_at"]),
            "gmt_payment": at(order["paid_at"]),
            "notify_type": "trade_status_sync",
            "charset": "utf-8",
            "version": "1.0",
            "subject": order["description"],
            "buyer_id": order["openid"] or "2088101117955611",
            "seller_id": self.keys.seller_id,
            "app_id": self.keys.app_id,
            "auth_app_id": self.keys.app_id,
            "out_trade_no": order["out_trade_no"],
            "trade_no": order["transaction_id"],
            "trade_status": status,
            "total_amount": total,
            "receipt_amount": total,
            "invoice_amount": total,
            "buyer_pay_amount": total,
            "point_amount": "0.00",
            "fund_bill_list": f'[{{"amount":"{total}","fundChannel":"ALIPAYACCOUNT"}}]',
        }
