"""Mutated frames of every codec, and what must hold of each: the codec's contract
(`collectors.frames`), whatever comes.

    for codec in CODECS: follow(codec, mutated(random.Random(7), codec))

`follow` raises Broken where a codec breaks its contract; any other exception is a finding too.
`tests/frames/test_fuzz.py` does some of it in every run, `scripts/fuzz.py` millions.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from collectors import decode as decoding
from collectors.frames import (
    FrameError,
    cjt188,
    dlt645,
    dlt645_1997,
    dtu,
    field_map,
    iot_push,
    mbus,
    modbus,
    qgdw3761,
    qgdw3761_series,
)
from collectors.frames.cjt188_profiles import PROFILES
from collectors.map_files import field_maps
from collectors.simulator import platform

DATA = Path(__file__).parent / "data"
PREAMBLES = 16  # what may be kept of FE in front of a frame that has not come yet


class Broken(AssertionError):
    """A codec did what its contract forbids."""


@dataclass(frozen=True)
class Codec:
    """One codec under test.

    decode  as `collectors.frames` says
    seeds   good frames, to be spoilt
    holds   the most bytes it may wait with, preambles and all
    mend    puts length and checksum right again, so that a mutation reaches what is behind them
    use     reads everything a message says
    whole   what it is given is one message or none: there is no going on after an error
    weight  how much of the fuzzing it gets
    """

    name: str
    decode: Callable[[bytes], tuple[Any, int]]
    seeds: tuple[bytes, ...]
    holds: int
    mend: Callable[[bytearray], None]
    use: Callable[[Any], object]
    whole: bool = False
    weight: int = 10


# --- what must hold -------------------------------------------------------------------------


def follow(codec: Codec, data: bytes) -> list[tuple[int, int, Any]]:
    """Decode a stream to its end: (begin, end, message) of each; raises Broken."""
    found, at = [], 0
    while at < len(data):
        rest = data[at:]
        try:
            message, consumed = codec.decode(rest)
        except FrameError as error:
            if not 1 <= error.consumed <= len(rest) or not 0 <= error.at <= len(rest):
                raise Broken(f"{error!r} drops {error.consumed} of {len(rest)}") from error
            if codec.whole:
                break
            at += error.consumed
            continue
        if not 0 <= consumed <= len(rest):
            raise Broken(f"consumed {consumed} of {len(rest)} bytes")
        if message is None:
            _check_waiting(codec, rest[consumed:])
            break
        if consumed == 0:
            raise Broken("a message of no bytes: no progress")
        codec.use(message)
        size = len(getattr(message, "raw", b"")) or consumed
        found.append((at + consumed - size, at + consumed, message))
        at += consumed
    return found


def _check_waiting(codec: Codec, kept: bytes) -> None:
    if len(kept) >= codec.holds:
        raise Broken(f"waits with {len(kept)} bytes; a frame holds less than {codec.holds}")
    if kept and codec.decode(kept) != (None, 0):
        raise Broken("what it waits with is not what it would wait with")


# --- what a message says --------------------------------------------------------------------


def _use_cjt188(message: cjt188.Message) -> object:
    reading = message.reading
    return (
        message.status,
        message.is_refusal,
        reading and (reading.is_readable, reading.values, reading.meter_time),
    )


def _use_dlt645(message: dlt645.Message) -> object:
    return message.function, message.error_words, message.function_words, message.has_more


def _use_mbus(message: Any) -> object:
    for record in getattr(message, "records", ()):
        for said in (
            record.value,
            record.problem,
            record.as_wh(),
            record.as_litres(),
            record.as_cdeg(),
            record.as_watts(),
            record.as_litres_per_hour(),
        ):
            if isinstance(said, float) and said != said:
                raise Broken("a record that is not a number")
    return message.meaning()


def _use_qgdw3761(message: qgdw3761.Message) -> object:
    """Also as the only frame of its own answer, and followed by itself."""
    answer = qgdw3761_series.Answer(message)
    took = answer.add(message) and answer.add(message)
    whole = (answer.items, answer.raw, answer.is_confirmed, answer.is_denied) if took else None
    return message.number, message.is_whole, [item.is_missing for item in message.items], whole


_MAPS = tuple(field_maps("").values())


def _use_push(push: iot_push.Push) -> object:
    """What platforms have taken apart themselves goes through every field map there is."""
    found: list[object] = [repr(push)]
    for report in push.reports:
        for one in _MAPS if report.values is not None else ():
            with suppress(FrameError):
                found.append(field_map.read(one, report.values))
    return found


def _use_modbus(message: modbus.Message) -> object:
    return message.is_exception, message.pdu.registers


# --- lengths and checksums put right ------------------------------------------------------------


def _mend_sum(data: bytearray, *, length_at: int, begin: int, overhead: int) -> None:
    """The first 68H begins the frame; the sum counts from `begin` behind it."""
    start = data.find(0x68)
    if start < 0 or len(data) - start < overhead:
        return
    if length_at:
        data[start + length_at] = (len(data) - start - overhead) & 0xFF
    data[-2] = sum(data[start + begin : -2]) & 0xFF
    data[-1] = 0x16


def _mend_mbus(data: bytearray) -> None:
    if len(data) >= 9 and data[0] == 0x68:
        data[1] = data[2] = (len(data) - 6) & 0xFF
        data[3] = 0x68
    _mend_sum(data, length_at=0, begin=4, overhead=6)


def _mend_qgdw3761(data: bytearray) -> None:
    if len(data) < 16:
        return
    length = (len(data) - 8) << 2 | (2 if data[1] & 1 == 0 else 1)
    data[0] = data[5] = 0x68
    data[1:3] = data[3:5] = (length & 0xFFFF).to_bytes(2, "little")
    _mend_sum(data, length_at=0, begin=6, overhead=8)


def _mend_rtu(data: bytearray) -> None:
    if len(data) >= 4:
        data[-2:] = modbus.crc16(bytes(data[:-2])).to_bytes(2, "little")


def _mend_tcp(data: bytearray) -> None:
    if len(data) >= 8:
        data[2:6] = (len(data) - 6).to_bytes(4, "big")


def _mend_ascii(data: bytearray) -> None:
    if len(data) < 9:
        return
    try:
        body = bytes.fromhex(bytes(data[1:-4]).decode("ascii"))
    except ValueError:
        return
    data[:] = b":" + body.hex().upper().encode() + b"%02X\r\n" % modbus.lrc(body)


def _as_it_is(data: bytearray) -> None:
    """Nothing is summed."""


# --- the codecs -----------------------------------------------------------------------------


def rows(name: str) -> list[dict[str, Any]]:
    """The public vectors of a protocol."""
    return [json.loads(line) for line in (DATA / f"{name}.jsonl").read_text("utf-8").splitlines()]


def frames(name: str) -> tuple[bytes, ...]:
    """Its frames, those that must be refused too."""
    found = (row.get("hex", "") for row in rows(name) if row.get("input") != "register-block")
    whole = (bytes.fromhex(text) for text in found if _is_hex(text))
    return tuple(frame for frame in whole if frame)


def _is_hex(text: str) -> bool:
    return len(text) % 2 == 0 and all(c in "0123456789abcdefABCDEF" for c in text)


def _tcp(rtu: bytes) -> bytes:
    return modbus.encode_tcp(7, rtu[0], rtu[1:-2])


def _ascii(rtu: bytes) -> bytes:
    return modbus.encode_ascii(rtu[0], rtu[1:-2])


_RTU = tuple(f for f in frames("modbus") if len(f) >= 4 and modbus.crc16(f) == 0)
_REGISTRATIONS = (
    b"ping",
    b"862592051651472\r\n",
    b'{"cmd":"login","imei":"862592051651472"}',
    b"CTRL:\x0f862592051651472",
    b"\x7b\x01\x00\x16" + b"13800000000" + b"\x7b",
)
_AT = datetime(2026, 11, 20, 4, 0, tzinfo=UTC)
_PUSHES = tuple(
    json.dumps(row["json"]).encode() for row in rows("iot_push") if "json" in row
) + tuple(
    platform.body(shape, "0102030405060708", frames("cjt188")[3], _AT, token="token")
    for shape in platform.SHAPES
)


def _push(body: bytes) -> tuple[Any, int]:
    """A push is whole or refused; it is never waited for."""
    return iot_push.decode(body), len(body)


_ODD = (None, True, 0, -1, 10**25, 1.5e300, "", "x", "\ud800", "68" * 40, [], {}, [[]], {"a": 1})


def _mend_push(data: bytearray) -> None:
    """Sound JSON with one of its values replaced, taken out or put in twice."""
    dice = random.Random(bytes(data))
    tree = json.loads(dice.choice(_PUSHES))
    node: Any = tree
    while True:
        keys = list(node) if isinstance(node, dict) else list(range(len(node)))
        key = dice.choice(keys)
        inner = node[key]
        if not isinstance(inner, (dict, list)) or not inner or dice.random() < 0.3:
            break
        node = inner
    if dice.random() < 0.2:
        del node[key]
    else:
        node[key] = dice.choice(_ODD)
    data[:] = json.dumps(tree).encode()


def _explained(protocol: str, data: bytes) -> tuple[Any, int]:
    """`nuan decode` shows an installer the frame, or says in one line why not."""
    try:
        return decoding.table(decoding.explain(protocol, data)), len(data)
    except FrameError:
        raise
    except ValueError as error:
        raise FrameError(str(error)) from error


def _shown(codec: Codec, protocol: str) -> Codec:
    explain = partial(_explained, protocol)
    return replace(codec, name=f"decode {protocol}", decode=explain, use=len, whole=True, weight=1)


def codecs() -> tuple[Codec, ...]:
    """Every codec of `collectors.frames`, and what shows its messages to people."""
    pure = _pure()
    by_name = {codec.name: codec for codec in pure}
    shown = (
        ("cjt188", "cjt188"),
        ("dlt645_2007", "dlt645_2007"),
        ("dlt645_1997", "dlt645_1997"),
        ("mbus", "mbus"),
        ("modbus rtu", "modbus"),
        ("qgdw3761", "qgdw3761"),
    )
    return pure + tuple(_shown(by_name[name], protocol) for name, protocol in shown)


def _pure() -> tuple[Codec, ...]:
    sum_cjt = partial(_mend_sum, length_at=10, begin=0, overhead=13)
    sum_dlt = partial(_mend_sum, length_at=9, begin=0, overhead=12)
    return (
        Codec("cjt188", cjt188.decode, frames("cjt188"), 269 + PREAMBLES, sum_cjt, _use_cjt188),
        Codec(
            "cjt188 low-first",
            lambda data: cjt188.decode(data, PROFILES["low-first"]),
            frames("cjt188"),
            269 + PREAMBLES,
            sum_cjt,
            _use_cjt188,
        ),
        Codec(
            "dlt645_2007",
            dlt645.decode,
            frames("dlt645_2007"),
            213 + PREAMBLES,
            sum_dlt,
            _use_dlt645,
        ),
        Codec(
            "dlt645_1997",
            dlt645_1997.decode,
            frames("dlt645_1997"),
            213 + PREAMBLES,
            sum_dlt,
            _use_dlt645,
        ),
        Codec(
            "mbus", mbus.decode, frames("mbus") + frames("mbus_errors"), 262, _mend_mbus, _use_mbus
        ),
        Codec("modbus rtu", modbus.decode_rtu, _RTU, 257, _mend_rtu, _use_modbus),
        Codec(
            "modbus rtu answers",
            partial(modbus.decode_rtu, side="response"),
            _RTU,
            257,
            _mend_rtu,
            _use_modbus,
        ),
        Codec(
            "modbus tcp",
            modbus.decode_tcp,
            tuple(map(_tcp, _RTU)),
            261,
            _mend_tcp,
            _use_modbus,
        ),
        Codec(
            "modbus ascii",
            modbus.decode_ascii,
            tuple(map(_ascii, _RTU)),
            514,
            _mend_ascii,
            _use_modbus,
        ),
        Codec(
            "qgdw3761",
            qgdw3761.decode,
            frames("qgdw3761"),
            16_392,
            _mend_qgdw3761,
            _use_qgdw3761,
        ),
        Codec(
            "dtu",
            dtu.decode,
            _REGISTRATIONS + frames("dtu") + frames("cjt188")[:4],
            dtu.MAX_PACKET + 1,
            _as_it_is,
            repr,
        ),
        Codec("iot_push", _push, _PUSHES, 1, _mend_push, _use_push, whole=True),
    )


CODECS = codecs()


# --- mutations --------------------------------------------------------------------------------

Dice = random.Random


def _flip(dice: Dice, data: bytearray, _: Sequence[bytes]) -> None:
    for _n in range(dice.choice((1, 1, 2, 5))):
        data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)


def _cut(dice: Dice, data: bytearray, _: Sequence[bytes]) -> None:
    """The end, the beginning, or a piece out of the middle."""
    at, size = dice.randrange(len(data)), dice.choice((1, 1, 2, 4, 1_000))
    if dice.random() < 0.3:
        at = 0
    del data[at : at + size]


def _insert(dice: Dice, data: bytearray, _: Sequence[bytes]) -> None:
    at = dice.randrange(len(data) + 1)
    data[at:at] = dice.choice((b"\xfe", b"\x68", b"\x16", b"\0", dice.randbytes(3)))


def _splice(dice: Dice, data: bytearray, seeds: Sequence[bytes]) -> None:
    other = dice.choice(seeds)
    data[dice.randrange(len(data) + 1) :] = other[dice.randrange(len(other)) :]


def _lie(dice: Dice, data: bytearray, _: Sequence[bytes]) -> None:
    """Lengths, counts and codes stand near the front; put there what makes most trouble."""
    at = dice.randrange(min(len(data), dice.choice((24, 24, 10_000))))
    data[at] = dice.choice((0, 1, 0x0F, 0x7F, 0x80, 0xFE, 0xFF, dice.randrange(256)))


def _repeat(dice: Dice, data: bytearray, _: Sequence[bytes]) -> None:
    at = dice.randrange(len(data))
    piece = bytes(data[at : at + dice.choice((1, 2, 8, 64))])
    data[at:at] = piece * dice.choice((1, 2, 3))


def _fill(dice: Dice, data: bytearray, _: Sequence[bytes]) -> None:
    """A run of one value, as a stuck line or an empty register gives."""
    at, size = dice.randrange(len(data)), dice.choice((1, 4, 8))
    for n in range(at, min(at + size, len(data))):
        data[n] = 0xFF
    if dice.random() < 0.5:
        data[at] = dice.randrange(256)


MUTATIONS = (_flip, _flip, _cut, _insert, _splice, _lie, _lie, _repeat, _fill)


def mutated(dice: Dice, codec: Codec) -> bytes:
    """One spoilt frame, perhaps with its checksum right again, perhaps between others."""
    kind = dice.random()
    if kind < 0.05:
        return dice.randbytes(dice.choice((1, 2, 7, 20, 60, 300)))
    data = bytearray(dice.choice(codec.seeds))
    for _ in range(dice.choice((1, 1, 1, 2, 3))):
        if data:
            dice.choice(MUTATIONS)(dice, data, codec.seeds)
    if kind < 0.6:
        codec.mend(data)
    if kind > 0.9:
        return dice.choice(codec.seeds) + bytes(data) + dice.choice(codec.seeds)
    return bytes(data)
