"""A household with its resident, and the application as a merchant of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from flask import Flask

from backend import create_app
from backend.base.clock import FixedClock
from backend.base.db import db
from payments.sandbox.server import RunningSandbox
from tests import builders
from tests.conftest import settings_for
from tests.outside import Hook, hook, phone, sandbox, sandbox_keys, wechat_settings

__all__ = ["hook", "phone", "sandbox", "sandbox_keys"]


@pytest.fixture
def merchant(
    database: str, clock: FixedClock, sandbox: RunningSandbox, hook: Hook
) -> Iterator[Flask]:
    """The whole application over the sandbox; notices go to the test's listener."""
    settings = settings_for(database, **wechat_settings(sandbox, hook.url))
    application = create_app(settings, clock=clock)
    with application.app_context():
        yield application
        db.session.remove()
        db.engine.dispose()


def household_of(name: str) -> SimpleNamespace:
    """A resident with a household in building A, and the headers that sign them in."""
    building = builders.make_building()
    household = builders.make_household(building)
    resident = builders.make_resident(f"{name}-openid")
    builders.bind(resident, household)
    return SimpleNamespace(
        building=building,
        household=household,
        resident=resident,
        headers=builders.headers_for(resident),
    )


@pytest.fixture
def alice(app: Flask) -> SimpleNamespace:
    """Alice, who looks after A-101."""
    return household_of("alice")


@pytest.fixture
def charlie(app: Flask) -> dict[str, str]:
    """The headers of a stranger."""
    return builders.headers_for(builders.make_resident("charlie-openid"))


def problem(answer: Any) -> tuple[int, str]:
    """(status, code) of a problem document, which has to be one."""
    assert answer.content_type == "application/problem+json", answer.text
    assert answer.json["status"] == answer.status_code
    assert answer.json["request_id"] == answer.headers["X-Request-Id"]
    return answer.status_code, answer.json["code"]
