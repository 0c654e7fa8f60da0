"""MobileNet v3: inverted residuals that weigh their channels, found by a search and finished by hand.

Howard, Sandler, Chu et al., 2019 (arXiv:1905.02244).

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| mobilenet_v3_small | 2,542,856 | 56.51 M | 67.67 |
| mobilenet_v3_large | 5,483,032 | 216.59 M | 74.04 |
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from striate.zoo.catalogue import Family
from striate.zoo.inverted_residual import (
    InvertedResidual,
    SqueezeExcitation,
    conv_norm,
    initialise,
    multiple_of_8,
    stages_of,
)
from striate.zoo.sequential_body import SequentialBody


class Row(NamedTuple):
    """One block, as a row of the paper's tables 1 and 2 says it."""

    kernel: int
    expanded: int
    channels: int
    weighs: bool
    activation: type[nn.Module]
    stride: int


_SMALL = (
    Row(3, 16, 16, True, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 2),
    Row(3, 88, 24, False, nn.ReLU, 1),
    Row(5, 96, 40, True, nn.Hardswish, 2),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 120, 48, True, nn.Hardswish, 1),
    Row(5, 144, 48, True, nn.Hardswish, 1),
    Row(5, 288, 96, True, nn.Hardswish, 2),
    Row(5, 576, 96, True, nn.Hardswish, 1),
    Row(5, 576, 96, True, nn.Hardswish, 1),
)
_LARGE = (
    Row(3, 16, 16, False, nn.ReLU, 1),
    Row(3, 64, 24, False, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 1),
    Row(5, 72, 40, True, nn.ReLU, 2),
    Row(5, 120, 40, True, nn.ReLU, 1),
    Row(5, 120, 40, True, nn.ReLU, 1),
    Row(3, 240, 80, False, nn.Hardswish, 2),
    Row(3, 200, 80, False, nn.Hardswish, 1),
    Row(3, 184, 80, False, nn.Hardswish, 1),
    Row(3, 184, 80, False, nn.Hardswish, 1),
    Row(3, 480, 112, True, nn.Hardswish, 1),
    Row(3, 672, 112, True, nn.Hardswish, 1),
    Row(5, 672, 160, True, nn.Hardswish, 2),
    Row(5, 960, 160, True, nn.Hardswish, 1),
    Row(5, 960, 160, True, nn.Hardswish, 1),
)
_NORM = partial(nn.BatchNorm2d, eps=0.001, momentum=0.01)


class MobileNetV3(SequentialBody):
    """A convolution, blocks, a 1 × 1 convolution, and two linear layers on its mean.

    Args:
        rows: the blocks.
        num_features: between the two linear layers.
        num_classes: of the classifier.
        in_channels: of the images.
        dropout: before the classifier.

    Example:
        >>> import torch
        >>> network = MobileNetV3(_SMALL, 1024, num_classes=10).eval()
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 64, 64))]
        [(1, 16, 32, 32), (1, 16, 16, 16), (1, 24, 8, 8), (1, 48, 4, 4), (1, 576, 2, 2)]
    """

    classifier_name = "classifier.3"

    def __init__(
        self,
        rows: Sequence[Row],
        num_features: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(in_channels, 16, 3, stride=2, norm=_NORM, activation=nn.Hardswish)]
        channels, strides = [16], [2]
        for row in rows:
            weighing = partial(
                SqueezeExcitation,
                squeezed=multiple_of_8(row.expanded // 4),
                activation=nn.ReLU,
                gate=nn.Hardsigmoid,
            )
            layers.append(
                InvertedResidual(
                    channels[-1],
                    row.expanded,
                    row.channels,
                    row.kernel,
                    row.stride,
                    norm=_NORM,
                    activation=row.activation,
                    weighing=weighing if row.weighs else None,
                )
            )
            channels.append(row.channels)
            strides.append(row.stride)
        last = 6 * channels[-1]
        layers.append(conv_norm(channels[-1], last, norm=_NORM, activation=nn.Hardswish))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(
            nn.Linear(last, num_features),
            nn.Hardswish(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(num_features, num_classes),
        )
        self.feature_info = stages_of([*channels, last], [*strides, 1])
        self.num_features, self.num_classes = num_features, num_classes
        initialise(self)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.avgpool(features).flatten(1)  # N × channels of the last convolution
        return self.classifier[1](self.classifier[0](x)) if pre_logits else self.classifier(x)


_FAMILY = Family("mobilenet_v3", "Howard et al., Searching for MobileNetV3", 2019, "https://arxiv.org/abs/1905.02244")
_FAMILY.add("mobilenet_v3_small", partial(MobileNetV3, _SMALL, 1024), 2_542_856, 56_510_400, 1_417_680, top1=67.668)
_FAMILY.add("mobilenet_v3_large", partial(MobileNetV3, _LARGE, 1280), 5_483_032, 216_589_760, 4_407_168, top1=74.042)
