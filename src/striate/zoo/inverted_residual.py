"""What the MobileNets and EfficientNets are made of: blocks that are wide inside and narrow at their ends.

A 1 × 1 convolution widens, a depthwise one filters each channel by itself, another 1 × 1 narrows without an activation;
the shortcut joins the narrow ends. Sandler et al., 2018 (arXiv:1801.04381); weighing the channels on the way is of Hu
et al., 2017 (arXiv:1709.01507).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor, nn

from striate.zoo.backbone import Stage
from striate.zoo.stochastic_depth import StochasticDepth

Norm = Callable[[int], nn.Module]
Activation = Callable[..., nn.Module]


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    norm: Norm = nn.BatchNorm2d,
    activation: Activation | None = None,
) -> nn.Sequential:
    """A convolution without bias that keeps the size at stride 1, its normalisation, and an activation if any."""
    layers = [
        nn.Conv2d(in_channels, out_channels, kernel, stride, padding=kernel // 2, groups=groups, bias=False),
        norm(out_channels),
    ]
    return nn.Sequential(*layers, *([activation(inplace=True)] if activation else []))


class SqueezeExcitation(nn.Module):
    """Weighs each channel by a number in [0, 1] that two small layers make of all channels' means.

    Args:
        channels: of the grid.
        squeezed: between the two layers.
        activation: after the first.
        gate: after the second.
    """

    def __init__(self, channels: int, squeezed: int, activation: Activation, gate: Activation) -> None:
        super().__init__()
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc1 = nn.Conv2d(channels, squeezed, 1)
        self.activation = activation(inplace=True)
        self.fc2 = nn.Conv2d(squeezed, channels, 1)
        self.scale_activation = gate()

    def forward(self, x: Tensor) -> Tensor:
        weights = self.fc2(self.activation(self.fc1(self.avgpool(x))))  # N × C × 1 × 1
        return x * self.scale_activation(weights)


class InvertedResidual(nn.Module):
    """Widen, filter each channel, weigh the channels, narrow; and a shortcut past all where the shape stays.

    Args:
        in_channels: of the input.
        expanded: channels inside; no convolution widens where these are `in_channels`.
        out_channels: of the output.
        kernel: of the depthwise convolution.
        stride: of the depthwise convolution.
        norm: of every convolution.
        activation: of all but the last.
        weighing: makes the module that weighs the channels inside, of their number; None for none.
        drop: how often in training an image takes the shortcut alone.
    """

    def __init__(
        self,
        in_channels: int,
        expanded: int,
        out_channels: int,
        kernel: int,
        stride: int,
        norm: Norm,
        activation: Activation,
        weighing: Callable[[int], nn.Module] | None,
        drop: float = 0.0,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        if expanded != in_channels:
            layers.append(conv_norm(in_channels, expanded, norm=norm, activation=activation))
        layers.append(conv_norm(expanded, expanded, kernel, stride, expanded, norm, activation))
        if weighing:
            layers.append(weighing(expanded))
        layers.append(conv_norm(expanded, out_channels, norm=norm))
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and in_channels == out_channels
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.block(x)) if self.shortcut else self.block(x)


def multiple_of_8(channels: float) -> int:
    """The nearest multiple of 8, but never less than nine tenths of the number: how these papers scale widths."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded if rounded >= 0.9 * channels else rounded + 8


def stages_of(channels: Sequence[int], strides: Sequence[int]) -> tuple[Stage, ...]:
    """The last of the modules of `features` at each size.

    Args:
        channels: of the output of each module.
        strides: of each module.
    """
    stages, total = {}, 1
    for index, (width, stride) in enumerate(zip(channels, strides, strict=True)):
        total *= stride
        stages[total] = Stage(f"features.{index}", width, total)
    return tuple(stages.values())


def initialise(module: nn.Module) -> None:
    """Fresh convolutions that keep the variance of gradients; `nn.init` does not know that groups share no outputs."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            fan_out = part.out_channels * math.prod(part.kernel_size) // part.groups
            nn.init.normal_(part.weight, std=math.sqrt(2 / fan_out))
            if part.bias is not None:
                nn.init.zeros_(part.bias)
