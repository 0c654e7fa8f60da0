"""Two models side by side: what each costs in all, layer by layer, and what sharing weights saves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table
from torch import nn

from striate.account.counting import count
from striate.account.ledger import Entry, Ledger, short_path
from striate.account.summary import size_text, table_lines
from striate.errors import ArgumentError
from striate.shapes import times

_BAR = 20  # characters of the longest bar


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

    def text(self) -> str:
        """The totals, their ratios, the layers with bars, and what shared weights save: one screen."""
        parts = [self._totals(), *(self._layers(index) for index in (0, 1)), *self._savings()]
        return "\n\n".join(parts)

    def _totals(self) -> str:
        table = _table(["", *self.names, f"{self.names[1]} / {self.names[0]}"])
        first, second = (ledger.total for ledger in self.ledgers)
        for label, attribute in (
            ("Parameters", "parameters"),
            ("Neurons", "neurons"),
            ("MACs, forward", "macs"),
            ("MACs, backward", "backward_macs"),
        ):
            a, b = getattr(first, attribute), getattr(second, attribute)
            table.add_row(label, f"{a:,}", f"{b:,}", _ratio(a, b))
        table.add_row("Size of the parameters", *(size_text(entry.parameter_bytes) for entry in (first, second)), "")
        table.add_row("Uses of a parameter", *(f"{entry.reuse:,.1f}" for entry in (first, second)), "")
        return "\n".join(table_lines(table)).strip("\n")

    def _layers(self, index: int) -> str:
        """The modules of one model that form weighted sums; bars compare parameters across both models."""
        longest = max((entry.parameters for ledger in self.ledgers for entry in working(ledger)), default=0)
        table = _table([self.names[index], "Parameters", "Neurons", "MACs"], bars=True)
        for entry in working(self.ledgers[index]):
            bar = "█" * math.ceil(_BAR * entry.parameters / max(longest, 1))
            table.add_row(short_path(entry.path), f"{entry.parameters:,}", f"{entry.neurons:,}", f"{entry.macs:,}", bar)
        return "\n".join(table_lines(table)).strip("\n")

    def _savings(self) -> list[str]:
        """For the module that shares its weights the most, what a dense layer in its place would cost."""
        found = [
            (dense_equivalent(entry), name, entry)
            for name, ledger in zip(self.names, self.ledgers, strict=True)
            for entry in working(ledger)
            if entry.neurons and entry.parameters and len(entry.input_shapes) == 1
        ]
        if not found:
            return []
        dense, name, entry = max(found, key=lambda item: item[0] / item[2].parameters)
        factor = dense / entry.parameters
        if factor < 2:
            return []
        return [
            f"{name}'s {short_path(entry.path)} makes {entry.neurons:,} neurons from {entry.parameters:,} parameters, "
            f"each used {entry.reuse:,.0f} times on average: its output is {times(entry.output_shapes[0][1:])}, and "
            f"the same weights serve every position. A dense layer to these neurons would need {dense:,}, "
            f"{factor:,.0f} times as many."
        ]


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


def _table(columns: Sequence[str], bars: bool = False) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False)
    for index, name in enumerate(columns):
        table.add_column(name, justify="right" if index else "left")
    if bars:
        table.add_column("")
    return table
