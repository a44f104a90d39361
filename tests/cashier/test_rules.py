"""What the cashier decides, without a database."""

from datetime import UTC, date, datetime, timedelta

import pytest

from backend.cashier import rules
from backend.cashier.rules import Item, Verdict

AT = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("carried", "paid_fen", "verdict"),
    [
        (None, 100, Verdict.POST),
        (None, 99, Verdict.PARK),
        (None, 101, Verdict.PARK),
        ("4200", 100, Verdict.REPEAT),
        ("4200", 99, Verdict.REPEAT),
        ("other", 100, Verdict.PARK),
    ],
)
def test_a_payment_is_posted_repeated_or_parked(carried, paid_fen, verdict):
    assert rules.judge(100, carried, paid_fen, "4200") is verdict


@pytest.mark.parametrize(
    ("ids", "items", "code"),
    [
        ([1], [Item(1, 7, 5)], None),
        ([1, 2], [Item(1, 7, 5), Item(2, 7, 5)], None),
        ([], [], "validation"),
        ([1, 1], [Item(1, 7, 5)], "validation"),
        (list(range(21)), [], "validation"),
        ([1, 2], [Item(1, 7, 5)], "not_found"),
        ([1, 2], [Item(1, 7, 5), Item(2, 8, 5)], "bills_not_together"),
        ([1, 2], [Item(1, 7, 5), Item(2, 7, 0)], "bill_not_payable"),
    ],
)
def test_why_bills_cannot_be_one_order(ids, items, code):
    assert rules.refusal(ids, items) == code


def test_an_order_ends_before_its_prepay_id_does():
    assert rules.expires_at(AT) - AT < timedelta(hours=2)


def test_an_order_about_to_end_is_not_handed_out_again():
    expires = rules.expires_at(AT)
    assert rules.reusable(expires, expires - timedelta(minutes=2))
    assert not rules.reusable(expires, expires - timedelta(minutes=1))


def test_only_ones_own_order_is_replaced_at_once():
    assert rules.replaceable(1, 1, AT, AT)
    assert not rules.replaceable(1, 2, AT, AT + timedelta(minutes=9))
    assert rules.replaceable(1, 2, AT, AT + timedelta(minutes=10))


@pytest.mark.parametrize(
    ("utilities", "said"),
    [
        (["heat"], "热费"),
        (["heat", "water", "heat"], "热费、水费 3笔"),
        (["gas"] * 2, "燃气费 2笔"),
    ],
)
def test_what_the_payer_reads(utilities, said):
    assert rules.description(utilities) == said


def test_a_day_is_over_at_midnight_in_shanghai_and_its_statement_ready_at_ten():
    day = date(2026, 11, 20)
    midnight = datetime(2026, 11, 20, 16, 0, tzinfo=UTC)
    assert not rules.day_is_over(day, midnight - timedelta(seconds=1))
    assert rules.day_is_over(day, midnight)
    assert not rules.statement_ready(day, midnight + timedelta(hours=9, minutes=59))
    assert rules.statement_ready(day, midnight + timedelta(hours=10))


def test_keys_of_different_events_never_meet():
    day = date(2026, 11, 20)
    keys = [
        rules.payment_key("wechat", "1"),
        rules.refund_key("wechat", "1"),
        rules.fee_key("wechat", day),
    ]
    assert keys == ["wechat:1", "wechat:refund:1", "wechat:fee:2026-11-20"]
