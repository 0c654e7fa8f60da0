"""Layers that disturb the values in training and pass them on unchanged otherwise.

They draw from torch's global random state, which `torch.manual_seed` and `fit(seed=...)` set. They take no `seed` of
their own as Keras's do: a generator inside a layer would not survive `torch.compile`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from striate.errors import ArgumentError, ShapeError
from striate.layers.conv import SpatialLayer
from striate.layers.layer import Layer, LayerOptions, register
from striate.shapes import Shape, Size, text


@register("Dropout")
class Dropout(Layer):
    """In training sets values to 0 at random and scales up the others, so that the expected sum stays.

    Srivastava et al., 2014.

    Args:
        rate: the probability with which a value is dropped.
        noise_shape: the shape of what is drawn, batch included: 1 shares one draw along an axis, `None` takes the
            input's size. `(None, 1, None)` drops a feature at all time steps or at none.

    The random state is torch's: see `torch.manual_seed` and `fit(seed=...)`.

    Raises:
        ArgumentError: `rate` is no number from 0 to 1, or `noise_shape` not of positive integers and `None`.
        ShapeError: `noise_shape` does not fit the input.

    Example:
        >>> Dropout(0.5).eval()(torch.ones(3))
        tensor([1., 1., 1.])
    """

    supports_masking = True

    def __init__(self, rate: float, noise_shape: Sequence[Size] | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self.rate = _probability(rate, f"{self.name}: rate")
        if noise_shape is not None and not all(
            size is None or (isinstance(size, int) and not isinstance(size, bool) and size > 0) for size in noise_shape
        ):
            raise ArgumentError(f"{self.name}: noise_shape={noise_shape!r}: expected positive integers or None.")
        self.noise_shape = None if noise_shape is None else tuple(noise_shape)
        self.op = nn.Dropout(self.rate)  # made here, so that eval() reaches it before the first call

    def check_input_shape(self, input_shape: Shape) -> None:
        noise = self.noise_shape
        if noise is not None and (
            len(noise) != len(input_shape)
            or any(n not in (None, 1, size) and size is not None for n, size in zip(noise, input_shape, strict=True))
        ):
            raise ShapeError(
                f"{self.name}: noise_shape={noise} does not fit {text(input_shape)}: expected 1, None or the input's "
                "size for each axis, batch included."
            )

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self.op(x)
        # Torch draws a CPU's masks number by number; elsewhere, and in compiled graphs, its own way is the fast one.
        drop = self.op if x.device.type != "cpu" or torch.compiler.is_compiling() else self._drop
        if self.noise_shape is None:
            return drop(x)
        sizes = [x.shape[axis] if size is None else size for axis, size in enumerate(self.noise_shape)]
        return x * drop(x.new_ones(sizes))

    def _drop(self, x: Tensor) -> Tensor:
        """With a mask of four draws from each random number of 64 bits, the rate rounded to a multiple of 2⁻¹⁶."""
        kept = round((1 - self.rate) * 2**16)
        if kept in (0, 2**16):
            return x * bool(kept)
        draws = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None).view(torch.int16)
        mask = draws[: x.numel()].view(x.shape) < kept - 2**15
        return x * mask.to(x.dtype).mul_(2**16 / kept)


class _SpatialDropout(SpatialLayer):
    supports_masking = True
    operation: type[nn.Module]

    def _set_rate(self, rate: float) -> None:
        self.rate = _probability(rate, f"{self.name}: rate")
        self.op = self.operation(self.rate)

    def forward(self, x: Tensor) -> Tensor:
        return self._last(self.op(self._first(x)))


@register("SpatialDropout1D")
class SpatialDropout1D(_SpatialDropout):
    """Dropout of whole channels of a sequence, because neighbouring steps say nearly the same. Tompson et al., 2015.

    Input shape: `(batch, steps, channels)`.
    """

    rank = 1
    operation = nn.Dropout1d

    def __init__(self, rate: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self._set_data_format(None)
        self._set_rate(rate)


@register("SpatialDropout2D")
class SpatialDropout2D(_SpatialDropout):
    """Dropout of whole channels of an image, because neighbouring pixels say nearly the same. Tompson et al., 2015.

    Args:
        rate: the probability with which a channel is dropped.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Input shape: `(batch, height, width, channels)`.

    Example:
        >>> x = SpatialDropout2D(0.5)(torch.ones(1, 4, 4, 8))
        >>> bool((x == x[:, :1, :1]).all())
        True
    """

    rank = 2
    operation = nn.Dropout2d

    def __init__(self, rate: float, data_format: str | None = None, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self._set_data_format(data_format)
        self._set_rate(rate)


@register("GaussianNoise")
class GaussianNoise(Layer):
    """Adds normal noise of mean 0 in training.

    Args:
        stddev: the standard deviation of the noise.

    The random state is torch's: see `torch.manual_seed` and `fit(seed=...)`.

    Example:
        >>> GaussianNoise(0.1).eval()(torch.ones(3))
        tensor([1., 1., 1.])
    """

    supports_masking = True

    def __init__(self, stddev: float, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        if not isinstance(stddev, (int, float)) or isinstance(stddev, bool) or not stddev >= 0:
            raise ArgumentError(f"{self.name}: stddev={stddev!r}: expected a number of at least 0.")
        self.stddev = stddev

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stddev * torch.randn_like(x) if self.training else x


def _probability(value: Any, name: str) -> float:
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value <= 1:
        raise ArgumentError(f"{name}={value!r}: expected a number from 0 to 1.")
    return value
