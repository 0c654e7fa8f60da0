"""ConvNeXt: a residual network of convolutions with the proportions and habits of a transformer.

Liu, Mao, Wu, Feichtenhofer, Darrell and Xie, 2022 (arXiv:2201.03545).

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| convnext_tiny | 28,589,128 | 4.46 G | 82.52 |
| convnext_small | 50,223,688 | 8.68 G | 83.62 |
| convnext_base | 88,591,464 | 15.35 G | 84.06 |
| convnext_large | 197,767,336 | 34.36 G | 84.41 |
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from striate.zoo.backbone import Stage
from striate.zoo.catalogue import Family
from striate.zoo.sequential_body import SequentialBody
from striate.zoo.stochastic_depth import StochasticDepth


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each position of an N × C × H × W grid."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        x = x.permute(0, 2, 3, 1)  # N × H × W × C
        x = F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)
        return x.permute(0, 3, 1, 2)


class Permute(nn.Module):
    """The axes in another order."""

    def __init__(self, *order: int) -> None:
        super().__init__()
        self.order = order

    def forward(self, x: Tensor) -> Tensor:
        return x.permute(self.order)

    def extra_repr(self) -> str:
        return ", ".join(map(str, self.order))


class Block(nn.Module):
    """A depthwise 7 × 7 convolution, then two linear layers at each position, scaled; and a shortcut past all.

    Args:
        channels: of the input and of the output; four times as many lie between the linear layers.
        drop: how often in training an image takes the shortcut alone.
    """

    def __init__(self, channels: int, drop: float) -> None:
        super().__init__()
        self.block = nn.Sequential(
            nn.Conv2d(channels, channels, 7, padding=3, groups=channels),
            Permute(0, 2, 3, 1),  # N × H × W × C
            nn.LayerNorm(channels, eps=1e-6),
            nn.Linear(channels, 4 * channels),
            nn.GELU(),
            nn.Linear(4 * channels, channels),
            Permute(0, 3, 1, 2),
        )
        self.layer_scale = nn.Parameter(torch.full((channels, 1, 1), 1e-6))
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.stochastic_depth(self.layer_scale * self.block(x))


class ConvNeXt(SequentialBody):
    """Patches of 4 × 4, four stages of blocks with a strided convolution before each, one linear layer on their mean.

    Args:
        widths: the channels of each stage.
        depths: how many blocks there are in each stage.
        num_classes: of the classifier.
        in_channels: of the images.
        drop: how often in training the last block is left out; of the others the less, the shallower they are.

    Example:
        >>> import torch
        >>> network = ConvNeXt((96, 192, 384, 768), (3, 3, 9, 3), num_classes=10).eval()
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 64, 64))]
        [(1, 96, 16, 16), (1, 192, 8, 8), (1, 384, 4, 4), (1, 768, 2, 2)]
    """

    classifier_name = "classifier.2"

    def __init__(
        self,
        widths: Sequence[int],
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        drop: float = 0.1,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(nn.Conv2d(in_channels, widths[0], 4, stride=4), ChannelNorm(widths[0]))
        ]
        stages: list[Stage] = []
        drops = iter([drop * number / (sum(depths) - 1) for number in range(sum(depths))])
        for index, (width, depth) in enumerate(zip(widths, depths, strict=True)):
            if index:
                before = widths[index - 1]
                layers.append(nn.Sequential(ChannelNorm(before), nn.Conv2d(before, width, 2, stride=2)))
            layers.append(nn.Sequential(*(Block(width, next(drops)) for _ in range(depth))))
            stages.append(Stage(f"features.{len(layers) - 1}", width, 4 * 2**index))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(ChannelNorm(widths[-1]), nn.Flatten(), nn.Linear(widths[-1], num_classes))
        self.feature_info = tuple(stages)
        self.num_features, self.num_classes = widths[-1], num_classes
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]  # all of them have one

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.avgpool(features)  # N × F × 1 × 1
        return self.classifier[1](self.classifier[0](x)) if pre_logits else self.classifier(x)


_FAMILY = Family("convnext", "Liu et al., A ConvNet for the 2020s", 2022, "https://arxiv.org/abs/2201.03545")

for _name, _width, _depths, _drop, _counts, _top1 in (
    ("convnext_tiny", 96, (3, 3, 9, 3), 0.1, (28_589_128, 4_455_531_264, 13_435_624), 82.520),
    ("convnext_small", 96, (3, 3, 27, 3), 0.4, (50_223_688, 8_683_712_256, 21_564_136), 83.616),
    ("convnext_base", 128, (3, 3, 27, 3), 0.5, (88_591_464, 15_354_729_472, 28_751_848), 84.062),
    ("convnext_large", 192, (3, 3, 27, 3), 0.5, (197_767_336, 34_361_433_600, 43_127_272), 84.414),
):
    _widths = [_width * 2**_index for _index in range(4)]
    _FAMILY.add(_name, partial(ConvNeXt, _widths, _depths, drop=_drop), *_counts, top1=_top1)
