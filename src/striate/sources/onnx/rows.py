"""The account of an ONNX graph: a row for each node that does work, and for each scope around it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from striate.account.entry import INPUT, Entry, Step
from striate.account.ledger import Ledger
from striate.account.receptive import ReceptiveField
from striate.sources.onnx.costs import NodeCost, cost_of_node
from striate.sources.onnx.file import parts_of, scopes_of, size_bytes
from striate.sources.onnx.receptive import field_after
from striate.sources.onnx.values import FLOATS, Call, Shape, Value

_SCOPE = "Scope"  # the kind of a row of which only the name is known


class Rows:
    """The rows, entered node by node.

    Args:
        inputs: the shapes of the graph's inputs, of which the first one's first axis is the batch.
    """

    def __init__(self, inputs: Sequence[Shape]) -> None:
        self.batch = inputs[0][0] if inputs and inputs[0] else 1
        self.entries = {"": Entry("", "ONNX graph", input_shapes=list(inputs), calls=1, ran=True)}
        self.steps: list[Step] = []
        self.unknown: dict[str, int] = {}
        self.known_calls = 0
        self.places: dict[str, str] = {}  # of parameters and buffers: the row that read them first
        self.counted_weights: set[frozenset[str]] = set()
        self.crossed: set[tuple[str, int]] = set()  # which values went into or came out of which scopes
        self.values: list[Value] = []  # held, so that no other one gets the same id

    def scope(self, node: Any, around: str) -> str:
        """Open a row for a function that is called; its path."""
        return self._row(node, around).path

    def enter(
        self, call: Call, node: Any, around: str, made: Sequence[Value], parameters: list[Any], buffers: list[Any]
    ) -> None:
        """Enter a node.

        Args:
            call: the node, with the shapes of its inputs and outputs.
            node: the `NodeProto`.
            around: the path of the function around it.
            made: its outputs, which are told here which step made them.
            parameters: the constants among its inputs that are parameters.
            buffers: those that are buffers.
        """
        entry = self._row(node, around)
        entries = [self.entries[path] for path in (*_around(entry.path), entry.path)]
        data = (value.shape for value in call.inputs if value is not None and value.weights is None)
        entry.input_shapes = [shape for shape in data if shape is not None]
        entry.output_shapes = [shape for shape in call.output_shapes if shape is not None]
        for tensor in parameters:
            self._add_constant(tensor, entry, entries, True)
        for tensor in buffers:
            self._add_constant(tensor, entry, entries, False)
        self._follow(call, entry.path, made)
        found = cost_of_node(call)
        if found is None:
            self.unknown[call.operator] = self.unknown.get(call.operator, 0) + 1
        else:
            self.known_calls += 1
            self._add_cost(call, found, entry, entries)

    def ledger(self, outputs: Sequence[Value], unused: Sequence[Any]) -> Ledger:
        """The account as it stands, with parameters that no node read."""
        root = self.entries[""]
        for value in outputs:
            self._leave(value, root)
            self._cross(value, "")
        for tensor in unused:
            self._add_constant(tensor, root, [root], True)
        self._join()
        names = [tensor.name for tensor in unused]
        returned = list(dict.fromkeys(value.step for value in outputs if value.step is not None))
        return Ledger(self._ordered(), self.unknown, self.known_calls, names, self.steps, returned)

    # Rows ----------------------------------------------------------------------------------------------------------

    def _row(self, node: Any, around: str) -> Entry:
        """A new row for a node, in rows for the scopes around it."""
        classes = scopes_of(node)
        name = node.name or node.op_type
        if classes:
            parts = [*parts_of(list(classes)[-1]), name.replace("/", "_").replace(".", "_")]
        else:
            parts = parts_of(name) or [node.op_type]
        path = ".".join([*filter(None, [around]), *parts])
        for scope in _around(path):
            if scope not in self.entries:
                self.entries[scope] = Entry(scope, classes.get(scope, _SCOPE), calls=1, ran=True)
        unique, number = path, 1
        while unique in self.entries:
            unique, number = f"{path}_{number}", number + 1
        self.entries[unique] = Entry(unique, node.op_type, calls=1, ran=True)
        return self.entries[unique]

    def _ordered(self) -> dict[str, Entry]:
        """The entries as a tree is read: each scope before what is in it, and nothing else in between."""
        order = {path: number for number, path in enumerate(self.entries)}
        paths = sorted(self.entries, key=lambda path: [order[part] for part in (*_around(path), path)])
        return {path: self.entries[path] for path in paths}

    def _join(self) -> None:
        """Make one row of a scope and the node in it, where there is only one: `conv1` of `conv1.Conv`."""
        parts = Counter(path.rpartition(".")[0] for path in self.entries if path)
        nodes = {step.path: step.path.rpartition(".")[0] for step in self.steps}
        joined = {path: scope for path, scope in nodes.items() if scope and parts[scope] == 1}
        for path, scope in joined.items():
            node, kind = self.entries.pop(path), self.entries[scope].kind
            self.entries[scope] = replace(node, path=scope, kind=node.kind if kind == _SCOPE else kind)
        for step in self.steps:
            step.path = joined.get(step.path, step.path)
        for entry in self.entries.values():
            entry.shared_with = [joined.get(path, path) for path in entry.shared_with]

    # What is in them -----------------------------------------------------------------------------------------------

    def _add_constant(self, tensor: Any, entry: Entry, entries: Sequence[Entry], parameter: bool) -> None:
        if (first := self.places.get(tensor.name)) is not None:
            if first != entry.path:
                entry.shared_with.append(first)
            return
        self.places[tensor.name] = entry.path
        numbers, size = math.prod(tensor.dims), size_bytes(tensor)
        for part in entries:
            if parameter:
                part.parameters += numbers
                part.trainable += numbers * (tensor.data_type in FLOATS)
                part.parameter_bytes += size
            else:
                part.buffers += numbers
                part.buffer_bytes += size

    def _add_cost(self, call: Call, found: NodeCost, entry: Entry, entries: Sequence[Entry]) -> None:
        cost = found.cost
        if cost.formula:
            entry.formulas.append(cost.formula)
        factors = [value for index in found.gradients if (value := call.inputs[index]) is not None]
        learned = [value for value in factors if value.weights]
        weighted = bool(learned) and len(learned) < len(factors)
        neurons = weights = 0
        if weighted:
            key = frozenset(name for value in learned for name in value.weights or ())
            if key not in self.counted_weights:
                self.counted_weights.add(key)
                neurons = found.sums // self.batch if found.neurons is None else found.neurons
                weights = sum(math.prod(value.shape) for value in learned if value.shape is not None)
        wanted = [
            macs
            for index, macs in found.gradients.items()
            if (value := call.inputs[index]) is not None and value.wants_gradient
        ]
        for part in entries:
            part.macs += cost.macs
            part.operations += cost.operations
            part.backward_macs += sum(wanted)
            part.neurons += neurons
            part.weights += weights
            part.weighted_macs += cost.macs * weighted

    # What flows ----------------------------------------------------------------------------------------------------

    def _follow(self, call: Call, path: str, made: Sequence[Value]) -> None:
        """Enter the node into the flow of data, and its values into what goes into scopes and comes out of them."""
        values = [value for value in call.inputs if value is not None]
        field = field_after(call, [value.field for value in values if value.weights is None], self.batch)
        if isinstance(field, ReceptiveField):
            self.entries[path].receptive_field = field
        step = Step(path, [call.operator], [shape for shape in call.output_shapes if shape is not None])
        for value in values:
            if value.step is not None and value.step not in step.inputs:
                step.inputs.append(value.step)
            self._cross(value, path)
        self.steps.append(step)
        wanted = any(value.wants_gradient for value in values)
        for value in made:
            value.step = len(self.steps) - 1
            value.wants_gradient = wanted
            value.field = field
        self.values += made

    def _cross(self, value: Value, path: str) -> None:
        """A value that a node reads comes out of the scopes around its maker, and goes into those around the node."""
        if value.step is None or value.shape is None or value.weights is not None:
            return
        maker = self.steps[value.step].path if value.step != INPUT else ""
        outside, inside = _around(maker), _around(path)
        for scope in outside:
            if scope and scope not in inside and (scope, id(value)) not in self.crossed:
                self.crossed.add((scope, id(value)))
                self._leave(value, self.entries[scope])
        for scope in inside:
            if scope and scope not in outside and (scope, id(value)) not in self.crossed:
                self.crossed.add((scope, id(value)))
                self.entries[scope].input_shapes.append(value.shape)

    def _leave(self, value: Value, scope: Entry) -> None:
        if not scope.output_shapes and isinstance(value.field, ReceptiveField):
            scope.receptive_field = value.field
        if value.shape is not None:
            scope.output_shapes.append(value.shape)


def _around(path: str) -> list[str]:
    """The paths of the rows around a path, from the graph's own on.

    >>> _around("layer1.0.conv1"), _around("")
    (['', 'layer1', 'layer1.0'], [])
    """
    return list(_prefixes(path)) if path else []


def _prefixes(path: str) -> Iterator[str]:
    yield ""
    place = path.find(".")
    while place >= 0:
        yield path[:place]
        place = path.find(".", place + 1)
