"""The published 18-flat building and its two days of samples, given out as they are."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from collectors.simulator.times import DAY_S, STEP_S, STEPS, local_seconds
from collectors.simulator.weather import Floats

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Replay:
    """Recorded samples of whole local days.

    start_s       local seconds of the first sample, a local midnight
    supply, back, room   hundredths of a degree, [sample][flat]
    total_wh      what the building meter counts from the first sample to the end
    """

    start_s: int
    supply: list[list[int]]
    back: list[list[int]]
    room: list[list[int]]
    outdoor_cdeg: list[int]
    total_wh: int

    def covers(self, local_s: int) -> bool:
        return 0 <= local_s - self.start_s < len(self.supply) * STEP_S

    def sample(self, local_s: int) -> int:
        """The sample that holds at a moment it covers: each holds until the next."""
        return (local_s - self.start_s) // STEP_S

    def temperatures(self, sample: int) -> tuple[list[int], list[int], list[int]]:
        """Supply, return and room temperatures of all flats in hundredths of a degree."""
        return self.supply[sample], self.back[sample], self.room[sample]

    def excess_k(self) -> Floats:
        """Mean water less room temperature in K, nowhere below 0, [samples, flats]."""
        mean = (np.array(self.supply) + np.array(self.back)) / 200.0
        result: Floats = np.maximum(0.0, mean - np.array(self.room) / 100.0)
        return result

    def energy_table(self, day_s: int, loss: float, weight: Floats, inverse_b: Floats) -> Ints:
        """Wh since this covered midnight at the 145 step bounds, [bounds, flats + entrance].

        The entrance's total_wh goes by the samples' weights and is rounded on its running sum,
        so that the last bound of the last day stands at exactly total_wh after the first.
        """
        power = weight * self.excess_k() ** (1.0 / inverse_b)
        flats = power * ((1.0 - loss) * self.total_wh / power.sum())
        whole = np.column_stack((flats, flats.sum(axis=1) / (1.0 - loss)))
        running = np.zeros((len(whole) + 1, whole.shape[1]), dtype=np.int64)
        running[1:] = np.rint(np.cumsum(whole, axis=0))
        running[-1, -1] = self.total_wh
        first = (day_s - self.start_s) // STEP_S
        table: Ints = running[first : first + STEPS + 1] - running[first]
        return table


@dataclass(frozen=True)
class Paper18:
    """The published building: households as printed, samples, and where they begin."""

    households: list[dict[str, Any]]  # id, area_m2, gamma, b
    start: datetime
    total_wh: int
    outdoor_cdeg: list[int]
    samples: dict[str, list[tuple[int, int, int]]]  # id -> supply, return, room a sample

    def replay(self, start: datetime | None = None) -> Replay:
        """The two days, beginning at `start` (a local midnight) instead of as published."""
        begin = start or self.start
        start_s = local_seconds(begin)
        if start_s % DAY_S:
            raise ValueError(f"a replay begins at a local midnight, not at {begin.isoformat()}")
        columns = [self.samples[h["id"]] for h in self.households]
        rows = list(zip(*columns, strict=True))
        supply, back, room = ([[flat[n] for flat in row] for row in rows] for n in range(3))
        return Replay(start_s, supply, back, room, self.outdoor_cdeg, self.total_wh)


def paper18() -> Paper18:
    """Read the published building from the package's data."""
    data = files("collectors.simulator") / "data"
    facts = json.loads((data / "paper18.json").read_text(encoding="utf-8"))
    samples: dict[str, list[tuple[int, int, int]]] = {}
    lines = (data / "paper18_2day.csv").read_text(encoding="utf-8").splitlines()
    for row in csv.DictReader(lines):
        triple = (_cdeg(row["tg"]), _cdeg(row["th"]), _cdeg(row["tn"]))
        samples.setdefault(row["household"], []).append(triple)
    return Paper18(
        facts["households"],
        datetime.fromisoformat(facts["start"]),
        facts["total_wh"],
        facts["outdoor_cdeg"],
        samples,
    )


def _cdeg(text: str) -> int:
    return int(Decimal(text) * 100)
