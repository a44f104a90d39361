"""The `nuan` command: the one door that sees every package.

Each package keeps its own click group; this module loads them by name, so that the backend never
imports the collectors (the import rule) and a missing part costs only its own commands.
"""

from importlib import import_module

import click

# command name -> (module, attribute); loaded only when asked for, so `nuan decode` needs no Flask.
COMMANDS = {
    "allocate": ("backend.commands", "allocate"),
    "check-bill": ("collectors.check_bill", "check_bill"),
    "collect": ("collectors.processes", "collect"),
    "compute": ("backend.compute", "compute"),
    "decode": ("collectors.cli", "decode"),
    "demo": ("collectors.demo.command", "demo"),
    "explain": ("backend.commands", "explain"),
    "export-round": ("backend.meter_commands", "export_round"),
    "desk": ("backend.cashier.desk_cli", "desk"),
    "finance": ("backend.cashier.cli", "finance"),
    "import-readings": ("backend.meter_commands", "import_readings"),
    "install-town": ("collectors.demo.city", "install_town"),
    "ledger": ("backend.ledger.cli", "ledger"),
    "meter": ("backend.meter_commands", "meter"),
    "migrate": ("backend.commands", "migrate"),
    "papers": ("backend.cashier.papers.cli", "papers"),
    "sandbox": ("payments.sandbox.cli", "sandbox"),
    "schedule": ("collectors.processes", "schedule"),
    "serve": ("backend.commands", "serve"),
    "settings": ("backend.commands", "settings"),
    "simulate": ("collectors.simulator.cli", "simulate"),
    "worker": ("backend.commands", "worker"),
}


class LazyGroup(click.Group):
    """A click group whose commands are imported the first time they are named."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(module), attribute)
        return command


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="nuan")
def main() -> None:
    """Nuan: household energy self-service for heating companies."""
