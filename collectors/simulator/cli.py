"""`nuan simulate`: a town of simulated meters on loopback ports."""

from __future__ import annotations

import asyncio
import json
import resource
import signal
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path

import click

from collectors.simulator.city import (
    DEFAULT_PORT,
    DEFAULT_SEED,
    MOST_HOUSEHOLDS,
    city,
    figures,
    season_start,
)
from collectors.simulator.demo import DEFAULT_BASE_PORT, demo_town
from collectors.simulator.doors import Outside
from collectors.simulator.times import LOCAL
from collectors.simulator.town import SimulatedTown, Town

LISTED = 20  # a town of more buses is summed up instead


class Wanted(click.ParamType[int | Path]):
    """A number of households, or a file that describes a town."""

    name = "N|FILE"

    def convert(
        self, value: str | int | Path, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | Path:
        if isinstance(value, (int, Path)):
            return value
        if value.isdecimal():
            if not 1 <= int(value) <= MOST_HOUSEHOLDS:
                self.fail(f"{value} is not in the range 1 to {MOST_HOUSEHOLDS}", param, ctx)
            return int(value)
        if not Path(value).is_file():
            self.fail(f"{value!r} is neither a number of households nor a file", param, ctx)
        return Path(value)


@click.command()
@click.option(
    "--town",
    "wanted",
    type=Wanted(),
    help="So many households, or a town's description (JSON); else the demonstration town.",
)
@click.option("--seed", default=DEFAULT_SEED, show_default=True, help="Another town of that size.")
@click.option(
    "--start",
    help="Day from which the registers of --town count (ISO date; default the last 15 October).",
)
@click.option(
    "--base-port",
    type=click.IntRange(0, 65_535),
    help=f"First port ({DEFAULT_BASE_PORT}, with --town {DEFAULT_PORT}; 0: any that is free).",
)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--baud", type=click.IntRange(300, 115_200), help="Wires of that speed; else at once."
)
@click.option("--dtu-port", default=0, help="Port the town's modems dial (NUAN_DTU_PORT).")
@click.option(
    "--concentrator-port",
    default=0,
    help="Port its concentrators dial (NUAN_CONCENTRATOR_PORT).",
)
@click.option(
    "--push",
    "pushes",
    multiple=True,
    metavar="URL",
    help="Where a platform pushes: http://…/push/ctwing/SECRET; may be repeated.",
)
@click.option("--push-every", default=600.0, show_default=True, help="Seconds from push to push.")
@click.option("--dump", is_flag=True, help="Print the town's description and end.")
@click.pass_context
def simulate(
    ctx: click.Context,
    wanted: int | Path | None,
    seed: int,
    start: str | None,
    base_port: int | None,
    host: str,
    baud: int | None,
    dtu_port: int,
    concentrator_port: int,
    pushes: tuple[str, ...],
    push_every: float,
    dump: bool,
) -> None:
    """Serve simulated meters until Ctrl-C (模拟表计).

    `nuan simulate --town 500` builds 500 households: buildings, meters of every protocol, serial
    servers, modems, concentrators and platforms. `nuan install-town 500` writes the same town's
    archive.
    """
    try:
        if isinstance(wanted, int):
            port = DEFAULT_PORT if base_port is None else base_port
            begin = date.fromisoformat(start) if start else season_start(datetime.now(LOCAL).date())
            town = city(wanted, seed=seed, base_port=port, start=begin.isoformat())
        elif wanted:
            town = _load(wanted)
        else:
            town = demo_town(DEFAULT_BASE_PORT if base_port is None else base_port)
        if baud:
            town = replace(town, buses=tuple(replace(bus, baud=baud) for bus in town.buses))
        if dump:
            click.echo(json.dumps(town.to_dict(), ensure_ascii=False, indent=1))
            return
        outside = Outside(
            dtu_port=dtu_port,
            concentrator_port=concentrator_port,
            push_urls={url.split("/push/")[-1].split("/")[0]: url for url in pushes},
            push_every_s=push_every,
        )
        asyncio.run(_serve(SimulatedTown(town, host=host, outside=outside)))
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
    _many_sockets()
    async with town:
        for spec in town.town.buses if len(town.buses) <= LISTED else ():
            where = f"{town.host}:{town.port(spec.bus_id)}" if spec.door == "tcp" else spec.link()
            protocol = town.buses[spec.bus_id].protocol
            click.echo(f"{spec.bus_id}\t{protocol}\t{where}\t{len(spec.meters)} meters")
        click.echo(figures(town.town))
        await stop.wait()
    click.echo("stopped")


def _many_sockets() -> None:
    """Every serial server and every modem is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
