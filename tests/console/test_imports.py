"""An operator uploads a file of readings and sees row by row what is wrong with it."""

import io
from datetime import timedelta

import pytest
import sqlalchemy as sa

from backend.base.clock import SHANGHAI
from backend.base.db import db
from backend.metering.models import Reading
from tests import builders
from tests.builders import NOON
from tests.console.conftest import token_in

AT = (NOON - timedelta(hours=3)).astimezone(SHANGHAI).strftime("%Y-%m-%d %H:%M")
HEAD = "表地址,抄表时间,读数,单位\n"


@pytest.fixture
def water(app):
    house = builders.make_building()
    return builders.make_meter(house, builders.make_household(house), "water", address="4711")


def upload(client, text, do, name="十一月.csv"):
    token = token_in(client.get("/console/import").text)
    file = (io.BytesIO(text.encode()), name)
    return client.post("/console/import", data={"csrf_token": token, "file": file, "do": do})


def stored():
    found = list(db.session.scalars(sa.select(Reading.register)))
    db.session.rollback()  # a table that is being looked at gets no new partition
    return found


def test_a_checked_file_is_not_stored_until_it_is_taken_in(sign_in, water):
    client = sign_in("operator")
    checked = upload(client, f"{HEAD}4711,{AT},1.5,m3\n", "check")
    assert "检查通过，尚未入库" in checked.text and stored() == []
    done = upload(client, f"{HEAD}4711,{AT},1.5,m3\n", "store")
    assert done.status_code == 200 and "导入 1 条" in done.text
    assert stored() == [1500]


def test_every_bad_row_is_shown_with_its_line_and_reason_and_none_is_stored(sign_in, water):
    text = f"{HEAD}4711,{AT},1.5,m3\n4711,{AT},x,m3\n<b>1</b>,{AT},1,m3\n"
    answer = upload(sign_in("operator"), text, "store")
    assert answer.status_code == 422
    assert "第 3 行" in answer.text and "读数不是数字。" in answer.text
    assert "第 4 行" in answer.text and "没有这块表" in answer.text
    assert "<b>1</b>" not in answer.text and stored() == []


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [("", "x.csv", "表头缺少"), ("", "", "请先选择文件。"), ("PK\x03\x04", "x.xlsx", "无法读取")],
)
def test_a_file_that_is_none_is_refused_in_plain_words(sign_in, text, name, said):
    answer = upload(sign_in("operator"), text, "store", name)
    assert answer.status_code == 422 and said in answer.text


def test_only_operators_import(sign_in, app):
    for role in ("finance", "manager", "reader"):
        assert sign_in(role).get("/console/import").status_code == 403


def test_a_handhelds_file_is_taken_in_by_the_layout_chosen(sign_in, water):
    client = sign_in("operator")
    page = client.get("/console/import").text
    assert '<option value="handheld-txt">' in page
    moment = (NOON - timedelta(hours=3)).astimezone(SHANGHAI).strftime("%Y%m%d%H%M%S")
    file = (io.BytesIO(f"4711\t{moment}\t2.5\tm3\n".encode()), "抄表.txt")
    form = {"csrf_token": token_in(page), "file": file, "do": "store", "layout": "handheld-txt"}
    assert "导入 1 条" in client.post("/console/import", data=form).text
    assert stored() == [2500]
    file = (io.BytesIO(b"x"), "x.txt")
    form = {"csrf_token": token_in(page), "file": file, "do": "store", "layout": "nope"}
    assert "没有这种文件格式" in client.post("/console/import", data=form).text


def test_a_round_is_downloaded_and_what_there_is_not_is_not_found(sign_in, water):
    client = sign_in("operator")
    answer = client.get("/console/round", query_string={"what": f"building:{water.building_id}"})
    assert answer.status_code == 200 and answer.mimetype == "text/csv"
    assert answer.data.startswith(b"\xef\xbb\xbf") and "4711" in answer.text
    gbk = {"what": f"building:{water.building_id}", "coding": "gbk"}
    assert "表地址" in client.get("/console/round", query_string=gbk).data.decode("gbk")
    for what in (
        "",
        "building:",
        "building:x",
        "meter:1",
        "region:99999999",
        "building:" + "9" * 30,
    ):
        assert client.get("/console/round", query_string={"what": what}).status_code == 404
    empty = builders.make_building("E")
    db.session.commit()
    query = {"what": f"building:{empty.id}"}
    assert client.get("/console/round", query_string=query).status_code == 422
    assert sign_in("reader").get("/console/round", query_string=query).status_code == 403
