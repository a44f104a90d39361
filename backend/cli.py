"""The `nuan` command: the one door that sees every package.

Each package keeps its own click group; this module loads them by name, so that the backend never
imports the collectors (the import rule) and a missing part costs only its own commands.
"""

from importlib import import_module

import click

# command name -> (module, attribute); loaded only when asked for, so `nuan decode` needs no Flask.
COMMANDS = {
    "compute": ("backend.compute", "compute"),
    "decode": ("collectors.cli", "decode"),
    "simulate": ("collectors.cli", "simulate"),
    "collect": ("collectors.cli", "collect"),
    "schedule": ("collectors.cli", "schedule"),
    "sandbox": ("payments.sandbox.cli", "sandbox"),
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
