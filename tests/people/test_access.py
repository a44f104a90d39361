"""Deny by default."""

import pytest

from backend.people import access
from tests import builders


@pytest.fixture
def pages(app):
    """Three views more: one nobody declared, one for finance, one for whoever is signed in."""
    app.add_url_rule("/t/undeclared", "t_undeclared", lambda: "secret")
    app.add_url_rule("/t/finance", "t_finance", access.allow("finance")(lambda: "books"))
    app.add_url_rule("/t/in", "t_in", access.allow("signed_in")(lambda: str(access.principal().id)))
    return app.test_client()


def test_a_view_nobody_declared_is_closed_to_everybody(app, pages):
    everyone = builders.make_staff(roles=["reader", "finance", "operator", "manager"])
    for headers in ({}, builders.headers_for(everyone)):
        answer = pages.get("/t/undeclared", headers=headers)
        assert (answer.status_code, answer.json["code"]) == (403, "forbidden")
    assert access.undeclared(app) == ["t_undeclared"]


def test_a_role_opens_its_own_door_only(pages):
    finance = builders.headers_for(builders.make_staff("f", roles=["finance"]))
    reader = builders.headers_for(builders.make_staff("r", roles=["reader"]))
    resident = builders.headers_for(builders.make_resident())
    assert pages.get("/t/finance", headers=finance).text == "books"
    assert [pages.get("/t/finance", headers=h).status_code for h in (reader, resident, {})] == [
        403,
        403,
        401,
    ]


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer nonsense", "Bearer \xff", "bearer a b"],
)
def test_no_good_token_is_nobody(pages, header):
    answer = pages.get("/t/in", headers={"Authorization": header})
    assert (answer.status_code, answer.json["code"]) == (401, "not_signed_in")


def test_the_scheme_may_be_written_either_way(pages):
    resident = builders.make_resident()
    token = builders.token_for(resident)
    answer = pages.get("/t/in", headers={"Authorization": f"bearer {token}"})
    assert answer.text == str(resident.id)


def test_an_expired_token_says_so(pages, clock):
    headers = builders.headers_for(builders.make_resident())
    clock.advance(days=31)
    assert pages.get("/t/in", headers=headers).json["code"] == "session_expired"


def test_a_word_that_is_no_role_is_a_mistake_in_the_program():
    with pytest.raises(ValueError, match="admin"):
        access.allow("admin")
    with pytest.raises(ValueError, match="wants some of"):
        access.allow()
