"""Small pieces of database work, done from a collector's loop: again while the database is away."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import psycopg
from flask import Flask
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from backend.base.db import db

log = logging.getLogger("nuan.orders")

AWAY = (OperationalError, InterfaceError, PoolTimeout, psycopg.OperationalError)
FIRST_WAIT_S, LAST_WAIT_S = 0.5, 30.0


class UntilStored:
    """Runs work in a transaction of its own, off the loop, until it is in or `stopping` is set."""

    def __init__(self, app: Flask):
        self.app = app
        self.stopping = asyncio.Event()

    async def __call__(self, work: Callable[[], Any]) -> Any:
        """What the work returns; None where it was given up because the collector stops."""
        wait_s = FIRST_WAIT_S
        while True:
            try:
                return await asyncio.to_thread(self._in_context, work)
            except AWAY as error:
                log.warning("not stored, will try again", extra={"why": str(error)})
            if self.stopping.is_set():
                return None  # the lease gives it back
            await self.pause(wait_s)
            wait_s = min(wait_s * 2, LAST_WAIT_S)

    async def pause(self, seconds: float) -> None:
        """Sleep, but not through the order to stop."""
        try:
            await asyncio.wait_for(self.stopping.wait(), seconds)
        except TimeoutError:
            return

    def _in_context(self, work: Callable[[], Any]) -> Any:
        with self.app.app_context():
            done = work()
            db.session.commit()
            return done
