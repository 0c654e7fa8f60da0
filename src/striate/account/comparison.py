"""Two models side by side: what each costs in all, layer by layer, and what sharing weights saves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from textwrap import fill
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import nn

from striate.account.alignment import Pair, align, layers
from striate.account.counting import count
from striate.account.entry import Entry, short_path
from striate.account.ledger import Ledger
from striate.account.summary import MAX_WIDTH, size_text, table_lines
from striate.errors import ArgumentError
from striate.shapes import times

_BAR = 20  # characters of the longest bar
_SHOWN = 12  # layers of a table
_DIFFERENCES = 16  # rows of the table of differences


def dense_equivalent(entry: Entry) -> int:
    """The parameters of a dense layer from the entry's whole input to the same neurons, each with a bias.

    What a convolution saves by sharing its weights between positions is the difference to `entry.parameters`.

    Raises:
        ArgumentError: the module has no neurons, or takes several inputs.

    Example:
        >>> dense_equivalent(count(nn.Sequential(nn.Conv2d(1, 32, 3)), (1, 28, 28))["0"])
        16981120
    """
    if not entry.neurons or len(entry.input_shapes) != 1:
        raise ArgumentError(
            f"{entry.path or 'the model'} ({entry.kind}) has {entry.neurons:,} neurons and "
            f"{len(entry.input_shapes)} inputs; expected a module with neurons and one input."
        )
    return (math.prod(entry.input_shapes[0][1:]) + 1) * entry.neurons


@dataclass
class Comparison:
    """Two ledgers, and what the models are called."""

    ledgers: tuple[Ledger, Ledger]
    names: tuple[str, str]

    def __str__(self) -> str:
        return self.text()

    @cached_property
    def pairs(self) -> list[Pair]:
        """The layers of both models side by side, in order: the same, changed and how, or in one model alone."""
        return align(layers(self.ledgers[0]), layers(self.ledgers[1]))

    @property
    def most_shared(self) -> tuple[str, Entry] | None:
        """The model and layer that replace the most parameters of a dense layer with each of their own."""
        found = [
            (name, entry)
            for name, ledger in zip(self.names, self.ledgers, strict=True)
            for entry in working(ledger)
            if entry.neurons and entry.parameters and len(entry.input_shapes) == 1
        ]
        best = max(found, key=lambda item: dense_equivalent(item[1]) / item[1].parameters, default=None)
        return best if best and dense_equivalent(best[1]) >= 2 * best[1].parameters else None

    def totals(self) -> list[tuple[str, str, str, str]]:
        """What each model comes to: a name, both numbers, and the second by the first."""
        first, second = (ledger.total for ledger in self.ledgers)
        rows = [
            (label, f"{a:,}", f"{b:,}", _ratio(a, b))
            for label, a, b in (
                ("Parameters", first.parameters, second.parameters),
                ("Neurons", first.neurons, second.neurons),
                ("MACs, forward", first.macs, second.macs),
                ("MACs, backward", first.backward_macs, second.backward_macs),
            )
        ]
        for label, a, b in (
            ("Size of the parameters", first.parameter_bytes, second.parameter_bytes),
            ("Kept for the backward pass", first.activation_bytes, second.activation_bytes),
        ):
            rows.append((label, size_text(a), size_text(b), _ratio(a, b)))
        rows.append(("Uses of a parameter", f"{first.reuse:,.1f}", f"{second.reuse:,.1f}", ""))
        return rows

    def text(self) -> str:
        """The totals, the layers with bars, what differs, and what shared weights save: one screen.

        Layers without weights are compared on the page, `to_html`.
        """
        totals = _table(["", *self.names, f"{self.names[1]} / {self.names[0]}"])
        for row in self.totals():
            totals.add_row(*row)
        saved = fill(self.savings(), MAX_WIDTH)
        parts = [_lines(totals), *(self._layers(index) for index in (0, 1)), self._differences(), saved]
        return "\n\n".join(part for part in parts if part)

    def _layers(self, index: int) -> str:
        """The modules of one model that form weighted sums; bars compare parameters across both models."""
        longest = max((entry.parameters for ledger in self.ledgers for entry in working(ledger)), default=0)
        entries = working(self.ledgers[index])
        largest = sorted(entries, key=lambda entry: -entry.parameters)[:_SHOWN]
        table = _table([self.names[index], "Parameters", "Neurons", "MACs"], bars=True)
        for entry in (entry for entry in entries if entry in largest):
            bar = "█" * math.ceil(_BAR * entry.parameters / max(longest, 1))
            table.add_row(short_path(entry.path), f"{entry.parameters:,}", f"{entry.neurons:,}", f"{entry.macs:,}", bar)
        others = [entry for entry in entries if entry not in largest]
        if others:
            sums = [sum(getattr(entry, name) for entry in others) for name in ("parameters", "neurons", "macs")]
            table.add_row(f"{len(others):,} others", *(f"{value:,}" for value in sums))
        return _lines(table)

    def _differences(self) -> str:
        """What differs, layer by layer with weights; what is the same is only counted."""
        table = _table([*self.names, "What differs"], numbers=False)
        rows: list[tuple[str, str, str]] = []
        weighted = [pair for pair in self.pairs if any(side and side.parameters for side in (pair.first, pair.second))]
        for same, run in groupby(weighted, key=lambda pair: pair.state == "same"):
            pairs = list(run)
            if same:
                equal = f"{len(pairs):,} layer{'s' * (len(pairs) > 1)}"
                rows.append((equal, equal, "the same"))
                continue
            for pair in pairs:
                first, second = (short_path(side.path) if side else "" for side in (pair.first, pair.second))
                rows.append((first, second, self.says(pair)))
        for row in rows[:_DIFFERENCES]:
            table.add_row(*row)
        more = f"\n{len(rows) - _DIFFERENCES:,} more rows are on the page that to_html() gives."
        return _lines(table) + more * (len(rows) > _DIFFERENCES) if rows else ""

    def says(self, pair: Pair) -> str:
        """How the layers of a pair differ, in words."""
        alone = pair.first or pair.second
        if pair.state in ("same", "changed") or alone is None:
            return "; ".join(pair.changes) or "the same"
        name = self.names[pair.state == "second"]
        size = f", {alone.parameters:,} parameters" if alone.parameters else ""
        return f"only in {name}: {alone.kind}{size}"

    def savings(self) -> str:
        """For the layer that shares its weights the most, what a dense layer in its place would cost; may be empty."""
        if self.most_shared is None:
            return ""
        name, entry = self.most_shared
        dense = dense_equivalent(entry)
        return (
            f"{name}'s {short_path(entry.path)} makes {entry.neurons:,} neurons from {entry.parameters:,} parameters, "
            f"each used {entry.reuse:,.0f} times on average: its output is {times(entry.output_shapes[0][1:])}, and "
            f"the same weights serve every position. A dense layer to these neurons would need {dense:,}, "
            f"{dense / entry.parameters:,.0f} times as many."
        )

    def to_html(self) -> str:
        """The comparison as a page: totals, every layer side by side with bars, and what shared weights save."""
        from striate.account.drawn.comparison_page import comparison_page

        return comparison_page(self)

    def save_picture(self, path: str | Path) -> None:
        """Draw parameters and neurons of both models, and what dense layers would need, into a PNG, SVG or PDF file.

        Raises:
            ArgumentError: the file's name ends otherwise, or it cannot be written.
        """
        from striate.account.drawn.comparison_picture import save

        save(self, path)


def compare(
    first: nn.Module | Ledger,
    second: nn.Module | Ledger,
    input_shape: Sequence[int] | None = None,
    names: tuple[str, str] = ("first", "second"),
    **options: Any,
) -> Comparison:
    """Count two models and hold them side by side.

    Args:
        first: a module, or its ledger if it is counted already.
        second: likewise.
        input_shape: the shape of one sample, as for `count`, for those that are not counted.
        names: what to call them.
        options: other arguments of `count`.

    Raises:
        ShapeError: a model cannot take such an input.

    Example:
        >>> dense = nn.Sequential(nn.Flatten(), nn.Linear(784, 21632))
        >>> comparison = compare(dense, nn.Conv2d(1, 32, 3), (1, 28, 28), names=("dense", "convolution"))
        >>> [ledger.parameters for ledger in comparison.ledgers], [ledger.neurons for ledger in comparison.ledgers]
        ([16981120, 320], [21632, 21632])
    """
    ledgers = [
        model if isinstance(model, Ledger) else count(model, input_shape, **options) for model in (first, second)
    ]
    return Comparison((ledgers[0], ledgers[1]), names)


def working(ledger: Ledger) -> list[Entry]:
    """The modules in which products ran: those that form weighted sums."""
    return [entry for entry in ledger if entry.formulas]


def _ratio(first: int, second: int) -> str:
    if not first:
        return "–"
    ratio = second / first
    return f"{ratio:,.0f} ×" if ratio >= 100 else f"{ratio:.3g} ×"


def _table(columns: Sequence[str], bars: bool = False, numbers: bool = True) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if numbers and index else "left")
    if bars:
        table.add_column("")
    return table


def _lines(table: Table) -> str:
    return "\n".join(table_lines(table)).strip("\n")
