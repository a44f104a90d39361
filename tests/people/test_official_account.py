"""The H5 pages' sign-in: the official account's code becomes a resident, over real HTTP."""

from __future__ import annotations

import socket
import time
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from sqlalchemy import func, select

from backend.base.db import db
from backend.base.errors import Problem
from backend.people import service
from backend.people.models import Resident
from backend.people.wechat import NO_ANSWER, OfficialAccountClient, WeChatApiError
from backend.people.wechat_sign_in import official_account, page_appid, session_of
from tests.builders import NOON
from tests.outside import app, hook, phone, sandbox, sandbox_keys

__all__ = ["app", "hook", "phone", "sandbox", "sandbox_keys"]

ALICE = {"openid": "oAlice-000001", "nickname": "王淑芬"}


@pytest.fixture
def new_code(sandbox, phone):
    """What the H5 page gets back after a tap on a person's name."""

    def code(person):
        phone.post("wechat/people", people=[person])
        asked = {
            "appid": sandbox.keys.appid,
            "redirect_uri": "http://127.0.0.1:8000/h5/#/pages/home/index",
            "response_type": "code",
            "scope": "snsapi_base",
        }
        answer = requests.post(
            sandbox.url + "/connect/oauth2/authorize",
            params=asked,
            data={"openid": person["openid"]},
            timeout=5,
            allow_redirects=False,
        )
        return parse_qs(urlsplit(answer.headers["Location"]).query)["code"][0]

    return code


@pytest.fixture
def account(sandbox):
    made = OfficialAccountClient(sandbox.keys.appid, sandbox.keys.app_secret, sandbox.url)
    yield made
    made._http.close()


def refusal(action):
    with pytest.raises(WeChatApiError) as error:
        action()
    return error.value.code, error.value.permanent


def test_a_code_gives_the_openid_once(account, new_code, phone):
    code = new_code(ALICE)
    assert account.oauth_openid(code) == {"openid": "oAlice-000001"}
    assert refusal(lambda: account.oauth_openid(code)) == (40163, True)
    assert phone.calls("/cgi-bin/stable_token") == 0  # signing in costs no access token


def test_a_unionid_is_kept_and_the_tokens_of_the_page_are_not(account, new_code):
    told = account.oauth_openid(new_code(ALICE | {"unionid": "uAlice-000001"}))
    assert told == {"openid": "oAlice-000001", "unionid": "uAlice-000001"}


def test_an_invented_code_is_a_lasting_refusal_and_a_busy_wechat_a_passing_one(account, phone):
    assert refusal(lambda: account.oauth_openid("invented")) == (40029, True)
    phone.behave("login", "error", params={"errcode": -1})
    assert refusal(lambda: account.oauth_openid("any")) == (-1, False)


def test_a_code_is_good_for_five_minutes(account, new_code, clock):
    code = new_code(ALICE)
    clock.advance(seconds=301)
    assert refusal(lambda: account.oauth_openid(code)) == (40029, True)


def test_a_wrong_secret_is_refused_and_not_shown(sandbox):
    account = OfficialAccountClient(sandbox.keys.appid, "not-the-secret", sandbox.url)
    with pytest.raises(WeChatApiError) as error:
        account.oauth_openid("x")
    account._http.close()
    assert (error.value.code, error.value.permanent) == (40125, True)
    assert "not-the-secret" not in str(error.value)


def test_a_wechat_that_does_not_answer_is_given_up(monkeypatch):
    monkeypatch.setattr("backend.people.wechat.READ_TIMEOUT_S", 0.2)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        account = OfficialAccountClient("wx1", "s", url)
        start = time.monotonic()
        assert refusal(lambda: account.oauth_openid("any")) == (NO_ANSWER, False)
        assert time.monotonic() - start < 2
        account._http.close()


def test_a_resident_signs_in_on_the_h5_pages(app, new_code, phone):
    token, resident = service.sign_in_wechat(new_code(ALICE), "official_account", NOON)
    assert resident.openid == "oAlice-000001"
    assert service.principal_of(token.text, NOON) == service.Principal("resident", resident.id)
    asked = phone.calls("/sns/oauth2/access_token"), phone.calls("/sns/jscode2session")
    assert asked == (1, 0)


def test_both_doors_lead_to_one_resident_where_the_appid_is_one(app, new_code, phone):
    _, page = service.sign_in_wechat(new_code(ALICE), "official_account", NOON)
    code = phone.post("wechat/code", openid="oAlice-000001")["code"]
    _, mini = service.sign_in_wechat(code, "mini_program", NOON)
    assert page.id == mini.id


def test_a_unionid_told_later_is_kept_and_not_lost_again(app, new_code):
    for told in ({}, {"unionid": "uAlice-000001"}, {"unionid": ""}):
        service.sign_in_wechat(new_code(ALICE | told), "official_account", NOON)
    db.session.expire_all()
    assert db.session.scalars(select(Resident)).one().unionid == "uAlice-000001"
    assert db.session.scalar(select(func.count()).select_from(Resident)) == 1


def test_a_code_of_the_mini_program_does_not_open_the_h5_pages(app, phone):
    code = phone.post("wechat/code", openid="oAlice-000001")["code"]
    with pytest.raises(Problem, match="wechat_code_invalid"):
        session_of(code, "official_account")


def test_a_busy_wechat_is_told_as_such(app, phone):
    phone.behave("login", "error", params={"errcode": -1})
    with pytest.raises(Problem, match="wechat_unavailable"):
        session_of("any", "official_account")


def test_an_official_account_of_its_own_is_asked_under_its_own_appid(app):
    settings = app.extensions["nuan_settings"]
    assert page_appid(settings) == settings.wechat_appid
    own = settings.replace(wechat_oa_appid="wx2", wechat_oa_secret="s2")
    app.extensions["nuan_settings"] = own
    account = official_account()
    assert (account.appid, account.secret, page_appid(own)) == ("wx2", "s2", "wx2")
    with pytest.raises(Problem, match="wechat_code_invalid"):  # the sandbox knows no wx2
        session_of("any", "official_account")
