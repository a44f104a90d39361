"""Signing in over HTTP, binding a household, and how often one may try."""

import json

import pytest

from backend import create_app
from backend.base.db import db
from backend.people.models import AuditEvent
from tests import builders
from tests.api.conftest import problem
from tests.conftest import settings_for

PROOF = {"account_no": "A-101", "owner_name": "张三", "phone_last4": "1234"}


@pytest.fixture
def limited(database, clock):
    """The application with its rate limits on."""
    settings = settings_for(database).replace(rate_limits=True)
    application = create_app(settings, clock=clock)
    with application.app_context():
        yield application.test_client()
        db.session.remove()
        db.engine.dispose()


def test_config_tells_what_the_pages_need_and_no_secret(merchant):
    answer = merchant.test_client().get("/api/v1/config")
    assert set(answer.json) == {
        "wechat_appid",
        "oauth_url",
        "bridge_url",
        "overdue_template",
        "low_balance_template",
        "company",
        "channels",
    }
    assert answer.json["channels"] == ["wechat"]
    assert answer.json["bridge_url"] is None
    assert merchant.extensions["nuan_settings"].wechat_secret not in answer.text


def test_a_resident_signs_in_with_wechats_code_and_binds_by_proof(merchant, phone):
    client = merchant.test_client()
    builders.make_household(builders.make_building())
    code = phone.post("wechat/code", openid="openid-alice")["code"]
    session = client.post("/api/v1/session/wechat", json={"code": code, "via": "mini_program"})
    assert session.status_code == 200
    assert (session.json["role"], session.json["households"]) == ("resident", [])
    assert session.json["expires_at"] == "2026-12-20T04:00:00+00:00"
    headers = {"Authorization": f"Bearer {session.json['token']}"}
    bound = client.post("/api/v1/me/households", json=PROOF, headers=headers)
    assert bound.status_code == 201
    assert bound.json == {
        "id": bound.json["id"],
        "account_no": "A-101",
        "address": "学府路暖阳小区 A号楼 101",
        "unit_no": "101",
        "area_m2": "62.40",
        "suspended": False,
    }
    me = client.get("/api/v1/me", headers=headers).json
    assert me == {"role": "resident", "name": None, "households": [bound.json]}


def test_the_same_person_comes_back_to_their_households(merchant, phone):
    client = merchant.test_client()
    tokens = []
    for _ in range(2):
        code = phone.post("wechat/code", openid="openid-alice")["code"]
        body = {"code": code, "via": "mini_program"}
        tokens.append(client.post("/api/v1/session/wechat", json=body).json)
        if len(tokens) == 1:
            builders.make_household(builders.make_building())
            headers = {"Authorization": f"Bearer {tokens[0]['token']}"}
            client.post("/api/v1/me/households", json=PROOF, headers=headers)
    assert tokens[0]["token"] != tokens[1]["token"]
    assert [h["account_no"] for h in tokens[1]["households"]] == ["A-101"]


def test_a_code_serves_once_and_a_made_up_one_never(merchant, phone):
    client = merchant.test_client()
    code = phone.post("wechat/code", openid="openid-alice")["code"]
    for given, expected in ((code, 200), (code, 401), ("made-up", 401)):
        body = {"code": given, "via": "mini_program"}
        answer = client.post("/api/v1/session/wechat", json=body)
        assert answer.status_code == expected
    assert problem(answer) == (401, "wechat_code_invalid")


def test_wechat_being_busy_is_not_the_residents_fault(merchant, phone):
    phone.behave("login", "error", params={"errcode": -1})
    body = {"code": "whatever", "via": "mini_program"}
    answer = merchant.test_client().post("/api/v1/session/wechat", json=body)
    assert problem(answer) == (502, "wechat_unavailable")


def test_a_reader_signs_in_and_out(client):
    builders.make_staff(name="王师傅")
    body = {"login": "reader", "password": "correct horse"}
    session = client.post("/api/v1/session/staff", json=body).json
    assert (session["role"], session["name"]) == ("reader", "王师傅")
    headers = {"Authorization": f"Bearer {session['token']}"}
    me = client.get("/api/v1/me", headers=headers).json
    assert me == {"role": "reader", "name": "王师傅", "households": []}
    assert client.delete("/api/v1/session", headers=headers).status_code == 204
    assert problem(client.get("/api/v1/me", headers=headers)) == (401, "not_signed_in")


def test_a_wrong_password_is_refused_in_words(client):
    builders.make_staff()
    answer = client.post("/api/v1/session/staff", json={"login": "reader", "password": "x"})
    assert problem(answer) == (401, "sign_in_failed")
    assert answer.json["detail"] == "登录名或密码不正确。"


def test_five_wrong_passwords_over_http_lock_the_account(client):
    builders.make_staff()
    for _ in range(5):
        client.post("/api/v1/session/staff", json={"login": "reader", "password": "x"})
    right = {"login": "reader", "password": "correct horse"}
    assert problem(client.post("/api/v1/session/staff", json=right)) == (423, "account_locked")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"account_no": ""}, "account_no"),
        ({"account_no": "A\0101"}, "account_no"),
        ({"account_no": "\ud800"}, "account_no"),
        ({"account_no": "x" * 65}, "account_no"),
        ({"account_no": 101}, "account_no"),
        ({"account_no": None}, "account_no"),
        ({"phone_last4": "12345"}, "phone_last4"),
        ({"phone_last4": "12a4"}, "phone_last4"),
        ({"phone_last4": "١٢٣٤"}, "phone_last4"),
        ({"owner_name": ["张三"]}, "owner_name"),
    ],
)
def test_what_cannot_be_a_proof_is_refused_by_field(client, charlie, change, field):
    body = json.dumps({**PROOF, **change})
    answer = client.post(
        "/api/v1/me/households", data=body, headers=charlie, content_type="application/json"
    )
    assert problem(answer) == (422, "validation")
    assert answer.json["field"] == field


@pytest.mark.parametrize(
    "body", [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b'{"a":1e999}', b'{"\\ud800":1}']
)
def test_a_body_that_is_no_object_is_refused(client, charlie, body):
    answer = client.post(
        "/api/v1/me/households", data=body, headers=charlie, content_type="application/json"
    )
    assert answer.status_code in (400, 422)
    assert problem(answer)[1] in ("bad_request", "validation")


def test_someone_elses_number_is_refused_and_says_no_more_than_an_unknown_one(client, charlie):
    builders.make_household(builders.make_building())
    answers = [
        client.post("/api/v1/me/households", json={**PROOF, **wrong}, headers=charlie).json
        for wrong in ({"phone_last4": "0000"}, {"owner_name": "李四"}, {"account_no": "Z-1"})
    ]
    for answer in answers:
        answer.pop("request_id")
    assert answers[0]["code"] == "bind_mismatch"
    assert answers[0] == answers[1] == answers[2]


def test_guessing_ends_after_ten_attempts_of_one_resident(limited):
    builders.make_household(builders.make_building())
    mallory = builders.headers_for(builders.make_resident())
    wrong = {**PROOF, "phone_last4": "0000"}
    codes = [
        limited.post("/api/v1/me/households", json=wrong, headers=mallory).json["code"]
        for _ in range(11)
    ]
    assert codes == ["bind_mismatch"] * 10 + ["too_many_attempts"]
    right = limited.post("/api/v1/me/households", json=PROOF, headers=mallory)
    assert problem(right) == (429, "too_many_attempts")


def test_a_household_cannot_be_guessed_at_by_many_residents_either(limited):
    wrong = {**PROOF, "phone_last4": "0000"}
    codes = []
    for n in range(3):
        headers = builders.headers_for(builders.make_resident(f"mallory-{n}"))
        for _ in range(9):
            answer = limited.post("/api/v1/me/households", json=wrong, headers=headers)
            codes.append(answer.json["code"])
    assert codes == ["bind_mismatch"] * 20 + ["too_many_attempts"] * 7


def test_an_address_that_changes_residents_and_households_is_stopped_too(limited):
    codes = []
    for n in range(34):
        headers = builders.headers_for(builders.make_resident(f"mallory-{n}"))
        for m in range(9):
            wrong = {**PROOF, "account_no": f"A-{n}-{m}"}
            answer = limited.post("/api/v1/me/households", json=wrong, headers=headers)
            codes.append(answer.json["code"])
    assert codes.index("too_many_attempts") == 300


@pytest.mark.parametrize(("hops", "stopped"), [(0, True), (1, False)])
def test_behind_a_proxy_attempts_count_for_the_address_it_names(database, clock, hops, stopped):
    settings = settings_for(database).replace(rate_limits=True, trusted_proxies=hops)
    application = create_app(settings, clock=clock)
    client, codes = application.test_client(), []
    for n in range(31):
        answer = client.post(
            "/api/v1/session/staff",
            json={"login": f"nobody-{n}", "password": "x"},
            headers={"X-Forwarded-For": f"10.0.0.{n}"},
        )
        codes.append(answer.status_code)
    assert (429 in codes) is stopped
    with application.app_context():
        db.engine.dispose()


def test_passwords_cannot_be_tried_by_the_thousand(limited):
    body = {"login": "nobody", "password": "x"}
    codes = [limited.post("/api/v1/session/staff", json=body).status_code for _ in range(11)]
    assert codes == [401] * 10 + [429]


def test_unbinding_is_audited_and_a_strangers_household_is_not_found(client, alice, charlie):
    path = f"/api/v1/me/households/{alice.household.id}"
    assert problem(client.delete(path, headers=charlie)) == (404, "not_found")
    assert client.delete(path, headers=alice.headers).status_code == 204
    assert problem(client.delete(path, headers=alice.headers)) == (404, "not_found")
    actions = db.session.scalars(db.select(AuditEvent.action)).all()
    assert actions == ["household.unbound"]


def test_agreeing_to_reminders_is_counted(merchant):
    client = merchant.test_client()
    headers = builders.headers_for(builders.make_resident())
    counts = []
    for accepted in (True, False, True):
        body = {"template": "nuan-bill-overdue", "accepted": accepted}
        answer = client.post("/api/v1/me/subscriptions", json=body, headers=headers)
        counts.append(answer.json["remaining"])
    assert counts == [1, 1, 2]
    other = {"template": "another", "accepted": True}
    answer = client.post("/api/v1/me/subscriptions", json=other, headers=headers)
    assert problem(answer) == (404, "not_found")
