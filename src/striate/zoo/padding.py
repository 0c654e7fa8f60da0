"""Padding as TensorFlow's "SAME" does it, for weights that were trained there.

Where a stride leaves an odd number of zeros to share out, TensorFlow puts one more at the right and the bottom, while
torch puts as many on each side. Published accuracy depends on it: each strided layer sees its grid shifted by a pixel.
"""

from __future__ import annotations

from itertools import chain

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from striate.shapes import same_padding, spread

PADDINGS = ("torch", "tf_same")
"""The ways to pad: torch's own, and TensorFlow's."""


def tf_same_padding(module: nn.Module) -> None:
    """Have all strided convolutions and poolings in a module that pad do so as TensorFlow does, for any image size.

    They are replaced in their places; parameters, their names and shapes stay. Layers without stride pad alike in both.

    Args:
        module: changed in place.

    Example:
        >>> network = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1))
        >>> tf_same_padding(network)
        >>> network
        Sequential(
          (0): SameConv2d(3, 8, kernel_size=(3, 3), stride=(2, 2))
        )
        >>> network(torch.zeros(1, 3, 8, 9)).shape
        torch.Size([1, 8, 4, 5])
    """
    for path, layer in list(module.named_modules()):
        if isinstance(layer, nn.Conv2d | nn.MaxPool2d | nn.AvgPool2d):
            strides, paddings = spread(layer.stride, 2, "stride"), layer.padding
            if max(strides) > 1 and paddings not in (0, (0, 0), "valid"):
                module.set_submodule(path, _replacement(layer))


class SameConv2d(nn.Conv2d):
    """A convolution that pads its input so that the output has `input / stride` positions, rounded up."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(_padded(input, self.kernel_size, self.stride, self.dilation))


class SameMaxPool2d(nn.MaxPool2d):
    """The same for a maximum, which the padding never is."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(_padded(input, self.kernel_size, self.stride, self.dilation, float("-inf")))


class SameAvgPool2d(nn.AvgPool2d):
    """The same for a mean, of which the padding is no part."""

    def forward(self, input: Tensor) -> Tensor:
        pool = super().forward
        counted = pool(_padded(torch.ones_like(input[:1, :1]), self.kernel_size, self.stride))
        return pool(_padded(input, self.kernel_size, self.stride)) / counted


def _padded(
    x: Tensor,
    kernel: int | tuple[int, ...],
    stride: int | tuple[int, ...],
    dilation: int | tuple[int, ...] = 1,
    value: float = 0.0,
) -> Tensor:
    kernel, stride, dilation = (spread(n, 2, "window") for n in (kernel, stride, dilation))
    sides = [same_padding(x.shape[axis - 2], kernel[axis], stride[axis], dilation[axis]) for axis in (1, 0)]
    return F.pad(x, tuple(chain.from_iterable(sides)), value=value)


def _replacement(layer: nn.Module) -> nn.Module:
    if isinstance(layer, nn.Conv2d):
        same = SameConv2d(
            layer.in_channels,
            layer.out_channels,
            layer.kernel_size,  # type: ignore[arg-type]
            layer.stride,  # type: ignore[arg-type]
            dilation=layer.dilation,  # type: ignore[arg-type]
            groups=layer.groups,
            bias=layer.bias is not None,
            device="meta",
        )
        same.weight, same.bias = layer.weight, layer.bias
        return same.train(layer.training)
    if isinstance(layer, nn.MaxPool2d):
        return SameMaxPool2d(layer.kernel_size, layer.stride, dilation=layer.dilation)
    assert isinstance(layer, nn.AvgPool2d)
    return SameAvgPool2d(layer.kernel_size, layer.stride)
