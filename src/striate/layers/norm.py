"""Normalisation: values are brought to mean 0 and variance 1, then scaled by gamma and shifted by beta.

The layers differ in which values share one mean and one variance. Formulas, defaults and the order of the weights are
Keras's, the operations torch's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.grad_mode import _unsafe_preserve_version_counter

from striate import shapes
from striate.distributed.batch_norm import normalize_together, sum_together
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, Mask, register
from striate.shapes import Shape, number, text

_BATCH_NORMS: dict[int, type[nn.Module]] = {
    2: nn.BatchNorm1d,
    3: nn.BatchNorm2d,  # of images of height 1: torch is slow on the strides of a channels-last sequence
    4: nn.BatchNorm2d,
    5: nn.BatchNorm3d,
}


class NormalizationLayer(Layer):
    """What the normalisations share: a gamma and a beta for each place along one axis or several."""

    several_axes: ClassVar[bool] = False
    supports_masking = True

    def _set_affine(self, axis: Any, epsilon: float, center: bool, scale: bool, **kept: Any) -> None:
        """Check and keep the arguments that all normalisations take."""
        self.axis = list(axis) if isinstance(axis, (list, tuple)) else axis
        if isinstance(self.axis, list) and not self.several_axes:
            raise ArgumentError(f"{self.name}: axis={axis!r}: expected one integer.")
        self.epsilon = epsilon
        self.center = center
        self.scale = scale
        self._keep(**kept)

    def axes_of(self, shape: Shape) -> tuple[int, ...]:
        """The axes along which gamma and beta lie, counted from the front."""
        axes = self.axis if isinstance(self.axis, list) else [self.axis]
        return tuple(sorted(shapes.normal_axis(axis, len(shape), f"{self.name}: axis") for axis in axes))

    def sizes(self, shape: Shape) -> list[Any]:
        """The shape of gamma and of beta, known once the input's shape is checked."""
        return [shape[axis] for axis in self.axes_of(shape)]

    def check_input_shape(self, input_shape: Shape) -> None:
        if isinstance(input_shape, list):
            raise ShapeError(f"{self.name}: expected one input, got {len(input_shape)}.")
        axes = self.axes_of(input_shape)
        if 0 in axes or len(set(axes)) < len(axes):
            raise ShapeError(
                f"{self.name}: axis={self.axis} of {text(input_shape)}: expected different axes, not the batch."
            )
        if None in self.sizes(input_shape):
            raise ShapeError(f"{self.name}: axis={self.axis} of {text(input_shape)} must have a known size.")
        if self.built and self.sizes(input_shape) != self.built_sizes:
            raise ShapeError(
                f"{self.name}: built for size {text(self.built_sizes)} along axis={self.axis}, got {text(input_shape)}."
            )

    def build(self, input_shape: Shape) -> None:
        self.built_axes = self.axes_of(input_shape)
        self.built_sizes = self.sizes(input_shape)
        self.op = self.make_operation(input_shape)
        for wanted, name, parameter in ((self.scale, "gamma", "weight"), (self.center, "beta", "bias")):
            if wanted:
                self.add_weight(name, f"op.{parameter}")
            else:
                setattr(self.op, parameter, None)

    def make_operation(self, input_shape: Shape) -> Any:
        """Torch's normalisation, with a weight and a bias if one of them is wanted."""
        raise NotImplementedError

    def count_parameters(self, input_shape: Shape) -> int:
        return math.prod(self.sizes(input_shape)) * (self.scale + self.center)

    def formula(self, input_shape: Shape) -> str:
        terms = self.terms(number(math.prod(self.sizes(input_shape))))
        if not terms:
            return "no parameters, no neurons"
        return f"{' + '.join(terms)} = {number(self.count_parameters(input_shape))} parameters; no neurons"

    def terms(self, size: str) -> list[str]:
        """The parameters by kind, each of which there is one for each of `size` places."""
        return [f"{size} {kind}" for kind, wanted in (("gammas", self.scale), ("betas", self.center)) if wanted]


@register("BatchNormalization")
class BatchNormalization(NormalizationLayer):
    """Normalises each channel over the batch and all positions, and keeps moving statistics for inference.

    In training mode the batch's own mean and (biased) variance are used, and each moving statistic becomes
    `moving · momentum + batch · (1 - momentum)`; otherwise the moving statistics are used. A frozen layer
    (`trainable = False`) uses them in training mode too, and leaves them as they are. Masked steps of a sequence are
    normalised, but take no part in the statistics.

    Args:
        axis: the channels' axis.
        momentum: how much of the moving statistics stays at each step; torch's `momentum` is 1 minus this.
        epsilon: added to the variance.
        center: whether beta is added.
        scale: whether gamma multiplies.

    Input shape: two to five axes, any of them but the batch the channels. Output shape: the same.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: too few or too many axes, or channels of unknown size.

    Example:
        >>> BatchNormalization().explain((None, 28, 28, 32))
        'batch_normalization: 32 gammas + 32 betas + 32 moving means + 32 moving variances = 128 parameters;
        no neurons'
    """

    uses_mask = True
    synchronised = False
    """Whether the batch is that of all processes that train together."""

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        moving_mean_initializer: Any = "zeros",
        moving_variance_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        if not 0 <= momentum <= 1:
            raise ArgumentError(f"{self.name}: momentum={momentum!r}: expected a share from 0 to 1.")
        if not epsilon > 0:
            raise ArgumentError(f"{self.name}: epsilon={epsilon!r}: expected a positive number.")
        self.momentum = momentum
        self._set_affine(
            axis,
            epsilon,
            center,
            scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            moving_mean_initializer=moving_mean_initializer,
            moving_variance_initializer=moving_variance_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        if len(input_shape) not in _BATCH_NORMS:
            raise ShapeError(f"{self.name}: expected two to five axes, got {text(input_shape)}.")

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        self.add_weight("moving_mean", "op.running_mean")
        self.add_weight("moving_variance", "op.running_var")

    def make_operation(self, input_shape: Shape) -> Any:
        affine = self.scale or self.center
        return _BATCH_NORMS[len(input_shape)](
            self.built_sizes[0], eps=self.epsilon, momentum=1 - self.momentum, affine=affine
        )

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        (axis,) = self.built_axes
        if mask is not None and self.training and self.trainable:
            return self._normalize_masked(x, mask)
        x = x.movedim(axis, 1)
        if x.ndim == 3:  # (N, C, T) -> (N, C, 1, T)
            return self._normalize(x.unsqueeze(2)).squeeze(2).movedim(1, axis)
        return self._normalize(x).movedim(1, axis)

    def _normalize(self, x: Tensor) -> Tensor:
        """(N, C, ...) -> the same shape."""
        op = self.op
        if not self.training:
            return op(x)
        if not self.trainable:
            return F.batch_norm(x, op.running_mean, op.running_var, op.weight, op.bias, eps=op.eps)
        if self.synchronised:
            together = normalize_together(x, op.weight, op.bias, op.eps)
            self._move_statistics(together.mean, together.variance)
            op.num_batches_tracked.add_(1)
            return together.x
        count = x.numel() // x.shape[1]
        if count == 1:
            # Torch refuses a single value; two equal ones have the same mean, and variance 0.
            return self._normalize(x.expand(2, *x.shape[1:]))[:1]
        kept = op.running_var * self.momentum
        x = op(x)
        # Torch adds the batch's variance with n - 1 in its denominator, Keras with n. The backward pass keeps the
        # moving variance without reading it, so that changing it now is no harm.
        with _unsafe_preserve_version_counter(op.running_var):
            op.running_var.lerp_(kept, 1 / count)
        return x

    def _normalize_masked(self, x: Tensor, mask: Tensor) -> Tensor:
        """The training step where only the real steps, (N, T), count; x is (N, T, ...)."""
        (axis,) = self.built_axes
        others = [other for other in range(x.ndim) if other != axis]
        real = mask.reshape(*mask.shape, *[1] * (x.ndim - 2)).expand_as(x)

        def total(values: Tensor) -> Tensor:
            amount = values.sum(others, keepdim=True)
            return sum_together(amount) if self.synchronised else amount

        count = total(real) + 1e-7
        mean = total(torch.where(real, x, 0)) / count
        variance = total(torch.where(real, x - mean, 0).square()) / count
        self._move_statistics(mean.detach().flatten(), variance.detach().flatten())
        x = (x - mean) * (variance + self.epsilon).rsqrt()
        if self.scale:
            x = x * self.op.weight.view(mean.shape)
        if self.center:
            x = x + self.op.bias.view(mean.shape)
        return x

    def _move_statistics(self, mean: Tensor, variance: Tensor) -> None:
        self.op.running_mean.lerp_(mean, 1 - self.momentum)
        self.op.running_var.lerp_(variance, 1 - self.momentum)

    def count_parameters(self, input_shape: Shape) -> int:
        return super().count_parameters(input_shape) + 2 * self.sizes(input_shape)[0]

    def terms(self, size: str) -> list[str]:
        return [*super().terms(size), f"{size} moving means", f"{size} moving variances"]


@register("LayerNormalization")
class LayerNormalization(NormalizationLayer):
    """Normalises each sample, at each position, over its features.

    Args:
        axis: the axis, or the axes, over which mean and variance are taken; gamma and beta have their sizes.
        epsilon: added to the variance.
        center: whether beta is added.
        scale: whether gamma multiplies.

    Input shape: `(batch, ..., features)`. Output shape: the same.

    Raises:
        ArgumentError: an axis that the input does not have.
        ShapeError: an axis that is the batch, or of unknown size.

    Example:
        >>> LayerNormalization()(torch.tensor([[1.0, 3.0]]))
        tensor([[-0.9995,  0.9995]], grad_fn=<...>)
    """

    several_axes = True

    def __init__(
        self,
        axis: int | Sequence[int] = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        self._set_affine(
            axis,
            epsilon,
            center,
            scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )

    def make_operation(self, input_shape: Shape) -> Any:
        return nn.LayerNorm(self.built_sizes, eps=self.epsilon, elementwise_affine=self.scale or self.center)

    def forward(self, x: Tensor) -> Tensor:
        last = tuple(range(-len(self.built_axes), 0))
        return self.op(x.movedim(self.built_axes, last)).movedim(last, self.built_axes)


@register("GroupNormalization")
class GroupNormalization(NormalizationLayer):
    """Normalises each sample over groups of channels and all positions: no statistics of the batch.

    Args:
        groups: into how many groups the channels are split; -1 gives each channel its own.
        axis: the channels' axis.
        epsilon: added to the variance.
        center: whether beta is added.
        scale: whether gamma multiplies.

    Input shape: any, with one axis beside the batch for the channels. Output shape: the same.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: channels of unknown size, or no multiple of `groups`.

    Example:
        >>> GroupNormalization(groups=8).explain((None, 28, 28, 32))
        'group_normalization: 32 gammas + 32 betas = 64 parameters; no neurons'
    """

    def __init__(
        self,
        groups: int = 32,
        axis: int = -1,
        epsilon: float = 1e-3,
        center: bool = True,
        scale: bool = True,
        beta_initializer: Any = "zeros",
        gamma_initializer: Any = "ones",
        beta_regularizer: Any = None,
        gamma_regularizer: Any = None,
        beta_constraint: Any = None,
        gamma_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        if not isinstance(groups, int) or isinstance(groups, bool) or (groups < 1 and groups != -1):
            raise ArgumentError(f"{self.name}: groups={groups!r}: expected a positive integer, or -1.")
        self.groups = groups
        self._set_affine(
            axis,
            epsilon,
            center,
            scale,
            beta_initializer=beta_initializer,
            gamma_initializer=gamma_initializer,
            beta_regularizer=beta_regularizer,
            gamma_regularizer=gamma_regularizer,
            beta_constraint=beta_constraint,
            gamma_constraint=gamma_constraint,
        )

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        (channels,) = self.sizes(input_shape)
        if self.groups != -1 and channels % self.groups:
            raise ShapeError(f"{self.name}: {channels} channels are no multiple of groups={self.groups}.")

    def make_operation(self, input_shape: Shape) -> Any:
        (channels,) = self.built_sizes
        groups = channels if self.groups == -1 else self.groups
        return nn.GroupNorm(groups, channels, eps=self.epsilon, affine=self.scale or self.center)

    def forward(self, x: Tensor) -> Tensor:
        (axis,) = self.built_axes
        op = self.op
        x = x.movedim(axis, 1)
        if self.center and not self.scale:  # torch's backward pass fails for a bias without a weight
            x = F.group_norm(x, op.num_groups, torch.ones_like(op.bias), op.bias, op.eps)
        else:
            x = op(x)
        return x.movedim(1, axis)
