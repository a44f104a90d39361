"""What a stored notice says, for whoever looks into it: a few named fields, people's ids masked.

An authentic notice is opened again as it was when it came; of any other nothing is believed, and
what it claims is shown as a claim.
"""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import parse_qsl

import sqlalchemy as sa

from backend.base.db import db
from backend.base.errors import Problem
from backend.cashier.channels import channel_for
from backend.cashier.models import RawNotice
from payments.channel import NoticeRejected

MAX_NOTICES = 20
MAX_VALUE = 80
# What may be shown, as the channels name it; everything else stays in the database.
SHOWN = {
    "out_trade_no": "商户订单号",
    "orderId": "商户订单号",
    "transaction_id": "渠道交易号",
    "trade_no": "渠道交易号",
    "queryId": "渠道交易号",
    "out_refund_no": "商户退款单号",
    "trade_state": "交易状态",
    "trade_status": "交易状态",
    "refund_status": "退款状态",
    "respCode": "应答码",
    "respMsg": "应答信息",
    "amount.total": "订单金额（分）",
    "amount.payer_total": "用户支付（分）",
    "amount.refund": "退款金额（分）",
    "total_amount": "订单金额（元）",
    "txnAmt": "订单金额（分）",
    "success_time": "完成时间",
    "gmt_payment": "付款时间",
    "txnTime": "交易时间",
    "mchid": "商户号",
    "merId": "商户号",
    "seller_id": "商户号",
    "payer.openid": "付款人",
    "buyer_id": "付款人",
    "accNo": "付款卡号",
    "user_received_account": "退款入账账户",
}
MASKED = ("payer.openid", "buyer_id", "accNo")


def of_order(out_trade_no: str) -> list[dict[str, Any]]:
    """The notices that named an order, the newest first."""
    query = sa.select(RawNotice).where(RawNotice.out_trade_no == out_trade_no)
    rows = db.session.scalars(query.order_by(RawNotice.id.desc()).limit(MAX_NOTICES))
    return [view(row) for row in rows]


def rejected(channel: str, code: str, day_start: Any, day_end: Any) -> list[dict[str, Any]]:
    """The newest notices of a day refused for one reason."""
    query = sa.select(RawNotice).where(
        RawNotice.channel == channel,
        RawNotice.is_rejected,
        RawNotice.detail == code,
        RawNotice.received_at >= day_start,
        RawNotice.received_at < day_end,
    )
    rows = db.session.scalars(query.order_by(RawNotice.id.desc()).limit(MAX_NOTICES))
    return [view(row) for row in rows]


def view(raw: RawNotice) -> dict[str, Any]:
    """One notice: when, what came of it, its facts, and whether they are believed."""
    plain = _opened(raw)
    return {
        "id": raw.id,
        "received_at": raw.received_at,
        "outcome": raw.outcome,
        "detail": raw.detail,
        "size": len(raw.body),
        "authentic": plain is not None,
        "facts": facts(raw.body if plain is None else plain),
    }


def _opened(raw: RawNotice) -> bytes | None:
    """The verified content, or None where it does not verify (any more)."""
    headers = {str(name): str(value) for name, value in raw.headers.items()}
    try:
        return channel_for(raw.channel).parse_notice(headers, raw.body, raw.received_at).plain
    except (NoticeRejected, Problem, ValueError):
        return None


def facts(body: bytes) -> list[tuple[str, str]]:
    """(what, value) of the fields of SHOWN a JSON object or a form has."""
    fields = _flat(body)
    return [
        (title, mask(fields[name]) if name in MASKED else fields[name][:MAX_VALUE])
        for name, title in SHOWN.items()
        if name in fields
    ]


def mask(text: str) -> str:
    """Both ends of an id, enough to compare and not to use."""
    return f"{text[:4]}****{text[-4:]}" if len(text) > 10 else "****"


def _flat(body: bytes) -> dict[str, str]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return dict(parse_qsl(body.decode("utf-8", "replace")))
    if not isinstance(found, dict):
        return {}
    flat: dict[str, str] = {}
    for name, value in found.items():
        if isinstance(value, dict):
            flat |= {f"{name}.{inner}": str(deep) for inner, deep in value.items()}
        else:
            flat[str(name)] = str(value)
    return flat
