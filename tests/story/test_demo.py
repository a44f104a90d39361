"""`nuan demo` as a new user meets it: it fills an empty directory, stops, and keeps its data."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import psycopg
import pytest
import requests

from backend.base import postgres

ROOT = Path(__file__).resolve().parents[2]
READY = re.compile(r"暖 已就绪（(\d+) 秒）")
PATIENCE_S = 110


def free_ports(count: int) -> int:
    """The first of `count` neighbouring ports nobody uses."""
    for base in range(21000, 60000, 50):
        try:
            for port in range(base, base + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise RuntimeError("no free ports")


class Running:
    """A `nuan demo` process under a directory of its own."""

    def __init__(self, var: Path, base: int):
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("NUAN_", "DATABASE_"))}
        self.web, self.sandbox = f"http://127.0.0.1:{base}", f"http://127.0.0.1:{base + 1}"
        ports = {"NUAN_HTTP_PORT": base, "NUAN_SANDBOX_PORT": base + 1, "NUAN_METER_PORT": base + 2}
        self.output = var.parent / "demo.txt"
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "backend", "demo"],
                cwd=ROOT,
                stdout=output,
                stderr=output,
                env={**clean, "NUAN_VAR_DIR": str(var), **{k: str(v) for k, v in ports.items()}},
            )

    def wait_ready(self, times: int) -> None:
        """Until it has said for the `times`th time that it is ready."""
        deadline = time.monotonic() + PATIENCE_S
        while len(READY.findall(self.output.read_text())) < times:
            assert self.process.poll() is None, self.output.read_text()
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.2)

    def reminded(self) -> list[str]:
        """Whom an overdue reminder has reached."""
        found = requests.get(f"{self.sandbox}/sandbox/messages", timeout=5).json()["messages"]
        return [message["openid"] for message in found]

    def kill_a_part(self, name: str) -> None:
        """Kill a part and wait until it has been revived and answers again."""
        part = next(p for p in self.parts() if p.cmdline()[-1] == name)
        part.kill()
        deadline = time.monotonic() + PATIENCE_S
        while f"{name} 意外结束" not in self.output.read_text() or not self._answers():
            assert time.monotonic() < deadline, self.output.read_text()
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            return requests.get(f"{self.web}/readyz", timeout=2).ok
        except requests.RequestException:
            return False

    def parts(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


def bills(var: Path) -> tuple[int, int]:
    """(bills, readings) in the demonstration's database."""
    with psycopg.connect(postgres.embedded(var / "pg")) as connection:
        query = "SELECT (SELECT count(*) FROM bill), (SELECT count(*) FROM reading)"
        found = connection.execute(query).fetchone()
        assert found is not None
        return found


def on_finances_desk(var: Path) -> tuple[int, ...]:
    """(batches, mandates, imported days of the account, settlements)."""
    tables = ("collection_batch", "mandate", "bank_statement", "acquirer_settlement")
    counts = ", ".join(f"(SELECT count(*) FROM {table})" for table in tables)
    with psycopg.connect(postgres.embedded(var / "pg")) as connection:
        found = connection.execute(f"SELECT {counts}").fetchone()
        assert found is not None
        return found


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_the_demonstration_fills_itself_survives_a_kill_and_keeps_its_data(tmp_path):
    var, base = tmp_path / "var", free_ports(20)
    first = Running(var, base)
    try:
        first.wait_ready(1)
        assert requests.get(f"{first.web}/readyz", timeout=5).json()["status"] == "ready"
        deadline = time.monotonic() + PATIENCE_S
        while not first.reminded() and time.monotonic() < deadline:
            time.sleep(0.2)
        assert first.reminded() == ["demo-wang"]
        first.kill_a_part("serve")
        made, read = bills(var)
        assert on_finances_desk(var) == (2, 9, 2, 1)
        parts = first.parts()
        first.process.send_signal(signal.SIGKILL)
        first.process.wait()
        _, alive = psutil.wait_procs(parts, timeout=20)
        assert not alive
    finally:
        first.process.kill()

    second = Running(var, base)
    try:
        second.wait_ready(2)
        assert second.reminded() == ["demo-wang"]
        after = bills(var)
        assert after[0] == made
        assert on_finances_desk(var) == (2, 9, 2, 1)
        assert after[1] >= read
        parts = second.parts()
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(40) == 0
        _, alive = psutil.wait_procs(parts, timeout=5)
        assert not alive
        assert "已停止" in second.output.read_text()
    finally:
        second.process.kill()
    assert not (var / "pg" / "postmaster.pid").exists()
