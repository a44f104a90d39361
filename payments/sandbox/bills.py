"""The sandbox's daily statement: when it is there, what is in it, and what is wrong to order."""

import gzip
import hashlib
import secrets
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from payments.sandbox.desk import ApiError, Sandbox
from payments.sandbox.state import Row
from payments.sandbox.tradebill import BEIJING, COLUMNS, BillRow, write_tradebill
from payments.sandbox.wechat_desk import CHANNEL

_KEPT_DAYS = 92
_URL_LIFE_S = 300
_ROW_TWISTS = frozenset({"missing_row", "wrong_amount", "extra_row"})


def publish_bill(box: Sandbox, day: str, bill_type: str, gzipped: bool) -> dict[str, Any]:
    """Make the file and its download token: {hash_type, hash_value, token}. ApiError if none.

    NO_STATEMENT_EXIST: nothing on that day, or too old; STATEMENT_CREATING: not yet.
    """
    when = _day(day)
    if bill_type not in COLUMNS:
        raise ApiError(400, "PARAM_ERROR", "bill_type 参数错误")
    _check_ready(box, when)
    start = datetime.combine(when, time(), BEIJING)
    rows = bill_rows(box, CHANNEL, start)
    if bill_type != "ALL":
        rows = [row for row in rows if bool(row.refund_id) == (bill_type == "REFUND")]
    if not rows:
        raise ApiError(400, "NO_STATEMENT_EXIST", "账单文件不存在")
    rate = f"{box.settings.fee_rate * 100:.2f}%"
    data = write_tradebill(twisted(rows, box, day), bill_type, rate)
    return {
        "hash_type": "SHA1",
        "hash_value": hashlib.sha1(data, usedforsecurity=False).hexdigest(),
        "token": keep_file(box, day, data, _URL_LIFE_S, gzipped=gzipped),
    }


def bill_file(box: Sandbox, token: str) -> bytes:
    """The file behind a token while it lives (5 minutes)."""
    row = box.state.one("SELECT * FROM bills WHERE token = ?", token)
    if row is None or row["expires_at"] < box.now_s():
        raise ApiError(404, "RESOURCE_NOT_EXISTS", "账单下载链接已失效")
    return bytes(row["content"])


def keep_file(
    box: Sandbox, occasion: str, data: bytes, life_s: float, *, gzipped: bool = False
) -> str:
    """Keep a bill's file behind a token for `life_s`; damaged where that was ordered."""
    if box.state.take_behaviour("statement", occasion, frozenset({"damaged"})):
        data = data.replace(b"0", b"1", 1)
    token = secrets.token_urlsafe(24)
    box.state.run("DELETE FROM bills WHERE expires_at < ?", box.now_s())
    box.state.insert(
        "bills",
        token=token,
        content=gzip.compress(data) if gzipped else data,
        expires_at=box.now_s() + life_s,
    )
    return token


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ApiError(400, "PARAM_ERROR", "bill_date 格式应为 YYYY-MM-DD") from None


def _check_ready(box: Sandbox, day: date) -> None:
    """Ready from 10:00 (a setting) of the next day, or at once where `publish` was ordered."""
    ordered = box.state.take_behaviour(
        "statement", day.isoformat(), frozenset({"creating", "absent"})
    )
    if ordered and ordered[0] == "absent":
        raise ApiError(400, "NO_STATEMENT_EXIST", "账单文件不存在")
    if ordered:
        raise ApiError(400, "STATEMENT_CREATING", "账单生成中")
    now = box.clock().astimezone(BEIJING)
    if day < now.date() - timedelta(days=_KEPT_DAYS):
        raise ApiError(400, "NO_STATEMENT_EXIST", "账单文件不存在")
    if box.state.setting(f"publish:{day.isoformat()}", ""):
        return
    ready = datetime.combine(day + timedelta(days=1), time(box.settings.statement_hour), BEIJING)
    if day >= now.date():
        raise ApiError(400, "PARAM_ERROR", "bill_date 应为今天之前的日期")
    if now < ready:
        raise ApiError(400, "STATEMENT_CREATING", "账单生成中")


def twisted(rows: list[BillRow], box: Sandbox, occasion: str) -> list[BillRow]:
    """A statement that differs from what happened, to order; its totals then fit its own rows.

    An occasion is a day, with the channel in front where it is not WeChat's: alipay:2026-01-31.
    """
    taken = box.state.take_behaviour("statement", occasion, _ROW_TWISTS)
    if taken is None:
        return rows
    mode, params = taken
    at = next((i for i, row in enumerate(rows) if _meant(row, params)), 0)
    if mode == "missing_row":
        return rows[:at] + rows[at + 1 :]
    if mode == "wrong_amount":
        amount = int(params.get("amount_fen", rows[at].amount_fen + 1))
        return [*rows[:at], replace(rows[at], amount_fen=amount), *rows[at + 1 :]]
    stranger = replace(
        rows[at], transaction_id=f"42000000{secrets.randbelow(10**20):020d}", refund_id=""
    )
    return [*rows, replace(stranger, out_trade_no=params.get("out_trade_no", "STRANGER-ORDER-1"))]


def _meant(row: BillRow, params: dict[str, Any]) -> bool:
    return params.get("out_trade_no") in (None, row.out_trade_no) and not row.refund_id


def bill_rows(box: Sandbox, channel: str, start: datetime, hours: int = 24) -> list[BillRow]:
    """Everything of a channel paid and refunded in the hours from `start`, in order of time."""
    start_s, end_s = start.timestamp(), (start + timedelta(hours=hours)).timestamp()
    paid = box.state.all(
        "SELECT * FROM orders WHERE paid_at >= ? AND paid_at < ? AND channel = ?",
        start_s,
        end_s,
        channel,
    )
    back = box.state.all(
        "SELECT r.refund_id, r.out_refund_no, r.refund_fen, r.fee_fen AS back_fen, r.success_at,"
        " r.created_at AS asked_at, o.* FROM refunds r JOIN orders o USING (out_trade_no)"
        " WHERE r.success_at >= ? AND r.success_at < ? AND o.channel = ?",
        start_s,
        end_s,
        channel,
    )
    rows = [_payment_row(box, row) for row in paid] + [_refund_row(box, row) for row in back]
    return sorted(rows, key=lambda row: (row.at, row.transaction_id, row.refund_id))


def _payment_row(box: Sandbox, row: Row) -> BillRow:
    return BillRow(
        at=datetime.fromtimestamp(row["paid_at"], UTC),
        appid=box.keys.appid,
        mchid=box.keys.mchid,
        transaction_id=row["transaction_id"],
        out_trade_no=row["out_trade_no"],
        openid=row["openid"],
        amount_fen=row["total_fen"],
        fee_fen=row["fee_fen"],
        description=row["description"],
        attach=row["attach"],
    )


def _refund_row(box: Sandbox, row: Row) -> BillRow:
    return BillRow(
        at=datetime.fromtimestamp(row["success_at"], UTC),
        appid=box.keys.appid,
        mchid=box.keys.mchid,
        transaction_id=row["transaction_id"],
        out_trade_no=row["out_trade_no"],
        openid=row["openid"],
        amount_fen=row["refund_fen"],
        fee_fen=-row["back_fen"],
        description=row["description"],
        attach=row["attach"],
        refund_id=row["refund_id"],
        out_refund_no=row["out_refund_no"],
        asked_at=datetime.fromtimestamp(row["asked_at"], UTC),
    )
