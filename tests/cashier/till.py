"""A till with all three channels, a resident before it, and how he pays by each of them."""

import json
from contextlib import contextmanager

import pytest
import requests

from backend import create_app
from backend.base.db import db
from backend.cashier.service import Door, PayWay
from tests import builders
from tests.conftest import settings_for
from tests.outside import other_channels, wechat_settings

WECHAT, ALIPAY, UNIONPAY = Door(), Door("alipay", PayWay.QR), Door("unionpay", PayWay.WAP)
DOORS = (WECHAT, ALIPAY, UNIONPAY)


@contextmanager
def merchant(database, clock, sandbox, hook, **how):
    """The application as a merchant with all three channels; `how` as create_app takes it."""
    values = wechat_settings(sandbox, hook.url) | other_channels(sandbox)
    application = create_app(settings_for(database, **values), clock=clock, **how)
    with application.app_context():
        yield application
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def app(database, clock, sandbox, hook):
    """A merchant without pages."""
    with merchant(database, clock, sandbox, hook, web_pages=False) as application:
        yield application


@pytest.fixture
def alice(app):
    resident = builders.make_resident("alice-openid")
    resident.household = builders.make_household(builders.make_building())
    builders.bind(resident, resident.household)
    return resident


@pytest.fixture
def tap(phone):
    """The resident pays in the channel's own way."""

    def run(door, client_pay):
        if door.channel == "wechat":
            return phone.pay(client_pay)
        url = client_pay.get("code_url") or client_pay["url"]
        if "form" in client_pay:
            url = requests.post(url, data=json.loads(client_pay["form"]), timeout=5).url
        answer = requests.post(url, timeout=5, allow_redirects=False)
        assert answer.status_code in (200, 303), answer.text
        return answer

    return run


def newest(hook, number):
    """The newest notice about an order; the others' may come again meanwhile."""
    with hook.arrived:
        assert hook.arrived.wait_for(
            lambda: any(number.encode() in body for _, body in hook.received), 5
        ), "no notice came"
        return next(n for n in reversed(hook.received) if number.encode() in n[1])
