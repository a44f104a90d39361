"""What the cashier decides, without a session, a clock or a channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import StrEnum

from backend.base.clock import SHANGHAI, day_bounds

MAX_BILLS = 20
# A prepay_id lives 2 h (WeChat Pay v3, JSAPI下单); ours ends before it does, so that nobody is
# handed one which dies while he types his password.
ORDER_LIFE = timedelta(minutes=115)
# An order asked for again is given again only while there is time left to pay it.
REUSE_MARGIN = timedelta(minutes=2)
# Someone else of the same household may be paying right now; after this long they are not.
RIVAL_GRACE = timedelta(minutes=10)
# An order the channel has never heard of this long after it was made never reached it: a call
# is given up after 11 s (payments: 3 s to connect, 8 s to answer).
UNHEARD_OF = timedelta(seconds=60)
# Seconds after its creation at which the channel is asked about an order (docs/payments).
ASK_AT_S = (5, 30, 60, 300, 900, 1800, 3600)
# WeChat's statement of a day is ready after 10:00 the next day.
STATEMENT_READY = time(10, 0)
# No channel of ours takes more than this of a payment.
MAX_FEE_RATE = Decimal("0.01")

OPEN = ("created", "paying")
# The channel of orders a bank collects by file; `paying` once its file is being written.
BANK = "bank"


class Verdict(StrEnum):
    """What becomes of a payment the channel vouches for."""

    POST = "post"
    REPEAT = "repeat"
    PARK = "park"


@dataclass(frozen=True, slots=True)
class Item:
    """One bill as the cashier sees it before making an order."""

    bill_id: int
    household_id: int
    open_fen: int
    collecting: bool = False  # a bank has been asked for it and has not answered yet


def refusal(bill_ids: Sequence[int], items: Sequence[Item]) -> str | None:
    """Why these bills cannot be one order (a problem code), or None.

    `items` are the bills found; a bill missing there is somebody else's or none.
    """
    if not bill_ids or len(bill_ids) > MAX_BILLS or len(set(bill_ids)) != len(bill_ids):
        return "validation"
    if {item.bill_id for item in items} != set(bill_ids):
        return "not_found"
    if len({item.household_id for item in items}) > 1:
        return "bills_not_together"
    if any(item.open_fen <= 0 for item in items):
        return "bill_not_payable"
    if any(item.collecting for item in items):
        return "bill_in_collection"
    return None


def expires_at(created_at: datetime) -> datetime:
    """When an order made at `created_at` can no longer be paid."""
    return created_at + ORDER_LIFE


def next_ask(created_at: datetime, expires: datetime, step: int) -> datetime | None:
    """When to ask for the `step`-th time (from 0); the last time is just after it expires."""
    if step < len(ASK_AT_S):
        return created_at + timedelta(seconds=ASK_AT_S[step])
    return expires + timedelta(seconds=1) if step == len(ASK_AT_S) else None


def judge(amount_fen: int, transaction_id: str | None, paid_fen: int, paid_id: str) -> Verdict:
    """Whether a payment fits its order: `transaction_id` is what the order already carries.

    The same transaction again is a repeat; another one, or a wrong amount, waits for a person.
    """
    if transaction_id == paid_id:
        return Verdict.REPEAT
    if transaction_id is not None or paid_fen != amount_fen:
        return Verdict.PARK
    return Verdict.POST


def why_parked(amount_fen: int, transaction_id: str | None, paid_fen: int) -> str:
    """The type of the case a parked payment becomes (cashier.cases)."""
    if transaction_id is not None:
        return "second_payment"
    return "late" if paid_fen == amount_fen else "wrong_amount"


def reusable(expires: datetime, now: datetime) -> bool:
    """Whether an open order can be handed out once more."""
    return now + REUSE_MARGIN <= expires


def replaceable(owner: int | None, asker: int, created_at: datetime, now: datetime) -> bool:
    """Whether an open order over the same bills may be closed to make room for another."""
    return owner == asker or now - created_at >= RIVAL_GRACE


def is_late(paid_at: datetime, expires: datetime) -> bool:
    """Whether a payment was made after its order could no longer be paid."""
    return paid_at > expires


def surplus_words(late: bool, topup: bool) -> tuple[str, str]:
    """(what stands on the order, what the payer reads) where money goes back by itself."""
    if late:
        return "超时支付", "订单已超时，原路退回"
    if topup:
        return "充值账户已变更", "充值账户已变更，原路退回"
    return "已缴清的账单重复付款", "账单已缴清，原路退回"


CHIPS_FEN = (5000, 10000, 20000, 50000, 100000, 200000)


def chips(min_fen: int, max_fen: int) -> list[int]:
    """The amounts to choose from, within what may be topped up."""
    return [fen for fen in CHIPS_FEN if min_fen <= fen <= max_fen]


def topup_description(into: str) -> str:
    """What the payer of a top-up reads: 热费充值, or 余额充值."""
    return f"{UTILITY_ZH[into]}充值" if into in UTILITY_ZH else "余额充值"


def description(utilities: Sequence[str]) -> str:
    """What the payer reads in WeChat, from the utility of each bill: 热费、水费 2笔."""
    names = "、".join(dict.fromkeys(UTILITY_ZH.get(name, name) for name in utilities))
    return f"{names} {len(utilities)}笔" if len(utilities) > 1 else names


UTILITY_ZH = {"heat": "热费", "water": "水费", "gas": "燃气费", "electricity": "电费"}


def payment_key(channel: str, transaction_id: str) -> str:
    """The ledger's business key of a payment."""
    return f"{channel}:{transaction_id}"


def refund_key(channel: str, out_refund_no: str) -> str:
    """The ledger's business key of a refund."""
    return f"{channel}:refund:{out_refund_no}"


def fee_key(channel: str, day: date) -> str:
    """The ledger's business key of a day's fees."""
    return f"{channel}:fee:{day.isoformat()}"


def day_is_over(day: date, now: datetime) -> bool:
    """Whether the business day has ended."""
    return now >= day_bounds(day)[1]


def statement_ready(day: date, now: datetime) -> bool:
    """Whether the channel should have published the day's statement by now."""
    ready = datetime.combine(day + timedelta(days=1), STATEMENT_READY, SHANGHAI)
    return now >= ready


# kind of break -> what to do about it, for whoever opens the finance day
SUGGESTIONS: dict[str, str] = {
    "missing_here": "渠道已收款而本方无此订单或未入账：核对订单来源，确认后补记或退款。",
    "missing_there": "本方已入账而渠道对账单没有：先向渠道查询该订单，再等次日对账单。",
    "amount": "渠道金额与本方不一致：款项已挂账的，到同一订单的待办处理；"
    "否则按差额挂账，查明后转给用户或补收。",
    "fee": "手续费超出约定：核对渠道签约费率；多收的按短款挂账向渠道追回，认可的写明原因办结。",
    "refund": "退款与渠道不一致：向渠道查询该退款单，确认后补记或重试。",
    "duplicate": "同一账单重复收款且未退：款项已挂账，到同一订单的待办退款或入账，再重新对账。",
    "statement_missing": "当日的银行账户流水还没有导入：导入后再对账。",
    "payout_missing": "应到账的款项没有到账：向银行或收单机构查询。",
    "payout_amount": "到账金额与应到账金额不符：核对手续费与明细，确认后补记。",
    "credit_unknown": "银行账户有来款无法识别：核对来源，确认后补记。",
    "debit_unknown": "银行账户有支出无法识别：核对用途，确认后补记。",
    "cross_day": "渠道与本方记在不同的日期（零点前后）：核对两日，金额相符即了结，不动账。",
}


_STATUS_ZH = {
    "success": "成功",
    "processing": "处理中",
    "closed": "已关闭",
    "abnormal": "异常",
    "paid": "已付款",
    "pending": "未付款",
    "refunded": "已转入退款",
    "failed": "失败",
}


def status_words(status: str) -> str:
    """What a channel said of a trade or a refund, as people read it."""
    return _STATUS_ZH.get(str(status), str(status))
