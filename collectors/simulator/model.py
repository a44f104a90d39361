"""A building's heat as a pure function of time: temperatures, power and registers.

Every flat loses heat to the outside and its radiators make up for it:

    power = conductance (room - outdoor) = scale gamma area (mean water - room) ** b

which is the three-temperature method's own law, so a seeded building can be shared out too.
Registers are sums over 10-minute steps of a day, kept a day at a time; they are whole Wh, never
go back, and are the same in whatever order moments are asked for. Two published days can be laid
over the model (`replay`): on them the samples are given out exactly as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from collectors.simulator.replay import Replay
from collectors.simulator.times import DAY_S, STEP_S, STEPS, day_number, local_seconds
from collectors.simulator.weather import Floats, Weather, smooth_noise

Ints = NDArray[np.int64]

WATER_WH_PER_L_K = 1.163
DAYS_AT_ONCE = 64  # of one building's registers: a few megabytes


@dataclass(frozen=True, slots=True)
class Flat:
    """One flat: areas in m2, `room_c` the temperature its people keep, loss in W/K, and the
    constant flow through its radiators in l/h."""

    name: str
    area_m2: float
    gamma: float
    b: float
    room_c: float
    conductance_w_k: float
    flow_lph: float
    first_wh: int = 0
    first_l: int = 0


@dataclass(frozen=True, slots=True)
class _State:
    """Instantaneous values of all flats, whole hundredths of a degree and whole W."""

    supply_cdeg: list[int]
    return_cdeg: list[int]
    room_cdeg: list[int]
    power_w: list[int]


class HeatModel:
    """One building's flats and its heat entrance.

    flats    in the order of their index
    scale    W per (gamma m2 K**b)
    loss     part of the entrance's heat that is lost before the flats
    start    local day before which all registers stand at their first value
    """

    def __init__(
        self,
        flats: Sequence[Flat],
        *,
        scale: float,
        weather: Weather,
        seed: int,
        start: date,
        loss: float = 0.03,
        first_wh: int = 0,
        first_l: int = 0,
        replay: Replay | None = None,
    ):
        self.flats, self.index = list(flats), {f.name: i for i, f in enumerate(flats)}
        self._weather, self._seed, self._loss, self._scale = weather, seed, loss, scale
        self._start = day_number(start)
        self._first = np.array([f.first_wh for f in flats] + [first_wh], dtype=np.int64)
        self._first_l = np.array([f.first_l for f in flats] + [first_l], dtype=np.int64)
        self._replay = replay
        self._area = np.array([f.area_m2 for f in flats])
        self._weight = self._area * np.array([f.gamma for f in flats]) * scale
        self._inverse_b = 1.0 / np.array([f.b for f in flats])
        self._room = np.array([f.room_c for f in flats])
        self._conductance = np.array([f.conductance_w_k for f in flats])
        self._flow = np.array([f.flow_lph for f in flats])
        self._before: list[Ints] = [self._first]
        self._table = lru_cache(maxsize=8)(self._day_table)
        self._state = lru_cache(maxsize=64)(self._state_at)

    # What the meters show -----------------------------------------------------------------

    def flat(self, index: int, now: datetime) -> Mapping[str, int]:
        """One flat's heat meter: energy_wh, volume_l, working_h, flow_lph, power_w,
        supply_cdeg, return_cdeg."""
        second = local_seconds(now)
        state = self._state(second)
        return {
            "energy_wh": int(self._registers(second)[index]),
            "volume_l": int(self._volumes(second)[index]),
            "working_h": self._working_h(second),
            "flow_lph": round(self._flow[index]),
            "power_w": state.power_w[index],
            "supply_cdeg": state.supply_cdeg[index],
            "return_cdeg": state.return_cdeg[index],
        }

    def room_cdeg(self, index: int, now: datetime) -> int:
        """One flat's room temperature in hundredths of a degree."""
        return self._state(local_seconds(now)).room_cdeg[index]

    def building(self, now: datetime) -> Mapping[str, int]:
        """The heat entrance's meter: the same names as `flat`."""
        second = local_seconds(now)
        state = self._state(second)
        flow = float(self._flow.sum())
        supply = round(float(np.dot(state.supply_cdeg, self._flow)) / flow) + 40
        power = round(sum(state.power_w) / (1.0 - self._loss))
        return {
            "energy_wh": int(self._registers(second)[-1]),
            "volume_l": int(self._volumes(second)[-1]),
            "working_h": self._working_h(second),
            "flow_lph": round(flow),
            "power_w": power,
            "supply_cdeg": supply,
            "return_cdeg": supply - round(100 * power / (WATER_WH_PER_L_K * flow)),
        }

    def outdoor_cdeg(self, now: datetime) -> int:
        """Outdoor temperature in hundredths of a degree."""
        second = local_seconds(now)
        if self._replay and self._replay.covers(second):
            return self._replay.outdoor_cdeg[self._replay.sample(second)]
        return round(100 * float(self._weather.outdoor_c(np.array([float(second)]))[0]))

    # Instantaneous values -----------------------------------------------------------------

    def _state_at(self, second: int) -> _State:
        if self._replay and self._replay.covers(second):
            return self._replayed_state(second)
        supply, back, room, power = self._thermal(np.array([float(second)]))
        return _State(
            _cdeg(supply[0]), _cdeg(back[0]), _cdeg(room[0]), [round(w) for w in power[0].tolist()]
        )

    def _replayed_state(self, second: int) -> _State:
        assert self._replay is not None
        supply, back, room = self._replay.temperatures(self._replay.sample(second))
        excess = np.maximum(0.0, (np.array(supply) + back) / 200.0 - np.array(room) / 100.0)
        power = self._weight * excess ** (1.0 / self._inverse_b)
        return _State(supply, back, room, [round(w) for w in power.tolist()])

    def _thermal(self, local_s: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        """Supply, return and room temperature in C and power in W, each [moments, flats]."""
        outdoor = self._weather.outdoor_c(local_s)[:, None]
        room = self._rooms(local_s, outdoor)
        power = self._conductance * np.maximum(0.0, room - outdoor)
        water = room + (power / self._weight) ** self._inverse_b
        half = power / (2 * WATER_WH_PER_L_K * self._flow)
        return water + half, water - half, room, power

    def _rooms(self, local_s: Floats, outdoor: Floats) -> Floats:
        """What people keep, a little warmer in the afternoon and on mild days."""
        day = 0.35 * np.cos(2 * np.pi * (local_s % DAY_S - 16 * 3_600) / DAY_S)
        noise = smooth_noise(self._seed, [f.name for f in self.flats], local_s)
        swing = day[:, None] + 0.4 * noise
        result: Floats = self._room + swing + 0.03 * (outdoor + 9.9)
        return result

    # Registers ----------------------------------------------------------------------------

    def _registers(self, second: int) -> Ints:
        """All flats' registers and last the entrance's, in Wh, at a moment."""
        day, rest = divmod(second, DAY_S)
        day -= self._start
        if day < 0:
            return self._first
        self._count_up_to(day)
        step, part = divmod(rest, STEP_S)
        table = self._table(day)
        done: Ints = table[step] + (table[step + 1] - table[step]) * part // STEP_S
        return self._before[day] + done

    def _count_up_to(self, day: int) -> None:
        """Know the registers at the beginning of every day up to `day`, DAYS_AT_ONCE at a time."""
        while len(self._before) <= day:
            first = len(self._before) - 1
            for table in self._day_tables(first, min(day - first, DAYS_AT_ONCE)):
                self._before.append(self._before[-1] + table[-1])

    def _volumes(self, second: int) -> Ints:
        elapsed = max(0, second - self._start * DAY_S)
        flow = np.append(self._flow, self._flow.sum())
        return self._first_l + np.floor(flow * elapsed / 3_600).astype(np.int64)

    def _working_h(self, second: int) -> int:
        return max(0, second - self._start * DAY_S) // 3_600

    def _day_table(self, day: int) -> Ints:
        """Wh since local midnight at each of the 145 step bounds of a day after `start`."""
        return self._day_tables(day, 1)[0]

    def _day_tables(self, first: int, days: int) -> list[Ints]:
        """The tables of some days in a row, computed together."""
        begin = (self._start + first) * DAY_S
        middle: Floats = begin + STEP_S * (np.arange(days * STEPS, dtype=np.float64) + 0.5)
        power = self._thermal(middle)[3]
        whole = np.column_stack((power, power.sum(axis=1) / (1.0 - self._loss)))
        energy = np.cumsum(whole.reshape(days, STEPS, -1), axis=1) * (STEP_S / 3_600)
        tables = np.zeros((days, STEPS + 1, whole.shape[1]), dtype=np.int64)
        tables[:, 1:] = np.floor(energy)
        return [self._replayed_table(begin + n * DAY_S, tables[n]) for n in range(days)]

    def _replayed_table(self, second: int, table: Ints) -> Ints:
        """The published day's table instead, where one is laid over this day."""
        if self._replay and self._replay.covers(second):
            return self._replay.energy_table(second, self._loss, self._weight, self._inverse_b)
        return table


def _cdeg(celsius: Floats) -> list[int]:
    return [round(c * 100) for c in celsius.tolist()]
