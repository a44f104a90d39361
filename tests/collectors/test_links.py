"""Links: bytes both ways, echoes stripped, losses noticed, dead ends backed away from."""

import asyncio
import os
import tty

import pytest

from collectors.links import LinkDown, SerialLink, TcpLink
from collectors.links.echo import EchoStripper


@pytest.fixture
async def server():
    """A TCP server whose handler is set by the test; yields (port, set_handler)."""
    handlers = []

    async def serve(reader, writer):
        try:
            await handlers[-1](reader, writer)
        finally:
            writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    yield running.sockets[0].getsockname()[1], handlers.append
    running.close()
    await running.wait_closed()


class TestEchoStripper:
    def test_a_whole_copy_is_dropped_and_what_follows_is_kept(self):
        echo = EchoStripper()
        echo.expect(b"\x68\x01\x16")
        assert echo.feed(b"\x68\x01") == b""
        assert echo.feed(b"\x16\x99") == b"\x99"
        assert echo.stripped == 1

    def test_an_answer_that_begins_like_the_question_is_kept_whole(self):
        echo = EchoStripper()
        echo.expect(b"\x68\x20\x01\x16")
        assert echo.feed(b"\x68\x20") == b""
        assert echo.feed(b"\x81\x16") == b"\x68\x20\x81\x16"
        assert echo.stripped == 0

    def test_only_the_first_copy_is_an_echo(self):
        echo = EchoStripper()
        echo.expect(b"\x68\x16")
        assert echo.feed(b"\x68\x16\x68\x16") == b"\x68\x16"
        assert echo.feed(b"\x68\x16") == b"\x68\x16"

    def test_a_copy_that_breaks_off_is_given_out(self):
        echo = EchoStripper()
        echo.expect(b"\x68\x16")
        assert echo.feed(b"\x68") == b""
        assert echo.release() == b"\x68"


class TestTcp:
    async def test_bytes_go_both_ways_and_are_counted(self, server):
        port, handle = server

        async def double(reader, writer):
            writer.write(await reader.readexactly(2) * 2)
            await reader.read()

        handle(double)
        link = TcpLink("127.0.0.1", port)
        await link.connect()
        await link.write(b"\x01\x02")
        assert await link.read(1.0) == b"\x01\x02"  # the first copy was the echo
        counters = link.counters
        assert (counters.bytes_out, counters.bytes_in, counters.echoes) == (2, 4, 1)
        await link.close()

    async def test_nothing_in_time_is_no_bytes(self, server):
        port, handle = server
        handle(lambda reader, writer: reader.read())
        link = TcpLink("127.0.0.1", port)
        await link.connect()
        assert await link.read(0.02) == b""
        await link.close()

    async def test_what_came_unasked_can_be_forgotten(self, server):
        port, handle = server

        async def babble(reader, writer):
            writer.write(b"\x55" * 5)
            await reader.read()

        handle(babble)
        link = TcpLink("127.0.0.1", port)
        await link.connect()
        await asyncio.sleep(0.05)
        assert link.discard() == 5
        await link.close()

    async def test_a_babbling_line_does_not_fill_the_memory(self, server):
        port, handle = server

        async def babble(reader, writer):
            writer.write(b"\x55" * 300_000)
            await reader.read()

        handle(babble)
        link = TcpLink("127.0.0.1", port)
        await link.connect()
        while link.counters.bytes_in < 300_000:
            await asyncio.sleep(0.01)
        assert link.discard() <= 64 * 1024
        await link.close()

    async def test_the_other_sides_hanging_up_is_noticed(self, server):
        port, handle = server

        async def hang_up(reader, writer):
            writer.write(b"\x01")
            await writer.drain()

        handle(hang_up)
        link = TcpLink("127.0.0.1", port)
        await link.connect()
        assert await link.read(1.0) == b"\x01"
        with pytest.raises(LinkDown, match="closed by the other side"):
            await link.read(1.0)
        assert link.counters.disconnects == 1
        with pytest.raises(LinkDown):
            await link.write(b"\x01")

    async def test_it_can_be_closed_and_connected_again(self, server):
        port, handle = server
        handle(lambda reader, writer: reader.read())
        link = TcpLink("127.0.0.1", port)
        for _ in range(2):
            await link.connect()
            assert link.is_connected
            await link.close()
            assert not link.is_connected
        assert (link.counters.connects, link.counters.disconnects) == (2, 0)

    async def test_a_dead_port_is_refused_at_once_while_backing_off(self, unused_tcp_port):
        link = TcpLink("127.0.0.1", unused_tcp_port)
        with pytest.raises(LinkDown, match="can not be opened"):
            await link.connect()
        with pytest.raises(LinkDown, match=r"next try in 0\.\d s"):
            await link.connect()
        assert link.counters.connect_failures == 1
        await asyncio.sleep(0.55)
        with pytest.raises(LinkDown, match="can not be opened"):
            await link.connect()
        with pytest.raises(LinkDown, match=r"next try in [01]\.\d s"):
            await link.connect()


class TestSerial:
    async def test_bytes_go_both_ways_over_a_terminal(self):
        meter, wire = os.openpty()
        tty.setraw(meter)
        tty.setraw(wire)
        link = SerialLink(os.ttyname(wire), parity="N")
        try:
            await link.connect()
            await link.write(b"\x68\x16")
            await asyncio.sleep(0.05)
            assert os.read(meter, 10) == b"\x68\x16"
            os.write(meter, b"\x68\x16\xe5")
            assert await link.read(1.0) == b"\xe5"
            assert link.counters.echoes == 1
        finally:
            await link.close()
            await asyncio.sleep(0.05)
            os.close(meter)
            os.close(wire)

    async def test_a_port_that_is_not_there_is_down(self):
        link = SerialLink("/dev/ttyNONE0")
        with pytest.raises(LinkDown, match="/dev/ttyNONE0"):
            await link.connect()
