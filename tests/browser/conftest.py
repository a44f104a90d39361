"""A real server and a real browser: Chromium against the application on a free port.

`site` is the address; the application behind it is the `app` fixture's, so a test may put rows
into its database and move its clock.  `page` is a fresh browser page at desktop size, `small_page`
one at 390x844 with touch (`phone` is the sandbox's WeChat).  Any page error, console
error or request to another host fails the test.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Browser, Page, sync_playwright
from werkzeug.serving import make_server

# The same application as the console's own tests: its pages, the sandbox behind it.
from tests.console.conftest import app, hook, pay, phone, sandbox, sandbox_keys

__all__ = ["app", "hook", "pay", "phone", "sandbox", "sandbox_keys"]

# The development server leaves a static file to the collector when the browser has gone on to
# another page in the middle of it; Granian, which serves in production, is not concerned.
LEFT_OPEN = (
    "ignore:Exception ignored in. <_io.FileIO name='[^']*/static/:"
    "pytest.PytestUnraisableExceptionWarning"
)

ROOT = Path(__file__).resolve().parents[2]
VENDOR = ROOT / "backend" / "console" / "static" / "vendor"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything in this directory is a browser test."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker("browser")
            item.add_marker(pytest.mark.filterwarnings(LEFT_OPEN))


def chromium() -> str | None:
    """Where Chromium is installed; NUAN tests take the system's, they download none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if (found := shutil.which(name))), None)


# One module long and no longer: while Playwright is open, no asyncio test can run in this process.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium, headless."""
    program = chromium()
    if program is None:
        pytest.skip("Chromium is not installed (apt-get install chromium fonts-noto-cjk)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=FLAGS)
        yield running
        running.close()


@pytest.fixture
def site(app: Flask) -> Iterator[str]:
    """The address of a server in front of `app`, on a port of its own."""
    if not VENDOR.exists():
        pytest.skip("the console's front-end files are not there; run make setup")
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join(10)
    server.server_close()


@pytest.fixture
def hosts(site: str) -> set[str]:
    """The hosts a page may ask: its own (netloc, "127.0.0.1:1234")."""
    return {urlsplit(site).netloc}


@pytest.fixture
def open_page(browser: Browser, site: str, hosts: set[str]) -> Iterator[Callable[..., Page]]:
    """Opens pages in contexts of their own (cookies are not shared); watches what they do."""
    contexts: list[Any] = []
    faults: list[str] = []

    def opened(**options: Any) -> Page:
        context = browser.new_context(base_url=site, locale="zh-CN", **options)
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        watch(page, hosts, faults)
        return page

    yield opened
    for context in contexts:
        context.close()
    assert faults == []


# A refusal answered in a page's own words, and what the phone says while a test takes its signal.
EXPECTED = ("status of 4", "status of 503", "ERR_INTERNET_DISCONNECTED")


def watch(page: Page, hosts: set[str], faults: list[str]) -> None:
    """Write down page errors, console errors and requests to other hosts."""
    page.on("pageerror", lambda error: faults.append(f"page error: {error}"))

    def message(line: Any) -> None:
        if line.type == "error" and not any(known in line.text for known in EXPECTED):
            faults.append(f"console: {line.text}")

    def request(asked: Any) -> None:
        parts = urlsplit(asked.url)
        if parts.scheme in ("http", "https") and parts.netloc not in hosts:
            faults.append(f"left the site: {asked.url}")

    page.on("console", message)
    page.on("request", request)


@pytest.fixture
def page(open_page: Callable[..., Page]) -> Page:
    """A page at a desktop's size."""
    return open_page(viewport={"width": 1440, "height": 900})


@pytest.fixture
def small_page(open_page: Callable[..., Page]) -> Page:
    """A page at a phone's size, with touch."""
    return open_page(viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)


@pytest.fixture
def shot() -> Callable[[Page, str], None]:
    """Keep a picture where NUAN_SHOTS names a directory; nothing otherwise."""

    def keep(page: Page, name: str) -> None:
        directory = os.environ.get("NUAN_SHOTS")
        if directory:
            page.screenshot(path=str(Path(directory) / f"{name}.png"), full_page=True)

    return keep
