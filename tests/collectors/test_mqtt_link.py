"""Uplinks over a real Mosquitto: subscribed, acknowledged when taken, connected again."""

import asyncio

import pytest

from collectors.links.mqtt import MqttLink, parse_topics

UPLINKS = "application/+/device/+/event/up"


async def until(condition, seconds=10):
    for _ in range(seconds * 50):
        if condition():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("did not come true in time")


class Taken(list):
    """What was taken in; `gate` holds messages back, `poison` is not understood."""

    def __init__(self):
        self.gate = asyncio.Event()
        self.gate.set()

    async def take(self, platform, payload):
        await self.gate.wait()
        if payload == b"poison":
            raise RuntimeError("cannot be understood")
        self.append((platform, payload))


async def linked(broker, taken, **options):
    link = MqttLink(broker.url, [("chirpstack", UPLINKS)], taken.take, first_wait_s=1, **options)
    await link.start()
    await asyncio.wait_for(link.connected.wait(), 10)
    return link


async def test_an_uplink_reaches_us_under_the_name_of_its_platform(broker):
    taken = Taken()
    link = await linked(broker, taken)
    await until(lambda: link.counts["subscribed"])
    await asyncio.to_thread(broker.publish, b"one", b"two")
    await asyncio.to_thread(broker.publish, b"other", topic="application/7/device/x/event/join")
    await until(lambda: len(taken) == 2)
    await link.stop()
    assert taken == [("chirpstack", b"one"), ("chirpstack", b"two")]


async def test_what_came_while_we_were_away_comes_when_we_are_back(broker):
    taken = Taken()
    link = await linked(broker, taken)
    await until(lambda: link.counts["subscribed"])
    await link.stop()
    await asyncio.to_thread(broker.publish, *(str(i).encode() for i in range(300)))
    link = await linked(broker, taken)
    await until(lambda: len(taken) == 300)
    await link.stop()
    assert [int(payload) for _, payload in taken] == list(range(300))


async def test_what_was_not_taken_in_before_a_stop_comes_again(broker):
    taken = Taken()
    link = await linked(broker, taken)
    await until(lambda: link.counts["subscribed"])
    taken.gate.clear()
    await asyncio.to_thread(broker.publish, b"held")
    await until(lambda: link.counts["messages"] == 1)
    await link.stop()
    assert taken == []
    taken.gate.set()
    link = await linked(broker, taken)
    await until(lambda: taken == [("chirpstack", b"held")])
    await link.stop()


async def test_no_more_is_in_flight_than_can_be_held(broker):
    taken = Taken()
    link = await linked(broker, taken)
    await until(lambda: link.counts["subscribed"])
    taken.gate.clear()
    await asyncio.to_thread(broker.publish, *(str(i).encode() for i in range(250)))
    await until(lambda: link.counts["messages"] == 100)
    await asyncio.sleep(0.3)
    assert link.counts["messages"] == 100
    taken.gate.set()
    await until(lambda: len(taken) == 250)
    await link.stop()


async def test_a_message_that_cannot_be_understood_stops_nothing(broker):
    taken = Taken()
    link = await linked(broker, taken)
    await until(lambda: link.counts["subscribed"])
    await asyncio.to_thread(broker.publish, *[b"poison"] * 150, b"good")
    await until(lambda: taken == [("chirpstack", b"good")])
    assert link.counts["errors"] == 150
    await link.stop()


async def test_a_broker_that_went_away_is_found_again(broker):
    taken = Taken()
    link = await linked(broker, taken)
    await broker.stop()
    await until(lambda: link.counts["disconnects"] == 1)
    await broker.start()
    await until(lambda: link.counts["subscribed"] == 2)
    await asyncio.to_thread(broker.publish, b"after")
    await until(lambda: taken == [("chirpstack", b"after")])
    await link.stop()


async def test_a_broker_that_refuses_us_is_said_and_asked_again(broker):
    taken = Taken()
    wrong = broker.url.replace("ss%3A", "xx%3A")
    link = MqttLink(wrong, [("chirpstack", UPLINKS)], taken.take, first_wait_s=1)
    await link.start()
    await until(lambda: link.counts["connect_failures"] >= 2)
    assert not link.connected.is_set()
    await link.stop()


def test_topics_are_named_with_their_platform_or_refused():
    asked = "chirpstack=application/+/device/+/event/up, ctwing=nuan/up/#"
    assert parse_topics(asked) == [("chirpstack", UPLINKS), ("ctwing", "nuan/up/#")]
    with pytest.raises(ValueError, match="is not platform=topic"):
        parse_topics("application/+/event/up")


async def test_an_address_that_is_no_brokers_is_refused():
    with pytest.raises(ValueError, match="mqtt://"):
        MqttLink("http://127.0.0.1", [("a", "b")], Taken().take)
