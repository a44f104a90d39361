"""`nuan simulate`: a town of simulated meters on loopback ports."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import click

from collectors.simulator.demo import DEFAULT_BASE_PORT, demo_town
from collectors.simulator.town import SimulatedTown, Town


@click.command()
@click.option(
    "--town",
    "path",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The town's description (JSON); without it, the demonstration town.",
)
@click.option(
    "--base-port",
    default=DEFAULT_BASE_PORT,
    show_default=True,
    help="First port of the demonstration town.",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--dump", is_flag=True, help="Print the town's description and end.")
@click.pass_context
def simulate(ctx: click.Context, path: Path | None, base_port: int, host: str, dump: bool) -> None:
    """Serve simulated meters until Ctrl-C (模拟表计)."""
    try:
        town = _load(path) if path else demo_town(base_port)
        if dump:
            click.echo(json.dumps(town.to_dict(), ensure_ascii=False, indent=1))
            return
        asyncio.run(_serve(SimulatedTown(town, host=host)))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        click.echo(f"nuan simulate: {reason}", err=True)
        ctx.exit(2)


def _load(path: Path) -> Town:
    try:
        return Town.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


async def _serve(town: SimulatedTown) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with town:
        for bus in town.buses.values():
            click.echo(
                f"{bus.bus_id}\t{bus.protocol}\t{town.host}:{bus.port}\t{len(bus.meters)} meters"
            )
        await stop.wait()
    click.echo("stopped")
