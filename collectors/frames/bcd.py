"""Packed BCD, low byte first, and the modulo-256 checksum the Chinese and European buses share."""

from __future__ import annotations

from collectors.frames.errors import FrameError


def bcd_to_int(data: bytes, *, at: int = 0) -> int:
    """Read little-endian packed BCD, two digits a byte, as an unsigned integer.

    `at` is where `data` starts in the caller's buffer, so that the error names the right byte.
    Raises FrameError (code "not_bcd") at the first byte holding a digit above 9; `EE` and `FF`
    fill values are such bytes and are refused like any other.
    """
    digits = bytes(data)[::-1].hex()
    if digits.isdecimal():
        return int(digits)
    if not digits:
        raise FrameError("no BCD digits", at=at, code="length")
    bad = next(i for i, byte in enumerate(data) if byte >> 4 > 9 or byte & 0x0F > 9)
    raise FrameError(f"{data[bad]:02X} is not two decimal digits", at=at + bad, code="not_bcd")


def int_to_bcd(value: int, length: int) -> bytes:
    """Write a non-negative integer as `length` bytes of little-endian packed BCD.

    Raises ValueError where the value is negative or has more than 2 * length digits.
    """
    if value < 0 or value >= 100**length:
        raise ValueError(f"{value} does not fit {length} bytes of BCD")
    return bytes.fromhex(f"{value:0{2 * length}d}")[::-1]


def checksum(data: bytes | bytearray | memoryview) -> int:
    """Sum of all bytes modulo 256 (EN 13757-2 §5.3, CJ/T 188 §5.3.8, DL/T 645 §5.2.8)."""
    return sum(data) & 0xFF
