"""ResNet 18–152, ResNeXt and Wide ResNet: blocks that add what they compute to what they got.

He, Zhang, Ren and Sun, 2015 (arXiv:1512.03385); Xie et al., 2016 (arXiv:1611.05431); Zagoruyko and Komodakis, 2016
(arXiv:1605.07146). The stride of a bottleneck is at its 3 × 3 convolution, as in torchvision, not at the first 1 × 1.

| name | parameters | MACs | top-1 % |
|---|---|---|---|
| resnet18 | 11,689,512 | 1.81 G | 69.76 |
| resnet34 | 21,797,672 | 3.66 G | 73.31 |
| resnet50 | 25,557,032 | 4.09 G | 76.13 |
| resnet101 | 44,549,160 | 7.80 G | 77.37 |
| resnet152 | 60,192,808 | 11.51 G | 78.31 |
| resnext50_32x4d | 25,028,904 | 4.23 G | 77.62 |
| resnext101_32x8d | 88,791,336 | 16.41 G | 79.31 |
| resnext101_64x4d | 83,455,272 | 15.46 G | 83.25 |
| wide_resnet50_2 | 68,883,240 | 11.40 G | 78.47 |
| wide_resnet101_2 | 126,886,696 | 22.75 G | 78.85 |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from striate.zoo.backbone import Backbone, Stage
from striate.zoo.catalogue import Family


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions, and a shortcut past them."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int = 1, groups: int = 1, base_width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(in_channels, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.bn2(self.conv2(x))
        return self.relu(x + shortcut)


class Bottleneck(nn.Module):
    """A 3 × 3 convolution on fewer channels, between two of 1 × 1, and a shortcut past them.

    Args:
        in_channels: of the input.
        width: a quarter of the channels of the output.
        stride: of the 3 × 3 convolution.
        groups: into how many groups its channels are parted (ResNeXt).
        base_width: its channels in each group where `width` is 64.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int = 1, groups: int = 1, base_width: int = 64) -> None:
        super().__init__()
        inner, out_channels = width * base_width // 64 * groups, width * self.expansion
        self.conv1 = nn.Conv2d(in_channels, inner, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = nn.Conv2d(inner, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _shortcut(in_channels, out_channels, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.bn3(self.conv3(x))
        return self.relu(x + shortcut)


def _shortcut(in_channels: int, out_channels: int, stride: int) -> nn.Sequential | None:
    """A projection where the block changes the shape; None where the input itself is added."""
    if stride == 1 and in_channels == out_channels:
        return None
    return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels))


class ResNet(Backbone):
    """A stem that quarters the image, four stages of residual blocks, and one linear layer on their mean.

    Args:
        block: what the stages are made of.
        depths: how many of them in each stage.
        num_classes: of the classifier.
        in_channels: of the images.
        groups: of the 3 × 3 convolutions in bottlenecks.
        base_width: their channels in each group, in the first stage.

    Example:
        >>> import torch
        >>> network = ResNet(BasicBlock, (2, 2, 2, 2), num_classes=10)
        >>> [tuple(grid.shape) for grid in network.forward_stages(torch.zeros(1, 3, 64, 64))]
        [(1, 64, 32, 32), (1, 64, 16, 16), (1, 128, 8, 8), (1, 256, 4, 4), (1, 512, 2, 2)]
    """

    classifier_name = "fc"

    def __init__(
        self,
        block: type[BasicBlock | Bottleneck],
        depths: Sequence[int],
        num_classes: int = 1000,
        in_channels: int = 3,
        groups: int = 1,
        base_width: int = 64,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        channels, stages = 64, [Stage("relu", 64, 2)]
        for index, depth in enumerate(depths):
            name, width = f"layer{index + 1}", 64 * 2**index
            blocks: list[nn.Module] = []
            for number in range(depth):
                stride = 2 if index and number == 0 else 1
                blocks.append(block(channels, width, stride, groups, base_width))
                channels = width * block.expansion
            setattr(self, name, nn.Sequential(*blocks))
            stages.append(Stage(name, channels, 4 * 2**index))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(channels, num_classes)
        self.feature_info = tuple(stages)
        self.num_features, self.num_classes = channels, num_classes
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def body(self) -> Sequence[tuple[str, Callable[[Tensor], Tensor]]]:
        stages = [stage.name for stage in self.feature_info[1:]]
        return [(name, self.get_submodule(name)) for name in ("conv1", "bn1", "relu", "maxpool", *stages)]

    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.avgpool(features).flatten(1)  # N × F
        return x if pre_logits else self.fc(x)


_RESNET = Family(
    "resnet", "He et al., Deep Residual Learning for Image Recognition", 2015, "https://arxiv.org/abs/1512.03385"
)
_RESNEXT = Family(
    "resnext",
    "Xie et al., Aggregated Residual Transformations for Deep Neural Networks",
    2016,
    "https://arxiv.org/abs/1611.05431",
)
_WIDE = Family(
    "wide_resnet", "Zagoruyko and Komodakis, Wide Residual Networks", 2016, "https://arxiv.org/abs/1605.07146"
)

for _name, _block, _depths, _counts, _top1 in (
    ("resnet18", BasicBlock, (2, 2, 2, 2), (11_689_512, 1_814_073_344, 2_484_712), 69.758),
    ("resnet34", BasicBlock, (3, 4, 6, 3), (21_797_672, 3_663_761_408, 3_739_112), 73.314),
    ("resnet50", Bottleneck, (3, 4, 6, 3), (25_557_032, 4_089_184_256, 11_114_984), 76.130),
    ("resnet101", Bottleneck, (3, 4, 23, 3), (44_549_160, 7_801_405_440, 16_232_936), 77.374),
    ("resnet152", Bottleneck, (3, 8, 36, 3), (60_192_808, 11_513_626_624, 22_555_112), 78.312),
):
    _RESNET.add(_name, partial(ResNet, _block, _depths), *_counts, top1=_top1)

for _name, _depths, _groups, _base_width, _counts, _top1 in (
    ("resnext50_32x4d", (3, 4, 6, 3), 32, 4, (25_028_904, 4_230_479_872, 14_401_512), 77.618),
    ("resnext101_32x8d", (3, 4, 23, 3), 32, 8, (88_791_336, 16_414_015_488, 31_210_472), 79.312),
    ("resnext101_64x4d", (3, 4, 23, 3), 64, 4, (83_455_272, 15_460_270_080, 31_210_472), 83.246),
):
    _RESNEXT.add(
        _name, partial(ResNet, Bottleneck, _depths, groups=_groups, base_width=_base_width), *_counts, top1=_top1
    )

_WIDE.add(
    "wide_resnet50_2",
    partial(ResNet, Bottleneck, (3, 4, 6, 3), base_width=128),
    *(68_883_240, 11_398_021_120, 14_401_512),
    top1=78.468,
)
_WIDE.add(
    "wide_resnet101_2",
    partial(ResNet, Bottleneck, (3, 4, 23, 3), base_width=128),
    *(126_886_696, 22_753_050_624, 21_225_448),
    top1=78.848,
)
