"""SqueezeNet 1.0 and 1.1: AlexNet's accuracy with a fiftieth of its parameters.

Iandola et al., 2016 (arXiv:1602.07360). 1.1 is the authors' later form, which pools earlier and costs less than half.

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| squeezenet1_0 | 1,248,424 | 818.92 M | 58.09 |
| squeezenet1_1 | 1,235,496 | 349.15 M | 58.18 |
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn

from striate.zoo.backbone import Stage
from striate.zoo.catalogue import Family
from striate.zoo.sequential_body import SequentialBody


class Fire(nn.Module):
    """A 1 × 1 convolution to few channels, then one of 1 × 1 and one of 3 × 3 side by side, each to as many.

    Args:
        in_channels: of the input.
        squeeze: the few.
        expand: what each of the two makes of them; the output has twice as many.
    """

    def __init__(self, in_channels: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.squeeze(x))
        return self.relu(torch.cat([self.expand1x1(x), self.expand3x3(x)], 1))


class SqueezeNet(SequentialBody):
    """One convolution, eight fire modules with pooling between them, and a classifier that is a convolution of 1 × 1.

    Its scores are means over the positions of what relu leaves of them, so none is negative.

    Args:
        kernel_size: of the first convolution.
        width: its channels.
        pools: before which of the fire modules there is a pooling.
        num_classes: of the classifier.
        in_channels: of the images.
        dropout: how much of the last grid is left out in training.

    Example:
        >>> import torch
        >>> network = SqueezeNet(3, 64, pools=(0, 2, 4), num_classes=10)
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 63, 63))]
        [(1, 64, 31, 31), (1, 128, 15, 15), (1, 256, 7, 7), (1, 512, 3, 3)]
    """

    classifier_name = "classifier.1"

    def __init__(
        self,
        kernel_size: int,
        width: int,
        pools: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        dropout: float = 0.5,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(in_channels, width, kernel_size, stride=2), nn.ReLU(inplace=True)]
        channels, stages = width, list[Stage]()
        for index in range(8):
            if index in pools:
                stages.append(Stage(f"features.{len(layers) - 1}", channels, 2 ** (len(stages) + 1)))
                layers.append(nn.MaxPool2d(3, stride=2, ceil_mode=True))
            squeeze = 16 * (index // 2 + 1)
            layers.append(Fire(channels, squeeze, 4 * squeeze))
            channels = 8 * squeeze
        stages.append(Stage(f"features.{len(layers) - 1}", channels, 2 ** (len(stages) + 1)))
        self.features = nn.Sequential(*layers)
        self.num_features, self.num_classes = channels, num_classes
        self.feature_info = tuple(stages)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
        self.classifier = nn.Sequential(
            nn.Dropout(dropout), self.new_classifier(num_classes), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1)
        )

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        if pre_logits:
            features = self.classifier[0](features)
            return self.classifier[-1](features).flatten(1)  # N × F
        return self.classifier(features).flatten(1)

    def new_classifier(self, num_classes: int) -> nn.Module:
        if num_classes == 0:
            return nn.Identity()
        weight = next(self.parameters())
        made = nn.Conv2d(self.num_features, num_classes, 1, device=weight.device, dtype=weight.dtype)
        nn.init.normal_(made.weight, std=0.01)
        nn.init.zeros_(made.bias)  # type: ignore[arg-type]
        return made


_SQUEEZENET = Family(
    "squeezenet",
    "Iandola et al., SqueezeNet: AlexNet-Level Accuracy with 50x Fewer Parameters and <0.5MB Model Size",
    2016,
    "https://arxiv.org/abs/1602.07360",
)
_SQUEEZENET.add(
    "squeezenet1_0", partial(SqueezeNet, 7, 96, (0, 3, 7)), *(1_248_424, 818_924_576, 4_346_248), top1=58.092
)
_SQUEEZENET.add(
    "squeezenet1_1", partial(SqueezeNet, 3, 64, (0, 2, 4)), *(1_235_496, 349_151_936, 2_589_352), top1=58.178
)
