"""A cold room: the rule told, a visit booked, measured by a reader (sent twice), shown again."""

from datetime import date, timedelta

from backend.base.db import db
from backend.billing import cold_room, topics
from tests import builders
from tests.api.conftest import household_of

RULE = topics.TOPICS["cold_room"].defaults | topics.COLD_ROOM_PRESETS["heilongjiang_2021"]


def set_rule():
    topics.put("cold_room", "heat", None, RULE, date(2026, 10, 1), None, None, builders.NOON)
    db.session.commit()


def url_of(owner):
    return f"/api/v1/households/{owner.household.id}/cold-reports"


def test_the_owner_reads_the_rule_and_books_a_visit_a_stranger_does_neither(client, clock):
    set_rule()
    alice = household_of("alice")
    bob = builders.headers_for(builders.make_resident("bob-openid"))
    terms = client.get(url_of(alice), headers=alice.headers).json
    assert terms["sentences"][0] == "承诺室温 20 ℃。"
    assert "18 ℃ 到 20 ℃，退当日标准热费的 10%" in terms["sentences"][1]
    visit = terms["visits"][0]
    body = {"room": "主卧", "note": "夜里冷", "visit_at": visit}
    assert client.post(url_of(alice), json=body, headers=bob).status_code == 404
    made = client.post(url_of(alice), json=body, headers=alice.headers)
    assert (made.status_code, made.json["state"]) == (201, "open")
    assert client.get(url_of(alice), headers=alice.headers).json["reports"][0]["visit_at"]
    assert client.get(url_of(alice), headers=bob).status_code == 404


def test_a_visit_at_noon_or_too_late_is_refused_at_its_field(client, clock):
    set_rule()
    alice = household_of("alice")
    for visit_at, why in (
        ("2026-11-20T13:00:00+08:00", "10:00 至 14:00 不得测温"),
        ("2026-11-22T18:00:00+08:00", "须在报修后 24 小时内测温"),
    ):
        body = {"room": "主卧", "visit_at": visit_at}
        refused = client.post(url_of(alice), json=body, headers=alice.headers)
        assert (refused.status_code, refused.json["field"]) == (422, "visit_at")
        assert why in refused.json["detail"]


def test_a_reader_measures_and_may_send_it_twice(client, clock):
    set_rule()
    alice = household_of("alice")
    body = {"room": "主卧", "visit_at": "2026-11-20T18:00:00+08:00"}
    client.post(url_of(alice), json=body, headers=alice.headers)
    reader = builders.headers_for(builders.make_staff("chaobiao", roles=["reader"]))
    (visit,) = client.get("/api/v1/reader/cold-reports", headers=reader).json["visits"]
    assert (visit["place"], visit["room"]) == ("A号楼 101", "主卧")
    assert visit["measure_by"].startswith("2026-11-21T04:00")
    clock.advance(hours=6, minutes=10)
    said = {"measured_at": "2026-11-20T18:05:00+08:00", "measured_cdeg": 1650}
    said |= {"resident_signature": "张三", "staff_signature": "王师傅"}
    url = f"/api/v1/staff/cold-reports/{visit['id']}/measurement"
    answers = [client.post(url, json=said, headers=reader) for _ in range(2)]
    assert [a.status_code for a in answers] == [200, 200]
    count = db.text("SELECT count(*) FROM audit_event WHERE action = 'cold.measured'")
    assert db.session.scalar(count) == 1
    assert client.get("/api/v1/reader/cold-reports", headers=reader).json["visits"] == []


def test_every_hour_offered_can_stand(clock):
    for hours in range(48):
        now = clock.now() + timedelta(hours=hours, minutes=17)
        offered = cold_room.visits(now, RULE)
        assert offered
        assert not [
            at for at in offered if cold_room.measurement_faults(now, at, (True, True), RULE)
        ]
