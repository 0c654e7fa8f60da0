"""Tables of entries: which columns there are, what they are called, and how their values are written."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import HEAVY_HEAD
from rich.table import Table

from striate._registry import suggestion
from striate.account.entry import Entry
from striate.account.summary import MAX_WIDTH, size_text, table_lines
from striate.errors import UnknownNameError
from striate.shapes import number, text

WORDS = {"input_shapes": "Input shape", "output_shapes": "Output shape", "formula": "Formula"} | {
    "shared_with": "Shared with",
    "receptive_field": "Receptive field",
}
TITLES = {
    **WORDS,
    "calls": "Calls",
    "parameters": "Parameters",
    "trainable": "Trainable",
    "frozen": "Frozen",
    "buffers": "Buffers",
    "parameter_bytes": "Size",
    "neurons": "Neurons",
    "macs": "MACs",
    "backward_macs": "MACs, backward",
    "flops": "FLOPs",
    "backward_flops": "FLOPs, backward",
    "operations": "Small operations",
    "all_operations": "All operations",
    "reuse": "Uses of a parameter",
    "positions": "Positions",
    "activation_bytes": "Activations",
}
"""What a table can show of an entry, words first, and what it is called there."""
_LEAST_NAME = 18  # characters of a module's name on one line
COLUMNS = ("output_shapes", "parameters", "neurons", "macs")


def table_rows(entries: Sequence[Entry], columns: Sequence[str] = COLUMNS, width: int = MAX_WIDTH) -> list[str]:
    """Entries as lines of a table."""
    headings = [heading(column) for column in columns]
    names = [f"{'  ' * (entry.depth - 1)}{entry.path.rpartition('.')[2]} ({entry.kind})" for entry in entries]
    cells = [[cell(entry, column) for entry in entries] for column in columns]
    table = Table(box=HEAVY_HEAD)
    table.add_column("Module", overflow="fold", min_width=min(_LEAST_NAME, max(map(len, names), default=0)))
    for column, title, values in zip(columns, headings, cells, strict=True):
        if column in WORDS:
            table.add_column(title, overflow="fold")
        else:  # a table that is too narrow takes from the words, not from numbers
            table.add_column(title, justify="right", min_width=max(map(len, values), default=0))
    for row in zip(names, *cells, strict=True):
        table.add_row(*row)
    return table_lines(table, width)


def with_all(columns: Sequence[str]) -> list[str]:
    """The columns, with those of all operations."""
    return [*columns, *(name for name in ("operations", "all_operations") if name not in columns)]


def heading(column: str) -> str:
    if column not in TITLES:
        raise UnknownNameError(
            f"There is no column {column!r}.{suggestion(column, TITLES)} Expected some of: {', '.join(TITLES)}."
        )
    return TITLES[column]


def cell(entry: Entry, column: str) -> str:
    value = getattr(entry, column)
    if column == "output_shapes" and not entry.ran:
        return "never ran"
    if column in ("input_shapes", "output_shapes"):
        return ", ".join(map(text, value))
    if isinstance(value, list):
        return "; ".join(value)
    if column.endswith("_bytes"):
        return size_text(value)
    if isinstance(value, float):
        return f"{value:,.1f}"
    return number(value) if isinstance(value, int) else str(value or "")
