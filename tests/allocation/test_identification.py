"""B and gamma come back out of the data they went into, and where they cannot it is said."""

import json
from dataclasses import replace

import numpy as np
import pytest

from backend.allocation.condensed import condense_day
from backend.allocation.fitting import CondensedPowers, DailyExcess
from backend.allocation.identification import CalibrationWindow, identify
from backend.allocation.inputs import Refused
from backend.compute.jsonl import answer
from tests import paper18

KAPPA = 1.4
FLATS = paper18.case()["input"]["households"]
TRUE_B = np.array([float(flat["B"]) for flat in FLATS])
TRUE_GAMMA = np.array([float(flat["gamma"]) for flat in FLATS])
AREAS = np.array([float(flat["area"]) for flat in FLATS])
IDS = [flat["id"] for flat in FLATS]


def winter(days=40, seed=1, spread=0.28, lift_k=32 / KAPPA):
    """tn, dt [flats x days] and q0 [days] of a building in balance at KAPPA.

    The load is drawn first; each flat's excess is what its radiator needs for the loss of its
    room, solved by iteration from the heat balance.
    """
    rng = np.random.default_rng(seed)
    tn = 20 + rng.normal(0, 1.0, (len(IDS), 1)) + rng.normal(0, 0.3, (len(IDS), days))
    load = KAPPA * lift_k * np.exp(rng.normal(0, spread, days))
    y = load + KAPPA * (tn - AREAS @ tn / AREAS.sum())
    dt = (y / TRUE_GAMMA[:, None]) ** (1 / TRUE_B[:, None])
    return tn, dt, load * AREAS.sum()


def window(tn, dt, q0, **more):
    return CalibrationWindow(IDS, AREAS, q0, tn, DailyExcess(dt), **more)


def exponents(found):
    return np.array([found.fits[key].exponent for key in IDS])


def gammas(found):
    return np.array([found.fits[key].gamma for key in IDS])


def test_data_without_noise_give_the_truth_back():
    found = identify(window(*winter()), KAPPA)
    assert not found.refused
    assert np.abs(exponents(found) - TRUE_B).max() < 1e-9
    assert gammas(found) == pytest.approx(TRUE_GAMMA, rel=1e-8)


def test_gaps_cost_days_and_not_exactness():
    tn, dt, q0 = winter()
    tn[3, 5] = dt[3, 5] = np.nan  # one room of the building, one day
    dt[7, 9:13] = np.nan  # one flat's pipes only
    q0[20] = np.nan
    found = identify(window(tn, dt, q0), KAPPA)
    assert np.abs(exponents(found) - TRUE_B).max() < 1e-9
    assert [found.fits[IDS[flat]].days for flat in (0, 3, 7)] == [39, 38, 35]


def test_a_room_missing_every_few_days_costs_those_flats_days_and_nobody_elses():
    tn, dt, q0 = winter(60)
    silent = np.random.default_rng(5).random(tn.shape) < 0.05  # two days of three lack a room
    tn[silent] = dt[silent] = np.nan
    found = identify(window(tn, dt, q0), KAPPA)
    assert np.abs(exponents(found) - TRUE_B).max() < 1e-9
    assert gammas(found) == pytest.approx(TRUE_GAMMA, rel=1e-8)
    assert [found.fits[key].days for key in IDS] == (~silent).sum(axis=1).tolist()


def test_where_every_day_lacks_a_room_b_still_comes_out():
    tn, dt, q0 = winter(60)
    for day in range(60):
        tn[day % len(IDS), day] = dt[day % len(IDS), day] = np.nan
    found = identify(window(tn, dt, q0), KAPPA)
    assert np.abs(exponents(found) - TRUE_B).max() < 2e-3


def test_a_day_most_of_the_building_is_silent_does_not_count():
    tn, dt, q0 = winter(40)
    tn[:6, 10] = dt[:6, 10] = np.nan  # a third of the area
    found = identify(window(tn, dt, q0), KAPPA)
    assert {fit.days for fit in found.fits.values()} == {39}


def biased(seed):
    """A winter of 31 K between in and out, its sensors off by 0.15/0.15/0.25 K for good."""
    rng = np.random.default_rng(seed)
    tn, dt, q0 = winter(60, seed, lift_k=31)
    supply, back, room = (rng.normal(0, sd, (len(IDS), 1)) for sd in (0.15, 0.15, 0.25))
    return (tn + room, dt + (supply + back) / 2 - room, q0), dt


def test_biased_sensors_move_b_gamma_and_shares_no_further_than_the_reference():
    """allocation.md, section 1: B rms 0.026, gamma at 25 K 2.2 %, shares within 1.6 %."""
    wrong_b, wrong_gamma, wrong_share = [], [], []
    for seed in range(8):
        measured, excess = biased(seed)
        found = identify(window(*measured), KAPPA)
        b, gamma = exponents(found), gammas(found)
        wrong_b.append(b - TRUE_B)
        at_25 = gamma * 25**b / (TRUE_GAMMA * 25**TRUE_B)
        wrong_gamma.append(at_25 / at_25.mean() - 1)
        wrong_share.append(_shares(measured[1], b, gamma) / _shares(excess, TRUE_B, TRUE_GAMMA) - 1)
    assert np.sqrt(np.mean(np.square(wrong_b))) < 0.03
    assert np.sqrt(np.mean(np.square(wrong_gamma))) < 0.028
    assert np.mean(np.abs(wrong_share).max(axis=1)) < 0.02


def _shares(excess, b, gamma):
    weights = AREAS * gamma * (excess ** b[:, None]).sum(axis=1)
    return weights / weights.sum()


def test_noise_moves_b_little_and_the_report_says_how_much():
    rng = np.random.default_rng(7)
    tn, dt, q0 = winter(60)
    noisy = window(tn + rng.normal(0, 0.05, tn.shape), dt + rng.normal(0, 0.1, dt.shape), q0)
    found = identify(noisy, KAPPA)
    wrong = exponents(found) - TRUE_B
    assert np.sqrt((wrong**2).mean()) < 0.02
    told = np.array([found.fits[key].b_error for key in IDS])
    assert (np.abs(wrong) < 4 * told).all()


def test_kappa_is_found_from_an_outdoor_sensor_or_from_the_least_residual():
    tn, dt, q0 = winter()
    outdoor = AREAS @ tn / AREAS.sum() - q0 / AREAS.sum() / KAPPA
    seen = identify(window(tn, dt, q0, outdoor_c=outdoor))
    assert seen.kappa_w_per_m2k == pytest.approx(KAPPA, rel=1e-9)
    blind = identify(window(tn, dt, q0))
    assert blind.kappa_w_per_m2k == pytest.approx(KAPPA, rel=1e-4)
    assert np.abs(exponents(blind) - TRUE_B).max() < 1e-4


def test_gamma_is_scaled_so_that_the_flats_add_up_to_the_building_meter():
    tn, dt, q0 = winter()
    rng = np.random.default_rng(3)
    noisy = dt + rng.normal(0, 0.3, dt.shape)
    found = identify(window(tn, noisy, q0), KAPPA)
    outputs = (AREAS * gammas(found)) @ noisy ** exponents(found)[:, None]
    assert outputs.sum() == pytest.approx(q0.sum(), rel=1e-9)


def test_condensed_days_identify_like_their_samples():
    tn, dt, q0 = winter(30)
    wave = 1 + 0.1 * np.sin(np.linspace(0, 2 * np.pi, 144, endpoint=False))
    nodes, mean = np.empty((*dt.shape, 8)), np.empty(dt.shape)
    for flat, day in np.ndindex(dt.shape):
        # The flat's mean of dt^B is what the balance asks for; the day swings around it.
        swing = dt[flat, day] * wave / ((wave ** TRUE_B[flat]).mean() ** (1 / TRUE_B[flat]))
        room = np.full(144, round(tn[flat, day] * 100), dtype=np.int16)
        pipe = np.round(room + swing * 100).astype(np.int16)
        one = condense_day(pipe, pipe, room, 600.0)
        nodes[flat, day], mean[flat, day] = one.nodes, one.room_k_s / one.room_s
    condensed = CondensedPowers(nodes, np.full(dt.shape, 86_400.0))
    found = identify(CalibrationWindow(IDS, AREAS, q0, mean, condensed), KAPPA)
    assert np.abs(exponents(found) - TRUE_B).max() < 2e-3  # hundredths of a degree, no more


def test_a_load_that_never_varies_is_refused():
    found = identify(window(*winter(spread=0.03)), KAPPA)
    assert set(found.refused) == set(IDS)
    assert found.refused["101"].code == "load_constant"


def test_a_throttled_flat_is_refused_and_the_others_are_not():
    tn, dt, q0 = winter()
    dt[4] = 9.0  # a valve holds it wherever the load goes
    found = identify(window(tn, dt, q0), KAPPA)
    assert set(found.refused) == {IDS[4]}


def test_a_silent_room_sensor_is_named():
    tn, dt, q0 = winter()
    tn[2] = np.nan
    assert set(identify(window(tn, dt, q0), KAPPA).refused) == {IDS[2]}


@pytest.mark.parametrize(("days", "wanted"), [(13, "14 to 90"), (91, "14 to 90")])
def test_a_window_too_short_or_too_long_is_refused(days, wanted):
    with pytest.raises(Refused, match=wanted):
        identify(window(*winter(days)), KAPPA)


def test_an_area_of_zero_is_refused():
    with pytest.raises(Refused, match="area"):
        identify(replace(window(*winter()), areas_m2=np.zeros(len(IDS))), KAPPA)


def line(tn, dt, q0):
    """The window as `nuan compute` takes it: tp = 45 split over supply and return."""
    supply, back = tn + dt + 3, tn + dt - 3
    days = [
        {
            "q0_w": q0[d],
            **{
                name: dict(zip(IDS, values[:, d].tolist(), strict=True))
                for name, values in (("tg", supply), ("th", back), ("tn", tn))
            },
        }
        for d in range(len(q0))
    ]
    areas = dict(zip(IDS, AREAS.tolist(), strict=True))
    content = {"kappa_w_per_m2k": KAPPA, "areas": areas, "days": days}
    return {"id": "a", "kind": "identify", "input": content}


def ask(request):
    return json.loads(answer(json.dumps(request).encode()))


def test_compute_identifies_and_takes_null_and_absent_for_missing():
    request = line(*winter())
    request["input"]["days"][2]["tn"][IDS[1]] = None
    del request["input"]["days"][3]["tg"][IDS[1]]
    result = ask(request)["result"]
    assert list(result["B"]) == IDS
    assert np.abs(np.array(list(result["B"].values())) - TRUE_B).max() < 1e-9
    assert np.array(list(result["gamma"].values())) == pytest.approx(TRUE_GAMMA, rel=1e-8)


def test_compute_refuses_what_the_data_cannot_carry():
    answered = ask(line(*winter(spread=0.02)))
    assert "result" not in answered
    assert "varied too little" in answered["error"]
