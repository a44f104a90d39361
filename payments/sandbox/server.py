"""Serves the sandbox from one process: threads, HTTP/1.1, a socket bound before anything starts."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from payments.sandbox.app import close_sandbox, create_sandbox_app, utc_now
from payments.sandbox.desk import SandboxSettings
from payments.sandbox.keys import SandboxKeys, ensure_keys

_BACKLOG = 128
_IDLE_S = 30


class _QuietHandler(WSGIRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = _IDLE_S  # an idle kept-alive connection frees its thread

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Say nothing: calls are kept in the state file."""


@dataclass(frozen=True)
class RunningSandbox:
    """A sandbox that answers: `url` without a slash at its end."""

    url: str
    keys: SandboxKeys


def bind(host: str, port: int) -> socket.socket:
    """Bind and listen; OSError if the port is taken or the host is none of ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def make_sandbox_server(app: Flask, listener: socket.socket) -> BaseWSGIServer:
    """Return a threaded server on a listening socket (which it copies: close yours)."""
    host, port = listener.getsockname()[:2]
    return make_server(
        host, port, app, threaded=True, request_handler=_QuietHandler, fd=listener.fileno()
    )


@contextmanager
def running_sandbox(
    state_dir: Path | str,
    clock: Callable[[], datetime] = utc_now,
    settings: SandboxSettings | None = None,
    port: int = 0,
) -> Iterator[RunningSandbox]:
    """Serve on loopback from a thread of this process while the block runs."""
    with bind("127.0.0.1", port) as listener:
        app = create_sandbox_app(state_dir, clock, settings)
        server = make_sandbox_server(app, listener)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="sandbox-http")
    thread.start()
    try:
        yield RunningSandbox(
            f"http://127.0.0.1:{server.port}", ensure_keys(Path(state_dir) / "keys")
        )
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        close_sandbox(app)
