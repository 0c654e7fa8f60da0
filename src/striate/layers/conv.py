"""Convolutions, each around torch's own.

Shape legend: N batch, H W spatial, C channels. Data is NHWC to the user; around the operation it is seen as NCHW, which
for contiguous data is `torch.channels_last` and costs no copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate import activations, shapes
from striate.errors import ArgumentError, ShapeError
from striate.layers.layer import Layer, LayerOptions, register
from striate.layers.weight import Permuted, empty
from striate.shapes import Shape, Size, number, product, text, times

_CONVOLUTIONS: dict[int, type[nn.Module]] = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
_AXES = {
    1: "(batch, steps, channels)",
    2: "(batch, height, width, channels)",
    3: "(batch, depth, height, width, channels)",
}


def to_channels_first(x: Tensor) -> Tensor:
    """(N, *spatial, C) -> (N, C, *spatial), a view."""
    return x.movedim(-1, 1)


def to_channels_last(x: Tensor) -> Tensor:
    """(N, C, *spatial) -> (N, *spatial, C), a view."""
    return x.movedim(1, -1)


class SpatialLayer(Layer):
    """What convolutions and poolings share: windows of a size that move over the spatial axes."""

    rank: ClassVar[int]

    def _set_windows(
        self, sizes: Any, strides: Any, padding: str, data_format: str | None, name: str, allowed: Sequence[str] = ()
    ) -> tuple[int, ...]:
        """Check and keep strides, padding and data format; return the windows' sizes."""
        self._set_data_format(data_format)
        size = shapes.spread(sizes, self.rank, f"{self.name}: {name}")
        self.strides = shapes.spread(strides, self.rank, f"{self.name}: strides")
        self.padding = padding.lower() if isinstance(padding, str) else padding
        shapes.one_of(self.padding, ("valid", "same", *allowed), f"{self.name}: padding")
        return size

    def _set_data_format(self, data_format: str | None) -> None:
        self.input_rank = self.rank + 2  # type: ignore[misc]
        self.axes = _AXES[self.rank]  # type: ignore[misc]
        self.data_format = data_format or "channels_last"
        shapes.one_of(self.data_format, ("channels_last", "channels_first"), f"{self.name}: data_format")
        if self.data_format == "channels_first":
            self.axes = "(batch, channels, " + self.axes[8:].replace(", channels", "")  # type: ignore[misc]

    def channels(self, shape: Shape) -> Size:
        """The number of channels in a shape."""
        return shape[shapes.channels_axis(self.data_format, len(shape))]

    def _first(self, x: Tensor) -> Tensor:
        return to_channels_first(x) if self.data_format == "channels_last" else x

    def _last(self, x: Tensor) -> Tensor:
        return to_channels_last(x) if self.data_format == "channels_last" else x

    def windows_over(self, shape: Shape, window: Sequence[int], dilation: Sequence[int]) -> Shape:
        """How many windows fit along each spatial axis.

        Raises:
            ShapeError: the image is smaller than one window.
        """
        sizes = shapes.spatial(shape, self.data_format)
        counts = tuple(
            shapes.windows(size, kernel, stride, self.padding, step)
            for size, kernel, stride, step in zip(sizes, window, self.strides, dilation, strict=True)
        )
        if any(count is not None and count < 1 for count in counts):
            extent = times(map(shapes.dilated, window, dilation))
            hint = ' Use padding="same", a smaller window or a larger image.'
            if self.data_format == "channels_last" and shape[1] in (1, 3, 4) and (shape[-1] or 0) > 4:
                hint = f" The shape looks channels-first, {self.name} takes {self.axes}: move the channels to the end."
            raise ShapeError(f"{self.name}: the input {text(shape)} is smaller than the window of {extent}.{hint}")
        return counts


class Convolution(SpatialLayer):
    """What all convolutions share: filters of one kernel size, a bias and an activation.

    The subclasses differ in how many filters and groups they have for an input, and in the operation they make.
    """

    filters: int
    kernel_size: tuple[int, ...]

    def _set_kernel(
        self,
        kernel_size: Any,
        strides: Any,
        padding: str,
        data_format: str | None,
        dilation_rate: Any,
        activation: Any,
        use_bias: bool,
    ) -> None:
        """Check and keep the arguments that all convolutions take."""
        causal = ("causal",) if self.rank == 1 else ()
        self.kernel_size = self._set_windows(kernel_size, strides, padding, data_format, "kernel_size", causal)
        self.dilation_rate = shapes.spread(dilation_rate, self.rank, f"{self.name}: dilation_rate")
        if max(self.strides) > 1 and max(self.dilation_rate) > 1:
            raise ArgumentError(
                f"{self.name}: strides={self.strides} and dilation_rate={self.dilation_rate}: one of them must be 1."
            )
        self.even_padding = self._even_padding()
        self.activation = activations.get(activation)
        self.use_bias = use_bias

    def filters_for(self, input_shape: Shape) -> int:
        """How many channels come out."""
        return self.filters

    def groups_for(self, input_shape: Shape) -> int:
        """Into how many groups the channels are split."""
        return 1

    def known_channels(self, input_shape: Shape) -> int:
        """The input's channels, whose number is known once the shape is checked."""
        channels = self.channels(input_shape)
        assert channels is not None
        return channels

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        channels = self.channels(input_shape)
        if channels is None:
            raise ShapeError(f"{self.name}: the channels of {text(input_shape)} must have a known size.")
        if self.built and channels != self.built_channels:
            raise ShapeError(f"{self.name}: built for {self.built_channels} channels, got {text(input_shape)}.")
        self.positions(input_shape)

    def build(self, input_shape: Shape) -> None:
        self.built_channels = self.known_channels(input_shape)
        self.op = self.make_operation(input_shape)
        if self.rank == 2:
            self.op.to(memory_format=torch.channels_last)
        self.name_weights()

    def make_operation(self, input_shape: Shape) -> Any:
        """Torch's convolution, whose weights hold no values yet."""
        return empty(
            _CONVOLUTIONS[self.rank],
            self.known_channels(input_shape),
            self.filters_for(input_shape),
            self.kernel_size,
            stride=self.strides,
            padding=self.even_padding or 0,
            dilation=self.dilation_rate,
            groups=self.groups_for(input_shape),
            bias=self.use_bias,
        )

    def name_weights(self) -> None:
        """Enter the weights under Keras's names, and initialise them."""
        # (*kernel, in, out) -> (out, in, *kernel)
        self.add_weight("kernel", "op.weight", Permuted(self.rank + 1, self.rank, *range(self.rank)))
        if self.use_bias:
            self.add_weight("bias", "op.bias")

    def forward(self, x: Tensor) -> Tensor:
        x = self._first(x)
        if self.even_padding is None:
            x = F.pad(x, self._padding_of(x.shape[2:]))
        x = self._last(self.op(x))
        return x if self.activation is None else self.activation(x)

    def _even_padding(self) -> tuple[int, ...] | None:
        """What the operation pads by itself: the same at both ends, for images of any size; else `None`."""
        # The amounts of "same" depend on the size's remainder by the stride.
        amounts, *others = (self._padding_of([size] * self.rank) for size in range(1, max(self.strides) + 1))
        even = amounts[0::2] == amounts[1::2] and all(other == amounts for other in others)
        return tuple(amounts[0::2][::-1]) if even else None

    def _padding_of(self, sizes: Sequence[int]) -> list[int]:
        amounts: list[int] = []
        for size, kernel, stride, dilation in zip(
            sizes, self.kernel_size, self.strides, self.dilation_rate, strict=True
        ):
            if self.padding == "valid":
                pair = (0, 0)
            elif self.padding == "causal":
                pair = (shapes.dilated(kernel, dilation) - 1, 0)
            else:
                pair = shapes.same_padding(size, kernel, stride, dilation)
            amounts = [*pair, *amounts]  # F.pad counts axes from the last
        return amounts

    def positions(self, input_shape: Shape) -> Shape:
        """The spatial sizes of the output."""
        return self.windows_over(input_shape, self.kernel_size, self.dilation_rate)

    def compute_output_shape(self, input_shape: Shape) -> Shape:
        positions, filters = self.positions(input_shape), self.filters_for(input_shape)
        return shapes.image_shape(input_shape[0], positions, filters, self.data_format)

    def weights_per_filter(self, input_shape: Shape) -> tuple[int, ...]:
        """The sizes of one filter's kernel."""
        return (*self.kernel_size, self.known_channels(input_shape) // self.groups_for(input_shape))

    def count_parameters(self, input_shape: Shape) -> int:
        weights = math.prod(self.weights_per_filter(input_shape)) + self.use_bias
        return self.filters_for(input_shape) * weights + self.activation_parameters()

    def count_neurons(self, input_shape: Shape) -> Size:
        return product((*self.positions(input_shape), self.filters_for(input_shape)))

    def formula(self, input_shape: Shape) -> str:
        neurons = self.count_neurons(input_shape)
        features = product(input_shape[1:])
        dense = None if neurons is None or features is None else neurons * (features + self.use_bias)
        return (
            f"{self.kernels_formula(input_shape)}{self.other_terms(input_shape)} = "
            f"{number(self.count_parameters(input_shape))} parameters; "
            f"{times((*self.positions(input_shape), self.filters_for(input_shape)))} = {number(neurons)} neurons; "
            f"each weight is used at {number(product(self.uses_of_a_weight(input_shape)))} positions; "
            f"a dense layer to the same neurons would need {number(dense)}"
        )

    def kernels_formula(self, input_shape: Shape) -> str:
        """The number of the kernels' weights, as a product."""
        groups = self.groups_for(input_shape)
        split = f" in {groups} groups" if groups > 1 else ""
        return f"{number(self.filters)} filters{split} × ({times(self.weights_per_filter(input_shape))} weights)"

    def other_terms(self, input_shape: Shape) -> str:
        """The biases and the activation's parameters, as further terms of a sum."""
        biases = f" + {number(self.filters_for(input_shape))} biases" if self.use_bias else ""
        return biases + self.activation_formula()

    def uses_of_a_weight(self, input_shape: Shape) -> Shape:
        """The positions at which a kernel is laid down."""
        return self.positions(input_shape)


class FilterConvolution(Convolution):
    """What `Conv1D`, `Conv2D` and `Conv3D` share."""

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
        groups: int = 1,
        activation: Any = None,
        use_bias: bool = True,
        kernel_initializer: Any = "glorot_uniform",
        bias_initializer: Any = "zeros",
        kernel_regularizer: Any = None,
        bias_regularizer: Any = None,
        kernel_constraint: Any = None,
        bias_constraint: Any = None,
        **options: Unpack[LayerOptions],
    ) -> None:
        super().__init__(**options)
        (self.filters,) = shapes.spread(filters, 1, f"{self.name}: filters")
        (self.groups,) = shapes.spread(groups, 1, f"{self.name}: groups")
        if self.filters % self.groups:
            raise ArgumentError(f"{self.name}: filters={filters} is no multiple of groups={groups}.")
        self._set_kernel(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias)
        self._keep(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def groups_for(self, input_shape: Shape) -> int:
        return self.groups

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        channels = self.known_channels(input_shape)
        if channels % self.groups:
            raise ShapeError(f"{self.name}: {channels} input channels are no multiple of groups={self.groups}.")


@register("Conv1D")
class Conv1D(FilterConvolution):
    """A convolution over sequences; `padding` may also be `"causal"`. Arguments as `Conv2D`.

    Input shape: `(batch, steps, channels)`. Output shape: `(batch, new_steps, filters)`.

    Example:
        >>> Conv1D(4, 3, padding="causal").compute_output_shape((None, 10, 2))
        (None, 10, 4)
    """

    rank = 1


@register("Conv2D")
class Conv2D(FilterConvolution):
    """A convolution over images: each filter slides one small kernel over all positions.

    Args:
        filters: how many filters, each giving one channel of the output.
        kernel_size: height and width of the kernel, an integer or two.
        strides: the step between positions.
        padding: `"valid"`: windows stay inside the image; `"same"`: zeros around it, so that stride 1 keeps the size.
        data_format: `"channels_last"` (the default) or `"channels_first"`.
        dilation_rate: the distance between the kernel's taps.
        groups: the channels are split into so many groups, convolved apart.
        activation: a name, a torch module or a function; linear by default.
        use_bias: whether each filter adds a bias.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new_height, new_width, filters)`.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: not four axes, channels of unknown size, or an image smaller than the kernel.

    Example:
        >>> Conv2D(32, (3, 3)).explain((None, 28, 28, 1))
        'conv2d: 32 filters × (3 × 3 × 1 weights) + 32 biases = 320 parameters; 26 × 26 × 32 = 21,632 neurons;
        each weight is used at 676 positions; a dense layer to the same neurons would need 16,981,120'
    """

    rank = 2


@register("Conv3D")
class Conv3D(FilterConvolution):
    """A convolution over volumes. Arguments as `Conv2D`.

    Input shape: `(batch, depth, height, width, channels)`.

    Example:
        >>> Conv3D(4, 3).compute_output_shape((None, 8, 8, 8, 2))
        (None, 6, 6, 6, 4)
    """

    rank = 3
