"""A plain browser signs in through the sandbox: who may ask, who comes back, what a code is worth.

The pay sheet itself is in test_bridge.py, in a real browser.
"""

import html
import re
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
import requests

PEOPLE = [
    {"openid": "oAlice-000001", "nickname": "王淑芬", "note": "2号楼 301"},
    {"openid": "oBob-000002", "nickname": "李<b>建国", "unionid": "uBob-000002"},
]
HOME = "http://127.0.0.1:8000/h5/"


@pytest.fixture
def people(sandbox):
    url = sandbox.url + "/sandbox/wechat/people"
    answer = requests.post(url, json={"people": PEOPLE, "merchant": "暖阳热力有限公司"}, timeout=5)
    assert answer.status_code == 201, answer.text


@pytest.fixture
def asks(sandbox):
    """The address a page sends its reader to; None leaves a part out."""

    def address(**changes):
        asked = {
            "appid": sandbox.keys.appid,
            "redirect_uri": HOME,
            "response_type": "code",
            "scope": "snsapi_base",
            "state": "s1",
        } | changes
        given = {name: value for name, value in asked.items() if value is not None}
        return f"{sandbox.url}/connect/oauth2/authorize?{urlencode(given)}"

    return address


@pytest.fixture
def tap_on(asks, people):
    """Tap on a person ('' for a new one); the address the browser is sent to."""

    def tapped(openid, **changes):
        answer = requests.post(
            asks(**changes), data={"openid": openid}, timeout=5, allow_redirects=False
        )
        assert answer.status_code == 303, answer.text
        return answer.headers["Location"]

    return tapped


@pytest.fixture
def exchange(sandbox):
    def exchanged(code, **changes):
        query = {
            "appid": sandbox.keys.appid,
            "secret": sandbox.keys.app_secret,
            "code": code,
            "grant_type": "authorization_code",
        } | changes
        url = sandbox.url + "/sns/oauth2/access_token"
        return requests.get(url, params=query, timeout=5).json()

    return exchanged


def code_in(address):
    return parse_qs(urlsplit(address).query)["code"][-1]


# asking


def test_the_page_lists_the_people_and_one_nobody_knows(asks, people):
    answer = requests.get(asks(), timeout=5)
    assert answer.status_code == 200
    assert re.findall(r'data-testid="(wx-person-[^"]+)"', answer.text) == [
        "wx-person-oAlice-000001",
        "wx-person-oBob-000002",
        "wx-person-new",
    ]
    assert "暖阳热力有限公司" in answer.text
    assert "2号楼 301" in answer.text


def test_a_name_is_text_and_never_markup(asks, people):
    page = requests.get(asks(), timeout=5).text
    assert "李<b>建国" not in page
    assert "李<b>建国" in html.unescape(page)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"appid": "wx0000000000000000"}, "appid 参数错误"),
        ({"appid": None}, "appid 参数错误"),
        ({"response_type": "token"}, "response_type 参数错误"),
        ({"scope": "snsapi_userinfo"}, "scope 参数错误"),
        ({"state": "x" * 129}, "state 参数错误"),
        ({"state": "<script>"}, "state 参数错误"),
    ],
)
def test_a_wrong_ask_is_told_so_and_goes_nowhere(asks, people, change, says):
    for answer in (
        requests.get(asks(**change), timeout=5),
        requests.post(asks(**change), data={"openid": "oAlice-000001"}, timeout=5),
    ):
        assert answer.status_code == 400
        assert says in answer.text
        assert answer.history == []


@pytest.mark.parametrize(
    "address",
    [
        "http://evil.example/",
        "https://127.0.0.1.evil.example/",
        "//127.0.0.1/",
        "/h5/",
        "javascript:alert(1)",
        "http://127.0.0.1@evil.example/",
        "http://user@127.0.0.1/",
        "http://evil.example\\@127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://[::1/",
        "http://169.254.169.254/",
        "http://127.0.0.1/\r\nSet-Cookie: a=b",
        "http:///h5/",
        "",
    ],
)
def test_nobody_is_sent_off_this_machine(asks, people, address):
    answer = requests.post(
        asks(redirect_uri=address),
        data={"openid": "oAlice-000001"},
        timeout=5,
        allow_redirects=False,
    )
    assert answer.status_code == 400
    assert "Location" not in answer.headers
    assert "redirect_uri 参数错误" in answer.text


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8000", "localhost:5173", "127.9.9.9", "[::1]:8000", "LOCALHOST"]
)
def test_this_machine_has_many_names(tap_on, host):
    came = urlsplit(tap_on("oAlice-000001", redirect_uri=f"http://{host}/h5/"))
    assert came.netloc == host.lower()


@pytest.mark.parametrize(
    ("asked", "comes_back"),
    [
        (HOME, rf"{HOME}\?code=C&state=s1"),
        (HOME + "#/pages/home/index?a=b", rf"{HOME}\?code=C&state=s1#/pages/home/index\?a=b"),
        (HOME + "?x=1%262#/p", rf"{HOME}\?x=1%262&code=C&state=s1#/p"),
        ("http://localhost:1", r"http://localhost:1/\?code=C&state=s1"),
    ],
)
def test_code_and_state_stand_in_the_query_and_the_route_is_kept(tap_on, asked, comes_back):
    came = tap_on("oAlice-000001", redirect_uri=asked)
    assert re.fullmatch(comes_back.replace("code=C", "code=[0-9a-f]{32}"), came), came


def test_a_person_who_is_not_there_cannot_be_chosen(asks, people):
    answer = requests.post(asks(), data={"openid": "oNobody-9"}, timeout=5, allow_redirects=False)
    assert answer.status_code == 400
    assert "Location" not in answer.headers


# exchanging


def test_a_code_gives_the_openid_once(tap_on, exchange):
    code = code_in(tap_on("oAlice-000001"))
    told = exchange(code)
    assert (told["openid"], told["scope"], told["expires_in"]) == (
        *("oAlice-000001", "snsapi_base", 7200),
    )
    assert told["access_token"] and told["refresh_token"]
    assert "unionid" not in told
    assert exchange(code)["errcode"] == 40163


def test_a_unionid_is_told_where_there_is_one(tap_on, exchange):
    assert exchange(code_in(tap_on("oBob-000002")))["unionid"] == "uBob-000002"


def test_a_code_is_good_for_five_minutes(tap_on, exchange, clock):
    first, second = code_in(tap_on("oAlice-000001")), code_in(tap_on("oAlice-000001"))
    clock.offset_s = 290
    assert exchange(first)["openid"] == "oAlice-000001"
    clock.offset_s = 301
    assert exchange(second)["errcode"] == 40029


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        ({"code": "invented"}, 40029),
        ({"secret": "wrong"}, 40125),
        ({"appid": "wx1"}, 40013),
        ({"grant_type": "client_credential"}, 40002),
    ],
)
def test_a_refused_exchange_costs_no_code(tap_on, exchange, change, errcode):
    code = code_in(tap_on("oAlice-000001"))
    assert exchange(**({"code": code} | change))["errcode"] == errcode
    assert exchange(code)["openid"] == "oAlice-000001"


def test_a_code_of_the_mini_program_is_none_of_the_official_account(sandbox, exchange, tap_on):
    asked = {"openid": "oAlice-000001"}
    code = requests.post(sandbox.url + "/sandbox/wechat/code", json=asked, timeout=5).json()["code"]
    assert exchange(code)["errcode"] == 40029
    query = {
        "appid": sandbox.keys.appid,
        "secret": sandbox.keys.app_secret,
        "js_code": code_in(tap_on("oAlice-000001")),
        "grant_type": "authorization_code",
    }
    answer = requests.get(sandbox.url + "/sns/jscode2session", params=query, timeout=5)
    assert answer.json()["errcode"] == 40029


# people


def test_a_new_person_is_somebody_else_each_time_and_stays(tap_on, exchange, asks):
    openids = [exchange(code_in(tap_on("")))["openid"] for _ in range(2)]
    assert len({*openids, "oAlice-000001"}) == 3
    page = requests.get(asks(), timeout=5).text
    assert all(f"wx-person-{openid}" in page for openid in openids)


def test_a_person_posted_again_is_renamed_and_not_doubled(sandbox, people):
    url = sandbox.url + "/sandbox/wechat/people"
    before = requests.get(url, timeout=5).json()["people"]
    changed = PEOPLE[0] | {"nickname": "王阿姨"}
    after = requests.post(url, json={"people": [changed]}, timeout=5).json()["people"]
    assert len(after) == len(before)
    assert after[0]["nickname"] == "王阿姨"


@pytest.mark.parametrize(
    "body",
    [
        [],
        {"people": "王"},
        {"people": ["王"]},
        {"people": [{"openid": "x", "nickname": "短"}]},
        {"people": [{"openid": "oLong-000001", "nickname": ""}]},
        {"people": [{"openid": "oLong-000001", "nickname": "长" * 65}]},
        {"people": [{"openid": "oLong-000001", "nickname": 5}]},
        {"people": [], "merchant": ""},
        {"people": [{"openid": f"oMany-{n:06}", "nickname": "多"} for n in range(501)]},
    ],
)
def test_people_that_will_not_do_are_refused_whole(sandbox, people, body):
    url = sandbox.url + "/sandbox/wechat/people"
    before = requests.get(url, timeout=5).json()
    if isinstance(body, dict) and isinstance(body["people"], list):
        body = body | {"people": [{"openid": "oFine-000001", "nickname": "好"}, *body["people"]]}
    answer = requests.post(url, json=body, timeout=5)
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")
    assert requests.get(url, timeout=5).json() == before


# what the pay sheet asks, and the phone


def test_the_pay_sheet_learns_what_is_paid_and_to_whom(sandbox, people, channel, new_order):
    fields = channel.create(new_order(123_45)).fields
    prepay_id = fields["package"].removeprefix("prepay_id=")
    answer = requests.get(f"{sandbox.url}/sandbox/wechat/prepay/{prepay_id}", timeout=5)
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    told = answer.json()
    assert told.pop("nickname") == "王淑芬"
    assert told == {
        "description": "2026-2027采暖季热费",
        "amount_fen": 123_45,
        "merchant": "暖阳热力有限公司",
        "state": "NOTPAY",
    }


def test_an_invented_prepay_id_is_not_found_and_the_page_may_read_so(sandbox):
    answer = requests.get(sandbox.url + "/sandbox/wechat/prepay/wx1", timeout=5)
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (404, "*")
    assert answer.json()["message"] == "预支付交易会话不存在"


def send_message(sandbox, openid):
    keys = sandbox.keys
    asked = {"grant_type": "client_credential", "appid": keys.appid, "secret": keys.app_secret}
    url = sandbox.url + "/cgi-bin/"
    token = requests.post(url + "stable_token", json=asked, timeout=5).json()["access_token"]
    values = {"thing1": "阳光小区2-301", "amount2": "88.80元", "date3": "2026-11-20"}
    body = {
        "touser": openid,
        "template_id": "nuan-bill-overdue",
        "page": "pages/bill/index",
        "data": {name: {"value": value} for name, value in {**values, "thing4": "请缴费"}.items()},
    }
    query = {"access_token": token}
    answer = requests.post(url + "message/subscribe/send", json=body, params=query, timeout=5)
    assert answer.json()["errcode"] == 0, answer.text


def test_a_phone_shows_its_owners_messages_and_nobody_elses(sandbox, people):
    send_message(sandbox, "oAlice-000001")
    phone = sandbox.url + "/sandbox/phone?openid="
    hers = requests.get(phone + "oAlice-000001", timeout=5).text
    his = requests.get(phone + "oBob-000002", timeout=5).text
    assert all(words in hers for words in ("欠费提醒", "欠费金额", "88.80元", "暖阳热力有限公司"))
    assert "88.80元" not in his
    assert "还没有收到服务通知" in his


def test_the_phones_are_those_of_the_listed_and_of_whoever_was_told_something(sandbox, people):
    send_message(sandbox, "oStranger-000009")
    page = requests.get(sandbox.url + "/sandbox/phone", timeout=5).text
    for openid in ("oAlice-000001", "oBob-000002", "oStranger-000009"):
        assert f'href="/sandbox/phone?openid={openid}"' in page
    assert 'href="/sandbox/phone"' in requests.get(sandbox.url + "/sandbox/", timeout=5).text
