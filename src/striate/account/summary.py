"""The summary of a model: one row a layer, and the totals."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from rich.box import HEAVY_HEAD
from rich.console import Console
from rich.table import Table

from striate.shapes import Size, number, text

MAX_WIDTH = 100


@dataclass(frozen=True)
class Row:
    """One layer of a summary."""

    name: str
    kind: str
    output_shape: Any
    parameters: int
    neurons: Size
    connected_to: tuple[str, ...] = ()
    inner: tuple[Row, ...] = ()
    """The rows of a model inside this one."""


def size_text(count: float) -> str:
    """Bytes as people read them.

    >>> size_text(76328), size_text(12)
    ('74.54 KB', '12 B')
    """
    if count < 1024:
        return f"{count:.0f} B"
    for unit in ("KB", "MB", "GB", "TB"):
        count /= 1024
        if count < 1024 or unit == "TB":
            break
    return f"{count:.2f} {unit}"


def table_lines(table: Table, width: int = MAX_WIDTH) -> list[str]:
    """A table as plain lines, the same on every terminal of this width."""
    output = io.StringIO()
    Console(file=output, width=width, color_system=None).print(table)
    return [line.rstrip() for line in output.getvalue().splitlines()]


def _with_depth(rows: Iterable[Row], depth: int = 0) -> Iterator[tuple[Row, int]]:
    for row in rows:
        yield row, depth
        yield from _with_depth(row.inner, depth + 1)


def render_summary(
    name: str,
    rows: list[Row],
    *,
    parameters: int,
    trainable: int,
    bytes_of_parameters: int,
    neurons: Size,
    features: Size,
) -> str:
    """The table and the totals as text."""
    table = Table(title=f'Model: "{name}"', title_justify="left", title_style="bold", box=HEAVY_HEAD, show_lines=False)
    table.add_column("Layer (type)")
    table.add_column("Output shape")
    table.add_column("Parameters", justify="right")
    table.add_column("Neurons", justify="right")
    connected = any(row.connected_to for row in rows)
    if connected:
        table.add_column("Connected to")
    for row, depth in _with_depth(rows):
        shapes = row.output_shape if isinstance(row.output_shape, list) else [row.output_shape]
        cells = [
            "  " * depth + f"{row.name} ({row.kind})",
            ", ".join(text(shape) for shape in shapes),
            number(row.parameters),
            number(row.neurons),
        ]
        table.add_row(*cells, *([", ".join(row.connected_to)] if connected else []))
    lines = [
        *table_lines(table),
        f" Total parameters: {number(parameters)} ({size_text(bytes_of_parameters)})",
        f" Trainable: {number(trainable)}",
        f" Non-trainable: {number(parameters - trainable)}",
        f" Neurons: {number(neurons)}, on {number(features)} input features",
    ]
    return "\n".join(lines)
