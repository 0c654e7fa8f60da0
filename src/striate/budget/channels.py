"""Which layers of a ledger must change together: where the channels that one layer makes are read.

A layer's filters can be halved only with all that reads them, and with all that is added to them. The ledger's steps
say which step reads which; operations that keep channels apart (sums, activations, normalisation, pooling, views) hand
them on. Where an operation does something else with them, such as attention, the channels that reach it stay as they
are: what is offered can be done.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from striate.account import Ledger
from striate.account.entry import INPUT, Entry, Step

_PRODUCTS = {"aten.convolution", "aten.mm", "aten.addmm"}
_MERGES = {"aten.cat"}
_HANDED_ON = {
    f"aten.{name}{ending}"
    for ending in ("", "_")
    for name in """
    _adaptive_avg_pool2d _prelu_kernel _reshape_alias _softmax _to_copy _unsafe_view abs adaptive_max_pool2d add alias
    avg_pool2d bernoulli clamp clone constant_pad_nd contiguous copy detach div elu empty empty_like expand gelu
    hardsigmoid hardswish hardtanh leaky_relu lerp max_pool2d_with_indices maximum mean mul native_batch_norm
    native_dropout native_layer_norm permute relu reshape rsub sigmoid silu slice softplus squeeze sub t tanh transpose
    unsqueeze upsample_bilinear2d upsample_nearest2d view
    """.split()
}
_FORMULA = re.compile(r"([\d, ×]+) outputs × (?:\(([\d, ×]+) weights\)|([\d,]+)) =")


@dataclass(frozen=True)
class Product:
    """A convolution or dense layer: its weights are `filters × inputs × kernel`, each used at all positions.

    Attributes:
        path: the module.
        filters: how many outputs there are at each position.
        inputs: the input channels that one filter reads; those of its own group, where there are groups.
        kernel: the sizes of the window; empty for a dense layer.
        channels: the input channels of all groups.
        positions: how often each weight is used.
        biases: what the module has in parameters beside the weights.
    """

    path: str
    filters: int
    inputs: int
    kernel: tuple[int, ...]
    channels: int
    positions: int
    biases: int

    @property
    def weights(self) -> int:
        return self.filters * self.inputs * math.prod(self.kernel)

    @property
    def is_depthwise(self) -> bool:
        return self.inputs == 1 < self.channels


Channels = list[tuple[int, int]]
"""What a tensor's channels are, from the first to the last: so many of each group."""


@dataclass
class Flow:
    """The layers of a model, and the groups of channels between them.

    Attributes:
        products: the convolutions and dense layers, by path.
        makes: the group of each layer's outputs.
        reads: the channels of each layer's input.
        scales: modules with parameters for each channel, such as normalisation: how many for one channel.
        fixed: groups that cannot be changed.
    """

    products: dict[str, Product] = field(default_factory=dict)
    makes: dict[str, int] = field(default_factory=dict)
    reads: dict[str, Channels] = field(default_factory=dict)
    scales: dict[str, tuple[int, Channels]] = field(default_factory=dict)
    fixed: set[int] = field(default_factory=set)
    _parents: list[int] = field(default_factory=list)

    def root(self, group: int) -> int:
        """The group that stands for all that are tied to this one."""
        while self._parents[group] != group:
            group = self._parents[group]
        return group

    def groups(self) -> list[set[int]]:
        """The groups that can be changed, those that must change together in one set."""
        tied: dict[int, set[int]] = {}
        for group in range(len(self._parents)):
            tied.setdefault(self.root(group), set()).add(group)
        return [together for together in tied.values() if not together & self.fixed]

    def new_group(self) -> int:
        """A group that no other is tied to."""
        self._parents.append(len(self._parents))
        return len(self._parents) - 1

    def fix(self, channels: Channels) -> None:
        """Let these channels stay as they are."""
        self.fixed |= {group for group, _ in channels}

    def tie(self, a: Channels, b: Channels) -> None:
        """Let the channels of two tensors that go into one sum change together."""
        if 1 in (_total(a), _total(b)):
            return  # one number for all channels, as in spatial attention
        if [count for _, count in a] != [count for _, count in b]:
            self.fix([*a, *b])
            return
        for (first, _), (second, _) in zip(a, b, strict=True):
            self._parents[self.root(first)] = self.root(second)


def read(ledger: Ledger) -> Flow:
    """The flow of a ledger."""
    flow = Flow()
    tied = {place.rpartition(".")[0] for entry in ledger for place in entry.shared_with}
    for entry in ledger:
        product = _product(entry)
        if product is not None and entry.path not in tied:
            flow.products[entry.path] = product
    own = _own_parameters(ledger)
    made: dict[int, Channels] = {INPUT: []}
    for index, step in enumerate(ledger.steps):
        made[index] = _through(flow, ledger, step, [made[source] for source in step.inputs], own)
    read_by_others = {source for step in ledger.steps for source in step.inputs}
    for index in range(len(ledger.steps)):
        if index not in read_by_others:
            flow.fix(made[index])  # the model's output
    return flow


def _through(flow: Flow, ledger: Ledger, step: Step, sources: list[Channels], own: dict[str, int]) -> Channels:
    """The channels of a step's result; empty where nothing is known of them."""
    operations = set(step.operations)
    product = flow.products.get(step.path)
    if product is not None and operations & _PRODUCTS:
        return _through_product(flow, product, ledger[step.path].input_shapes[0], sources)
    shape = step.output_shapes[0] if step.output_shapes else ()
    # A slice of other axes than the batch may be one of the channels.
    shapes = {tuple(ledger.steps[source].output_shapes[0][1:]) for source in step.inputs if source != INPUT}
    whole = "aten.slice" not in operations or shapes == {tuple(shape[1:])}
    if operations <= _HANDED_ON | _MERGES and all(sources) and whole:
        channels = _merged(flow, sources, merge=bool(operations & _MERGES))
        total, parameters = _total(channels), own.get(step.path, 0)
        if total and any(size % total == 0 for size in shape[1:]) and parameters % total == 0:
            if parameters:
                flow.scales[step.path] = (parameters // total, channels)
            return channels
    for channels in sources:
        flow.fix(channels)
    return []


def _through_product(flow: Flow, product: Product, shape: Sequence[int], sources: list[Channels]) -> Channels:
    channels = sources[0] if len(sources) == 1 else []
    total = _total(channels)
    # A dense layer reads the last axis: which one that was must be beyond doubt.
    clear = bool(product.kernel) or len(shape) == 2 or shape[1:].count(total) == 1
    if total and clear and product.channels % total == 0:
        flow.reads[product.path] = channels
        if product.is_depthwise and product.filters % total == 0:
            return [(group, count * product.filters // total) for group, count in channels]
    else:
        for source in sources:
            flow.fix(source)
    flow.makes[product.path] = flow.new_group()
    made = [(flow.makes[product.path], product.filters)]
    if product.is_depthwise:  # one filter for each channel of an input that stays as it is
        flow.fix(made)
    return made


def _merged(flow: Flow, sources: list[Channels], merge: bool) -> Channels:
    if merge:
        return [part for source in sources for part in source]
    for other in sources[1:]:
        flow.tie(sources[0], other)
    return max(sources, key=_total, default=[])


def _total(channels: Channels) -> int:
    return sum(count for _, count in channels)


def _product(entry: Entry) -> Product | None:
    """The layer that an entry is; `None` if it is another thing, or more than one product."""
    match = _FORMULA.match(entry.formula)
    if match is None or len(entry.formulas) != 1 or len(entry.input_shapes) != 1 or entry.calls != 1:
        return None
    if entry.macs != entry.weighted_macs or entry.parameters < entry.weights:
        return None
    places, shape = _numbers(match[1]), entry.input_shapes[0]
    kernel: tuple[int, ...] = ()
    if match[2] is None:
        filters, inputs, channels = places[-1], _numbers(match[3])[0], shape[-1]
    elif len(places) == len(shape) > 1:
        *window, inputs = _numbers(match[2])
        filters, kernel, channels = places[1], tuple(window), shape[1]
    else:
        return None
    weights = filters * inputs * math.prod(kernel)
    if weights != entry.weights or channels % inputs:
        return None
    return Product(entry.path, filters, inputs, kernel, channels, entry.macs // weights, entry.parameters - weights)


def _numbers(text: str) -> list[int]:
    return [int(part.replace(",", "")) for part in text.split(" × ")]


def _own_parameters(ledger: Ledger) -> dict[str, int]:
    """The parameters of each module without those of the modules in it."""
    own = {entry.path: entry.parameters for entry in ledger}
    for entry in ledger:
        around = entry.path.rpartition(".")[0]
        if entry.path and around in own:
            own[around] -= entry.parameters
    return own
