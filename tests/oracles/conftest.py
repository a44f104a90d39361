"""One Node for all questions of a run, and the keys of every channel, made once."""

import json
import runpy
import subprocess
import threading
from pathlib import Path

import pytest

from payments.sandbox.alipay_keys import ensure_alipay_keys
from payments.sandbox.keys import ensure_keys
from payments.sandbox.unionpay_keys import ensure_unionpay_keys

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Refused(Exception):
    """The other implementation threw an error instead of answering."""


class Oracle:
    """`oracle.some_call(name=value, …)` asks oracle.cjs and returns what it says."""

    def __init__(self) -> None:
        node = runpy.run_path(str(ROOT / "scripts" / "node.py"))
        directory = node["machine_directory"]() or node["wheel_directory"]()
        self._node = subprocess.Popen(
            [*node["command"](directory, "node"), "oracle.cjs"],
            cwd=HERE,
            env=node["environment"](directory),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self._lock = threading.Lock()

    def __getattr__(self, call):
        def ask(**given):
            with self._lock:
                self._node.stdin.write(json.dumps({"call": call, **given}) + "\n")
                self._node.stdin.flush()
                line = self._node.stdout.readline()
            assert line, "the oracle has ended"
            told = json.loads(line)
            if "refused" in told:
                raise Refused(told["refused"])
            return told["value"]

        return ask

    def close(self) -> None:
        self._node.stdin.close()
        self._node.wait(10)
        self._node.stdout.close()


@pytest.fixture(scope="session")
def oracle():
    """The other implementations; `make test` installs them (tests/oracles/package.json)."""
    if not (HERE / "node_modules").exists():
        pytest.fail("tests/oracles/node_modules is missing: `make test` installs it")
    asked = Oracle()
    yield asked
    asked.close()


@pytest.fixture(scope="session")
def directory(tmp_path_factory):
    return tmp_path_factory.mktemp("oracle-keys")


@pytest.fixture(scope="session")
def wechat_keys(directory):
    return ensure_keys(directory / "wechat")


@pytest.fixture(scope="session")
def alipay_keys(directory):
    return ensure_alipay_keys(directory / "alipay")


@pytest.fixture(scope="session")
def union_keys(directory):
    return ensure_unionpay_keys(directory / "unionpay")
