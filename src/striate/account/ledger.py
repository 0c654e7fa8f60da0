"""What `count` found: one row for each module, the totals, and what no formula knew."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from striate._registry import suggestion
from striate.account.columns import COLUMNS, WORDS, cell, heading, table_rows, with_all
from striate.account.entry import Entry, Step
from striate.account.summary import MAX_WIDTH, size_text
from striate.errors import UnknownNameError


@dataclass
class Ledger:
    """The account of a model: its entries by path, the model itself first.

    Attributes:
        entries: every module.
        unknown: how often each operation ran that no formula knows.
        known_calls: how many calls of operations were counted or are free.
        unused_parameters: parameters that no operation read.
        steps: the data flow, in the order in which it ran.
        outputs: the steps whose results the model returned, by index.
        notes: what was done differently than planned.
    """

    entries: dict[str, Entry]
    unknown: dict[str, int]
    known_calls: int
    unused_parameters: list[str]
    steps: list[Step] = field(default_factory=list)
    outputs: list[int] = field(default_factory=list)
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
    def all_operations(self) -> int:
        return self.total.all_operations

    @property
    def idle(self) -> list[str]:
        """Modules that never ran."""
        return [entry.path for entry in self if not entry.ran]

    @property
    def coverage(self) -> float:
        """The share of all calls of operations that were counted or are known to be free."""
        unknown = sum(self.unknown.values())
        return self.known_calls / max(self.known_calls + unknown, 1)

    def text(
        self,
        depth: int | None = None,
        columns: Sequence[str] = COLUMNS,
        all_operations: bool = False,
        width: int = MAX_WIDTH,
    ) -> str:
        """A table for people.

        Args:
            depth: how deep to go into modules inside modules; all the way by default.
            columns: attributes of `Entry` to show.
            all_operations: also show the small operations, and the total with them.
            width: of the table, in characters.

        Raises:
            UnknownNameError: an entry has no such attribute to show.
        """
        shown = [entry for entry in self if entry.path and (depth is None or entry.depth <= depth)]
        lines = [*table_rows(shown, with_all(columns) if all_operations else columns, width)]
        total = self.total
        lines += [
            f" Parameters: {total.parameters:,} ({size_text(total.parameter_bytes)}), {total.trainable:,} trainable",
            f" Neurons: {total.neurons:,}",
            f" MACs: {total.macs:,} forward, {total.backward_macs:,} backward; 1 MAC = 2 FLOPs",
            f" Small operations: {total.operations:,}; all operations forward: {total.all_operations:,}",
            f" Activations kept for the backward pass: {size_text(total.activation_bytes)}",
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
        `Entry`, its properties among them; what is in a module is part of its numbers. `steps` is the data flow, each
        with the attributes of `Step`, and `outputs` its ends. `unknown` counts the calls of operations that no formula
        knows. `schema` changes when a name or a meaning does.
        """
        return {
            "schema": SCHEMA,
            "modules": [_columns(entry) for entry in self],
            "coverage": self.coverage,
            "unknown": self.unknown,
            "unused_parameters": self.unused_parameters,
            "idle": self.idle,
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "outputs": self.outputs,
            "notes": self.notes,
        }

    def to_json(self) -> str:
        """The ledger as JSON text; `to_dict` says what is in it."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False)

    def to_csv(self) -> str:
        """One row for each module; shapes and lists as JSON."""
        output = io.StringIO()
        rows = [
            {
                name: json.dumps(value) if isinstance(value, (list, dict)) else value
                for name, value in _columns(entry).items()
            }
            for entry in self
        ]
        writer = csv.DictWriter(output, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return output.getvalue()

    def to_markdown(
        self, depth: int | None = None, columns: Sequence[str] = COLUMNS, all_operations: bool = False
    ) -> str:
        """A table for a page, with the totals under it; the arguments are those of `text`."""
        columns = with_all(columns) if all_operations else columns
        lines = [
            f"| Module | Class | {' | '.join(heading(name) for name in columns)} |",
            f"|---|---|{''.join('---|' if name in WORDS else '---:|' for name in columns)}",
        ]
        for entry in (*(e for e in self if e.path and (depth is None or e.depth <= depth)), self.total):
            name = f"`{entry.path}`" if entry.path else "**total**"
            lines.append(f"| {name} | {entry.kind} | {' | '.join(cell(entry, column) for column in columns)} |")
        return "\n".join(lines)

    def to_html(self, title: str = "The model") -> str:
        """One page: the architecture drawn, with bars for parameters, MACs and activations, and every formula."""
        from striate.account.drawn.page import ledger_page

        return ledger_page(self, title)

    def to_svg(self, title: str = "The model", depth: int | None = None) -> str:
        """The data flow as a graph; `depth` folds what is deeper into one node."""
        from striate.account.drawn.diagram import ledger_svg

        return ledger_svg(self, title=title, depth=depth)


SCHEMA = "striate.ledger/1"
_DERIVED = ("flops", "backward_flops", "all_operations", "frozen", "reuse", "positions", "depth")


def _columns(entry: Entry) -> dict[str, Any]:
    """An entry's attributes, with those that follow from others."""
    return dataclasses.asdict(entry) | {name: getattr(entry, name) for name in _DERIVED}
