"""What a DTU (a cellular or ZigBee serial modem) sends of itself among the meters' bytes.

A modem that connects says who it is (registration), keeps its line open (heartbeat), and carries
the meters' bytes (data), sometimes each packet behind its own id (prefix). None of this is a
standard: installers type it into the modem. What is usual is recognised here; what is not is a
`Profile`, as data. A registration glued to a frame is cut off it; the rest is decoded next.

Nothing here is summed, so an id is believed only where it looks like one: whoever listens checks
it against the archive.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from collectors.frames.errors import FrameError

Kind = Literal["registration", "heartbeat", "data"]
Buffer = bytes | bytearray | memoryview

MAX_PACKET: Final = 4096
MAX_JSON: Final = 1024
MAX_ID: Final = 40


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet of the modem's.

    id       as printed or configured: decimal digits of an IMEI or ICCID, hexadecimal of a MAC
    form     how it was written: "text", "json", "bcd-imei", "bcd-iccid", "mac", "ddp", "prot",
             "flagged", "prefix", "bytes"
    payload  the meters' bytes where kind is "data", else empty
    """

    kind: Kind
    id: str | None
    form: str
    payload: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Prefix:
    """What stands before every packet: `magic`, a length byte or none, and the id.

    is_text  the id is ASCII; otherwise its bytes are given in hexadecimal
    """

    magic: bytes = b""
    has_length: bool = False
    id_length: int = 15
    is_text: bool = True

    @property
    def size(self) -> int:
        return len(self.magic) + self.has_length + self.id_length


@dataclass(frozen=True, slots=True)
class Profile:
    """A modem's own settings.

    prefix         before each packet; None: none
    registrations  exact packets -> the id they stand for
    heartbeats     exact packets, besides the usual ones
    is_raw         nothing but these is looked for: bytes that are none of them are data
    """

    prefix: Prefix | None = None
    registrations: dict[bytes, str] = field(default_factory=dict)
    heartbeats: frozenset[bytes] = frozenset()
    is_raw: bool = False


COLLECTOR = Prefix(b"CTRL:", has_length=True)  # GPRS heat collectors: length, fifteen characters
DEFAULT = Profile()

# --- the usual words --------------------------------------------------------------------------

# fmt: off
_BEATS: Final = frozenset((
    "ping", "pong", "heart", "heartbeat", "heart-beat", "heart_beat", "hb", "beat", "hello",
    "alive", "keepalive", "keep-alive", "keep_alive", "keep", "live", "www.usr.cn",
))
_LABELS: Final = frozenset((
    "login", "logon", "register", "registration", "regist", "reg", "imei", "iccid", "ccid", "sn",
    "id", "devid", "deviceid", "device_id", "devno", "dtu", "dtuid", "dtu_id", "zigbee", "zb",
    "lora", "mac", "deveui", "phone", "sim", "at",
))
_ID_KEYS: Final = (
    "imei", "dtuid", "dtu_id", "deviceid", "device_id", "devid", "devno", "sn", "id", "mac",
    "deveui", "clientid", "client_id", "iccid", "ccid", "phone", "reg", "name",
)
# fmt: on
_KIND_KEYS: Final = ("cmd", "type", "msgtype", "action", "method", "event", "kind", "m")
# One byte on its own. E5 is a meter's acknowledgement, 10 and 68 begin a frame.
_BEAT_BYTES: Final = frozenset(b"\x00\x0a\x0d\x20$.01@HPU\xa5\xaa\xfe\xff")
_FRAME_BEGINS: Final = b"\x68\xfe"
_SPLIT: Final = re.compile(r"[^A-Za-z0-9_.\-]+")
_LINE: Final = re.compile(rb"[\x20-\x7e]+(?:[\r\n]+|\x00*\Z)")
_GLUED: Final = re.compile(
    rb"([0-9A-Za-z_\-+:=,#@$*]{4,60}?)(?=\xfe|h[^\r\n]*[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\xff])"
)
_JSON_START: Final = re.compile(rb"[\x20-\x7a]{0,16}?\{(?=[\s\"}])")
_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*\Z")


def decode(buffer: Buffer, profile: Profile = DEFAULT) -> tuple[Packet | None, int]:
    """The packet at the front of `buffer` and its length; (None, 0) means that more is needed.

    Data has no length of its own: it is all there is. Raises FrameError "length" for more bytes
    than a packet may have, "structure" for a header that cannot be, "unsupported" for a DDP order.
    """
    data = bytes(buffer[: MAX_PACKET + 1])
    if len(data) > MAX_PACKET:
        raise FrameError(f"more than {MAX_PACKET} bytes", code="length", consumed=len(buffer))
    if not data:
        return None, 0
    if profile.prefix and data.startswith(profile.prefix.magic):
        return _prefixed(data, profile.prefix)
    exact = _exact(data, profile)
    if exact is not None:
        return exact, len(exact.raw)
    if profile.is_raw:
        return _data(data), len(data)
    return _usual(data)


def classify(data: Buffer, profile: Profile = DEFAULT) -> Packet:
    """A packet that is all there, such as one datagram or one read after a pause.

    Raises FrameError "short" where it is empty or cut off, besides what `decode` raises."""
    packet, _ = decode(data, profile)
    if packet is None:
        raise FrameError("the packet is not complete", at=len(data), code="short")
    return packet


def _data(data: bytes) -> Packet:
    return Packet("data", None, "bytes", data, data)


def _exact(data: bytes, profile: Profile) -> Packet | None:
    for packet, name in profile.registrations.items():
        if packet and data.startswith(packet):
            return Packet("registration", name, "bytes", b"", packet)
    for packet in profile.heartbeats:
        if packet and data.startswith(packet):
            return Packet("heartbeat", None, "bytes", b"", packet)
    return None


def _prefixed(data: bytes, prefix: Prefix) -> tuple[Packet | None, int]:
    if len(data) < prefix.size:
        return None, 0
    begin = prefix.size - prefix.id_length
    name = data[begin : prefix.size]
    if prefix.is_text and not _ID.match(name.decode("latin-1").strip("\0 ")):
        raise FrameError("the prefix holds no id", at=begin, code="structure")
    text = name.decode("ascii").strip("\0 ") if prefix.is_text else name.hex().upper()
    payload = data[prefix.size :]
    kind: Kind = "data" if payload else "registration"
    return Packet(kind, text, "prefix", payload, data), len(data)


def _usual(data: bytes) -> tuple[Packet | None, int]:
    if data.startswith(COLLECTOR.magic):
        return _prefixed(data, COLLECTOR)
    if data[0] == 0x7B and (len(data) < 2 or data[1] < 0x09 or data[1:2] == b"\x09"):
        found = _ddp(data)
        if found is not None:
            return found
    if _is_open_json(data):
        return None, 0
    for reader in (_beat_bytes, _flagged, _binary_id, _json, _text):
        packet = reader(data)
        if packet is not None:
            return packet, len(packet.raw)
    return _data(data), len(data)


def _beat_bytes(data: bytes) -> Packet | None:
    """One byte alone, or nothing but FE: a frame's preamble without a frame."""
    lone = len(data) == 1 and data[0] in _BEAT_BYTES
    if lone or data.count(0xFE) == len(data):
        return Packet("heartbeat", None, "bytes", b"", data)
    return None


_FLAGGED: Final = re.compile(rb"(?s)([\x7e\xfe])([\x80\x81])(.{0,20}?)\1")


def _flagged(data: bytes) -> Packet | None:
    """7E or FE around 80 (registration) or 81 (heartbeat) and the id, in ASCII or as bytes; a
    frame's preamble never goes on with either."""
    match = _FLAGGED.match(data)
    if match is None or (match[2] == b"\x80" and not match[3]):
        return None
    text = match[3].decode("latin-1")
    name = text if len(text) >= 4 and _ID.match(text) else match[3].hex().upper()
    kind: Kind = "registration" if match[2] == b"\x80" else "heartbeat"
    return Packet(kind, name or None, "flagged", b"", match[0])


# --- binary registrations ---------------------------------------------------------------------


def _ddp(data: bytes) -> tuple[Packet | None, int] | None:
    """7B, type, length (high first), eleven characters of id, (address and port), 7B: the framing
    of industrial GPRS modems. 01 registers and keeps the line, 09 carries data behind it."""
    if len(data) < 4:
        return None, 0
    length = int.from_bytes(data[2:4], "big")
    if data[1] not in (0x01, 0x02, 0x09) or length not in (16, 22):
        return None
    if len(data) < length:
        return None, 0
    name = data[4:15].rstrip(b"\0")
    if data[length - 1] != 0x7B or not name.isdigit():
        raise FrameError("DDP header without id or end", at=length - 1, code="structure")
    if data[1] == 0x02:
        raise FrameError("DDP: the modem leaves", at=1, code="unsupported", consumed=length)
    if data[1] == 0x01:
        raw = data[:length]
        return Packet("registration", name.decode(), "ddp", b"", raw), length
    return Packet("data", name.decode(), "ddp", data[length:], data), len(data)


def _binary_id(data: bytes) -> Packet | None:
    """An id in packed digits, on its own or with a frame behind it."""
    for size, reader, form in (
        (8, _bcd_imei, "bcd-imei"),
        (10, _bcd_iccid, "bcd-iccid"),
        (10, _mac, "mac"),
        (21, _prot, "prot"),
    ):
        if len(data) == size or (len(data) > size and data[size] in _FRAME_BEGINS):
            name = reader(data[:size])
            if name is not None:
                return Packet("registration", name, form, b"", data[:size])
    return None


def _bcd_imei(data: bytes) -> str | None:
    """Fifteen digits with a 0 before or an F behind, their check digit right (3GPP TS 23.003)."""
    digits = data.hex()
    name = digits[1:] if digits[0] == "0" else digits[:-1] if digits[-1] == "f" else ""
    return name if name.isdecimal() and is_imei(name) else None


def is_imei(text: str) -> bool:
    """Fifteen digits whose last one is the Luhn check of the others; not all zeros."""
    if len(text) != 15 or not (text.isascii() and text.isdecimal()) or not int(text):
        return False
    total = sum(
        int(digit) if n % 2 == 0 else sum(divmod(2 * int(digit), 10))
        for n, digit in enumerate(text)
    )
    return total % 10 == 0


def _bcd_iccid(data: bytes) -> str | None:
    """Twenty digits that begin with 8986: a Chinese SIM card (ITU-T E.118)."""
    digits = data.hex()
    return digits if digits.startswith("8986") and digits.isdecimal() else None


def _mac(data: bytes) -> str | None:
    """ZB and the eight bytes of a ZigBee module's address."""
    return data[2:].hex().upper() if data[:2] == b"ZB" and any(data[2:]) else None


def _prot(data: bytes) -> str | None:
    """Id of four bytes (low first), eleven characters of phone number, 0, IP address, 0."""
    is_form = data[4:15].isdigit() and data[4:5] == b"1" and not data[15] and not data[20]
    return data[3::-1].hex().upper() if is_form else None


# --- text ---------------------------------------------------------------------------------------


_CSQ: Final = re.compile(rb"csq\W{1,4}(\d{1,2})(?!\d)", re.IGNORECASE)


def signal_dbm(packet: bytes) -> int | None:
    """How strong a modem's network is where a packet tells its CSQ (+CSQ: 23,0 or "csq":23):
    3GPP 27.007 §8.5 counts 0 to 31 in steps of 2 dB from -113 dBm; 99 is not known."""
    found = _CSQ.search(packet)
    steps = int(found[1]) if found else 99
    return -113 + 2 * steps if steps <= 31 else None


def _json(data: bytes) -> Packet | None:
    """A JSON object, maybe behind a word (`+login {...}`), with an id or a heartbeat in it."""
    begin = _JSON_START.match(data)
    if begin is None:
        return None
    start = begin.end() - 1
    try:
        text = data[start : start + MAX_JSON].decode("utf-8", "replace")
        value, size = json.JSONDecoder().raw_decode(text)
    except (ValueError, RecursionError):
        return None
    if "\ufffd" in text[:size]:
        return None
    words = _words(data[:start])
    end = start + len(text[:size].encode())
    end += len(data[end:]) - len(data[end:].lstrip(b"\r\n\0"))
    return _from_json(value, words, data[:end])


def _from_json(value: dict[str, Any], words: list[str], raw: bytes) -> Packet | None:
    flat = {key.lower(): one for key, one in _pairs(value)}
    names = [str(flat[key]) for key in _ID_KEYS if _is_name(flat.get(key))]
    kinds = words + [str(flat[key]).lower() for key in _KIND_KEYS if key in flat]
    if any(kind in _BEATS for kind in kinds):
        return Packet("heartbeat", names[0] if names else None, "json", b"", raw)
    is_login = not kinds or any(kind in _LABELS for kind in kinds)
    if names and is_login:
        return Packet("registration", names[0], "json", b"", raw)
    return None


def _pairs(value: dict[str, Any]) -> list[tuple[str, Any]]:
    """Keys of the object and of the objects right inside it."""
    inner = [pair for one in value.values() if isinstance(one, dict) for pair in one.items()]
    return inner + list(value.items())


def _is_name(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (str, int)):
        return False
    return 4 <= len(str(value)) <= MAX_ID and _ID.match(str(value)) is not None


def _is_open_json(data: bytes) -> bool:
    """A JSON object that has begun and may still end."""
    begin = _JSON_START.match(data)
    if begin is None or len(data) >= MAX_JSON or b"\0" in data:
        return False
    try:
        json.loads(data[begin.end() - 1 :])
    except UnicodeDecodeError:
        return False
    except json.JSONDecodeError as error:
        return error.pos >= len(error.doc) or error.msg.startswith("Unterminated")
    except (ValueError, RecursionError):
        return False
    return False


def _words(data: bytes) -> list[str]:
    return [word.lower() for word in _SPLIT.split(data.decode("ascii", "replace")) if word]


def _text(data: bytes) -> Packet | None:
    """A line of text, or text with a frame right behind it."""
    line = _LINE.match(data)
    if line is None:
        line = _GLUED.match(data)
        return _from_text(line[1]) if line else None
    return _from_text(line[0])


def _from_text(raw: bytes) -> Packet | None:
    parts = [part for part in _SPLIT.split(raw.strip(b"\r\n\0 ").decode("ascii")) if part]
    low = [part.lower() for part in parts]
    if not parts:
        return None
    ids = [part for part, word in zip(parts, low, strict=True) if word not in _LABELS | _BEATS]
    name = next((part for part in ids if 4 <= len(part) <= MAX_ID and _has_digit(part)), None)
    if low[0] in _BEATS:
        return Packet("heartbeat", name, "text", b"", raw)
    is_labelled = low[0] in _LABELS
    if name is None or not (is_labelled or (len(parts) == 1 and _is_bare_id(name))):
        return None
    return Packet("registration", _unhex(name), "text", b"", raw)


def _has_digit(part: str) -> bool:
    return any(c.isdigit() for c in part)


def _is_bare_id(name: str) -> bool:
    """An id without a label: no number with a point, no frame in hexadecimal, and nothing that
    begins with h (68H, a frame's start) or repeats one character (33 33 is DL/T 645's zero)."""
    is_frame = len(name) >= 20 and name.startswith("68") and name.endswith("16")
    return "." not in name and not is_frame and name[0] != "h" and len(set(name)) > 1


def _unhex(name: str) -> str:
    """Digits typed as their ASCII codes (3836…) are those digits."""
    if len(name) == 30 and re.fullmatch(r"(3\d){15}", name):
        return name[1::2]
    return name


__all__ = ["COLLECTOR", "DEFAULT", "Packet", "Prefix", "Profile", "classify", "decode", "is_imei"]
__all__ += ["signal_dbm"]
