"""日结: three sums a channel, every difference, and a close that somebody signs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask

from backend.base.clock import FixedClock
from backend.base.db import db
from backend.cashier.models import Break, FinanceDay, Reconciliation
from backend.people.models import AuditEvent
from tests.console.conftest import TODAY, post
from tests.console.test_reading import rows

PAGE = f"/console/finance?day={TODAY}"
STATEMENT = f"/console/finance/{TODAY}/statement"
CLOSE = f"/console/finance/{TODAY}/close"


@pytest.fixture
def next_morning(clock: FixedClock) -> Callable[[], None]:
    """It is 11:00 of the next day: the channel has its statement."""
    return lambda: clock.advance(hours=23) and None


def wechat(page: str) -> list[str]:
    """The cells of WeChat Pay's row."""
    return next(row for row in rows(page) if row[0].startswith("微信支付"))


def test_a_day_in_the_making_shows_our_two_sums_and_waits_for_the_channel(
    sign_in: Callable[..., Any], pay: Callable[[int], str]
) -> None:
    pay(12345)
    pay(100000)
    page = sign_in("finance").get(PAGE).text
    assert wechat(page)[1:6] == ["1,123.45", "–", "1,123.45", "未取", "✓"]
    assert "当天还没有结束，次日零点后才能日结。" in page


def test_the_statement_is_fetched_by_the_button_and_all_three_agree(
    sign_in: Callable[..., Any], pay: Callable[[int], str], next_morning: Callable[[], None]
) -> None:
    pay(12345)
    next_morning()
    client = sign_in("finance")
    assert "先取得各渠道的对账单，再日结。" in client.get(PAGE).text
    answer = post(client, STATEMENT, at=PAGE, channel="wechat")
    assert (answer.status_code, answer.location) == (303, PAGE)
    page = client.get(PAGE).text
    assert "对账完成，三方相符。" in page
    assert wechat(page)[1:7] == ["123.45", "123.45", "123.45", "✓", "✓", "0.74"]
    assert "三方相符，没有差异。" in page


def test_a_day_that_agrees_is_closed_with_one_button_under_ones_name(
    sign_in: Callable[..., Any], pay: Callable[[int], str], next_morning: Callable[[], None]
) -> None:
    pay(12345)
    next_morning()
    client = sign_in("finance")
    post(client, STATEMENT, at=PAGE, channel="wechat")
    post(client, CLOSE, at=PAGE)
    page = client.get(PAGE).text
    assert "已日结" in page and "周敏 · 11-21 11:00" in page
    assert f'action="{CLOSE}"' not in page and f'action="{STATEMENT}"' not in page
    closed = db.session.get(FinanceDay, TODAY)
    assert closed is not None and closed.reason is None and closed.closed_by is not None


def test_a_statement_that_is_not_there_yet_is_said_so(
    sign_in: Callable[..., Any], clock: FixedClock
) -> None:
    clock.advance(hours=13)  # 01:00 of the next day
    client = sign_in("finance")
    post(client, STATEMENT, at=PAGE, channel="wechat")
    page = client.get(PAGE).text
    assert "渠道对账单尚未生成，请稍后再取。" in page
    assert wechat(page)[2] == "–"


def test_a_channel_that_does_not_answer_costs_nothing_but_a_sentence(
    sign_in: Callable[..., Any], next_morning: Callable[[], None], phone: Any
) -> None:
    phone.behave("answer", "error", match="tradebill")
    next_morning()
    client = sign_in("finance")
    post(client, STATEMENT, at=PAGE, channel="wechat")
    page = client.get(PAGE).text
    assert "取对账单失败" in page and wechat(page)[2] == "–"
    post(client, STATEMENT, at=PAGE, channel="wechat")
    assert "三方相符，没有差异。" in client.get(PAGE).text


@pytest.fixture
def stranger(phone: Any, pay: Callable[[int], str], next_morning: Callable[[], None]) -> None:
    """The channel's statement has a payment of 123.45 nobody here knows."""
    pay(12345)
    phone.behave("statement", "extra_row", match=TODAY.isoformat())
    next_morning()


def test_a_difference_is_shown_with_its_amounts_and_what_to_do(
    sign_in: Callable[..., Any], stranger: None
) -> None:
    client = sign_in("finance")
    post(client, STATEMENT, at=PAGE, channel="wechat")
    page = client.get(PAGE).text
    assert wechat(page)[4:6] == ["+123.45", "✓"]
    (found,) = [row for row in rows(page) if row[0].startswith("本方缺账")]
    assert found[1:5] == ["STRANGER-ORDER-1", "–", "123.45", "+123.45"]
    assert found[5].startswith("渠道已收款而本方无此订单") and found[6].startswith("财务")
    assert "未处理 1 笔，共 1 笔" in page


@pytest.mark.parametrize("reason", ["", "   ", "好的"])
def test_differences_are_not_closed_over_without_a_reason(
    sign_in: Callable[..., Any], stranger: None, reason: str
) -> None:
    client = sign_in("finance")
    post(client, STATEMENT, at=PAGE, channel="wechat")
    answer = post(client, CLOSE, at=PAGE, reason=reason)
    assert answer.status_code == 422 and "请写明原因" in answer.text
    assert db.session.get(FinanceDay, TODAY) is None


def test_a_form_stripped_of_its_reason_is_refused_by_the_cashier_itself(
    sign_in: Callable[..., Any], stranger: None
) -> None:
    client = sign_in("finance")
    post(client, CLOSE, at="/console/finance")
    assert db.session.get(FinanceDay, TODAY) is None
    assert "还有未处理的差异，日结需要写明原因并签字。" in client.get(PAGE).text


def test_differences_are_closed_over_with_a_reason_that_is_kept_and_shown_as_text(
    sign_in: Callable[..., Any], stranger: None
) -> None:
    client = sign_in("finance")
    post(client, STATEMENT, at=PAGE, channel="wechat")
    post(client, CLOSE, at=PAGE, reason="渠道误记<b>，已去函")
    page = client.get(PAGE).text
    assert "带差异签字日结" in page and "渠道误记&lt;b&gt;，已去函" in page
    closed = db.session.get(FinanceDay, TODAY)
    assert closed is not None and closed.reason == "渠道误记<b>，已去函"
    event = db.session.query(AuditEvent).filter_by(action="cashier.day_closed").one()
    assert (event.actor_id, event.detail["open_breaks"]) == (closed.closed_by, ["STRANGER-ORDER-1"])


def test_the_strip_tells_how_each_of_fourteen_days_stands(
    sign_in: Callable[..., Any], stranger: None
) -> None:
    client = sign_in("finance")
    post(client, CLOSE, at="/console/finance", reason="已去函微信支付")
    page = client.get("/console/finance").text
    states = re.findall(r'class="strip-day strip-(\w+)"', page)
    assert states == ["open"] * 12 + ["signed", "open"]
    long_ago = client.get(f"/console/finance?day={TODAY - timedelta(days=400)}").text
    assert re.findall(r'class="strip-day strip-(\w+)"', long_ago) == ["open"] * 14


def test_a_manager_sees_the_day_and_has_no_buttons(
    sign_in: Callable[..., Any], stranger: None
) -> None:
    manager = sign_in("manager")
    page = manager.get(PAGE).text
    assert "由财务日结。" in page and f'action="{STATEMENT}"' not in page
    answer = post(manager, CLOSE, at=PAGE, reason="我说可以就可以")
    assert answer.status_code == 403
    assert db.session.get(FinanceDay, TODAY) is None


@pytest.mark.parametrize("day", ["2026-11-21", "today", "2026-02-30"])
def test_a_day_that_cannot_be_is_refused(sign_in: Callable[..., Any], app: Flask, day: str) -> None:
    client = sign_in("finance")
    for action in ("close", "statement"):
        answer = post(client, f"/console/finance/{day}/{action}", at=PAGE, channel="wechat")
        assert answer.status_code == 422


def test_a_channel_that_does_not_exist_is_refused(
    sign_in: Callable[..., Any], next_morning: Callable[[], None]
) -> None:
    next_morning()
    client = sign_in("finance")
    post(client, STATEMENT, at=PAGE, channel="paypal")
    assert "不支持这种支付方式。" in client.get(PAGE).text


def test_the_page_takes_as_many_statements_with_many_differences_as_with_one(
    sign_in: Callable[..., Any], stranger: None, queries: list[str]
) -> None:
    client = sign_in("finance")
    post(client, STATEMENT, at=PAGE, channel="wechat")

    def statements() -> int:
        before = len(queries)
        assert client.get(PAGE).status_code == 200
        return len(queries) - before

    one = statements()
    check = db.session.query(Reconciliation).one()
    for n in range(20):
        fields = {"kind": "amount", "reference": f"N{n}", "suggestion": "核实"}
        db.session.add(Break(reconciliation_id=check.id, ours_fen=1, theirs_fen=2, **fields))
    db.session.commit()
    many = statements()
    assert client.get(PAGE).text.count("金额不符") == 20
    assert one == many <= 14
