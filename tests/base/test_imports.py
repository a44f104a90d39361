"""Imports point one way: the contracts in pyproject.toml, and what codecs may lean on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import grimp
import pytest

ROOT = Path(__file__).resolve().parents[2]

# Pure parts of the standard library (and cryptography's ciphers, for platforms that seal their
# pushes): none of them can open, wait or look at a clock.
PURE = {
    "__future__",
    "array",
    "base64",
    "binascii",
    "calendar",
    "collections",
    "contextlib",
    "copy",
    "cryptography",
    "dataclasses",
    "datetime",
    "decimal",
    "enum",
    "fractions",
    "functools",
    "hashlib",
    "hmac",
    "itertools",
    "json",
    "math",
    "re",
    "struct",
    "tomllib",
    "types",
    "typing",
}


def contracts(directory: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter over pyproject's contracts, in `directory`."""
    program = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    command = [sys.executable, "-c", program, "--no-cache"]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=100)


def test_every_import_contract_is_kept() -> None:
    done = contracts(ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " 0 broken." in done.stdout


@pytest.mark.parametrize(
    ("module", "line", "contract"),
    [
        ("backend/ledger/bad.py", "import backend.cashier.models", "rooms depend one way"),
        ("backend/metering/bad.py", "import collectors.frames", "the backend opens no wire"),
        ("backend/billing/bad.py", "import payments.wechat", "only the cashier speaks"),
        ("backend/cashier/bad.py", "import wechatpy", "wechatpy stays inside people"),
        ("payments/bad.py", "import flask", "payment channels know neither"),
        ("collectors/links/bad.py", "import backend.base.db", "the wire side works"),
        ("collectors/frames/bad.py", "import socket", "codecs do no I/O"),
    ],
)
def test_an_import_the_wrong_way_breaks_its_contract(
    tmp_path: Path, module: str, line: str, contract: str
) -> None:
    for package in ("backend", "collectors", "payments"):
        for source in (ROOT / package).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes() if target.name == "__init__.py" else b"")
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    (tmp_path / module).write_text(line + "\n")
    done = contracts(tmp_path)
    broken = [row for row in done.stdout.splitlines() if row.endswith("BROKEN")]
    assert any(row.startswith(contract) for row in broken), done.stdout + done.stderr


def test_codecs_lean_on_nothing_but_each_other_and_pure_python() -> None:
    graph = grimp.build_graph("collectors", include_external_packages=True, cache_dir=None)
    codecs = {m for m in graph.modules if m.startswith("collectors.frames")}
    assert len(codecs) > 5
    strange = {
        (codec, imported)
        for codec in codecs
        for imported in graph.find_modules_directly_imported_by(codec)
        if imported not in codecs and imported.split(".")[0] not in PURE
    }
    assert strange == set()
