"""The cap on a metered household's monthly bills, for the time being; the season settles it.  Pure.

A price in two parts may cap the season's fee at `cap_ratio` of the area fee.  Settled only at the
end, a cold January is paid in full and given back in April; `monthly_cap` looks at the season so
far on every bill:

- `season`: what has been billed never passes the whole season's cap, so nothing is ever to be
  given back for the cap's sake; once it is reached, bills are 0 until the settlement;
- `by_days`: it never passes the cap's part for the days so far; what one month was relieved of, a
  later mild month makes up, as far as its own days leave room.

Either way the bills together are the lesser of fee and cap so far, so the settlement comes out the
same as without.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from backend.base.exact import exact, plain
from backend.base.money import fen_of, yuan_str
from backend.billing.lines import Line, adjusted, total_fen

SEASON, BY_DAYS = "season", "by_days"
KINDS = (SEASON, BY_DAYS)
CODE = "cap_so_far"


@dataclass(frozen=True, slots=True)
class SoFar:
    """The season's bills before this one: their fee uncapped, what they came to, their days."""

    fee_fen: int = 0
    billed_fen: int = 0
    days: int = 0


NOTHING_YET = SoFar()


def capped(
    lines: Sequence[Line], params: Mapping[str, Any], area_m2: Decimal, days: int, before: SoFar
) -> list[Line]:
    """`lines`, with one that brings the season so far to the lesser of its fee and its cap."""
    fee_fen = before.fee_fen + total_fen(lines)
    days_so_far = before.days + days
    most_fen, said = _most(params, area_m2, days_so_far)
    due_fen = max(0, min(fee_fen, most_fen) - before.billed_fen)
    change_fen = due_fen - total_fen(lines)
    if not change_fen:
        return list(lines)
    what = f"{'减免' if change_fen < 0 else '补收'} {yuan_str(abs(change_fen))} 元"
    sentence = (
        f"本季至今 {days_so_far} 天，两部制热费合计 {yuan_str(fee_fen)} 元，{said}"
        f"；此前已出账 {yuan_str(before.billed_fen)} 元，本期暂{what}，采暖季结束统一结算"
    )
    detail = {"fee_fen": fee_fen, "cap_fen": most_fen, "explain_zh": sentence}
    return [*lines, adjusted(CODE, "封顶（暂计）", change_fen, **detail)]


def _most(params: Mapping[str, Any], area_m2: Decimal, days: int) -> tuple[int, str]:
    """The most the season so far may come to, and the sentence."""
    area, price = exact(area_m2), exact(Decimal(params["area_price"]))
    ratio, season_days = exact(Decimal(params["cap_ratio"])), int(params["season_days"])
    most = area * price * ratio
    formula = f"{plain(area)} 平方米 × {plain(price)} 元/平方米 × {plain(ratio * 100)}%"
    if params["monthly_cap"] == BY_DAYS:
        most = most * min(days, season_days) / season_days
        formula += f" × {min(days, season_days)}/{season_days} 天"
    most_fen = fen_of(most)
    return most_fen, f"封顶额 {yuan_str(most_fen)} 元（{formula}）"
