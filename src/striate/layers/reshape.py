"""Layers that move, repeat, pad, crop or resize values and learn nothing.

Shape legend: N batch, H W spatial, C channels. Wherever torch allows it the output is a view of the input.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor, nn

from striate import shapes
from striate.errors import ArgumentError, ShapeError
from striate.layers.conv import SpatialLayer, to_channels_last
from striate.layers.layer import Layer, LayerOptions, register
from striate.shapes import Shape, product, text, times

Sides = tuple[tuple[int, ...], ...]


@register("Flatten")
class Flatten(Layer):
    """All values of a sample in one row.

    Args:
        data_format: `"channels_last"` keeps the values in their order; `"channels_first"` says that the channels are
            the first axis, and puts them last before flattening, so that both formats give the same row.

    Input shape: `(batch, ...)`. Output shape: `(batch, values)`.

    Example:
        >>> Flatten().explain((None, 5, 5, 64))
        'flatten: 1,600 values; no parameters, no neurons'
    """

    def __init__(self, data_format: str | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.data_format = data_format or "channels_last"
        shapes.one_of(self.data_format, ("channels_last", "channels_first"), f"{self.name}: data_format")

    def build(self, input_shape: Shape) -> None:
        self.op = nn.Flatten()

    def forward(self, x: Tensor) -> Tensor:
        if x.ndim == 1:
            return x[:, None]
        return self.op(to_channels_last(x) if self.data_format == "channels_first" else x)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], product(input_shape[1:]))


@register("Reshape")
class Reshape(Layer):
    """The values of a sample in their order, under another shape.

    Args:
        target_shape: the new shape, without the batch; one size may be -1 and takes what is left.

    Input shape: `(batch, ...)` with as many values. Output shape: `(batch, *target_shape)`.

    Raises:
        ArgumentError: `target_shape` is no sequence of positive integers with at most one -1.
        ShapeError: the input has another number of values.

    Example:
        >>> Reshape((-1, 2)).compute_output_shape((None, 3, 4))
        (None, 6, 2)
    """

    def __init__(self, target_shape: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        sizes = tuple(target_shape) if isinstance(target_shape, (tuple, list)) else None
        if sizes is None or sizes.count(-1) > 1 or any(size != -1 and not _is_positive(size) for size in sizes):
            raise ArgumentError(
                f"{self.name}: target_shape={target_shape!r}: expected positive integers, at most one of them -1, "
                "without the batch: (7, 7, 64)."
            )
        self.target_shape = sizes

    def check_input_shape(self, input_shape: Shape) -> None:
        self.compute_output_shape(input_shape)

    def forward(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], *self.target_shape)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        values = product(input_shape[1:])
        known = product([size for size in self.target_shape if size != -1])
        assert known is not None
        if values is None:
            return (input_shape[0], *(None if size == -1 else size for size in self.target_shape))
        if values % known if -1 in self.target_shape else values != known:
            raise ShapeError(
                f"{self.name}: {text(input_shape)} has {times(input_shape[1:])} = {values:,} values per sample, which "
                f"do not fit target_shape={self.target_shape}."
            )
        return (input_shape[0], *(values // known if size == -1 else size for size in self.target_shape))


@register("Permute")
class Permute(Layer):
    """The axes of a sample in another order: a view.

    Args:
        dims: the axes, counted from 1 because 0 is the batch; `(2, 1)` swaps the two axes of a sequence.

    Example:
        >>> Permute((3, 1, 2)).compute_output_shape((None, 28, 30, 3))
        (None, 3, 28, 30)
    """

    def __init__(self, dims: Sequence[int], **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        if not isinstance(dims, (tuple, list)) or sorted(dims) != list(range(1, len(dims) + 1)):
            raise ArgumentError(
                f"{self.name}: dims={dims!r}: expected each axis of a sample once, counted from 1: (2, 1)."
            )
        self.dims = tuple(dims)
        self.input_rank = len(dims) + 1  # type: ignore[misc]
        self.axes = f"for dims={self.dims}"  # type: ignore[misc]

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, *self.dims)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], *(input_shape[axis] for axis in self.dims))


@register("RepeatVector")
class RepeatVector(Layer):
    """The same vector at each of `n` steps: a view that repeats no memory.

    Input shape: `(batch, features)`. Output shape: `(batch, n, features)`.

    Example:
        >>> RepeatVector(3).compute_output_shape((None, 8))
        (None, 3, 8)
    """

    input_rank = 2
    axes = "(batch, features)"

    def __init__(self, n: int, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        (self.n,) = shapes.spread(n, 1, f"{self.name}: n")

    def forward(self, x: Tensor) -> Tensor:
        return x[:, None].expand(-1, self.n, -1)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        return (input_shape[0], self.n, input_shape[1])


class _ResizedLayer(SpatialLayer):
    """An image layer that changes height and width and leaves the channels."""

    rank = 2

    def _resized(self, axis: int, size: int) -> int:
        """What a height (axis 0) or width (axis 1) becomes."""
        raise NotImplementedError

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        sizes = shapes.spatial(input_shape, self.data_format)
        resized = (None if size is None else self._resized(axis, size) for axis, size in enumerate(sizes))
        return shapes.image_shape(input_shape[0], resized, self.channels(input_shape), self.data_format)


@register("ZeroPadding2D")
class ZeroPadding2D(_ResizedLayer):
    """Zeros around an image.

    Args:
        padding: one integer for all sides; `(rows, columns)` on each side; or `((top, bottom), (left, right))`.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Input shape: `(batch, height, width, channels)`.

    Example:
        >>> ZeroPadding2D(((1, 0), (2, 2))).compute_output_shape((None, 5, 5, 3))
        (None, 6, 9, 3)
    """

    padding: Sides  # type: ignore[assignment]

    def __init__(
        self,
        padding: int | Sequence[int] | Sequence[Sequence[int]] = (1, 1),
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._set_data_format(data_format)
        self.padding = _sides(padding, f"{self.name}: padding")

    def build(self, input_shape: Shape) -> None:
        (top, bottom), (left, right) = self.padding
        self.op = nn.ZeroPad2d((left, right, top, bottom))

    def forward(self, x: Tensor) -> Tensor:
        return self._last(self.op(self._first(x)))

    def _resized(self, axis: int, size: int) -> int:
        return size + sum(self.padding[axis])


@register("Cropping2D")
class Cropping2D(_ResizedLayer):
    """An image without its borders: a view.

    Args:
        cropping: one integer for all sides; `(rows, columns)` on each side; or `((top, bottom), (left, right))`.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Input shape: `(batch, height, width, channels)`.

    Raises:
        ShapeError: nothing of the image would be left.

    Example:
        >>> Cropping2D(2).compute_output_shape((None, 28, 28, 1))
        (None, 24, 24, 1)
    """

    def __init__(
        self,
        cropping: int | Sequence[int] | Sequence[Sequence[int]] = ((0, 0), (0, 0)),
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._set_data_format(data_format)
        self.cropping = _sides(cropping, f"{self.name}: cropping")

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        if any(size is not None and size < 1 for size in self.compute_output_shape(input_shape)):
            raise ShapeError(f"{self.name}: cropping={self.cropping} leaves nothing of {text(input_shape)}; crop less.")

    def forward(self, x: Tensor) -> Tensor:
        height, width = (slice(before, -after or None) for before, after in self.cropping)
        return x[:, height, width] if self.data_format == "channels_last" else x[:, :, height, width]

    def _resized(self, axis: int, size: int) -> int:
        return size - sum(self.cropping[axis])


@register("UpSampling2D")
class UpSampling2D(_ResizedLayer):
    """An image enlarged by whole factors.

    Args:
        size: the factors of height and width, an integer or two.
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        interpolation: `"nearest"` repeats rows and columns; `"bilinear"` and `"bicubic"` interpolate between the
            centres of pixels. Torch's cubic has a = -0.75, as Keras's has on torch; elsewhere Keras takes -0.5.
            Torch has no Lanczos filter.

    Input shape: `(batch, height, width, channels)`.

    Example:
        >>> UpSampling2D((2, 3)).compute_output_shape((None, 4, 4, 8))
        (None, 8, 12, 8)
    """

    def __init__(
        self,
        size: int | Sequence[int] = (2, 2),
        data_format: str | None = None,
        interpolation: str = "nearest",
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._set_data_format(data_format)
        self.size = shapes.spread(size, 2, f"{self.name}: size")
        shapes.one_of(interpolation, ("nearest", "bilinear", "bicubic"), f"{self.name}: interpolation")
        self.interpolation = interpolation

    def build(self, input_shape: Shape) -> None:
        # Torch's "nearest" rounds wrongly at factors such as 41.
        mode = "nearest-exact" if self.interpolation == "nearest" else self.interpolation
        self.op = nn.Upsample(scale_factor=tuple(float(factor) for factor in self.size), mode=mode)

    def forward(self, x: Tensor) -> Tensor:
        return self._last(self.op(self._first(x)))

    def _resized(self, axis: int, size: int) -> int:
        return size * self.size[axis]


def _is_positive(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _sides(value: Any, name: str) -> Sides:
    """`((top, bottom), (left, right))` from any of Keras's three ways to write it."""
    pair = value if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        expected = "an integer, (rows, columns) or ((top, bottom), (left, right))"
        raise ArgumentError(f"{name}={value!r}: expected {expected}.")
    return tuple(shapes.spread(sides, 2, name, minimum=0) for sides in pair)
