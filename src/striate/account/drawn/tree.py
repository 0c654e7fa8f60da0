"""A ledger as a tree to show: a module around one other is one row with it, equal neighbours are one row with "× n"."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from striate.account.entry import Entry
from striate.account.ledger import Ledger

_SUMS = (
    "weights",
    "weighted_macs",
    "parameters",
    "trainable",
    "buffers",
    "parameter_bytes",
    "buffer_bytes",
    "neurons",
    "macs",
    "backward_macs",
    "operations",
    "activation_bytes",
)


@dataclass
class Part:
    """A row of the tree.

    Attributes:
        name: its name inside the part around it.
        kind: its class; of two modules in one row, both.
        entry: its numbers.
        parts: what is inside it.
        ran: whether it, or anything in it, ran.
        repeated: whether it stands for equal neighbours, which are its parts.
    """

    name: str
    kind: str
    entry: Entry
    parts: list[Part] = field(default_factory=list)
    ran: bool = True
    repeated: bool = False

    @property
    def size(self) -> int:
        """The rows it takes with all that is inside it."""
        return 1 + sum(part.size for part in self.parts)


def tree(ledger: Ledger) -> Part:
    """The model with all its modules, as rows inside rows, in the order in which they began to work.

    What a module does in its own forward, beside the modules in it, is a row of its own: so the rows in it add up.

    Example:
        >>> from torch import nn
        >>> from striate.account import count
        >>> model = tree(count(nn.Sequential(*(nn.Sequential(nn.Linear(4, 4), nn.ReLU()) for _ in range(6))), (4,)))
        >>> [(part.name, part.kind, part.entry.parameters) for part in model.parts]
        [('0 … 5', 'Sequential × 6', 120)]
    """
    inside: dict[str, list[Entry]] = {path: [] for path in ledger.entries}
    for entry in ledger:
        if entry.path:
            around = entry.path.rpartition(".")[0]
            while around not in inside:  # a name may have a dot in it
                around = around.rpartition(".")[0]
            inside[around].append(entry)
    began: dict[str, int] = {}
    for index, step in enumerate(ledger.steps):
        path = step.path
        while path and began.setdefault(path, index) == index:
            path = path.rpartition(".")[0]
    for entries in inside.values():
        entries.sort(key=lambda entry: began.get(entry.path, len(ledger.steps)))
    return _part(ledger.total, "", inside)


def depth_within(part: Part, rows: int) -> int:
    """How many levels can be open, so that no more than so many rows are seen; equal neighbours stay folded."""
    depth, level, seen = 0, part.parts, len(part.parts)
    while level:
        level = [inner for outer in level if not outer.repeated for inner in outer.parts]
        seen += len(level)
        if seen > rows:
            break
        depth += 1
    return depth


def _part(entry: Entry, around: str, inside: dict[str, list[Entry]]) -> Part:
    kind, path = entry.kind, entry.path
    while len(inside[path]) == 1 and _costs(inside[path][0]) == _costs(entry) and not entry.formulas:
        inner = inside[path][0]
        kind, path = f"{kind} › {inner.kind}", inner.path
        entry = inner if inner.calls else entry
    parts = [_part(inner, path, inside) for inner in inside[path]]
    ran = bool(entry.calls) or any(part.ran for part in parts)
    if parts:
        parts = [*_own(entry, inside[path]), *_folded(parts)]
        entry = dataclasses.replace(entry, formulas=[])
    return Part(path[len(around) :].removeprefix("."), kind, entry, parts, ran)


def _costs(entry: Entry) -> tuple[int, ...]:
    return tuple(getattr(entry, name) for name in _SUMS)


def _own(entry: Entry, inner: list[Entry]) -> Iterator[Part]:
    """What a module adds to the modules in it."""
    rest = {name: getattr(entry, name) - sum(getattr(part, name) for part in inner) for name in _SUMS}
    if entry.formulas or rest["parameters"] or rest["macs"] or rest["activation_bytes"] > 0:
        own = dataclasses.replace(entry, input_shapes=[], output_shapes=[], calls=1, receptive_field=None, **rest)
        yield Part("", "its own forward", own)


def _folded(parts: list[Part]) -> Iterator[Part]:
    """Equal neighbours as one, where that saves rows."""
    for _, same in groupby(parts, key=_signature):
        run = list(same)
        first, last, count = run[0], run[-1], len(run)
        if (count - 1) * first.size < 3:
            yield from run
            continue
        sums = {name: sum(getattr(part.entry, name) for part in run) for name in _SUMS}
        entry = dataclasses.replace(last.entry, input_shapes=first.entry.input_shapes, formulas=[], **sums)
        yield Part(f"{first.name} … {last.name}", f"{first.kind} × {count}", entry, run, first.ran, True)


def _signature(part: Part) -> Any:
    """Equal for parts that compute the same all the way down; the gradients that are wanted may differ."""
    entry = part.entry
    costs = (entry.parameters, entry.trainable, entry.buffers, entry.neurons, entry.macs, entry.operations)
    shapes = (*entry.input_shapes, None, *entry.output_shapes)
    inner = tuple((inner.name, _signature(inner)) for inner in part.parts)
    return (part.kind, shapes, costs, tuple(entry.formulas), tuple(entry.shared_with), entry.calls, inner)
