"""Whatever a meter says in a good frame, a dialect asks on, reads it or says why not; it never
raises, and it never asks for ever."""

import random
from datetime import UTC, date, datetime, timedelta

import pytest

from collectors.dialects import ANSWERED, Freeze, Target, dialect_for
from collectors.frames import FrameError
from collectors.frames.bcd import checksum
from collectors.simulator.bus import _DECODERS
from collectors.simulator.dlt645_meter import Dlt645Meter
from collectors.simulator.mbus_meter import MbusFixedMeter, MbusHeatMeter
from collectors.simulator.meters import CjtHeatMeter, CjtUtilityMeter

NOON = datetime(2024, 12, 1, 4, 0, tzinfo=UTC)
DAY, MONTH = Freeze("day", date(2024, 11, 20)), Freeze("month", date(2024, 6, 1))
ROUNDS, MOST_QUESTIONS = 400, 80


def values(now):
    rest = {"flow_lph": 1, "power_w": 1, "supply_cdeg": 4_000, "return_cdeg": 3_000}
    return {"energy_wh": 54_427_880, "volume_l": 7_156_080, "working_h": 7, **rest}


CONVERSATIONS = {
    "cjt188": (lambda: CjtHeatMeter("1" * 14, values), Target("cjt188", "1" * 14)),
    "cjt188 month": (
        lambda: CjtHeatMeter("1" * 14, values),
        Target("cjt188", "1" * 14, freeze=MONTH),
    ),
    "cjt188 day": (
        lambda: CjtUtilityMeter("water", "1" * 14, values, is_2018=True, days=31),
        Target("cjt188", "1" * 14, 0x10, "2018", freeze=DAY),
    ),
    "dlt645": (
        lambda: Dlt645Meter("1" * 12, values, part=6),
        Target("dlt645_2007", "1" * 12, profile="tariffs", with_supply=True),
    ),
    "dlt645 day": (
        lambda: Dlt645Meter("1" * 12, values),
        Target("dlt645_2007", "1" * 12, freeze=DAY),
    ),
    "dlt645 1997": (
        lambda: Dlt645Meter("1" * 12, values, is_1997=True, part=6),
        Target("dlt645_1997", "1" * 12, profile="tariffs"),
    ),
    "mbus": (lambda: MbusHeatMeter("1", values), Target("mbus", "1")),
    "mbus day": (
        lambda: MbusHeatMeter("1", values, months=12, days=31),
        Target("mbus", "1", freeze=DAY),
    ),
    "mbus fixed": (lambda: MbusFixedMeter("1", values), Target("mbus", "00000001")),
}


def damaged(frame, dice):
    """A few bytes of what the frame says are others, and its checksum agrees."""
    start = next((n for n, byte in enumerate(frame) if byte != 0xFE), 0)
    spoilt = bytearray(frame)
    if spoilt[start] != 0x68 or dice.random() < 0.3:
        return frame
    is_mbus = spoilt[start + 1] == spoilt[start + 2] and spoilt[start + 3] == 0x68
    begin, first = (start + 7, start + 4) if is_mbus else (start + 11, start)
    for _ in range(dice.randint(1, 4)):
        if begin < len(spoilt) - 2:
            at = dice.randrange(begin, len(spoilt) - 2)
            spoilt[at] = dice.choice((0x00, 0xFF, 0xEE, 0x33, dice.randrange(256)))
    spoilt[-2] = checksum(spoilt[first:-2])
    return bytes(spoilt)


def answers_to(step, dialect, meter, decode, dice):
    """What the dialect makes of the meter's damaged answer: the message, or None."""
    question, _ = decode(step.request)
    answer = meter.answer(question, NOON)
    if not answer or step.judge is None:
        return None
    try:
        message, _ = dialect.decode(damaged(answer, dice))
    except FrameError:
        return None
    if message is None:
        return None
    verdict = step.judge(message)
    if verdict != ANSWERED:
        assert isinstance(dialect.refusal(message), str)
        return None
    return message


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_a_damaged_answer_ends_in_values_or_in_a_reason(name):
    make, target = CONVERSATIONS[name]
    dice, read, asked = random.Random(name), 0, 0
    for _ in range(ROUNDS):
        meter, dialect = make(), dialect_for(target)
        decode, answers = _DECODERS[meter.protocol], []
        for step in dialect.steps(target, NOON):
            following, number = step, 0
            while following is not None:
                number += 1
                assert number <= MOST_QUESTIONS
                message = answers_to(following, dialect, meter, decode, dice)
                if message is None:
                    break
                if not step.is_aside:
                    answers.append(message)
                following = following.then(message) if following.then else None
            asked += number
            if message is None and not step.is_optional:
                break
        else:
            meaning = dialect.meaning(answers)
            assert bool(meaning.values) != bool(meaning.problem)
            assert all(isinstance(value, int) for value in meaning.values.values())
            if target.freeze and not meaning.problem:
                assert abs(meaning.frozen_at - target.freeze.at) <= timedelta(minutes=30)
            read += not meaning.problem
    assert 0 < read < ROUNDS  # some came through whole, and some did not
