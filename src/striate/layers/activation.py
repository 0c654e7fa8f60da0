"""Activation functions as layers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from striate import activations
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, register
from striate.layers.weight import empty
from striate.shapes import Shape, normal_axis, number, product, text, times


@register("Activation")
class Activation(Layer):
    """Any activation function, value by value (softmax: over the last axis).

    Args:
        activation: a name (see `striate.activations`), a torch module or a function of one tensor.

    Example:
        >>> Activation("relu")(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    supports_masking = True

    def __init__(self, activation: Any, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.activation = activations.get(activation)

    def forward(self, x: Tensor) -> Tensor:
        return x if self.activation is None else self.activation(x)

    def count_parameters(self, input_shape: Shape) -> int:
        return self.activation_parameters()

    def formula(self, input_shape: Shape) -> str:
        count = self.activation_parameters()
        return f"{number(count)} parameters; no neurons" if count else super().formula(input_shape)


@register("ReLU")
class ReLU(Layer):
    """`x` above the threshold, up to a largest value; `negative_slope * (x - threshold)` below it.

    Args:
        max_value: the largest output; `None` sets no limit.
        negative_slope: the slope below the threshold.
        threshold: where the function begins to rise.

    Example:
        >>> ReLU(max_value=1.0, negative_slope=0.5)(torch.tensor([-2.0, 0.5, 3.0]))
        tensor([-1.0000,  0.5000,  1.0000])
    """

    supports_masking = True

    def __init__(
        self,
        max_value: float | None = None,
        negative_slope: float = 0.0,
        threshold: float = 0.0,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self.max_value = None if max_value is None else _not_negative(max_value, f"{self.name}: max_value")
        self.negative_slope = _not_negative(negative_slope, f"{self.name}: negative_slope")
        self.threshold = _not_negative(threshold, f"{self.name}: threshold")

    def build(self, input_shape: Shape) -> None:
        self.op = nn.LeakyReLU(self.negative_slope) if self.negative_slope else nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        if self.threshold:
            x = torch.where(x > self.threshold, x, self.negative_slope * (x - self.threshold))
        else:
            x = self.op(x)
        return x if self.max_value is None else x.clamp(max=self.max_value)


@register("LeakyReLU")
class LeakyReLU(Layer):
    """`x` where it is positive, else `negative_slope * x`.

    The layer's slope is 0.3, as in Keras; the activation named `"leaky_relu"` has 0.2, torch's module 0.01.

    Example:
        >>> LeakyReLU()(torch.tensor([-1.0, 2.0]))
        tensor([-0.3000,  2.0000])
    """

    supports_masking = True

    def __init__(self, negative_slope: float = 0.3, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.negative_slope = _not_negative(negative_slope, f"{self.name}: negative_slope")

    def build(self, input_shape: Shape) -> None:
        self.op = nn.LeakyReLU(self.negative_slope)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


@register("ELU")
class ELU(Layer):
    """`x` where it is positive, else `alpha * (exp(x) - 1)`. Clevert et al., 2016.

    Example:
        >>> ELU()(torch.tensor([-1.0, 2.0]))
        tensor([-0.6321,  2.0000])
    """

    supports_masking = True

    def __init__(self, alpha: float = 1.0, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.alpha = alpha

    def build(self, input_shape: Shape) -> None:
        self.op = nn.ELU(self.alpha)

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)


class Slopes(nn.Module):
    """A learned slope below zero for each position; `torch.nn.PReLU` has one per channel."""

    def __init__(self, *sizes: int, device: Any = None) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(sizes, device=device))

    def forward(self, x: Tensor) -> Tensor:
        return torch.where(x > 0, x, self.alpha * x)


@register("PReLU")
class PReLU(Layer):
    """`x` where it is positive, else `alpha * x` with a learned `alpha` for each position. He et al., 2015.

    Args:
        shared_axes: axes, counted from 1, along which one slope is used; for images `[1, 2]` gives one per channel.

    Raises:
        ArgumentError: `shared_axes` holds no axis of the input.
        ShapeError: an axis that is not shared has an unknown size, or another size than at first.

    Example:
        >>> PReLU(shared_axes=[1, 2]).explain((None, 26, 26, 32))
        'p_re_lu: 1 × 1 × 32 slopes = 32 parameters; no neurons'
    """

    supports_masking = True

    def __init__(
        self,
        alpha_initializer: Any = "zeros",
        alpha_regularizer: Any = None,
        alpha_constraint: Any = None,
        shared_axes: int | Sequence[int] | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._keep(
            alpha_initializer=alpha_initializer,
            alpha_regularizer=alpha_regularizer,
            alpha_constraint=alpha_constraint,
        )
        self.shared_axes = [shared_axes] if isinstance(shared_axes, int) else shared_axes and list(shared_axes)

    def check_input_shape(self, input_shape: Shape) -> None:
        sizes = self._sizes(input_shape)
        if None in sizes:
            raise ShapeError(
                f"{self.name}: {text(input_shape)} has axes of unknown size: name them in shared_axes, counted from 1."
            )
        if self.built and sizes != tuple(self.op.alpha.shape):
            raise ShapeError(
                f"{self.name}: built for slopes of {text(self.op.alpha.shape)}, got {text(input_shape)}. "
                "shared_axes=... frees axes."
            )

    def build(self, input_shape: Shape) -> None:
        self.op: Slopes = empty(Slopes, *self._sizes(input_shape))
        self.add_weight("alpha", "op.alpha")

    def forward(self, x: Tensor) -> Tensor:
        return self.op(x)

    def _sizes(self, input_shape: Shape) -> Shape:
        shared = {normal_axis(axis, len(input_shape), f"{self.name}: shared_axes") for axis in self.shared_axes or []}
        return tuple(1 if axis in shared else size for axis, size in enumerate(input_shape))[1:]

    def count_parameters(self, input_shape: Shape) -> int:
        count = product(self._sizes(input_shape))
        assert count is not None
        return count

    def formula(self, input_shape: Shape) -> str:
        count = number(self.count_parameters(input_shape))
        return f"{times(self._sizes(input_shape))} slopes = {count} parameters; no neurons"


@register("Softmax")
class Softmax(Layer):
    """Positive values that sum to 1 along an axis: `exp(x) / Σ exp(x)`.

    Args:
        axis: the axis, or several that are normalised together.

    Call it with `mask=...` (bool, broadcastable to the input) to leave positions out: they become 0.

    Example:
        >>> Softmax()(torch.tensor([1.0, 2.0, 1.0]))
        tensor([0.2119, 0.5761, 0.2119])
    """

    supports_masking = True

    def __init__(self, axis: int | Sequence[int] = -1, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.axis = axis

    def check_input_shape(self, input_shape: Shape) -> None:
        for axis in [self.axis] if isinstance(self.axis, int) else self.axis:
            normal_axis(axis, len(input_shape), f"{self.name}: axis")

    def forward(self, x: Tensor, *, mask: Tensor | None = None) -> Tensor:
        if mask is not None:
            x = x.masked_fill(~mask, torch.finfo(x.dtype).min)
        if isinstance(self.axis, int):
            x = x.softmax(self.axis)
        else:
            x = (x - x.logsumexp(tuple(self.axis), keepdim=True)).exp()
        return x if mask is None else x.masked_fill(~mask, 0)  # where all is masked, nothing is left


def _not_negative(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not value >= 0:
        raise ArgumentError(f"{name}={value!r}: expected a number of at least 0.")
    return value
