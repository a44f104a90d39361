"""Every kind of `nuan compute` once more, by brute force: minute by minute, unit by unit, exact.

Written from the text of the rules alone, sharing nothing with the code it is held against. Powers
are taken with 40 digits. A refusal is `Refusal`.
"""

from datetime import date, datetime, timedelta
from decimal import Context, Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any

Json = dict[str, Any]
PRECISE = Context(prec=40)


class Refusal(Exception):
    """The input must be answered with an error."""


def q(value: Any) -> Fraction:
    return Fraction(str(value))


def half_up(value: Fraction) -> int:
    sign = -1 if value < 0 else 1
    return sign * int(abs(value) + Fraction(1, 2))


def six_digits(value: Fraction) -> Fraction:
    return Fraction(Context(prec=6).divide(Decimal(value.numerator), Decimal(value.denominator)))


def power(base: Fraction, exponent: Fraction) -> Fraction:
    if base <= 0:
        return Fraction(0)
    top = PRECISE.divide(Decimal(base.numerator), Decimal(base.denominator))
    up = PRECISE.divide(Decimal(exponent.numerator), Decimal(exponent.denominator))
    return Fraction(PRECISE.power(top, up))


def shared(total: int, weights: dict[Any, Fraction]) -> tuple[dict[Any, int], Fraction]:
    """Largest remainder by handing out one unit after the other; and how near it was to a tie."""
    whole = sum(weights.values())
    if total < 0 or any(w < 0 for w in weights.values()) or (total and not whole):
        raise Refusal
    if not whole:
        return dict.fromkeys(weights, 0), Fraction(1)
    quota = {key: total * w / whole for key, w in weights.items()}
    parts = {key: int(value) for key, value in quota.items()}
    rest = {key: quota[key] - parts[key] for key in quota}
    handed: list[Any] = []
    while sum(parts.values()) < total:
        best = min((k for k in rest if k not in handed), key=lambda k: (-rest[k], k))
        parts[best] += 1
        handed.append(best)
    left = [rest[k] for k in rest if k not in handed]
    near = [rest[handed[-1]] - max(left)] if handed and left else []
    near += [min(r, 1 - r) for r in rest.values() if r]
    return parts, min(near, default=Fraction(1))


# The building ------------------------------------------------------------------------------------


def building(source: Json, kind: str) -> tuple[Json, Fraction]:
    """The expected result of series, timestamped or scalar, and its rounding margin."""
    flats = source["households"]
    if source["total_units"] < 0 or any(q(f["area"]) <= 0 for f in flats):
        raise Refusal
    measured = {f["id"]: _measured(source, kind, f) for f in flats}
    here = {k: m for k, m in measured.items() if m[1] > 0}
    if not here:
        raise Refusal
    area = {f["id"]: q(f["area"]) * measured[f["id"]][1] for f in flats if f["id"] in here}
    weights, flags = _completed(source, {k: m[0] for k, m in here.items()}, area)
    flag = None
    if not any(weights.values()):
        weights, flag = area, "all_zero_weights_by_area"
    else:
        weights = _common(source, weights, area)
    full = {f["id"]: weights.get(f["id"], Fraction(0)) for f in flats}
    units, margin = shared(source["total_units"], full)
    whole = sum(full.values())
    result = {
        "units": units,
        "shares": {k: w / whole for k, w in full.items()},
        "flags": flags,
        "building_flag": flag,
        "coverage": {k: six_digits(m[2]) for k, m in here.items() if m[2] < 1},
    }
    return result, margin


def _completed(source: Json, weights: dict, area: dict) -> tuple[dict, dict]:
    missing = [k for k, w in weights.items() if w is None]
    if not missing:
        return weights, {}
    known = {k: w for k, w in weights.items() if w is not None}
    if not known or sum(area[k] for k in missing) > Fraction(1, 4) * sum(area.values()):
        return dict(area), {k: ["whole_building_by_area"] for k in weights}
    mean = sum(known.values()) / sum(area[k] for k in known)
    rule = source.get("missing_rule", {"kind": "building_mean_per_area"})
    done, flags = dict(known), {}
    for key in missing:
        near = [n for n in set(rule.get("neighbours", {}).get(key, [])) if n in known]
        use = rule["kind"] == "neighbours_mean" and near
        per_area = sum(known[n] for n in near) / sum(area[n] for n in near) if use else mean
        done[key] = per_area * area[key]
        flags[key] = [f"substituted:{rule['kind'] if use else 'building_mean_per_area'}"]
    return {k: done[k] for k in weights}, flags


def _common(source: Json, weights: dict, area: dict) -> dict:
    common = source.get("common", {"kind": "pro_rata"})
    part = q(common.get("fraction", 0))
    if common["kind"] == "metered_loss":
        total = source["total_units"]
        part = max(Fraction(0), 1 - sum(weights.values()) / total) if total else Fraction(0)
    ws, fs = sum(weights.values()), sum(area.values())
    return {k: (1 - part) * weights[k] / ws + part * area[k] / fs for k in weights}


def _measured(source: Json, kind: str, flat: Json) -> tuple[Fraction | None, Fraction, Fraction]:
    """(weight or None, active seconds, coverage)."""
    if flat.get("status") == "suspended":
        return Fraction(0), Fraction(0), Fraction(1)
    if kind == "scalar":
        return _reading(source, flat)
    pieces = _minutes(source, flat) if kind == "timestamped" else _samples(source, flat)
    active = sum((s for s, _ in pieces), Fraction(0))
    covered = sum((s for s, x in pieces if x is not None), Fraction(0))
    if not active:
        return Fraction(0), Fraction(0), Fraction(1)
    coverage = covered / active
    if not covered or coverage < q(source.get("min_coverage", "0.5")):
        return None, active, coverage
    exponent = q(flat["B"]) if "B" in flat else Fraction(1)
    total = sum((s * power(x, exponent) for s, x in pieces if x is not None), Fraction(0))
    if source.get("gap_rule", "time_scale") == "time_scale":
        total /= coverage
    return _factor(source["method"], flat) * total, active, coverage


def _factor(method: str, flat: Json) -> Fraction:
    if method == "three_temperature":
        return q(flat["gamma"]) * q(flat["area"])
    if method in ("radiator", "radiator_corrected"):
        b1, b2, b3, b4 = (q(b) for b in flat["beta"])
        factor = q(flat["a"]) * q(flat["Fn"]) / (b1 * b2 * b3 * b4)
        return factor * (1 - q(flat["alpha"])) if method == "radiator_corrected" else factor
    names = {"temperature_area": "area", "degree_day": "room_constant"}
    return q(flat[names.get(method, "flow_fraction")])


def _excess(source: Json, values: dict, out: Any) -> Fraction | None:
    method = source["method"]
    needed = {"flow_temperature": ("tg", "th"), "temperature_area": ("tn",), "degree_day": ("tn",)}
    names = needed.get(method, ("tg", "th", "tn"))
    if any(values[name] is None for name in names):
        return None
    if method == "flow_temperature":
        return q(values["tg"]) - q(values["th"])
    if len(names) == 3:
        return (q(values["tg"]) + q(values["th"])) / 2 - q(values["tn"])
    base = source.get("base", "outdoor") if method == "temperature_area" else "outdoor"
    if base == "outdoor" and out is None:
        return None
    return q(values["tn"]) - q(out if base == "outdoor" else base)


def _samples(source: Json, flat: Json) -> list[tuple[Fraction, Fraction | None]]:
    """(active seconds, excess) of each sample of the grid."""
    start = datetime.fromisoformat(source["start"])
    bounds = [flat.get("active_from"), flat.get("active_to")]
    since, until = (
        None if b is None else q((datetime.fromisoformat(b) - start).total_seconds())
        for b in bounds
    )
    at, pieces = Fraction(0), []
    for index, dt in enumerate(source["dt_s"]):
        begin, end = at, at + q(dt)
        at = end
        begin = begin if since is None else max(begin, since)
        end = end if until is None else min(end, until)
        if end > begin:
            values = {n: flat[n][index] for n in ("tg", "th", "tn") if n in flat}
            out = source["outdoor"][index] if "outdoor" in source else None
            pieces.append((end - begin, _excess(source, values, out)))
    return pieces


def _minutes(source: Json, flat: Json) -> list[tuple[Fraction, Fraction | None]]:
    """Minute by minute: the last usable sample not after it, unless it is too old."""
    start, end = (datetime.fromisoformat(source[n]) for n in ("start", "end"))
    latest: dict[datetime, tuple] = {}
    for at, *values in flat["samples"]:
        latest[datetime.fromisoformat(at)] = tuple(values)
    usable = {at: v for at, v in latest.items() if None not in v}
    hold, pieces, at = timedelta(seconds=source["max_hold_s"]), [], start
    while at < end:
        before = [t for t in usable if t <= at < t + hold]
        since, until = (flat.get(n) for n in ("active_from", "active_to"))
        if (since is None or datetime.fromisoformat(since) <= at) and (
            until is None or at < datetime.fromisoformat(until)
        ):
            last = max((t for t in usable if t <= at), default=None)
            names = ("tg", "th", "tn")
            found = dict(zip(names, usable[last], strict=True)) if last in before else None
            pieces.append((Fraction(60), found and _excess(source, found, None)))
        at += timedelta(minutes=1)
    return pieces


def _reading(source: Json, flat: Json) -> tuple[Fraction | None, Fraction, Fraction]:
    method, one = source["method"], Fraction(1)
    period = q(source.get("supply_s", 1))
    if method == "area":
        return q(flat["area"]) * period, period, one
    single = {"heat_meter": "heat", "hot_water_meter": "volume"}
    if method in single or method == "on_off_time_area":
        value = flat[single.get(method, "on_s")]
        if value is None or q(value) < 0 or (method == "on_off_time_area" and q(value) > period):
            return None, period, one
        if method == "on_off_time_area":
            return q(flat["area"]) * q(value) / period, period, one
        return q(value) * (1 - q(flat.get("alpha", 0))), period, one
    if not flat["radiators"]:
        return None, period, one if method != "hca_electronic" else Fraction(0)
    if method == "hca_electronic":
        return _allocators(source, flat, period)
    parts = [_radiator(method, radiator) for radiator in flat["radiators"]]
    return (None if None in parts else sum(parts, Fraction(0))), period, one


def _k(radiator: Json) -> Fraction:
    product = Fraction(1)
    for name in ("K", "KQ", "KC"):
        product *= q(radiator.get(name, 1))
    return product


def _radiator(method: str, radiator: Json) -> Fraction | None:
    names = {"valve_time_radiator": ("on_s",), "hca_units": ("units",)}
    read = [radiator[n] for n in names.get(method, ("reading_start", "reading_end"))]
    if any(r is None or q(r) < 0 for r in read):
        return None
    if method == "valve_time_radiator":
        return q(radiator["rating"]) * q(read[0])
    if method == "hca_units":
        return _k(radiator) * q(read[0])
    delta = q(read[1]) - q(read[0]) - q(radiator["cold_evaporation"])
    return _k(radiator) * max(Fraction(0), delta)


def _allocators(
    source: Json, flat: Json, period: Fraction
) -> tuple[Fraction | None, Fraction, Fraction]:
    total = covered = Fraction(0)
    for index, dt in enumerate(source["dt_s"]):
        pairs = [(r["t_heater"][index], r["t_room"][index]) for r in flat["radiators"]]
        if any(None in pair for pair in pairs):
            continue
        covered += q(dt)
        for radiator, (hot, cool) in zip(flat["radiators"], pairs, strict=True):
            excess = q(hot) - q(cool)
            if excess >= q(radiator.get("dT_min", 0)):
                total += _k(radiator) * power(excess / 60, q(radiator["n"])) * q(dt)
    coverage = covered / sum(q(dt) for dt in source["dt_s"])
    if not covered or coverage < Fraction(1, 2):
        return None, period, coverage
    return total / coverage, period, coverage


# Registers and money -----------------------------------------------------------------------------


def meter(source: Json) -> Json:
    modulus = 10 ** source["digits"] * q(source["resolution"])
    events = sorted(source["events"], key=lambda e: datetime.fromisoformat(e["t"]))
    total, flags = Fraction(0), []
    for before, after in pairwise(events):
        begin = q(before["replaced"]["new_initial"] if "replaced" in before else before["value"])
        end = q(after["replaced"]["old_final"] if "replaced" in after else after["value"])
        apart = datetime.fromisoformat(after["t"]) - datetime.fromisoformat(before["t"])
        if end >= begin:
            total += end - begin
        elif end + modulus - begin <= q(source["max_per_day"]) * q(apart.total_seconds()) / 86400:
            total += end + modulus - begin
            flags.append("rollover")
        else:
            flags.append("negative_delta")
        if "replaced" in after:
            flags.append("meter_replaced")
    known = "negative_delta" not in flags
    return {
        "consumption": total if known else None,
        "consumption_wh": total * q(source["unit_in_wh"]) if known else None,
        "flags": list(dict.fromkeys(flags)),
    }


def tier_of(at: Fraction, bounds: list[Fraction | None]) -> int:
    """The tier a little before `at`: a bound belongs to the lower one."""
    return next(n for n, bound in enumerate(bounds) if bound is None or at <= bound)


def bounds_of(source: Json) -> list[Fraction | None]:
    tariff = source["tariff"]
    base = tariff.get("base_persons", 0)
    extra = max(0, source.get("persons", base) - base)
    return [
        None
        if t["upto"] is None
        else (q(t["upto"]) + extra * q(t.get("per_extra_person", 0)))
        * q(source.get("months", 12))
        / 12
        for t in tariff["tiers"]
    ]


def tiered(source: Json, grain: Fraction) -> Json:
    """Grain by grain; every usage and bound is a whole number of grains."""
    bounds, tiers = bounds_of(source), source["tariff"]["tiers"]
    used, bills = q(source.get("prior_cumulative", 0)), []
    for usage in source["usages"]:
        parts, step = [Fraction(0)] * len(tiers), grain if usage >= 0 else -grain
        for _ in range(int(abs(q(usage)) / grain)):
            parts[tier_of(max(used, used + step), bounds)] += step
            used += step
        fen = sum(half_up(p * q(t["price"]) * 100) for p, t in zip(parts, tiers, strict=True))
        bills.append({"tier_usage": parts, "fee_fen": fen, "cumulative": used})
    return {"bounds": bounds, "bills": bills}


def tou(source: Json) -> Json:
    """Minute by minute."""
    energy = dict.fromkeys([rule["period"] for rule in source["schedule"]], Fraction(0))
    for start, minutes, kwh in source["intervals"]:
        for n in range(minutes):
            at = datetime.fromisoformat(start) + timedelta(minutes=n)
            energy[_period(source["schedule"], at)] += q(kwh) / minutes
    lines = {p: half_up(e * q(source["prices"][p]) * 100) for p, e in energy.items()}
    return {"energy": energy, "lines_fen": lines, "fee_fen_lines": sum(lines.values())}


def _period(schedule: list[Json], at: datetime) -> str:
    now = at.strftime("%H:%M")
    for rule in schedule:
        begin, end = rule["from"], rule["to"]
        inside = begin <= now < end if begin < end else now >= begin or now < end
        if inside and at.month in (rule.get("months") or range(1, 13)):
            return str(rule["period"])
    raise Refusal


def late_fee(source: Json) -> Json:
    """Day by day."""
    cap = q(source["principal_fen"]) * q(source.get("cap_ratio", 1))
    principal, accrued, paid = q(source["principal_fen"]), Fraction(0), Fraction(0)
    credit, days = Fraction(0), 0
    due, as_of = (date.fromisoformat(source[n]) for n in ("due", "as_of"))
    payments = sorted(
        (date.fromisoformat(p["date"]), n, p["fen"]) for n, p in enumerate(source["payments"])
    )
    first = min([due, *(day for day, _, _ in payments)])
    for n in range((as_of - first).days + 1):
        today = first + timedelta(n)
        if today > due and principal > 0:
            accrued, days = min(cap, accrued + principal * q(source["rate"])), days + 1
        for _, _, fen in (p for p in payments if p[0] == today):
            left = q(fen)
            for what in (
                ("penalty", "principal")
                if source["order"] == "penalty_first"
                else (
                    "principal",
                    "penalty",
                )
            ):
                owed = principal if what == "principal" else accrued - paid
                part = min(left, owed)
                left -= part
                principal -= part if what == "principal" else 0
                paid += part if what == "penalty" else 0
            credit += left
    fee = half_up(accrued)
    if accrued:
        fee = min(max(fee, source.get("min_fen", 0)), half_up(cap))
    return {
        "late_fee_fen": fee,
        "penalty_days": days,
        "principal_outstanding_fen": principal,
        "penalty_paid_fen": paid,
        "credit_fen": credit,
    }


def prepaid(source: Json, grain: Fraction) -> Json:
    """Day by day, the charge grain by grain; what is taken is the growth of the rounded sum."""
    bounds, tiers = bounds_of(source), source["tariff"]["tiers"]
    balance, used, owed = source["opening_fen"], Fraction(0), Fraction(0)
    days, events, below = [], [], 0
    warned = overdrawn = closed = False
    for number, usage in enumerate(source["daily_usage"], 1):
        top_up = source["topups"].get(str(number), 0)
        balance += top_up
        if closed and balance >= 0:
            closed = False
            events.append([number, "reopen"])
        if balance >= 0:
            below, overdrawn = 0, False
        warned = warned and balance < source["warn_fen"]
        before = half_up(owed)
        for _ in range(int(q(usage) / grain)):
            used += grain
            owed += grain * q(tiers[tier_of(used, bounds)]["price"]) * 100
        instalment = source.get("instalment")
        if instalment and number <= instalment["days"]:
            owed += Fraction(instalment["total_fen"], instalment["days"])
        balance -= half_up(owed) - before
        days.append({"deduction_fen": half_up(owed) - before, "balance_fen": balance})
        if balance < source["warn_fen"] and not warned:
            events.append([number, "low_balance"])
        warned = balance < source["warn_fen"]
        if balance < 0 and not overdrawn:
            events.append([number, "overdraft"])
        overdrawn = balance < 0
        below = below + 1 if balance < 0 else 0
        if below >= source["close_after_days"] and not closed:
            closed = True
            events.append([number, "close"])
    return {"days": days, "events": events, "closing_fen": balance}


def split_over_periods(source: Json) -> Json:
    first, end = (date.fromisoformat(source[n]) for n in ("from", "to"))
    cuts = sorted(date.fromisoformat(c) for c in source["cuts"])
    daily = source.get("degree_days") or [1] * (end - first).days
    daily = daily if any(daily) else [1] * len(daily)
    weights = dict.fromkeys(range(len(cuts) + 1), Fraction(0))
    for n, weight in enumerate(daily):
        weights[sum(cut <= first + timedelta(n) for cut in cuts)] += q(weight)
    parts, _ = shared(source["total"], weights)
    return {"parts": list(parts.values())}


def split_cost(source: Json) -> Json:
    flats = source["households"]
    areas = {f["id"]: q(f["area"]) for f in flats}
    weights = {f["id"]: q(f["weight"]) for f in flats}
    basic_fen = half_up(source["total_fen"] * q(source["base_ratio"]))
    basic, _ = shared(basic_fen, areas)
    rest = weights if any(weights.values()) else areas
    variable, _ = shared(source["total_fen"] - basic_fen, rest)
    total = {key: basic[key] + variable[key] for key in basic}
    return {"basic_fen": basic, "variable_fen": variable, "total_fen": total}


def components(source: Json) -> Json:
    fen = {c: half_up(q(source["usage"]) * q(p) * 100) for c, p in source["components"].items()}
    return {"lines_fen": fen, "sum_fen": sum(fen.values())}


def heat_bill(source: Json) -> Json:
    area = q(source["area"])
    basic = half_up(area * q(source["k1"]) * 100)
    metered = half_up(q(source["heat_gj"]) * q(source["k2"]) * 100)
    most = half_up(area * q(source["area_price"]) * q(source["cap_ratio"]) * 100)
    fee = min(basic + metered, most)
    return {
        "basic_fen": basic,
        "metered_fen": metered,
        "cap_fen": most,
        "capped": basic + metered > most,
        "fee_fen_lines": fee,
        "settlement_fen": fee - source["prepaid_fen"],
    }
