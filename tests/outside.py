"""Fixtures for rooms that speak with the outside: a real sandbox over HTTP, a listener for notices.

A conftest.py takes them with `from tests.outside import app, hook, ...`.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from flask import Flask

from backend import create_app
from backend.base import tasks
from backend.base.clock import FixedClock
from backend.base.db import db
from payments.sandbox.alipay_keys import ensure_alipay_keys
from payments.sandbox.desk import SandboxSettings
from payments.sandbox.keys import ensure_keys
from payments.sandbox.server import RunningSandbox, running_sandbox
from payments.sandbox.unionpay_keys import PASSWORD, ensure_unionpay_keys
from tests.conftest import settings_for


@dataclass
class Phone:
    """The resident's WeChat and the sandbox's levers."""

    url: str

    def post(self, route: str, /, **body: Any) -> dict[str, Any]:
        answer = requests.post(f"{self.url}/sandbox/{route}", json=body, timeout=5)
        assert answer.ok, answer.text
        return answer.json()

    def get(self, route: str, /, **query: Any) -> dict[str, Any]:
        return requests.get(f"{self.url}/sandbox/{route}", params=query, timeout=5).json()

    def pay(self, client_pay: dict[str, str], **more: Any) -> dict[str, Any]:
        """Tap pay in WeChat; the sandbox checks the signature and answers the transaction."""
        return self.post("wechat/pay", **client_pay, **more)

    def behave(self, target: str, mode: str, **more: Any) -> None:
        """Order a behaviour: what goes wrong next."""
        self.post("behaviour", target=target, mode=mode, **more)

    def calls(self, path: str) -> int:
        """How often a path of the outside parties was called."""
        return self.get("calls", path=path)["count"]


@dataclass
class Hook:
    """Our notify_url: keeps the signed notices as they came over the wire."""

    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    arrived: threading.Condition = field(default_factory=threading.Condition)
    url: str = ""

    def wait(self, count: int = 1) -> tuple[dict[str, str], bytes]:
        """The newest notice once `count` have come."""
        with self.arrived:
            assert self.arrived.wait_for(lambda: len(self.received) >= count, 5), "no notice came"
            return self.received[-1]


@pytest.fixture
def hook() -> Iterator[Hook]:
    hook = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with hook.arrived:
                hook.received.append((dict(self.headers), body))
                hook.arrived.notify_all()
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield hook
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="session")
def sandbox_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One set of keys for all tests: making RSA keys takes longer than a test."""
    directory = tmp_path_factory.mktemp("sandbox")
    ensure_alipay_keys(directory / "keys-alipay")
    ensure_unionpay_keys(directory / "keys-unionpay")
    return ensure_keys(directory / "keys").directory


@pytest.fixture
def sandbox(sandbox_keys: Path, tmp_path: Path, clock: FixedClock) -> Iterator[RunningSandbox]:
    """The outside parties, empty, on the test's clock."""
    shutil.copytree(sandbox_keys.parent, tmp_path / "sandbox")
    settings = SandboxSettings(notice_speed=1000)
    with running_sandbox(tmp_path / "sandbox", clock.now, settings) as running:
        yield running


@pytest.fixture
def phone(sandbox: RunningSandbox) -> Phone:
    return Phone(sandbox.url)


def wechat_settings(sandbox: RunningSandbox, hook_url: str) -> dict[str, Any]:
    """The settings of a merchant under the sandbox."""
    keys = sandbox.keys
    return {
        "public_url": hook_url,
        "wechat_appid": keys.appid,
        "wechat_secret": keys.app_secret,
        "wechat_api_url": sandbox.url,
        "wechat_overdue_template": "nuan-bill-overdue",
        "wechat_low_balance_template": "nuan-balance-low",
        "wxpay_api_url": sandbox.url,
        "wxpay_mchid": keys.mchid,
        "wxpay_serial": keys.merchant_serial,
        "wxpay_private_key_file": str(keys.merchant_key_path),
        "wxpay_apiv3_key": keys.api_v3_key,
        "wxpay_verifiers": f"{keys.public_key_id}={keys.public_key_path}",
    }


def other_channels(sandbox: RunningSandbox) -> dict[str, Any]:
    """The settings of Alipay and UnionPay under the sandbox, which makes their keys itself."""
    directory = sandbox.keys.directory.parent
    alipay = ensure_alipay_keys(directory / "keys-alipay")
    union = ensure_unionpay_keys(directory / "keys-unionpay")
    return {
        "alipay_app_id": alipay.app_id,
        "alipay_seller_id": alipay.seller_id,
        "alipay_private_key_file": str(alipay.app_key_path),
        "alipay_public_key_file": str(alipay.alipay_public_path),
        "alipay_gateway_url": f"{sandbox.url}/gateway.do",
        "unionpay_mer_id": union.mer_id,
        "unionpay_sign_file": str(union.sign_path),
        "unionpay_sign_password": PASSWORD,
        "unionpay_root_file": str(union.root_path),
        "unionpay_middle_file": str(union.middle_path),
        "unionpay_api_url": sandbox.url,
        "unionpay_file_url": f"{sandbox.url}/unionpay/file",
    }


@pytest.fixture
def app(database: str, clock: FixedClock, sandbox: RunningSandbox, hook: Hook) -> Iterator[Flask]:
    """The application as a merchant of the sandbox."""
    settings = settings_for(database, **wechat_settings(sandbox, hook.url))
    application = create_app(settings, clock=clock, web_pages=False)
    with application.app_context():
        yield application
        db.session.remove()
        db.engine.dispose()


@pytest.fixture
def in_threads(app: Flask) -> Callable[[int, Callable[[int], Any]], list[Any]]:
    """Run work(n) in `count` threads at once; what each returned, or the error it ended with."""

    def run_all(count: int, work: Callable[[int], Any]) -> list[Any]:
        barrier, results = threading.Barrier(count), []

        def run(n: int) -> None:
            with app.app_context():
                barrier.wait(30)
                try:
                    results.append(work(n))
                except Exception as error:
                    results.append(error)
                finally:
                    db.session.remove()

        threads = [threading.Thread(target=run, args=(n,)) for n in range(count)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        return results

    return run_all


def work(database: str, rounds: int = 30) -> None:
    """Carry out all tasks as `nuan worker` does, those for later too, until none is left."""
    for _ in range(rounds):
        db.session.execute(
            db.text("UPDATE procrastinate_jobs SET scheduled_at = NULL WHERE status = 'todo'")
        )
        db.session.commit()
        tasks.run_worker(database, wait=False, concurrency=2)
        db.session.expire_all()
        if not waiting():
            return
    raise AssertionError(f"tasks without end: {waiting()}")


def waiting() -> list[tuple[str, dict[str, Any]]]:
    """(name, arguments) of the tasks in the queue."""
    query = "SELECT task_name, args FROM procrastinate_jobs WHERE status = 'todo' ORDER BY id"
    return [(row.task_name, row.args) for row in db.session.execute(db.text(query))]
