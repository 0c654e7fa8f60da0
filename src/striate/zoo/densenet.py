"""DenseNet 121–201: every layer of a block reads what all layers before it have made.

Huang, Liu, van der Maaten and Weinberger, 2016 (arXiv:1608.06993).

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| densenet121 | 7,978,856 | 2.83 G | 74.43 |
| densenet161 | 28,681,000 | 7.73 G | 77.14 |
| densenet169 | 14,149,480 | 3.36 G | 75.60 |
| densenet201 | 20,013,928 | 4.29 G | 76.90 |
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from striate.zoo.backbone import Stage
from striate.zoo.catalogue import Family
from striate.zoo.sequential_body import SequentialBody


class DenseLayer(nn.Sequential):
    """Two convolutions, each after its normalisation, whose few output channels are put behind those of the input.

    Args:
        in_channels: of the input.
        growth: how many channels are added.
        dropout: how much of them is left out in training.
    """

    def __init__(self, in_channels: int, growth: int, dropout: float) -> None:
        inner = 4 * growth
        super().__init__(
            OrderedDict(
                norm1=nn.BatchNorm2d(in_channels),
                relu1=nn.ReLU(inplace=True),
                conv1=nn.Conv2d(in_channels, inner, 1, bias=False),
                norm2=nn.BatchNorm2d(inner),
                relu2=nn.ReLU(inplace=True),
                conv2=nn.Conv2d(inner, growth, 3, padding=1, bias=False),
                dropout=nn.Dropout(dropout),
            )
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, super().forward(x)], 1)


def _dense_block(depth: int, in_channels: int, growth: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            (f"denselayer{index + 1}", DenseLayer(in_channels + index * growth, growth, dropout))
            for index in range(depth)
        )
    )


def _transition(channels: int) -> nn.Sequential:
    """Half the channels, on a grid of half the side."""
    return nn.Sequential(
        OrderedDict(
            norm=nn.BatchNorm2d(channels),
            relu=nn.ReLU(inplace=True),
            conv=nn.Conv2d(channels, channels // 2, 1, bias=False),
            pool=nn.AvgPool2d(2),
        )
    )


class DenseNet(SequentialBody):
    """A stem that quarters the image, four dense blocks with transitions between them, one linear layer on their mean.

    Args:
        depths: how many layers in each block.
        growth: how many channels each adds.
        stem: the channels before the first block.
        num_classes: of the classifier.
        in_channels: of the images.
        dropout: how much of what a layer adds is left out in training; the paper has 0.2 for small data sets that are
            not augmented, and none on ImageNet.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     grids = DenseNet((6, 12, 24, 16)).forward_stages(torch.zeros(1, 3, 64, 64))
        >>> [tuple(grid.shape[1:]) for grid in grids]
        [(64, 32, 32), (256, 16, 16), (512, 8, 8), (1024, 4, 4), (1024, 2, 2)]
    """

    classifier_name = "classifier"

    def __init__(
        self,
        depths: Sequence[int],
        growth: int = 32,
        stem: int = 64,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv0=nn.Conv2d(in_channels, stem, 7, stride=2, padding=3, bias=False),
            norm0=nn.BatchNorm2d(stem),
            relu0=nn.ReLU(inplace=True),
            pool0=nn.MaxPool2d(3, stride=2, padding=1),
        )
        channels, stages = stem, [Stage("features.relu0", stem, 2)]
        for number, depth in enumerate(depths, start=1):
            if number > 1:
                stages.append(Stage(f"features.denseblock{number - 1}", channels, 2**number))
                layers[f"transition{number - 1}"] = _transition(channels)
                channels //= 2
            layers[f"denseblock{number}"] = _dense_block(depth, channels, growth, dropout)
            channels += depth * growth
        layers["norm5"] = nn.BatchNorm2d(channels)
        self.features = nn.Sequential(layers)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(channels, num_classes)
        self.feature_info = (*stages, Stage("relu", channels, 2 ** (len(depths) + 1)))
        self.num_features, self.num_classes = channels, num_classes
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        nn.init.zeros_(self.classifier.bias)

    def body(self) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
        return [*super().body(), ("relu", self.relu)]

    def forward_features(self, x: Tensor) -> Tensor:
        return self.relu(super().forward_features(x))

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.avgpool(features).flatten(1)  # N × F
        return x if pre_logits else self.classifier(x)


_DENSENET = Family(
    "densenet", "Huang et al., Densely Connected Convolutional Networks", 2016, "https://arxiv.org/abs/1608.06993"
)

for _name, _depths, _growth, _stem, _counts, _top1 in (
    ("densenet121", (6, 12, 24, 16), 32, 64, (7_978_856, 2_834_161_664, 6_900_200), 74.434),
    ("densenet161", (6, 12, 36, 24), 48, 96, (28_681_000, 7_727_907_072, 11_064_808), 77.138),
    ("densenet169", (6, 12, 32, 32), 32, 64, (14_149_480, 3_359_843_328, 7_301_608), 75.600),
    ("densenet201", (6, 12, 48, 32), 32, 64, (20_013_928, 4_291_365_888, 7_853_544), 76.896),
):
    _DENSENET.add(_name, partial(DenseNet, _depths, _growth, _stem), *_counts, top1=_top1)
