"""Convolutions that look at each channel alone: depthwise, and depthwise followed by a mix of the channels."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor, nn

from striate import shapes
from striate.layers.conv import Convolution
from striate.layers.layer import LayerOptions, register
from striate.layers.weight import Layout, Permuted, empty
from striate.shapes import Shape, Size, number, product, times


class DepthwiseLayout(Layout):
    """Keras's (*kernel, channels, multiplier) is torch's (channels · multiplier, 1, *kernel).

    >>> import torch
    >>> DepthwiseLayout(2).to_torch(torch.zeros(3, 5, 4, 2)).shape
    torch.Size([8, 1, 3, 5])
    """

    def __init__(self, multiplier: int) -> None:
        self.multiplier = multiplier

    def to_torch(self, weight: Tensor) -> Tensor:
        return weight.flatten(-2).movedim(-1, 0).unsqueeze(1)

    def to_keras(self, weight: Tensor) -> Tensor:
        return weight.squeeze(1).movedim(0, -1).unflatten(-1, (-1, self.multiplier))


@register("DepthwiseConv2D")
class DepthwiseConv2D(Convolution):
    """A convolution of each channel on its own, by `depth_multiplier` filters that see no other channel.

    Args:
        kernel_size: height and width of the kernel, an integer or two.
        depth_multiplier: how many filters each channel has. The other arguments are as for `Conv2D`.

    Input shape: `(batch, height, width, channels)`.
    Output shape: `(batch, new_height, new_width, channels · depth_multiplier)`.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: not four axes, channels of unknown size, or an image smaller than the kernel.

    Example:
        >>> DepthwiseConv2D(3, depth_multiplier=2).explain((None, 28, 28, 16))
        'depthwise_conv2d: 16 channels × 2 filters × (3 × 3 weights) + 32 biases = 320 parameters;
        26 × 26 × 32 = 21,632 neurons; each weight is used at 676 positions;
        a dense layer to the same neurons would need 271,373,440'
    """

    rank = 2

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        depth_multiplier: int = 1,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        depthwise_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        (self.depth_multiplier,) = shapes.spread(depth_multiplier, 1, f"{self.name}: depth_multiplier")
        self._set_kernel(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias)
        self._keep(
            depthwise_initializer=depthwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            bias_constraint=bias_constraint,
        )

    def filters_for(self, input_shape: Shape) -> int:
        return self.known_channels(input_shape) * self.depth_multiplier

    def groups_for(self, input_shape: Shape) -> int:
        return self.known_channels(input_shape)

    def name_weights(self) -> None:
        self.add_weight("kernel", "op.weight", DepthwiseLayout(self.depth_multiplier), role="depthwise")
        if self.use_bias:
            self.add_weight("bias", "op.bias")

    def kernels_formula(self, input_shape: Shape) -> str:
        channels = number(self.known_channels(input_shape))
        return f"{channels} channels × {self.depth_multiplier} filters × ({times(self.kernel_size)} weights)"


@register("SeparableConv2D")
class SeparableConv2D(Convolution):
    """A depthwise convolution, then a 1 × 1 convolution that mixes the channels: `Conv2D`'s view for fewer weights.

    Args:
        filters: how many filters mix the channels, each giving one channel of the output.
        kernel_size: height and width of the depthwise kernel, an integer or two.
        depth_multiplier: how many depthwise filters each channel has. The other arguments are as for `Conv2D`.

    Both steps form weighted sums, so both have neurons.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new_height, new_width, filters)`.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: not four axes, channels of unknown size, or an image smaller than the kernel.

    Example:
        >>> SeparableConv2D(32, 3).explain((None, 28, 28, 16))
        'separable_conv2d: 16 × (3 × 3) depthwise weights + 32 × 16 pointwise weights + 32 biases = 688 parameters;
        26 × 26 × (16 + 32) = 32,448 neurons; each weight is used at 676 positions;
        an ordinary convolution of this size would need 4,640'
    """

    rank = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        depth_multiplier: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        depthwise_initializer: Any = "glorot_uniform",
        pointwise_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        depthwise_regularizer: Any = None,
        pointwise_regularizer: Any = None,
        bias_regularizer: Any = None,
        depthwise_constraint: Any = None,
        pointwise_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        (self.filters,) = shapes.spread(filters, 1, f"{self.name}: filters")
        (self.depth_multiplier,) = shapes.spread(depth_multiplier, 1, f"{self.name}: depth_multiplier")
        self._set_kernel(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias)
        self._keep(
            depthwise_initializer=depthwise_initializer,
            pointwise_initializer=pointwise_initializer,
            bias_initializer=bias_initializer,
            depthwise_regularizer=depthwise_regularizer,
            pointwise_regularizer=pointwise_regularizer,
            bias_regularizer=bias_regularizer,
            depthwise_constraint=depthwise_constraint,
            pointwise_constraint=pointwise_constraint,
            bias_constraint=bias_constraint,
        )

    def _middle(self, input_shape: Shape) -> int:
        """The channels between the two steps."""
        return self.known_channels(input_shape) * self.depth_multiplier

    def make_operation(self, input_shape: Shape) -> Any:
        channels, middle = self.known_channels(input_shape), self._middle(input_shape)
        depthwise = empty(
            nn.Conv2d,
            channels,
            middle,
            self.kernel_size,
            stride=self.strides,
            padding=self.even_padding or 0,
            dilation=self.dilation_rate,
            groups=channels,
            bias=False,
        )
        pointwise = empty(nn.Conv2d, middle, self.filters, 1, bias=self.use_bias)
        return nn.Sequential(OrderedDict(depthwise=depthwise, pointwise=pointwise))

    def name_weights(self) -> None:
        layout = DepthwiseLayout(self.depth_multiplier)
        self.add_weight("depthwise_kernel", "op.depthwise.weight", layout, role="depthwise")
        self.add_weight("pointwise_kernel", "op.pointwise.weight", Permuted(3, 2, 0, 1), role="pointwise")
        if self.use_bias:
            self.add_weight("bias", "op.pointwise.bias")

    def count_parameters(self, input_shape: Shape) -> int:
        middle = self._middle(input_shape)
        per_filter = middle + self.use_bias
        return middle * math.prod(self.kernel_size) + self.filters * per_filter + self.activation_parameters()

    def count_neurons(self, input_shape: Shape) -> Size:
        return product((*self.positions(input_shape), self._middle(input_shape) + self.filters))

    def formula(self, input_shape: Shape) -> str:
        middle, positions = self._middle(input_shape), self.positions(input_shape)
        weights = self.known_channels(input_shape) * math.prod(self.kernel_size)
        return (
            f"{number(middle)} × ({times(self.kernel_size)}) depthwise weights + "
            f"{times((self.filters, middle))} pointwise weights{self.other_terms(input_shape)} = "
            f"{number(self.count_parameters(input_shape))} parameters; "
            f"{times(positions)} × ({number(middle)} + {number(self.filters)}) = "
            f"{number(self.count_neurons(input_shape))} neurons; "
            f"each weight is used at {number(product(positions))} positions; "
            f"an ordinary convolution of this size would need {number(self.filters * (weights + self.use_bias))}"
        )
