"""One Q/GDW 376.1 terminal spoken to: a request, and its answer of one or several frames.

A terminal is a slow thing behind a mobile network: its answer is known by address, direction and
sequence number, so one that comes after its time is never taken for the next one's.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from typing import Final, TypeVar

from collectors.dialects import REFUSED
from collectors.frames import FrameError, qgdw3761
from collectors.frames.qgdw3761 import Message
from collectors.frames.qgdw3761_encode import Address, Unit, encode_request
from collectors.frames.qgdw3761_series import Answer
from collectors.frames.qgdw3761_tables import FORWARD, PASSWORD_SIZE
from collectors.links.concentrator import ConcentratorLink, parse_id
from collectors.links.link import LinkDown
from collectors.session import GARBLED, SILENT

T = TypeVar("T")

MASTER: Final = 0x02  # A3 of what a master begins: station 1, no group address


class NoAnswer(Exception):
    """A terminal did not answer, or said no: a code like a Failed's reason, and what it sent."""

    def __init__(self, code: str, reason: str, raw: bytes = b""):
        super().__init__(reason)
        self.code, self.raw = code, raw


class Terminal:
    """Requests to one terminal, one at a time; who calls sees to that.

    password    PW of orders (§4.3.4.5), None: zeros, which terminals without authentication take
    timeout_s   how long a frame of an answer is waited for
    retries     further attempts for what may be asked twice
    """

    def __init__(
        self,
        link: ConcentratorLink,
        *,
        timeout_s: float = 10.0,
        retries: int = 2,
        password: bytes | None = None,
    ):
        self.link, self.timeout_s = link, timeout_s
        self._retries, self._password = retries, password
        self._a1, self._a2 = parse_id(link.device_id)
        self._number = 0

    async def ask(
        self, afn: int, units: Iterable[Unit], *, confirm: bool = False, retries: int | None = None
    ) -> Answer:
        """The whole answer. Raises NoAnswer (silent, refused, not_supported) and LinkDown."""
        units = list(units)
        tries = 1 + (self._retries if retries is None else retries)
        for left in reversed(range(tries)):
            try:
                answer = await self.begin(afn, units, confirm=confirm)
                whole = await self.hear(answer, self.timeout_s)
            except LinkDown:
                # A terminal that dials again in mid-conversation is asked once more.
                if not left or tries - left > 1:
                    raise
                continue
            if whole and answer.is_denied:
                raise NoAnswer(REFUSED, "the terminal says no", answer.raw)
            if whole:
                return answer
        if answer.frames:
            raise NoAnswer(GARBLED, "the answer has no end", answer.raw)
        raise NoAnswer(SILENT, "the terminal does not answer")

    async def begin(self, afn: int, units: Iterable[Unit], *, confirm: bool = False) -> Answer:
        """Send a request, and what its answer will be put together in. Raises LinkDown, and
        NoAnswer (not_supported) for what fits no frame."""
        await self.link.connect()
        self._number = (self._number + 1) & 0x0F
        try:
            frame = encode_request(
                Address(self._a1, self._a2, MASTER),
                afn,
                units,
                number=self._number,
                password=self._pw(),
                confirm=confirm,
                version=self.link.version,
            )
        except ValueError as error:  # the edition the terminal speaks has no such thing
            raise NoAnswer("not_supported", str(error)) from error
        request, _ = qgdw3761.decode(frame)
        assert request is not None
        self.link.discard()
        await self.link.write(frame)
        return Answer(request)

    def _pw(self) -> bytes | None:
        """The password, where the terminal's standard has one of its size."""
        size = PASSWORD_SIZE[self.link.version]
        return self._password if self._password and len(self._password) == size else None

    async def hear(self, answer: Answer, timeout_s: float) -> bool:
        """Wait for the rest of an answer, timeout_s for each frame; whether it is whole.

        Frames that want a confirmation get one; frames of earlier answers are passed over."""
        now = asyncio.get_running_loop().time
        deadline = now() + timeout_s
        while not answer.is_whole:
            left = deadline - now()
            chunk = await self.link.read(left) if left > 0 else b""
            if not chunk:
                return False
            for message in _messages(chunk):
                if answer.add(message):
                    deadline = now() + timeout_s
                    if message.wants_confirm:
                        self.link.confirm(message)
        return True


def in_parts(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of at most `size`, in order: as much as one question may hold."""
    rest = iter(things)
    while part := list(islice(rest, size)):
        yield part


def _messages(chunk: bytes) -> list[Message]:
    """The frames in what a link has read, which are whole and good."""
    found = []
    while chunk:
        try:
            message, consumed = qgdw3761.decode(chunk)
        except FrameError as error:  # cut from the front by the link's limit
            chunk = chunk[error.consumed :]
            continue
        if message is None:
            break
        found.append(message)
        chunk = chunk[consumed:]
    return found


class ForwardLink:
    """A `Link` to the meters on one port of a terminal: their frames go through it (AFN 10 F1).

    Nothing comes unasked and there is no echo; a terminal that says no is a meter that is silent.
    """

    def __init__(self, terminal: Terminal, port: int, port_control: int, *, meter_s: int = 10):
        self.counters = terminal.link.counters
        self._terminal, self._port, self._control = terminal, port, port_control
        self._meter_s = min(max(meter_s, 1), 0x7F)
        self._answer: Answer | None = None

    async def connect(self) -> None:
        """Wait for the terminal to be there. Raises LinkDown."""
        await self._terminal.link.connect()

    async def write(self, data: bytes) -> None:
        """Hand a meter's frame to the terminal. Raises LinkDown."""
        values = {
            "port": self._port,
            "port_control": self._control,
            "timeout": 0x80 | self._meter_s,
            "byte_timeout_10ms": 10,
            "inner": data,
        }
        with suppress(NoAnswer):  # longer than any frame: nobody answers
            self._answer = await self._terminal.begin(FORWARD, [(0, 1, values)])

    async def read(self, timeout_s: float) -> bytes:
        """What the meter said; b"" where it said nothing. Raises LinkDown.

        timeout_s is not waited: the terminal gives its meter meter_s and says when that is over.
        """
        answer, self._answer = self._answer, None
        if answer is None or not await self._terminal.hear(answer, self._wait_s):
            return b""
        return b"".join(
            item.values["inner"]
            for item in answer.items
            if item.fn == 1 and item.values and "inner" in item.values
        )

    @property
    def _wait_s(self) -> float:
        return self._terminal.timeout_s + self._meter_s

    def discard(self) -> int:
        """Nothing waits here."""
        self._answer = None
        return 0

    async def close(self) -> None:
        """The terminal is not this link's to hang up on."""
