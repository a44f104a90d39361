"""Whatever comes in by the API's own description, nothing breaks: schemathesis makes the inputs."""

from __future__ import annotations

from contextlib import suppress

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode

from tests import builders
from tests.api.conftest import household_of

EXAMPLES = 12
BOUNDED = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture
def known(merchant):
    """Ids that are somebody's, and the tokens of who may ask for them."""
    who = household_of("alice")
    staff, operator = builders.make_staff(), builders.make_staff("op", ["operator"])
    meter = builders.make_meter(who.building, who.household, kind="gas")
    return {
        "ids": {
            "household_id": who.household.id,
            "meter_id": meter.id,
            "bill_id": builders.make_bill(who.household).id,
        },
        "resident": lambda: builders.headers_for(who.resident),
        "reader": lambda: builders.headers_for(staff),
        "staff": lambda: builders.headers_for(operator),
    }


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE])
def test_no_input_ends_in_a_server_error(merchant, known, mode):
    schema = schemathesis.openapi.from_wsgi("/openapi.json", merchant)
    operations = [found.ok() for found in schema.get_all_operations()]
    assert len(operations) >= 20
    answered = sum(_try(operation, known, mode) for operation in operations)
    assert answered >= 5 * len(operations)


def _try(operation, known, mode):
    """Ask one operation EXAMPLES times; how often it answered."""
    roles = [role for role in ("reader", "staff") if f"/{role}/" in operation.path]
    headers = known[roles[0] if roles else "resident"]()
    answered = []

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode), real=st.booleans())
    def attempt(case, real):
        if real:  # ids made up at random would only ever be not found
            for name in set(case.path_parameters or {}) & set(known["ids"]):
                case.path_parameters[name] = known["ids"][name]
        answer = case.call(headers=headers)
        answered.append(answer.status_code)
        assert answer.status_code < 500, f"{operation.label}: {answer.text}"
        if answer.status_code >= 400:
            assert answer.headers["content-type"][0] == "application/problem+json"

    with suppress(Unsatisfiable):  # what takes no input cannot be given a wrong one
        attempt()
    return len(answered)
