"""The push port over real sockets: whatever a stranger does there has a limit."""

import asyncio
import contextlib
from contextlib import asynccontextmanager

import aiohttp
import pytest

from collectors.links.push import Answer, Limits, PushReceiver

SECRET = "s3cret-of-ctwing"


class Intake:
    """Keeps what was handed on."""

    def __init__(self):
        self.taken, self.refused, self.delay_s = [], [], 0.0

    async def take(self, platform, body, headers):
        await asyncio.sleep(self.delay_s)
        self.taken.append((platform, body))
        return Answer(200)

    def prove(self, platform, query):
        return Answer(200, query.get("msg", ""))

    async def refuse(self, platform, code, reason, raw):
        self.refused.append((platform, code, raw))


class Port:
    """A listening receiver and ways to reach it."""

    def __init__(self, receiver, intake, port, http):
        self.receiver, self.intake, self.port, self.http = receiver, intake, port, http

    def url(self, path=f"push/ctwing/{SECRET}"):
        return f"http://127.0.0.1:{self.port}/{path}"

    async def post(self, body, path=f"push/ctwing/{SECRET}", **options):
        async with self.http.post(self.url(path), data=body, **options) as answer:
            return answer.status

    async def raw(self, data, wait_s=5.0):
        """Send bytes on a bare connection; what comes back until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(data)
            await writer.drain()
            return await asyncio.wait_for(reader.read(), wait_s)
        except ConnectionError:
            return b""
        finally:
            writer.close()


@asynccontextmanager
async def listening(proxies=0, **limits):
    intake = Intake()
    receiver = PushReceiver(intake, {"ctwing": SECRET}, limits=Limits(**limits), proxies=proxies)
    port = await receiver.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as http:
        try:
            yield Port(receiver, intake, port, http)
        finally:
            await receiver.stop()


async def test_a_push_to_the_platforms_secret_path_is_taken():
    async with listening() as port:
        assert await port.post(b'{"a": 1}') == 200
        assert port.intake.taken == [("ctwing", b'{"a": 1}')]


@pytest.mark.parametrize(
    "path",
    [
        "push/ctwing/wrong",
        "push/ctwing/",
        "push/ctwing",
        "push/onenet/",
        f"push/onenet/{SECRET}",
        f"push/ctwing/{SECRET}/more",
        f"other/ctwing/{SECRET}",
        "",
        "push/ctwing/%F0%9F%94%A5",
        "push/ctwing/%FF",
    ],
)
async def test_any_other_path_is_not_found(path):
    async with listening() as port:
        assert await port.post(b"{}", path) == 404
        assert port.intake.taken == []
        assert port.receiver.counts["path"] == 1


async def test_other_methods_are_refused():
    async with listening() as port, port.http.put(port.url(), data=b"{}") as answer:
        assert answer.status == 405


async def test_the_check_of_a_url_is_answered():
    async with listening() as port, port.http.get(port.url(), params={"msg": "hi"}) as answer:
        assert (answer.status, await answer.text()) == (200, "hi")


async def test_a_body_that_is_too_large_is_refused_with_its_beginning_kept():
    async with listening(body_bytes=1000) as port:
        assert await port.post(b"x" * 1001) == 413
        assert port.intake.refused == [("ctwing", "too_large", b"x" * 512)]
        assert await port.post(b"x" * 1000) == 200


async def test_a_body_that_never_says_its_size_is_cut_off_too():
    async def endless():
        while True:
            yield b"y" * 500
            await asyncio.sleep(0)

    async with listening(body_bytes=1000) as port:
        # The connection may be closed before the client has read the answer.
        with contextlib.suppress(aiohttp.ClientError):
            assert await port.post(endless()) == 413
        assert port.receiver.counts["too_large"] == 1
        assert port.intake.taken == []


async def test_a_packed_body_that_unpacks_beyond_the_limit_is_refused():
    async with listening(body_bytes=10_000) as port:
        assert await port.post(b"z" * 1_000_000, compress="gzip") == 413
        assert port.intake.taken == []


async def test_a_body_that_breaks_off_is_never_taken():
    head = f"POST /push/ctwing/{SECRET} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    async with listening(read_s=0.2) as port:
        assert b" 408 " in await port.raw(head.encode() + b"half")
        _, writer = await asyncio.open_connection("127.0.0.1", port.port)
        writer.write(head.encode() + b"half")
        await writer.drain()
        writer.close()
        for _ in range(100):
            if port.receiver.counts["truncated"] == 2:
                break
            await asyncio.sleep(0.02)
        assert port.receiver.counts["truncated"] == 2
        assert port.intake.taken == []


async def test_a_connection_that_dawdles_over_its_head_is_cut():
    async with listening(life_s=0.4) as port:
        assert await port.raw(b"POST /push/ct") == b""
        assert port.receiver.counts["slow"] == 1
        assert await port.post(b"{}") == 200


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00\x01\x02\xff" * 50 + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_counted_and_closed(noise):
    async with listening() as port:
        answer = await port.raw(noise)
        assert answer == b"" or b" 400 " in answer
        assert port.receiver.counts["not_http"] == 1
        assert await port.post(b"{}") == 200


async def test_an_address_that_sends_too_often_is_held_back():
    async with listening(rate=1.0, burst=5) as port:
        statuses = [await port.post(b"{}") for _ in range(8)]
        assert statuses == [200] * 5 + [429] * 3


async def test_behind_a_proxy_of_ours_each_client_has_a_rate_of_its_own():
    async with listening(proxies=1, rate=1.0, burst=1) as port:
        first, second = {"X-Forwarded-For": "1.1.1.1, 2.2.2.2"}, {"X-Forwarded-For": "3.3.3.3"}
        assert await port.post(b"{}", headers=first) == 200
        assert await port.post(b"{}", headers=second) == 200
        forged = {"X-Forwarded-For": "9.9.9.9, 2.2.2.2"}
        assert await port.post(b"{}", headers=forged) == 429


async def test_without_a_proxy_a_forwarded_address_is_not_believed():
    async with listening(rate=1.0, burst=1) as port:
        assert await port.post(b"{}", headers={"X-Forwarded-For": "1.1.1.1"}) == 200
        assert await port.post(b"{}", headers={"X-Forwarded-For": "2.2.2.2"}) == 429


async def test_connections_beyond_the_limit_are_turned_away_and_room_comes_back():
    async with listening(connections=3, life_s=30) as port:
        held = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(3)]
        await asyncio.sleep(0.05)
        with pytest.raises(aiohttp.ClientError):
            await port.post(b"{}")
        assert port.receiver.counts["connections"] >= 1
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        await asyncio.sleep(0.05)
        assert await port.post(b"{}") == 200


async def test_the_rate_remembers_no_more_addresses_than_it_may():
    async with listening(proxies=1, addresses=10) as port:
        for i in range(30):
            await port.post(b"{}", headers={"X-Forwarded-For": f"10.0.0.{i}"})
        assert len(port.receiver._rate._buckets) == 10


async def test_what_strangers_sent_is_kept_without_our_secrets():
    async with listening(life_s=0.4) as port:
        await port.post(b"{}", path="push/ctwing/guessed")
        await port.raw(b"\x68\x10\xaa\xaa not http at all\r\n\r\n")
        await port.raw(f"DELETE /push/ctwing/{SECRET} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        await port.raw(b"GET /slo")  # and never a word more
        await asyncio.sleep(0.2)
        kept = {code: raw for _, code, raw in port.intake.refused}
    assert set(kept) == {"path", "not_http", "method", "slow"}
    assert kept["path"].startswith(b"POST /push/ctwing/guessed ")
    assert b"\x68\x10\xaa\xaa not http" in kept["not_http"]
    assert kept["method"].startswith(b"DELETE /push/ctwing/*** HTTP/1.1")
    assert kept["slow"] == b"GET /slo"


async def test_of_a_flood_of_refusals_a_sample_is_kept_and_all_are_counted():
    async with listening(burst=10_000) as port:
        for _ in range(300):
            await port.raw(b"\x00\r\n\r\n")
        await asyncio.sleep(0.1)
        assert port.receiver.counts["not_http"] == 300
        assert 100 <= len(port.intake.refused) < 110


@pytest.mark.parametrize(
    "head",
    [
        b"X-Long: " + b"a" * 100_000,
        b"\r\n".join(b"X-%d: %s" % (n, b"a" * 1000) for n in range(2000)),
        b"X-Bad\x00Name: 1",
        b"Content-Length: -5",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked",
        b"Content-Length: " + b"9" * 5000,
    ],
    ids=["long", "many", "name", "negative", "two-lengths", "endless"],
)
async def test_heads_that_are_too_much_or_wrong_are_refused_and_the_next_push_taken(head):
    async with listening(read_s=0.5) as port:
        request = b"POST /push/ctwing/" + SECRET.encode() + b" HTTP/1.1\r\nHost: x\r\n"
        answer = await port.raw(request + head + b"\r\n\r\n{}")
        assert not answer.startswith(b"HTTP/1.1 2")
        assert port.intake.taken == []
        assert await port.post(b"good") == 200
        assert port.intake.taken == [("ctwing", b"good")]


async def test_slow_senders_hold_up_nobody_else():
    """Two hundred connections that drip a byte at a time, and pushes between them."""
    async with listening(life_s=2.0, connections=250, burst=10_000) as port:
        request = b"POST /push/ctwing/" + SECRET.encode() + b" HTTP/1.1\r\nHost: x\r\n"
        drips = [await asyncio.open_connection("127.0.0.1", port.port) for _ in range(200)]
        for _, writer in drips:
            writer.write(request[:20])
        statuses = [await port.post(b"%d" % n) for n in range(20)]
        for at in range(20, 26):
            for _, writer in drips:
                writer.write(request[at : at + 1])
            await asyncio.sleep(0.05)
        assert statuses == [200] * 20
        ended = await asyncio.gather(
            *(asyncio.wait_for(r.read(), 10) for r, _ in drips), return_exceptions=True
        )
        assert not any(isinstance(one, TimeoutError) for one in ended)
        assert port.receiver.counts["slow"] == 200
        for _, writer in drips:
            writer.close()
