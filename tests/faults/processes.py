"""Real processes of ours to be killed, and a wire to the sandbox that can be held."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from flask import Flask

PATIENCE_S = 30


def until(condition: Callable[[], Any], what: str, patience_s: float = PATIENCE_S) -> Any:
    """What `condition` gives once it is true; fails the test where it does not come to that."""
    deadline = time.monotonic() + patience_s
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: did not happen in {patience_s} s")


def environment(app: Flask, database: str, **changes: str) -> dict[str, str]:
    """This test's settings as a process of its own reads them."""
    settings = app.extensions["nuan_settings"].values
    named = {f"NUAN_{name.upper()}": str(value) for name, value in settings.items() if value}
    named = {name: value for name, value in named.items() if value not in ("True", "False")}
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    return kept | named | {"DATABASE_URL": database, "NUAN_ENV": "test"} | changes


@contextmanager
def process(words: list[str], env: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run Python with `words`; killed at the end where it still lives."""
    with log.open("ab") as output:
        running = subprocess.Popen(
            [sys.executable, *words], env=env, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            yield running
        finally:
            running.kill()
            running.wait()


WORKER = ["-m", "backend", "worker", "--concurrency", "2"]
SERVER = [
    "-c",
    "import sys; from werkzeug.serving import run_simple; from backend.wsgi import app;"
    "run_simple('127.0.0.1', int(sys.argv[1]), app, threaded=True)",
]


class Wire:
    """A proxy before the sandbox; `hold` keeps the answers of a path back once they are there."""

    def __init__(self, target: str):
        self.target = target
        self.url = ""
        self.held = threading.Event()
        self._path = ""
        self._forward = True
        self._released = threading.Event()
        self._http = requests.Session()
        self._http.trust_env = False

    def hold(self, path: str, *, forward: bool = True) -> None:
        """The next call of `path` gets no answer; `forward` says whether it reaches the sandbox."""
        self._path, self._forward = path, forward

    def release(self) -> None:
        """Let everything through again."""
        self._path = ""
        self._released.set()

    def pass_on(
        self, method: str, path: str, headers: Any, body: bytes
    ) -> requests.Response | None:
        """The sandbox's answer, or None for a call that is held."""
        held = bool(self._path) and path.startswith(self._path)
        answer = None
        if self._forward or not held:
            kept = {k: v for k, v in headers.items() if k.lower() not in ("host", "connection")}
            answer = self._http.request(
                method, self.target + path, headers=kept, data=body, timeout=10
            )
        if not held:
            return answer
        self.held.set()
        self._released.wait(PATIENCE_S)
        return None


@contextmanager
def wire_to(target: str) -> Iterator[Wire]:
    """A wire to the sandbox at `target` while the block runs."""
    wire = Wire(target)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = wire.pass_on(self.command, self.path, self.headers, body)
            if answer is None:
                self.close_connection = True
                return
            self.send_response(answer.status_code)
            for name, value in answer.headers.items():
                if name.lower() not in ("connection", "content-length", "content-encoding"):
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        do_GET = do_POST

        def log_message(self, format: str, *args: object) -> None:
            pass

        def handle(self) -> None:
            with suppress(ConnectionError):
                super().handle()

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    wire.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield wire
    finally:
        wire.release()
        server.shutdown()
        thread.join()
        server.server_close()
        wire._http.close()
