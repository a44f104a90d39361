"""Refused frames: all counted, a sample kept with its meaning, none for ever."""

from datetime import timedelta

from backend.base.db import db
from backend.metering import refused
from backend.metering.models import RefusedCount, RefusedFrame
from backend.metering.refused import Refusal
from tests import builders
from tests.conftest import NOON


def refusals(count, code="checksum", **more):
    return [Refusal(None, code, "bad", b"\x68\x68", NOON, **more) for _ in range(count)]


def explain(one):
    return [["错误", one.code, "校验和不符"]]


def test_a_sample_is_kept_and_all_are_counted(app, monkeypatch):
    monkeypatch.setattr(refused, "MAX_A_DAY", 3)
    assert refused.keep(refusals(2), explain) == 2
    assert refused.keep([*refusals(4), *refusals(1, "garbled")], explain) == 1
    db.session.commit()
    assert db.session.query(RefusedFrame).count() == 3
    counts = {(c.code, c.bus_id): c.count for c in db.session.query(RefusedCount)}
    assert counts == {("checksum", 0): 6, ("garbled", 0): 1}


def test_a_kept_frame_says_whose_it_was_and_what_the_codec_made_of_it(app):
    meter = builders.make_meter(builders.make_building("A"))
    one = Refusal(meter.bus_id, "checksum", "bad", b"\x68", NOON, meter.id, "cjt188")
    refused.keep([one], explain)
    db.session.commit()
    kept = db.session.query(RefusedFrame).one()
    assert (kept.bus_id, kept.meter_id, kept.protocol) == (meter.bus_id, meter.id, "cjt188")
    assert kept.explained == [["错误", "checksum", "校验和不符"]]


def test_nothing_refused_asks_nothing_of_the_database(app, queries):
    assert refused.keep([], explain) == 0
    assert queries == []


def test_long_frames_and_words_are_cut_and_explained_only_where_kept(app, monkeypatch):
    monkeypatch.setattr(refused, "MAX_A_DAY", 1)
    asked = []
    refused.keep(
        [Refusal(None, "x" * 99, "y" * 999, b"z" * 9999, NOON)] * 3,
        lambda one: asked.append(one) or [],
    )
    db.session.commit()
    kept = db.session.query(RefusedFrame).one()
    assert (len(kept.code), len(kept.reason), len(kept.frame), len(asked)) == (40, 500, 512, 1)


def test_samples_go_after_three_months_and_counts_after_the_season(app):
    refused.keep(refusals(2), explain)
    assert refused.forget(NOON + refused.KEEP_FOR) == 0
    assert refused.forget(NOON + refused.KEEP_FOR + timedelta(seconds=1)) == 2
    assert db.session.query(RefusedCount).count() == 1
    refused.forget(NOON + refused.COUNTS_KEPT_FOR + timedelta(days=1))
    assert db.session.query(RefusedCount).count() == 0
