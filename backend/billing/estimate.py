"""What the season has cost so far, before any bill: an estimate a household may watch grow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from backend.billing.lines import total_fen
from backend.billing.pricing import Facts, price


@dataclass(frozen=True, slots=True)
class Estimate:
    """Fen, and the sentence that says how it was reckoned."""

    cost_fen: int
    note: str


def season_so_far(kind: str | None, params: Mapping[str, Any], facts: Facts) -> Estimate:
    """Price the season's heat so far by the tariff in force; 0 and the reason without one."""
    if kind is None:
        return Estimate(0, "暂无适用的热价，暂不估算。")
    try:
        cost_fen = total_fen(price(kind, params, facts))
    except (KeyError, ValueError):
        return Estimate(0, "当前热价不能按日估算，请以账单为准。")
    return Estimate(cost_fen, f"暂估：{_how(kind)}，以正式账单为准。")


def _how(kind: str) -> str:
    if kind == "two_part":
        return "基本热费按已过天数，计量热费按已用热量"
    return "面积热费按已过天数" if kind == "area" else "按已用热量"
