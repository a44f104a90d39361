"""Addresses by their digits: ranges, and patterns taken apart a byte at a time."""

from __future__ import annotations

from typing import Final

WILD: Final = "AA"
MAX_RANGE: Final = 2000  # addresses a job asks one by one


def spread(first: str, last: str, size: int) -> list[str]:
    """The decimal addresses from `first` to `last`, of `size` digits each.

    Raises ValueError for anything else, and for more than MAX_RANGE.
    """
    for address in (first, last):
        if len(address) != size or not (address.isascii() and address.isdecimal()):
            raise ValueError(f"an address of this protocol has {size} digits, not {address!r}")
    count = int(last) - int(first) + 1
    if not 1 <= count <= MAX_RANGE:
        raise ValueError(f"{count} addresses; a range has 1 to {MAX_RANGE}")
    return [f"{int(first) + n:0{size}d}" for n in range(count)]


def low_bytes(pattern: str) -> list[str]:
    """The pattern with its lowest wild byte filled in each way; none where no byte is wild.

    Wild bytes stand before those given: AAAAAA12 becomes AAAA0012 to AAAA9912.
    """
    end = pattern.rfind(WILD)
    if end < 0:
        return []
    return [f"{pattern[:end]}{n:02d}{pattern[end + 2 :]}" for n in range(100)]
