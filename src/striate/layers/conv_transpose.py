"""Transposed convolution: from a small image to a larger one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Unpack

from torch import Tensor, nn

from striate import shapes
from striate.errors import ArgumentError, ShapeError
from striate.layers.conv import Convolution
from striate.layers.layer import LayerOptions, register
from striate.layers.weight import empty
from striate.shapes import Shape, text


@register("Conv2DTranspose")
class Conv2DTranspose(Convolution):
    """A transposed convolution: each input position spreads its values over one kernel's extent of a larger image.

    An axis of n cells, kernel extent k and stride s becomes (n - 1) · s + max(k, s) cells with `"valid"` padding and
    n · s with `"same"`. A given `output_padding` p makes it (n - 1) · s + k + p, and (n - 1) · s + k mod 2 + p.

    Args:
        filters: how many filters, each giving one channel of the output.
        kernel_size: height and width of the kernel, an integer or two.
        strides: the distance between two neighbours of the input in the output.
        output_padding: cells more at the end of each axis, fewer than the stride; `None` gives the lengths above. The
            other arguments are as for `Conv2D`.

    Input shape: `(batch, height, width, channels)`. Output shape: `(batch, new_height, new_width, filters)`.

    Raises:
        ArgumentError: an argument cannot be used.
        ShapeError: not four axes, or channels of unknown size.

    Example:
        >>> Conv2DTranspose(16, 3, strides=2, padding="same").explain((None, 14, 14, 32))
        'conv2d_transpose: 16 filters × (3 × 3 × 32 weights) + 16 biases = 4,624 parameters;
        28 × 28 × 16 = 12,544 neurons; each weight is used at 196 positions;
        a dense layer to the same neurons would need 78,688,512'
    """

    rank = 2

    def __init__(
        self,
        filters: int,
        kernel_size: int | Sequence[int],
        strides: int | Sequence[int] = 1,
        padding: str = "valid",
        output_padding: int | Sequence[int] | None = None,
        data_format: str | None = None,
        dilation_rate: int | Sequence[int] = 1,
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
        self._set_kernel(kernel_size, strides, padding, data_format, dilation_rate, activation, use_bias)
        self.output_padding = None
        if output_padding is not None:
            self.output_padding = shapes.spread(output_padding, 2, f"{self.name}: output_padding", minimum=0)
            if any(extra >= stride for extra, stride in zip(self.output_padding, self.strides, strict=True)):
                raise ArgumentError(
                    f"{self.name}: output_padding={self.output_padding} must be below strides={self.strides}."
                )
        self._keep(
            kernel_initializer=kernel_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            bias_regularizer=bias_regularizer,
            kernel_constraint=kernel_constraint,
            bias_constraint=bias_constraint,
        )

    def crops(self) -> list[tuple[int, int]]:
        """The cells cut off before and after each axis of the full (n - 1) · s + k; negative ones are added."""
        pairs = []
        for axis in range(self.rank):
            extent, stride = shapes.dilated(self.kernel_size[axis], self.dilation_rate[axis]), self.strides[axis]
            given = None if self.output_padding is None else self.output_padding[axis]
            if self.padding == "valid":
                pairs.append((0, -max(stride - extent, 0) if given is None else -given))
            else:
                total = extent - stride if given is None else extent - extent % 2 - given
                before = max(total // 2, 0)
                pairs.append((before, total - before))
        return pairs

    def build(self, input_shape: Shape) -> None:
        super().build(input_shape)
        # Torch cuts both ends alike and puts cells back at the end: an odd cell to cut there is sliced off.
        self.kept = [slice(None, -1) if after > before else slice(None) for before, after in self.crops()]

    def check_input_shape(self, input_shape: Shape) -> None:
        super().check_input_shape(input_shape)
        if any(size is not None and size < 1 for size in self.positions(input_shape)):
            raise ShapeError(
                f"{self.name}: nothing is left of {text(input_shape)}; give a larger output_padding, or none at all."
            )

    def make_operation(self, input_shape: Shape) -> Any:
        crops = self.crops()
        return empty(
            nn.ConvTranspose2d,
            self.known_channels(input_shape),
            self.filters,
            self.kernel_size,
            stride=self.strides,
            padding=[before for before, _ in crops],
            output_padding=[max(before - after, 0) for before, after in crops],
            dilation=self.dilation_rate,
            bias=self.use_bias,
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self._last(self.op(self._first(x))[:, :, *self.kept])
        return x if self.activation is None else self.activation(x)

    def positions(self, input_shape: Shape) -> Shape:
        return tuple(
            None if size is None else (size - 1) * stride + shapes.dilated(kernel, dilation) - before - after
            for size, stride, kernel, dilation, (before, after) in zip(
                shapes.spatial(input_shape, self.data_format),
                self.strides,
                self.kernel_size,
                self.dilation_rate,
                self.crops(),
                strict=True,
            )
        )

    def uses_of_a_weight(self, input_shape: Shape) -> Shape:
        return shapes.spatial(input_shape, self.data_format)
