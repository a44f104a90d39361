"""Settings: read once, each documented, and refused in one line that says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from backend import config

ROOT = Path(__file__).resolve().parents[2]
PRODUCTION = {
    "NUAN_ENV": "production",
    "DATABASE_URL": "postgresql://nuan@db/nuan",
    "NUAN_SECRET_KEY": "s" * 32,
    "NUAN_SEAL_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    "NUAN_PUBLIC_URL": "https://heat.example.cn",
    "NUAN_WECHAT_APPID": "wx1",
    "NUAN_WECHAT_SECRET": "secret",
    "NUAN_WECHAT_OVERDUE_TEMPLATE": "tmpl",
    "NUAN_WXPAY_MCHID": "1900000001",
    "NUAN_WXPAY_SERIAL": "5F",
    "NUAN_WXPAY_PRIVATE_KEY_FILE": "/etc/nuan/key.pem",
    "NUAN_WXPAY_APIV3_KEY": "k" * 32,
    "NUAN_WXPAY_VERIFIERS": "5F=/etc/nuan/platform.pem",
}


def test_the_settings_page_says_what_the_code_reads() -> None:
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert page == config.markdown(), "run: nuan settings --markdown > docs/settings.md"


def test_every_setting_is_explained() -> None:
    for setting in config.SETTINGS:
        assert len(setting.help.split()) >= 3, setting.env
    assert len({setting.env for setting in config.SETTINGS}) == len(config.SETTINGS)


def test_no_code_reads_a_variable_of_ours_past_the_list() -> None:
    known = {setting.env for setting in config.SETTINGS}
    named = {
        (path.relative_to(ROOT).as_posix(), name)
        for package in ("backend", "collectors", "payments", "migrations")
        for path in (ROOT / package).rglob("*.py")
        for name in re.findall(r"\bNUAN_[A-Z0-9_]*[A-Z0-9]\b|\bDATABASE_URL\b", path.read_text())
    }
    # Flask's own configuration key: create_app puts the address found there.
    strange = {(path, name) for path, name in named if name not in known | {"NUAN_DATABASE_URL"}}
    assert strange == set()


def test_nothing_but_the_settings_reads_the_environment() -> None:
    readers = {
        path.relative_to(ROOT).as_posix()
        for package in ("backend", "payments", "migrations")
        for path in (ROOT / package).rglob("*.py")
        if re.search(r"os\.(environ|getenv)", path.read_text())
    }
    assert readers == {"backend/config.py"}


def test_an_empty_environment_is_the_demo() -> None:
    settings = config.load({})
    assert (settings.env, settings.http_port, settings.database_url) == ("demo", 8000, "")


def test_an_empty_variable_means_the_default() -> None:
    assert config.load({"NUAN_HTTP_PORT": ""}).http_port == 8000


@pytest.mark.parametrize(
    ("env", "says"),
    [
        ({"NUAN_ENV": "staging"}, "must be demo, test or production"),
        ({"NUAN_HTTP_PORT": "eighty"}, "NUAN_HTTP_PORT='eighty' must be a whole number"),
        ({"NUAN_RATE_LIMITS": "maybe"}, "must be yes or no"),
        ({"NUAN_WECHAT_OA_APPID": "wx2"}, "give NUAN_WECHAT_OA_APPID and NUAN_WECHAT_OA_SECRET"),
        ({"DATABASE_URL": "mysql://h/d"}, "DATABASE_URL must begin with postgresql://"),
        ({"NUAN_ENV": "production"}, "set DATABASE_URL, NUAN_SECRET_KEY, NUAN_SEAL_KEY"),
        ({**PRODUCTION, "NUAN_PUBLIC_URL": "http://heat.example.cn"}, "must be https"),
        ({**PRODUCTION, "NUAN_WXPAY_API_URL": "http://127.0.0.1:8001"}, "not a sandbox"),
        ({**PRODUCTION, "NUAN_WECHAT_BRIDGE_URL": "http://127.0.0.1:8001/b.js"}, "leave it empty"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line(env: dict[str, str], says: str) -> None:
    with pytest.raises(config.SettingError, match=re.escape(says)) as refused:
        config.load(env)
    assert "\n" not in str(refused.value)


def test_production_starts_with_everything_given() -> None:
    assert config.load(PRODUCTION).env == "production"


@pytest.mark.parametrize("missing", [s.env for s in config.SETTINGS if s.production])
def test_production_names_the_one_setting_that_is_missing(missing: str) -> None:
    given = {name: value for name, value in PRODUCTION.items() if name != missing}
    if missing == "NUAN_PUBLIC_URL":  # has a default, which production refuses for not being https
        with pytest.raises(config.SettingError, match="NUAN_PUBLIC_URL must be https"):
            config.load(given)
        return
    with pytest.raises(config.SettingError, match=rf"^set {missing} \("):
        config.load(given)


def test_a_setting_that_does_not_exist_cannot_be_replaced_or_read() -> None:
    settings = config.load({})
    with pytest.raises(config.SettingError, match="no such setting: colour"):
        settings.replace(colour="red")
    with pytest.raises(AttributeError):
        _ = settings.colour


@pytest.mark.parametrize("name", ["NUAN_DLT645_PASSWORD", "NUAN_DLT645_OPERATOR"])
def test_a_relay_password_of_another_width_is_refused(name: str) -> None:
    assert config.load({name: "02123456"}).values
    with pytest.raises(config.SettingError, match=name):
        config.load({name: "123456"})
