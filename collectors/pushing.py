"""The push side of `nuan collect`: the HTTP port and the MQTT broker, as the settings say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

from flask import Flask

from backend.base.clock import Clock
from backend.config import Settings
from collectors.links.mqtt import MqttLink, Tls, parse_topics
from collectors.links.push import PushReceiver, parse_secrets
from collectors.map_files import field_maps
from collectors.pushed import PushIntake
from collectors.storing import Batch


class NoPushes(Exception):
    """Pushes cannot be taken as the settings say; the message says why, in one line."""


@asynccontextmanager
async def pushing(
    app: Flask, clock: Clock, settings: Settings, put: Callable[[Batch], Awaitable[None]]
) -> AsyncIterator[None]:
    """Take pushes in while the block runs; nothing where neither port nor broker is set.

    Raises NoPushes before the block begins.
    """
    async with AsyncExitStack() as stack:
        try:
            if settings.push_port or settings.mqtt_url:
                intake = PushIntake(
                    app,
                    clock,
                    put,
                    settings.push_onenet_token,
                    onenet_key=settings.push_onenet_key,
                    maps=field_maps(settings.field_maps_dir),
                )
                await _start(intake, settings, stack)
        except (ValueError, OSError) as error:
            raise NoPushes(str(error)) from error
        yield


async def _start(intake: PushIntake, settings: Settings, stack: AsyncExitStack) -> None:
    running = asyncio.create_task(intake.run())
    stack.push_async_callback(_end, running)
    if settings.push_port:
        await _listen(intake, settings, stack)
    if settings.mqtt_url:
        topics = parse_topics(settings.mqtt_topics)
        link = MqttLink(
            settings.mqtt_url,
            topics,
            intake.take_message,
            client_id=settings.mqtt_client_id,
            tls=Tls(settings.mqtt_ca_file, settings.mqtt_cert_file, settings.mqtt_key_file),
        )
        await link.start()
        stack.push_async_callback(link.stop)


async def _listen(intake: PushIntake, settings: Settings, stack: AsyncExitStack) -> None:
    secrets = parse_secrets(settings.push_secrets)
    if not secrets:
        raise ValueError("NUAN_PUSH_PORT needs NUAN_PUSH_SECRETS: no platform could push")
    receiver = PushReceiver(intake, secrets, proxies=settings.trusted_proxies)
    await receiver.start(settings.push_host, settings.push_port)
    stack.push_async_callback(receiver.stop)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
