"""What a change to a model saves, in closed form: fewer filters, cheaper convolutions, smaller heads.

Each function gives the changes of one kind that a ledger allows. A product's cost is its weights, once for the
parameters and once for each position for the MACs; what a change does to the weights is the whole of its formula.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from striate.account import Ledger
from striate.account.entry import short_path
from striate.budget.channels import Channels, Flow, Product
from striate.shapes import times

_FEWEST = 8  # channels, below which a depthwise convolution or a halving makes no sense
_NAMED = 2  # layers in a formula
_SHARES = {
    Fraction(3, 4): "¾ of",
    Fraction(1, 2): "half",
    Fraction(1, 4): "a quarter of",
    Fraction(1, 8): "an eighth of",
}


@dataclass(frozen=True)
class Change:
    """A change, and what it saves.

    Attributes:
        what: the change.
        formula: the saving, worked out.
        parameters: how many fewer.
        macs: how many fewer.
        memory_bytes: how much less at the peak of a training step; 0 where that was not traced.
        touches: the modules that are changed; changes of the same module do not add up.
    """

    what: str
    formula: str
    parameters: int = 0
    macs: int = 0
    memory_bytes: int = 0
    touches: frozenset[str] = frozenset()


def narrower_layers(flow: Flow) -> Iterator[Change]:
    """Half the filters of a layer, with all layers that are tied to it; or fewer filters in all layers."""
    groups = flow.groups()
    for together in groups:
        layers = [at for path, at in flow.products.items() if flow.makes.get(path) in together]
        widths = ", ".join(f"{count:,} → {count // 2:,}" for count in sorted({at.filters for at in layers}))
        names = _listed([short_path(at.path) for at in layers])
        yield from _narrowed(flow, together, Fraction(1, 2), f"half the width of {names}: {widths}")
    if len(groups) > 1:
        free = set().union(*groups)
        count = sum(group in free for group in flow.makes.values())
        for share, name in _SHARES.items():
            what = f"{name} the width of all {count:,} layers that can be narrowed"
            yield from _narrowed(flow, free, share, what)


def separable_convolutions(flow: Flow) -> Iterator[Change]:
    """A depthwise and a 1 × 1 convolution in the place of one that does both at once."""
    for at in flow.products.values():
        if math.prod(at.kernel) == 1 or at.inputs != at.channels or min(at.inputs, at.filters) < _FEWEST:
            continue
        window = math.prod(at.kernel)
        after = at.channels * window + at.channels * at.filters
        yield _replaced(
            at,
            after,
            f"{short_path(at.path)}: separable in place of {times(at.kernel)}",
            f"{_product(at)} − ({times((at.channels, *at.kernel))} + {times((at.channels, at.filters))})",
        )


def smaller_kernels(flow: Flow) -> Iterator[Change]:
    """3 × 3 in place of larger windows, padded so that there are as many positions."""
    for at in flow.products.values():
        kernel = tuple(min(size, 3) for size in at.kernel)
        # Even windows lie side by side: smaller ones would leave pixels out.
        if kernel != at.kernel and all(size % 2 for size in at.kernel):
            after = at.filters * at.inputs * math.prod(kernel)
            formula = f"{_product(at)} − {times((*kernel, at.inputs, at.filters))}"
            yield _replaced(
                at, after, f"{short_path(at.path)}: {times(kernel)} in place of {times(at.kernel)}", formula
            )


def pooled_heads(flow: Flow) -> Iterator[Change]:
    """Global average pooling in place of a `Flatten` in front of a dense layer."""
    for path, channels in flow.reads.items():
        at, total = flow.products[path], sum(count for _, count in channels)
        if not at.kernel and at.channels > total:
            formula = f"({at.channels:,} − {total:,} inputs) × {at.filters:,}"
            what = f"{short_path(path)}: global average pooling in front of it in place of flatten"
            yield _replaced(at, at.filters * total, what, formula)


def factorised_layers(flow: Flow) -> Iterator[Change]:
    """Two dense layers of low rank in place of one, with about a quarter of its weights."""
    for at in flow.products.values():
        rank = at.inputs * at.filters // (4 * (at.inputs + at.filters))
        if not at.kernel and rank >= _FEWEST:
            what = f"{short_path(at.path)}: two layers of rank {rank:,} in place of it"
            formula = f"{_product(at)} − {rank:,} × ({at.inputs:,} + {at.filters:,})"
            yield _replaced(at, rank * (at.inputs + at.filters), what, formula)


def tied_embeddings(ledger: Ledger, flow: Flow) -> Iterator[Change]:
    """One matrix for the words that go in and those that come out (Press and Wolf, 2017)."""
    for entry in ledger:
        for at in flow.products.values():
            same = not at.kernel and entry.parameters == at.weights and entry.output_shapes
            if entry.kind == "Embedding" and same and entry.output_shapes[0][-1] == at.inputs:
                what = f"{short_path(at.path)}: share the weights of {short_path(entry.path)}"
                yield Change(what, f"{_product(at)} weights", at.weights, touches=frozenset({at.path, entry.path}))


def _replaced(at: Product, weights: int, what: str, formula: str) -> Change:
    """A product that has so many weights instead."""
    saved = at.weights - weights
    worked = f"{formula} = {saved:,} weights, each used {at.positions:,}×"
    return Change(what, worked, saved, saved * at.positions, touches=frozenset({at.path}))


def _narrowed(flow: Flow, groups: set[int], share: Fraction, what: str) -> Iterator[Change]:
    """Keep a share of the channels of some groups, if that can be done."""

    def kept(channels: Channels) -> Fraction:
        total = sum(count for _, count in channels)
        return 1 - (1 - share) * Fraction(sum(count for group, count in channels if group in groups), total)

    parameters = macs = Fraction(0)
    touched: list[str] = []
    terms: list[str] = []
    for path, at in flow.products.items():
        inputs = kept(flow.reads[path]) if path in flow.reads else Fraction(1)
        filters = share if flow.makes.get(path) in groups else Fraction(1)
        if path not in flow.makes:  # depthwise: its filters are the channels that it reads
            inputs, filters = Fraction(1), inputs
        if inputs == filters == 1:
            continue
        after = (at.filters * filters, at.inputs * inputs)
        if any(size.denominator > 1 for size in after) or (filters < 1 and after[0] < _FEWEST // 2):
            return
        saved = at.weights - after[0] * after[1] * math.prod(at.kernel)
        parameters += saved + at.biases * (1 - filters)
        macs += saved * at.positions
        touched.append(path)
        new = times((*at.kernel, int(after[1]), int(after[0])))
        terms.append(f"{short_path(path)} {_product(at)} − {new}")
    for path, (each, channels) in flow.scales.items():
        if (left := kept(channels)) < 1:
            parameters += each * sum(count for _, count in channels) * (1 - left)
            touched.append(path)
    if touched and parameters.denominator == macs.denominator == 1:
        formula = f"{_listed(terms, '; ')} = {int(parameters):,} parameters, biases and scales included"
        yield Change(what, formula, int(parameters), int(macs), touches=frozenset(touched))


def _product(at: Product) -> str:
    return times((*at.kernel, at.inputs, at.filters))


def _listed(names: list[str], separator: str = ", ") -> str:
    shown = separator.join(names[:_NAMED])
    return shown if len(names) <= _NAMED else f"{shown}{separator}and {len(names) - _NAMED:,} more"
