"""The methods a building's heat can be shared by, each with what it needs and reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from backend.allocation import feeds, radiators, seasons
from backend.allocation.case import Case
from backend.allocation.feeds import Measurements


@dataclass(frozen=True, slots=True)
class Method:
    """What a method is called and reads.

    `needs`: constants each household must have; `may_have`: those with a default.  `kinds`: the
    meters each household must have; `on_radiators`: the kind on each of its radiators.
    """

    title_zh: str
    formula_zh: str
    measure: Callable[[Case], Measurements]
    needs: tuple[str, ...] = ()
    may_have: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    on_radiators: str = ""


_ON_TIME = Method(
    "通断时间面积法", "W = F·t开/t供", feeds.by_register("valve", "on_s"), kinds=("valve",)
)
_RADIATOR = ("a", "Fn", "B")

METHODS: Mapping[str, Method] = {
    "area": Method("面积法", "W = F·在用时间", feeds.by_area),
    "heat_meter": Method(
        "户用热量表法",
        "W = Q·(1 − α)",
        feeds.by_register("heat", "heat"),
        may_have=("alpha",),
        kinds=("heat",),
    ),
    "hca_electronic": Method(
        "电子式热分配表法",
        "W = Σ KQ·KC·Σ(ΔT/60)^n·Δτ",
        radiators.by_allocator_samples,
        on_radiators="hca",
    ),
    "hca_units": Method(
        "热分配表法",
        "W = Σ 读数·K",
        radiators.by_radiator("hca", radiators.units),
        on_radiators="hca",
    ),
    "hca_evaporative": Method(
        "蒸发式热分配表法",
        "W = Σ max(0, 刻度差 − 冷蒸发)·KQ·KC",
        radiators.by_radiator("hca", radiators.evaporated),
        on_radiators="hca",
    ),
    "flow_temperature": Method(
        "流量温度法",
        "W = g·Σ max(0, tg − th)·Δτ",
        feeds.sampled,
        needs=("flow_fraction",),
        kinds=("heat",),
    ),
    "on_off_time_area": _ON_TIME,
    "on_time_area": _ON_TIME,
    "temperature_area": Method(
        "温度面积法", "W = F·Σ max(0, tn − 基准)·Δτ", feeds.by_temperature, kinds=("room",)
    ),
    "degree_day": Method(
        "度日法",
        "W = c·Σ max(0, tn − 室外)·Δτ",
        feeds.sampled,
        needs=("room_constant",),
        kinds=("room",),
    ),
    "hot_water_meter": Method(
        "热水表法", "W = V", feeds.by_register("hot_water", "volume"), kinds=("hot_water",)
    ),
    "valve_time_radiator": Method(
        "散热器通断时间法",
        "W = Σ 额定散热量·t开",
        radiators.by_radiator("valve", radiators.valve_time),
        on_radiators="valve",
    ),
    "radiator": Method(
        "散热器法",
        "W = a′·Fn·Σ(tp − tn)^B·Δτ/β",
        seasons.condensed_or_sampled,
        needs=_RADIATOR,
        may_have=("beta",),
        kinds=("heat", "room"),
    ),
    "radiator_corrected": Method(
        "散热器修正法",
        "W = (1 − α)·a′·Fn·Σ(tp − tn)^B·Δτ/β",
        seasons.condensed_or_sampled,
        needs=_RADIATOR,
        may_have=("beta", "alpha"),
        kinds=("heat", "room"),
    ),
    "three_temperature": Method(
        "基准室温三温度法",
        "W = Σ γ·F·(tp − tn)^B·Δτ，tp =（供水 + 回水）/ 2",
        seasons.condensed_or_sampled,
        needs=("gamma", "B"),
        kinds=("heat", "room"),
    ),
}
