"""What stands in an ONNX file, as Python values: constants, attributes, the shapes of inputs, the names of nodes.

The file is not trusted: it is parsed, and nothing in it is executed.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from striate._lazy import require
from striate._registry import suggestion
from striate.errors import ArgumentError, SavedModelError, ShapeError, UnknownNameError
from striate.shapes import text
from striate.sources.onnx.values import BITS, FLOATS, MOST_FOLDED, Shape

_MOST_FLOATS = 64  # in a constant whose values may steer a shape, such as the scales of a resize
_DEEPEST = 32  # scopes in a node's name
_EXTERNAL = 1  # TensorProto.DataLocation


def load(path: Path) -> Any:
    """The file's `ModelProto`, without its external data.

    Raises:
        SavedModelError: it cannot be read, or is no ONNX file.
    """
    onnx, protobuf = require("onnx", "export"), require("google.protobuf.message", "export")
    try:
        model = onnx.load(str(path), format="protobuf", load_external_data=False)
    except OSError as error:
        raise SavedModelError(f"{path} cannot be read: {error.strerror or error}.") from error
    except (protobuf.DecodeError, ValueError) as error:
        raise SavedModelError(f"{path} is no ONNX file, or is damaged: {error}.") from error
    if not model.graph.node or not model.opset_import:
        raise SavedModelError(f"{path} is no ONNX file with a graph, or is damaged.")
    return model


def size_bytes(tensor: Any) -> int:
    """The bytes of a constant's values, packed as ONNX packs small types."""
    return (math.prod(tensor.dims) * BITS.get(tensor.data_type, 0) + 7) // 8


def small_array(tensor: Any, folder: Path) -> np.ndarray | None:
    """A constant's values, where they are few enough to steer shapes; `None` where not, or where they are missing."""
    limit = _MOST_FLOATS if tensor.data_type in FLOATS else MOST_FOLDED
    if math.prod(tensor.dims) > limit or any(size < 0 for size in tensor.dims):
        return None
    if tensor.data_location == _EXTERNAL:
        stated = {item.key: item.value for item in tensor.external_data}.get("length")
        if stated != str(size_bytes(tensor)):
            return None
    onnx = require("onnx", "export")
    try:
        return np.asarray(onnx.numpy_helper.to_array(tensor, str(folder)))
    except (ValueError, TypeError, KeyError, OSError, RuntimeError, onnx.checker.ValidationError):
        return None


def constant_of(node: Any) -> Any:
    """The tensor that a `Constant` node holds, as a `TensorProto` under the name of its output."""
    onnx = require("onnx", "export")
    types = onnx.TensorProto
    attribute = node.attribute[0]
    tensor = types()
    if attribute.name == "value":
        tensor.CopyFrom(attribute.t)
    elif attribute.name == "sparse_value":
        tensor.CopyFrom(attribute.sparse_tensor.values)
    else:
        values, kind = {
            "value_int": ([attribute.i], types.INT64),
            "value_ints": (attribute.ints, types.INT64),
            "value_float": ([attribute.f], types.FLOAT),
            "value_floats": (attribute.floats, types.FLOAT),
        }.get(attribute.name, ([], types.STRING))
        dims = [len(values)] if attribute.name.endswith("s") else []
        tensor = onnx.helper.make_tensor("", kind, dims, list(values)) if values or dims else tensor
    tensor.name = node.output[0]
    return tensor


def attributes_of(attributes: Iterable[Any], given: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Attributes by name; those that name one of the function around the node get its value from `given`."""
    helper = require("onnx", "export").helper
    found: dict[str, Any] = {}
    for attribute in attributes:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name in given:
                found[attribute.name] = given[attribute.ref_attr_name]
            continue
        value = helper.get_attribute_value(attribute)
        if isinstance(value, bytes):
            value = value.decode("utf-8", "replace")
        elif hasattr(value, "dims"):
            value = small_array(value, folder)
        elif isinstance(value, Iterable) and not isinstance(value, str):
            value = list(value)
        found[attribute.name] = value
    return found


# Inputs ------------------------------------------------------------------------------------------------------------

Given = Sequence[int] | Mapping[str, Sequence[int]] | None


class Inputs:
    """The shapes of a graph's inputs: what the file says, what the user gives, and 1 for an open batch.

    Attributes:
        shapes: by name; `None` for an input of which the file says no shape.
        sizes: the sizes that were chosen for those that the file leaves open, by name.
    """

    def __init__(self, graph: Any, given: Given) -> None:
        constants = {tensor.name for tensor in graph.initializer}
        declared = {item.name: dims_of(item) for item in graph.input if item.name not in constants}
        self.sizes: dict[str, int] = {}
        whole = {
            name: self._given(name, declared[name], shape) for name, shape in _by_name(given, list(declared)).items()
        }
        for dims in declared.values():
            if dims and isinstance(dims[0], str):
                self.sizes.setdefault(dims[0], 1)
        self.shapes = {name: whole.get(name) or self._closed(name, dims) for name, dims in declared.items()}

    def _given(self, name: str, dims: list[int | str] | None, shape: Sequence[int]) -> Shape:
        sizes = tuple(shape)
        if any(not isinstance(size, int) or isinstance(size, bool) or size < 1 for size in sizes):
            raise ArgumentError(f"The shape {shape!r} of input {name!r}: expected positive integers.")
        if dims is None:
            return sizes
        if len(sizes) == len(dims) - 1:  # of one sample, as `count` takes it
            sizes = (dims[0] if isinstance(dims[0], int) else 1, *sizes)
        if len(sizes) != len(dims) or any(isinstance(d, int) and d != s for d, s in zip(dims, sizes, strict=True)):
            raise ShapeError(f"Input {name!r} has the shape {_open_text(dims)} in the file, got {text(shape)}.")
        for dim, size in zip(dims, sizes, strict=True):
            if isinstance(dim, str) and self.sizes.setdefault(dim, size) != size:
                raise ShapeError(f"The size {dim!r} of input {name!r} was given as {self.sizes[dim]} and as {size}.")
        return sizes

    def _closed(self, name: str, dims: list[int | str] | None) -> Shape | None:
        if dims is None:
            return None
        sizes = [self.sizes.get(dim, dim) if isinstance(dim, str) else dim for dim in dims]
        if any(isinstance(size, str) for size in sizes):
            example = tuple(224 if isinstance(size, str) else size for size in sizes)
            raise ArgumentError(
                f"The file leaves sizes of input {name!r} open: {_open_text(dims)}. "
                f"Give them, such as input_shape={{{name!r}: {example}}}."
            )
        return tuple(int(size) for size in sizes)


def _by_name(given: Given, names: list[str]) -> Mapping[str, Sequence[int]]:
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        if len(names) != 1:
            raise ArgumentError(f"The graph has {len(names)} inputs; expected a dict of shapes for {', '.join(names)}.")
        return {names[0]: given}
    for name in given:
        if name not in names:
            raise UnknownNameError(
                f"The graph has no input {name!r}.{suggestion(name, names)} Its inputs: {', '.join(names)}."
            )
    return given


def dims_of(item: Any) -> list[int | str] | None:
    """The sizes that a file declares for a tensor: integers, and names where they are open; `None` if it says nothing.

    A size that is open and has no name gets one of the tensor's name and the axis.
    """
    kind = item.type.tensor_type
    if not kind.HasField("shape"):
        return None
    dims = enumerate(kind.shape.dim)
    return [dim.dim_value if dim.dim_value > 0 else dim.dim_param or f"{item.name}[{axis}]" for axis, dim in dims]


def _open_text(dims: Sequence[int | str]) -> str:
    return f"({', '.join(map(str, dims))}{',' * (len(dims) == 1)})"


# Names -------------------------------------------------------------------------------------------------------------


def parts_of(name: str) -> list[str]:
    """The scopes in a node's name, and the node.

    PyTorch repeats a container's name in that of its numbered parts:

    >>> parts_of("/layer1/layer1.0/conv1/Conv"), parts_of("model/dense/MatMul")
    (['layer1', '0', 'conv1', 'Conv'], ['model', 'dense', 'MatMul'])
    """
    parts: list[str] = []
    before = ""
    for scope in filter(None, name.split("/")):
        own = scope.removeprefix(f"{before}.") if before else scope
        parts += filter(None, own.split("."))
        before = scope
    return parts if len(parts) <= _DEEPEST else [*parts[: _DEEPEST - 1], "_".join(parts[_DEEPEST - 1 :])]


def scopes_of(node: Any) -> dict[str, str]:
    """The modules around a node and their classes, where PyTorch wrote them into the file.

    They stand there as `": net.Net/features: torch.nn.modules.container.Sequential/conv2d: aten.conv2d.default"`, the
    operation last.
    """
    namespace = next((item.value for item in node.metadata_props if item.key == "namespace"), "")
    modules = (part.partition(": ") for part in namespace.split("/")[:-1][:_DEEPEST])
    return {path: kind.rpartition(".")[2] for path, _, kind in modules}
