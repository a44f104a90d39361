"""价格方案: every kind of price typed in fields, tried while it is typed, JSON only for experts."""

from datetime import date

import pytest
import sqlalchemy as sa

from backend.base.db import db
from backend.billing import pricing, service, tariff_params
from backend.billing.models import Tariff
from backend.console import tariff_forms
from tests import builders, paper18
from tests.console.conftest import post

COMMON = {"name": "试行价 2027", "customer_class": "residential", "region_id": ""}
COMMON |= {"effective_from": "2027-01-01", "effective_to": ""}
EXAMPLE = {"example_area": "85", "example_used": "300", "example_persons": "5"}
TIERED = {
    "utility": "water",
    "kind": "tiered",
    "unit": "m3",
    "base_persons": "4",
    "title": "",
    "tiers.0.upto": "180",
    "tiers.0.price": "2.07",
    "tiers.0.per_extra_person": "30",
    "tiers.1.upto": "",
    "tiers.1.price": "4.07",
    "components.0.title": "污水处理费",
    "components.0.price": "1.36",
}
TOU = {
    "utility": "electricity",
    "kind": "tou",
    "schedule.0.period": "peak",
    "schedule.0.from": "08:00",
    "schedule.0.to": "22:00",
    "schedule.0.months": "7-9、12",
    "schedule.1.period": "valley",
    "schedule.1.from": "00:00",
    "schedule.1.to": "24:00",
    "price_peak": "0.55",
    "price_valley": "0.35",
}


def draft(client, **fields):
    shape = f"utility={fields.get('utility', 'heat')}&kind={fields.get('kind', '')}"
    return post(client, "/console/tariffs", f"/console/tariffs/new?{shape}", **COMMON, **fields)


def drafted():
    return db.session.scalars(sa.select(Tariff).order_by(Tariff.id.desc())).first()


@pytest.mark.parametrize("kind", tariff_params.KINDS)
def test_a_price_of_every_kind_goes_through_its_form_and_comes_back_the_same(kind):
    params = tariff_forms.EXAMPLES[kind]
    utility = {"two_part": "heat", "area": "heat", "tou": "electricity"}.get(kind, "water")
    utility = "electricity" if kind == "tou_tiered" else utility
    assert tariff_params.faults(utility, kind, params) == []
    assert tariff_forms.is_typed(utility, kind, params)
    assert tariff_forms.words(utility, kind, params)
    assert not tariff_forms.is_typed(utility, kind, {**params, "surprise": "1"})


@pytest.mark.parametrize("kind", tariff_params.KINDS)
def test_every_parameter_a_kind_may_have_can_be_typed(kind):
    utility = next(u for u, kinds in tariff_forms.KINDS_OF.items() if kind in kinds)
    names = {one.name for one in tariff_forms.fields(utility, kind)}
    composed = {"prices", "titles"}  # typed as components, or a field a period
    assert tariff_params.parameters(kind) - composed <= names


def test_tiers_and_their_components_are_typed_in_rows(app, sign_in):
    clerk = sign_in("finance")
    assert draft(clerk, **TIERED).status_code == 303
    assert drafted().params == {
        "unit": "m3",
        "base_persons": 4,
        "tiers": [
            {"upto": "180", "price": "2.07", "per_extra_person": "30"},
            {"upto": None, "price": "4.07"},
        ],
        "prices": {"sewage": "1.36"},
        "titles": {"sewage": "污水处理费"},
    }
    page = clerk.get(f"/console/tariffs/{drafted().id}").text
    assert "每户含多少人" in page
    assert "上限（含） 180" in page


def test_hours_are_typed_with_their_months(app, sign_in):
    clerk = sign_in("finance")
    assert draft(clerk, **TOU).status_code == 303
    rules = drafted().params["schedule"]
    assert rules[0] == {"period": "peak", "from": "08:00", "to": "22:00", "months": [7, 8, 9, 12]}
    assert drafted().params["prices"] == {"peak": "0.55", "valley": "0.35"}
    again = clerk.get(f"/console/tariffs/new?like={drafted().id}").text
    assert 'value="7、8、9、12"' in again


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"tiers.0.price": ""}, "请填写单价。"),
        ({"tiers.0.upto": "x"}, "须为数字。"),
        ({"base_persons": "51"}, "须为 0 到 50 的整数。"),
        ({"tiers.1.upto": "100"}, "价格不完整"),
        ({"name": ""}, "请填写名称。"),
        ({"effective_to": "2026-01-01"}, "失效日须晚于生效日。"),
        (
            {"kind": "components", "components.0.title": "", "components.0.price": ""},
            "至少填写 1 行",
        ),
    ],
)
def test_what_is_wrong_stands_beside_its_field_and_nothing_is_kept(app, sign_in, wrong, sentence):
    clerk = sign_in("finance")
    fields = {**COMMON, **TIERED, **wrong}
    answer = post(clerk, "/console/tariffs", "/console/tariffs/new?utility=water", **fields)
    assert answer.status_code == 422
    assert sentence in answer.text
    assert drafted() is None


def test_hours_without_a_price_and_heat_caps_without_an_area_price_are_said(app, sign_in):
    clerk = sign_in("finance")
    assert "时段 valley 没有价格" in draft(clerk, **{**TOU, "price_valley": ""}).text
    heat = {"utility": "heat", "kind": "two_part", "k1": "16.5", "k2": "44.41"}
    heat |= {"season_days": "183", "cap_ratio": "100", "area_price": ""}
    assert "封顶或停热收费需要写明面积热价" in draft(clerk, **heat).text


def test_what_is_typed_is_tried_on_an_example_and_keeps_nothing(app, sign_in):
    clerk = sign_in("finance")
    at = "/console/tariffs/new?utility=water"
    answer = post(clerk, "/console/tariffs/try", at, **COMMON, **TIERED, **EXAMPLE)
    # 5 persons: the first tier reaches 180 + 30; 300 m3 also pay for sewage.
    whole_fen = 21000 * 207 // 100 + 9000 * 407 // 100 + 30000 * 136 // 100
    assert f"{whole_fen // 100:,}.{whole_fen % 100:02d}" in answer.text
    wrong = {**TIERED, "tiers.0.price": "?"}
    answer = post(clerk, "/console/tariffs/try", at, **COMMON, **wrong, **EXAMPLE)
    assert "填好上面的价格后" in answer.text
    assert drafted() is None


def test_what_is_typed_is_tried_on_the_bills_of_the_past_year(app, sign_in):
    builders.make_tariff("heat", "two_part", tariff_forms.EXAMPLES["two_part"])
    house, _ = paper18.load(date(2026, 11, 17))
    service.issue(house.id, "heat", date(2026, 11, 17), date(2026, 11, 19), builders.NOON)
    db.session.commit()
    clerk = sign_in("finance")
    heat = {"utility": "heat", "kind": "two_part", "k1": "33", "k2": "44.41", "season_days": "183"}
    answer = post(
        *(clerk, "/console/tariffs/try", "/console/tariffs/new"),
        **{**COMMON, **heat, **EXAMPLE, "name": "", "past": "1"},
    )
    assert "18 张账单" in answer.text
    assert db.session.scalar(sa.select(sa.func.count(Tariff.id))) == 1


def test_json_is_for_experts_and_its_faults_are_named(app, sign_in):
    clerk = sign_in("finance")
    shape = {"utility": "water", "kind": "flat", "expert": "1"}
    assert "须为 JSON。" in draft(clerk, **shape, params="{").text
    assert "缺少 price" in draft(clerk, **shape, params='{"unit": "m3"}').text
    good = draft(clerk, **shape, params='{"unit": "m3", "price": "2.5"}')
    assert good.status_code == 303
    assert pricing.price("flat", drafted().params, pricing.Facts(0, 1000, 1))[0].amount_fen == 250


def test_another_kind_keeps_what_both_ask_for(app, sign_in):
    clerk = sign_in("finance")
    answer = post(
        *(clerk, "/console/tariffs/form", "/console/tariffs/new"),
        **{**COMMON, "utility": "electricity", "kind": "tou"},
    )
    assert "试行价 2027" in answer.text
    assert "低谷电价" in answer.text
