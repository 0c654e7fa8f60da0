"""What is known of the tensors of an ONNX graph before it runs: their shapes, and the values of the small ones.

Exporters write the arithmetic of shapes into the graph: `Shape`, `Gather`, `Concat`, and a `Reshape` that reads what
came out. To know the shapes, that arithmetic is done here, on tensors of a few thousand numbers at most.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from typing import Any, TypeVar

import numpy as np

Shape = tuple[int, ...]
MOST_FOLDED = 4096
"""The most numbers in a tensor whose values are worked out."""


FLOATS = frozenset((1, 10, 11, 14, 15, 16, 17, 18, 19, 20, 23))
"""The codes of floating-point types in `TensorProto.DataType`, with the complex ones."""

BITS = {
    **dict.fromkeys((25, 26), 2),
    **dict.fromkeys((21, 22, 23), 4),
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8),
    **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32),
    **dict.fromkeys((7, 11, 13, 14), 64),
    15: 128,
}
"""The bits of a number by the code of its type."""

_NUMPY_TYPES = dict(
    zip((1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13), "f4 u1 i1 u2 i2 i4 i8 ? f2 f8 u4 u8".split(), strict=True)
)


class Unknown(Exception):
    """A shape or a value that is needed is known only when the graph runs."""


class Misfit(Exception):
    """Shapes that do not fit together."""


@dataclass(eq=False)
class Value:
    """A tensor of the graph.

    Attributes:
        shape: its shape; `None` where it depends on the data.
        array: its values, where they are few and follow from the file and the shapes alone.
        weights: the parameters it is made of, if it is made of nothing else: empty for constants and shapes, `None` for
            what depends on the graph's inputs.
        wants_gradient: whether training would form its gradient.
        step: the step that made it; -1 for an input of the graph, `None` for a constant.
        tensor: the file's constant, if it is one.
        field: what it sees of the input, as `striate.account.receptive` has it.
    """

    shape: Shape | None
    array: np.ndarray | None = None
    weights: frozenset[str] | None = None
    wants_gradient: bool = False
    step: int | None = None
    tensor: Any = None
    field: Any = None

    @property
    def fixed(self) -> bool:
        """Whether neither data nor parameters change it."""
        return self.weights is not None and not self.weights


@dataclass(eq=False)
class Call:
    """One node, with what is known of its inputs and, in the end, of its outputs.

    Attributes:
        operator: its type; those of Microsoft's domain by the type alone, except where ONNX has another of the name.
        attributes: its attributes as Python values.
        inputs: its inputs; `None` for one that is left out.
        outputs: how many outputs it has.
        opset: the version of the operators.
    """

    operator: str
    attributes: dict[str, Any]
    inputs: Sequence[Value | None]
    outputs: int
    opset: int
    output_shapes: list[Shape | None] = field(default_factory=list)

    def has(self, index: int) -> bool:
        """Whether an input is there."""
        return index < len(self.inputs) and self.inputs[index] is not None

    def input(self, index: int) -> Value:
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            raise Misfit(f"its input {index} is missing")
        return value

    def shape(self, index: int) -> Shape:
        """The shape of an input."""
        shape = self.input(index).shape
        if shape is None:
            raise Unknown
        return shape

    def output(self, index: int = 0) -> Shape:
        """The shape of an output."""
        shape = self.output_shapes[index]
        if shape is None:
            raise Unknown
        return shape

    def array(self, index: int) -> np.ndarray:
        """The values of an input."""
        array = self.input(index).array
        if array is None:
            raise Unknown
        return array

    def integers(self, index: int, attribute: str) -> list[int] | None:
        """Integers from an input, or from the attribute that older versions have; `None` where both are left out."""
        if self.has(index):
            return [int(number) for number in self.array(index).reshape(-1)]
        found = self.attributes.get(attribute)
        return None if found is None else [found] if isinstance(found, int) else list(found)

    def get(self, attribute: str, default: Any) -> Any:
        return self.attributes.get(attribute, default)


F = TypeVar("F", bound=Callable[..., Any])
ShapeTable = dict[str, Callable[[Call], Sequence[Shape]]]


def entering(table: dict[str, F]) -> Callable[..., Callable[[F], F]]:
    """A decorator that enters a function into a table, under the operators that it names."""

    def of(*operators: str) -> Callable[[F], F]:
        def enter(function: F) -> F:
            table.update(dict.fromkeys(operators, function))
            return function

        return enter

    return of


def broadcast(*shapes: Shape) -> Shape:
    """The shape that all of them are stretched to.

    >>> broadcast((8, 1, 6), (7, 1), ())
    (8, 7, 6)
    """
    result = []
    for sizes in zip_longest(*(shape[::-1] for shape in shapes), fillvalue=1):
        wanted = {size for size in sizes if size != 1}
        if len(wanted) > 1:
            raise Misfit(f"{' and '.join(map(str, shapes))} cannot be broadcast")
        result.append(wanted.pop() if wanted else 1)
    return tuple(result[::-1])


def axis_of(axis: int, rank: int) -> int:
    """An axis, counted from the end where it is negative."""
    if not -rank <= axis < rank:
        raise Misfit(f"axis {axis} of {rank} axes")
    return axis % rank


def squeezed(shape: Shape, axes: Sequence[int] | None) -> Shape:
    """A shape without some axes of size 1; without all of them if none are named."""
    if axes is None:
        return tuple(size for size in shape if size != 1)
    dropped = {axis_of(axis, len(shape)) for axis in axes}
    return tuple(size for axis, size in enumerate(shape) if axis not in dropped)


def unsqueezed(shape: Shape, axes: Sequence[int]) -> Shape:
    """A shape with new axes of size 1, at places in the new shape."""
    rank = len(shape) + len(axes)
    places = {axis_of(axis, rank) for axis in axes}
    rest = iter(shape)
    return tuple(1 if axis in places else next(rest) for axis in range(rank))


def slices_of(call: Call, rank: int) -> tuple[slice, ...]:
    """What `Slice` takes of each axis."""
    starts, ends = call.integers(1, "starts") or [], call.integers(2, "ends") or []
    axes = call.integers(3, "axes") or range(len(starts))
    steps = call.integers(4, "steps") or [1] * len(starts)
    taken = [slice(None)] * rank
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        taken[axis_of(axis, rank)] = slice(start, end, step)
    return tuple(taken)


def folded(call: Call) -> list[np.ndarray | None]:
    """The values of a node's outputs, where the inputs' values are known and the outputs are small; else `None`s."""
    unknown: list[np.ndarray | None] = [None] * len(call.output_shapes)
    sizes = [MOST_FOLDED + 1 if shape is None else math.prod(shape) for shape in call.output_shapes]
    if call.operator not in _VALUES or max(sizes, default=0) > MOST_FOLDED:
        return unknown
    arrays = [None if value is None else value.array for value in call.inputs]
    if call.operator not in _OF_SHAPES and any(
        value is not None and array is None for value, array in zip(call.inputs, arrays, strict=True)
    ):
        return unknown
    try:
        with np.errstate(all="ignore"):
            made = _VALUES[call.operator](call, *arrays)
    except (TypeError, ValueError, ArithmeticError, LookupError, Unknown):
        return unknown  # types that numpy lacks, or a shape that only the file states
    results = [np.asarray(array) for array in (made if isinstance(made, list) else [made])]
    return [*results] if [array.shape for array in results] == call.output_shapes else unknown


def _cast(call: Call, x: np.ndarray) -> np.ndarray:
    return x.astype(_NUMPY_TYPES[call.attributes["to"]])


def _divide(call: Call, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if not np.issubdtype(np.result_type(a, b), np.integer):
        return a / b
    if not np.all(b):
        raise ZeroDivisionError
    return np.trunc(np.divide(a, b)).astype(a.dtype) if np.any((a < 0) | (b < 0)) else a // b


def _reduced(function: Callable[..., Any]) -> Callable[..., Any]:
    def reduce(call: Call, x: np.ndarray, *_: Any) -> np.ndarray:
        axes = call.integers(1, "axes")
        return function(x, axis=None if axes is None else tuple(axes), keepdims=bool(call.get("keepdims", 1)))

    return reduce


def _split(call: Call, x: np.ndarray, *_: Any) -> list[np.ndarray]:
    axis = axis_of(call.get("axis", 0), x.ndim)
    ends = np.cumsum([shape[axis] for shape in call.output_shapes if shape is not None])
    return np.split(x, ends[:-1], axis)


def _constant_of_shape(call: Call, shape: np.ndarray) -> np.ndarray:
    value = call.get("value", np.zeros(1, np.float32))
    return np.full(call.output(), value.reshape(-1)[0], value.dtype)


def _elementwise(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda call, *arrays: function(*arrays)


_NUMPY_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Abs": np.abs,
    "Add": np.add,
    "And": np.logical_and,
    "Ceil": np.ceil,
    "Equal": np.equal,
    "Floor": np.floor,
    "Greater": np.greater,
    "GreaterOrEqual": np.greater_equal,
    "Identity": np.asarray,
    "Less": np.less,
    "LessOrEqual": np.less_equal,
    "Mul": np.multiply,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Or": np.logical_or,
    "Round": np.round,
    "Sqrt": np.sqrt,
    "Sub": np.subtract,
    "Where": np.where,
}

_OF_SHAPES = ("Shape", "Size")  # what needs no values
_VALUES: dict[str, Callable[..., Any]] = {
    "Shape": lambda call, _: np.array(call.shape(0)[call.get("start", 0) : call.get("end", None)], np.int64),
    "Size": lambda call, _: np.array(math.prod(call.shape(0)), np.int64),
    "Cast": _cast,
    "CastLike": lambda call, x, like: x.astype(like.dtype),
    "Concat": lambda call, *arrays: np.concatenate(arrays, call.get("axis", 0)),
    "ConstantOfShape": _constant_of_shape,
    "Div": _divide,
    "Expand": lambda call, x, shape: np.broadcast_to(x, call.output()),
    "Gather": lambda call, x, indices: np.take(x, indices, call.get("axis", 0)),
    "Max": lambda call, *arrays: np.maximum.reduce(np.broadcast_arrays(*arrays)),
    "Min": lambda call, *arrays: np.minimum.reduce(np.broadcast_arrays(*arrays)),
    "Mod": lambda call, a, b: np.fmod(a, b) if call.get("fmod", 0) else np.mod(a, b),
    "NonZero": lambda call, x: np.array(np.nonzero(x), np.int64),
    "Pow": lambda call, a, b: np.power(a, b).astype(a.dtype),
    "Range": lambda call, start, limit, delta: start + delta * np.arange(*call.output(), dtype=start.dtype),
    "ReduceMax": _reduced(np.max),
    "ReduceMin": _reduced(np.min),
    "ReduceProd": _reduced(np.prod),
    "ReduceSum": _reduced(np.sum),
    "Slice": lambda call, x, *_: x[slices_of(call, x.ndim)],
    "Split": _split,
    "Tile": lambda call, x, repeats: np.tile(x, repeats),
    "Transpose": lambda call, x: np.transpose(x, call.get("perm", None)),
    **dict.fromkeys(("Flatten", "Reshape", "Squeeze", "Unsqueeze"), lambda call, x, *_: x.reshape(call.output())),
    **{name: _elementwise(function) for name, function in _NUMPY_FUNCTIONS.items()},
}
