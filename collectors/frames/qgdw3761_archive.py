"""Rows of a concentrator's archive (Q/GDW 376.1 AFN 04 F10) and the words of its ports. Pure.

Rates, ports and protocols are codes there; a CJ/T 188 address has a seventh byte, which stands
beside it as the four-in-one extension of 2015 has it.
"""

from __future__ import annotations

from typing import Any, Final

# Rates by their code, in port control words and in the archive (§5.5.4.10; 0 there: as set).
BAUDS: Final = (300, 600, 1200, 2400, 4800, 7200, 9600, 19200)
PARITIES: Final = {"N": 0b000, "E": 0b1000, "O": 0b1100}
# What the archive calls a protocol; what it has no name for can only be forwarded.
PROTOCOLS: Final = {"dlt645_1997": 1, "dlt645_2007": 30, "cjt188": 32}
CJT188: Final = 32
MOST_POINTS, MOST_PORTS = 2040, 31
ENERGY_DIGITS: Final = 0b1001  # six integers, two decimals
ZEROS: Final = "000000000000"
EMPTY: Final[dict[str, Any]] = {
    "point": 0, "port_rate": 0, "protocol": 0, "address": ZEROS, "password": ZEROS, "tariffs": 0,
    "digits": 0, "collector": ZEROS, "user_class": 0,
}  # fmt: skip


def port_control(baud: int, parity: str) -> int:
    """D7-D5 rate, D4 stop bits less one, D3 parity, D2 odd, D1-D0 data bits less five.

    Raises ValueError for a rate or parity that is none.
    """
    if baud not in BAUDS or parity not in PARITIES:
        raise ValueError(f"a terminal's port knows no {baud} baud, parity {parity}")
    return BAUDS.index(baud) << 5 | PARITIES[parity] | 0b11


def meter_row(
    point: int, protocol: str, address: str, meter_type: int, *,
    port: int = 2, baud: int = 2400, collector: str = "",
) -> dict[str, Any]:  # fmt: skip
    """The row of a meter; its index is its point. Raises ValueError, in Chinese, for a meter the
    archive cannot hold."""
    code = PROTOCOLS.get(protocol)
    if code is None:
        raise ValueError(f"档案没有 {protocol} 规约，此表只能透明转发抄读")
    if not 1 <= port <= MOST_PORTS or baud not in BAUDS:
        raise ValueError(f"端口 {port}、速率 {baud} 不在规约之内")
    is_cjt = code == CJT188
    low = address[2:] if is_cjt else address
    if len(low) != 12 or not low.isdecimal():
        raise ValueError(f"表地址 {address} 不是该规约的地址")
    return EMPTY | {
        "index": point,
        "point": point,
        "port_rate": BAUDS.index(baud) << 5 | port,
        "protocol": code,
        "address": low,
        "tariffs": 4,
        "digits": int(address[:2], 16) if is_cjt else ENERGY_DIGITS,
        "collector": collector.zfill(12),
        "user_class": meter_type if is_cjt else 0,
    }


def address_of(row: dict[str, Any]) -> str:
    """The whole address of a row's meter."""
    return f"{row['digits']:02X}{row['address']}" if row["protocol"] == CJT188 else row["address"]


def protocol_of(row: dict[str, Any]) -> str | None:
    """What a row's meter speaks, None where the archive's code is not known."""
    return next((name for name, code in PROTOCOLS.items() if code == row["protocol"]), None)
