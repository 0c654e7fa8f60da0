"""The layers of two models side by side: which are the same, which changed and how, which only one has."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from striate.account.entry import Entry, short_path
from striate.account.ledger import Ledger
from striate.shapes import times

_GAP = 0.0  # a layer that has no partner scores nothing, so that any partner of its kind is better
_SIZES = (("parameters", "parameters"), ("frozen", "frozen"), ("macs", "MACs"), ("calls", "calls"))


@dataclass(frozen=True)
class Pair:
    """A layer of each model, or of one alone.

    Attributes:
        first: the first model's layer; None if only the second has it.
        second: the second model's.
        changes: how they differ, in words; empty if they cost and give the same.
    """

    first: Entry | None
    second: Entry | None
    changes: tuple[str, ...] = ()

    @property
    def state(self) -> str:
        """`"same"`, `"changed"`, or in which model it is: `"first"` or `"second"`."""
        if self.first is None or self.second is None:
            return "second" if self.first is None else "first"
        return "changed" if self.changes else "same"


def layers(ledger: Ledger) -> list[Entry]:
    """The modules that do the work, as they ran: those with no other running module inside, or with own products."""
    first_step = {step.path: index for index, step in reversed(list(enumerate(ledger.steps)))}
    ran = [entry for entry in ledger if entry.calls]
    ran.sort(key=lambda entry: first_step.get(entry.path, len(ledger.steps)))
    holders = {around for entry in ran for around in _around(entry.path)}
    return [entry for entry in ran if entry.formulas or entry.path not in holders]


def align(first: Sequence[Entry], second: Sequence[Entry]) -> list[Pair]:
    """Pair layers of the same kind in their order, so that as many as possible agree in shapes, sizes and names.

    This is the global alignment of Needleman and Wunsch, "A general method applicable to the search for similarities in
    the amino acid sequence of two proteins", 1970.

    Example:
        >>> from torch import nn
        >>> from striate.account import count
        >>> a = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
        >>> b = nn.Sequential(nn.Linear(4, 8), nn.Linear(8, 3))
        >>> for pair in align(layers(count(a, (4,))), layers(count(b, (4,)))):
        ...     print(pair.state, *pair.changes, sep=", ")
        same
        first
        changed, output 2 → 3, parameters 18 → 27, MACs 16 → 24
    """
    best = [[0.0] * (len(second) + 1) for _ in range(len(first) + 1)]
    for i in range(len(first) - 1, -1, -1):
        for j in range(len(second) - 1, -1, -1):
            score = _agreement(first[i], second[j])
            paired = best[i + 1][j + 1] + score if score else _GAP
            best[i][j] = max(paired, best[i + 1][j], best[i][j + 1])
    return list(_pairs(first, second, best))


def _pairs(first: Sequence[Entry], second: Sequence[Entry], best: Sequence[Sequence[float]]) -> Iterator[Pair]:
    i = j = 0
    while i < len(first) or j < len(second):
        score = _agreement(first[i], second[j]) if i < len(first) and j < len(second) else 0.0
        if score and best[i][j] == best[i + 1][j + 1] + score:
            yield Pair(first[i], second[j], tuple(_changes(first[i], second[j])))
            i, j = i + 1, j + 1
        elif i < len(first) and best[i][j] == best[i + 1][j]:
            yield Pair(first[i], None)
            i += 1
        else:
            yield Pair(None, second[j])
            j += 1


def _agreement(a: Entry, b: Entry) -> float:
    """How well two layers fit each other; zero if they are of different kinds. Sums of halves, so exact."""
    if a.kind != b.kind:
        return 0.0
    fits = 2.0 * (a.output_shapes == b.output_shapes) + 2.0 * (a.input_shapes == b.input_shapes)
    return 1.0 + fits + 1.0 * (a.parameters == b.parameters) + 1.0 * (a.formulas == b.formulas) + 1.5 * _same_name(a, b)


def _same_name(a: Entry, b: Entry) -> bool:
    return short_path(a.path) == short_path(b.path)


def _changes(a: Entry, b: Entry) -> Iterator[str]:
    for word, before, after in (
        ("input", a.input_shapes, b.input_shapes),
        ("output", a.output_shapes, b.output_shapes),
    ):
        if before != after:
            yield f"{word} {_sizes(before)} → {_sizes(after)}"
    for name, word in _SIZES:
        old, new = getattr(a, name), getattr(b, name)
        if old != new:
            yield f"{word} {old:,} → {new:,}"
    if a.formulas != b.formulas and a.macs == b.macs:
        yield "other products of the same size"


def _sizes(shapes: Sequence[tuple[int, ...]]) -> str:
    return ", ".join(times(shape[1:]) for shape in shapes)


def _around(path: str) -> Iterator[str]:
    """The modules around a module."""
    while path:
        path = path.rpartition(".")[0]
        yield path
