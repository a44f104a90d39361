"""Bytes <-> values, and nothing else: no sockets, no clock, no database.

Every codec in this package offers

    decode(buffer: bytes | bytearray | memoryview) -> tuple[Message | None, int]

It finds the first frame in `buffer`, skipping preambles and noise byte by byte, and returns the
message with the number of bytes to drop from the front of the buffer. `(None, consumed)` means
that more bytes are needed; it never waits for more than one frame of that protocol can hold.
A candidate that is provably bad raises `FrameError`, whose `consumed` says how many bytes to drop
so that the next call resynchronises.
"""

from collectors.frames.errors import FrameError

__all__ = ["FrameError"]
