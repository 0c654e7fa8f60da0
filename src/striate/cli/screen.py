"""Tables and bars on the terminal: with colours there, plain and unbroken in a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

_WIDTH_WITHOUT_TERMINAL = 200


def table(left: Iterable[str], right: Iterable[str] = (), last: Iterable[str] = ()) -> Table:
    """A table with columns of words at the left, of numbers, and of words again."""
    made = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for column in left:
        made.add_column(column)
    for column in right:
        made.add_column(column, justify="right")
    for column in last:
        made.add_column(column)
    return made


def show(table: Table) -> None:
    """Print a table."""
    console = Console(file=sys.stdout)
    if not console.is_terminal:
        console = Console(file=sys.stdout, width=_WIDTH_WITHOUT_TERMINAL)
    console.print(table)


@contextmanager
def waiting_bar(doing: str) -> Iterator[None]:
    """A bar that moves while something is done of which nobody knows how long it takes."""
    with _progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()) as progress:
        progress.add_task(doing, total=None)
        yield


@contextmanager
def reading_bar(doing: str = "Reading images") -> Iterator[Callable[[int, int], None]]:
    """A bar for files that are read: call what it gives with how many are done, and of how many."""
    with _progress() as progress:
        task = progress.add_task(doing, total=None)
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _progress(*columns: ProgressColumn) -> Progress:
    """On the terminal alone, and gone once it is done."""
    console = Console(file=sys.stderr)
    return Progress(*columns, console=console, transient=True, disable=not sys.stderr.isatty())
