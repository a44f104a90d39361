"""Commands of the collecting side; each is thin and hands over to its module."""

from __future__ import annotations

import sys

import click

from collectors import decode as decoding


@click.command()
@click.option("--jsonl", is_flag=True, help="Read JSON lines from standard input, answer each.")
@click.argument("protocol", required=False)
@click.argument("hex_words", metavar="HEX...", nargs=-1)
@click.pass_context
def decode(
    ctx: click.Context, jsonl: bool, protocol: str | None, hex_words: tuple[str, ...]
) -> None:
    """Explain a frame: nuan decode mbus 68 1F 1F 68 ... 16 (解析一帧报文).

    With --jsonl, lines {"id", "protocol", "hex", "input"} are answered one by one, in order;
    a bad line is answered with "reject" and never stops the stream.
    """
    if jsonl:
        _answer_stdin()
        return
    if protocol is None or not hex_words:
        raise click.UsageError("give a protocol and the frame's hex, or --jsonl")
    try:
        rows = decoding.explain(protocol, decoding.parse_hex(hex_words))
    except ValueError as error:
        click.echo(decoding.refusal_zh(error), err=True)
        ctx.exit(1)
    click.echo(decoding.table(rows))


def _answer_stdin() -> None:
    """JSON is UTF-8 whatever the terminal's locale says."""
    out = sys.stdout.buffer
    for answer in decoding.answer_lines(sys.stdin.buffer):
        out.write(answer.encode())
        out.flush()
