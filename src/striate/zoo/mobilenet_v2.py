"""MobileNet v2: inverted residuals, made for telephones.

Sandler, Howard, Zhu, Zhmoginov and Chen, 2018 (arXiv:1801.04381).

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| mobilenet_v2 | 3,504,872 | 300.77 M | 71.88 |
"""

from __future__ import annotations

from torch import Tensor, nn

from striate.zoo.catalogue import Family
from striate.zoo.inverted_residual import conv_norm, initialise, stages_of
from striate.zoo.sequential_body import SequentialBody

# How much wider inside, channels, blocks, stride of the first (table 2 of the paper).
_GROUPS = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


class Block(nn.Module):
    """Widen, filter each channel, narrow; and a shortcut past all where the shape stays.

    Args:
        in_channels: of the input.
        out_channels: of the output.
        stride: of the depthwise convolution.
        expansion: how many times as many channels there are inside; 1 leaves the widening out.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = in_channels * expansion
        self.conv = nn.Sequential(
            *([conv_norm(in_channels, inner, activation=nn.ReLU6)] if expansion > 1 else []),
            conv_norm(inner, inner, 3, stride, groups=inner, activation=nn.ReLU6),
            *conv_norm(inner, out_channels),
        )
        self.shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.shortcut else self.conv(x)


class MobileNetV2(SequentialBody):
    """A convolution, 17 blocks, a 1 × 1 convolution to 1,280 channels, and one linear layer on their mean.

    Args:
        num_classes: of the classifier.
        in_channels: of the images.
        dropout: before the classifier.

    Example:
        >>> import torch
        >>> network = MobileNetV2(num_classes=10).eval()
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 64, 64))]
        [(1, 16, 32, 32), (1, 24, 16, 16), (1, 32, 8, 8), (1, 96, 4, 4), (1, 1280, 2, 2)]
    """

    classifier_name = "classifier.1"
    num_features = 1280

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.2) -> None:
        super().__init__()
        layers: list[nn.Module] = [conv_norm(in_channels, 32, 3, stride=2, activation=nn.ReLU6)]
        channels, strides = [32], [2]
        for expansion, width, depth, first_stride in _GROUPS:
            for stride in [first_stride] + [1] * (depth - 1):
                layers.append(Block(channels[-1], width, stride, expansion))
                channels.append(width)
                strides.append(stride)
        layers.append(conv_norm(channels[-1], self.num_features, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(self.num_features, num_classes))
        self.feature_info = stages_of([*channels, self.num_features], [*strides, 1])
        self.num_classes = num_classes
        initialise(self)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.avgpool(features).flatten(1)  # N × F
        return x if pre_logits else self.classifier(x)


Family(
    "mobilenet_v2",
    "Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks",
    2018,
    "https://arxiv.org/abs/1801.04381",
).add("mobilenet_v2", MobileNetV2, 3_504_872, 300_774_272, 6_679_112, top1=71.878)
