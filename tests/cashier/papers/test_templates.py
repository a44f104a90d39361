"""Templates that come with a newer Nuan are taken into use once, beside a company's own."""

from datetime import date, timedelta

import pytest

from backend.base.db import db
from backend.cashier.papers import sheets, templates
from backend.cashier.papers.models import PaperTemplate
from tests.cashier.papers.conftest import Hall

TODAY = date(2026, 11, 20)


@pytest.fixture
def newer(monkeypatch):
    """Another text of every template, as a newer Nuan brings it."""
    older = templates.came_with

    def bring(mark):
        monkeypatch.setattr(templates, "came_with", lambda kind, size: older(kind, size) + mark)

    return bring


def versions(kind, size):
    query = db.session.query(PaperTemplate).filter_by(kind=kind, size=size)
    return [(row.version, row.state) for row in query.order_by(PaperTemplate.version)]


def test_nothing_new_is_nothing_to_do(app):
    assert templates.renew(TODAY) == templates.renew(TODAY) == 0
    assert versions("invoice", "a4") == [(1, "live")]


def test_what_changed_is_in_force_from_the_day_and_issued_papers_keep_theirs(app, clock, newer):
    hall = Hall(clock)
    hall.pay(hall.bill())
    templates.versions()
    paper = db.session.query(sheets.Paper).one()
    before = sheets.electronic(paper).document
    newer("<p>新</p>")
    assert templates.renew(TODAY) == 6
    assert templates.renew(TODAY) == 0
    assert versions("receipt", "a5") == [(1, "live"), (2, "live")]
    assert templates.in_force("receipt", TODAY) != paper.templates
    assert templates.in_force("receipt", TODAY - timedelta(1)) == paper.templates
    assert sheets.electronic(paper).document == before


def test_an_older_program_beside_a_newer_one_brings_nothing_back(app, newer, monkeypatch):
    templates.renew(TODAY)
    newer("<p>新</p>")
    templates.renew(TODAY)
    monkeypatch.undo()
    assert templates.renew(TODAY) == 0


def test_a_companys_own_stays_in_force(app, clock, newer):
    hall = Hall(clock)
    templates.versions()
    wrote, approves, now = hall.cashier, hall.second, clock.now()
    own = templates.draft("receipt", "a5", "自己的", "<p>{{ paper.no }}</p>", TODAY, wrote, now)
    templates.approve(own.id, templates.fingerprint(own), approves, now)
    newer("<p>新</p>")
    assert templates.renew(TODAY) == 5
    assert templates.in_force("receipt", TODAY)["a5"] == own.id
