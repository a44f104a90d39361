"""Pushes of the NB-IoT and LoRa platforms are unwrapped to who, when and what, or refused."""

import base64
import json
import random
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from collectors.decode import explain
from collectors.frames import FrameError, iot_push
from collectors.frames.iot_push_describe import describe

DATA = Path(__file__).parent / "data" / "iot_push.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
IMEI = "862592051651472"
FRAME = bytes.fromhex("6810670517240000008116901F01000300002C000300002C0000000000000000FFC316")

CTWING = {
    "messageType": "dataReport", "productId": "1", "deviceId": "d1", "IMEI": IMEI,
    "IMSI": "undefined", "timestamp": 1650554828842, "upPacketSN": 7,
    "payload": {"APPdata": base64.b64encode(FRAME).decode()},
}  # fmt: skip
ONENET = {
    "msg": {"type": 1, "dev_id": 2016617, "ds_id": "3200_0_5505", "at": 1466133706841,
            "imei": IMEI, "value": FRAME.hex()},
    "msg_signature": "x", "nonce": "y",
}  # fmt: skip
OCEAN = {
    "notifyType": "deviceDataChanged", "deviceId": "d1", "gatewayId": "d1", "requestId": None,
    "service": {"serviceId": "Meter", "serviceType": "Meter", "eventTime": "20170311T163657Z",
                "data": {"rawData": base64.b64encode(FRAME).decode()}},
}  # fmt: skip
IOTDA = {
    "resource": "device.property", "event": "report", "event_time": "20231116T033030Z",
    "notify_data": {
        "header": {"device_id": "p_" + IMEI, "node_id": IMEI, "product_id": "p"},
        "body": {"services": [{"service_id": "Meter", "event_time": "20231116T033030Z",
                               "properties": {"flow": 1.5}}]},
    },
}  # fmt: skip
LORA_4 = {
    "deduplicationId": "3ac7e3c4", "time": "2022-07-18T17:34:15.775023242+08:00",
    "deviceInfo": {"applicationId": "17c8", "devEui": "0102030405060708",
                   "tags": {"imei": IMEI}},
    "devAddr": "00189440", "fCnt": 24, "fPort": 2, "data": base64.b64encode(FRAME).decode(),
    "rxInfo": [{"gatewayId": "0016c001f153a14c", "rssi": -48}],
}  # fmt: skip
LORA_3 = {
    "applicationID": "1", "deviceName": "d", "devEUI": "AQIDBAUGBwg=", "fCnt": 10, "fPort": 5,
    "rxInfo": [{"gatewayID": "AwMDAwMDAwM=", "time": "2019-11-08T13:59:25.048445Z"}],
    "data": base64.b64encode(FRAME).decode(), "objectJSON": "{\"volume\": 3}",
}  # fmt: skip
ALL = [CTWING, ONENET, OCEAN, IOTDA, LORA_4, LORA_3]


def body(value):
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")


def one(value, platform=None):
    (report,) = iot_push.decode(body(value), platform).reports
    return report


def refused(value, platform=None):
    with pytest.raises(FrameError) as caught:
        iot_push.decode(value if isinstance(value, bytes) else body(value), platform)
    return caught.value.code


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_a_public_push_reads_as_its_source_says(row):
    out = describe(row)
    stated = {k: v for k, v in row["expect"].items() if k != "payload_contains_ascii"}
    if "payload_hex" in stated:
        stated["payload_hex"] = stated["payload_hex"].upper()
    assert {key: out[key] for key in stated} == stated


@pytest.mark.parametrize("row", ROWS, ids=[row["id"] for row in ROWS])
def test_the_platform_is_told_from_the_shape_alone(row):
    push = iot_push.decode(body(row["json"]))
    assert push == iot_push.decode(body(row["json"]), row["platform"])


@pytest.mark.parametrize(
    ("push", "platform", "device", "imei", "time"),
    [
        (CTWING, "ctwing_aep", "d1", IMEI, datetime(2022, 4, 21, 15, 27, 8, 842000, UTC)),
        (ONENET, "onenet", "2016617", IMEI, datetime(2016, 6, 17, 3, 21, 46, 841000, UTC)),
        (OCEAN, "huawei_oceanconnect", "d1", None, datetime(2017, 3, 11, 16, 36, 57, 0, UTC)),
        (LORA_4, "chirpstack", "0102030405060708", IMEI,
         datetime(2022, 7, 18, 9, 34, 15, 775023, UTC)),
        (LORA_3, "chirpstack", "0102030405060708", None,
         datetime(2019, 11, 8, 13, 59, 25, 48445, UTC)),
    ],
)  # fmt: skip
def test_every_platform_hands_on_the_same_frame(push, platform, device, imei, time):
    got = iot_push.decode(body(push))
    (report,) = got.reports
    assert got.platform == platform
    assert (report.device_id, report.imei, report.time) == (device, imei, time)
    assert (report.kind, report.payload) == ("data", FRAME)


def test_values_a_platform_has_taken_apart_come_as_they_are():
    report = one(IOTDA)
    assert (report.payload, report.values) == (None, {"flow": 1.5})
    assert (report.imei, report.stream) == (IMEI, "Meter")
    assert one(LORA_3).values == {"volume": 3}


def test_several_services_are_several_reports():
    service = {"serviceId": "a", "data": {"n": 1}, "eventTime": "20180806T093436Z"}
    push = {"notifyType": "deviceDatasChanged", "deviceId": "d",
            "services": [service, service | {"serviceId": "b"}]}  # fmt: skip
    assert [report.stream for report in iot_push.decode(body(push)).reports] == ["a", "b"]


def test_onenet_collects_messages_in_a_list_or_in_a_string():
    rows = [ONENET["msg"], ONENET["msg"] | {"at": 1466133706842}]
    reports = iot_push.decode(body(ONENET | {"msg": rows})).reports
    assert [report.time.microsecond for report in reports] == [841000, 842000]
    studio = {"deviceName": IMEI, "productId": "p", "notifyType": "property", "data": {"a": 1}}
    report = one({"msg": json.dumps(studio), "nonce": "n", "signature": "s"})
    assert (report.device_id, report.imei, report.values) == (IMEI, IMEI, {"a": 1})


@pytest.mark.parametrize(
    ("push", "kind"),
    [
        (CTWING | {"messageType": "deviceOnlineOfflineReport", "payload": {}}, "online"),
        (CTWING | {"messageType": "commandResponse", "payload": {"result": 0}}, "answer"),
        (ONENET | {"msg": {"type": 2, "dev_id": 1, "status": 1, "at": 1466133706841}}, "online"),
        ({"notifyType": "deviceAdded", "deviceId": "d"}, "event"),
        ({"deviceInfo": {"devEui": "0102030405060708"}, "devAddr": "00189440"}, "online"),
    ],
)
def test_what_is_no_reading_is_not_called_one(push, kind):
    report = one(push)
    assert (report.kind, report.payload) == (kind, None)


def test_an_imei_that_is_none_is_none():
    assert one(CTWING | {"IMEI": "undefined"}).imei is None
    assert one(CTWING | {"IMEI": ""}).imei is None


def test_a_text_is_hexadecimal_only_where_it_can_be_nothing_else():
    def payload(value):
        return one(ONENET | {"msg": ONENET["msg"] | {"value": value}}).payload

    assert payload("68104433") == bytes.fromhex("68104433")
    assert payload("aBAAAAAAAAAA") is None  # base64: its letters differ in case
    assert payload("21.5") is None
    assert payload(68104433) is None


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "change",
    [
        {"deviceId": ""}, {"deviceId": None}, {"deviceId": True}, {"deviceId": ["x"]},
        {"messageType": 3.5}, {"timestamp": "yesterday"}, {"timestamp": -1}, {"timestamp": 1.5},
        {"timestamp": 99999999999999}, {"payload": "x"}, {"payload": None},
        {"payload": {"APPdata": "no base64"}}, {"payload": {"APPdata": 5}},
        {"payload": {"APPdata": "QUJD\n"}}, {"payload": {"APPdata": "燃气表"}},
    ],
)  # fmt: skip
def test_a_ctwing_push_with_one_thing_wrong_is_refused(change):
    assert refused(CTWING | change) == "structure"


@pytest.mark.parametrize(
    ("push", "code"),
    [
        (ONENET | {"msg": []}, "structure"),
        (ONENET | {"msg": "{"}, "structure"),
        (ONENET | {"msg": {"type": "1", "dev_id": 1}}, "structure"),
        (ONENET | {"msg": {"type": 1, "dev_id": 1, "ds_id": "x"}}, "structure"),
        (ONENET | {"msg": [ONENET["msg"]] * 257}, "length"),
        ({"enc_msg": "AAAA", "nonce": "n"}, "unsupported"),
        (OCEAN | {"service": []}, "structure"),
        (OCEAN | {"service": OCEAN["service"] | {"eventTime": "20171399T000000Z"}}, "structure"),
        (OCEAN | {"service": OCEAN["service"] | {"eventTime": "2017-03-11 16:36"}}, "structure"),
        (OCEAN | {"notifyType": "deviceDatasChanged"}, "structure"),
        (LORA_4 | {"deviceInfo": {"devEui": "01020304"}}, "structure"),
        (LORA_4 | {"fPort": "two"}, "structure"),
        (LORA_4 | {"data": "%%"}, "structure"),
        (LORA_4 | {"time": "2022-07-18T09:34:15"}, "structure"),
        (LORA_3 | {"objectJSON": "{"}, "structure"),
        ([], "structure"),
        ({}, "unsupported"),
        ({"hello": 1}, "unsupported"),
    ],
)
def test_an_envelope_with_one_thing_wrong_is_refused(push, code):
    assert refused(push) == code


@pytest.mark.parametrize(
    ("raw", "code"),
    [
        (b"", "structure"),
        (b"\xff\xfe", "structure"),
        (b'{"deviceId": NaN}', "structure"),
        (b'{"deviceId": 1, "deviceId": 2, "messageType": "dataReport"}', "structure"),
        (b"[" * 100_00, "structure"),
        (b'{"deviceId":' + b"9" * 5000 + b"}", "structure"),
        (b'{"a":' * 20 + b"1" + b"}" * 20, "structure"),
        (b" " * 70_000, "length"),
    ],
)
def test_what_is_no_decent_json_is_refused(raw, code):
    assert refused(raw) == code


def test_a_payload_has_a_limit():
    long = base64.b64encode(bytes(9000)).decode()
    assert refused(CTWING | {"payload": {"APPdata": long}}) == "length"


def test_an_unknown_platform_is_refused():
    assert refused(CTWING, "nowhere") == "unsupported"
    assert one(LORA_4, "chirpstack_v4").payload == FRAME


def test_an_installer_sees_a_push_in_chinese():
    rows = explain("iot_push", body(CTWING))
    assert rows[0] == ("平台", "platform", "中国电信 CTWing (AEP)")
    assert ("透传内容", "payload_hex", FRAME.hex().upper()) in rows


# --- whatever comes over a URL ------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(ALL), st.data())
def test_any_value_in_any_place_is_read_or_refused(push, data):
    key = data.draw(st.sampled_from(sorted(push)))
    try:
        iot_push.decode(body(push | {key: data.draw(JSON)}))
    except FrameError as error:
        assert error.code in ("structure", "unsupported", "length")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_refused_in_one_way(raw):
    with pytest.raises(FrameError):
        iot_push.decode(raw)


def test_mutated_pushes_raise_nothing_but_frame_error():
    rng = random.Random(188)
    seeds = [body(push) for push in ALL]
    for _ in range(10_000):
        raw = bytearray(rng.choice(seeds))
        for _ in range(rng.randint(1, 3)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
        try:
            iot_push.decode(bytes(raw))
        except FrameError as error:
            assert error.consumed >= 1
