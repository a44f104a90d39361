"""Messages to residents, queued by `queueing`: each sent at most once.

WeChat's subscribe API has no idempotency key, so a message is marked `sending`, committed, and
only then sent.  A crash in between leaves it `sending`; `recover` ends it as `uncertain`.
"""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from backend.base import tasks
from backend.base.db import db
from backend.notices import rules
from backend.notices.kinds import kind_of
from backend.notices.models import Message, Subscription
from backend.people.models import Resident
from backend.people.wechat import NO_ANSWER, WeChatApiError
from backend.people.wechat_sign_in import client

log = logging.getLogger("nuan.notices")


def send(message_id: int, now: datetime) -> str:
    """Send a queued message and return the state it is left in; commits.

    sent; refused (WeChat will not deliver it); dropped (its reason has gone); uncertain
    (no answer: it may have arrived); queued (WeChat was busy: try again).
    """
    door = client()
    if not _token_ready(door):
        return "queued"
    message = _claim(message_id, now)
    if message is None:
        return str(db.session.scalar(sa.select(Message.state).where(Message.id == message_id)))
    kind = kind_of(message)
    data = kind.words(message, now)
    if data is None:
        return _give_up(message, now)
    openid = db.session.get_one(Resident, message.resident_id).openid
    page = kind.page(message.payload)
    db.session.commit()
    try:
        provider_id = door.send_subscribe_message(openid, message.template, page, data)
    except WeChatApiError as error:
        return _failed(message, error, now)
    return _end(message, "sent", sent_at=now, provider_id=provider_id, payload_data=data)


def recover(now: datetime) -> int:
    """End what a crash left in the middle, and enqueue again what lost its task; how many.

    The caller commits.
    """
    crashed = (
        sa.update(Message)
        .where(Message.state == "sending", Message.sending_at < now - rules.SENDING_LIMIT)
        .values(state="uncertain", error="发送途中进程中断，是否送达未知")
        .returning(Message.id)
    )
    ended = db.session.scalars(crashed).all()
    for message_id in ended:
        log.error("message uncertain", extra={"message_id": message_id})
    forgotten = db.session.execute(sa.text(_FORGOTTEN), {"before": now - rules.FORGOTTEN}).all()
    tasks.defer_many("notices.send", [{"message_id": row.id} for row in forgotten])
    return len(ended) + len(forgotten)


_FORGOTTEN = """
SELECT m.id FROM message m
WHERE m.state = 'queued' AND m.created_at < :before AND NOT EXISTS (
  SELECT 1 FROM procrastinate_jobs j
  WHERE j.task_name = 'notices.send' AND j.status IN ('todo', 'doing')
    AND j.args->>'message_id' = m.id::text)
ORDER BY m.id LIMIT 1000
"""


def _token_ready(door: Any) -> bool:
    """Fetch the access token first: what fails here has certainly sent nothing."""
    db.session.commit()
    try:
        return bool(door.access_token)
    except WeChatApiError as error:
        log.warning("no WeChat token", extra={"code": error.code})
        return False


def _claim(message_id: int, now: datetime) -> Message | None:
    """Mark a queued message as being sent; None where somebody else has.  Commits."""
    claimed: Message | None = db.session.scalar(
        sa.update(Message)
        .where(Message.id == message_id, Message.state == "queued")
        .values(state="sending", sending_at=now)
        .returning(Message)
    )
    db.session.commit()
    return claimed


def _give_up(message: Message, now: datetime) -> str:
    """Its reason went before the message left: keep quiet, and give the consent back."""
    db.session.execute(
        sa.update(Subscription)
        .where(
            Subscription.resident_id == message.resident_id,
            Subscription.template == message.template,
        )
        .values(remaining=Subscription.remaining + 1, updated_at=now)
    )
    return _end(message, "dropped")


def _failed(message: Message, error: WeChatApiError, now: datetime) -> str:
    """Sort a refusal: certainly not delivered and worth another try, or for good, or unknown."""
    log.warning("message not sent", extra={"message_id": message.id, "code": error.code})
    if error.code in rules.TRY_AGAIN:
        return _end(message, "queued", error=str(error))
    if error.code == NO_ANSWER:
        return _end(message, "uncertain", error=str(error))
    if error.code in rules.NO_CONSENT:
        db.session.execute(
            sa.update(Subscription)
            .where(
                Subscription.resident_id == message.resident_id,
                Subscription.template == message.template,
            )
            .values(remaining=0, updated_at=now)
        )
    return _end(message, "refused", error=str(error))


def _end(
    message: Message, state: str, *, payload_data: dict[str, str] | None = None, **values: Any
) -> str:
    """Write down how an attempt ended; commits."""
    if payload_data is not None:
        values["payload"] = {**message.payload, "data": payload_data}
    db.session.execute(
        sa.update(Message)
        .where(Message.id == message.id, Message.state == "sending")
        .values(state=state, **values)
        .execution_options(synchronize_session="fetch")
    )
    db.session.commit()
    return state
