"""Writes WeChat's 交易账单 (v3, current layout): yuan, backticks, a BOM and CRLF as seen."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

BEIJING = timezone(timedelta(hours=8))
_BEFORE_REFUND = [
    "交易时间",
    "公众账号ID",
    "商户号",
    "特约商户号",
    "设备号",
    "微信订单号",
    "商户订单号",
    "用户标识",
    "交易类型",
    "交易状态",
    "付款银行",
    "货币种类",
    "应结订单金额",
    "代金券金额",
]
_REFUND_TIMES = ["退款申请时间", "退款成功时间"]
_REFUND = ["微信退款单号", "商户退款单号", "退款金额", "充值券退款金额", "退款类型", "退款状态"]
_AFTER_REFUND = ["商品名称", "商户数据包", "手续费", "费率", "订单金额"]
_TOTALS = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)
COLUMNS = {
    "ALL": [*_BEFORE_REFUND, *_REFUND, *_AFTER_REFUND, "申请退款金额", "费率备注"],
    "SUCCESS": [*_BEFORE_REFUND, *_AFTER_REFUND, "费率备注"],
    "REFUND": [
        *_BEFORE_REFUND,
        *_REFUND_TIMES,
        *_REFUND,
        *_AFTER_REFUND,
        "申请退款金额",
        "费率备注",
    ],
}


@dataclass(frozen=True, slots=True)
class BillRow:
    """One payment, or one refund where `refund_id` is set (then the order's amount is its)."""

    at: datetime
    appid: str
    mchid: str
    transaction_id: str
    out_trade_no: str
    openid: str
    amount_fen: int
    fee_fen: int
    description: str
    attach: str
    refund_id: str = ""
    out_refund_no: str = ""
    asked_at: datetime | None = None


def write_tradebill(rows: Sequence[BillRow], bill_type: str = "ALL", rate: str = "0.60%") -> bytes:
    """The file's bytes; rows of the other kind are left out of SUCCESS and REFUND bills."""
    wanted = [row for row in rows if bill_type in ("ALL", "REFUND" if row.refund_id else "SUCCESS")]
    columns = COLUMNS[bill_type]
    lines = [",".join(columns)]
    for row in wanted:
        fields = _fields(row, rate)
        lines.append(",".join(f"`{_clean(fields.get(name, ''))}" for name in columns))
    lines += [_TOTALS, ",".join(f"`{value}" for value in _totals(wanted))]
    return ("\ufeff" + "\r\n".join(lines) + "\r\n").encode()


def yuan(fen: int, places: int = 2) -> str:
    """'12.34' for 1234; with five places as fees are written: '12.34000'."""
    sign = "-" if fen < 0 else ""
    return f"{sign}{abs(fen) // 100}.{abs(fen) % 100:02d}{'0' * (places - 2)}"


def beijing(moment: datetime | None) -> str:
    """'2026-01-31 08:00:00', or nothing."""
    return moment.astimezone(BEIJING).strftime("%Y-%m-%d %H:%M:%S") if moment else ""


def _fields(row: BillRow, rate: str) -> dict[str, str]:
    common = {
        "交易时间": beijing(row.at),
        "公众账号ID": row.appid,
        "商户号": row.mchid,
        "特约商户号": "0",
        "微信订单号": row.transaction_id,
        "商户订单号": row.out_trade_no,
        "用户标识": row.openid,
        "交易类型": "JSAPI",
        "付款银行": "OTHERS",
        "货币种类": "CNY",
        "代金券金额": "0.00",
        "充值券退款金额": "0.00",
        "商品名称": row.description,
        "商户数据包": row.attach,
        "手续费": yuan(row.fee_fen, 5),
        "费率": rate,
    }
    return common | (_refund_fields(row) if row.refund_id else _payment_fields(row))


def _payment_fields(row: BillRow) -> dict[str, str]:
    amount = yuan(row.amount_fen)
    return {
        "交易状态": "SUCCESS",
        "应结订单金额": amount,
        "订单金额": amount,
        "微信退款单号": "0",
        "商户退款单号": "0",
        "退款金额": "0.00",
        "申请退款金额": "0.00",
    }


def _refund_fields(row: BillRow) -> dict[str, str]:
    amount = yuan(row.amount_fen)
    return {
        "交易状态": "REFUND",
        "应结订单金额": "0.00",
        "订单金额": "0.00",
        "退款申请时间": beijing(row.asked_at),
        "退款成功时间": beijing(row.at),
        "微信退款单号": row.refund_id,
        "商户退款单号": row.out_refund_no,
        "退款金额": amount,
        "申请退款金额": amount,
        "退款类型": "ORIGINAL",
        "退款状态": "SUCCESS",
    }


def _totals(rows: Sequence[BillRow]) -> list[str]:
    paid = yuan(sum(row.amount_fen for row in rows if not row.refund_id))
    back = yuan(sum(row.amount_fen for row in rows if row.refund_id))
    fees = yuan(sum(row.fee_fen for row in rows), 5)
    return [str(len(rows)), paid, back, "0.00", fees, paid, back]


def _clean(text: str) -> str:
    """A line break or a backtick in a name would break the file's own grammar."""
    return text.replace("\r", " ").replace("\n", " ").replace("`", "'")
