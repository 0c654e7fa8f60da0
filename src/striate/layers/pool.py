"""Pooling: the largest or the mean value of each window, or of all positions at once. It has nothing to learn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import shapes
from striate.layers.conv import SpatialLayer
from striate.layers.layer import LayerOptions, Mask, register
from striate.shapes import Shape

_FUNCTIONS: dict[type[nn.Module], Callable[..., Tensor]] = {
    nn.MaxPool1d: F.max_pool1d,
    nn.MaxPool2d: F.max_pool2d,
    nn.AvgPool1d: partial(F.avg_pool1d, count_include_pad=False),
    nn.AvgPool2d: partial(F.avg_pool2d, count_include_pad=False),
}


class SamePooling(nn.Module):
    """Torch's pooling with `padding="same"`, where the cells beyond the edges count for nothing.

    No padded copy is made. Torch pads both ends alike, so an odd cell at the end comes from rounding the number of
    windows up, or, at stride 1, from one cell more at both ends and leaving out the first window.
    """

    def __init__(self, pooling: type[nn.Module], kernel_size: Sequence[int], stride: Sequence[int]) -> None:
        super().__init__()
        self.pooling = pooling
        self.kernel_size = tuple(kernel_size)
        self.stride = tuple(stride)

    def forward(self, x: Tensor) -> Tensor:
        padding, kept = [], []
        for size, kernel, stride in zip(x.shape[2:], self.kernel_size, self.stride, strict=True):
            shifted = stride == 1 and kernel % 2 == 0
            padding.append(kernel // 2 if shifted else shapes.same_padding(size, kernel, stride)[0])
            kept.append(slice(int(shifted), None))
        return _FUNCTIONS[self.pooling](x, self.kernel_size, self.stride, padding, ceil_mode=True)[:, :, *kept]

    def extra_repr(self) -> str:
        return f"{self.pooling.__name__}, kernel_size={self.kernel_size}, stride={self.stride}"


class Pooling(SpatialLayer):
    """What the poolings over windows share."""

    operation: ClassVar[type[nn.Module]]

    def __init__(
        self,
        pool_size: int | Sequence[int],
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        strides = pool_size if strides is None else strides
        self.pool_size = self._set_windows(pool_size, strides, padding, data_format, "pool_size")

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        self.compute_output_shape(input_shape)

    def build(self, input_shape: Shape) -> None:
        if self.padding == "same":
            self.op: nn.Module = SamePooling(self.operation, self.pool_size, self.strides)
        else:
            self.op = self.operation(self.pool_size, self.strides)

    def forward(self, x: Tensor) -> Tensor:
        return self._last(self.op(self._first(x)))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        counts = self.windows_over(input_shape, self.pool_size, [1] * self.rank)
        return shapes.image_shape(input_shape[0], counts, self.channels(input_shape), self.data_format)


class MaxPooling(Pooling):
    """What `MaxPooling1D` and `MaxPooling2D` share: a default size."""

    def __init__(
        self,
        pool_size: int | Sequence[int] = 2,
        strides: int | Sequence[int] | None = None,
        padding: str = "valid",
        data_format: str | None = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, **options)


@register("MaxPooling1D")
class MaxPooling1D(MaxPooling):
    """The largest value of each window of a sequence. Arguments as `MaxPooling2D`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new_steps, channels)`.

    Example:
        >>> MaxPooling1D(2)(torch.tensor([[[1.0], [3.0], [2.0], [4.0]]])).flatten()
        tensor([3., 4.])
    """

    rank = 1
    operation = nn.MaxPool1d


@register("MaxPooling2D")
class MaxPooling2D(MaxPooling):
    """The largest value of each window of an image, channel by channel.

    Args:
        pool_size: height and width of the window, an integer or two.
        strides: the step between windows; by default the window's size, so that windows do not overlap.
        padding: `"valid"`: windows stay inside the image; `"same"`: they may reach over its edges, where nothing
            counts, and stride s leaves size / s, rounded up.
        data_format: `"channels_last"` (the default) or `"channels_first"`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new_height, new_width, channels)`.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: not four axes, or an image smaller than the window.

    Example:
        >>> MaxPooling2D(pool_size=(2, 2), strides=2).explain((None, 28, 28, 32))
        'max_pooling2d: 14 × 14 × 32 = 6,272 values; no parameters, no neurons'
    """

    rank = 2
    operation = nn.MaxPool2d


@register("AveragePooling1D")
class AveragePooling1D(Pooling):
    """The mean of each window of a sequence. Arguments as `AveragePooling2D`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new_steps, channels)`.

    Example:
        >>> AveragePooling1D(2)(torch.tensor([[[1.0], [3.0], [2.0], [4.0]]])).flatten()
        tensor([2., 3.])
    """

    rank = 1
    operation = nn.AvgPool1d


@register("AveragePooling2D")
class AveragePooling2D(Pooling):
    """The mean of each window of an image, channel by channel; cells beyond the edges are left out of the mean.

    Args:
        pool_size: height and width of the window, an integer or two. The other arguments are as for `MaxPooling2D`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new_height, new_width, channels)`.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: not four axes, or an image smaller than the window.

    Example:
        >>> AveragePooling2D(3, strides=2, padding="same").compute_output_shape((None, 28, 28, 32))
        (None, 14, 14, 32)
    """

    rank = 2
    operation = nn.AvgPool2d


class GlobalPooling(SpatialLayer):
    """What the poolings over all positions share."""

    def __init__(self, data_format: str | None = None, keepdims: bool = False, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        self._set_data_format(data_format)
        self.keepdims = keepdims
        first = 1 if self.data_format == "channels_last" else 2
        self.spatial_axes = tuple(range(first, first + self.rank))

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        ones = (1,) * self.rank if self.keepdims else ()
        return shapes.image_shape(input_shape[0], ones, self.channels(input_shape), self.data_format)


class GlobalMaxPooling(GlobalPooling):
    """What `GlobalMaxPooling1D` and `GlobalMaxPooling2D` share."""

    def forward(self, x: Tensor) -> Tensor:
        return x.amax(self.spatial_axes, self.keepdims)


@register("GlobalMaxPooling1D")
class GlobalMaxPooling1D(GlobalMaxPooling):
    """The largest value of each channel of a sequence. Arguments as `GlobalMaxPooling2D`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, channels)`.

    Example:
        >>> GlobalMaxPooling1D()(torch.tensor([[[1.0, 5.0], [3.0, 2.0]]]))
        tensor([[3., 5.]])
    """

    rank = 1


@register("GlobalMaxPooling2D")
class GlobalMaxPooling2D(GlobalMaxPooling):
    """The largest value of each channel of an image.

    Args:
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        keepdims: keep the spatial axes, with size 1.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, channels)`.

    Raises:
        ArgumentError: an unknown data format.
        ShapeError: not four axes.

    Example:
        >>> GlobalMaxPooling2D().compute_output_shape((None, 7, 7, 512))
        (None, 512)
    """

    rank = 2


class GlobalAveragePooling(GlobalPooling):
    """What `GlobalAveragePooling1D` and `GlobalAveragePooling2D` share."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(self.spatial_axes, self.keepdims)


@register("GlobalAveragePooling1D")
class GlobalAveragePooling1D(GlobalAveragePooling):
    """The mean of each channel of a sequence, over the real steps where there is a mask.

    Arguments as `GlobalMaxPooling2D`. A sequence without a real step gives zeros.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, channels)`.

    Example:
        >>> x = torch.tensor([[[1.0], [3.0], [8.0]]])
        >>> GlobalAveragePooling1D()(x), GlobalAveragePooling1D()(x, mask=torch.tensor([[True, True, False]]))
        (tensor([[4.]]), tensor([[2.]]))
    """

    rank = 1
    uses_mask = True

    def forward(self, x: Tensor, mask: Mask = None) -> Tensor:
        if mask is None:
            return super().forward(x)
        real = mask.unsqueeze(-1 if self.data_format == "channels_last" else 1)
        steps = real.sum(self.spatial_axes, self.keepdims).clamp(min=1)
        return torch.where(real, x, 0).sum(self.spatial_axes, self.keepdims) / steps


@register("GlobalAveragePooling2D")
class GlobalAveragePooling2D(GlobalAveragePooling):
    """The mean of each channel of an image. Arguments as `GlobalMaxPooling2D`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, channels)`.

    Example:
        >>> GlobalAveragePooling2D()(torch.tensor([[[[1.0], [2.0]], [[3.0], [6.0]]]]))
        tensor([[3.]])
    """

    rank = 2


MaxPool1D = MaxPooling1D
MaxPool2D = MaxPooling2D
AvgPool1D = AveragePooling1D
AvgPool2D = AveragePooling2D
GlobalMaxPool1D = GlobalMaxPooling1D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalAvgPool1D = GlobalAveragePooling1D
GlobalAvgPool2D = GlobalAveragePooling2D
