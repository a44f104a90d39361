"""One JSON line in, one out: the kinds `nuan compute` knows, and the refusal of the rest."""

import json
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from backend.compute import heat, tariffs
from backend.compute.doors import BadInput, Json, as_object, as_text, needed

KINDS: dict[str, Callable[[Json], dict[str, Any]]] = {
    "series": heat.series,
    "timestamped": heat.timestamped,
    "scalar": heat.scalar,
    "largest_remainder": heat.rounded,
    "split_cost": heat.cost_split,
    "identify": heat.identify_flats,
    "heat_bill": tariffs.heat_bill,
    "meter": tariffs.meter,
    "tiered": tariffs.tiered,
    "split_over_periods": tariffs.periods,
    "components": tariffs.price_components,
    "tou": tariffs.time_of_use,
    "late_fee": tariffs.late_fee,
    "prepaid": tariffs.prepaid_account,
}


def answer(line: bytes) -> str:
    """The answer to one line, as a JSON line without its end (ASCII); never raises."""
    name = None
    try:
        request, strange = _parse(line)
        name = as_object(request, "the line").get("id")
        if strange:
            raise BadInput(f"{strange[0]} is not a number: a missing value is null")
        result: dict[str, Any] = {"id": name, "result": _result(as_object(request, "the line"))}
    # The stream must go on whatever a line holds, so this is the one place that catches all.
    except Exception as error:
        result = {"id": name, "error": str(error) or type(error).__name__}
    # Escaped: half a surrogate pair, which JSON allows, could not be written as UTF-8.
    return json.dumps(result, default=str)


def _result(request: Json) -> dict[str, Any]:
    kind = needed(request, "kind", as_text)
    if kind not in KINDS:
        raise BadInput(f"kind {kind!r} is none of {', '.join(KINDS)}")
    return KINDS[kind](needed(request, "input", as_object))


def _parse(line: bytes) -> tuple[object, list[str]]:
    """What the line says, and the NaN and Infinity in it: refused, but by the line's id."""
    strange: list[str] = []
    try:
        text = line.decode()
        said = json.loads(text, parse_float=Decimal, parse_constant=strange.append)
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise BadInput("the line is not JSON in UTF-8") from error
    return said, strange
