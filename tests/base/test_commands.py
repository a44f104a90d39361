"""The command says in one line what is wrong and what to do; its page is complete."""

import os
import re
import runpy
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def nuan(*arguments, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUAN_", "DATABASE_URL"))}
    return subprocess.run(
        [sys.executable, "-m", "backend", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        env={**clean, **env},
        check=False,
    )


def one_line(done) -> str:
    assert done.returncode == 2, done.stderr
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_database_that_does_not_answer_is_named_with_what_to_do():
    said = one_line(nuan("migrate", DATABASE_URL="postgresql://nobody@127.0.0.1:9/none"))
    assert "DATABASE_URL" in said
    assert "unset" in said


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"DATABASE_URL": "mysql://here"}, "PostgreSQL"),
        ({"NUAN_HTTP_PORT": "eighty"}, "NUAN_HTTP_PORT"),
        ({"NUAN_ENV": "production"}, "NUAN_SEAL_KEY"),
    ],
)
def test_a_wrong_or_missing_setting_is_named(env, said):
    assert said in one_line(nuan("migrate", **env))


def test_a_port_in_use_is_one_line_before_anything_else_happens(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = one_line(nuan("serve", NUAN_HTTP_PORT=port, NUAN_VAR_DIR=str(tmp_path)))
        assert port in said
        assert "NUAN_HTTP_PORT" in said
        demo = one_line(nuan("demo", NUAN_HTTP_PORT=port, NUAN_VAR_DIR=str(tmp_path)))
        assert port in demo
    assert not (tmp_path / "pg").exists()


@pytest.mark.parametrize("setting", ["NUAN_DTU_PORT", "NUAN_CONCENTRATOR_PORT"])
def test_a_taken_port_for_what_dials_in_is_one_line_too(database, tmp_path, setting):
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = one_line(
            nuan("collect", DATABASE_URL=database, NUAN_VAR_DIR=str(tmp_path), **{setting: port})
        )
    assert setting in said


def test_a_concentrators_password_of_no_known_size_is_one_line(database, tmp_path):
    env = {"DATABASE_URL": database, "NUAN_VAR_DIR": str(tmp_path)}
    said = one_line(nuan("collect", NUAN_CONCENTRATOR_PASSWORD="12345", **env))
    assert "NUAN_CONCENTRATOR_PASSWORD" in said and "12345" not in said


def test_the_demonstration_refuses_production(tmp_path):
    assert "NUAN_" in one_line(nuan("demo", NUAN_ENV="production", NUAN_VAR_DIR=str(tmp_path)))


def test_the_command_page_is_what_the_command_says():
    made = runpy.run_path(str(ROOT / "scripts" / "cli_reference.py"))
    assert made["PAGE"].read_text(encoding="utf-8") == made["page"]()


def test_every_command_says_what_it_does():
    listed = nuan("--help").stdout.split("Commands:")[1]
    for line in listed.strip().splitlines():
        assert re.match(r"\s*[\w-]+\s+\S", line), line
