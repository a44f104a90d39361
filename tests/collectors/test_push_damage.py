"""Whatever becomes of a push on its way, it ends in the right value or in none."""

import random
from datetime import UTC, datetime

import pytest

from collectors.devices import Device, Directory
from collectors.dialects import Target, dialect_for
from collectors.push_reports import understand
from collectors.reading import Asked
from collectors.simulator.meters import CjtHeatMeter
from collectors.simulator.platform import SHAPES, body

NOW = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
EUI, IMEI, ENERGY_WH = "0102030405060708", "862592051651472", 54_427_880
ROUNDS = 2_000


def a_frame():
    """A heat meter's answer."""
    meter = CjtHeatMeter("20010100000101", lambda now: VALUES)
    target = Target("cjt188", meter.address)
    dialect = dialect_for(target)
    question, _ = dialect.decode(dialect.steps(target, NOW)[0].request)
    return meter.answer(question, NOW)


VALUES = {
    "energy_wh": ENERGY_WH,
    "volume_l": 7_156_080,
    "flow_lph": 182,
    "power_w": 3_210,
    "supply_cdeg": 4_157,
    "return_cdeg": 3_513,
    "working_h": 1_000,
}


def damaged(text, chance):
    """One to four bytes changed, runs lost, doubled or put in."""
    text = bytearray(text)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(text)) if text else 0
        match chance.randrange(4):
            case 0:
                text[at : at + 1] = bytes((chance.randrange(256),))
            case 1:
                del text[at : at + chance.randint(1, 30)]
            case 2:
                text[at:at] = bytes(chance.choices(b'{}[]":,09eE-null', k=chance.randint(1, 6)))
            case _:
                text[at:at] = text[at : at + chance.randint(1, 60)]
    return bytes(text)


@pytest.mark.parametrize("shape", SHAPES)
def test_a_damaged_push_says_the_true_value_or_none(shape):
    platform = "chirpstack" if shape == "chirpstack3" else shape
    device, known = EUI if platform == "chirpstack" else IMEI, Directory()
    known.add(Device(1, Asked(7, "heat", Target("cjt188", device)), device))
    chance, frame, values, refused = random.Random(shape), a_frame(), [], set()
    for _ in range(ROUNDS):
        text = damaged(body(shape, device, frame, NOW, token="t"), chance)
        understood = understand(platform, text, known, NOW)
        values += [r.register for o in understood.read.values() for r in o.readings]
        refused |= {r.code for r in understood.besides.refused}
    assert set(values) == {ENERGY_WH}
    assert len(values) < ROUNDS / 2
    assert "structure" in refused
    assert "error" not in refused
