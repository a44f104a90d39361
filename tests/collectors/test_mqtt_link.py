"""Uplinks over a real Mosquitto: subscribed, acknowledged when taken, connected again."""

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from collectors.links.mqtt import MqttLink, Tls, parse_topics
from tests.collectors.conftest import Broker, need_mosquitto

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
    await until(lambda: link.counts["subscribed"] == 1)
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


@pytest.fixture
async def keeping_broker(tmp_path):
    """One that keeps its sessions on disk, as a broker in production does."""
    need_mosquitto()
    broker = Broker(tmp_path, "persistence true", f"persistence_location {tmp_path}/")
    await broker.start()
    yield broker
    await broker.stop()


async def test_a_broker_that_restarts_sends_again_what_was_not_acknowledged(keeping_broker):
    broker, taken = keeping_broker, Taken()
    link = await linked(broker, taken)
    await until(lambda: link.counts["subscribed"])
    taken.gate.clear()
    await asyncio.to_thread(broker.publish, *(str(i).encode() for i in range(20)))
    await until(lambda: link.counts["messages"] == 20)
    await broker.stop()
    await broker.start()
    await until(lambda: link.counts["messages"] == 40)  # all of them a second time
    await asyncio.to_thread(broker.publish, b"20")
    taken.gate.set()
    await until(lambda: len(taken) == 41)
    assert {int(payload) for _, payload in taken} == set(range(21))
    assert link.counts["late"] == 20  # the first twenty are acknowledged by their second coming
    await asyncio.sleep(0.3)  # a second connection would cut off acknowledgements on their way
    await link.stop()
    later = Taken()
    link = await linked(broker, later)
    await asyncio.sleep(0.5)
    assert later == []
    await link.stop()


async def test_a_killed_broker_is_found_again(keeping_broker):
    broker, taken = keeping_broker, Taken()
    link = await linked(broker, taken)
    for n in range(3):
        await until(lambda n=n: link.counts["subscribed"] == n + 1)
        await asyncio.to_thread(broker.publish, b"%d" % n)
        await until(lambda n=n: ("chirpstack", b"%d" % n) in taken)
        await broker.stop(by_force=True)
        await broker.start()
    await until(lambda: link.counts["subscribed"] == 4)
    await link.stop()


class Authority:
    """A certificate authority of the test's own."""

    def __init__(self, directory):
        self.directory, self.key = directory, rsa.generate_private_key(65537, 2048)
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test authority")])
        self.ca_file = self._write("ca.pem", self._certificate(self.name, self.key.public_key()))

    def issue(self, name, host):
        """(certificate file, key file) of a name, good for a host."""
        key = rsa.generate_private_key(65537, 2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        alternative = x509.SubjectAlternativeName([x509.IPAddress(ip_address(host))])
        made = self._certificate(subject, key.public_key(), alternative)
        plain = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        path = self.directory / f"{name}.key"
        path.write_bytes(plain)
        return self._write(f"{name}.pem", made), str(path)

    def _certificate(self, subject, public_key, alternative=None):
        now = datetime.now(UTC)
        building = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(alternative is None, None), critical=True)
        )
        if alternative is not None:
            building = building.add_extension(alternative, critical=False)
        return building.sign(self.key, hashes.SHA256())

    def _write(self, name, certificate):
        path = self.directory / name
        path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        return str(path)


# A handshake that fails leaves its socket to the garbage collector (paho 2.1); it is closed there.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_tls_with_the_brokers_authority_and_a_certificate_of_ours(tmp_path):
    need_mosquitto()
    authority = Authority(tmp_path)
    cert, key = authority.issue("broker", "127.0.0.1")
    ours = Tls(authority.ca_file, *authority.issue("nuan", "127.0.0.1"))
    options = (f"cafile {authority.ca_file}", f"certfile {cert}", f"keyfile {key}")
    broker = Broker(tmp_path, *options, "require_certificate true")
    await broker.start()
    url, taken = broker.url.replace("mqtt://", "mqtts://"), Taken()
    asked = [("chirpstack", UPLINKS)]
    try:
        link = MqttLink(url, asked, taken.take, tls=ours, first_wait_s=1)
        await link.start()
        await asyncio.wait_for(link.connected.wait(), 10)
        await link.stop()
        # Without our certificate, without its authority, by another name: never connected.
        stranger = Authority(tmp_path_of(tmp_path))
        for wrong, address in (
            (Tls(authority.ca_file), url),
            (Tls(stranger.ca_file, ours.cert_file, ours.key_file), url),
            (ours, url.replace("127.0.0.1", "localhost")),
        ):
            link = MqttLink(address, asked, taken.take, tls=wrong, first_wait_s=1)
            await link.start()
            await asyncio.sleep(1.5)
            assert not link.connected.is_set()
            await link.stop()
    finally:
        await broker.stop()


def tmp_path_of(directory):
    other = directory / "stranger"
    other.mkdir()
    return other


def test_tls_files_that_are_none_are_named(tmp_path):
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match=r"ca\.pem"):
        MqttLink("mqtts://127.0.0.1", [("a", "b")], Taken().take, tls=Tls(str(tmp_path / "ca.pem")))
