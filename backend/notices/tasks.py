"""Sending messages, carried out by a worker."""

from __future__ import annotations

from datetime import timedelta

from flask import current_app

from backend.base import tasks
from backend.base.db import db
from backend.notices import rules, service

# Seconds until WeChat is asked again after it was busy or out of quota.
_WAITS_S = (10, 60, 600, 3600, 10800)


@tasks.task("notices.send")
def send(message_id: int, step: int = 0) -> None:
    """Task: send one message; where WeChat was busy, try again later, five times.

    In the quiet hours it waits for their end.
    """
    now = current_app.extensions["nuan_clock"].now()
    morning = rules.quiet_until(now, current_app.extensions["nuan_settings"].quiet_hours)
    if morning is not None:
        tasks.defer("notices.send", at=morning, message_id=message_id, step=step)
        db.session.commit()
        return
    if service.send(message_id, now) == "queued" and step < len(_WAITS_S):
        at = now + timedelta(seconds=_WAITS_S[step])
        tasks.defer("notices.send", at=at, message_id=message_id, step=step + 1)
    db.session.commit()
