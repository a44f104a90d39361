"""Signing in to the console, and who is shown what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from sqlalchemy.exc import OperationalError
from werkzeug.security import generate_password_hash

from backend.base.clock import FixedClock
from backend.base.db import db
from backend.people import access
from backend.people.models import AuditEvent, Staff
from tests import builders
from tests.console.conftest import post, token_in

PAGES = ("/console/finance", "/console/reading", "/console/reading/live")


def test_whoever_is_not_signed_in_is_led_to_the_door_and_back(app: Flask, client: Any) -> None:
    answer = client.get("/console/reading?day=2026-11-19")
    assert answer.status_code == 302
    assert answer.location == "/console/sign-in?next=/console/reading?day%3D2026-11-19"
    builders.make_staff("op", roles=("operator",))
    signed = post(client, answer.location, login="op", password="correct horse")
    assert signed.location == "/console/reading?day=2026-11-19"


@pytest.mark.parametrize(
    "target",
    ["https://evil.example/console/", "//evil.example/console/", "/\\evil", "/console/\\..", "x"],
)
def test_the_door_leads_nowhere_else(app: Flask, client: Any, target: str) -> None:
    builders.make_staff("op", roles=("operator",))
    token = token_in(client.get("/console/sign-in").text)
    answer = client.post(
        "/console/sign-in",
        query_string={"next": target},
        data={"csrf_token": token, "login": "op", "password": "correct horse"},
    )
    assert (answer.status_code, answer.location) == (303, "/console/")


def test_signing_in_is_written_down(sign_in: Callable[..., Any]) -> None:
    sign_in("finance")
    event = db.session.query(AuditEvent).filter_by(action="staff.signed_in").one()
    assert event.detail == {"via": "console"} and event.actor_kind == "staff"


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"login": "", "password": "x"}, "请填写登录名。"),
        ({"login": "op", "password": ""}, "请填写密码。"),
        ({"login": "op", "password": "wrong"}, "登录名或密码不正确。"),
        ({"login": "nobody", "password": "correct horse"}, "登录名或密码不正确。"),
        ({"login": "op", "password": "x" * 201}, "密码"),
    ],
)
def test_a_wrong_sign_in_is_told_beside_the_form(
    app: Flask, client: Any, fields: dict[str, str], says: str
) -> None:
    builders.make_staff("op", roles=("operator",))
    answer = post(client, "/console/sign-in", **fields)
    assert answer.status_code in (401, 422) and says in answer.text
    assert client.get("/console/reading").status_code == 302


def test_five_wrong_passwords_lock_the_account_for_a_while(
    app: Flask, client: Any, clock: FixedClock
) -> None:
    builders.make_staff("op", roles=("operator",))
    for _ in range(5):
        assert post(client, "/console/sign-in", login="op", password="no").status_code == 401
    locked = post(client, "/console/sign-in", login="op", password="correct horse")
    assert locked.status_code == 423 and "锁定" in locked.text
    clock.advance(minutes=16)
    again = post(client, "/console/sign-in", login="op", password="correct horse")
    assert again.status_code == 303


def test_a_form_without_the_token_changes_nothing(sign_in: Callable[..., Any]) -> None:
    client = sign_in("finance")
    answer = client.post("/console/finance/2026-11-19/close", data={"reason": "就这样吧"})
    assert answer.status_code == 400 and "页面停留太久已失效" in answer.text


def test_a_new_password_ends_the_sessions_of_the_old_one(sign_in: Callable[..., Any]) -> None:
    client = sign_in("operator")
    staff = db.session.query(Staff).one()
    staff.password_hash = generate_password_hash("another", method="pbkdf2:sha256:1")
    db.session.commit()
    assert client.get("/console/reading").status_code == 302


def test_staff_who_left_are_out_at_once(sign_in: Callable[..., Any]) -> None:
    client = sign_in("operator")
    db.session.query(Staff).one().active = False
    db.session.commit()
    assert client.get("/console/reading").status_code == 302


def test_signing_out_ends_the_session(sign_in: Callable[..., Any]) -> None:
    client = sign_in("operator")
    post(client, "/console/sign-out", at="/console/reading")
    assert client.get("/console/reading").status_code == 302


def test_a_fragment_asked_for_after_the_session_ended_reloads_the_page(client: Any) -> None:
    headers = {"HX-Request": "true", "HX-Current-URL": "http://localhost/console/reading?day="}
    answer = client.get("/console/reading/live", headers=headers)
    assert answer.headers["HX-Redirect"] == "/console/sign-in?next=/console/reading?day%3D"


@pytest.mark.parametrize(
    ("roles", "home", "links"),
    [
        (("finance",), "/console/finance", ["收款对账"]),
        (("operator",), "/console/reading", ["抄表"]),
        (("manager",), "/console/finance", ["收款对账", "抄表"]),
        (("operator", "finance"), "/console/finance", ["收款对账", "抄表"]),
    ],
)
def test_everybody_finds_the_pages_of_his_roles_and_no_others(
    sign_in: Callable[..., Any], roles: tuple[str, ...], home: str, links: list[str]
) -> None:
    client = sign_in(*roles)
    assert client.get("/console/").location == home
    page = client.get(home).text
    bar = page[page.index("<nav") : page.index("</nav>")]
    assert [title for title in ("收款对账", "抄表") if title in bar] == links


def test_a_reader_is_told_where_to_go_instead(sign_in: Callable[..., Any]) -> None:
    answer = sign_in("reader").get("/console/")
    assert answer.status_code == 403 and "抄表请使用手机端" in answer.text


def test_every_console_view_says_who_may_call_it(app: Flask) -> None:
    endpoints = [e for e in app.view_functions if e.startswith(("console.", "bootstrap."))]
    assert len(endpoints) >= 9
    assert [e for e in endpoints if access.declared(app, e) is None] == []


@pytest.mark.parametrize("path", PAGES)
def test_a_bearer_token_opens_no_console_page(client: Any, app: Flask, path: str) -> None:
    staff = builders.make_staff("boss", roles=("manager", "finance", "operator"))
    answer = client.get(path, headers=builders.headers_for(staff))
    assert answer.status_code == 302


def test_a_page_that_is_none_is_said_so_in_the_consoles_own_clothes(
    sign_in: Callable[..., Any],
) -> None:
    answer = sign_in("operator").get("/console/wishes")
    assert answer.status_code == 404 and "没有这个页面。" in answer.text and "<nav" in answer.text


def test_every_page_forbids_other_hosts_inline_code_and_frames(
    sign_in: Callable[..., Any],
) -> None:
    client = sign_in("manager")
    for path in ("/console/sign-in", "/console/nowhere", *PAGES):
        answer = client.get(path)
        policy = answer.headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'") and "unsafe" not in policy
        assert "style=" not in answer.text and "onclick" not in answer.text
        assert "https://" not in answer.text.replace("http://www.w3.org", "")
        assert answer.headers["Cache-Control"] == "no-store"


def test_the_cookie_is_the_consoles_own(app: Flask, client: Any) -> None:
    answer = client.get("/console/sign-in")
    cookie = answer.headers["Set-Cookie"]
    assert cookie.startswith("nuan_console=")
    assert "Path=/console" in cookie and "HttpOnly" in cookie and "SameSite=Lax" in cookie


def test_a_database_that_is_away_gives_a_page_and_not_a_traceback(
    sign_in: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = sign_in("operator")

    def away(*_: Any) -> None:
        raise OperationalError("SELECT 1", {}, Exception("gone"))

    monkeypatch.setattr("backend.console.queries.reading_success", away)
    answer = client.get("/console/reading")
    assert answer.status_code == 503 and "系统正在维护" in answer.text
    assert "<nav" not in answer.text or "抄表成功率" not in answer.text


def test_passwords_tried_from_one_address_are_counted(database: str, clock: FixedClock) -> None:
    from backend import create_app
    from tests.conftest import settings_for

    app = create_app(settings_for(database).replace(rate_limits=True), clock=clock)
    with app.app_context():
        client = app.test_client()
        token = token_in(client.get("/console/sign-in").text)
        form = {"csrf_token": token, "login": "", "password": ""}
        answers = [client.post("/console/sign-in", data=form).status_code for _ in range(32)]
        assert answers[:30] == [422] * 30 and answers[31] == 429
        db.session.remove()
        db.engine.dispose()
