"""The port platforms push to: POST /push/<platform>/<secret>, and a GET that proves the URL ours.

Everything a stranger can do is bounded before a byte is believed: the size of a body, requests a
second per address, connections at once, and the seconds a connection lives (one request each).
What the body means is the business of the `Intake` given.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections import Counter, OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Protocol

from aiohttp import web
from aiohttp.web_protocol import RequestHandler
from aiohttp.web_request import BaseRequest
from prometheus_client import Counter as Metric

from collectors.links.listener import Allowance

log = logging.getLogger("nuan.push")

REFUSED = Metric("nuan_push_refused_total", "Refused at the push port, unread", ["code"])

ROOT: Final = "push"
SHORTEST_SECRET: Final = 16
KEPT, KEPT_PER_S = 100, 0.2  # refusals of strangers kept and logged; the rest is counted
FIRST_BYTES = 256  # kept of a connection, to show what came over it


def parse_secrets(text: str) -> dict[str, str]:
    """platform -> secret of "ctwing=…,onenet=…". Raises ValueError naming the platform at fault."""
    found = {}
    for part in filter(None, (p.strip() for p in text.split(","))):
        platform, _, secret = part.partition("=")
        if len(secret) < SHORTEST_SECRET or not secret.isalnum() or not secret.isascii():
            least = f"{SHORTEST_SECRET} letters and digits or more"
            raise ValueError(f"the push secret of {platform!r} has to be {least}")
        found[platform] = secret
    return found


@dataclass(frozen=True, slots=True)
class Limits:
    """What is let in. Rates are requests a second of one address, `burst` of them at once."""

    body_bytes: int = 64 * 1024
    connections: int = 500
    rate: float = 50.0
    burst: int = 200
    addresses: int = 10_000  # remembered for the rate; the longest unseen are forgotten
    life_s: float = 15.0
    read_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What the platform is told. 2xx means: ours for good, do not send it again."""

    status: int = 200
    text: str = ""


class Intake(Protocol):
    """Who understands what is pushed."""

    async def take(self, platform: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Take one push in. Never raises for what the body says."""

    def prove(self, platform: str, query: Mapping[str, str]) -> Answer:
        """Answer the platform's check of the URL."""

    async def refuse(self, platform: str, code: str, reason: str, raw: bytes) -> None:
        """Keep what was refused before it was read whole."""


class Rate:
    """A bucket of requests per address."""

    def __init__(self, limits: Limits):
        self._limits = limits
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def allows(self, address: str, now: float) -> bool:
        """Whether one more request of an address is let in at `now` (monotonic seconds)."""
        most = float(self._limits.burst)
        left, since = self._buckets.pop(address, (most, now))
        left = min(most, left + (now - since) * self._limits.rate)
        self._buckets[address] = (max(left - 1, 0.0), now)
        if len(self._buckets) > self._limits.addresses:
            self._buckets.popitem(last=False)
        return left >= 1


class _TurnedAway(asyncio.Protocol):
    """A connection beyond the limit: closed without a word."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class _Connection(RequestHandler):
    """One connection; what is no HTTP at all is counted and kept instead of traced."""

    __slots__ = ("first",)

    def __init__(self, manager: web.Server, **options: Any):
        super().__init__(manager, **options)
        self.first = b""

    def data_received(self, data: bytes) -> None:
        if len(self.first) < FIRST_BYTES:
            self.first += data[: FIRST_BYTES - len(self.first)]
        super().data_received(data)

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return super().handle_error(request, status, exc, message)
        manager = self._manager
        if isinstance(manager, _Server):
            why = f"from {request.remote}: {message or exc or status}"
            manager.refuse("not_http", why, self.first)
        return _closing(Answer(status))


class _Server(web.Server):
    """Makes connections, up to the limit."""

    def __init__(self, receiver: PushReceiver):
        super().__init__(receiver.serve, request_factory=self._request)
        self.counts, self.limits, self.refuse = receiver.counts, receiver.limits, receiver.refuse
        self.ages: dict[RequestHandler, float] = {}

    def __call__(self) -> Any:
        """The protocol of a connection just accepted."""
        if len(self.ages) >= self.limits.connections:
            self.refuse("connections", "no room for one more")
            return _TurnedAway()
        connection = _Connection(
            self,
            loop=self._loop,
            access_log=None,  # it would write the secret of the path
            lingering_time=0,
        )
        self.ages[connection] = self._loop.time()
        return connection

    def sweep(self) -> None:
        """Forget connections that have gone, cut those that have lived too long."""
        old = self._loop.time() - self.limits.life_s
        for connection, since in list(self.ages.items()):
            if connection.transport is None and since < self._loop.time() - 1:
                del self.ages[connection]
            elif since < old and connection.transport is not None:
                whose = (connection.transport.get_extra_info("peername") or ("?",))[0]
                first = getattr(connection, "first", b"")
                self.refuse("slow", f"from {whose}: not done in {self.limits.life_s:g} s", first)
                connection.transport.abort()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        super().connection_lost(handler, exc)
        self.ages.pop(handler, None)

    def _request(
        self, message: Any, payload: Any, protocol: Any, writer: Any, task: Any
    ) -> BaseRequest:
        size = self.limits.body_bytes
        return BaseRequest(
            message, payload, protocol, writer, task, self._loop, client_max_size=size
        )


def _closing(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, text=answer.text)
    response.force_close()
    return response


class PushReceiver:
    """Listens for pushes.

    secrets   platform -> the secret in its path; a platform without one is not served
    proxies   how many proxies of ours stand in front (whose X-Forwarded-For is believed)
    counts    what came: "taken", and refusals by code
    """

    def __init__(
        self,
        intake: Intake,
        secrets: Mapping[str, str],
        *,
        limits: Limits | None = None,
        proxies: int = 0,
    ):
        self.intake, self.secrets, self.proxies = intake, dict(secrets), proxies
        self.limits = limits or Limits()
        self.counts: Counter[str] = Counter()
        self._rate = Rate(self.limits)
        self._kept = Allowance(KEPT, KEPT_PER_S)
        self._keeping: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Server | None = None
        self._sweeping: asyncio.Task[None] | None = None
        self._server: _Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port (useful where 0 was asked for). Raises OSError."""
        self._server = _Server(self)
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(self._server, host, port, backlog=512)
        self._sweeping = loop.create_task(self._sweep())
        bound: int = self._listening.sockets[0].getsockname()[1]
        log.info("listening for pushes", extra={"host": host, "port": bound})
        return bound

    async def stop(self) -> None:
        """Stop listening; requests under way have a second to end."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        if self._listening is not None:
            self._listening.close()
        if self._server is not None:
            await self._server.shutdown(1.0)
        if self._keeping:
            await asyncio.wait(self._keeping, timeout=1.0)
        for task in self._keeping:
            task.cancel()

    async def _sweep(self) -> None:
        while self._server is not None:
            await asyncio.sleep(min(1.0, self.limits.life_s / 4))
            self._server.sweep()

    async def serve(self, request: BaseRequest) -> web.StreamResponse:
        """Answer one request; the connection is closed after it."""
        address = self._address(request)
        if not self._rate.allows(address, asyncio.get_running_loop().time()):
            return self._refused("rate", 429, address, request)
        platform = self._platform(request)
        if platform is None:
            return self._refused("path", 404, address, request)
        if request.method == "GET":
            answer = self.intake.prove(platform, request.query)
        elif request.method == "POST":
            answer = await self._take(platform, request)
        else:
            return self._refused("method", 405, address, request)
        self.counts["taken" if answer.status < 300 else "refused"] += 1
        return _closing(answer)

    async def _take(self, platform: str, request: BaseRequest) -> Answer:
        size, most = request.content_length or 0, self.limits.body_bytes
        if size > most:
            self.counts["too_large"] += 1
            begin = await self._read(request.content.read(512))
            await self.intake.refuse(platform, "too_large", f"{size} bytes", begin or b"")
            return Answer(413)
        try:
            body = await self._read(request.read())
        except web.HTTPRequestEntityTooLarge:
            self.counts["too_large"] += 1
            await self.intake.refuse(platform, "too_large", f"more than {most} bytes", b"")
            return Answer(413)
        if body is None:
            self.counts["truncated"] += 1
            await self.intake.refuse(platform, "truncated", "the body broke off", b"")
            return Answer(408)
        return await self.intake.take(platform, body, request.headers)

    async def _read(self, reading: Any) -> bytes | None:
        """The bytes, or None where they did not come whole in time."""
        try:
            return await asyncio.wait_for(reading, self.limits.read_s)
        except (TimeoutError, ConnectionError, web.RequestPayloadError):
            return None

    def _platform(self, request: BaseRequest) -> str | None:
        """The platform whose path and secret these are; compared in constant time."""
        parts = request.path.strip("/").split("/")
        if len(parts) != 3 or parts[0] != ROOT:
            return None
        secret = self.secrets.get(parts[1], "")
        same = hmac.compare_digest(secret.encode(), parts[2].encode("utf-8", "replace"))
        return parts[1] if secret and same else None

    def _address(self, request: BaseRequest) -> str:
        """Whose request it is, through as many proxies as are ours."""
        told = request.headers.get("X-Forwarded-For", "").split(",")
        if self.proxies and len(told) >= self.proxies and told[-self.proxies].strip():
            return told[-self.proxies].strip()
        return request.remote or ""

    def _refused(self, code: str, status: int, address: str, request: BaseRequest) -> web.Response:
        self.refuse(
            code, f"{request.method} from {address}", getattr(request.protocol, "first", b"")
        )
        return _closing(Answer(status))

    def refuse(self, code: str, why: str, first: bytes = b"") -> None:
        """Count a stranger's request, or one that was never read; a sample is logged and kept,
        without the secrets that may stand in it."""
        self.counts[code] += 1
        REFUSED.labels(code).inc()
        if not self._kept.take(""):
            return
        for secret in self.secrets.values():
            first = first.replace(secret.encode(), b"***")
        log.info("push refused", extra={"code": code, "why": why})
        task = asyncio.ensure_future(self.intake.refuse("", code, why, first))
        self._keeping.add(task)
        task.add_done_callback(self._keeping.discard)
