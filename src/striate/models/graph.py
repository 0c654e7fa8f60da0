"""The order in which a model calls its layers: a flat list of steps that can be run, copied and written as JSON.

Every tensor of the model has a slot, a position in one list of values. A step names a layer, the slots it reads and
the slots it fills.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from striate._nested import leaves, map_nested
from striate._registry import to_config
from striate.errors import ArgumentError
from striate.layers.input import InputLayer
from striate.layers.layer import Layer
from striate.layers.symbolic import Node, SymbolicTensor


@dataclass(frozen=True)
class Slot:
    """One value while a model runs."""

    index: int

    def get_config(self) -> int:
        return self.index


@dataclass
class Step:
    """One call of one layer; `args` and `kwargs` hold slots where a tensor goes in."""

    layer: str
    args: list[Any]
    kwargs: dict[str, Any]
    outputs: list[int]
    several: bool
    """Whether the layer returns a list, also of one."""
    release: list[int] = field(default_factory=list)
    """Slots that no later step reads, so that their memory can be used again."""

    def to_json(self) -> dict[str, Any]:
        return {"layer": self.layer, "args": encode(self.args), "kwargs": encode(self.kwargs), "outputs": self.outputs}


def encode(structure: Any) -> Any:
    """Arguments as JSON: a slot becomes `{"slot": index}`."""
    return map_nested(structure, lambda leaf: {"slot": leaf.index} if isinstance(leaf, Slot) else to_config(leaf))


def decode(structure: Any, values: Mapping[int, Any]) -> Any:
    """The inverse of `encode`, with the values of the slots put in."""
    if isinstance(structure, dict) and set(structure) == {"slot"}:
        return values[structure["slot"]]
    if isinstance(structure, dict):
        return {key: decode(item, values) for key, item in structure.items()}
    if isinstance(structure, list):
        return [decode(item, values) for item in structure]
    return structure


def fill(structure: Any, values: Sequence[Any]) -> Any:
    """Arguments with the values of their slots put in."""
    if isinstance(structure, Slot):
        return values[structure.index]
    if isinstance(structure, (list, tuple)):
        return type(structure)([fill(item, values) for item in structure])
    return structure


def nodes_between(inputs: Sequence[SymbolicTensor], outputs: Iterable[SymbolicTensor]) -> list[Node]:
    """The calls that lead from the inputs to the outputs, in the order in which they were written.

    Raises:
        ArgumentError: an output depends on an `Input` that is not among the inputs.
    """
    start = {id(tensor) for tensor in inputs}
    found: dict[int, Node] = {}
    waiting = list(outputs)
    while waiting:
        tensor = waiting.pop()
        if id(tensor) in start or id(tensor.node) in found:
            continue
        if isinstance(tensor.node.layer, InputLayer):
            raise ArgumentError(
                f"The outputs depend on the Input {tensor.node.layer.name!r} {tensor.shape}, which is not among "
                "the inputs: Model(inputs=[...], outputs=...)."
            )
        found[id(tensor.node)] = tensor.node
        waiting += [
            leaf for leaf in leaves([list(tensor.node.args), tensor.node.kwargs]) if isinstance(leaf, SymbolicTensor)
        ]
    return sorted(found.values(), key=lambda node: node.order)


def unique_names(layers: Iterable[Layer]) -> dict[str, Layer]:
    """Layers by name; those that were not named by hand are numbered where their names meet.

    Raises:
        ArgumentError: two layers were given the same name.
    """
    layers = list(dict.fromkeys(layers))
    named: dict[str, Layer] = {}
    for layer in layers:
        if layer.has_own_name:
            if layer.name in named:
                raise ArgumentError(f"Two layers are named {layer.name!r}; give each layer a name of its own.")
            named[layer.name] = layer
    for layer in layers:
        if not layer.has_own_name:
            layer.name = free_name(layer, named)
            named[layer.name] = layer
    return {layer.name: layer for layer in layers}


def free_name(layer: Layer, taken: Iterable[str]) -> str:
    """The layer's name, or its class's with the first number that is free."""
    taken = set(taken)
    if layer.name not in taken:
        return layer.name
    base = layer.default_name()
    return next(
        name for number in range(len(taken) + 1) if (name := f"{base}_{number}" if number else base) not in taken
    )


def make_steps(
    inputs: Sequence[SymbolicTensor], outputs: Sequence[SymbolicTensor], nodes: Sequence[Node]
) -> tuple[list[Step], list[int], int]:
    """Steps for calls in order; the slots of the outputs; how many slots there are. Inputs have the first slots."""
    slot_of = {id(tensor): index for index, tensor in enumerate(inputs)}
    steps = []
    for node in nodes:
        args, kwargs = (
            map_nested(part, lambda leaf: Slot(slot_of[id(leaf)]) if isinstance(leaf, SymbolicTensor) else leaf)
            for part in (list(node.args), node.kwargs)
        )
        for tensor in node.outputs:
            slot_of.setdefault(id(tensor), len(slot_of))
        steps.append(Step(node.layer.name, args, kwargs, [slot_of[id(t)] for t in node.outputs], node.several))
    wanted = [slot_of[id(tensor)] for tensor in outputs]
    last_reader = {
        leaf.index: step for step in steps for leaf in leaves([step.args, step.kwargs]) if isinstance(leaf, Slot)
    }
    for index, step in last_reader.items():
        if index not in wanted:
            step.release.append(index)
    return steps, wanted, len(slot_of)
