"""Make `.venv` and install the locked packages into it: the first step of `make setup`.

Standard library only: it runs before anything is installed.
Everything is hash-checked: uv against `scripts/uv-requirements.txt`, the rest against
`requirements.lock`.  A mirror or a certificate that pip is configured with is passed on to uv,
which does not read pip's configuration itself.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
UV_REQUIREMENTS = ROOT / "scripts" / "uv-requirements.txt"


def say(line: str) -> None:
    """One line of progress, before the work it announces."""
    print(f"==> {line}", flush=True)


def run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a command without stdin; where it fails, end with one line that names it."""
    words = [str(word) for word in command]
    done = subprocess.run(words, cwd=ROOT, env=env, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(
            f"setup: `{Path(words[0]).name} {words[1]} …` failed (see above); "
            "mend that and run make again, it goes on from here"
        )


def usable() -> bool:
    """Whether .venv has a Python that starts, of a fitting version, in this very directory."""
    test = "import sys; sys.exit(sys.version_info < (3, 11))"
    if not PYTHON.exists() or subprocess.run([PYTHON, "-c", test]).returncode:
        return False
    nuan = VENV / "bin" / "nuan"  # a moved checkout leaves commands that point to the old place
    return not nuan.exists() or str(VENV) in nuan.read_text(errors="replace").split("\n", 1)[0]


def make_venv() -> None:
    """Create .venv with this interpreter, replacing one that cannot be used."""
    if usable():
        return
    if VENV.exists():
        shutil.rmtree(VENV)
    say(f"Python {sys.version.split()[0]}: making .venv")
    run(sys.executable, "-m", "venv", VENV)


def pip_setting(name: str) -> str:
    """What pip is configured with, from its files or the environment; '' where nothing."""
    asked = subprocess.run(
        [PYTHON, "-m", "pip", "config", "get", name],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    return asked.stdout.strip() if asked.returncode == 0 else ""


def uv_environment() -> dict[str, str]:
    """The environment for uv: the machine's certificates, and pip's mirror where one is set."""
    env = {"UV_SYSTEM_CERTS": "1", "UV_HTTP_TIMEOUT": "180", "VIRTUAL_ENV": str(VENV), **os.environ}
    index = os.environ.get("PIP_INDEX_URL") or pip_setting("global.index-url")
    if index:
        env.setdefault("UV_DEFAULT_INDEX", index)
        say(f"packages come from the mirror pip is configured with: {host(index)}")
    certificates = os.environ.get("PIP_CERT") or pip_setting("global.cert")
    if certificates:
        env.setdefault("SSL_CERT_FILE", certificates)
    return env


def host(url: str) -> str:
    """The host of an index address; never its user or password."""
    return url.split("://", 1)[-1].split("/", 1)[0].rsplit("@", 1)[-1]


def main() -> None:
    """Bring .venv up to the lock; harmless to repeat."""
    make_venv()
    pip = (PYTHON, "-m", "pip", "--disable-pip-version-check", "install", "--quiet")
    run(*pip, "--require-hashes", "-r", UV_REQUIREMENTS)
    env = uv_environment()
    uv = VENV / "bin" / "uv"
    say("Python packages, checked against requirements.lock (about 200 MB the first time)")
    run(uv, "pip", "install", "--require-hashes", "-r", "requirements.lock", env=env)
    run(uv, "pip", "install", "--no-deps", "--no-build-isolation", "--quiet", "-e", ".", env=env)


if __name__ == "__main__":
    main()
