"""Models of whole buildings: the published one, and seeded ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Final

import numpy as np

from collectors.simulator.model import WATER_WH_PER_L_K, Flat, HeatModel
from collectors.simulator.replay import Paper18, Replay, paper18
from collectors.simulator.times import STEP_S
from collectors.simulator.utility import UtilityModel
from collectors.simulator.weather import Weather

if TYPE_CHECKING:
    from collectors.simulator.town import BuildingSpec, FlatSpec

Source = Callable[[datetime], Mapping[str, int]]

# quantity and mean use a day of a flat of 80 m2: 260 L of water, 600 L of gas, 6 kWh
UTILITIES: Final = {
    "water": ("volume_l", 260),
    "gas": ("volume_l", 600),
    "electricity": ("energy_wh", 6_000),
}
DESIGN_EXCESS_K: Final = 28.0
DESIGN_COLD_K: Final = 31.0
LOSS: Final = 0.03


class House:
    """A building's models behind the sources its meters show."""

    def __init__(self, spec: BuildingSpec, heat: HeatModel):
        self.heat, self._seed = heat, spec.seed
        self._start = date.fromisoformat(spec.start)
        self._utilities: dict[tuple[str, str], UtilityModel] = {}

    def building(self, now: datetime) -> Mapping[str, int]:
        return self.heat.building(now)

    def source(self, kind: str, flat: str) -> Source:
        """What a flat's meter of a kind shows. Raises ValueError for an unknown flat or kind."""
        if flat not in self.heat.index:
            raise ValueError(f"there is no flat {flat!r} in this building")
        index = self.heat.index[flat]
        if kind == "heat":
            return lambda now: self.heat.flat(index, now)
        if kind == "room":
            return lambda now: {"room_cdeg": self.heat.room_cdeg(index, now)}
        if kind in UTILITIES:
            return self._utility(kind, flat, index)
        raise ValueError(f"no flat has a meter of kind {kind!r}")

    def _utility(self, kind: str, flat: str, index: int) -> UtilityModel:
        quantity, per_day = UTILITIES[kind]
        dice = random.Random(f"{self._seed}/{kind}/{flat}")
        scale = self.heat.flats[index].area_m2 / 80 * dice.uniform(0.6, 1.5)
        return self._utilities.setdefault(
            (kind, flat),
            UtilityModel(
                f"{kind}/{flat}",
                quantity,
                seed=self._seed,
                per_day=round(per_day * scale),
                start=self._start,
                first=dice.randrange(50, 900) * 1_000,
            ),
        )


def build_house(spec: BuildingSpec) -> House:
    """The models of a building. Raises ValueError for an unknown model or missing flats."""
    if spec.model == "paper18":
        return House(spec, _paper_model(spec))
    if spec.model == "seeded":
        return House(spec, _seeded_model(spec))
    raise ValueError(f"building {spec.building_id}: no model is called {spec.model!r}")


def _seeded_model(spec: BuildingSpec) -> HeatModel:
    if not spec.flats:
        raise ValueError(f"building {spec.building_id} has no flats")
    flats = [_seeded_flat(flat, spec.seed) for flat in spec.flats]
    scale = 48.0 / (0.5 * DESIGN_EXCESS_K**1.3)  # 48 W/m2 at gamma 0.5 and b 1.3
    return HeatModel(
        flats,
        scale=scale,
        weather=Weather(),
        seed=spec.seed,
        loss=LOSS,
        start=date.fromisoformat(spec.start),
        first_wh=310_000_000 + spec.seed * 1_000,
        first_l=40_000_000,
    )


def _seeded_flat(flat: FlatSpec, seed: int) -> Flat:
    dice = random.Random(f"{seed}/flat/{flat.name}")
    gamma = flat.gamma if flat.gamma is not None else round(dice.uniform(0.35, 0.7), 3)
    b = flat.b if flat.b is not None else round(dice.uniform(1.24, 1.36), 3)
    conductance = 1.55 * flat.area_m2 * dice.uniform(0.85, 1.2)
    return Flat(
        flat.name,
        flat.area_m2,
        gamma,
        b,
        dice.uniform(19.2, 23.2),
        conductance,
        flow_lph=conductance * DESIGN_COLD_K / (WATER_WH_PER_L_K * 9.0),
        first_wh=dice.randrange(3_000, 30_000) * 1_000,
        first_l=dice.randrange(400, 4_000) * 1_000,
    )


def _paper_model(spec: BuildingSpec) -> HeatModel:
    """The published building; its other days follow from what the two published ones show."""
    paper = paper18()
    start = datetime.fromisoformat(spec.replay_start) if spec.replay_start else None
    replay = paper.replay(start)
    scale, flats = _fitted(paper, replay, spec.seed)
    return HeatModel(
        flats,
        scale=scale,
        weather=Weather(),
        seed=spec.seed,
        loss=LOSS,
        start=date.fromisoformat(spec.start),
        first_wh=845_000_000,
        first_l=120_000_000,
        replay=replay if spec.has_replay else None,
    )


def _fitted(paper: Paper18, replay: Replay, seed: int) -> tuple[float, list[Flat]]:
    """Scale in W per (gamma m2 K**b), and each flat's mean loss and flow on the published days."""
    rows = paper.households
    weight = np.array([row["gamma"] * row["area_m2"] for row in rows])
    b = np.array([row["b"] for row in rows])
    load = weight * replay.excess_k() ** b
    scale = (1.0 - LOSS) * replay.total_wh / (load.sum() * STEP_S / 3_600)
    power = scale * load.mean(axis=0)
    room = np.array(replay.room).mean(axis=0) / 100
    outdoor = float(np.mean(replay.outdoor_cdeg)) / 100
    drop = (np.array(replay.supply) - np.array(replay.back)).mean(axis=0) / 100
    flow = power / (WATER_WH_PER_L_K * drop)
    conductance = power / (room - outdoor)
    dice = random.Random(f"{seed}/paper18")
    return scale, [
        Flat(
            row["id"],
            row["area_m2"],
            row["gamma"],
            row["b"],
            float(room[i]),
            float(conductance[i]),
            float(flow[i]),
            dice.randrange(9_000, 50_000) * 1_000,
            dice.randrange(900, 9_000) * 1_000,
        )
        for i, row in enumerate(rows)
    ]
