"""A sandbox over real HTTP for each module, a merchant on it, and a webhook that listens."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests

from payments.alipay import Alipay, AlipayConfig
from payments.channel import OrderRequest, PayWay
from payments.sandbox.alipay_keys import AlipayKeys, ensure_alipay_keys
from payments.sandbox.desk import SandboxSettings
from payments.sandbox.keys import SandboxKeys
from payments.sandbox.server import RunningSandbox, running_sandbox
from payments.wechat import WeChatPay, WeChatPayConfig


class MovableClock:
    """The real time, moved by as much as a test says."""

    def __init__(self) -> None:
        self.offset_s = 0.0

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(time.time() + self.offset_s, UTC)


@dataclass
class Webhook:
    """A merchant's notify_url: keeps what comes, answers the statuses lined up (then 204)."""

    url: str = ""
    received: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    reply: bytes = b""
    arrived: threading.Condition = field(default_factory=threading.Condition)

    def wait(self, count: int, seconds: float = 5.0) -> list[tuple[dict[str, str], bytes]]:
        """What came, once there are `count` of them; fails the test if they do not come."""
        with self.arrived:
            came = self.arrived.wait_for(lambda: len(self.received) >= count, seconds)
        assert came, f"{len(self.received)} notices came, {count} were expected"
        return list(self.received)


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    hook = Webhook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            with hook.arrived:
                hook.received.append((dict(self.headers), body))
                status = hook.answers.pop(0) if hook.answers else 204
                hook.arrived.notify_all()
            self.send_response(200 if hook.reply and status == 204 else status)
            self.send_header("Content-Length", str(len(hook.reply)))
            self.end_headers()
            self.wfile.write(hook.reply)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}/notify"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield hook
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture(scope="module")
def sandbox(
    tmp_path_factory: pytest.TempPathFactory, clock: MovableClock
) -> Iterator[RunningSandbox]:
    settings = SandboxSettings(notice_speed=300.0)
    with running_sandbox(tmp_path_factory.mktemp("sandbox"), clock, settings) as running:
        yield running


@pytest.fixture
def keys(sandbox: RunningSandbox) -> SandboxKeys:
    return sandbox.keys


@pytest.fixture(autouse=True)
def fresh(request: pytest.FixtureRequest) -> Iterator[None]:
    """No test leaves an ordered behaviour or a moved clock to the next."""
    yield
    if "sandbox" in request.fixturenames:
        running = request.getfixturevalue("sandbox")
        requests.delete(running.url + "/sandbox/behaviour", timeout=5)
        control(running, "signing", "public_key")
        request.getfixturevalue("clock").offset_s = 0.0


def control(sandbox: RunningSandbox, target: str, mode: str, **more: Any) -> None:
    """Order a behaviour of the sandbox."""
    body = {"target": target, "mode": mode, **more}
    answer = requests.post(sandbox.url + "/sandbox/behaviour", json=body, timeout=5)
    assert answer.status_code == 201, answer.text


@pytest.fixture
def order_behaviour(sandbox: RunningSandbox) -> Callable[..., None]:
    def order(target: str, mode: str, **more: Any) -> None:
        control(sandbox, target, mode, **more)

    return order


@pytest.fixture
def config(sandbox: RunningSandbox) -> WeChatPayConfig:
    keys = sandbox.keys
    return WeChatPayConfig(
        mchid=keys.mchid,
        appid=keys.appid,
        merchant_serial=keys.merchant_serial,
        merchant_key_pem=keys.merchant_key_path.read_bytes(),
        api_v3_key=keys.api_v3_key.encode(),
        public_keys={keys.public_key_id: keys.public_key_path.read_bytes()},
        base_url=sandbox.url,
    )


@pytest.fixture
def channel(config: WeChatPayConfig, clock: MovableClock) -> Iterator[WeChatPay]:
    channel = WeChatPay(config, clock)
    yield channel
    channel.close_connections()


@pytest.fixture
def new_order(webhook: Webhook, clock: MovableClock) -> Callable[..., OrderRequest]:
    def make(amount_fen: int = 123_45, **more: Any) -> OrderRequest:
        values = {
            "out_trade_no": f"NT{time.time_ns()}",
            "amount_fen": amount_fen,
            "description": "2026-2027采暖季热费",
            "payer_id": "oAlice-000001",
            "notify_url": webhook.url,
            "expires_at": datetime.fromtimestamp(clock().timestamp() + 1800, UTC),
        }
        return OrderRequest(**(values | more))

    return make


@pytest.fixture
def tap(sandbox: RunningSandbox) -> Callable[..., requests.Response]:
    """The resident's tap in the WeChat client, with what the client was given."""

    def pay(fields: dict[str, str], **more: str) -> requests.Response:
        url = sandbox.url + "/sandbox/wechat/pay"
        return requests.post(url, json={**fields, **more}, timeout=5)

    return pay


@pytest.fixture
def alipay_keys(sandbox) -> AlipayKeys:
    return ensure_alipay_keys(sandbox.keys.directory.parent / "keys-alipay")


def alipay_config(keys: AlipayKeys, url: str) -> AlipayConfig:
    return AlipayConfig(
        app_id=keys.app_id,
        seller_id=keys.seller_id,
        private_key=keys.app_key_path.read_bytes(),
        alipay_public_key=keys.alipay_public_path.read_bytes(),
        gateway_url=f"{url}/gateway.do",
    )


@pytest.fixture
def alipay_settings(sandbox: RunningSandbox, alipay_keys: AlipayKeys) -> AlipayConfig:
    return alipay_config(alipay_keys, sandbox.url)


@pytest.fixture
def alipay(sandbox, alipay_keys, clock):
    channel = Alipay(alipay_config(alipay_keys, sandbox.url), clock)
    yield channel
    channel.close_connections()


@pytest.fixture
def order(webhook, clock):
    webhook.reply = b"success"

    def make(amount_fen: int = 123_45, way: PayWay = PayWay.MINI, **more) -> OrderRequest:
        values = {
            "out_trade_no": f"NA{time.time_ns()}",
            "amount_fen": amount_fen,
            "description": "2026-2027采暖季热费/水费",
            "payer_id": "2088101117955611" if way is PayWay.MINI else "",
            "notify_url": webhook.url,
            "expires_at": datetime.fromtimestamp(clock().timestamp() + 1800, UTC),
            "way": way,
        }
        return OrderRequest(**(values | more))

    return make


@pytest.fixture
def pay(sandbox):
    def tap(number: str) -> requests.Response:
        url = sandbox.url + "/sandbox/alipay/pay"
        return requests.post(url, json={"out_trade_no": number}, timeout=5)

    return tap
