"""票据 in the console: found, issued, printed and printed again, voided, taken back; templates."""

import re
from datetime import date

import pytest

from backend.base.db import db
from backend.cashier.papers import tax, templates
from backend.cashier.papers.models import Paper, PaperPrint, PaperTemplate
from tests.cashier.papers.conftest import Ahead, Hall
from tests.console.conftest import post, token_in


@pytest.fixture
def hall(app, clock):
    made = Hall(clock)
    tax.begin()
    db.session.commit()
    return made


def test_a_receipt_is_printed_and_printed_again_with_its_mark(hall, sign_in):
    hall.pay(hall.bill())
    zhou = sign_in("finance", login="cash2")
    page = "/console/papers/SJ01202600000001"
    assert "张㛃" in zhou.get(page).text
    first = post(zhou, f"{page}/print", at=page, size="pin")
    sheet = zhou.get(first.headers["Location"])
    assert "壹佰贰拾叁元肆角伍分" in sheet.text and "补打" not in sheet.text
    assert "size: 241mm 93mm" in sheet.text
    assert "script" not in sheet.headers["Content-Security-Policy"]
    again = zhou.get(post(zhou, f"{page}/print", at=page, size="a5").headers["Location"])
    assert "补打 第2次" in again.text
    assert [(p.seq, p.size) for p in db.session.query(PaperPrint).order_by(PaperPrint.seq)] == [
        (1, "pin"),
        (2, "a5"),
    ]


def test_an_invoice_is_issued_to_a_new_title_and_taken_back_in_part(hall, sign_in):
    bill = hall.bill(6400, "water")
    hall.pay(bill)
    zhou = sign_in("finance", login="cash2")
    at = f"/console/papers/invoice?account_no={hall.household.account_no}"
    mine = {"household_id": str(hall.household.id), "account_no": hall.household.account_no}
    wrong = post(zhou, "/console/papers/title", at=at, kind="company", name="甲公司", **mine)
    assert "识别号" in zhou.get(wrong.headers["Location"]).text
    tax_id = "91110108551385082Q"
    post(zhou, "/console/papers/title", at=at, kind="company", name="甲公司", tax_id=tax_id, **mine)
    title_id = re.search(r'<option value="(\d+)"[^>]*>甲公司', zhou.get(at).text).group(1)
    fields = {"bill": str(bill.id), "title_id": title_id, "kind": "invoice", "key": "k", **mine}
    made = post(zhou, "/console/papers/invoice", at=at, **fields)
    page = made.headers["Location"]
    assert page.endswith("FP01202600000001") and "甲公司" in zhou.get(page).text
    red = post(zhou, f"{page}/red", at=page, amount="1.00", reason="多开")
    assert "红字票据" in zhou.get(red.headers["Location"]).text
    assert "部分红冲" in zhou.get(page).text
    assert "连号无缺" in zhou.get("/console/papers/report").text
    refused = post(zhou, f"{page}/void", at=page, reason="开错")
    assert "红字票据冲销" in zhou.get(refused.headers["Location"]).text
    assert [p.amount_fen for p in db.session.query(Paper).filter_by(kind="invoice")] == [6400, -100]


def test_a_template_is_edited_previewed_and_put_into_use_by_somebody_else(hall, sign_in, clock):
    zhou, wu = sign_in("finance", login="cash2"), sign_in("manager", login="boss")
    assert "随系统" in zhou.get("/console/paper-templates").text
    like = db.session.query(PaperTemplate).filter_by(kind="receipt", size="a5").one()
    old = f"/console/paper-templates/{like.id}"
    page = post(zhou, f"{old}/copy", at=old).headers["Location"]
    text = zhou.get(page).text
    seen = re.search(r'name="seen" value="(\w+)"', text).group(1)
    day = re.search(r'name="effective_from" value="([\d-]+)"', text).group(1)
    bad = "<p>\n{{ paper.nothing }}</p>"
    shown = zhou.post(
        "/console/paper-templates/preview",
        data={"csrf_token": token_in(text), "kind": "receipt", "size": "a5", "source": bad},
    )
    assert "第 2 行" in shown.text and "nothing" in shown.text
    source = templates.came_with("receipt", "a5").replace("收款项目", "项目")
    post(zhou, page, at=page, name="新版", source=source, effective_from=day, seen=seen)
    draft = db.session.query(PaperTemplate).filter_by(name="新版").one()
    seen = templates.fingerprint(draft)
    mine = post(zhou, f"{page}/decide", at=page, verb="approve", seen=seen)
    assert "没有权限" in zhou.get(mine.headers["Location"]).text
    post(wu, f"{page}/decide", at=page, verb="approve", seen=seen)
    db.session.expire_all()
    assert db.session.get(PaperTemplate, draft.id).state == "live"
    hall.pay(hall.bill())
    first = db.session.query(Paper).one()
    assert first.templates["a5"] == like.id  # its day has not come
    clock.advance(days=1)
    assert templates.in_force("receipt", clock.now().date())["a5"] == draft.id
    assert "收款项目" in wu.get(f"/console/papers/{first.paper_no}/sheet?size=a5").text


def test_the_counter_says_the_receipts_true_number(hall, sign_in):
    made = hall.pay(hall.bill())
    zhou = sign_in("finance", login="cash2")
    page = zhou.get(f"/console/counter?receipt={made.receipt_no}").text
    assert "SJ01202600000001" in page and "打印收据" in page


def test_a_month_of_deductions_is_invoiced_at_the_desk(hall, sign_in):
    ahead = Ahead(hall, date(2026, 11, 1))
    ahead.nights(300, 400)
    wu = sign_in("finance", login="cash3")
    account_no = hall.household.account_no
    at = f"/console/papers/invoice?account_no={account_no}"
    assert "2026年11月1日至11月2日 水费（预付费）" in wu.get(at).text
    mine = {"household_id": str(hall.household.id), "account_no": account_no, "key": "k"}
    for wrong in ("water:2026-1", "gold:2026-11", "water"):
        refused = post(wu, "/console/papers/invoice", at=at, month=wrong, **mine)
        assert refused.headers["Location"].endswith(account_no)
    made = post(wu, "/console/papers/invoice", at=at, month="water:2026-11", **mine)
    assert "7.00" in wu.get(made.headers["Location"]).text
    assert "没有可以开票" in wu.get(at).text
