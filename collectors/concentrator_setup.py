"""Setting a concentrator up: its archive of meters and reading plans downloaded (AFN 04 F10, F33),
read back and compared line by line (AFN 0A), its clock set (AFN 05 F31), its version asked.

Bus jobs for buses named concentrator://…; each may be begun again from the start, because what is
written is the whole of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from collectors.bus_search import Search, way_of
from collectors.concentrator_archive import (
    NO_ROW,
    Archive,
    Row,
    as_json,
    compare,
    compare_plans,
    looked_at,
    plan_of,
)
from collectors.concentrator_session import ConcentratorSession, utc
from collectors.dialects import LOCAL
from collectors.frames.qgdw3761_archive import EMPTY
from collectors.frames.qgdw3761_encode import Unit
from collectors.frames.qgdw3761_tables import CLASS_1, CONTROL, QUERY, SET
from collectors.jobs import JobFailed, Report
from collectors.links.link import LinkDown
from collectors.reading import Asked, point_of
from collectors.session import LINK_DOWN, Clock, Conversation
from collectors.terminal import NoAnswer, in_parts

ROWS = 20  # of the archive in one frame; 27 bytes each


# --- conversations ---------------------------------------------------------------------------


class Setup:
    """One job on one concentrator; `result` grows while it is done."""

    def __init__(self, conversation: Conversation, clock: Clock, report: Report):
        if not isinstance(conversation, ConcentratorSession):
            raise JobFailed("not_supported")
        self._session, self._clock, self._report = conversation, clock, report
        self.result: dict[str, Any] = {}
        self.total = self._done = 0

    async def _step(self, note: str) -> None:
        await self._report(self._done, max(self.total, self._done + 1), note, self.result)
        self._done += 1

    async def _put(self, note: str, afn: int, units: Sequence[Unit]) -> None:
        """Tell the terminal something; raises JobFailed where it does not say yes."""
        await self._step(note)
        try:
            answer = await self._session.put(afn, units, confirm=True)
        except NoAnswer as error:
            raise JobFailed(error.code) from error
        except LinkDown as error:
            raise JobFailed(LINK_DOWN) from error
        if not answer.is_confirmed:
            raise JobFailed("wrong_answer")

    async def _ask(self, note: str, afn: int, unit: Unit) -> Mapping[str, Any]:
        """What the terminal has there; {} where it says that it has none."""
        await self._step(note)
        try:
            answer = await self._session.put(afn, [unit])
        except NoAnswer as error:
            if error.code == "refused":
                return {}
            raise JobFailed(error.code) from error
        except LinkDown as error:
            raise JobFailed(LINK_DOWN) from error
        found = [item for item in answer.items if (item.pn, item.fn) == unit[:2]]
        return (found[0].values or {}) if found else {}

    async def write(self, archive: Archive, plans: Sequence[Row]) -> None:
        """Download rows and plans."""
        for rows in in_parts(archive.rows.values(), ROWS):
            note = f"下装档案 {rows[0]['index']}–{rows[-1]['index']}"
            await self._put(note, SET, [(0, 10, {"meters": list(rows)})])
            self.result["written"] = self.result.get("written", 0) + len(rows)
        if plans:
            await self._put("下装抄表参数", SET, [(0, 33, {"ports": list(plans)})])

    async def remove(self, indices: Sequence[int]) -> None:
        """Take rows out of the archive: point 0 does it."""
        for part in in_parts(indices, ROWS):
            rows = [EMPTY | {"index": index} for index in part]
            await self._put("删除多余档案", SET, [(0, 10, {"meters": rows})])

    async def rows(self, indices: Iterable[int]) -> dict[int, Row]:
        """The archive's rows at these indices."""
        found: dict[int, Row] = {}
        for part in in_parts(indices, ROWS):
            asked = {"indices": [{"index": index} for index in part]}
            values = await self._ask(f"回读档案 {part[0]}–{part[-1]}", QUERY, (0, 10, asked))
            rows = values.get("meters", ())
            found |= {row["index"]: row for row in rows if row["point"] and row["index"] in part}
        return found

    async def plans(self, ports: Sequence[int]) -> dict[int, Row]:
        """The plans of these ports."""
        asked = {"ports": [{"port": port} for port in ports]}
        values = await self._ask("回读抄表参数", QUERY, (0, 33, asked)) if ports else {}
        return {row["port"]: row for row in values.get("ports", ())}

    async def differences(self, archive: Archive, plans: Sequence[Row]) -> list[Row]:
        """What the terminal holds, held against what it ought to."""
        theirs = await self.rows(looked_at(archive))
        found = compare(archive.rows, theirs)
        return found + compare_plans(plans, await self.plans([p["port"] for p in plans]))

    async def version(self) -> dict[str, Any] | None:
        """What the terminal is (F1), None where it does not say."""
        values = await self._ask("查询版本", CLASS_1, (0, 1, None))
        return {name: as_json(value) for name, value in values.items()} or None

    async def drift_s(self) -> int | None:
        """How far the terminal's clock is ahead of ours (F2), None where it does not say."""
        values = await self._ask("查询时钟", CLASS_1, (0, 2, None))
        wall = utc(values.get("clock"))
        return None if wall is None else round((wall - self._clock.now()).total_seconds())

    async def set_clock(self) -> None:
        """Set the terminal's clock to ours, in Shanghai's time."""
        wall = self._clock.now().astimezone(LOCAL).replace(tzinfo=None, microsecond=0)
        await self._put("对时", CONTROL, [(0, 31, {"clock": wall})])


def _plans(archive: Archive, parameters: Mapping[str, Any]) -> list[Row]:
    try:
        return [plan_of(port, parameters) for port in archive.ports]
    except (ValueError, TypeError) as error:
        raise JobFailed("bad_parameters") from error


def _steps(archive: Archive) -> int:
    return -(-len(looked_at(archive)) // ROWS) + bool(archive.rows)


# --- handlers ----------------------------------------------------------------------------------


async def download(
    conversation: Conversation,
    meters: Sequence[Asked],
    parameters: Mapping[str, Any],
    clock: Clock,
    report: Report,
) -> dict[str, Any]:
    """Write the archive and the plans of all ports, and read them back.

    parameters   interval_min (60) and reading_time ("00:05") of the plans; remove_others: take
                 out what is not ours
    result       written, left_out (meters the archive cannot hold), removed, differences
    """
    setup, archive = Setup(conversation, clock, report), Archive.of(meters)
    plans = _plans(archive, parameters)
    setup.total = -(-len(archive.rows) // ROWS) + bool(plans) + _steps(archive)
    setup.result |= {"left_out": archive.left_out, "written": 0}
    await setup.write(archive, plans)
    found = await setup.differences(archive, plans)
    others = [one["index"] for one in found if one["field"] == NO_ROW and one["ours"] is None]
    if others and parameters.get("remove_others") is True:
        await setup.remove(others)
        setup.result["removed"] = others
        found = await setup.differences(archive, plans)
    return setup.result | {"differences": found}


async def read_back(
    conversation: Conversation,
    meters: Sequence[Asked],
    parameters: Mapping[str, Any],
    clock: Clock,
    report: Report,
) -> dict[str, Any]:
    """Read what the concentrator holds and hold it against ours, line by line.

    parameters   as `download`'s: the plans it ought to have
    result       version, clock_drift_s, left_out, differences
    """
    setup, archive = Setup(conversation, clock, report), Archive.of(meters)
    plans = _plans(archive, parameters)
    setup.total = 2 + _steps(archive)
    setup.result |= {"version": await setup.version(), "left_out": archive.left_out}
    setup.result |= {"clock_drift_s": await setup.drift_s()}
    return setup.result | {"differences": await setup.differences(archive, plans)}


async def clock(
    conversation: Conversation,
    meters: Sequence[Asked],
    parameters: Mapping[str, Any],
    clock: Clock,
    report: Report,
) -> dict[str, Any]:
    """Look at the concentrator's own clock and, where `action` is set, set it and look again. It
    keeps its meters' clocks itself.

    result   before_s and after_s: how far it was and is ahead of ours, None where it does not say
    """
    setup, is_set = Setup(conversation, clock, report), parameters.get("action") == "set"
    setup.total = 3 if is_set else 1
    setup.result["before_s"] = await setup.drift_s()
    if is_set:
        await setup.set_clock()
        setup.result["after_s"] = await setup.drift_s()
    return setup.result


async def search(
    conversation: Conversation,
    meters: Sequence[Asked],
    parameters: Mapping[str, Any],
    clock: Clock,
    report: Report,
) -> dict[str, Any]:
    """Search one of the concentrator's ports, as `bus_search.search` does a bus: besides what that
    wants, port (2), baud (2400) and parity (E)."""
    if not isinstance(conversation, ConcentratorSession):
        raise JobFailed("not_supported")
    point = point_of({**parameters, "point": 1})
    if point is None:
        raise JobFailed("bad_parameters")
    return await Search(conversation.on_port(point), way_of(parameters), report).run()
