"""Write docs/cli.md from the `nuan` command itself; a test holds the page equal to it."""

from __future__ import annotations

import pathlib

import click

from backend.cli import main

PAGE = pathlib.Path(__file__).resolve().parent.parent / "docs" / "cli.md"
HEAD = """# The `nuan` command

Written by `python scripts/cli_reference.py`; a test holds this page equal to the command.
"""


def page() -> str:
    """The whole page as Markdown."""
    parts = [HEAD]
    context = click.Context(main, info_name="nuan")
    for name in main.list_commands(context):
        command = main.get_command(context, name)
        assert command is not None
        parts += _sections(command, f"nuan {name}", context)
    return "\n".join(parts)


def _sections(command: click.Command, name: str, parent: click.Context) -> list[str]:
    """A command's help, and those of its subcommands."""
    context = click.Context(
        command,
        info_name=name.removeprefix("nuan "),
        parent=parent,
        terminal_width=96,
        max_content_width=96,
    )
    parts = [f"## {name}\n", "```\n" + command.get_help(context) + "\n```\n"]
    if isinstance(command, click.Group):
        for sub in command.list_commands(context):
            child = command.get_command(context, sub)
            if child is not None:
                parts += _sections(child, f"{name} {sub}", parent)
    return parts


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
