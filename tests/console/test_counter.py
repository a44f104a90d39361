"""柜台收款 and 班次 in the console: opened, taken, voided, closed, and refusals in words."""

from __future__ import annotations

import re
from typing import Any

import pytest

from backend.base.clock import FixedClock
from backend.base.db import db
from backend.billing.models import Bill
from backend.cashier import shifts
from backend.cashier.models import CounterPayment, Shift
from backend.ledger import service as ledger
from tests import builders
from tests.console.conftest import TODAY, post, token_in


@pytest.fixture
def hall(app: Any) -> dict[str, Any]:
    """A drawer, a terminal and a household with two bills."""
    flat = builders.make_household(builders.make_building(), owner="张三丰")
    drawer, terminal = shifts.add_drawer("D1", "一号台"), shifts.add_terminal("T1", "POS一", "icbc")
    db.session.commit()
    bills = [
        builders.make_bill(flat, 12345),
        builders.make_bill(flat, 678, utility="water"),
    ]
    return {"flat": flat, "drawer": drawer, "terminal": terminal, "bills": bills}


@pytest.fixture
def clerk(sign_in: Any, hall: dict[str, Any]) -> Any:
    """A cashier who has opened a shift over 200 yuan."""
    client = sign_in("finance")
    drawer = str(hall["drawer"].id)
    answer = post(client, "/console/shifts", drawer_id=drawer, n10000="2", issued="200")
    assert answer.location == "/console/counter", client.get("/console/shifts").text
    return client


def take(client: Any, flat: Any, **fields: str) -> Any:
    """Fill in the household's form as it is shown, all bills ticked."""
    page = client.get(f"/console/counter?account_no={flat.account_no}").text
    shown = {n: re.search(rf'name="{n}" value="([^"]+)"', page) for n in ("client_key",)}
    data = {
        "csrf_token": token_in(page),
        "client_key": shown["client_key"].group(1) if shown["client_key"] else "",
        "household_id": str(flat.id),
        "account_no": flat.account_no,
        "bill": re.findall(r'name="bill" value="([^"]+)"', page),
        "method": "cash",
        **fields,
    }
    return client.post("/console/counter", data=data)


def test_a_household_is_found_and_pays_and_the_change_is_said(clerk: Any, hall: Any) -> None:
    page = clerk.get(f"/console/counter?account_no={hall['flat'].account_no}").text
    assert "张**" in page and "123.45" in page and "6.78" in page
    answer = take(clerk, hall["flat"], tendered="150")
    page = clerk.get(answer.location).text
    made = db.session.query(CounterPayment).one()
    assert "已收款" in page and "SJ01202600000001" in page
    assert made.receipt_no in answer.location
    assert ">130.23<" in page and ">19.77<" in page
    db.session.expire_all()
    assert [b.state for b in db.session.query(Bill)] == ["paid", "paid"]
    assert ledger.check() == []


def test_a_card_payment_is_exact_and_says_its_slip(clerk: Any, hall: Any) -> None:
    fields = {"method": "pos", "terminal_id": str(hall["terminal"].id), "reference": "000771"}
    answer = take(clerk, hall["flat"], **fields)
    page = clerk.get(answer.location).text
    assert "刷卡" in page and "000771" in page
    assert ledger.balance_fen("pos:T1") == 13023


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"tendered": "100"}, "未收款：实收现金不足。"),
        ({"tendered": "abc"}, "未收款：金额“abc”格式不正确"),
        ({"tendered": "-1"}, "未收款：金额不能为负。"),
        ({"method": "pos"}, "未收款：填写的内容有误"),
        ({"tendered": "200", "bill": "9:9"}, "未收款：没有找到"),
        ({"tendered": "200", "bill": "x"}, "未收款：填写的内容有误"),
    ],
)
def test_what_is_wrong_is_said_and_nothing_is_taken(
    clerk: Any, hall: Any, fields: dict[str, str], said: str
) -> None:
    answer = take(clerk, hall["flat"], **fields)
    assert said in clerk.get(answer.location).text
    assert db.session.query(CounterPayment).count() == 0


def test_a_bill_that_changed_while_the_form_was_open_is_not_taken(clerk: Any, hall: Any) -> None:
    stale = f"{hall['bills'][0].id}:12000"
    answer = take(clerk, hall["flat"], bill=stale, tendered="200")
    assert "应收金额已变化" in clerk.get(answer.location).text


def test_nobody_without_a_shift_takes_money(sign_in: Any, hall: Any) -> None:
    client = sign_in("finance")
    assert "您还没有开班" in client.get("/console/counter").text
    answer = take(client, hall["flat"], tendered="200")
    assert "您还没有开班，请先开班再收款。" in client.get(answer.location).text


def test_a_payment_is_voided_with_a_reason(clerk: Any, hall: Any) -> None:
    take(clerk, hall["flat"], tendered="150")
    shift, made = db.session.query(Shift).one(), db.session.query(CounterPayment).one()
    path, page = f"/console/counter/{made.receipt_no}/void", f"/console/shifts/{shift.id}"
    post(clerk, path, at=page, reason="收错户")
    text = clerk.get(page).text
    assert "已撤销" in text and "收错户" in text
    assert ledger.balance_fen("cash:D1") == 20000


def test_a_shift_is_counted_closed_and_reported(clerk: Any, hall: Any) -> None:
    take(clerk, hall["flat"], tendered="150")
    shift = db.session.query(Shift).one()
    path, page = f"/console/shifts/{shift.id}/close", f"/console/shifts/{shift.id}"
    post(clerk, path, at=page, n10000="3", n1000="3")
    assert "清点与账面不符，请写明原因。" in clerk.get(page).text
    fields = {"n10000": "3", "n1000": "3", "reason": "少收两角三分", "left": "200"}
    post(clerk, path, at=page, **fields)
    text = clerk.get(page).text
    assert "已交班" in text and "短款" in text and "−0.23" in text and "少收两角三分" in text
    assert "100 元 × 3" in text and "130.00" in text
    assert f'action="{path}"' not in text
    assert ledger.check() == []


def test_a_strangers_shift_can_be_read_but_not_closed(sign_in: Any, clerk: Any) -> None:
    shift = db.session.query(Shift).one()
    stranger = sign_in("finance", login="li")
    page = f"/console/shifts/{shift.id}"
    assert f'action="{page}/close"' not in stranger.get(page).text
    post(stranger, f"{page}/close", at="/console/shifts", n10000="2")
    db.session.expire_all()
    assert db.session.query(Shift).one().closed_at is None
    assert "只能由本班收银员或管理岗位交班。" in stranger.get(page).text


def test_the_finance_day_shows_the_counter_and_asks_for_a_signature_over_an_open_shift(
    clerk: Any, hall: Any, clock: FixedClock
) -> None:
    take(clerk, hall["flat"], tendered="150")
    day = f"/console/finance?day={TODAY}"
    page = clerk.get(day).text
    assert "钱箱 D1" in page and "130.23" in page and "还没有交班" in page
    clock.advance(hours=11, minutes=30)  # past midnight, before the session ends
    close = f"/console/finance/{TODAY}/close"
    token = token_in(clerk.get("/console/shifts").text)
    clock.advance(hours=11, minutes=30)
    clerk.post(close, data={"csrf_token": token})
    assert "还有未交班的班次（一号台 周敏）" in clerk.get(day).text
