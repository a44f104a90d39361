"""银行代扣 in the console: two people, a file, a result; mandates; the account's movements."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from backend.base.db import db
from backend.cashier import acquirers, bank_accounts
from backend.ledger import service as ledger
from payments import bank
from payments.flat_format import formats
from payments.sandbox import bank_desk
from tests.cashier import collecting
from tests.cashier.collecting import GOOD, LAYOUT, POOR, TODAY
from tests.console.conftest import post, token_in

PAGE = "/console/collection"
BATCH = f"{PAGE}/ICBC2026112001"


@pytest.fixture
def town(app):
    made = collecting.make_town()
    bank_accounts.add_account("main", "基本户", "6222", "account-csv", TODAY)
    made.flat(GOOD, 123456)
    made.flat(POOR, 500)
    db.session.commit()
    return made


def upload(client, path, at, data, **fields):
    token = token_in(client.get(at).text)
    sent = {"csrf_token": token, "file": (io.BytesIO(data), "回盘.txt"), **fields}
    return client.post(path, data=sent, content_type="multipart/form-data", follow_redirects=True)


def test_two_people_collect_and_the_money_arrives(town, sign_in):
    zhou, li = sign_in("finance", login="z2"), sign_in("finance", "manager", login="l2")
    fields = {"bank": "icbc", "day": TODAY.isoformat(), "by": "household"}
    due = (TODAY + timedelta(days=30)).isoformat()
    assert post(zhou, PAGE, **fields, due_by=due).location == BATCH
    assert "由另一位同事核准" in zhou.get(BATCH).text
    assert post(li, f"{BATCH}/act", BATCH, do="approve").status_code == 303
    post(zhou, f"{BATCH}/act", BATCH, do="export")
    file = post(zhou, f"{BATCH}/file", BATCH)
    assert file.headers["Content-Disposition"].endswith("DK_M0001_ICBC2026112001.txt")
    answer = bank_desk.answer(LAYOUT, file.data, TODAY)
    page = upload(zhou, f"{PAGE}/results", PAGE, answer, bank="icbc").text
    assert "成功 1 笔，失败 1 笔" in page and "账户余额不足" in page and "1,234.56" in page
    assert "6222000" not in page
    again = upload(zhou, f"{PAGE}/results", PAGE, answer, bank="icbc").text
    assert "没有重复入账" in again
    movements = bank_desk.account_file(
        formats()["account-csv"], "6222", TODAY, [("代扣 ICBC2026112001", 123456)]
    )
    page = upload(zhou, "/console/bank", "/console/bank", movements, account="main").text
    assert "代扣批次 ICBC2026112001" in page
    assert (ledger.balance_fen("clearing:bank"), ledger.balance_fen("bank:main")) == (0, 123456)
    finance = f"/console/finance/{TODAY.isoformat()}/banks"
    assert post(zhou, finance, "/console/finance").status_code == 303
    shown = zhou.get(f"/console/finance?day={TODAY.isoformat()}").text
    assert "基本户" in shown and "银行代扣" in shown


def test_a_refused_result_stands_on_the_page_with_its_reason(town, sign_in):
    zhou = sign_in("finance", login="z2")
    page = upload(zhou, f"{PAGE}/results", PAGE, b"\xff\xff", bank="icbc").text
    assert "全部未入账" in page and "被退回的回盘文件" in page and "不是 gbk 编码" in page


def test_mandates_are_signed_masked_and_ended(town, sign_in):
    zhou = sign_in("finance", login="z2")
    household = collecting.builders.make_household(town.building, "777")
    fields = {
        "account_no": household.account_no,
        "bank": "icbc",
        "contract_no": "X-1",
        "holder": "欧阳小丽",
        "card_no": "6222 0202 0001 9876",
        "valid_from": TODAY.isoformat(),
    }
    post(zhou, "/console/mandates", **fields)
    page = zhou.get(f"/console/mandates?account_no={household.account_no}").text
    assert "**** 9876" in page and "欧***" in page and "欧阳" not in page
    number = page.split("/console/mandates/")[1].split("/")[0]
    post(zhou, f"/console/mandates/{number}/cancel", "/console/mandates", reason="住户要求")
    assert "住户要求" in zhou.get(f"/console/mandates?account_no={household.account_no}").text
    post(zhou, "/console/mandates", **{**fields, "account_no": "没有"})
    assert "没有这个户号" in zhou.get("/console/mandates").text


def test_managers_watch_and_approve_but_take_no_files(town, sign_in):
    boss = sign_in("manager")
    assert boss.get(PAGE).status_code == 200
    assert "拟批次" not in boss.get(PAGE).text
    answer = boss.post(PAGE, data={"csrf_token": token_in(boss.get("/console/shifts").text)})
    assert answer.status_code == 403


def test_a_settlements_cards_say_which_are_not_ours(town, sign_in):
    acquirers.add("ylsw", "银联商务", "acquirer-csv", TODAY)
    db.session.commit()
    zhou = sign_in("finance")
    row = {"terminal_no": "10000001", "reference": "001", "traded_on": TODAY, "fee_fen": 3}
    sheet = formats()["acquirer-csv"].sheets["settlement"]
    data = bank.write(sheet, {"settlement_no": "S9", "day": TODAY}, [{**row, "amount_fen": 800}])
    page = upload(zhou, "/console/bank/settlements", "/console/bank", data, acquirer="ylsw").text
    assert "结算单 S9" in page and "对不上" in page and "8.00" in page
    assert zhou.get("/console/bank/settlements/99").status_code == 404


def test_a_credit_is_known_once_what_it_names_has_come(town, sign_in, clock):
    batch = collecting.sent(town, clock.now())
    answer = collecting.answered(town, batch, clock.now())
    credit = (f"代扣 {batch.batch_no}", 123456)
    movements = bank_desk.account_file(formats()["account-csv"], "6222", TODAY, [credit])
    zhou = sign_in("finance")
    page = upload(zhou, "/console/bank", "/console/bank", movements, account="main").text
    assert "未识别" in page and "重新识别" in page
    collecting.take(town, answer, clock.now())
    assert post(zhou, "/console/bank/1/match", "/console/bank/1").status_code == 303
    again = zhou.get("/console/bank/1").text
    assert f"代扣批次 {batch.batch_no}" in again and "tag-bad" not in again
    assert ledger.balance_fen("bank:main") == 123456
