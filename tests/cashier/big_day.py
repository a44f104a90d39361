"""A day of many payments with known faults in its statement, for a test and for a bench."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import sqlalchemy as sa

from backend.base.db import db
from backend.cashier import books
from backend.cashier.models import Break, PaymentOrder
from backend.ledger import chart
from backend.ledger import service as ledger
from payments.sandbox.alipay_bill import write_detail
from payments.sandbox.tradebill import BillRow, write_tradebill
from payments.sandbox.unionpay_desk import file_content
from payments.unionpay_statement import unpacked
from tests import builders

DAY = date(2026, 11, 20)
NOON = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
MORNING_AFTER = NOON + timedelta(hours=23)
MERCHANT = {
    "wechat_appid": "wx0123456789abcdef",
    "wxpay_mchid": "1900000001",
    "alipay_app_id": "2021000000000001",
    "alipay_seller_id": "2088000000000001",
    "unionpay_mer_id": "777290058110048",
}
_CHUNK = 5_000


@dataclass
class Published:
    """A channel that has nothing to give but its statement."""

    data: bytes

    def download_statement(self, _day: date) -> bytes:
        """The file, as often as it is asked for."""
        return self.data


def paid_day(channel: str, count: int) -> list[BillRow]:
    """Orders of one day, paid and in the ledger; the statement's rows as they should be."""
    household = builders.make_household(builders.make_building(channel), "101")
    resident = builders.make_resident(f"payer-by-{channel}")
    rows = [_row(channel, n) for n in range(count)]
    receivable = chart.receivable("heat", household.id)
    clearing = chart.clearing(channel)
    for start in range(0, count, _CHUNK):
        some = rows[start : start + _CHUNK]
        db.session.execute(
            sa.insert(PaymentOrder),
            [_order(channel, row, household.id, resident.id) for row in some],
        )
        ledger.post_many(
            ledger.Draft(
                f"{channel}:{row.transaction_id}",
                books.PAYMENT,
                row.at,
                [(clearing, row.amount_fen), (receivable, -row.amount_fen)],
                detail={"out_trade_no": row.out_trade_no, "amount_fen": row.amount_fen},
            )
            for row in some
        )
        db.session.commit()
        db.session.expunge_all()
    db.session.execute(sa.text("ANALYZE entry, posting, payment_order"))
    db.session.commit()
    return rows


def with_faults(
    rows: list[BillRow], each: int, rng: random.Random
) -> tuple[list[BillRow], set[tuple[str, str]]]:
    """The rows with `each` faults of every kind, and the differences these must come out as."""
    chosen = rng.sample(range(len(rows)), 3 * each)
    gone, wrong, dear = (set(chosen[n::3]) for n in range(3))
    shown, expected = [], set()
    for n, row in enumerate(rows):
        if n in gone:
            expected.add(("missing_there", row.out_trade_no))
        elif n in wrong:
            expected.add(("amount", row.out_trade_no))
            shown.append(replace(row, amount_fen=row.amount_fen + rng.choice((-1, 1))))
        elif n in dear:
            expected.add(("fee", row.out_trade_no))
            shown.append(replace(row, fee_fen=row.amount_fen // 50 + 1))
        else:
            shown.append(row)
    for n, row in enumerate(rng.sample(rows, 2 * each)):
        added, found = _stranger(row, n) if n % 2 else _refund_behind_our_back(row, n)
        shown.append(added)
        expected.add(found)
    return shown, expected


def written(channel: str, rows: list[BillRow]) -> bytes:
    """The statement as the channel publishes it."""
    if channel == "wechat":
        return write_tradebill(rows)
    if channel == "alipay":
        return write_detail(rows, MERCHANT["alipay_seller_id"], DAY, NOON).encode("gbk")
    return unpacked(file_content(rows, MERCHANT["unionpay_mer_id"], DAY))


def found() -> Iterator[tuple[str, str]]:
    """Every difference that was written down, once a row."""
    for one in db.session.execute(sa.select(Break.kind, Break.reference)):
        yield one.kind, one.reference


def _row(channel: str, n: int) -> BillRow:
    amount_fen = 100 + n % 90_000
    return BillRow(
        at=NOON + timedelta(seconds=n % 36_000),
        appid=MERCHANT["wechat_appid"],
        mchid=MERCHANT["wxpay_mchid"],
        transaction_id=f"{202611200000000000000 + n}",
        out_trade_no=f"N20261120120000{channel[0].upper()}{n:09d}",
        openid="o",
        amount_fen=amount_fen,
        fee_fen=round(amount_fen * 0.006),
        description="热费",
        attach="",
    )


def _order(channel: str, row: BillRow, household_id: int, resident_id: int) -> dict[str, Any]:
    return {
        "out_trade_no": row.out_trade_no,
        "channel": channel,
        "household_id": household_id,
        "resident_id": resident_id,
        "amount_fen": row.amount_fen,
        "state": "paid",
        "transaction_id": row.transaction_id,
        "received_fen": row.amount_fen,
        "created_at": row.at,
        "expires_at": row.at,
        "paid_at": row.at,
    }


def _stranger(row: BillRow, n: int) -> tuple[BillRow, tuple[str, str]]:
    number = f"STRANGER{n:08d}"
    other = replace(row, transaction_id=f"{902611200000000000000 + n}", out_trade_no=number)
    return other, ("missing_here", number)


def _refund_behind_our_back(row: BillRow, n: int) -> tuple[BillRow, tuple[str, str]]:
    number = f"R20261120230000{n:010d}"
    back = replace(
        row, refund_id=f"{802611200000000000000 + n}", out_refund_no=number, amount_fen=1, fee_fen=0
    )
    return back, ("refund", number)
