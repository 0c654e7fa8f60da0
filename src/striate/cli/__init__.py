"""The command line: `striate COMMAND`.

`striate --help` answers at once: a command's own file only declares its options, and imports what does the work
(torch, matplotlib) when it runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from striate import __version__
from striate.cli.budget import budget
from striate.cli.caption import caption
from striate.cli.diagnose import diagnose
from striate.cli.errors import Group
from striate.cli.export import export
from striate.cli.faces import faces
from striate.cli.look import compare, explain, memory, neuron, summary
from striate.cli.panels import Command
from striate.cli.runs import runs
from striate.cli.search import search
from striate.cli.see import see
from striate.cli.sweep import sweep
from striate.cli.trace import trace
from striate.cli.train import train
from striate.cli.use import evaluate, predict
from striate.cli.zoo import zoo

app = typer.Typer(
    cls=Group,
    no_args_is_help=True,
    add_completion=False,
    # Plain help and plain tracebacks: drawing them with rich takes as long to import as all else.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"striate {__version__}")
        raise typer.Exit


@app.callback()
def start(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """A neural-network workbench for computer vision: build, count, train, see and use.

    Begin with: striate train digits
    """


_COMMANDS = (
    train,
    sweep,
    evaluate,
    predict,
    caption,
    search,
    export,
    see,
    trace,
    diagnose,
    zoo,
    summary,
    explain,
    compare,
    memory,
    budget,
    neuron,
    runs,
)
for command in _COMMANDS:
    app.command(cls=Command)(command)
app.add_typer(faces, name="faces")


def main() -> None:
    """What the `striate` command runs."""
    app()
