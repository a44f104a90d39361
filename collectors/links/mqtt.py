"""Uplinks over MQTT: QoS 1, a session the broker keeps, acknowledged only once taken in.

The broker is the queue: it hands out at most `IN_FLIGHT` messages that are not acknowledged, so
nothing piles up here, and what a crash or a lost connection leaves unacknowledged comes again.
paho reconnects by itself with back-off in its own thread; messages cross over to the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from paho.mqtt.client import Client, ConnectFlags, MQTTMessage, topic_matches_sub
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

log = logging.getLogger("nuan.mqtt")

IN_FLIGHT: Final = 100
MAX_PACKET: Final = 64 * 1024
SESSION_S: Final = 7 * 86_400  # how long the broker keeps what came while we were away
FIRST_WAIT_S, LAST_WAIT_S = 1, 60

# Takes (platform, payload) in; returns once that is safe, whatever the payload says.
Taker = Callable[[str, bytes], Awaitable[None]]


def parse_topics(text: str) -> list[tuple[str, str]]:
    """(platform, topic filter) of "chirpstack=application/+/device/+/event/up,…".

    Raises ValueError naming the part that is not so.
    """
    pairs = []
    for part in filter(None, (p.strip() for p in text.split(","))):
        platform, sign, topic = part.partition("=")
        if not (platform and sign and topic):
            raise ValueError(f"{part!r} is not platform=topic")
        pairs.append((platform, topic))
    return pairs


@dataclass(frozen=True, slots=True)
class Tls:
    """Files of an mqtts:// broker: its authority ("": the machine's), our certificate and key."""

    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """What TLS is spoken with; the broker's name is always checked. Raises ValueError."""
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.cert_file or self.key_file:
                context.load_cert_chain(self.cert_file, self.key_file or None)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(filter(None, (self.ca_file, self.cert_file, self.key_file)))
            raise ValueError(f"MQTT's TLS files cannot be used ({files}): {error}") from error
        return context


class MqttLink:
    """One broker's uplinks, from `start` until `stop`.

    url      mqtt://user:password@host:port, or mqtts:// (see `tls`)
    topics   (platform, topic filter); the first that matches a message names its platform
    Raises ValueError for an address that is not one.
    """

    def __init__(
        self,
        url: str,
        topics: Sequence[tuple[str, str]],
        take: Taker,
        *,
        client_id: str = "nuan-collect",
        tls: Tls = Tls(),
        first_wait_s: int = FIRST_WAIT_S,
    ):
        parts = urlsplit(url)
        if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname or not topics:
            raise ValueError("MQTT needs mqtt://user:password@host:port and a topic")
        self.host = parts.hostname
        self.port = parts.port or (8883 if parts.scheme == "mqtts" else 1883)
        self.topics, self.counts = list(topics), Counter[str]()
        self.connected = asyncio.Event()
        self._take = take
        self._tasks: set[asyncio.Task[None]] = set()
        self._connection = 0  # how many there were; paho's thread counts
        self._client = self._make(client_id, first_wait_s)
        if parts.username:
            self._client.username_pw_set(unquote(parts.username), unquote(parts.password or ""))
        if parts.scheme == "mqtts":
            self._client.tls_set_context(tls.context())

    def _make(self, client_id: str, first_wait_s: int) -> Client:
        client = Client(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=MQTTProtocolVersion.MQTTv5,
            manual_ack=True,
        )
        client.reconnect_delay_set(first_wait_s, LAST_WAIT_S)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_connect_fail = self._on_connect_fail
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        return client

    async def start(self) -> None:
        """Connect in the background, and again whenever the connection is lost."""
        self._loop = asyncio.get_running_loop()
        asked = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
        asked.SessionExpiryInterval = SESSION_S
        asked.ReceiveMaximum = IN_FLIGHT
        asked.MaximumPacketSize = MAX_PACKET
        self._client.connect_async(
            self.host, self.port, keepalive=30, clean_start=False, properties=asked
        )
        self._client.loop_start()

    async def stop(self) -> None:
        """Leave; the broker keeps the session and what is not acknowledged."""
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # paho's thread -------------------------------------------------------------------------

    def _on_connect(
        self, client: Client, _u: Any, _f: ConnectFlags, why: ReasonCode, _p: Any
    ) -> None:
        if why.is_failure:
            self._count("connect_failures")
            log.warning("the MQTT broker refuses us", extra={"why": str(why)})
            return
        self._count("connects")
        self._connection += 1
        client.subscribe([(topic, 1) for _, topic in self.topics])
        self._loop.call_soon_threadsafe(self.connected.set)

    def _on_subscribe(self, _c: Client, _u: Any, _mid: int, why: list[ReasonCode], _p: Any) -> None:
        if any(code.is_failure for code in why):
            log.error("the MQTT broker refuses a topic", extra={"topics": self.topics})
        self._count("subscribed")

    def _on_connect_fail(self, _client: Client, _userdata: Any) -> None:
        self._count("connect_failures")

    def _on_disconnect(self, _c: Client, _u: Any, _f: Any, why: ReasonCode, _p: Any) -> None:
        self._count("disconnects")
        if why.is_failure:
            log.warning("the MQTT broker is away", extra={"why": str(why)})
        self._loop.call_soon_threadsafe(self.connected.clear)

    def _on_message(self, _client: Client, _userdata: Any, message: MQTTMessage) -> None:
        self._loop.call_soon_threadsafe(self._begin, message, self._connection)

    def _count(self, what: str) -> None:
        self._loop.call_soon_threadsafe(self.counts.update, (what,))

    # The event loop's side -----------------------------------------------------------------

    def _begin(self, message: MQTTMessage, connection: int) -> None:
        if message.qos == 0 and len(self._tasks) >= 2 * IN_FLIGHT:
            self.counts["dropped"] += 1  # sent with no promise, and more than we can hold
            return
        task = self._loop.create_task(self._handle(message, connection))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, message: MQTTMessage, connection: int) -> None:
        """Take a message in, then acknowledge it, also one that fails: it would come for ever.

        Over a newer connection it is not acknowledged: its number may be another message's by
        now, and it comes again anyway.
        """
        topic = message.topic
        platform = next((p for p, asked in self.topics if topic_matches_sub(asked, topic)), None)
        self.counts["messages"] += 1
        try:
            if platform is not None:  # else a topic of an older subscription
                await self._take(platform, bytes(message.payload))
        except Exception:
            self.counts["errors"] += 1
            log.exception("an MQTT message was not taken", extra={"topic": topic})
        if connection == self._connection:
            self._client.ack(message.mid, message.qos)
        else:
            self.counts["late"] += 1
