"""What a handler of bus jobs is given and may raise; the table of handlers is in `bus_jobs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from collectors.reading import Asked
from collectors.session import Clock, Conversation


class JobEnded(Exception):
    """The job is nobody's business any more: cancelled, lost, or its collector stops."""


class OutOfTime(Exception):
    """The job's time is over."""


class JobFailed(Exception):
    """The job cannot be done; `code` is one the console has words for."""

    def __init__(self, code: str):
        self.code = code
        super().__init__(code)


class Report(Protocol):
    """How a handler tells how far it is; between any two conversations at the latest.

    Raises JobEnded or OutOfTime, which a handler lets pass. `result` is what has been found so
    far, whole; None leaves what was reported last.
    """

    async def __call__(
        self, done: int, total: int, note: str = "", result: Mapping[str, Any] | None = None
    ) -> None: ...


class Handler(Protocol):
    """Does one job on one bus, and returns its result (JSON) or raises JobFailed.

    It may be begun again from the start by another collector: whatever it does can be done twice.
    Orders to valves and urgent readings go between its conversations.
    """

    async def __call__(
        self,
        conversation: Conversation,
        meters: Sequence[Asked],
        parameters: Mapping[str, Any],
        clock: Clock,
        report: Report,
    ) -> dict[str, Any]: ...
