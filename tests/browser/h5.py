"""Fixtures for tests of the residents' and readers' pages: the built H5, served by the application
under the sandbox.  A module takes them with `from tests.browser.h5 import app, site, ...`.

The phone's clock stands where the test's stands, so that days and charts agree with the data.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Locator, Page, expect
from werkzeug.serving import make_server

from backend import create_app
from backend.base.clock import FixedClock
from backend.base.db import db
from payments.sandbox.server import RunningSandbox
from tests.browser.conftest import ROOT
from tests.conftest import settings_for
from tests.outside import other_channels, wechat_settings

BUILT = ROOT / "miniapp" / "dist" / "build" / "h5" / "index.html"
PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
DESK = {"viewport": {"width": 1280, "height": 800}, "has_touch": True}


@pytest.fixture
def app(database: str, clock: FixedClock, sandbox: RunningSandbox) -> Iterator[Flask]:
    """The application with its pages, its notices and its sign-in through the sandbox."""
    if not BUILT.is_file():
        pytest.skip("the residents' pages have not been built; run make h5")
    settings = settings_for(
        database,
        **wechat_settings(sandbox, "http://127.0.0.1:0"),
        **other_channels(sandbox),
        wechat_oauth_url=f"{sandbox.url}/connect/oauth2/authorize",
        wechat_bridge_url=f"{sandbox.url}/sandbox/bridge.js",
    )
    application = create_app(settings, clock=clock)
    with application.app_context():
        yield application
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def site(app: Flask) -> Iterator[str]:
    """The application on a port of its own; the sandbox sends its notices there."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    url = f"http://127.0.0.1:{server.server_port}"
    settings = app.extensions["nuan_settings"]
    app.extensions["nuan_settings"] = settings.replace(public_url=url)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield url
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def hosts(site: str, sandbox: RunningSandbox) -> set[str]:
    """Ours, and WeChat's."""
    return {urlsplit(site).netloc, urlsplit(sandbox.url).netloc}


@pytest.fixture
def take_phone(open_page: Callable[..., Page], clock: FixedClock) -> Callable[..., Page]:
    """Somebody's phone, 390x844 (or DESK), on the test's clock; each is another person's."""

    def taken(screen: dict[str, Any] = PHONE) -> Page:
        page = open_page(**screen)
        page.context.clock.install(time=clock.now())
        return page

    return taken


def fill(page: Page, testid: str, text: str) -> None:
    """Type into a field: uni-app puts the id on a wrapper around the input."""
    front(page, testid).locator("input").fill(text)


def front(page: Page, testid: str) -> Locator:
    """The one of that id on the page in front; pages behind it stay in the document, hidden."""
    return page.get_by_test_id(testid).and_(page.locator(":visible"))


def go(page: Page, path: str) -> None:
    """To one of the pages by its address."""
    page.goto(f"/#/{path}")


def sign_in(page: Page, openid: str) -> None:
    """Through WeChat's page, as that person."""
    page.goto("/")
    page.get_by_test_id("signin-wechat").tap()
    page.get_by_test_id(f"wx-person-{openid}").tap()


def bind(page: Page, account_no: str, owner_name: str, phone_last4: str) -> None:
    """Fill in the proof and send it."""
    fill(page, "bind-account", account_no)
    fill(page, "bind-name", owner_name)
    fill(page, "bind-phone", phone_last4)
    front(page, "bind-submit").tap()


def fits(page: Page) -> None:
    """Nothing makes the page scroll sideways."""
    assert page.evaluate("document.documentElement.scrollWidth") <= page.viewport_size["width"]


COLOURS = """canvas => {
  const {width, height} = canvas, pixels =
    canvas.getContext('2d').getImageData(0, 0, width, height).data, seen = new Map()
  for (let at = 0; at < pixels.length; at += 4) if (pixels[at + 3] > 200) {
    const rgb = `${pixels[at]},${pixels[at + 1]},${pixels[at + 2]}`
    seen.set(rgb, (seen.get(rgb) ?? 0) + 1)
  }
  return Object.fromEntries(seen)
}"""


def colours(page: Page) -> dict[str, int]:
    """'r,g,b' -> opaque pixels of that colour on the chart in front."""
    chart = front(page, "chart").locator("canvas")
    expect(chart).to_be_visible()
    return chart.evaluate(COLOURS)


def picture(page: Page) -> str:
    """The chart in front, as it is drawn."""
    return front(page, "chart").locator("canvas").evaluate("canvas => canvas.toDataURL()")


def drawn(page: Page, rgb: str, at_least: int = 1) -> int:
    """Wait until the chart shows that many pixels of a colour; how many they are."""
    for _ in range(50):
        count = colours(page).get(rgb, 0)
        if count >= at_least:
            return count
        page.wait_for_timeout(100)
    raise AssertionError(f"the chart shows {count} pixels of {rgb}")
