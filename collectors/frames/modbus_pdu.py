"""Modbus PDUs (Modbus Application Protocol V1.1b3): function code and data, without framing.

`size` says from the first bytes how long a PDU must be, which is what framing without a length
field rests on; `parse` reads one; the other functions write requests and answers. Nothing on the
wire says whether a PDU is a request or an answer: `side` does, where the reader knows it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from collectors.frames.errors import FrameError

Kind = Literal["request", "response", "exception", "unknown"]
Side = Literal["request", "response", "any"]

READ_COILS: Final = 0x01
READ_DISCRETE: Final = 0x02
READ_HOLDING: Final = 0x03
READ_INPUT: Final = 0x04
WRITE_COIL: Final = 0x05
WRITE_REGISTER: Final = 0x06
WRITE_COILS: Final = 0x0F
WRITE_REGISTERS: Final = 0x10
MASK_WRITE: Final = 0x16
READ_WRITE: Final = 0x17
ENCAPSULATED: Final = 0x2B
DEVICE_ID: Final = 0x0E  # the MEI type of "read device identification" (§6.21)
EXCEPTION: Final = 0x80

MAX_PDU: Final = 253  # §4.1
MAX_READ_REGISTERS: Final = 125  # §6.3
MAX_READ_BITS: Final = 2000  # §6.1
MAX_WRITE_REGISTERS: Final = 123  # §6.12
MAX_WRITE_BITS: Final = 1968  # §6.11

# §7
EXCEPTIONS: Final = {
    0x01: "illegal function",
    0x02: "illegal data address",
    0x03: "illegal data value",
    0x04: "server device failure",
    0x05: "acknowledge",
    0x06: "server device busy",
    0x08: "memory parity error",
    0x0A: "gateway path unavailable",
    0x0B: "gateway target device failed to respond",
}

_BITS: Final = (READ_COILS, READ_DISCRETE)
_REGISTERS: Final = (READ_HOLDING, READ_INPUT, READ_WRITE)
_READS: Final = (READ_COILS, READ_DISCRETE, READ_HOLDING, READ_INPUT)
_NEVER: Final = 0  # what `size` says of bytes no PDU begins with


@dataclass(frozen=True, slots=True)
class _Shape:
    """`fixed` bytes, and as many more as the big-endian number at `counter` says."""

    fixed: int
    counter: int | None = None
    width: int = 1

    def size(self, head: bytes) -> int | None:
        if self.counter is None:
            return self.fixed
        end = self.counter + self.width
        if len(head) < end:
            return None
        return self.fixed + int.from_bytes(head[self.counter : end], "big")


_SHAPES: Final[dict[str, dict[int, _Shape]]] = {
    "request": {
        **{function: _Shape(5) for function in (0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x08)},
        **{function: _Shape(1) for function in (0x07, 0x0B, 0x0C, 0x11)},
        WRITE_COILS: _Shape(6, 5),
        WRITE_REGISTERS: _Shape(6, 5),
        0x14: _Shape(2, 1),
        0x15: _Shape(2, 1),
        MASK_WRITE: _Shape(7),
        READ_WRITE: _Shape(10, 9),
        0x18: _Shape(3),
        ENCAPSULATED: _Shape(4),
    },
    "response": {
        **{function: _Shape(2, 1) for function in (*_READS, READ_WRITE, 0x0C, 0x11, 0x14, 0x15)},
        **{function: _Shape(5) for function in (WRITE_COIL, WRITE_REGISTER, 0x08, 0x0B)},
        WRITE_COILS: _Shape(5),
        WRITE_REGISTERS: _Shape(5),
        0x07: _Shape(2),
        MASK_WRITE: _Shape(7),
        0x18: _Shape(3, 1, 2),
        ENCAPSULATED: _Shape(7),
    },
}


@dataclass(frozen=True, slots=True)
class Pdu:
    """One PDU and what it says; a field that its function does not have is None.

    function       without the exception bit
    address        of the first coil or register, counted from 0 as on the wire
    count          of coils or registers asked for or written
    registers      in an answer those read, in a request those written
    bits           coils as packed on the wire, the first one in the lowest bit
    code           of an exception; `EXCEPTIONS` has its words
    write_address  function 17H: where `registers` go
    masks          function 16H: AND and OR
    objects        function 2B/0E: object id -> bytes
    data           everything after the function code
    """

    function: int
    kind: Kind
    data: bytes
    address: int | None = None
    count: int | None = None
    registers: tuple[int, ...] | None = None
    bits: bytes | None = None
    code: int | None = None
    write_address: int | None = None
    masks: tuple[int, int] | None = None
    objects: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def raw(self) -> bytes:
        flag = EXCEPTION if self.kind == "exception" else 0
        return bytes((self.function | flag,)) + self.data


def size(head: bytes, kind: str) -> int | None:
    """How many bytes the PDU beginning with `head` has as a "request", "response" or "exception".

    None while `head` is too short to tell, 0 where it can not be one (an unknown function, a
    count that contradicts itself, more than 253 bytes).
    """
    if not head:
        return None
    if kind == "exception":
        return _exception_size(head)
    shape = _SHAPES[kind].get(head[0])
    if shape is None:
        return _NEVER
    length = shape.size(head)
    if head[0] == ENCAPSULATED:
        length = _device_id_size(head, kind)
    if length is None:
        return None
    return length if length <= MAX_PDU and not _contradicts(head, kind) else _NEVER


def _exception_size(head: bytes) -> int | None:
    if not head[0] & EXCEPTION or head[0] & ~EXCEPTION not in _SHAPES["request"]:
        return _NEVER
    return _NEVER if len(head) > 1 and head[1] == 0 else 2


def _contradicts(head: bytes, kind: str) -> bool:
    """Whether a byte count can not belong to its function or to the count beside it."""
    function = head[0]
    if kind == "response" and function in _REGISTERS:
        return head[1] == 0 or head[1] % 2 == 1
    if kind == "response" and function in _BITS:
        return head[1] == 0
    if kind == "response" or function not in (WRITE_COILS, WRITE_REGISTERS, READ_WRITE):
        return False
    at = 8 if function == READ_WRITE else 4
    count = int.from_bytes(head[at - 1 : at + 1], "big")
    return count == 0 or head[at + 1] != (
        (count + 7) // 8 if function == WRITE_COILS else count * 2
    )


def _device_id_size(head: bytes, kind: str) -> int | None:
    """§6.21: an answer is as long as its objects, each with its own length."""
    if len(head) > 1 and head[1] != DEVICE_ID:
        return _NEVER
    if kind == "request":
        return 4
    if len(head) < 7:
        return None
    at = 7
    for _ in range(head[6]):
        if at + 2 > len(head):
            return None if at < MAX_PDU else _NEVER
        at += 2 + head[at + 1]
    return at


def kinds(side: Side) -> tuple[Kind, ...]:
    """The kinds of PDU that come from one side of the conversation, or from any."""
    if side == "request":
        return ("request",)
    return ("response", "exception") if side == "response" else ("request", "response", "exception")


def is_known(function: int) -> bool:
    """Whether the shape of a function's PDUs is known."""
    return function & ~EXCEPTION in _SHAPES["request"]


def parse(pdu: bytes, *, side: Side = "any", at: int = 0) -> Pdu:
    """Read a whole PDU. A function whose shape is not known comes back with kind "unknown".

    What fits both sides is taken for a request where it could be a sensible one. `at` is where
    the PDU begins in the caller's buffer. Raises FrameError: "short", "length" (more than 253
    bytes), "structure" (a known function of another shape).
    """
    if not pdu:
        raise FrameError("no function code", at=at, code="short")
    if len(pdu) > MAX_PDU:
        raise FrameError(f"{len(pdu)} bytes are no PDU", at=at, code="length")
    fitting = [kind for kind in kinds(side) if size(pdu, kind) == len(pdu)]
    if fitting:
        kind = fitting[0] if len(fitting) == 1 else _likelier(pdu)
        return _read(pdu, kind)
    if is_known(pdu[0]):
        raise FrameError(f"function {pdu[0]:02X} does not fit its length", at=at, code="structure")
    return Pdu(pdu[0], "unknown", pdu[1:])


def _likelier(pdu: bytes) -> Kind:
    """Five bytes of function 01 or 02 may ask, or answer with three bytes of bits."""
    if pdu[0] in _BITS and not 1 <= int.from_bytes(pdu[3:5], "big") <= MAX_READ_BITS:
        return "response"
    return "request"


def _read(pdu: bytes, kind: Kind) -> Pdu:
    function, data = pdu[0] & ~EXCEPTION, pdu[1:]
    if kind == "exception":
        return Pdu(function, kind, data, code=data[0])
    if kind == "response" and function in _BITS:
        return Pdu(function, kind, data, bits=data[1:])
    if kind == "response" and function in _REGISTERS:
        return Pdu(function, kind, data, registers=words(data[1:]))
    if function == ENCAPSULATED:
        return Pdu(function, kind, data, objects=_objects(data) if kind == "response" else {})
    if function in (*_READS, WRITE_COIL, WRITE_REGISTER, WRITE_COILS, WRITE_REGISTERS):
        return _read_addressed(function, kind, data)
    if function == MASK_WRITE:
        address, and_mask, or_mask = words(data)
        return Pdu(function, kind, data, address, masks=(and_mask, or_mask))
    if function == READ_WRITE:
        address, count, write_address, _ = words(data[:8])
        written = words(data[9:])
        return Pdu(function, kind, data, address, count, written, write_address=write_address)
    return Pdu(function, kind, data)


def _read_addressed(function: int, kind: Kind, data: bytes) -> Pdu:
    """The functions whose data begin with an address and a count or a value."""
    address, second = words(data[:4])
    if function == WRITE_REGISTER:
        return Pdu(function, kind, data, address, registers=(second,))
    if function == WRITE_COIL:
        return Pdu(function, kind, data, address, bits=data[2:4])
    if kind == "request" and function == WRITE_COILS:
        return Pdu(function, kind, data, address, second, bits=data[5:])
    if kind == "request" and function == WRITE_REGISTERS:
        return Pdu(function, kind, data, address, second, words(data[5:]))
    return Pdu(function, kind, data, address, second)


def _objects(data: bytes) -> dict[int, bytes]:
    found, at = {}, 6
    while at < len(data):
        length = data[at + 1]
        found[data[at]] = data[at + 2 : at + 2 + length]
        at += 2 + length
    return found


def words(data: bytes) -> tuple[int, ...]:
    """Big-endian 16-bit words; a last odd byte is left out."""
    return tuple(int.from_bytes(data[n : n + 2], "big") for n in range(0, len(data) - 1, 2))


def word_bytes(values: Sequence[int]) -> bytes:
    """Registers as they go on the wire. Raises OverflowError outside 0 to 65535."""
    return b"".join(value.to_bytes(2, "big") for value in values)


def bits_of(flags: Sequence[bool]) -> bytes:
    """Coils packed as on the wire, the first one in the lowest bit."""
    packed = sum(1 << n for n, flag in enumerate(flags) if flag)
    return packed.to_bytes((len(flags) + 7) // 8, "little")


def flags_of(bits: bytes, count: int) -> list[bool]:
    """The first `count` coils of packed ones."""
    number = int.from_bytes(bits, "little")
    return [bool(number >> n & 1) for n in range(count)]


# Requests ---------------------------------------------------------------------------------


def request_read(function: int, address: int, count: int) -> bytes:
    """Functions 01 to 04 (§6.1 to §6.4). Raises ValueError for a count the function can not
    answer in one PDU, or an address and count beyond register 65535."""
    limit = MAX_READ_BITS if function in _BITS else MAX_READ_REGISTERS
    if function not in _READS or not 1 <= count <= limit:
        raise ValueError(f"function {function:02X} does not read {count} at once")
    _check_span(address, count)
    return bytes((function,)) + word_bytes((address, count))


def _check_span(address: int, count: int) -> None:
    if not 0 <= address <= 0x10000 - count:
        raise ValueError(f"{count} from {address} on reach beyond 0 to 65535")


def request_write_coil(address: int, is_on: bool) -> bytes:
    """Function 05 (§6.5); its answer is the same."""
    return bytes((WRITE_COIL,)) + word_bytes((address, 0xFF00 if is_on else 0))


def request_write_register(address: int, value: int) -> bytes:
    """Function 06 (§6.6); its answer is the same."""
    return bytes((WRITE_REGISTER,)) + word_bytes((address, value))


def request_write_coils(address: int, flags: Sequence[bool]) -> bytes:
    """Function 0F (§6.11). Raises ValueError for none or more than 1968 coils."""
    if not 1 <= len(flags) <= MAX_WRITE_BITS:
        raise ValueError(f"{len(flags)} coils can not be written at once")
    _check_span(address, len(flags))
    packed = bits_of(flags)
    head = bytes((WRITE_COILS,)) + word_bytes((address, len(flags)))
    return head + bytes((len(packed),)) + packed


def request_write_registers(address: int, values: Sequence[int]) -> bytes:
    """Function 10 (§6.12). Raises ValueError for none or more than 123 registers."""
    if not 1 <= len(values) <= MAX_WRITE_REGISTERS:
        raise ValueError(f"{len(values)} registers can not be written at once")
    _check_span(address, len(values))
    head = bytes((WRITE_REGISTERS,)) + word_bytes((address, len(values)))
    return head + bytes((2 * len(values),)) + word_bytes(values)


def request_mask_write(address: int, and_mask: int, or_mask: int) -> bytes:
    """Function 16 (§6.16); its answer is the same."""
    return bytes((MASK_WRITE,)) + word_bytes((address, and_mask, or_mask))


def request_read_write(
    address: int, count: int, write_address: int, values: Sequence[int]
) -> bytes:
    """Function 17 (§6.17). Raises ValueError for more than 125 read or 121 written."""
    if not 1 <= count <= MAX_READ_REGISTERS or not 1 <= len(values) <= 121:
        raise ValueError(f"{count} read and {len(values)} written do not go into one request")
    _check_span(address, count)
    _check_span(write_address, len(values))
    head = bytes((READ_WRITE,)) + word_bytes((address, count, write_address, len(values)))
    return head + bytes((2 * len(values),)) + word_bytes(values)


def request_device_id(code: int = 1, first: int = 0) -> bytes:
    """Function 2B/0E (§6.21): basic (1), regular (2), extended (3) or one object (4)."""
    return bytes((ENCAPSULATED, DEVICE_ID, code, first))


# Answers ----------------------------------------------------------------------------------


def answer_bits(function: int, flags: Sequence[bool]) -> bytes:
    """To functions 01 and 02."""
    packed = bits_of(flags)
    return bytes((function, len(packed))) + packed


def answer_registers(function: int, values: Sequence[int]) -> bytes:
    """To functions 03, 04 and 17."""
    return bytes((function, 2 * len(values))) + word_bytes(values)


def answer_written(function: int, address: int, count: int) -> bytes:
    """To functions 0F and 10."""
    return bytes((function,)) + word_bytes((address, count))


def answer_device_id(code: int, objects: Mapping[int, bytes]) -> bytes:
    """To function 2B/0E, all objects in one answer. Raises ValueError where they do not fit."""
    head = bytes((ENCAPSULATED, DEVICE_ID, code, 0x80 | code, 0, 0, len(objects)))
    pdu = head + b"".join(bytes((n, len(text))) + text for n, text in sorted(objects.items()))
    if len(pdu) > MAX_PDU:
        raise ValueError(f"{len(pdu)} bytes of identification do not fit one answer")
    return pdu


def answer_exception(function: int, code: int) -> bytes:
    """A refusal (§7)."""
    return bytes((function | EXCEPTION, code))
