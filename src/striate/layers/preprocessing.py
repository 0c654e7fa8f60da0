"""Layers that bring raw values into the range that networks learn well from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from striate.errors import ArgumentError, DataError, ShapeError
from striate.layers.layer import Layer, LayerOptions, register
from striate.layers.weight import Layout, Weight
from striate.shapes import Shape, normal_axis, number, product, text

_EPSILON = 1e-7  # the least standard deviation, Keras's
_VALUES_AT_ONCE = 2**22


@register("Rescaling")
class Rescaling(Layer):
    """`x * scale + offset`; whole numbers become floats first.

    Args:
        scale: the factor, one number or one per channel; `1 / 255` brings 8-bit images to [0, 1].
        offset: what is added, likewise.

    Example:
        >>> Rescaling(1 / 127.5, offset=-1)(torch.tensor([0, 255], dtype=torch.uint8))
        tensor([-1.,  1.])
    """

    supports_masking = True

    def __init__(
        self, scale: float | Sequence[float], offset: float | Sequence[float] = 0.0, **options: Unpack[LayerOptions]
    ) -> None:
        super().__init__(**options)
        self.scale = _numbers(scale, f"{self.name}: scale")
        self.offset = _numbers(offset, f"{self.name}: offset")

    def forward(self, x: Tensor) -> Tensor:
        x = _floats(x)
        scale, offset = (v if isinstance(v, float) else x.new_tensor(v) for v in (self.scale, self.offset))
        return x * scale + offset


class Standardize(nn.Module):
    """The statistics of a `Normalization`, and what it does with them.

    Args:
        mean: the mean for each index of the axes that have their own.
        variance: the variance, of the same shape.
        shape: the shape in which they broadcast to the input.
        invert: undo the normalisation.
        adapted: the statistics come from data, so they belong to `state_dict`.
    """

    mean: Tensor
    variance: Tensor
    count: Tensor

    def __init__(self, mean: Tensor, variance: Tensor, shape: Sequence[int], invert: bool, adapted: bool) -> None:
        super().__init__()
        self.shape = tuple(shape)
        self.invert = invert
        self.register_buffer("mean", mean, persistent=adapted)
        self.register_buffer("variance", variance, persistent=adapted)
        self.register_buffer("count", torch.tensor(0), persistent=adapted)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.mean.view(self.shape)
        deviation = self.variance.view(self.shape).sqrt().clamp(min=_EPSILON)
        return x * deviation + mean if self.invert else (x - mean) / deviation


@register("Normalization")
class Normalization(Layer):
    """`(x - mean) / √variance`, with statistics that `adapt` takes from data, or given ones.

    Args:
        axis: the axes with statistics of their own, the batch being 0; by default the last (features or channels).
            `None` takes one mean and variance over everything.
        mean: the mean, if it is known: one number, or numbers that broadcast to the sizes of `axis`.
        variance: the variance, likewise.
        invert: undo the normalisation: `x * √variance + mean`.

    Raises:
        ArgumentError: one of `mean` and `variance` without the other, or numbers that do not broadcast.
        ShapeError: an axis is the batch or of unknown size.

    Example:
        >>> layer = Normalization()
        >>> layer.adapt(np.array([[0.0, 7.0], [2.0, 9.0]]))
        >>> layer(torch.tensor([[0.0, 9.0]]))
        tensor([[-1.,  1.]])
        >>> layer.explain()
        'normalization: 2 means + 2 variances + 1 count = 5 parameters, set by adapt; no neurons'
    """

    supports_masking = True

    def __init__(
        self,
        axis: int | Sequence[int] | None = -1,
        mean: float | Sequence[float] | None = None,
        variance: float | Sequence[float] | None = None,
        invert: bool = False,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.axis = () if axis is None else (axis,) if isinstance(axis, int) else tuple(axis)
        if (mean is None) != (variance is None):
            raise ArgumentError(f"{self.name}: mean={mean!r} and variance={variance!r}: give both or neither.")
        self.mean = None if mean is None else _numbers(mean, f"{self.name}: mean")
        self.variance = None if variance is None else _numbers(variance, f"{self.name}: variance")
        self.invert = invert

    def check_input_shape(self, input_shape: Shape) -> None:
        sizes = self._sizes(input_shape)
        if None in sizes:
            raise ShapeError(
                f"{self.name}: axis={self.axis} of {text(input_shape)}: statistics of their own need axes of known "
                "size, without the batch; axis=None takes one mean over everything."
            )
        if self.built and sizes != tuple(self.op.mean.shape):
            raise ShapeError(
                f"{self.name}: built for statistics of {text(self.op.mean.shape)}, got {text(input_shape)}."
            )

    def build(self, input_shape: Shape) -> None:
        sizes = [size for size in self._sizes(input_shape) if size is not None]
        adapted = self.mean is None
        try:
            mean, variance = (
                torch.tensor(value).expand(sizes).clone()
                for value in ((0.0, 1.0) if adapted else (self.mean, self.variance))
            )
        except RuntimeError:
            raise ArgumentError(
                f"{self.name}: mean={self.mean} and variance={self.variance} do not broadcast to {text(sizes)}, "
                f"the sizes of axis={self.axis} in {text(input_shape)}."
            ) from None
        own = self._own_axes(len(input_shape))
        beside = [size or 1 if axis in own else 1 for axis, size in enumerate(input_shape)]
        self.op = Standardize(mean, variance, beside, self.invert, adapted)
        if adapted:
            self.weight_list += [Weight(name, f"op.{name}", Layout()) for name in ("mean", "variance", "count")]

    def adapt(self, data: Any) -> None:
        """Take mean and variance from data, in one pass and double precision; a second call starts anew.

        Args:
            data: an array or tensor of samples, or an iterable of batches; of a batch `(x, y)` the first is taken.

        Raises:
            ArgumentError: mean and variance were given to the constructor, or `data` is none of these.
            DataError: there is no data, or there are values that are not finite.
            ShapeError: a batch has another shape.
        """
        if self.mean is not None:
            raise ArgumentError(f"{self.name}: mean and variance were given; leave them out to adapt to data.")
        count = 0
        mean = squares = torch.zeros((), dtype=torch.float64)
        for batch in _batches(data, self.name):
            self.build_once((None, *batch.shape[1:]))
            own = self._own_axes(batch.ndim)
            others = [axis for axis in range(batch.ndim) if axis not in own]
            new = math.prod(batch.shape[axis] for axis in others)
            count += new
            new_mean = batch.mean(others, keepdim=True)
            difference = new_mean - mean
            # Chan, Golub and LeVeque (1979): how the squared deviations of two parts add up.
            squares = squares + difference.square() * (count - new) * (new / count)
            squares = squares + (batch - new_mean).square().sum(others, keepdim=True)
            mean = mean + difference * (new / count)
        if not count:
            raise DataError(f"{self.name}: adapt got no data.")
        if not (mean.isfinite().all() and squares.isfinite().all()):
            raise DataError(f"{self.name}: adapt got values that are not finite (NaN or infinity); remove them first.")
        self.op.mean.copy_(mean.view_as(self.op.mean))
        self.op.variance.copy_((squares / count).view_as(self.op.variance))
        self.op.count.fill_(count)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(_floats(x))

    def _own_axes(self, rank: int) -> list[int]:
        return sorted(normal_axis(axis, rank, f"{self.name}: axis") for axis in self.axis)

    def _sizes(self, input_shape: Shape) -> Shape:
        """The shape of the statistics; the batch has no size of its own."""
        sizes = (None, *input_shape[1:])
        return tuple(sizes[axis] for axis in self._own_axes(len(sizes)))

    def count_parameters(self, input_shape: Shape) -> int:
        statistics = product(self._sizes(input_shape))
        assert statistics is not None
        return 0 if self.mean is not None else 2 * statistics + 1

    def formula(self, input_shape: Shape) -> str:
        if self.mean is not None:
            return super().formula(input_shape)
        statistics = number(product(self._sizes(input_shape)))
        count = number(self.count_parameters(input_shape))
        return f"{statistics} means + {statistics} variances + 1 count = {count} parameters, set by adapt; no neurons"


def _floats(x: Tensor) -> Tensor:
    return x if x.is_floating_point() else x.to(torch.get_default_dtype())


def _numbers(value: Any, name: str) -> Any:
    """One float, or nested lists of floats, from a number, a list, an array or a tensor."""
    try:
        return np.asarray(value.tolist() if hasattr(value, "tolist") else value, dtype=np.float64).tolist()
    except (TypeError, ValueError):
        raise ArgumentError(f"{name}={value!r}: expected a number or numbers.") from None


def _batches(data: Any, name: str) -> Iterator[Tensor]:
    """Batches in double precision, none of them empty."""
    batches = data if isinstance(data, Iterable) else [data]
    if isinstance(data, (np.ndarray, Tensor)):
        rows = max(1, _VALUES_AT_ONCE // max(1, math.prod(data.shape[1:])))
        batches = (data[start : start + rows] for start in range(0, len(data), rows))
    for batch in batches:
        batch = batch[0] if isinstance(batch, (tuple, list)) else batch
        if not isinstance(batch, (np.ndarray, Tensor)):
            raise ArgumentError(
                f"{name}: adapt takes an array, a tensor, or batches of them; got {type(batch).__name__}."
            )
        if len(batch):
            yield torch.as_tensor(batch).detach().to("cpu", torch.float64)
