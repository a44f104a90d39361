"""The bus job `search`: who is on this bus, whether written down or not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol

from collectors.dialects import Step
from collectors.jobs import JobFailed, Report
from collectors.reading import Asked
from collectors.search import cjt188, dlt645, mbus, modbus
from collectors.search.base import Found, Way, sift
from collectors.session import LINK_DOWN, Clock, Conversation, Heard, Session

MAX_PROBES: Final = 20_000
MAX_FOUND: Final = 1000
DEAD_AFTER: Final = 3  # questions in a row that could not even be sent
WHOLE: Final = 1000  # a search's progress is counted in thousandths

_WAYS: Final[dict[str, Callable[[dict[str, Any], float | None], Way]]] = {
    "cjt188": cjt188.way,
    "dlt645_1997": dlt645.way,
    "dlt645_2007": dlt645.way,
    "mbus": mbus.way,
    "modbus": modbus.way,
    "modbus_tcp": modbus.way,
}
# What a frame may begin with; a Modbus one begins with whose it is.
_STARTS: Final = {"mbus": b"\xe5\x10\x68", "modbus": bytes(range(256))}
_STARTS["modbus_tcp"] = _STARTS["modbus"]


class Asking(Protocol):
    """Whoever can put a way's questions on a wire: a session, or a port of a concentrator."""

    async def ask(
        self, dialect: Way, steps: Sequence[Step], *, retries: int | None = None
    ) -> Heard: ...


class Search:
    """One search on one bus; `result` grows while `run` runs.

    found        meters, each once
    conflicts    masks several meters answer and that could not be taken apart further
    """

    def __init__(self, session: Asking, way: Way, report: Report):
        self._session, self._way, self._report = session, way, report
        self._found: dict[str, Found] = {}
        self._conflicts: list[str] = []
        self._probes = self._dead = 0
        self._done = 0.0

    @property
    def result(self) -> dict[str, Any]:
        return {
            "found": [one.as_json() for one in self._found.values()],
            "conflicts": [self._way.words(mask) for mask in self._conflicts],
            "probes": self._probes,
        }

    async def run(self) -> dict[str, Any]:
        """Ask for every root, and take apart whatever is crowded."""
        for mask in self._way.roots:
            await self._look(mask, WHOLE / len(self._way.roots))
        return self.result

    async def _look(self, mask: str, weight: float) -> bool:
        """Ask for one mask, of which `weight` of the search hangs; whether anybody answered."""
        if self._probes >= MAX_PROBES or len(self._found) >= MAX_FOUND:
            raise JobFailed("too_many")
        await self._report(int(self._done), WHOLE, self._way.words(mask), self._so_far())
        found, is_noisy = await self._ask(mask)
        is_anyone = bool(found) or is_noisy
        for one in found:
            is_noisy |= not await self._is_real(one, mask)
        if self._way.is_crowded(mask, len({one.address for one in found}), is_noisy):
            await self._take_apart(mask, weight)
        else:
            self._done += weight
        return is_anyone

    async def _is_real(self, one: Found, mask: str) -> bool:
        """Whether a meter answers to its own address too: of two that talk at once a frame may
        come out that is right by its checksum and nobody's."""
        own = self._way.own(one)
        if one.address not in self._found:
            again = [one] if own == mask else (await self._ask(own))[0]
            if all(other.address != one.address for other in again):
                return False
            self._found[one.address] = one
        return True

    def _so_far(self) -> dict[str, Any]:
        return {**self.result, "probes": 0}  # a count that changes is no news by itself

    async def _take_apart(self, mask: str, weight: float) -> None:
        children = self._way.children(mask)
        is_anyone = False
        for child in children:
            is_anyone |= await self._look(child, weight / len(children))
        if not children:
            self._done += weight
        if not is_anyone:
            self._conflicts.append(mask)

    async def _ask(self, mask: str) -> tuple[list[Found], bool]:
        self._probes += 1
        heard = await self._session.ask(self._way, self._way.steps(mask), retries=0)
        self._dead = self._dead + 1 if heard.reason == LINK_DOWN else 0
        if self._dead >= DEAD_AFTER:
            raise JobFailed(LINK_DOWN)
        starts = _STARTS.get(self._way.protocol, b"\x68")
        messages, is_noisy = sift(self._way.decode, bytes(heard.bytes_seen), starts)
        found = [self._way.found(mask, message) for message in messages]
        return [one for one in found if one is not None], is_noisy


async def search(
    conversation: Conversation,
    meters: Sequence[Asked],
    parameters: Mapping[str, Any],
    clock: Clock,
    report: Report,
) -> dict[str, Any]:
    """Search a bus in the way `parameters` name: protocol, how (wildcard, range, primary), first
    and last, meter_type, wait_ms (how long to wait for each answer)."""
    if not isinstance(conversation, Session):
        raise JobFailed("not_supported")
    return await Search(conversation, way_of(parameters), report).run()


def way_of(parameters: Mapping[str, Any]) -> Way:
    """The way parameters name. Raises JobFailed."""
    wait_ms = parameters.get("wait_ms")
    try:
        made = _WAYS[parameters["protocol"]]
        return made(dict(parameters), wait_ms / 1000 if wait_ms else None)
    except (KeyError, ValueError, TypeError) as error:
        raise JobFailed("bad_parameters") from error
