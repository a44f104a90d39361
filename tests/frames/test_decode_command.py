"""`nuan decode`: frames explained to an installer, and answered line by line to a program."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from collectors.cli import decode
from collectors.decode import _width, answer_lines, parse_hex

TRUNCATED = "683F3F68084E729851972168502604850000000C0500000000046D320D1D094C0500000000426C1D"
DATA = Path(__file__).parent / "data" / "mbus.jsonl"
ROWS = [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]
FIXED = next(row for row in ROWS if row["expect"]["ci"] == "73")
ELSTER = next(row for row in ROWS if row["id"] == "mbus-ELS_Elster-F96-Plus")


def run(*words, stdin=None):
    return CliRunner().invoke(decode, words, input=stdin)


def test_an_installer_sees_chinese_beside_the_english_term():
    done = run("mbus", ELSTER["hex"])
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert any("表号" in line and "identification" in line and "44493951" in line for line in lines)
    assert any("供水温度" in line and "22.7 °C" in line for line in lines)
    assert any("不可用" in line and "BD EB DD DD" in line for line in lines)


def test_the_columns_line_up_on_a_terminal_with_wide_characters():
    lines = run("mbus", ELSTER["hex"]).output.splitlines()
    terms = [line.split("  ")[0].rstrip() for line in lines]
    starts = set()
    for line, zh in zip(lines, terms, strict=True):
        rest = line[len(zh) :]
        starts.add(_width(zh) + len(rest) - len(rest.lstrip()))
    assert len(starts) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mbus", TRUNCATED], "帧不完整"),
        (["mbus", ELSTER["hex"][:-4] + "0016"], "校验和不符"),
        (["mbus", "0011"], "找不到帧起始符"),
        (["mbus", "E5E5"], "长度不符"),
        (["mbus", "6X"], "无法解析"),
        (["mbus", "123"], "无法解析"),
        (["knx", "00"], "unknown protocol 'knx'"),
    ],
)
def test_a_bad_frame_is_one_clear_line_and_exit_code_one(words, says):
    done = run(*words)
    assert done.exit_code == 1
    assert says in done.output
    assert len(done.output.splitlines()) == 1


@pytest.mark.parametrize("text", ["10 40 00 40 16", "0x10,0x40,0x00,0x40,0x16", "10:40:00:40:16"])
def test_hex_is_taken_as_installers_paste_it(text):
    assert parse_hex(text.split()) == bytes.fromhex("1040004016")
    assert "SND_NKE" in run("mbus", text).output


def test_commands_and_acknowledgements_are_explained_too():
    assert "ACK" in run("mbus", "E5").output
    assert "Application busy" in run("mbus", "68040468080170088116").output
    assert "6531 kWh" in run("mbus", FIXED["hex"]).output


def test_every_line_is_answered_in_order_whatever_stands_in_it():
    lines = [
        '{"id": "ok", "protocol": "mbus", "hex": "E5"}',
        "not json",
        "[" * 100_000,
        "",
        "[1, 2]",
        '{"id": 7}',
        '{"id": 8, "protocol": ["mbus"], "hex": "E5"}',
        '{"id": 9, "protocol": "mbus"}',
        '{"id": 10, "protocol": "mbus", "hex": 12}',
        '{"id": 11, "protocol": "mbus", "hex": "E"}',
        '{"id": 12, "protocol": "mbus", "hex": ""}',
        '{"id": 13, "protocol": "knx", "hex": "00"}',
        '{"id": 14, "protocol": "mbus_errors", "hex": "1040004016"}',
    ]
    done = run("--jsonl", stdin="\n".join(lines))
    answers = [json.loads(line) for line in done.output.splitlines()]
    assert done.exit_code == 0
    assert [a["vector"] for a in answers] == ["ok", None, None, None, 7, 8, 9, 10, 11, 12, 13, 14]
    good = [a["vector"] for a in answers if "reject" not in a]
    assert good == ["ok", 14]
    assert answers[-2]["reject"].startswith("unknown protocol 'knx'")
    assert answers[1]["reject"].startswith("not a line of JSON")


def test_bytes_that_are_no_text_are_refused_and_do_not_stop_the_stream():
    first, second = answer_lines([b"\xff\xfe\n", b'{"id": 1, "protocol": "mbus", "hex": "E5"}\n'])
    assert "reject" in json.loads(first)
    assert json.loads(second) == {"vector": 1, "frame": "ack", "meaning": "ACK"}


def test_a_frame_inside_a_stream_is_found_only_where_a_stream_is_declared():
    hex_bytes = "0068FFE5" + ELSTER["hex"] + "00"
    row = {"id": 1, "protocol": "mbus", "hex": hex_bytes}
    plain, stream = (
        json.loads(a) for a in answer_lines(json.dumps(row | r) for r in ({}, {"input": "stream"}))
    )
    assert plain["code"] == "start"
    assert stream["id"] == "44493951"


def test_preambles_before_a_single_frame_are_let_pass():
    (answer,) = answer_lines(['{"id": 1, "protocol": "mbus", "hex": "FEFEFE1040004016"}'])
    assert json.loads(answer)["frame"] == "short"


def test_another_codecs_answer_is_shown_as_a_table_as_well():
    frame = "6810670517240000008116901F01000300002C000300002C0000000000000000FFC316"
    done = run("cjt188", frame)
    assert done.exit_code == 0
    assert "累计流量" in done.output and "3.0 m3" in done.output
    bad = run("cjt188", frame[:-4] + "0016")
    assert (bad.exit_code, "校验和不符" in bad.output) == (1, True)
