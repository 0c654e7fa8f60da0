"""VGG 11–19, with and without batch normalisation: nothing but convolutions of 3 × 3, pooling, and three linear layers.

Simonyan and Zisserman, 2014 (arXiv:1409.1556); batch normalisation (Ioffe and Szegedy, 2015) came to them later, and
lets the deep ones train from scratch.

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| vgg11 | 132,863,336 | 7.61 G | 69.02 |
| vgg13 | 133,047,848 | 11.31 G | 69.93 |
| vgg16 | 138,357,544 | 15.47 G | 71.59 |
| vgg19 | 143,667,240 | 19.63 G | 72.38 |
| vgg11_bn | 132,868,840 | 7.61 G | 70.37 |
| vgg13_bn | 133,053,736 | 11.31 G | 71.59 |
| vgg16_bn | 138,365,992 | 15.47 G | 73.36 |
| vgg19_bn | 143,678,248 | 19.63 G | 74.22 |
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from striate.zoo.backbone import Stage
from striate.zoo.catalogue import Family
from striate.zoo.sequential_body import SequentialBody

_WIDTHS = (64, 128, 256, 512, 512)


class VGG(SequentialBody):
    """Five stages of 3 × 3 convolutions, each ended by a pooling that halves the grid, and three linear layers.

    A stage's features are those before its pooling: the finest of their kind.

    Args:
        depths: how many convolutions in each stage.
        batch_norm: whether each is normalised.
        num_classes: of the classifier.
        in_channels: of the images.
        dropout: how much of the output of each hidden linear layer is left out in training.

    Example:
        >>> import torch
        >>> with torch.device("meta"):
        ...     grids = VGG((1, 1, 2, 2, 2)).forward_stages(torch.zeros(1, 3, 64, 64))
        >>> [tuple(grid.shape[1:]) for grid in grids]
        [(64, 64, 64), (128, 32, 32), (256, 16, 16), (512, 8, 8), (512, 4, 4), (512, 2, 2)]
    """

    classifier_name = "classifier.6"

    def __init__(
        self,
        depths: Sequence[int],
        batch_norm: bool = False,
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, stages = in_channels, list[Stage]()
        for index, (depth, width) in enumerate(zip(depths, _WIDTHS, strict=True)):
            for _ in range(depth):
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                if batch_norm:
                    layers.append(nn.BatchNorm2d(width))
                layers.append(nn.ReLU(inplace=True))
                channels = width
            stages.append(Stage(f"features.{len(layers) - 1}", channels, 2**index))
            layers.append(nn.MaxPool2d(2, stride=2))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)  # does nothing at 224 × 224
        self.classifier = nn.Sequential(
            nn.Linear(channels * 7 * 7, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        self.feature_info = (*stages, Stage(f"features.{len(layers) - 1}", channels, 32))
        self.num_features, self.num_classes = 4096, num_classes
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        head = self.classifier[:-1] if pre_logits else self.classifier
        return head(self.avgpool(features).flatten(1))


_VGG = Family(
    "vgg",
    "Simonyan and Zisserman, Very Deep Convolutional Networks for Large-Scale Image Recognition",
    2014,
    "https://arxiv.org/abs/1409.1556",
)

for _name, _depths, _batch_norm, _counts, _top1 in (
    ("vgg11", (1, 1, 2, 2, 2), False, (132_863_336, 7_609_090_048, 7_435_240), 69.020),
    ("vgg13", (2, 2, 2, 2, 2), False, (133_047_848, 11_308_466_176, 12_252_136), 69.928),
    ("vgg16", (2, 2, 3, 3, 3), False, (138_357_544, 15_470_264_320, 13_556_712), 71.592),
    ("vgg19", (2, 2, 4, 4, 4), False, (143_667_240, 19_632_062_464, 14_861_288), 72.376),
    ("vgg11_bn", (1, 1, 2, 2, 2), True, (132_868_840, 7_609_090_048, 7_435_240), 70.370),
    ("vgg13_bn", (2, 2, 2, 2, 2), True, (133_053_736, 11_308_466_176, 12_252_136), 71.586),
    ("vgg16_bn", (2, 2, 3, 3, 3), True, (138_365_992, 15_470_264_320, 13_556_712), 73.360),
    ("vgg19_bn", (2, 2, 4, 4, 4), True, (143_678_248, 19_632_062_464, 14_861_288), 74.218),
):
    _VGG.add(_name, partial(VGG, _depths, _batch_norm), *_counts, top1=_top1)
