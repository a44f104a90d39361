"""异常读数: readings with a flag, what each means, and what to do about it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from flask import Blueprint, render_template, request

from backend.base.errors import Problem
from backend.console.sessions import now
from backend.metering import anomalies
from backend.people import access

# Registers as they stand on the display: kWh, cubic metres.
UNITS = {"heat": "kWh", "electricity": "kWh", "water": "m³", "gas": "m³", "hot_water": "m³"}
MAX_SHOWN_BYTES = 128


def register(blueprint: Blueprint) -> None:
    """The page."""
    blueprint.add_url_rule("/anomalies", "anomalies", anomaly_list)


@access.allow("operator", "manager")
def anomaly_list() -> str:
    """The newest of each meter and flag; `?flag=` one of the flags, `?page=` from 1 on."""
    flag = request.args.get("flag") or None
    if flag is not None and flag not in anomalies.FLAGS:
        raise Problem("not_found")
    found = anomalies.recent(now(), flag, _page())
    return render_template(
        "console/anomalies.html",
        found=found,
        flags=anomalies.FLAGS,
        days=anomalies.LOOK_BACK.days,
        value_of=value_of,
        hex_of=hex_of,
        shown=shown,
        now=now(),
    )


def _page() -> int:
    text = request.args.get("page", "1")
    if not (text.isascii() and text.isdigit() and 1 <= int(text[:9]) <= anomalies.MAX_PAGE):
        raise Problem("validation", "页码不对。", field="page")
    return int(text)


def value_of(row: Any) -> str:
    """What the reading said: its register, else its temperatures, else why it was refused."""
    if row.register is not None:
        return shown(row.register, row.kind)
    temperatures = (("供", row.supply_cdeg), ("回", row.return_cdeg), ("室", row.room_cdeg))
    said = [f"{name} {Decimal(c).scaleb(-2)} °C" for name, c in temperatures if c is not None]
    return "，".join(said) or row.reason or "–"


def shown(register: int | None, kind: str | None) -> str:
    """A register in the unit on its meter's display."""
    if register is None:
        return "–"
    unit = UNITS.get(kind or "")
    return f"{Decimal(register).scaleb(-3):,f} {unit}" if unit else f"{register:,}"


def hex_of(frame: bytes | None) -> str:
    """A frame as pairs of hex digits, a long one cut."""
    if not frame:
        return ""
    text = bytes(frame[:MAX_SHOWN_BYTES]).hex(" ").upper()
    return text + " …" if len(frame) > MAX_SHOWN_BYTES else text
