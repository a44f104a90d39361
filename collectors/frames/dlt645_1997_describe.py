"""DL/T 645-1997 frames as plain JSON-able objects and as rows for an installer."""

from __future__ import annotations

from typing import Any

from collectors.frames import dlt645_1997
from collectors.frames.dlt645_describe import Row, describe_with, explain_with


def describe(row: dict[str, Any]) -> dict[str, Any]:
    """One input row as {"frame": {...}, "values": {...}}; see `dlt645_describe.describe`."""
    return describe_with(dlt645_1997.decode, row)


def explain(data: bytes) -> list[Row]:
    """Rows (中文, English term, value) for a table; raises FrameError like describe."""
    return explain_with(dlt645_1997.decode, data)
