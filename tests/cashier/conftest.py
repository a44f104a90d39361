"""This room's tests run against the sandbox."""

import pytest

from tests.outside import app, hook, in_threads, phone, sandbox, sandbox_keys

__all__ = ["app", "hook", "in_threads", "phone", "sandbox", "sandbox_keys"]


@pytest.fixture
def terminal(app, database, monkeypatch, clock):
    """The environment of a `nuan` command: this test's settings and clock."""
    settings = app.extensions["nuan_settings"]
    names = (
        "wxpay_api_url",
        "wxpay_mchid",
        "wxpay_serial",
        "wxpay_private_key_file",
        "wxpay_apiv3_key",
        "wxpay_verifiers",
        "wechat_appid",
        "public_url",
    )
    for name in names:
        monkeypatch.setenv(f"NUAN_{name.upper()}", settings.values[name])
    monkeypatch.setenv("DATABASE_URL", database)
    monkeypatch.setenv("NUAN_ENV", "test")
    monkeypatch.setattr("backend.application.SystemClock", lambda: clock)
