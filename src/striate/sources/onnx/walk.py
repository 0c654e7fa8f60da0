"""Counting an ONNX file: the same ledger as of a module, from the graph alone.

Only the file's structure is read: weights stay where they are, nothing is executed, and external data is not opened
but for the few numbers that shapes depend on. `shapes` finds the shapes, `costs` the costs, and `rows`
enters them into the tree that the scopes in the nodes' names make; here the nodes are walked in order.

A file does not say what was trained. Its floating-point constants with an axis are taken as parameters (single numbers
in `Constant` nodes are not), as are the quantised weights of quantised operators; statistics of batch normalisation,
scales and zero points are buffers; what only steers an operator, such as a target shape, is neither. Work on such
constants and on shapes alone has no row and no cost: runtimes do it once, before the first input comes.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from striate.account.entry import INPUT
from striate.account.ledger import Ledger
from striate.account.receptive import Source
from striate.errors import SavedModelError, ShapeError
from striate.shapes import text
from striate.sources.onnx import file as onnx_file
from striate.sources.onnx.costs import Role, role_of
from striate.sources.onnx.rows import Rows
from striate.sources.onnx.shapes import output_shapes
from striate.sources.onnx.values import FLOATS, Call, Misfit, Shape, Unknown, Value, folded

_MOST_CALLED = 100_000  # functions that call functions make any number of nodes of a small file
_DEEPEST_CALL = 50
_KNOWN_DOMAINS = ("", "ai.onnx", "com.microsoft")
_DIFFERENT_AT_MICROSOFT = ("Attention", "RotaryEmbedding")

Names = MutableMapping[str, Value]


def read_onnx(path: str | Path, input_shape: onnx_file.Given = None) -> Ledger:
    """Count the neurons, parameters and operations of an ONNX file, node by node.

    The rows are the nodes that do work, under the scopes of their names: `/layer1/layer1.0/Add` is the row
    `layer1.0.Add`, and the row `layer1.0` sums up what is in it. A scope and the only node in it are one row:
    `/layer1/layer1.0/conv1/Conv` is `layer1.0.conv1`, as in the module that was exported.

    Args:
        path: the file. Its external data need not be there.
        input_shape: the input's shape where the file leaves it open, with the batch or without; a dict of shapes by
            name for several inputs. A first axis that stays open is a batch of 1.

    Raises:
        ArgumentError: sizes are open that nobody gave.
        MissingExtraError: the `onnx` package is not installed.
        ShapeError: the given shape is not the file's, or a node cannot take what it gets.
        SavedModelError: the file cannot be read, or is damaged.
    """
    path = Path(path)
    model = onnx_file.load(path)
    inputs = onnx_file.Inputs(model.graph, input_shape)
    return _Walk(model, path.parent, inputs).run()


@dataclass
class _Body:
    """What the nodes of a graph, a branch or a function's body see.

    Attributes:
        names: the values by name, with those of the outside.
        opsets: the version of the operators by domain.
        path: the row around it.
        given: the attributes of the function, if it is one.
        declared: what the file states of the types of values.
    """

    names: Names
    opsets: Mapping[str, int]
    path: str = ""
    given: Mapping[str, Any] = field(default_factory=dict)
    declared: Mapping[str, Any] = field(default_factory=dict)


class _Walk:
    """One walk through a graph, from what is known of its inputs to what is known of its outputs."""

    def __init__(self, model: Any, folder: Path, inputs: onnx_file.Inputs) -> None:
        self.model = model
        self.folder = folder
        self.inputs = inputs
        self.functions = {(function.domain, function.name): function for function in model.functions}
        self.calling: list[str] = []
        self.called = 0  # nodes inside functions
        self.read: set[str] = set()  # constants
        shapes = [shape for shape in inputs.shapes.values() if shape is not None]
        self.rows = Rows(shapes)

    def run(self) -> Ledger:
        """Walk through the graph, and account for it."""
        graph = self.model.graph
        names: Names = {name: Value(shape, step=INPUT, field=Source()) for name, shape in self.inputs.shapes.items()}
        self._add_constants(graph, names)
        self._walk(graph, _Body(names, _opsets(self.model)))
        unread = [tensor for tensor in graph.initializer if tensor.name not in self.read]
        unused = [tensor for tensor in unread if tensor.dims and tensor.data_type in FLOATS]
        ledger = self.rows.ledger([names[item.name] for item in graph.output if item.name in names], unused)
        if self.inputs.sizes:
            sizes = ", ".join(f"{name} = {size}" for name, size in self.inputs.sizes.items())
            ledger.notes.append(f"Sizes that the file leaves open: {sizes}")
        return ledger

    def _add_constants(self, graph: Any, names: Names) -> None:
        for tensor in graph.initializer:
            names[tensor.name] = self._constant(tensor)
        for sparse in graph.sparse_initializer:
            names[sparse.values.name] = Value(tuple(sparse.dims), weights=frozenset(), tensor=sparse.values)

    def _constant(self, tensor: Any) -> Value:
        array = onnx_file.small_array(tensor, self.folder)
        return Value(tuple(tensor.dims), array, frozenset(), tensor=tensor)

    # Nodes ---------------------------------------------------------------------------------------------------------

    def _walk(self, body: Any, around: _Body) -> None:
        """Walk through a graph, a branch, or a function's body.

        Args:
            body: the `GraphProto` or `FunctionProto`.
            around: what its nodes see; the values that they make are added to it.
        """
        around.declared = {item.name: item for item in (*body.value_info, *body.output) if not isinstance(item, str)}
        for node in body.node:
            try:
                inputs = [_read(around.names, name) if name else None for name in node.input]
                attributes = onnx_file.attributes_of(node.attribute, around.given, self.folder)
                made = self._made(node, inputs, attributes, around)
            except Misfit as error:
                received = ", ".join(text(value.shape) for value in inputs if value is not None and value.shape)
                raise ShapeError(f"{_title(node)} broke on {received or 'its inputs'}: {error}.") from error
            except (LookupError, TypeError, ValueError, ArithmeticError, AttributeError) as error:
                if isinstance(error, (SavedModelError, ShapeError)):
                    raise
                raise SavedModelError(f"{_title(node)} is malformed: {type(error).__name__}: {error}.") from error
            around.names.update((name, value) for name, value in zip(node.output, made, strict=False) if name)

    def _made(self, node: Any, inputs: list[Value | None], attributes: dict[str, Any], around: _Body) -> list[Value]:
        """What a node makes; where it does work, it is entered into the account."""
        if (function := self.functions.get((node.domain, node.op_type))) is not None:
            return self._call(node, function, inputs, attributes, around.path)
        first = inputs[0] if inputs else None
        operator = _operator(node)
        if operator == "Constant":
            value = self._constant(onnx_file.constant_of(node))
            if value.shape in ((), (1,)):
                value.tensor = None  # a number in a formula, not a parameter
            return [value]
        if operator == "Identity" and first is not None and first.tensor is not None:
            return [first]
        if operator == "If" and first is not None and first.array is not None:
            branch = attributes["then_branch" if first.array.all() else "else_branch"]
            inner = replace(around, names=ChainMap({}, around.names))
            self._add_constants(branch, inner.names)
            self._walk(branch, inner)
            return [inner.names[item.name] for item in branch.output]
        opset = around.opsets.get("" if node.domain == "ai.onnx" else node.domain, 0)
        return self._work(Call(operator, attributes, inputs, len(node.output), opset), node, around)

    def _call(
        self, node: Any, function: Any, inputs: list[Value | None], given: Mapping[str, Any], around: str
    ) -> list[Value]:
        """Walk through a function that the file defines; it is a scope of its own."""
        self.called += len(function.node)
        if len(self.calling) == _DEEPEST_CALL or self.called > _MOST_CALLED:
            raise SavedModelError(
                f"The file's functions call each other more than {_DEEPEST_CALL} deep (some may call themselves), "
                f"or make over {_MOST_CALLED:,} nodes."
            )
        self.calling.append(function.name)
        path = self.rows.scope(node, around)
        defaults = onnx_file.attributes_of(function.attribute_proto, {}, self.folder)
        inner: Names = {name: value for name, value in zip(function.input, inputs, strict=False) if value is not None}
        self._walk(function, _Body(inner, _opsets(function), path, {**defaults, **given}))
        self.calling.pop()
        return [inner[name] for name in function.output]

    def _work(self, call: Call, node: Any, around: _Body) -> list[Value]:
        """What an operator makes of its inputs."""
        parameters, buffers = [], []
        for index, value in enumerate(call.inputs):
            if value is None or value.tensor is None:
                continue
            self.read.add(value.tensor.name)
            role = role_of(call.operator, index, value.tensor)
            if role is Role.PARAMETER:
                value.weights = frozenset((value.tensor.name,))
                value.wants_gradient = value.tensor.data_type in FLOATS
                parameters.append(value.tensor)
            elif role is Role.BUFFER:
                buffers.append(value.tensor)
        for graph in call.attributes.values():
            parameters += self._inside(graph, around.names)
        try:
            call.output_shapes = output_shapes(call)
        except Unknown:
            call.output_shapes = [self._declared(around.declared.get(name)) for name in node.output]
        weights = _weights_of(call)
        made = [Value(shape, array, weights) for shape, array in zip(call.output_shapes, folded(call), strict=True)]
        if weights is None or weights:
            self.rows.enter(call, node, around.path, made, parameters, buffers)
        return made

    def _inside(self, graph: Any, names: Mapping[str, Value]) -> list[Any]:
        """The parameters in a loop's body, or a branch that may be taken, with those of the outside that it reads."""
        found: dict[str, Any] = {tensor.name: tensor for tensor in getattr(graph, "initializer", ())}
        for node in getattr(graph, "node", ()):
            outside = (names[name].tensor for name in node.input if name in names and name not in found)
            found |= {tensor.name: tensor for tensor in outside if tensor is not None}
            for attribute in node.attribute:
                found |= {tensor.name: tensor for tensor in self._inside(attribute.g, names)}
        self.read |= set(found)
        return [tensor for tensor in found.values() if tensor.dims and tensor.data_type in FLOATS]

    def _declared(self, item: Any) -> Shape | None:
        """The shape that the file states of a value, where all of it is known."""
        dims = None if item is None else onnx_file.dims_of(item)
        if dims is None:
            return None
        sizes = [self.inputs.sizes.get(dim) if isinstance(dim, str) else dim for dim in dims]
        known = tuple(size for size in sizes if size is not None)
        return known if len(known) == len(sizes) else None


def _read(names: Names, name: str) -> Value:
    if name not in names:
        raise SavedModelError(f"The file is damaged: a node reads {name!r}, which nothing made.")
    return names[name]


def _weights_of(call: Call) -> frozenset[str] | None:
    """The parameters that a node's outputs are made of, if of nothing else."""
    if call.operator in ("Shape", "Size"):
        return frozenset()
    parts = [value.weights for value in call.inputs if value is not None]
    known = [part for part in parts if part is not None]
    return frozenset().union(*known) if len(known) == len(parts) else None


def _operator(node: Any) -> str:
    if node.domain not in _KNOWN_DOMAINS or (
        node.domain == "com.microsoft" and node.op_type in _DIFFERENT_AT_MICROSOFT
    ):
        return f"{node.domain}.{node.op_type}"
    return node.op_type


def _opsets(body: Any) -> dict[str, int]:
    return {"" if item.domain == "ai.onnx" else item.domain: item.version for item in body.opset_import}


def _title(node: Any) -> str:
    return f"Node {node.name or node.output[0] if node.output else '?'} ({node.op_type})"
