"""M-Bus (EN 13757-2/-3) on a bus: primary or selected, telegram after telegram.

A read of a meter that is known to be in step is one REQ_UD2 with the frame count bit (FCB) turned;
SND_NKE goes before it only where the two are not known to agree: the first time, after a failure,
and after a telegram with more to follow was left at that (EN 13757-2 §5.5).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Final

from collectors.dialects.base import (
    ANSWERED,
    LOCAL,
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
)
from collectors.dialects.mbus_values import (
    NAMES,
    Profile,
    clock_of,
    dated,
    is_same,
    primary_register,
    values_of,
)
from collectors.frames import mbus
from collectors.frames.dlt645_message import Credentials
from collectors.frames.mbus_encode import (
    BAUD_RATES,
    BROADCAST,
    CI_RESET,
    CI_SELECT,
    CI_SEND,
    FCB,
    SELECTED,
    SND_UD,
    encode_long,
    encode_req_ud2,
    encode_snd_nke,
    manufacturer_bytes,
    record_datetime,
)

_MOST_TELEGRAMS: Final = 32
_BILLING: Final = 0x20  # application reset subcode "simple billing" (EN 13757-3 §7.1)


PROFILES: Final = {
    "default": Profile(),
    "end-of-day": Profile(date_is_end=True),
    "billing": Profile(application=_BILLING),
}


class MbusDialect:
    def __init__(self, target: Target, memory: Memory):
        if target.profile not in PROFILES:
            raise ValueError(f"no M-Bus profile is called {target.profile!r}")
        self.target, self.profile, self.memory = target, PROFILES[target.profile], memory
        self.is_secondary = len(target.address) in (8, 16)
        self.secondary = target.address.upper().ljust(16, "F") if self.is_secondary else ""
        self.primary = SELECTED if self.is_secondary else _primary(target.address)
        self.key = ("mbus", target.address)
        self._telegrams: list[mbus.Variable | mbus.Fixed] = []

    def decode(self, buffer: bytes) -> tuple[mbus.Message | None, int]:
        return mbus.decode(buffer)

    # --- reading ------------------------------------------------------------------------------

    def steps(self, target: Target, now: datetime) -> list[Step]:
        if target.freeze:
            target.freeze.back(now, 10_000)  # one yet to come is in no telegram
        self._telegrams = []
        application = self.profile.application if target.freeze else None
        steps, fcb = self._opened(must_reset=application is not None)
        if application is not None:
            steps.append(self._command(CI_RESET, bytes((application,)), fcb=fcb))
            fcb = not fcb
        steps.append(self._request(fcb))
        if application is not None:
            # How often the FCB has turned by then depends on the meter: begin anew.
            steps += self._opened(must_reset=True)[0]
            steps.append(self._command(CI_RESET, bytes((0,)), fcb=True))
        if "F" in self.secondary[:8]:  # the id alone is one meter's
            steps.append(_deselection())
        return steps

    def _opened(self, *, must_reset: bool = False) -> tuple[list[Step], bool]:
        """What has to be sent first, and the FCB of what comes then."""
        if self.is_secondary:
            return [selection(self.secondary)], True  # being selected sets the FCB anew
        fcb = self.memory.pop(self.key, None)
        if isinstance(fcb, bool) and not must_reset:
            return [], fcb
        # Not every meter says yes to it; a dead one will not answer the question either.
        reset = encode_snd_nke(self.primary)
        return [Step(reset, _judge_ack, is_aside=True, is_optional=True)], True

    def _request(self, fcb: bool) -> Step:
        return Step(encode_req_ud2(self.primary, fcb), self._judge, partial(self._on_data, fcb))

    def _on_data(self, fcb: bool, message: mbus.Variable | mbus.Fixed) -> Step | None:
        """The next telegram, where there is one and something is missing yet."""
        is_repeat = bool(self._telegrams) and is_same(message, self._telegrams[-1])
        self._telegrams.append(message)
        has_more = isinstance(message, mbus.Variable) and message.more_follows
        if not has_more:
            self.memory[self.key] = not fcb
            return None
        if is_repeat or len(self._telegrams) >= _MOST_TELEGRAMS or self._has_all():
            return None  # this meter's next read begins with a reset
        return self._request(not fcb)

    def _has_all(self) -> bool:
        if self.target.freeze:
            return self._frozen_storage(self.target.freeze) is not None
        return len(values_of(self._telegrams)) >= len(NAMES)

    def _command(self, ci: int, data: bytes, *, fcb: bool) -> Step:
        control = SND_UD | (FCB if fcb else 0)
        return Step(encode_long(control, self.primary, ci, data), _judge_ack, is_aside=True)

    def meaning(self, answers: Sequence[mbus.Variable | mbus.Fixed]) -> Meaning:
        self._telegrams = list(answers)
        if self.target.freeze:
            return self._frozen(self.target.freeze)
        values = values_of(self._telegrams)
        first = self._telegrams[0]
        primary = primary_register(first)
        if primary not in values:
            what = primary.rsplit("_", 1)[0]
            return Meaning(problem=f"{what}: no believable record")
        status = bytes((first.status or 0,))
        return Meaning(values, "", clock_of(self._telegrams), status)

    def _frozen(self, freeze: Freeze) -> Meaning:
        found = self._frozen_storage(freeze)
        if found is None:
            problem = "no stored value is of that day"
            return Meaning(problem=problem, reason=NO_FREEZE)
        storage, moment = found
        values = values_of(self._telegrams, storage)
        frozen_at = moment.replace(tzinfo=LOCAL).astimezone(UTC)
        return Meaning(values, "", None, bytes((self._telegrams[0].status or 0,)), frozen_at)

    def _frozen_storage(self, freeze: Freeze) -> tuple[int, datetime] | None:
        """The storage number dated to that day which holds the register, and its moment."""
        primary = primary_register(self._telegrams[0])
        for storage, moment in dated(self._telegrams, self.profile):
            if is_of(moment, freeze.on) and primary in values_of(self._telegrams, storage):
                return storage, moment
        return None

    def refusal(self, message: mbus.Message) -> str:
        return message.meaning()

    def supply_steps(
        self, target: Target, *, is_open: bool, until: datetime, credentials: Credentials | None
    ) -> list[Step]:
        raise CannotAsk("M-Bus has no order for a valve", NO_SUPPLY)

    # --- judges -------------------------------------------------------------------------------

    def _judge(self, message: mbus.Message) -> str:
        """RSP_UD with variable or fixed data is the answer; an application error is a refusal."""
        control = getattr(message, "control", None)
        if control is None:
            return WRONG_ANSWER
        if control & 0x40:
            return OWN
        if isinstance(message, mbus.ApplicationError):
            return REFUSED if self._is_ours(message) else WRONG_ADDRESS
        is_data = isinstance(message, (mbus.Variable, mbus.Fixed)) and control & 0x0F == 0x08
        if not is_data:
            return WRONG_ANSWER
        return ANSWERED if self._is_ours(message) else WRONG_ADDRESS

    def _is_ours(self, message: mbus.Message) -> bool:
        """By primary address; a selected meter answers under its own, and is known by its id."""
        if not self.is_secondary:
            return getattr(message, "address", None) == self.primary
        if isinstance(message, mbus.ApplicationError):
            return True
        return is_id(getattr(message, "id", None) or "", self.secondary[:8])


def _primary(address: str) -> int:
    primary = int(address)
    if not 0 <= primary <= 250:
        raise ValueError(f"{primary} is no primary address of a meter (0 to 250)")
    return primary


def _judge_ack(message: mbus.Message) -> str:
    if isinstance(message, mbus.Ack):
        return ANSWERED
    # A request comes back only as an echo; what a meter sends has the direction bit clear.
    return OWN if getattr(message, "control", 0) & 0x40 else WRONG_ANSWER


def is_id(found: str, asked: str) -> bool:
    """Whether an id matches one asked for, in which F stands for any digit (§11.5)."""
    return len(found) == 8 and all(a in ("F", f) for a, f in zip(asked, found, strict=True))


def selection(secondary: str) -> Step:
    """Select by id, manufacturer, version and medium (16 digits), all but the id as they go on the
    wire; F in the id and FF elsewhere match anything (§11.3)."""
    data = bytes.fromhex(secondary[:8])[::-1] + bytes.fromhex(secondary[8:])
    return Step(encode_long(SND_UD, SELECTED, CI_SELECT, data), _judge_ack, is_aside=True)


def _deselection() -> Step:
    """Whoever a wildcard has selected is so no longer (§11.3); not every meter says yes."""
    return Step(encode_snd_nke(SELECTED), _judge_ack, is_aside=True, is_optional=True)


# --- errands ------------------------------------------------------------------------------------


def _ordered(target: Target, ci: int, data: bytes = b"") -> Errand[None]:
    """One SND_UD to a meter, after its link was reset or it was selected."""
    dialect = MbusDialect(target, {})
    steps, fcb = dialect._opened()
    steps.append(dialect._command(ci, data, fcb=fcb))
    return Errand(target, dialect, steps, lambda answers: None)


def read_clock(target: Target) -> Errand[datetime]:
    """The meter's wall clock, from its data."""
    dialect = MbusDialect(target, {})
    steps = dialect.steps(target, datetime.now(UTC))

    def says(answers: Sequence[mbus.Variable | mbus.Fixed]) -> datetime:
        found = clock_of(answers)
        if found is None:
            raise ValueError("the meter sends no time")
        return found

    return Errand(target, dialect, steps, says)


def set_clock(target: Target, when: datetime) -> Errand[None]:
    """Write date and time, type F (EN 13757-3 §9)."""
    wall = when.astimezone(LOCAL).replace(tzinfo=None)
    return _ordered(target, CI_SEND, record_datetime(wall))


def write_address(target: Target, new: str) -> Errand[None]:
    """Give a meter another primary address (DIF 01, VIF 7A)."""
    return _ordered(target, CI_SEND, bytes((0x01, 0x7A, _primary(new))))


def reset_application(target: Target, application: int | None = None) -> Errand[None]:
    """Begin an application anew, or choose another by its subcode (EN 13757-3 §7.1)."""
    return _ordered(target, CI_RESET, b"" if application is None else bytes((application,)))


def switch_baud(target: Target, baud: int) -> Errand[None]:
    """Have a meter speak at another speed. It says yes at the old one, and goes back to it where
    nobody speaks to it at the new (EN 13757-3 §8). Raises ValueError for a speed there is no code
    for."""
    if baud not in BAUD_RATES:
        raise ValueError(f"M-Bus has no speed of {baud} baud")
    return _ordered(target, BAUD_RATES[baud])


def reset_all(target: Target) -> Errand[None]:
    """Reset every link on the bus; nobody answers (§5.6)."""
    dialect = MbusDialect(target, {})
    return Errand(target, dialect, [Step(encode_snd_nke(BROADCAST), None)], lambda answers: None)


def identify(mask: str) -> Errand[str]:
    """Who answers to a secondary address of 16 digits with wildcards, as the 16 digits of the one
    that does: several at once are not understood."""
    target = Target("mbus", mask.upper().ljust(16, "F"))
    dialect = MbusDialect(target, {})
    request = Step(encode_req_ud2(SELECTED, True), dialect._judge)
    steps = [selection(target.address), request, _deselection()]
    return Errand(target, dialect, steps, lambda answers: secondary_of(answers[-1]))


def secondary_of(message: mbus.Variable | mbus.Fixed) -> str:
    """The 16 digits a meter is selected by: id, manufacturer, version, medium. A fixed structure
    says the id only."""
    if isinstance(message, mbus.Fixed) or message.manufacturer is None:
        return f"{message.id}FFFFFFFF"
    maker = manufacturer_bytes(message.manufacturer).hex().upper()
    return f"{message.id}{maker}{message.version:02X}{message.medium:02X}"
