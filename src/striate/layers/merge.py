"""Layers of several inputs, called on a list: `Add()([a, b])`.

Inputs of fewer axes get axes of size 1 after the batch, then sizes broadcast. The mask of the output has a step where
any input's mask has it; if one input has no mask, the output has none.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from string import ascii_lowercase, ascii_uppercase
from typing import Any, ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Mask, register
from striate.shapes import Shape, Size, normal_axis, text

Masks = list[Mask] | None


class Merge(Layer):
    """What all merging layers share: they take one list of inputs."""

    exactly_two: ClassVar[bool] = False

    def check_input_shape(self, *input_shapes: Any) -> None:
        shapes = input_shapes[0]
        if len(input_shapes) > 1 or not shapes or not all(isinstance(shape, (tuple, list)) for shape in shapes):
            raise ArgumentError(f"{self.name}: expected one list of inputs: {type(self).__name__}(...)([a, b]).")
        if self.exactly_two and len(shapes) != 2:
            raise ShapeError(f"{self.name}: expected two inputs, got {len(shapes)}: {_list(shapes)}.")
        self.compute_output_shape(shapes)

    def compute_mask(self, masks: list[Any], *args: Any) -> Mask:
        return _any_of(masks[0])


class ElementwiseMerge(Merge):
    """A merge of values at the same place, by a function of two tensors."""

    combine: ClassVar[Any]

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        return functools.reduce(self.combine, _aligned(inputs))

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        rank = max(len(shape) for shape in input_shapes)
        aligned = [(*shape[:1], *[1] * (rank - len(shape)), *shape[1:]) for shape in input_shapes]
        sizes = [set(axis) for axis in zip(*aligned, strict=True)]
        if any(len(axis - {None, 1}) > 1 for axis in sizes):
            raise ShapeError(f"{self.name}: the shapes {_list(input_shapes)} do not broadcast to one.")
        return tuple(max(axis - {None, 1}, default=None if None in axis else 1) for axis in sizes)


@register("Add")
class Add(ElementwiseMerge):
    """The sum of the inputs.

    Example:
        >>> Add()([torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])])
        tensor([[11., 22.]])
    """

    combine = staticmethod(torch.add)


@register("Subtract")
class Subtract(ElementwiseMerge):
    """The first input minus the second.

    Example:
        >>> Subtract()([torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])])
        tensor([[ -9., -18.]])
    """

    exactly_two = True
    combine = staticmethod(torch.sub)


@register("Average")
class Average(ElementwiseMerge):
    """The mean of the inputs.

    Example:
        >>> Average()([torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 6.0]])])
        tensor([[2., 4.]])
    """

    combine = staticmethod(torch.add)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        return super().forward(inputs) / len(inputs)


@register("Multiply")
class Multiply(ElementwiseMerge):
    """The product of the inputs. Masked steps count as 1; a step that no input has is 0.

    Example:
        >>> Multiply()([torch.tensor([[1.0, 2.0]]), torch.tensor([[10.0, 20.0]])])
        tensor([[10., 40.]])
    """

    uses_mask = True
    combine = staticmethod(torch.mul)

    def forward(self, inputs: Sequence[Tensor], mask: Masks = None) -> Tensor:
        masks = mask or [None] * len(inputs)
        product = super().forward([_where(m, x, 1) for x, m in zip(inputs, masks, strict=True)])
        return _where(_any_of(masks), product, 0)


class _Extremum(ElementwiseMerge):
    uses_mask = True

    def forward(self, inputs: Sequence[Tensor], mask: Masks = None) -> Tensor:
        inputs = _aligned(inputs)
        result, result_mask = inputs[0], mask[0] if mask else None
        for x, x_mask in zip(inputs[1:], mask[1:] if mask else [None] * len(inputs[1:]), strict=True):
            x = _where(x_mask, x, result)
            result = self.combine(_where(result_mask, result, x), x)
            result_mask = _any_of([result_mask, x_mask])
        return result


@register("Maximum")
class Maximum(_Extremum):
    """The largest value at each place, among the inputs that are not masked there.

    Example:
        >>> Maximum()([torch.tensor([[1.0, 20.0]]), torch.tensor([[10.0, 2.0]])])
        tensor([[10., 20.]])
    """

    combine = staticmethod(torch.maximum)


@register("Minimum")
class Minimum(_Extremum):
    """The smallest value at each place, among the inputs that are not masked there.

    Example:
        >>> Minimum()([torch.tensor([[1.0, 20.0]]), torch.tensor([[10.0, 2.0]])])
        tensor([[1., 2.]])
    """

    combine = staticmethod(torch.minimum)


@register("Concatenate")
class Concatenate(Merge):
    """The inputs one after the other along an axis; their other sizes must be equal.

    Args:
        axis: the axis, the batch being 0; by default the last, for images the channels.

    Raises:
        ArgumentError: the inputs have no such axis.
        ShapeError: the sizes of another axis differ.

    Example:
        >>> Concatenate().compute_output_shape([(None, 8, 8, 3), (None, 8, 8, 5)])
        (None, 8, 8, 8)
    """

    def __init__(self, axis: int = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        return torch.cat(list(inputs), self.axis)

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        axis = normal_axis(self.axis, len(input_shapes[0]), f"{self.name}: axis")
        if len({len(shape) for shape in input_shapes}) > 1:
            raise ShapeError(f"{self.name}: expected as many axes in every input, got {_list(input_shapes)}.")
        output: list[Size] = []
        for position, sizes in enumerate(zip(*input_shapes, strict=True)):
            known = [size for size in sizes if size is not None]
            if position == axis:
                output.append(sum(known) if len(known) == len(sizes) else None)
            elif len(set(known)) > 1:
                raise ShapeError(
                    f"{self.name}: the shapes {_list(input_shapes)} differ in axis {position}; only axis {axis}, along "
                    "which they are joined, may differ."
                )
            else:
                output.append(known[0] if known else None)
        return tuple(output)

    def compute_mask(self, masks: list[Any], *args: Any) -> Mask:
        inputs = args[0]
        if self.axis % inputs[0].ndim != 1:
            return super().compute_mask(masks)
        if all(mask is None for mask in masks[0]):
            return None
        pairs = zip(masks[0], inputs, strict=True)
        return torch.cat([x.new_ones(x.shape[:2], dtype=torch.bool) if m is None else m for m, x in pairs], 1)


@register("Dot")
class Dot(Merge):
    """The dot product of two inputs, sample by sample, along one axis of each.

    Args:
        axes: the axis to sum over, the same in both inputs, or a pair; not 0, the batch.
        normalize: scale both to length 1 along that axis first, which gives the cosine of the angle between them.

    Output shape: the axes of the first input, then those of the second, without the batch of the second and without the
    axes that were summed over; `(batch, 1)` where none is left.

    Raises:
        ArgumentError: `axes` is no integer nor two, or an input has no such axis.
        ShapeError: not two inputs, or the sizes along the axes differ.

    Example:
        >>> Dot(axes=(1, 2)).compute_output_shape([(None, 3, 5), (None, 10, 3)])
        (None, 5, 10)
    """

    exactly_two = True
    axes: tuple[int, int]  # type: ignore[assignment, misc]

    def __init__(self, axes: int | Sequence[int], normalize: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        pair = tuple(axes) if isinstance(axes, (tuple, list)) else (axes, axes)
        if len(pair) != 2 or any(not isinstance(axis, int) or isinstance(axis, bool) or axis == 0 for axis in pair):
            raise ArgumentError(
                f"{self.name}: axes={axes!r}: expected an integer or two, none of them 0, which is the batch."
            )
        self.axes = pair
        self.normalize = normalize

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        x, y = inputs
        x_axis, y_axis = self.axes
        if self.normalize:
            x, y = F.normalize(x, dim=x_axis, eps=1e-7), F.normalize(y, dim=y_axis, eps=1e-7)
        x_names, y_names = list(ascii_lowercase[: x.ndim]), list(ascii_uppercase[: y.ndim])
        y_names[0], y_names[y_axis] = x_names[0], x_names[x_axis]
        z_names = [name for name in x_names + y_names[1:] if name != x_names[x_axis]]
        z = torch.einsum(f"{''.join(x_names)},{''.join(y_names)}->{''.join(z_names)}", x, y)
        return z[:, None] if z.ndim == 1 else z

    def compute_output_shape(self, input_shapes: Sequence[Shape]) -> Shape:
        x, y = (list(shape) for shape in input_shapes)
        x_axis, y_axis = (
            normal_axis(axis, len(shape), f"{self.name}: axes")
            for axis, shape in zip(self.axes, input_shapes, strict=True)
        )
        x_size, y_size = x.pop(x_axis), y.pop(y_axis)
        if None not in (x_size, y_size) and x_size != y_size:
            raise ShapeError(
                f"{self.name}: the shapes {_list(input_shapes)} differ along axes={self.axes}: {x_size} and {y_size}."
            )
        output = (*x, *y[1:])
        return output if len(output) > 1 else (*output, 1)

    def compute_mask(self, masks: list[Any], *args: Any) -> Mask:
        return None


def _list(shapes: Iterable[Shape]) -> str:
    return " and ".join(text(shape) for shape in shapes)


def _aligned(inputs: Sequence[Tensor]) -> list[Tensor]:
    """The inputs with as many axes: (batch, ...) -> (batch, 1, ...)."""
    rank = max(x.ndim for x in inputs)
    return [x[(slice(None), *[None] * (rank - x.ndim))] if x.ndim < rank else x for x in inputs]


def _any_of(masks: Masks) -> Mask:
    """Where any mask is true; `None` unless there are all of them."""
    if masks is None or any(mask is None for mask in masks):
        return None
    return functools.reduce(torch.logical_or, masks)  # type: ignore[arg-type]


def _where(mask: Mask, x: Tensor, other: Tensor | float) -> Tensor:
    """`x` where the mask, (batch, time), is true, else `other`."""
    if mask is None:
        return x
    return torch.where(mask[(..., *[None] * (x.ndim - mask.ndim))], x, other)
