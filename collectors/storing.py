"""From the buses' outcomes to the database, by way of the disk while the database is away.

`Storing.put` returns when a batch is in the database or safely in the spool.  One task drains the
spool in order; while anything waits there new batches queue behind it, so order is kept.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any

import psycopg
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.metering.meter_notes import Signal
from backend.metering.refused import Refusal
from backend.metering.service import NewReading
from collectors.reading import Outcome
from collectors.spool import Spool

log = logging.getLogger("nuan.collect")

FIRST_WAIT_S, LAST_WAIT_S = 0.5, 30.0
PATIENCE_S = 2.0  # a database slower than this counts as away: the batch goes to disk as well
IDLE_S = 0.2

Batch = list[tuple[int, datetime, Outcome]]

BAD_VALUES = (DataError, IntegrityError, psycopg.DataError, psycopg.IntegrityError)
AWAY = (DBAPIError, psycopg.Error, PoolTimeout)


class Storing:
    """Puts batches where they are safe; `store` writes and commits one batch, in a thread."""

    def __init__(self, store: Callable[[Batch], None], spool: Spool | None):
        self._store, self.spool = store, spool
        self._full = False

    async def put(self, batch: Batch) -> None:
        """Store a batch, or keep it on disk; waits (and so do the buses) where neither can be."""
        wait_s = FIRST_WAIT_S
        while True:
            waiting = self.spool is not None and len(self.spool) > 0
            if not waiting and await self._stored_now(batch):
                return
            if self.spool is not None and await asyncio.to_thread(self.spool.append, pack(batch)):
                self._full = False
                return
            self._say_full()
            await asyncio.sleep(wait_s)
            wait_s = min(wait_s * 2, LAST_WAIT_S)

    def _say_full(self) -> None:
        if self.spool is not None and not self._full:
            self._full = True
            log.error("the spool is full: buses wait", extra={"records": len(self.spool)})

    async def _stored_now(self, batch: Batch) -> bool:
        """Whether the batch went straight into the database, within PATIENCE_S if it can wait."""
        work = asyncio.create_task(self._try(batch))
        await asyncio.wait({work}, timeout=PATIENCE_S if self.spool is not None else None)
        return work.done() and work.result()

    async def _try(self, batch: Batch) -> bool:
        """Store a batch; False while the database is away, never anything raised."""
        try:
            await asyncio.to_thread(self._store, batch)
        except BAD_VALUES as error:
            await self._one_by_one(batch, error)
        except AWAY as error:
            log.warning("not stored, will try again", extra={"why": str(error)})
            return False
        except Exception as error:
            await self._one_by_one(batch, error)
        return True

    async def _one_by_one(self, batch: Batch, error: Exception) -> None:
        """One bad outcome must not hold up the others: it is logged whole and left out."""
        if len(batch) == 1:
            left_out = pack(batch).decode()
            log.error("cannot be stored, left out", exc_info=error, extra={"batch": left_out})
            return
        for outcome in batch:
            while not await self._try([outcome]):
                await asyncio.sleep(FIRST_WAIT_S)

    async def drain(self) -> None:
        """Store what is on disk, in order, for ever; with growing pauses while it fails."""
        wait_s = FIRST_WAIT_S
        while self.spool is not None:
            batch = await asyncio.to_thread(_oldest, self.spool)
            if batch is None:
                await asyncio.sleep(IDLE_S)
            elif await self._try(batch):
                await asyncio.to_thread(self.spool.done)
                wait_s = FIRST_WAIT_S
            else:
                await asyncio.sleep(wait_s)
                wait_s = min(wait_s * 2, LAST_WAIT_S)


def _oldest(spool: Spool) -> Batch | None:
    """The batch that has waited longest; one that cannot be understood is logged and left out."""
    while (payload := spool.first()) is not None:
        try:
            return unpack(payload)
        except (ValueError, KeyError, TypeError) as error:
            log.error("cannot be read back, left out", extra={"why": str(error), "record": payload})
            spool.done()
    return None


def pack(batch: Batch) -> bytes:
    """A batch as JSON; instants and bytes are marked, so that they come back as they were."""
    plain = [[bus_id, at, asdict(outcome)] for bus_id, at, outcome in batch]
    return json.dumps(plain, default=_marked, separators=(",", ":"), ensure_ascii=False).encode()


def unpack(payload: bytes) -> Batch:
    """The batch again; fields added since are given their defaults."""
    parts = json.loads(payload, object_hook=_unmarked)
    return [(bus_id, at, _outcome(fields)) for bus_id, at, fields in parts]


def _outcome(fields: dict[str, Any]) -> Outcome:
    return Outcome(
        readings=[NewReading(**r) for r in fields["readings"]],
        failures=[(meter_id, at, code) for meter_id, at, code in fields["failures"]],
        refused=[Refusal(**r) for r in fields["refused"]],
        signals=[Signal(**s) for s in fields.get("signals", ())],
        cycle_s=fields.get("cycle_s"),
        signal_dbm=fields.get("signal_dbm"),
    )


def _marked(value: object) -> dict[str, str]:
    if isinstance(value, datetime):
        return {"$at": value.isoformat()}
    if isinstance(value, bytes):
        return {"$hex": value.hex()}
    raise TypeError(f"{type(value).__name__} is not kept in the spool")


def _unmarked(value: dict[str, Any]) -> Any:
    if "$at" in value:
        return datetime.fromisoformat(value["$at"])
    return bytes.fromhex(value["$hex"]) if "$hex" in value else value
