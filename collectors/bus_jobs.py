"""Jobs on whole buses, carried out one a bus beside its orders and readings.

A job shares its bus's session: each of its conversations waits its turn, so an order to a valve
is never held up by more than one of them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from backend.base.clock import Clock
from backend.metering import bus_jobs, meter_notes
from backend.metering.bus_jobs import Job
from collectors import concentrator_setup
from collectors.bus_clocks import clock as check_clocks
from collectors.bus_clocks import drifts_of
from collectors.bus_search import search
from collectors.concentrator_session import ConcentratorSession
from collectors.jobs import Handler, JobEnded, JobFailed, OutOfTime, Report
from collectors.reading import Asked
from collectors.session import Conversation
from collectors.until_stored import UntilStored

log = logging.getLogger("nuan.bus_jobs")

REPORT_EVERY_S = 1.0  # reports in between are kept back, whatever number of steps a second

HANDLERS: Final[dict[str, Handler]] = {"search": search, "clock": check_clocks}
# A concentrator is told what it has to do; how is its own.
CONCENTRATOR_HANDLERS: Final[dict[str, Handler]] = {
    "clock": concentrator_setup.clock,
    "download": concentrator_setup.download,
    "read_back": concentrator_setup.read_back,
    "search": concentrator_setup.search,
}


def _keep_clocks(result: Mapping[str, Any], now: datetime) -> None:
    drifts = drifts_of(result)
    meter_notes.keep_clocks((meter_id, drift, now) for meter_id, drift in drifts)


# What a job's result means to the archive, kept in the transaction that ends the job.
_KEEPERS: Final[dict[str, Callable[[Mapping[str, Any], datetime], None]]] = {"clock": _keep_clocks}


class _Reporting:
    """A job's report: to the database once in REPORT_EVERY_S, and on changes of the result."""

    def __init__(self, job: Job, clock: Clock, storing: UntilStored):
        self._job, self._clock, self._storing = job, clock, storing
        self._told_at = 0.0
        self.result: dict[str, Any] | None = None

    async def __call__(
        self, done: int, total: int, note: str = "", result: Mapping[str, Any] | None = None
    ) -> None:
        if self._storing.stopping.is_set():
            raise JobEnded
        if self._clock.now() >= self._job.deadline_at:
            raise OutOfTime
        changed = result is not None and dict(result) != self.result
        if changed and result is not None:
            self.result = dict(result)
        now = asyncio.get_running_loop().time()
        if not changed and now - self._told_at < REPORT_EVERY_S:
            return
        self._told_at = now
        is_held = await self._storing(lambda: self._tell(done, total, note))
        if not is_held:
            raise JobEnded

    def _tell(self, done: int, total: int, note: str) -> bool:
        now = self._clock.now()
        return bus_jobs.progress(self._job, done, total, now, note=note, result=self.result)


async def carry_out(
    job: Job, session: Conversation, meters: Sequence[Asked], clock: Clock, storing: UntilStored
) -> None:
    """Do a job and write down what came of it; never raises for what its handler does."""
    report = _Reporting(job, clock, storing)
    result: dict[str, Any] | None = None
    error = ""
    try:
        result = await _handle(job, session, meters, clock, report)
    except JobEnded:
        if storing.stopping.is_set():
            await storing(lambda: bus_jobs.give_back(job, clock.now()))
        return
    except OutOfTime:
        error = "out_of_time"
    except JobFailed as failed:
        error = failed.code
    except Exception:
        log.exception("a bus job failed", extra={"job": job.job_id, "kind": job.kind})
        error = "internal"
    await storing(lambda: _settle(job, result, error or None, clock.now()))
    log.info("bus job over", extra={"job": job.job_id, "kind": job.kind, "error": error})


def _settle(job: Job, result: dict[str, Any] | None, error: str | None, now: datetime) -> None:
    keep = _KEEPERS.get(job.kind)
    if bus_jobs.settle(job, result, error, now) and keep and result:
        keep(result, now)


async def _handle(
    job: Job, session: Conversation, meters: Sequence[Asked], clock: Clock, report: Report
) -> dict[str, Any]:
    is_concentrator = isinstance(session, ConcentratorSession)
    handler = (CONCENTRATOR_HANDLERS if is_concentrator else HANDLERS).get(job.kind)
    if handler is None:
        raise JobFailed("not_supported")
    return await handler(session, meters, job.parameters, clock, report)
