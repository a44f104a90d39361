"""DL/T 645-2007 and -1997 on a bus: one data id a question, long answers in follow-up frames.

Answers are matched on address, control and data id. The AA wildcard asks whoever is there, so it
is no target; `read_address` uses it, for a line with one meter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from types import ModuleType
from typing import Any, Final

from collectors.dialects.base import (
    ANSWERED,
    LOCAL,
    NO_CREDENTIALS,
    NO_FREEZE,
    NO_SUPPLY,
    OWN,
    REFUSED,
    WRONG_ADDRESS,
    WRONG_ANSWER,
    CannotAsk,
    Errand,
    Freeze,
    Meaning,
    Memory,
    Step,
    Target,
    is_of,
    look_next,
)
from collectors.frames import dlt645, dlt645_1997
from collectors.frames.dlt645_di import (
    DI_DATE,
    DI_STATUS_WORD_3,
    DI_TIME,
    FREEZES,
    SETTLEMENTS,
)
from collectors.frames.dlt645_frame import BROADCAST, WILDCARD, addressed_to
from collectors.frames.dlt645_message import Credentials, Message
from collectors.frames.dlt645_value import Reading
from collectors.frames.dlt645_words import RELAY_CLOSE, RELAY_OPEN, relay_is_open
from collectors.frames.errors import FrameError


@dataclass(frozen=True, slots=True)
class Profile:
    """What is asked for as the register.

    kind           DI2 of the energy: what is counted; kind_1997 its DI1 DI0, 0 for none
    field          its name in the tables
    register       what Nuan calls it; a hundredth of a kWh and of a cubic metre are ten of either
    with_tariffs   ask for the block, the total and each tariff
    """

    kind: int
    kind_1997: int
    field: str
    register: str = "energy_wh"
    with_tariffs: bool = False


PROFILES: Final = {
    "default": Profile(0x01, 0x9010, "forward_active_energy"),
    "tariffs": Profile(0x01, 0x9010, "forward_active_energy", with_tariffs=True),
    "combined": Profile(0x00, 0, "combined_active_energy"),
    "reverse": Profile(0x02, 0x9020, "reverse_active_energy"),
    # Water and gas meters with this protocol count cubic metres where the tables say kWh.
    "volume": Profile(0x01, 0x9010, "forward_active_energy", "volume_l"),
}
_TARIFFS: Final = 4  # sharp, peak, flat, valley
_BLOCK: Final = 0xFF00
_DAY: Final = 0x06  # DI2 of the daily freeze
_DAYS: Final = FREEZES[_DAY][1]
_FROZEN_TIME: Final = 0x05060000
_NO_SUCH_DATA: Final = 0x02  # bit 1 of the error word in both editions
_RELAY_DRIFT: Final = timedelta(minutes=5)  # how far a meter's clock may be ahead of ours
_MONTHS_1997: Final = 2

Looks = tuple[tuple[int, datetime], ...]


class Dlt645Dialect:
    def __init__(self, target: Target, memory: Memory):
        if target.profile not in PROFILES:
            raise ValueError(f"no DL/T 645 profile is called {target.profile!r}")
        if len(target.address) != 12 or not _is_single(target.address):
            raise ValueError(f"{target.address!r} is no address of one meter (12 digits)")
        self.profile, self.target = PROFILES[target.profile], target
        self.address = target.address.upper()
        self.is_1997 = target.protocol == "dlt645_1997"
        if self.is_1997 and not self.profile.kind_1997:
            raise ValueError(f"DL/T 645-1997 counts no {self.profile.field}")
        self.codec: ModuleType = dlt645_1997 if self.is_1997 else dlt645

    def decode(self, buffer: bytes) -> tuple[Message | None, int]:
        found: tuple[Message | None, int] = self.codec.decode(buffer)
        return found

    # --- reading ------------------------------------------------------------------------------

    def steps(self, target: Target, now: datetime) -> list[Step]:
        steps = [self._relay_state()] if target.with_supply and not self.is_1997 else []
        if target.freeze is None:
            return [*steps, self.ask(self._energy(0))]
        if target.freeze.period == "month":
            return [*steps, self.ask(self._month(target.freeze, now))]
        return [*steps, self._day(target.freeze, now)]

    def _energy(self, back: int) -> int:
        """The data id of the energy `back` settlement days ago, 0 for now."""
        if self.is_1997:
            return self.profile.kind_1997 | back << 10 | 0x0F * self.profile.with_tariffs
        return self.profile.kind << 16 | _BLOCK * self.profile.with_tariffs | back

    def _month(self, freeze: Freeze, now: datetime) -> int:
        return self._energy(freeze.back(now, _MONTHS_1997 if self.is_1997 else SETTLEMENTS))

    def _day(self, freeze: Freeze, now: datetime) -> Step:
        """First the freeze's moment, then what was frozen: a meter without power at midnight has
        skipped a day, and those before it stand elsewhere."""
        if self.is_1997:
            raise CannotAsk("DL/T 645-1997 meters keep no days", NO_FREEZE)
        if not 1 <= self.profile.kind <= 8:
            raise CannotAsk(f"{self.profile.field} is not frozen daily", NO_FREEZE)
        return self._look(freeze, freeze.back(now, _DAYS), ())

    def _look(self, freeze: Freeze, back: int, looks: Looks) -> Step:
        return self.ask(_FROZEN_TIME | back, partial(self._on_moment, freeze, back, looks))

    def _on_moment(self, freeze: Freeze, back: int, looks: Looks, answer: Message) -> Step | None:
        moment = _moment(answer)
        if moment is None:
            return None
        if is_of(moment, freeze.on):
            return self.ask(_FROZEN_TIME | self.profile.kind << 8 | back)
        looks = (*looks, (back, moment))
        elsewhere = look_next(looks, freeze.on, _DAYS)
        return None if elsewhere is None else self._look(freeze, elsewhere, looks)

    def _relay_state(self) -> Step:
        return self.ask(DI_STATUS_WORD_3)

    def ask(self, di: int, then: Callable[[Message], Step | None] | None = None) -> Step:
        """One data id with all its follow-up frames."""
        request = self.codec.encode_read(self.address, di)
        return Step(request, partial(self._judge, di), partial(self._more, di, 1, then))

    def _more(
        self,
        di: int,
        sequence: int,
        then: Callable[[Message], Step | None] | None,
        answer: Message,
    ) -> Step | None:
        if not answer.has_more:
            return then(answer) if then else None
        if self.is_1997:
            request = dlt645_1997.encode_read_next(self.address, di)
        else:
            request = dlt645.encode_read_next(self.address, di, sequence)
        judge = partial(self._judge_next, di, None if self.is_1997 else sequence)
        return Step(request, judge, partial(self._more, di, sequence + 1, then))

    def _judge_next(self, di: int, sequence: int | None, message: Message) -> str:
        verdict = self._judge(di, message, self.codec.READ_NEXT)
        is_next = verdict != ANSWERED or message.sequence == sequence
        return verdict if is_next else WRONG_ANSWER

    def _judge(self, di: int, message: Message, function: int | None = None) -> str:
        wanted = self.codec.READ if function is None else function
        verdict = judge(self.address, wanted, message)
        if verdict == REFUSED and self.target.freeze and (message.error or 0) & _NO_SUCH_DATA:
            return NO_FREEZE
        if verdict == ANSWERED and message.di != di:
            return WRONG_ANSWER
        return verdict

    def meaning(self, answers: Sequence[Message]) -> Meaning:
        try:
            told = [self._whole(part) for part in _grouped(answers, self.codec.READ)]
        except FrameError as error:
            return Meaning(problem=str(error))
        last = told[-1]
        if last.di is not None and last.di & 0xFFFFFF00 == _FROZEN_TIME:
            return Meaning(problem="that day was not frozen", reason=NO_FREEZE)
        values = self._values(last.reading)
        if self.profile.register not in values:
            return Meaning(problem=f"{self.profile.field}: {last.problem or 'no such item'}")
        frozen_at = _frozen_at(self.target.freeze, told) if self.target.freeze else None
        return Meaning(values, "", None, _status(told), frozen_at)

    def _whole(self, parts: Sequence[Message]) -> Message:
        if len(parts) == 1 and not parts[0].has_more:
            return parts[0]
        whole: Message = self.codec.join(parts)
        return whole

    def _values(self, reading: Reading | None) -> dict[str, int]:
        """The register, and as energy_t1_wh … its tariffs. A fill value is no value."""
        values: dict[str, int] = {}
        if reading is None:
            return values
        name, unit = self.profile.register.rsplit("_", 1)
        for tariff in range(_TARIFFS + 1):
            value = reading.find(self.profile.field, tariff=tariff)
            amount = value.as_wh() if value and not value.fault else None
            if amount is not None:
                values[f"{name}_t{tariff}_{unit}" if tariff else self.profile.register] = amount
        return values

    def refusal(self, message: Message) -> str:
        return ", ".join(english for english, _ in message.error_words)

    # --- the relay ----------------------------------------------------------------------------

    def supply_steps(
        self, target: Target, *, is_open: bool, until: datetime, credentials: Credentials | None
    ) -> list[Step]:
        """1CH with N1 1A (trip) or 1C (close), void after a few minutes by the meter's clock."""
        if self.is_1997:
            raise CannotAsk("DL/T 645-1997 has no order for a relay", NO_SUPPLY)
        if credentials is None:
            raise CannotAsk("no password for DL/T 645 relays is set", NO_CREDENTIALS)
        n1 = RELAY_CLOSE if is_open else RELAY_OPEN
        expiry = (until + _RELAY_DRIFT).astimezone(LOCAL).replace(tzinfo=None, microsecond=0)
        request = dlt645.encode_relay(self.address, n1, expiry, credentials)
        return [Step(request, partial(judge, self.address, dlt645.RELAY))]


def judge(address: str, function: int, message: Message) -> str:
    """Whether a frame is the answer of that address to that function."""
    if not message.is_answer:
        return OWN
    if message.address != address and not addressed_to(address, message.address):
        return WRONG_ADDRESS
    if message.function != function:
        return WRONG_ANSWER
    return REFUSED if message.is_refusal else ANSWERED


def _is_single(address: str) -> bool:
    return address != BROADCAST and "AA" not in address.upper()


def _grouped(answers: Sequence[Message], read: int) -> list[list[Message]]:
    """Each answer with the follow-up frames that complete it."""
    groups: list[list[Message]] = []
    for answer in answers:
        if answer.function == read or not groups:
            groups.append([])
        groups[-1].append(answer)
    return groups


def _moment(answer: Message) -> datetime | None:
    """The moment in an answer to a freeze's time, or to the clock's."""
    value = answer.reading.values[0] if answer.reading and answer.reading.values else None
    raw = value.raw if value and not value.fault else None
    return raw if isinstance(raw, datetime) else None


def _frozen_at(freeze: Freeze, told: Sequence[Message]) -> datetime:
    """As the meter says, which it does of days only."""
    moments = [m for answer in told if (m := _moment(answer))]
    return moments[-1].replace(tzinfo=LOCAL).astimezone(UTC) if moments else freeze.at


def _status(told: Sequence[Message]) -> bytes:
    """Status word 3, where it was asked for."""
    return next((m.payload for m in told if m.di == DI_STATUS_WORD_3 and m.reading), b"")


def relay_is_closed(status: bytes) -> bool | None:
    """Whether power can flow, by status word 3; None where it was not asked for."""
    return not relay_is_open(int.from_bytes(status, "little")) if len(status) == 2 else None


def credentials_of(password: str, operator: str) -> Credentials | None:
    """From the settings: the level and the password in eight digits ("02123456"), the operator in
    eight. None where no password is set. Raises ValueError for other widths."""
    if not password:
        return None
    digits = f"{password}{operator or '00000000'}"
    if len(password) != 8 or len(digits) != 16 or not digits.isalnum():
        raise ValueError("a DL/T 645 password and operator have eight digits each")
    bytes.fromhex(digits)
    return Credentials(password[:2], password[2:], digits[8:])


# --- errands ------------------------------------------------------------------------------------


def read_clock(target: Target) -> Errand[datetime]:
    """The meter's wall clock."""
    dialect = Dlt645Dialect(target, {})
    ids = (0xC010, 0xC011) if dialect.is_1997 else (DI_DATE, DI_TIME)
    return Errand(target, dialect, [dialect.ask(di) for di in ids], _clock)


def _clock(answers: Sequence[Message]) -> datetime:
    found: list[Any] = [a.reading.values[0].raw if a.reading else None for a in answers]
    day, clock = found
    if not isinstance(day, date) or not isinstance(clock, time):
        raise ValueError("the meter's clock is not set")
    return datetime.combine(day, clock)


def broadcast_time(target: Target, when: datetime) -> Errand[None]:
    """Set the clock of every meter on the bus (08H): nobody answers, and a meter obeys once a day
    and by five minutes at most (§7.2.9)."""
    dialect = Dlt645Dialect(target, {})
    request = dialect.codec.encode_broadcast_time(when.astimezone(LOCAL).replace(tzinfo=None))
    return Errand(target, dialect, [Step(request, None)], lambda answers: None)


def freeze_now(target: Target) -> Errand[None]:
    """Have one meter freeze its registers at once (16H, §7.2.7)."""
    dialect = Dlt645Dialect(target, {})
    if dialect.is_1997:
        raise CannotAsk("DL/T 645-1997 has no freeze command", NO_FREEZE)
    request = dlt645.encode_freeze(address=dialect.address)
    steps = [Step(request, partial(judge, dialect.address, dlt645.FREEZE))]
    return Errand(target, dialect, steps, lambda answers: None)


def read_address(protocol: str = "dlt645_2007") -> Errand[str]:
    """The address of the only meter on a line, by the wildcard (13H, §7.2.4)."""
    anybody = Target(protocol, "0" * 12)
    dialect = Dlt645Dialect(anybody, {})
    if dialect.is_1997:
        # That edition has no such command; any question to the wildcard is answered by name.
        request, function = dlt645_1997.encode_read(WILDCARD, 0x9010), dlt645_1997.READ
    else:
        request, function = dlt645.encode_read_address(), dlt645.READ_ADDRESS
    steps = [Step(request, partial(judge, WILDCARD, function))]
    return Errand(anybody, dialect, steps, lambda answers: answers[-1].named or answers[-1].address)


def write_address(target: Target, new: str) -> Errand[None]:
    """Give the only meter on a line a new address (15H, 1997: 0AH); `target` is it under that
    address, which answers."""
    dialect = Dlt645Dialect(target, {})
    request = dialect.codec.encode_write_address(new)
    steps = [Step(request, partial(judge, new, dialect.codec.WRITE_ADDRESS))]
    return Errand(target, dialect, steps, lambda answers: None)
