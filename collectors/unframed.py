"""Bytes of a meter that platforms carry without the frame of its wire, put back into one.

LoRa and NB-IoT modules of M-Bus meters often send the application data alone: what stands between
the address and the checksum on a wire. Radio has its own checksum, so nothing is lost by it.
"""

from __future__ import annotations

from typing import Final

from collectors.frames.mbus_encode import encode_long

RSP_UD: Final = 0x08
NO_HEADER: Final = 0x78  # records from the first byte on
# What a meter's `options.payload` may say. "": frames as on the wire.
FRAMES, MBUS_DATA, MBUS_RECORDS = "", "mbus_data", "mbus_records"


def framed(packing: str, payload: bytes) -> bytes:
    """The payload as frames: `mbus_data` begins with its CI, `mbus_records` with its first record.

    Raises ValueError for a packing there is none of, or more than a frame can hold.
    """
    if packing == FRAMES:
        return payload
    if packing not in (MBUS_DATA, MBUS_RECORDS):
        raise ValueError(f"no packing is called {packing!r}: {MBUS_DATA}, {MBUS_RECORDS}")
    if packing == MBUS_RECORDS:
        return encode_long(RSP_UD, 0, NO_HEADER, payload)
    return encode_long(RSP_UD, 0, payload[0], payload[1:])
