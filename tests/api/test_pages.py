"""The API's description, its page, and the residents' pages at /."""

import json
import re

import pytest

from backend import create_app
from backend.base.db import db
from backend.config import SettingError
from tests.conftest import settings_for


@pytest.fixture
def built(database, clock, tmp_path):
    """The application over a build of the pages."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "static").mkdir()
    (tmp_path / "index.html").write_text("<title>暖</title>", encoding="utf-8")
    (tmp_path / "assets" / "index.1a2b.js").write_text("go()")
    (tmp_path / "static" / "logo.png").write_bytes(b"\x89PNG")
    (tmp_path.parent / "secret.txt").write_text("secret")
    application = create_app(settings_for(database, h5_dir=str(tmp_path)), clock=clock)
    with application.app_context():
        yield application.test_client()
        db.session.remove()
        db.engine.dispose()


def test_every_operation_says_what_it_takes_gives_and_refuses(app, client):
    spec = client.get("/openapi.json").json
    ours = {p: item for p, item in spec["paths"].items() if p.startswith(("/api", "/webhooks"))}
    served = {rule.rule for rule in app.url_map.iter_rules()}
    assert len(ours) == len([path for path in served if path.startswith(("/api", "/webhooks"))])
    for path, item in ours.items():
        for method, operation in item.items():
            if method == "parameters":
                continue
            assert operation["summary"], path
            assert operation["tags"], path
            public = path.endswith(
                ("/config", "/session/wechat", "/session/staff")
            ) or path.startswith("/webhooks/")
            assert ("security" in operation) is not public, path
            assert public or {"401", "403"} <= set(operation["responses"]), path
            for status, response in operation["responses"].items():
                if int(status) >= 400:
                    assert list(response["content"]) == ["application/problem+json"], path


def test_every_reference_of_the_description_leads_somewhere(client):
    spec = client.get("/openapi.json")
    wanted = set(re.findall(r'"#/components/schemas/(\w+)"', spec.text))
    assert wanted <= set(spec.json["components"]["schemas"])
    assert not [name for name in wanted if name.endswith("1")]  # no schema twice


def test_the_docs_page_asks_nobody_else_for_anything(client):
    page = client.get("/docs").text
    assert "swagger-ui" in page
    hosts = set(re.findall(r'(?:src|href)="(?:https?:)?//([^/"]+)', page))
    assert hosts == set()


def test_the_description_is_plain_json_in_chinese(client):
    assert "居民" in client.get("/openapi.json").text
    assert json.loads(client.get("/openapi.json").data)["info"]["title"] == "Nuan 暖"


def test_the_pages_are_asked_for_anew_and_their_assets_kept(built):
    page = built.get("/")
    assert (page.text, page.headers["Cache-Control"]) == ("<title>暖</title>", "no-cache")
    with built.get("/assets/index.1a2b.js") as script:
        assert script.text == "go()"
        assert script.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert script.content_type.startswith("text/javascript")
    with built.get("/static/logo.png") as logo:
        assert logo.headers["Cache-Control"] == "public, max-age=3600"


@pytest.mark.parametrize(
    "path",
    [
        "/assets/../../secret.txt",
        "/assets/..%2f..%2fsecret.txt",
        "/static/%2e%2e/%2e%2e/secret.txt",
        "/assets//etc/passwd",
        "/assets/%00",
        "/assets/",
        "/static/nothing.png",
        "/secret.txt",
    ],
)
def test_nothing_beside_the_pages_can_be_fetched(built, path):
    answer = built.get(path, follow_redirects=True)
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_before_they_are_built_the_front_page_says_how(database, clock, tmp_path):
    settings = settings_for(database, h5_dir=str(tmp_path / "none"))
    answer = create_app(settings, clock=clock).test_client().get("/")
    assert answer.status_code == 200
    assert "make h5" in answer.text


@pytest.mark.parametrize("day", ["", "20-10", "02-29", "october"])
def test_a_season_that_cannot_be_is_refused_at_the_start(database, day):
    with pytest.raises(SettingError, match="NUAN_SEASON_START"):
        create_app(settings_for(database, season_start=day))


def test_an_unknown_address_and_a_wrong_method_are_problems(client):
    assert client.get("/api/v1/nothing").json["code"] == "not_found"
    wrong = client.put("/api/v1/me")
    assert (wrong.status_code, wrong.json["code"]) == (405, "method_not_allowed")
