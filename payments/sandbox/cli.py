"""`nuan sandbox`: the outside parties on this machine."""

import signal
import sqlite3
from decimal import Decimal
from pathlib import Path
from types import FrameType
from typing import NoReturn

import click
from flask import Flask
from werkzeug.serving import BaseWSGIServer

from payments.sandbox.app import close_sandbox, create_sandbox_app
from payments.sandbox.desk import SandboxSettings
from payments.sandbox.server import bind, make_sandbox_server

_CANNOT_START = 2


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8010, show_default=True, type=click.IntRange(0, 65535))
@click.option(
    "--state",
    default="var/sandbox",
    show_default=True,
    type=click.Path(path_type=Path),
    help="Directory of its keys and orders; made at first start.",
)
@click.option(
    "--notice-speed",
    default=60.0,
    show_default=True,
    type=click.FloatRange(min=0.01),
    help="How much faster than WeChat a refused notice is repeated.",
)
@click.option(
    "--fee-rate", default="0.006", show_default=True, help="The channel's fee on a payment."
)
@click.option(
    "--statement-hour",
    default=10,
    show_default=True,
    type=click.IntRange(0, 23),
    help="Hour of the next day from which a statement can be fetched.",
)
def sandbox(
    host: str, port: int, state: Path, notice_speed: float, fee_rate: str, statement_hour: int
) -> None:
    """Run WeChat Pay and the WeChat API as a local server with real signatures."""
    settings = SandboxSettings(
        notice_speed=notice_speed, fee_rate=_rate(fee_rate), statement_hour=statement_hour
    )
    app, server = _open(host, port, state, settings)
    signal.signal(signal.SIGTERM, _stop)
    click.echo(f"沙箱已就绪：http://{host}:{server.port}/sandbox/（密钥在 {state}/keys）")
    try:
        server.serve_forever()  # returns on Ctrl-C and on SIGTERM
    finally:
        close_sandbox(app)
        click.echo("沙箱已停止")


def _open(
    host: str, port: int, state: Path, settings: SandboxSettings
) -> tuple[Flask, BaseWSGIServer]:
    """Bind first, so that a taken port costs nothing; one line and exit code 2 otherwise."""
    try:
        listener = bind(host, port)
    except OSError as error:
        _fail(f"沙箱无法监听 {host}:{port}（{error.strerror}）；请用 --port 换一个端口")
    with listener:
        try:
            app = create_sandbox_app(state, settings=settings)
        except (OSError, sqlite3.Error, ValueError, TypeError) as error:
            _fail(f"沙箱无法使用目录 {state}（{error}）；请用 --state 换一个目录")
        return app, make_sandbox_server(app, listener)


def _rate(text: str) -> Decimal:
    try:
        rate = Decimal(text)
        fits = 0 <= rate < 1
    except ArithmeticError:
        fits = False
    if not fits:
        raise click.BadParameter("费率须是 0 与 1 之间的小数，如 0.006", param_hint="--fee-rate")
    return rate


def _fail(message: str) -> NoReturn:
    click.echo(message, err=True)
    raise SystemExit(_CANNOT_START)


def _stop(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
