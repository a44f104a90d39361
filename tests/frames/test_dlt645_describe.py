"""What `nuan decode` says of DL/T 645 frames, to a program and to an installer."""

import json
from datetime import datetime

import pytest
from click.testing import CliRunner

from collectors.cli import decode
from collectors.decode import answer_line
from collectors.frames import dlt645, dlt645_1997
from collectors.frames.dlt645_frame import encode
from collectors.frames.dlt645_words import RELAY_OPEN

ADDRESS = "201709320072"
WHEN = datetime(2026, 1, 15, 8, 30, 15)


def said(frame, protocol="dlt645_2007"):
    """The table an installer sees."""
    done = CliRunner().invoke(decode, [protocol, frame.hex()])
    assert done.exit_code == 0, done.output
    return done.output


def refused(frame, protocol="dlt645_2007"):
    done = CliRunner().invoke(decode, [protocol, frame.hex()])
    assert done.exit_code == 1
    assert len(done.output.splitlines()) == 1
    return done.output


def told(frame, protocol="dlt645_2007"):
    return answer_line(json.dumps({"id": 1, "protocol": protocol, "hex": frame.hex()}))


def reply(di, values):
    request, _ = dlt645.decode(dlt645.encode_read(ADDRESS, di))
    return dlt645.encode_answer(request, values, address=ADDRESS)


class TestInstaller:
    @pytest.mark.parametrize(
        ("di", "values", "words"),
        [
            (0x0001FF00, [12345, 5], ["正向有功电能", "费率1", "123.45 kWh", "0.05 kWh"]),
            (0x00010001, [100], ["正向有功电能 上1次", "1.00 kWh"]),
            (0x0201FF00, [2203, None, None], ["A相电压", "220.3 V", "填充值，无此数据: FF FF"]),
            (0x00900200, [19856], ["剩余金额", "198.56 元"]),
            (0x01010000, [12345, WHEN], ["最大需量发生时间", "2026-01-15 08:30"]),
            (0x04000503, [0x50], ["继电器", "断开", "主电源"]),
            (0x04000503, [0x00], ["继电器", "闭合"]),
            (0x05060001, [WHEN], ["冻结时间 上1次"]),
            (0x0506FF01, [WHEN, *[1] * 8, 1, WHEN, 1, None, *[0] * 8], ["总无功功率 上1次"]),
        ],
    )
    def test_values_have_chinese_names_and_units(self, di, values, words):
        text = said(reply(di, values))
        assert all(word in text for word in words), text

    @pytest.mark.parametrize(
        ("frame", "words"),
        [
            (dlt645.encode_read(ADDRESS, 0x00010000), ["读数据·命令", "00010000"]),
            (dlt645.encode_read_address(), ["读通信地址", "AAAAAAAAAAAA 通配"]),
            (dlt645.encode_read_next(ADDRESS, 0x0001FF00, 3), ["读后续数据", "帧序号", "3"]),
            (dlt645.encode_write_address(ADDRESS), ["写通信地址", "通信地址", ADDRESS]),
            (dlt645.encode_broadcast_time(WHEN), ["广播校时", "广播", "2026-01-15 08:30:15"]),
            (dlt645.encode_freeze(), ["冻结命令", "立即"]),
            (dlt645.encode_freeze("99990000"), ["每日"]),
            (dlt645.encode_freeze("99010000"), ["每月"]),
            (dlt645.encode_relay(ADDRESS, RELAY_OPEN, WHEN), ["跳闸", "2026-01-15 08:30:15"]),
            (encode(ADDRESS, 0xD1, b"\x06"), ["异常应答", "无请求数据、密码错或未授权"]),
            (encode(ADDRESS, 0x9C), ["跳合闸", "应答"]),
            (encode(ADDRESS, 0x1C, b"\x98" + bytes(27)), ["未解析", "密文"]),
            (encode(ADDRESS, 0x91, bytes(3) + b"\x07\x01"), ["未收录的数据标识", "01"]),
            (encode(ADDRESS, 0x91, b"\x00\x00\x01\x00\x01"), ["长度与数据标识不符"]),
        ],
    )
    def test_commands_and_acknowledgements_are_explained(self, frame, words):
        text = said(frame)
        assert all(word in text for word in words), text

    def test_the_older_edition_has_its_own_words(self):
        request, _ = dlt645_1997.decode(dlt645_1997.encode_read(ADDRESS, 0x9010))
        text = said(dlt645_1997.encode_answer(request, [106248], address=ADDRESS), "dlt645_1997")
        assert "正向有功电能" in text
        assert "1062.48 kWh" in text

    def test_a_password_is_not_shown(self):
        who = dlt645.Credentials("02", "135790", "00000001")
        text = said(dlt645.encode_relay(ADDRESS, RELAY_OPEN, WHEN, who))
        assert "135790" not in text
        assert "905713" not in text

    @pytest.mark.parametrize(
        ("payload", "words"),
        [("FFFFFFFF", "填充值"), ("EEEEEEEE", "填充值"), ("0A000000", "非BCD数字")],
    )
    def test_what_is_no_value_is_refused_in_one_line(self, payload, words):
        frame = encode(ADDRESS, 0x91, bytes.fromhex("00000100" + payload))
        assert words in refused(frame)

    def test_an_impossible_time_is_refused(self):
        assert "不是有效时间" in refused(encode("9" * 12, 0x08, bytes.fromhex("605959311226")))
        assert "不是有效时间" in refused(
            encode(ADDRESS, 0x91, bytes.fromhex("02010004" + "000024"))
        )


class TestProgram:
    def test_a_demand_has_its_number_unit_and_time(self):
        values = told(reply(0x01010000, [12345, WHEN]))["values"]
        assert (values["values"], values["unit"]) == ([1.2345], "kW")
        assert values["time"] == "2026-01-15 08:30"

    def test_a_relay_order(self):
        values = told(dlt645.encode_relay(ADDRESS, RELAY_OPEN, WHEN))["values"]
        assert (values["n1"], values["expiry"]) == ("1A", "2026-01-15 08:30:15")

    def test_a_refusal_names_its_bits(self):
        values = told(encode(ADDRESS, 0xD1, b"\x02"))["values"]
        assert (values["error"], values["errors"]) == ("02", ["no such data"])

    def test_a_missing_phase_is_null_not_a_number(self):
        assert told(reply(0x0201FF00, [2203, None, 2201]))["values"]["values"] == [
            220.3,
            None,
            220.1,
        ]

    def test_the_clock_says_date_weekday_and_time(self):
        values = told(reply(0x0400010C, [WHEN]))["values"]
        assert (values["date"], values["weekday"]) == ("2026-01-15", 4)
        assert values["time"] == "2026-01-15 08:30:15"
