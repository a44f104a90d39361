"""What hangs on a building's radiators, read for the rules: allocators and valves' clocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

import numpy as np
import sqlalchemy as sa

from backend.allocation import inputs
from backend.allocation.case import Case
from backend.allocation.electronic import Allocator, electronic_measure
from backend.allocation.feeds import Measurements, Slots, digest, measure_scalars, spans_in_windows
from backend.archive.models import Meter, Radiator, RadiatorDevice
from backend.base.db import db
from backend.base.errors import Problem
from backend.metering import series
from backend.metering.rules import MISSING


@dataclass(frozen=True, slots=True)
class Fitted:
    """A radiator with one of its devices (None: nothing measures it)."""

    household_id: int
    radiator_id: int
    rated_w: Decimal
    device: RadiatorDevice | None
    meter: Meter | None

    def factors(self) -> dict[str, object]:
        """What EN 834/835 rate it by."""
        assert self.device is not None
        device = self.device
        return {"KQ": device.kq, "KC": device.kc, "KT": device.kt}


def _fitted(case: Case, kind: str) -> list[Fitted]:
    ids = [h.id for h in case.households]
    of_kind = (
        sa.select(RadiatorDevice, Meter)
        .join(Meter, Meter.id == RadiatorDevice.meter_id)
        .join(Radiator, Radiator.id == RadiatorDevice.radiator_id)
        .where(Radiator.household_id.in_(ids), Meter.kind == kind)
        .order_by(Meter.id)
    )
    devices: dict[int, list[tuple[RadiatorDevice, Meter]]] = defaultdict(list)
    for device, meter in db.session.execute(of_kind):
        devices[device.radiator_id].append((device, meter))
    rows = db.session.scalars(
        sa.select(Radiator).where(Radiator.household_id.in_(ids)).order_by(Radiator.id)
    )
    nothing: list[tuple[RadiatorDevice | None, Meter | None]] = [(None, None)]
    return [
        Fitted(r.household_id, r.id, r.rated_w, device, meter)
        for r in rows
        for device, meter in devices.get(r.id) or nothing
    ]


def by_radiator(
    kind: str, reading: Callable[[Fitted, int | None], dict[str, object]]
) -> Callable[[Case], Measurements]:
    """A method on a register a radiator; a radiator nothing measured makes its flat missing."""

    def feed(case: Case) -> Measurements:
        fitted = _fitted(case, kind)
        spans = {
            span.meter.id: span
            for span in spans_in_windows(case, [f.meter for f in fitted if f.meter])
        }
        radiators: dict[inputs.Id, list[dict[str, object]]] = defaultdict(list)
        basis: dict[inputs.Id, dict[str, Any]] = defaultdict(lambda: {"meters": []})
        for one in _in_service(fitted, set(spans)):
            span = spans.get(one.meter.id) if one.meter else None
            radiators[one.household_id].append(reading(one, span.usage if span else None))
            if span is not None:
                basis[one.household_id]["meters"].append(span.basis())
        return Measurements(
            measure_scalars(case, _with_radiators(case, radiators)),
            {"read": f"registers:{kind}"},
            dict(basis),
        )

    return feed


def _in_service(fitted: Sequence[Fitted], present: set[int]) -> list[Fitted]:
    """Devices on the wall in the period; a radiator without any stays, with none."""
    on_wall = [f for f in fitted if f.meter is not None and f.meter.id in present]
    measured = {f.radiator_id for f in on_wall}
    bare = {f.radiator_id: replace(f, device=None, meter=None) for f in fitted}
    return on_wall + [f for key, f in bare.items() if key not in measured]


def _with_radiators(
    case: Case, radiators: Mapping[inputs.Id, Sequence[Mapping[str, object]]]
) -> list[inputs.Household]:
    return [
        replace(h, constants={**h.constants, "radiators": list(radiators.get(h.id, []))})
        for h in case.households
    ]


def valve_time(one: Fitted, usage: int | None) -> dict[str, object]:
    """rating_r t_on,r."""
    return {"rating": one.rated_w, "on_s": usage}


def units(one: Fitted, usage: int | None) -> dict[str, object]:
    """units K."""
    if one.device is None:
        return {"units": None}
    return {**one.factors(), "units": _counted(one.device, usage)}


def evaporated(one: Fitted, usage: int | None) -> dict[str, object]:
    """max(0, scale delta - cold evaporation) KQ KC."""
    if one.device is None:
        return {"reading_start": None}
    return {
        **one.factors(),
        "reading_start": 0,
        "reading_end": _counted(one.device, usage),
        "cold_evaporation": one.device.cold_evaporation,
    }


def _counted(device: RadiatorDevice, usage: int | None) -> Decimal | None:
    return None if usage is None else usage * device.per_count


def by_allocator_samples(case: Case) -> Measurements:
    """EN 834 from the allocators' own temperatures: heater side `supply_cdeg`, `room_cdeg`.

    A radiator whose allocator was changed is read from both; their ratings must be the same.
    """
    fitted = _fitted(case, "hca")
    meters = [f.meter.id for f in fitted if f.meter]
    heater = series.load(meters, "supply_cdeg", case.days)
    room = series.load(meters, "room_cdeg", case.days)
    together: dict[int, list[Fitted]] = defaultdict(list)
    for one in fitted:
        together[one.radiator_id].append(one)
    allocators: dict[inputs.Id, list[Allocator]] = defaultdict(list)
    for devices in together.values():
        allocators[devices[0].household_id].append(_allocator(case, devices, heater, room))
    starts = np.arange(case.length * series.SLOTS, dtype=np.float64) * series.INTERVAL_S
    measured = [
        electronic_measure(
            h, allocators.get(h.id, []), starts, float(series.INTERVAL_S), case.rules
        )
        for h in case.households
    ]
    basis: dict[inputs.Id, dict[str, Any]] = {
        key: {
            "radiators": len(mine),
            "sha256": digest(*(a for one in mine for a in (one.heater_cdeg, one.room_cdeg))),
        }
        for key, mine in allocators.items()
    }
    return Measurements(measured, {"read": "samples"}, basis)


def _allocator(
    case: Case, devices: Sequence[Fitted], heater: Mapping[int, Slots], room: Mapping[int, Slots]
) -> Allocator:
    known = [one.device for one in devices if one.device is not None]
    if len({(d.kq, d.kc, d.kt, d.exponent, d.least_excess_k) for d in known}) > 1:
        raise Problem(
            "allocation_refused",
            f"住户 {case.names([devices[0].household_id])} 的散热器在期内更换了系数不同的热分配表，"
            "请按更换日分段分摊。",
        )
    ids = [one.meter.id for one in devices if one.meter]
    hot, cool = (_merged(case, ids, found) for found in (heater, room))
    if not known:
        return Allocator(hot, cool, 0.0, 1.0, 0)
    rating = known[0]
    factor = float(rating.kq * rating.kc * rating.kt)
    least_cdeg = int(rating.least_excess_k * 100)
    return Allocator(hot, cool, factor, float(rating.exponent), least_cdeg)


def _merged(case: Case, meters: Sequence[int], found: Mapping[int, Slots]) -> Slots:
    slots = np.full(case.length * series.SLOTS, MISSING, dtype=np.int16)
    for meter_id in meters:
        if meter_id in found:
            np.copyto(slots, found[meter_id], where=found[meter_id] != MISSING)
    return slots
