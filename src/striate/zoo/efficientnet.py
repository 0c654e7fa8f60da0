"""EfficientNet B0–B7 and EfficientNet v2: one network, made wider, deeper and finer in fixed proportions.

Tan and Le, 2019 (arXiv:1905.11946); Tan and Le, 2021 (arXiv:2104.00298), whose first stages have ordinary convolutions
in place of depthwise ones. MACs are for images of the side in the last column, where the accuracy was measured.

| name | parameters | MACs | top-1 % | side |
|---|---|---|---|---|
| efficientnet_b0 | 5,288,548 | 385.81 M | 77.69 | 224 |
| efficientnet_b1 | 7,794,184 | 686.80 M | 78.64 | 240 |
| efficientnet_b2 | 9,109,994 | 1.09 G | 80.61 | 288 |
| efficientnet_b3 | 12,233,232 | 1.83 G | 82.01 | 300 |
| efficientnet_b4 | 19,341,616 | 4.39 G | 83.38 | 380 |
| efficientnet_b5 | 30,389,784 | 10.27 G | 83.44 | 456 |
| efficientnet_b6 | 43,040,704 | 19.07 G | 84.01 | 528 |
| efficientnet_b7 | 66,347,960 | 37.75 G | 84.12 | 600 |
| efficientnet_v2_s | 21,458,488 | 8.37 G | 84.23 | 384 |
| efficientnet_v2_m | 54,139,356 | 24.58 G | 85.11 | 480 |
| efficientnet_v2_l | 118,515,272 | 56.08 G | 85.81 | 480 |
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from striate.zoo.catalogue import Family
from striate.zoo.inverted_residual import (
    InvertedResidual,
    Norm,
    SqueezeExcitation,
    conv_norm,
    initialise,
    multiple_of_8,
    stages_of,
)
from striate.zoo.sequential_body import SequentialBody
from striate.zoo.stochastic_depth import StochasticDepth


class FusedResidual(nn.Module):
    """An inverted residual whose widening and depthwise convolutions are one ordinary one; no channel is weighed.

    Args:
        in_channels: of the input.
        expanded: channels inside; where these are `in_channels`, one convolution does all.
        out_channels: of the output.
        kernel: of the first convolution.
        stride: of the first convolution.
        norm: of every convolution.
        drop: how often in training an image takes the shortcut alone.
    """

    def __init__(
        self, in_channels: int, expanded: int, out_channels: int, kernel: int, stride: int, norm: Norm, drop: float
    ) -> None:
        super().__init__()
        if expanded == in_channels:
            layers = [conv_norm(in_channels, out_channels, kernel, stride, norm=norm, activation=nn.SiLU)]
        else:
            layers = [
                conv_norm(in_channels, expanded, kernel, stride, norm=norm, activation=nn.SiLU),
                conv_norm(expanded, out_channels, norm=norm),
            ]
        self.block = nn.Sequential(*layers)
        self.shortcut = stride == 1 and in_channels == out_channels
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.block(x)) if self.shortcut else self.block(x)


class Row(NamedTuple):
    """One stage, as a row of the papers' tables says it."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    depth: int
    fused: bool = False


# Table 1 of the first paper, table 4 and the appendix of the second.
_B0 = (
    Row(1, 3, 1, 16, 1),
    Row(6, 3, 2, 24, 2),
    Row(6, 5, 2, 40, 2),
    Row(6, 3, 2, 80, 3),
    Row(6, 5, 1, 112, 3),
    Row(6, 5, 2, 192, 4),
    Row(6, 3, 1, 320, 1),
)
_V2_S = (
    Row(1, 3, 1, 24, 2, fused=True),
    Row(4, 3, 2, 48, 4, fused=True),
    Row(4, 3, 2, 64, 4, fused=True),
    Row(4, 3, 2, 128, 6),
    Row(6, 3, 1, 160, 9),
    Row(6, 3, 2, 256, 15),
)
_V2_M = (
    Row(1, 3, 1, 24, 3, fused=True),
    Row(4, 3, 2, 48, 5, fused=True),
    Row(4, 3, 2, 80, 5, fused=True),
    Row(4, 3, 2, 160, 7),
    Row(6, 3, 1, 176, 14),
    Row(6, 3, 2, 304, 18),
    Row(6, 3, 1, 512, 5),
)
_V2_L = (
    Row(1, 3, 1, 32, 4, fused=True),
    Row(4, 3, 2, 64, 7, fused=True),
    Row(4, 3, 2, 96, 7, fused=True),
    Row(4, 3, 2, 192, 10),
    Row(6, 3, 1, 224, 19),
    Row(6, 3, 2, 384, 25),
    Row(6, 3, 1, 640, 7),
)


class EfficientNet(SequentialBody):
    """A convolution, stages of inverted residuals, a 1 × 1 convolution, and one linear layer on its mean.

    Args:
        rows: the stages.
        stem: channels of the first convolution.
        num_features: channels of the last convolution.
        dropout: before the classifier.
        eps: of the batch normalisations.
        momentum: of the batch normalisations.
        num_classes: of the classifier.
        in_channels: of the images.
        drop: how often in training the last block is left out; of the others the less, the shallower they are.

    Example:
        >>> import torch
        >>> network = EfficientNet(_B0, 32, 1280, num_classes=10).eval()
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 64, 64))]
        [(1, 16, 32, 32), (1, 24, 16, 16), (1, 40, 8, 8), (1, 112, 4, 4), (1, 1280, 2, 2)]
    """

    classifier_name = "classifier.1"

    def __init__(
        self,
        rows: Sequence[Row],
        stem: int,
        num_features: int,
        dropout: float = 0.2,
        eps: float = 1e-5,
        momentum: float = 0.1,
        num_classes: int = 1000,
        in_channels: int = 3,
        drop: float = 0.2,
    ) -> None:
        super().__init__()
        norm = partial(nn.BatchNorm2d, eps=eps, momentum=momentum)
        layers: list[nn.Module] = [conv_norm(in_channels, stem, 3, stride=2, norm=norm, activation=nn.SiLU)]
        channels, made, depth = stem, 0, sum(row.depth for row in rows)
        for row in rows:
            blocks: list[nn.Module] = []
            for stride in [row.stride] + [1] * (row.depth - 1):
                blocks.append(_block(row, channels, stride, norm, drop * made / depth))
                channels, made = row.channels, made + 1
            layers.append(nn.Sequential(*blocks))
        layers.append(conv_norm(channels, num_features, norm=norm, activation=nn.SiLU))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(num_features, num_classes))
        self.feature_info = stages_of(
            [stem, *(row.channels for row in rows), num_features], [2, *(row.stride for row in rows), 1]
        )
        self.num_features, self.num_classes = num_features, num_classes
        initialise(self)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.avgpool(features).flatten(1)  # N × F
        return x if pre_logits else self.classifier(x)


def _block(row: Row, in_channels: int, stride: int, norm: Norm, drop: float) -> nn.Module:
    inner = in_channels * row.expansion
    if row.fused:
        return FusedResidual(in_channels, inner, row.channels, row.kernel, stride, norm, drop)
    weighing = partial(SqueezeExcitation, squeezed=in_channels // 4, activation=nn.SiLU, gate=nn.Sigmoid)
    return InvertedResidual(in_channels, inner, row.channels, row.kernel, stride, norm, nn.SiLU, weighing, drop)


def _scaled(width: float, depth: float) -> dict[str, Any]:
    """B0, so many times as wide and as deep."""
    rows = [
        row._replace(channels=multiple_of_8(row.channels * width), depth=math.ceil(row.depth * depth)) for row in _B0
    ]
    return {"rows": rows, "stem": multiple_of_8(32 * width), "num_features": 4 * rows[-1].channels}


_V1 = Family(
    "efficientnet",
    "Tan and Le, EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks",
    2019,
    "https://arxiv.org/abs/1905.11946",
)
_V2 = Family(
    "efficientnet_v2",
    "Tan and Le, EfficientNetV2: Smaller Models and Faster Training",
    2021,
    "https://arxiv.org/abs/2104.00298",
)
_NORM: dict[str, Any] = {"eps": 0.001, "momentum": 0.01}

for _name, _width, _depth, _dropout, _norm, _side, _counts, _top1 in (
    ("efficientnet_b0", 1.0, 1.0, 0.2, {}, 224, (5_288_548, 385_814_752, 6_748_036), 77.692),
    ("efficientnet_b1", 1.0, 1.1, 0.2, {}, 240, (7_794_184, 686_802_832, 10_884_328), 78.642),
    ("efficientnet_b2", 1.1, 1.2, 0.3, {}, 288, (9_109_994, 1_087_529_456, 16_203_450), 80.608),
    ("efficientnet_b3", 1.2, 1.4, 0.3, {}, 300, (12_233_232, 1_827_141_392, 23_831_296), 82.008),
    ("efficientnet_b4", 1.4, 1.8, 0.4, {}, 380, (19_341_616, 4_393_771_024, 49_489_032), 83.384),
    ("efficientnet_b5", 1.6, 2.2, 0.4, _NORM, 456, (30_389_784, 10_266_384_752, 98_857_400), 83.444),
    ("efficientnet_b6", 1.8, 2.6, 0.5, _NORM, 528, (43_040_704, 19_067_593_536, 167_393_400), 84.008),
    ("efficientnet_b7", 2.0, 3.1, 0.5, _NORM, 600, (66_347_960, 37_745_884_192, 289_939_464), 84.122),
):
    _build = partial(EfficientNet, **_scaled(_width, _depth), dropout=_dropout, **_norm)
    _V1.add(_name, _build, *_counts, top1=_top1, input_shape=(3, _side, _side))

for _name, _rows, _dropout, _side, _counts, _top1 in (
    ("efficientnet_v2_s", _V2_S, 0.2, 384, (21_458_488, 8_365_617_152, 35_766_624), 84.228),
    ("efficientnet_v2_m", _V2_M, 0.3, 480, (54_139_356, 24_582_460_384, 89_838_420), 85.112),
    ("efficientnet_v2_l", _V2_L, 0.4, 480, (118_515_272, 56_079_699_008, 157_987_752), 85.808),
):
    _build = partial(EfficientNet, _rows, stem=_rows[0].channels, num_features=1280, dropout=_dropout, eps=0.001)
    _V2.add(_name, _build, *_counts, top1=_top1, input_shape=(3, _side, _side))
