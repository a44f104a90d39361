"""A run as rows and bytes: what is stored of every household, and read back exactly."""

from __future__ import annotations

import json
from decimal import Decimal
from fractions import Fraction
from typing import Any

from backend.allocation import inputs
from backend.allocation.case import Case
from backend.allocation.feeds import Measurements
from backend.allocation.models import AllocationRun


def share_rows(
    run: AllocationRun, case: Case, found: Measurements, result: inputs.AllocationResult
) -> list[dict[str, Any]]:
    """The rows of a new run."""
    measured = {m.household.id: m for m in found.measured}
    return [
        share_row(
            run,
            household.id,
            result,
            {
                "household": household_json(household),
                "measured": measured_json(measured[household.id]),
                "sources": found.basis.get(household.id, {}),
            },
        )
        for household in case.households
    ]


def share_row(
    run: AllocationRun,
    household_id: inputs.Id,
    result: inputs.AllocationResult,
    basis: dict[str, Any],
) -> dict[str, Any]:
    """One household's row."""
    return {
        "run_id": run.id,
        "household_id": household_id,
        "period_to": run.period_to,
        "energy_wh": result.units[household_id],
        "weight": float(result.weights[household_id]),
        "share": result.shares[household_id],
        "coverage": result.coverage.get(household_id, Decimal(1)),
        "flags": result.flags.get(household_id, []),
        "basis": basis,
    }


def canonical(run: AllocationRun, result: inputs.AllocationResult) -> bytes:
    """The result as bytes that two equal results share."""
    content = {
        "method": run.method,
        "total_wh": run.total_wh,
        "units": {str(key): units for key, units in result.units.items()},
        "shares": {str(key): format(share, "f") for key, share in result.shares.items()},
        "weights": {str(key): str(weight) for key, weight in result.weights.items()},
        "flags": {str(key): flags for key, flags in result.flags.items()},
        "coverage": {str(key): format(part, "f") for key, part in result.coverage.items()},
        "building_flag": result.building_flag,
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def household_json(household: inputs.Household) -> dict[str, Any]:
    """A household as it was when shared out."""
    endless = household.active_to_s == float("inf")
    return {
        "id": household.id,
        "area_m2": str(household.area_m2),
        "constants": {
            name: [str(v) for v in value] if isinstance(value, tuple) else str(value)
            for name, value in household.constants.items()
        },
        "suspended": household.suspended,
        "active_from_s": household.active_from_s,
        "active_to_s": None if endless else household.active_to_s,
    }


def household_of(said: dict[str, Any]) -> inputs.Household:
    """The household again."""
    ends = said["active_to_s"]
    return inputs.Household(
        id=said["id"],
        area_m2=Decimal(said["area_m2"]),
        constants={
            name: tuple(map(Decimal, value)) if isinstance(value, list) else Decimal(value)
            for name, value in said["constants"].items()
        },
        suspended=said["suspended"],
        active_from_s=float(said["active_from_s"]),
        active_to_s=float("inf") if ends is None else float(ends),
    )


def measured_json(measured: inputs.Measured) -> dict[str, Any]:
    """What was measured, exactly."""
    return {
        "weight": None if measured.weight is None else str(measured.weight),
        "active_s": str(measured.active_s),
        "coverage": str(measured.coverage),
    }


def measured_of(basis: dict[str, Any]) -> inputs.Measured:
    """What was measured, from a share's basis."""
    said = basis["measured"]
    whole = Fraction(said["coverage"])
    return inputs.Measured(
        household_of(basis["household"]),
        None if said["weight"] is None else Fraction(said["weight"]),
        Fraction(said["active_s"]),
        inputs.WHOLE if whole == 1 else whole,
    )
