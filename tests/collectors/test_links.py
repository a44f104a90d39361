"""Links: bytes both ways, echoes stripped, losses noticed, dead ends backed away from."""

import asyncio
import os
import socket
import termios
import tty
from contextlib import asynccontextmanager, suppress

import pytest

from collectors.links import LinkDown, SerialLink, TcpLink, link_of
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

    def test_a_wire_without_echo_gives_out_the_question_again(self):
        echo = EchoStripper("0")
        echo.expect(b"\x68\x16")
        assert echo.feed(b"\x68\x16") == b"\x68\x16"

    def test_a_wire_that_always_echoes_loses_as_many_bytes_as_were_sent(self):
        echo = EchoStripper("1")
        echo.expect(b"\x68\x20\x16")
        assert echo.feed(b"\x68\xff") == b""  # a collision has changed one
        assert echo.feed(b"\x16\xe5") == b"\xe5"
        assert echo.stripped == 1
        echo.expect(b"\x68\x20\x16")
        assert echo.feed(b"\x68") == b""
        assert echo.release() == b""


class TestNames:
    def test_a_serial_port_is_2400_8e1_unless_its_address_says_otherwise(self):
        plain = link_of("serial:///dev/ttyS0")
        assert (plain.baud, plain.bits, plain.parity, plain.stop) == (2400, 8, "E", 1)
        told = link_of("serial:///dev/ttyS0?baud=9600&parity=N&stop=2&bits=7&echo=1")
        assert (told.baud, told.bits, told.parity, told.stop) == (9600, 7, "N", 2)
        assert told.name == "serial /dev/ttyS0"

    @pytest.mark.parametrize(
        ("address", "what"),
        [
            ("serial:///dev/ttyS0?baud=2401", "baud=2401 is none of"),
            ("serial:///dev/ttyS0?parity=even", "parity=even is none of N, E, O, M, S"),
            ("serial:///dev/ttyS0?speed=2400", "no option 'speed'"),
            ("tcp://10.0.0.1:7001?baud=2400", "no option 'baud'"),
            ("tcp://10.0.0.1:7001?echo=yes", "echo=yes is none of auto, 0, 1"),
            ("tcp://10.0.0.1", "no link is called"),
        ],
    )
    def test_an_address_that_is_wrong_says_what(self, address, what):
        with pytest.raises(ValueError, match=what):
            link_of(address)


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

    async def test_a_server_that_loses_its_power_is_noticed_by_the_kernel(self, server):
        port, handle = server
        handle(lambda reader, writer: reader.read())
        link = TcpLink("127.0.0.1", port)
        await link.connect()
        wire = link._transport.get_extra_info("socket")
        assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
        assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        await link.close()

    async def test_an_echo_server_and_one_without_are_told_apart_by_the_address(self, server):
        port, handle = server

        async def mirror(reader, writer):
            writer.write(await reader.readexactly(2))
            await reader.read()

        for echo, heard in (("0", b"\x01\x02"), ("1", b"")):
            handle(mirror)
            link = link_of(f"tcp://127.0.0.1:{port}?echo={echo}")
            await link.connect()
            await link.write(b"\x01\x02")
            assert await link.read(0.3) == heard
            await link.close()


@asynccontextmanager
async def terminal(query=""):
    """A serial link over a pseudo-terminal: (the meters' end, the link, the wire's end)."""
    meter, wire = os.openpty()
    tty.setraw(meter)
    tty.setraw(wire)
    link = link_of(f"serial://{os.ttyname(wire)}?parity=N{query}")  # a terminal has no parity
    try:
        await link.connect()
        yield meter, link, wire
    finally:
        await link.close()
        await asyncio.sleep(0.05)
        os.close(meter)
        os.close(wire)


class TestSerial:
    async def test_bytes_go_both_ways_over_a_terminal(self):
        async with terminal() as (meter, link, _wire):
            await link.write(b"\x68\x16")
            await asyncio.sleep(0.05)
            assert os.read(meter, 10) == b"\x68\x16"
            os.write(meter, b"\x68\x16\xe5")
            assert await link.read(1.0) == b"\xe5"
            assert link.counters.echoes == 1

    async def test_the_port_is_set_as_the_address_says(self):
        async with terminal("&baud=9600&stop=2") as (_meter, _link, wire):
            _, _, flags, _, speed_in, speed_out, _ = termios.tcgetattr(wire)
            assert speed_in == speed_out == termios.B9600
            assert flags & termios.CSTOPB and flags & termios.CSIZE == termios.CS8
            assert not flags & termios.PARENB

    async def test_a_converter_that_garbles_its_echo_is_told_by_the_address(self):
        async with terminal("&echo=1") as (meter, link, _wire):
            await link.write(b"\x68\x20\x16")
            os.write(meter, b"\x68\xa0\x16\xe5")
            assert await link.read(1.0) == b"\xe5"

    async def test_two_links_do_not_share_a_port(self):
        async with terminal() as (_meter, link, _wire):
            second = SerialLink(link.device, parity="N")
            with pytest.raises(LinkDown, match="can not be opened"):
                await second.connect()

    async def test_a_port_that_is_pulled_out_is_down_and_comes_back(self):
        async with terminal() as (meter, link, _wire):
            os.dup2(os.open(os.devnull, os.O_RDWR), meter)  # the adapter's end goes away
            with pytest.raises(LinkDown, match="closed by the other side"):
                await link.read(2.0)
            meter_now, wire_now = os.openpty()
            tty.setraw(wire_now)
            link.device = os.ttyname(wire_now)
            await link.connect()
            assert link.is_connected
            os.close(meter_now)
            os.close(wire_now)

    async def test_a_port_that_is_not_there_is_down(self):
        link = SerialLink("/dev/ttyNONE0")
        with pytest.raises(LinkDown, match="/dev/ttyNONE0"):
            await link.connect()

    async def test_a_port_that_has_no_parity_is_down_and_no_crash(self):
        """A terminal refuses 8E1 (with some libraries it says yes, and goes on without)."""
        meter, wire = os.openpty()
        link = SerialLink(os.ttyname(wire), parity="E")
        with suppress(LinkDown):
            await link.connect()
        await link.close()
        os.close(meter)
        os.close(wire)
