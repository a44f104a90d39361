"""Every method shares a building out from what is stored of it."""

from datetime import timedelta
from decimal import Decimal

import pytest
import sqlalchemy as sa

from backend.allocation import service
from backend.allocation.methods import METHODS
from backend.allocation.models import AllocationShare
from backend.base.db import db
from backend.base.errors import Problem
from tests import builders
from tests.allocation import stored
from tests.allocation.stored import FIRST, LAST, TOTAL_WH
from tests.builders import NOON


def area(flats):
    """F."""
    return {"101": 50, "102": 100, "201": 50}


def heat_meter(flats):
    """Q (1 - alpha)."""
    for no, used in (("101", 100_000), ("102", 100_000), ("201", 200_000)):
        stored.counter(flats[no], "heat", used)
    stored.factor(flats["201"], "alpha", "0.25")
    return {"101": 100, "102": 100, "201": 150}


def hot_water_meter(flats):
    """V."""
    for no, used in (("101", 100), ("102", 200), ("201", 300)):
        stored.counter(flats[no], "hot_water", used)
    return {"101": 1, "102": 2, "201": 3}


def on_time(flats):
    """F t_on / t_supply."""
    for no, used in (("101", 86_400), ("102", 43_200), ("201", 172_800)):
        stored.counter(flats[no], "valve", used)
    return {"101": 50, "102": 50, "201": 100}


def valve_time_radiator(flats):
    """sum rating t_on."""
    for no, rated_w in (("101", "1000"), ("102", "2000"), ("201", "500")):
        meter = stored.counter(flats[no], "valve", 36_000)
        stored.radiator(flats[no], meter, rated_w)
    stored.radiator(flats["201"], stored.counter(flats["201"], "valve", 72_000), "250")
    return {"101": 2, "102": 4, "201": 2}


def hca_units(flats):
    """sum units K."""
    for no, units, kq in (("101", 100, "2"), ("102", 300, "1"), ("201", 50, "4")):
        stored.radiator(flats[no], stored.counter(flats[no], "hca", units), kq=Decimal(kq))
    return {"101": 2, "102": 3, "201": 2}


def hca_evaporative(flats):
    """sum max(0, delta - cold) KQ KC, a count being a tenth of a mark."""
    for no, counts in (("101", 120), ("102", 220), ("201", 15)):
        stored.radiator(
            flats[no],
            stored.counter(flats[no], "hca", counts),
            kc=Decimal("1.5"),
            per_count=Decimal("0.1"),
            cold_evaporation=Decimal(2),
        )
    return {"101": 10, "102": 20, "201": 0}


def hca_electronic(flats):
    """KQ KC (dT/60)^n, nothing below dT_min."""
    for no, heater in (("101", 4000), ("102", 6000), ("201", 2200)):
        meter = builders.make_meter(flats[no].building, flats[no], "hca")
        stored.constant_series(meter, "supply_cdeg", heater)
        stored.constant_series(meter, "room_cdeg", 2000)
        stored.radiator(flats[no], meter, exponent=Decimal(2), least_excess_k=Decimal(5))
    return {"101": 1, "102": 4, "201": 0}


def flow_temperature(flats):
    """g (tg - th)."""
    for no, th, share in (("101", 3500, "0.2"), ("102", 4000, "0.5"), ("201", 3000, "0.3")):
        stored.climate(flats[no], 4500, th, 2000)
        stored.factor(flats[no], "flow_fraction", share)
    return {"101": 20, "102": 25, "201": 45}


def temperature_area(flats):
    """F tn."""
    for no, tn in (("101", 2000), ("102", 1800), ("201", 2200)):
        stored.climate(flats[no], 4500, 3500, tn)
    return {"101": 100, "102": 180, "201": 110}


def degree_day(flats):
    """c (tn - outdoor)."""
    sensor = builders.make_meter(flats["101"].building, None, "outdoor")
    stored.constant_series(sensor, "room_cdeg", -1000)
    for no, tn, c in (("101", 2000, "1.5"), ("102", 1800, "2.5"), ("201", 2200, "1")):
        stored.climate(flats[no], 4500, 3500, tn)
        stored.factor(flats[no], "room_constant", c)
    return {"101": 45, "102": 70, "201": 32}


def three_temperature(flats):
    """gamma F (tp - tn)^B."""
    for no, tn, gamma in (("101", 2000, "0.4"), ("102", 2400, "0.3"), ("201", 1500, "0.2")):
        stored.climate(flats[no], 4500, 3500, tn)
        stored.thermal(flats[no], gamma, "1.5")
    return {"101": 20 * 20**1.5, "102": 30 * 16**1.5, "201": 10 * 25**1.5}


def radiator(flats):
    """a' Fn (tp - tn)^B / beta."""
    for no, tn, m2 in (("101", 2000, "4"), ("102", 2400, "8"), ("201", 1500, "2")):
        stored.climate(flats[no], 4500, 3500, tn)
        stored.thermal(flats[no], "1", "1.5")
        stored.factor(flats[no], "radiator_a", "2")
        stored.factor(flats[no], "radiator_m2", m2)
    stored.factor(flats["102"], "beta", "2")
    return {"101": 4 * 20**1.5, "102": 4 * 16**1.5, "201": 2 * 25**1.5}


def radiator_corrected(flats):
    """(1 - alpha) of the same."""
    weights = radiator(flats)
    stored.factor(flats["201"], "alpha", "-0.5")
    return {**weights, "201": weights["201"] * 1.5}


CASES = {
    "area": area,
    "heat_meter": heat_meter,
    "hot_water_meter": hot_water_meter,
    "on_off_time_area": on_time,
    "on_time_area": on_time,
    "valve_time_radiator": valve_time_radiator,
    "hca_units": hca_units,
    "hca_evaporative": hca_evaporative,
    "hca_electronic": hca_electronic,
    "flow_temperature": flow_temperature,
    "temperature_area": temperature_area,
    "degree_day": degree_day,
    "three_temperature": three_temperature,
    "radiator": radiator,
    "radiator_corrected": radiator_corrected,
}


def shares_of(run):
    return db.session.scalars(
        sa.select(AllocationShare)
        .where(AllocationShare.run_id == run.id)
        .order_by(AllocationShare.household_id)
    ).all()


def share_out(building):
    run = service.allocate(building.id, FIRST, LAST, "billing", NOON)
    db.session.commit()
    return run


def units_of(run, flats):
    by_id = {home.id: no for no, home in flats.items()}
    return {by_id[row.household_id]: row.energy_wh for row in shares_of(run)}


def test_every_method_is_tried_here():
    assert set(CASES) == set(METHODS)


@pytest.mark.parametrize("method", CASES)
def test_a_method_shares_out_from_stored_rows(app, method):
    building, flats = stored.house(method)
    weights = CASES[method](flats)
    run = share_out(building)
    whole = sum(weights.values())
    for no, units in units_of(run, flats).items():
        assert units == pytest.approx(TOTAL_WH * weights[no] / whole, abs=1)
    assert sum(units_of(run, flats).values()) == TOTAL_WH
    assert not any(row.flags for row in shares_of(run))


@pytest.mark.parametrize("method", CASES)
def test_a_run_done_again_from_what_it_stored_is_equal_to_the_byte(app, method):
    building, flats = stored.house(method)
    CASES[method](flats)
    run = share_out(building)
    db.session.expire_all()
    again = service.replay(run.id)
    assert again.equal
    assert service.recheck(run.id) == []


def test_a_sample_that_changed_later_is_found_and_the_run_still_replays(app):
    building, flats = stored.house("temperature_area")
    temperature_area(flats)
    run = share_out(building)
    stored.climate(flats["102"], 4500, 3500, 2600)
    assert service.recheck(run.id) == ["住户 102 的计量数据在分摊之后有变化。"]
    assert service.replay(run.id).equal


def test_an_integrator_serves_for_a_room_sensor(app):
    building, flats = stored.house("temperature_area", {"source": "integrator", "base": 10})
    for no, hours_cdeg in (("101", 2000 * 48), ("102", 1800 * 48), ("201", 900 * 48)):
        stored.counter(flats[no], "room_integral", hours_cdeg)
    assert units_of(share_out(building), flats) == {
        "101": round(TOTAL_WH * 50 * 10 / 1300),
        "102": round(TOTAL_WH * 100 * 8 / 1300),
        "201": 0,
    }


def test_an_integrator_counts_above_the_outdoor_temperature_too(app):
    building, flats = stored.house("temperature_area", {"source": "integrator", "base": "outdoor"})
    sensor = builders.make_meter(building, None, "outdoor")
    stored.constant_series(sensor, "room_cdeg", -500)
    for flat in flats.values():
        stored.counter(flat, "room_integral", 1500 * 48)
    units = units_of(share_out(building), flats)
    assert units == {"101": 100_000, "102": 200_000, "201": 100_000}


def test_the_outdoor_sensor_may_hang_at_the_station_above(app):
    building, flats = stored.house("degree_day")
    station = builders.make_building("STATION", building.region)
    sensor = builders.make_meter(station, None, "outdoor")
    stored.constant_series(sensor, "room_cdeg", -1000)
    elsewhere = builders.make_building("FAR")
    stored.constant_series(builders.make_meter(elsewhere, None, "outdoor"), "room_cdeg", 1500)
    for flat in flats.values():
        stored.climate(flat, 4500, 3500, 2000)
        stored.factor(flat, "room_constant", "1")
    run = share_out(building)
    assert run.inputs["outdoor_meters"] == [sensor.id]


def test_a_flat_that_joined_counts_from_its_day_on(app):
    building, flats = stored.house("heat_meter")
    for no in flats:
        stored.counter(flats[no], "heat", 100_000)
    flats["101"].active_from = FIRST + timedelta(days=1)
    db.session.commit()
    assert units_of(share_out(building), flats) == {
        "101": 80_000,
        "102": 160_000,
        "201": 160_000,
    }


def test_a_flat_suspended_within_the_period_counts_up_to_that_day(app):
    building, flats = stored.house("area")
    flats["102"].suspended_from = FIRST + timedelta(days=1)
    flats["201"].suspended_from = FIRST
    db.session.commit()
    assert units_of(share_out(building), flats) == {"101": 200_000, "102": 200_000, "201": 0}


def test_a_flat_whose_radiator_nothing_measures_is_substituted_and_flagged(app):
    building, flats = stored.house("hca_units")
    hca_units(flats)
    stored.radiator(flats["201"], None)
    run = share_out(building)
    flagged = {row.household_id: row.flags for row in shares_of(run) if row.flags}
    assert flagged == {flats["201"].id: ["substituted:building_mean_per_area"]}


def test_an_allocator_exchanged_within_the_period_adds_up(app):
    building, flats = stored.house("hca_units")
    for flat in flats.values():
        stored.radiator(flat, stored.counter(flat, "hca", 100))
    old = stored.counter(flats["101"], "hca", 100, removed_on=FIRST + timedelta(days=1))
    new = stored.counter(flats["101"], "hca", 100, installed_on=FIRST + timedelta(days=1))
    stored.radiator(flats["101"], old)
    db.session.execute(
        sa.text(
            "INSERT INTO radiator_device (meter_id, radiator_id, kq) "
            "SELECT :new, radiator_id, 2 FROM radiator_device WHERE meter_id = :old"
        ),
        {"new": new.id, "old": old.id},
    )
    db.session.commit()
    # 100 + 50 x 1 + 50 x 2 against 100 each
    assert units_of(share_out(building), flats)["101"] == round(TOTAL_WH * 250 / 450)


@pytest.mark.parametrize(
    ("method", "code", "wants"),
    [
        ("three_temperature", "parameters_missing", "101、102、201"),
        ("flow_temperature", "parameters_missing", "流量比例"),
        ("degree_day", "parameters_missing", "房间常数"),
    ],
)
def test_what_is_lacking_is_named(app, method, code, wants):
    building, _ = stored.house(method)
    with pytest.raises(Problem) as refused:
        share_out(building)
    assert refused.value.code == code
    assert wants in refused.value.detail


def test_degree_days_without_an_outdoor_sensor_are_refused(app):
    building, flats = stored.house("degree_day")
    for flat in flats.values():
        stored.factor(flat, "room_constant", "1")
    with pytest.raises(Problem) as refused:
        share_out(building)
    assert refused.value.code == "outdoor_missing"


def test_an_outdoor_series_with_a_hole_names_the_day(app):
    building, flats = stored.house("degree_day")
    sensor = builders.make_meter(building, None, "outdoor")
    stored.constant_series(sensor, "room_cdeg", -1000, days=1)
    for flat in flats.values():
        stored.factor(flat, "room_constant", "1")
    with pytest.raises(Problem) as refused:
        share_out(building)
    assert str(FIRST + timedelta(days=1)) in refused.value.detail


def test_a_building_without_a_meter_is_refused_by_name(app):
    building, _ = stored.house("area")
    db.session.execute(sa.text("UPDATE meter SET kind = 'water' WHERE scope = 'building'"))
    db.session.commit()
    with pytest.raises(Problem) as refused:
        share_out(building)
    assert refused.value.code == "building_meter_missing"
    assert building.name in refused.value.detail


def test_nobody_at_home_is_refused(app):
    building, flats = stored.house("area")
    for flat in flats.values():
        flat.suspended_from = FIRST - timedelta(days=3)
    db.session.commit()
    with pytest.raises(Problem) as refused:
        share_out(building)
    assert refused.value.code == "nobody_active"
