"""How each protocol asks a meter, and what counts as the answer.

A dialect turns a target into steps. A step is bytes to send and a judge: shown every good frame
that comes back, it says whether this is the answer, and if not, why not. The session does the
rest: timeouts, retries, resynchronisation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from collectors.dialects.base import (
    ANSWERED,
    BAD_TARGET,
    LOCAL,
    NO_CREDENTIALS,
    NO_FREEZE,
    NO_SUPPLY,
    OWN,
    REFUSED,
    UNREADABLE,
    WRONG_ADDRESS,
    WRONG_ANSWER,
    CannotAsk,
    Dialect,
    Errand,
    Freeze,
    Hearing,
    Meaning,
    Memory,
    Point,
    Step,
    Target,
)
from collectors.dialects.cjt188 import CjtDialect, valve_is_open
from collectors.dialects.dlt645 import Dlt645Dialect, relay_is_closed
from collectors.dialects.mbus import MbusDialect
from collectors.dialects.modbus import ModbusDialect

if TYPE_CHECKING:
    from collectors.session import Read

__all__ = [
    "ANSWERED",
    "BAD_TARGET",
    "LOCAL",
    "NO_CREDENTIALS",
    "NO_FREEZE",
    "NO_SUPPLY",
    "OWN",
    "REFUSED",
    "UNREADABLE",
    "WRONG_ADDRESS",
    "WRONG_ANSWER",
    "CannotAsk",
    "Dialect",
    "Errand",
    "Freeze",
    "Hearing",
    "Meaning",
    "Memory",
    "Point",
    "Step",
    "Target",
    "dialect_for",
    "judge_unasked",
    "reading_step",
    "supply_is_open",
]

_DIALECTS: Final[dict[str, Callable[[Target, Memory], Dialect]]] = {
    "cjt188": CjtDialect,
    "dlt645_1997": Dlt645Dialect,
    "dlt645_2007": Dlt645Dialect,
    "mbus": MbusDialect,
    "modbus": ModbusDialect,
    "modbus_tcp": ModbusDialect,
}
# How a status shows whether water, gas, heat or power can flow.
_SUPPLIES: Final[dict[str, Callable[[bytes], bool | None]]] = {
    "cjt188": valve_is_open,
    "dlt645_2007": relay_is_closed,
}


def dialect_for(target: Target, memory: Memory | None = None) -> Dialect:
    """The dialect of a target's protocol, remembering its meters in `memory`. Raises ValueError
    where there is none, or no such profile."""
    made = _DIALECTS.get(target.protocol)
    if made is None:
        raise ValueError(f"no protocol is called {target.protocol!r}")
    return made(target, {} if memory is None else memory)


def judge_unasked(dialect: Dialect, target: Target, message: Any, now: datetime) -> str:
    """The verdict on a frame nobody asked for: ANSWERED where it is what a question for the
    target's values would have brought. Raises ValueError as `steps` does."""
    judge = reading_step(dialect.steps(target, now)).judge
    return judge(message) if judge else WRONG_ANSWER


def reading_step(steps: Sequence[Step]) -> Step:
    """The one whose answer is the reading."""
    return [step for step in steps if not step.is_aside][-1]


def supply_is_open(read: Read) -> bool | None:
    """Whether a reading shows the valve open (the relay closed, so that power flows); None where
    it says nothing certain."""
    of_status = _SUPPLIES.get(read.target.protocol)
    return of_status(read.status) if of_status else None
