"""What `count` found: one row for each module, the totals, and what no formula knew."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from rich.box import HEAVY_HEAD
from rich.table import Table

from striate._registry import suggestion
from striate.account.summary import size_text, table_lines
from striate.errors import UnknownNameError
from striate.shapes import number, text


@dataclass
class Entry:
    """One module with all that is inside it.

    Attributes:
        path: its name in the model, as `named_modules` has it; the model itself is `""`.
        kind: its class.
        input_shapes: the shapes of the tensors of its first call, batch included.
        output_shapes: the shapes that this call gave.
        calls: how often it ran.
        parameters: how many parameters, those shared with an earlier module left out.
        trainable: how many of them are trained.
        buffers: how many values are in buffers, such as moving statistics.
        parameter_bytes: the bytes of the parameters.
        shared_with: the earlier places of parameters that stand here again.
        neurons: the outputs of learned weighted sums; see `striate.layers.layer`.
        macs: multiply-accumulates of matrix products and convolutions, forward.
        backward_macs: the same of the backward pass, for the gradients that are wanted.
        operations: small operations, forward; see `striate.account.formulas`.
        formulas: the formula of each product that ran in the module itself.
    """

    path: str
    kind: str
    input_shapes: list[tuple[int, ...]] = field(default_factory=list)
    output_shapes: list[tuple[int, ...]] = field(default_factory=list)
    calls: int = 0
    parameters: int = 0
    trainable: int = 0
    buffers: int = 0
    parameter_bytes: int = 0
    shared_with: list[str] = field(default_factory=list)
    neurons: int = 0
    macs: int = 0
    backward_macs: int = 0
    operations: int = 0
    formulas: list[str] = field(default_factory=list)

    @property
    def flops(self) -> int:
        """Floating-point operations of the MACs: two each."""
        return 2 * self.macs

    @property
    def frozen(self) -> int:
        """How many parameters are not trained."""
        return self.parameters - self.trainable

    @property
    def reuse(self) -> float:
        """How often each parameter is used, on average: MACs per parameter."""
        return self.macs / self.parameters if self.parameters else 0.0

    @property
    def formula(self) -> str:
        """The formulas of the module's own products, with their numbers."""
        return "; ".join(self.formulas)

    @property
    def depth(self) -> int:
        return self.path.count(".") + 1 if self.path else 0


@dataclass
class Ledger:
    """The account of a model: its entries by path, the model itself first.

    Attributes:
        entries: every module.
        unknown: how often each operation ran that no formula knows.
        known_calls: how many calls of operations were counted or are free.
        unused_parameters: parameters that no operation read.
        notes: what was done differently than planned.
    """

    entries: dict[str, Entry]
    unknown: dict[str, int]
    known_calls: int
    unused_parameters: list[str]
    notes: list[str] = field(default_factory=list)

    def __getitem__(self, path: str) -> Entry:
        if path not in self.entries:
            raise UnknownNameError(f"The model has no module {path!r}.{suggestion(path, self.entries)}")
        return self.entries[path]

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries.values())

    @property
    def total(self) -> Entry:
        """The model itself."""
        return self.entries[""]

    @property
    def parameters(self) -> int:
        return self.total.parameters

    @property
    def neurons(self) -> int:
        return self.total.neurons

    @property
    def macs(self) -> int:
        return self.total.macs

    @property
    def flops(self) -> int:
        return self.total.flops

    @property
    def backward_macs(self) -> int:
        return self.total.backward_macs

    @property
    def operations(self) -> int:
        return self.total.operations

    @property
    def idle(self) -> list[str]:
        """Modules that never ran."""
        return [entry.path for entry in self if not entry.calls]

    @property
    def coverage(self) -> float:
        """The share of all calls of operations that were counted or are known to be free."""
        unknown = sum(self.unknown.values())
        return self.known_calls / max(self.known_calls + unknown, 1)

    def text(self, depth: int | None = None) -> str:
        """A table for people.

        Args:
            depth: how deep to go into modules inside modules; all the way by default.
        """
        table = Table(box=HEAVY_HEAD)
        for name in ("Module", "Output shape"):
            table.add_column(name)
        for name in ("Parameters", "Neurons", "MACs"):
            table.add_column(name, justify="right")
        for entry in self:
            if not entry.path or (depth is not None and entry.depth > depth):
                continue
            name = "  " * (entry.depth - 1) + entry.path.rpartition(".")[2]
            shapes = ", ".join(text(shape) for shape in entry.output_shapes) if entry.calls else "never ran"
            counts = (number(value) for value in (entry.parameters, entry.neurons, entry.macs))
            table.add_row(f"{name} ({entry.kind})", shapes, *counts)
        total = self.total
        lines = [
            *table_lines(table),
            f" Parameters: {total.parameters:,} ({size_text(total.parameter_bytes)}), {total.trainable:,} trainable",
            f" Neurons: {total.neurons:,}",
            f" MACs: {total.macs:,} forward, {total.backward_macs:,} backward; {total.operations:,} small operations",
            f" Coverage: {self.coverage:.1%} of {self.known_calls + sum(self.unknown.values()):,} operations",
        ]
        if self.unknown:
            listed = ", ".join(f"{name} ({calls}×)" for name, calls in self.unknown.items())
            lines.append(f" Not counted, as no formula knows them: {listed}")
        if self.unused_parameters:
            lines.append(f" Parameters that nothing used: {', '.join(self.unused_parameters)}")
        return "\n".join([*lines, *(f" {note}" for note in self.notes)])

    def __str__(self) -> str:
        return self.text()

    # For other programs --------------------------------------------------------------------------------------------

    def to_dict(self) -> dict[str, Any]:
        """The ledger as JSON can hold it.

        `modules` has one entry for each module, the model itself first (its path is empty), with the attributes of
        `Entry` and its `flops`, `frozen` and `reuse`; what is in a module is part of its numbers. `unknown` counts the
        calls of operations that no formula knows. `schema` changes when a name or a meaning does.
        """
        return {
            "schema": SCHEMA,
            "modules": [_columns(entry) for entry in self],
            "coverage": self.coverage,
            "unknown": self.unknown,
            "unused_parameters": self.unused_parameters,
            "idle": self.idle,
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """The ledger as JSON text; `to_dict` says what is in it."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_csv(self) -> str:
        """One row for each module; shapes and lists as JSON."""
        output = io.StringIO()
        rows = [
            {name: json.dumps(value) if isinstance(value, list) else value for name, value in _columns(entry).items()}
            for entry in self
        ]
        writer = csv.DictWriter(output, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return output.getvalue()

    def to_markdown(self, depth: int | None = None) -> str:
        """A table for a page, with the totals under it.

        Args:
            depth: how deep to go into modules inside modules; all the way by default.
        """
        lines = ["| Module | Class | Output shape | Parameters | Neurons | MACs |", "|---|---|---|---:|---:|---:|"]
        for entry in (*(e for e in self if e.path and (depth is None or e.depth <= depth)), self.total):
            name = f"`{entry.path}`" if entry.path else "**total**"
            shapes = ", ".join(text(shape) for shape in entry.output_shapes) if entry.calls else "never ran"
            counts = " | ".join(number(value) for value in (entry.parameters, entry.neurons, entry.macs))
            lines.append(f"| {name} | {entry.kind} | {shapes} | {counts} |")
        return "\n".join(lines)


SCHEMA = "striate.ledger/1"


def _columns(entry: Entry) -> dict[str, Any]:
    """An entry's attributes, with those that follow from others."""
    columns = dataclasses.asdict(entry) | {"flops": entry.flops, "frozen": entry.frozen, "reuse": entry.reuse}
    for name in ("input_shapes", "output_shapes"):
        columns[name] = [list(shape) for shape in columns[name]]
    return columns


def short_path(path: str) -> str:
    """A module's path as people know it: in Striate's models, the layer's name.

    >>> short_path("layers.conv2d.op"), short_path("layer1.0.conv1"), short_path("")
    ('conv2d', 'layer1.0.conv1', 'the model')
    """
    return path.removeprefix("layers.").removesuffix(".op") or "the model"
